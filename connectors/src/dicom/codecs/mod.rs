//! Compressed frames to stored samples, and stored samples to values.

pub(crate) mod codec;
mod jpeg;
mod jpeg12;
mod jpeg2000;
mod jpegls;
pub(crate) mod lut;
mod rle;
pub(crate) mod unpack;
