//! Decoding of compressed frames to stored samples, and of stored samples to values.

pub(crate) mod codec;
mod jpeg;
mod jpeg12;
mod jpeg2000;
mod jpegls;
mod lossless;
pub(crate) mod lut;
mod rle;
pub(crate) mod unpack;
