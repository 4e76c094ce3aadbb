//! Cross entropy: how improbable the truth is.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::entropy::{logarithms_of, mean_over_voxels, weighed_mean, with_rest};
use super::{SegmentationLoss, logarithms};
use crate::fields::Field;
use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;

/// What the reference says of it.
pub(super) const DOC: &str = "the mean over voxels of the negative log-probability of their class";

/// What a pipeline file sets beside `type`.
pub(super) const FIELDS: &[Field] = &[];

/// The mean over voxels of the negative log-probability of their class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrossEntropyLoss {}

impl SegmentationLoss for CrossEntropyLoss {
    fn of_logits(
        &self,
        logits: &Tensor,
        truth: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Tensor, NetworkError> {
        let logarithms = logarithms(logits)?;
        match weights {
            None => cross_entropy(&logarithms, truth),
            Some(weights) => weighed_mean(&logarithms.f_mul(truth).doing("loss")?, truth, weights),
        }
    }

    fn of_map(&self, map: &Tensor, target: &Tensor) -> Result<Tensor, NetworkError> {
        cross_entropy(&logarithms_of(map)?, &with_rest(target)?)
    }
}

/// The mean over samples and voxels of `-Σ_c g_c ln p_c`, of log-probabilities and truth `[N, C, …]`; truth
/// may be soft.
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal shape.
pub fn cross_entropy(logarithms: &Tensor, truth: &Tensor) -> Result<Tensor, NetworkError> {
    mean_over_voxels(&logarithms.f_mul(truth).doing("loss")?)
}
