//! What a training tells of itself as it goes on.

use serde::{Deserialize, Serialize};

/// One number of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Steps done when it was taken.
    pub step: u64,
    /// Epochs done when it was taken.
    pub epoch: u64,
    /// The part of the split: `train` or `validation`.
    pub split: String,
    /// `loss`, `attention_loss` (of supervised maps, before it is weighed) and `gradient_norm` (means over the
    /// epoch, the norm before it is clipped), `learning_rate` (of the epoch's last step), `dice`, and for several
    /// labels `dice.NAME`. With several learners, `loss.NAME`, `learning_rate.NAME` and `gradient_norm.NAME` are those
    /// of the others; an objective's own figures have names of its own.
    pub name: String,
    /// The number.
    pub value: f64,
}
