//! Soft Dice: how far probabilities and truth are from covering each other.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::hardness_dice::{hardness_dice, weighed_dice};
use super::{SegmentationLoss, probabilities};
use crate::fields::Field;
use crate::networks::NetworkError;

/// What the reference says of it.
pub(super) const DOC: &str = "1 minus the soft Dice of each class, averaged over samples and classes";

/// What a pipeline file sets beside `type`.
pub(super) const FIELDS: &[Field] = &[];

/// Soft Dice, the mean over samples and classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiceLoss {}

impl SegmentationLoss for DiceLoss {
    fn of_logits(
        &self,
        logits: &Tensor,
        truth: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Tensor, NetworkError> {
        weighed_dice(&probabilities(logits)?, truth, 0.0, weights)
    }

    fn of_map(&self, map: &Tensor, target: &Tensor) -> Result<Tensor, NetworkError> {
        hardness_dice(map, target, 0.0)
    }
}
