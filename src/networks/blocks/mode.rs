//! What a network's layers are asked for: a step of training, or an answer.

/// The statistics that batch norms use, and whether features are dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// In training: those of the batch, which also enter the norms' running ones with the weight `momentum`.
    Train {
        /// The weight of the batch's statistics, 0 to 1; PyTorch's default is 0.1.
        momentum: f64,
        /// What dropout draws from: another in each step, from [`draw`](super::dropout::draw).
        draw: u64,
    },
    /// In inference: the norms' running statistics.
    Infer,
    /// In inference with folded weights, which have no gradient: the norms are part of the convolutions.
    Folded,
}
