//! Samples to models, and models to masks.

pub mod infer;
pub mod origin;
pub mod threshold;
pub mod train;
