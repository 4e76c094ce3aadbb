//! What architectures are made of.

pub mod attention;
pub mod convolution;
pub mod dropout;
pub mod joins;
pub mod mode;
pub(in crate::networks) mod norm;
pub(in crate::networks) mod unit;
