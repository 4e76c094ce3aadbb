//! Cases to the samples that a network is trained on.

pub mod augment;
pub mod bag;
pub mod dataset;
pub mod patches;
pub mod stack;
pub mod view;
