//! How samples are cut from a case without copying it.

use crate::networks::sample::InputView;

/// A view: the shape that the network sees, and how many samples a case gives.
#[derive(Clone, Debug)]
pub struct View {
    /// The shape.
    pub input: InputView,
}
