//! Soft Dice whose voxels count more the more wrong they are.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::overlap::{one_minus_ratio, over_voxels, weighed_one_minus_ratio};
use super::{SegmentationLoss, probabilities};
use crate::fields::{Field, FieldKind};
use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::scalar::{plus, times};

/// What the reference says of it.
pub(super) const DOC: &str = "soft Dice in which a voxel counts more, the more wrong its prediction is (Wang \
                              et al. 2019)";

/// What a pipeline file sets beside `type`.
pub(super) const FIELDS: &[Field] = &[Field::semantic(
    "lambda",
    FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
    "0.6",
    "The degree to which a wrong voxel counts more than a right one; 0 gives plain soft Dice.",
)];

/// Soft Dice whose voxels count more the more wrong they are (Wang et al. 2019).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HardnessDiceLoss {
    /// 0 is plain Dice; the paper takes 0.6.
    pub lambda: f64,
}

impl SegmentationLoss for HardnessDiceLoss {
    fn of_logits(
        &self,
        logits: &Tensor,
        truth: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Tensor, NetworkError> {
        weighed_dice(&probabilities(logits)?, truth, self.lambda, weights)
    }

    fn of_map(&self, map: &Tensor, target: &Tensor) -> Result<Tensor, NetworkError> {
        hardness_dice(map, target, self.lambda)
    }
}

/// `1 - (2 Σ w p g + ε) / (Σ w (p + g) + ε)` with `w = λ|p - g| + (1 - λ)`, the mean over samples and
/// channels of `[N, C, …]`. λ = 0 is plain soft Dice. The weight is part of the gradient.
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal shape.
///
/// # Source
/// Wang et al., MICCAI 2019, arXiv 1906.03906
pub fn hardness_dice(prediction: &Tensor, truth: &Tensor, lambda: f64) -> Result<Tensor, NetworkError> {
    weighed_dice(prediction, truth, lambda, None)
}

/// Returns the same loss as a mean over channels by weights `[C]`.
pub(super) fn weighed_dice(
    prediction: &Tensor,
    truth: &Tensor,
    lambda: f64,
    weights: Option<&Tensor>,
) -> Result<Tensor, NetworkError> {
    let mut product = prediction.f_mul(truth).doing("loss")?;
    let mut both = prediction.f_add(truth)?;
    if lambda != 0.0 {
        let hardness = prediction.f_sub(truth)?.f_abs()?;
        let weight = plus(&times(&hardness, lambda)?, 1.0 - lambda)?;
        product = product.f_mul(&weight)?;
        both = both.f_mul(&weight)?;
    }
    let (above, below) = (over_voxels(&product)?, over_voxels(&both)?);
    match weights {
        None => one_minus_ratio(&above, &below),
        Some(weights) => weighed_one_minus_ratio(&above, &below, weights),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(loss: Result<Tensor, NetworkError>) -> f64 {
        f64::try_from(loss.unwrap()).unwrap()
    }

    #[test]
    fn the_papers_loss_by_hand() {
        let p = Tensor::from_slice(&[0.1, 0.8, 0.9, 0.2]).view([1, 2, 2]);
        let g = Tensor::from_slice(&[0.0, 1.0, 1.0, 0.0]).view([1, 2, 2]);
        let value = value(hardness_dice(&p, &g, 0.6));
        assert!((value - 0.153_060_30).abs() < 5e-9, "{value}");
    }

    #[test]
    fn classes_count_by_their_weights() {
        let p = Tensor::from_slice(&[0.1, 0.8, 0.9, 0.2]).view([1, 2, 2]);
        let g = Tensor::from_slice(&[0.0, 1.0, 1.0, 0.0]).view([1, 2, 2]);
        let of = |weights: Option<&Tensor>| value(weighed_dice(&p, &g, 0.0, weights));
        let [a, b] = [(0.8, 1.9), (0.9, 2.1)].map(|(both, sum)| 1.0 - (2.0 * both + 1e-5) / (sum + 1e-5));
        assert!((of(None) - (a + b) / 2.0).abs() < 1e-12);
        assert!((of(Some(&Tensor::from_slice(&[1.0, 3.0]))) - (a + 3.0 * b) / 4.0).abs() < 1e-12);
        assert!((of(Some(&Tensor::from_slice(&[0.0, 2.0]))) - b).abs() < 1e-12);
        assert_eq!(of(Some(&Tensor::from_slice(&[0.0, 0.0]))), 0.0);
    }

    #[test]
    fn without_hardness_it_is_plain_dice() {
        let p = Tensor::from_slice(&[0.9, 0.2]).view([1, 1, 2]);
        let g = Tensor::from_slice(&[1.0, 0.0]).view([1, 1, 2]);
        let value = value(hardness_dice(&p, &g, 0.0));
        let expected = 1.0 - (1.8 + 1e-5) / (2.1 + 1e-5);
        assert!((value - expected).abs() < 1e-12, "{value}");
    }
}
