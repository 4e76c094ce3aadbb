//! Samples to a model.

/// A training.
#[derive(Clone, Debug)]
pub struct Train {}
