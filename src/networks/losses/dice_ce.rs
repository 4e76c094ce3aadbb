//! The sum of soft Dice and cross entropy, as nnU-Net has it.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::cross_entropy::{CrossEntropyLoss, cross_entropy};
use super::entropy::{logarithms_of, with_rest};
use super::hardness_dice::{hardness_dice, weighed_dice};
use super::{SegmentationLoss, probabilities};
use crate::fields::{Field, FieldKind};
use crate::networks::NetworkError;

/// What the reference says of it.
pub(super) const DOC: &str = "the sum of soft Dice and cross entropy, as in nnU-Net";

/// What a pipeline file sets beside `type`.
pub(super) const FIELDS: &[Field] = &[Field::semantic(
    "include_background",
    FieldKind::Bool,
    "false",
    "Whether soft Dice counts the background as a class; in nnU-Net it does not.",
)];

/// The sum of soft Dice and cross entropy (nnU-Net).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiceCeLoss {
    /// Whether Dice counts the background as a class; nnU-Net's does not.
    pub include_background: bool,
}

impl SegmentationLoss for DiceCeLoss {
    fn of_logits(
        &self,
        logits: &Tensor,
        truth: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Tensor, NetworkError> {
        let first = i64::from(!self.include_background);
        let classes = |x: &Tensor| x.f_narrow(1, first, x.size().get(1).map_or(0, |n| n - first));
        let of_classes = weights.map(|all| all.f_narrow(0, first, all.numel() as i64 - first)).transpose()?;
        let probabilities = classes(&probabilities(logits)?)?;
        let dice = weighed_dice(&probabilities, &classes(truth)?, 0.0, of_classes.as_ref())?;
        Ok(dice.f_add(&CrossEntropyLoss {}.of_logits(logits, truth, weights)?)?)
    }

    fn of_map(&self, map: &Tensor, target: &Tensor) -> Result<Tensor, NetworkError> {
        let entropy = cross_entropy(&logarithms_of(map)?, &with_rest(target)?)?;
        Ok(hardness_dice(map, target, 0.0)?.f_add(&entropy)?)
    }
}
