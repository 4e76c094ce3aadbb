//! Focal loss: cross entropy whose voxels count less the surer they are.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::entropy::{SMALLEST, logarithms_of, mean_over_voxels, weighed_mean, with_rest};
use super::{SegmentationLoss, logarithms};
use crate::fields::{Field, FieldKind, Role};
use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::scalar::{at_least, plus, power, times};

/// What the reference says of it.
pub(super) const DOC: &str = "cross entropy in which a voxel counts less, the higher the probability of its class is (Lin et al. 2017)";

/// What a pipeline file sets beside `type`.
pub(super) const FIELDS: &[Field] = &[
    Field::semantic(
        "gamma",
        FieldKind::Number { min: 0.0, max: 10.0, unit: "" },
        "2.0",
        "The exponent by which a voxel counts less, the higher the probability of its class is; 0 gives \
         cross entropy.",
    ),
    Field::absent(
        "alpha",
        FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        Role::Semantic,
        "The weight of the foreground; the background has the weight 1 − alpha. When it is left out, both \
         weights are 1.",
    ),
];

/// Cross entropy whose voxels count less the surer they are (Lin et al. 2017).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FocalLoss {
    /// 0 is cross entropy; the paper takes 2.
    pub gamma: f64,
    /// The weight of foreground, 0 to 1, that of background being the rest; both 1 without it.
    #[serde(default)]
    pub alpha: Option<f64>,
}

impl SegmentationLoss for FocalLoss {
    fn of_logits(
        &self,
        logits: &Tensor,
        truth: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Tensor, NetworkError> {
        weighed_focal(&logarithms(logits)?, truth, (self.gamma, self.alpha), weights)
    }

    fn of_map(&self, map: &Tensor, target: &Tensor) -> Result<Tensor, NetworkError> {
        focal(&logarithms_of(map)?, &with_rest(target)?, self.gamma, self.alpha)
    }
}

/// The mean over samples and voxels of `-Σ_c α_c g_c (1 - p_c)^γ ln p_c`, with α for every class but the
/// first, and 1 - α for the first; γ = 0 without α is [cross entropy](super::cross_entropy()).
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal shape.
///
/// # Source
/// Lin et al., ICCV 2017, arXiv 1708.02002, for several classes by their softmax
pub fn focal(
    logarithms: &Tensor,
    truth: &Tensor,
    gamma: f64,
    alpha: Option<f64>,
) -> Result<Tensor, NetworkError> {
    weighed_focal(logarithms, truth, (gamma, alpha), None)
}

/// Returns the same loss as a mean over voxels by the weight `[C]` of their class.
fn weighed_focal(
    logarithms: &Tensor,
    truth: &Tensor,
    (gamma, alpha): (f64, Option<f64>),
    class_weights: Option<&Tensor>,
) -> Result<Tensor, NetworkError> {
    let rest = plus(&times(&logarithms.f_exp()?, -1.0)?, 1.0)?;
    // A power below 1 has no slope at 0.
    let unsure = power(&at_least(&rest, SMALLEST)?, gamma)?;
    let mut product = logarithms.f_mul(truth).doing("loss")?.f_mul(&unsure)?;
    if let Some(alpha) = alpha {
        let mut shape = vec![1; truth.dim()];
        let classes = truth.size().get(1).copied().unwrap_or(0);
        if let Some(channels) = shape.get_mut(1) {
            *channels = classes;
        }
        let weights: Vec<f64> = (0..classes).map(|c| if c == 0 { 1.0 - alpha } else { alpha }).collect();
        let weights = Tensor::f_from_slice(&weights)?.f_view(shape.as_slice())?;
        product = product.f_mul(&weights.f_to_kind(truth.kind())?.f_to_device(truth.device())?)?;
    }
    match class_weights {
        None => mean_over_voxels(&product),
        Some(weights) => weighed_mean(&product, truth, weights),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cross_entropy::cross_entropy;
    use super::*;

    fn value(loss: Result<Tensor, NetworkError>) -> f64 {
        f64::try_from(loss.unwrap()).unwrap()
    }

    fn example() -> (Tensor, Tensor) {
        let p = Tensor::from_slice(&[0.1, 0.8, 0.9, 0.2]).view([1, 2, 2]);
        let g = Tensor::from_slice(&[0.0, 1.0, 1.0, 0.0]).view([1, 2, 2]);
        (p.log(), g)
    }

    #[test]
    fn by_hand() {
        let (p, g) = example();
        let entropy = -(0.9f64.ln() + 0.8f64.ln()) / 2.0;
        assert!((value(cross_entropy(&p, &g)) - entropy).abs() < 1e-12);
        assert!((value(focal(&p, &g, 0.0, None)) - entropy).abs() < 1e-12);
        let focused = -(0.01 * 0.9f64.ln() + 0.04 * 0.8f64.ln()) / 2.0;
        assert!((value(focal(&p, &g, 2.0, None)) - focused).abs() < 1e-12);
        let weighed = -(0.75 * 0.01 * 0.9f64.ln() + 0.25 * 0.04 * 0.8f64.ln()) / 2.0;
        assert!((value(focal(&p, &g, 2.0, Some(0.75))) - weighed).abs() < 1e-12);
    }

    #[test]
    fn certainty_has_a_gradient() {
        let logits = Tensor::from_slice(&[200f32, 0.0, -200.0, 0.0]).view([1, 2, 2]).set_requires_grad(true);
        let g = Tensor::from_slice(&[1f32, 1.0, 0.0, 0.0]).view([1, 2, 2]);
        for gamma in [0.0, 0.5, 2.0] {
            let loss = focal(&logits.log_softmax(1, None), &g, gamma, None).unwrap();
            let gradient = Tensor::f_run_backward(&[loss], &[&logits], false, false).unwrap();
            assert!(Vec::<f32>::try_from(gradient[0].view(-1)).unwrap().iter().all(|x| x.is_finite()));
        }
        let map = Tensor::from_slice(&[0f32, 1.0]).view([1, 1, 2]).set_requires_grad(true);
        let g = Tensor::from_slice(&[1f32, 0.0]).view([1, 1, 2]);
        let loss = cross_entropy(&logarithms_of(&map).unwrap(), &with_rest(&g).unwrap()).unwrap();
        assert!((f64::try_from(&loss).unwrap() + 1e-7f64.ln()).abs() < 1e-3);
        let gradient = Tensor::f_run_backward(&[loss], &[&map], false, false).unwrap();
        assert!(Vec::<f32>::try_from(gradient[0].view(-1)).unwrap().iter().all(|x| x.is_finite()));
    }
}
