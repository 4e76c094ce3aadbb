//! Tensors apart from any network: where they live, how they are kept, and what can go wrong with them.

pub(crate) mod deterministic;
pub mod device;
pub mod error;
pub(crate) mod file;
pub(crate) mod pages;
pub(crate) mod scalar;
pub mod weights;
