//! What a network's layers are asked for: a step of training, or an answer.

/// Whose statistics batch norms use, and whether features are dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// The batch's, which also enter their own with this weight.
    Train {
        /// 0 to 1; PyTorch's default is 0.1.
        momentum: f64,
        /// What dropout draws from: another in each step, from [`draw`](super::dropout::draw).
        draw: u64,
    },
    /// Their own.
    Infer,
    /// They are part of the convolutions: of folded weights, which have no gradient.
    Folded,
}
