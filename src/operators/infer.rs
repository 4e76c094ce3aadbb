//! Cases and a model to masks.

/// An inference.
#[derive(Clone, Debug)]
pub struct Infer {}
