//! What architectures are made of.

pub mod attention;
pub mod convolution;
pub mod dropout;
pub mod joins;
pub mod mode;
