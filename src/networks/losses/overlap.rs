//! Overlap of probabilities and truth: soft Dice, plain, weighted by hardness, or generalised.

use tch::{Kind, Tensor};

use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::scalar::{plus, times};

const EPSILON: f64 = 1e-5;

/// `1 - (2 Σ w p g + ε) / (Σ w (p + g) + ε)` with `w = λ|p - g| + (1 - λ)`, the mean over samples and
/// channels of `[N, C, …]`. λ = 0 is plain soft Dice. The weight is part of the gradient.
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal shape.
///
/// # Source
/// Wang et al., MICCAI 2019, arXiv 1906.03906
pub fn hardness_dice(prediction: &Tensor, truth: &Tensor, lambda: f64) -> Result<Tensor, NetworkError> {
    let mut product = prediction.f_mul(truth).doing("loss")?;
    let mut both = prediction.f_add(truth)?;
    if lambda != 0.0 {
        let hardness = prediction.f_sub(truth)?.f_abs()?;
        let weight = plus(&times(&hardness, lambda)?, 1.0 - lambda)?;
        product = product.f_mul(&weight)?;
        both = both.f_mul(&weight)?;
    }
    one_minus_ratio(&over_voxels(&product)?, &over_voxels(&both)?)
}

/// `1 - (2 Σ_c w_c Σ p g + ε) / (Σ_c w_c Σ (p + g) + ε)`, the mean over samples of `[N, C, …]`, with
/// `w_c = (v_min / v_c)²` from the volumes `v_c` of the sample's truth.
///
/// These are the published weights `1 / v_c²` times the squared volume of the rarest class that is present:
/// the ratio is the same, and ε weighs as much as in plain Dice whatever the volume. A class without a voxel
/// has no published weight; it takes that of the rarest class present, which is the greatest, as NiftyNet and
/// MONAI have it. Weights are constants of the gradient.
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal shape.
///
/// # Source
/// Sudre et al., DLMIA 2017, arXiv 1707.03237
pub fn generalized_dice(prediction: &Tensor, truth: &Tensor) -> Result<Tensor, NetworkError> {
    let product = prediction.f_mul(truth).doing("loss")?;
    let weight = class_weights(&over_voxels(truth)?)?;
    let weighed = |x: &Tensor| -> Result<Tensor, NetworkError> {
        Ok(over_voxels(x)?.f_mul(&weight)?.f_sum_dim_intlist([1i64].as_slice(), false, None::<Kind>)?)
    };
    one_minus_ratio(&weighed(&product)?, &weighed(&prediction.f_add(truth)?)?)
}

/// Weights `[N, C]` of volumes `[N, C]`.
fn class_weights(volumes: &Tensor) -> Result<Tensor, NetworkError> {
    let none = volumes.f_zeros_like()?;
    let present = volumes.f_gt_tensor(&none)?;
    let rarest =
        volumes.f_where_self(&present, &plus(&none, f64::INFINITY)?)?.f_amin([1i64].as_slice(), true)?;
    let ratio = rarest.f_div(volumes)?;
    Ok(ratio.f_mul(&ratio)?.f_where_self(&present, &plus(&none, 1.0)?)?.f_detach()?)
}

/// The mean of `1 - (2 above + ε) / (below + ε)`.
fn one_minus_ratio(above: &Tensor, below: &Tensor) -> Result<Tensor, NetworkError> {
    let above = plus(&times(above, 2.0)?, EPSILON)?;
    let ratio = above.f_div(&plus(below, EPSILON)?)?.f_mean(None::<Kind>)?;
    plus(&times(&ratio, -1.0)?, 1.0)
}

/// `[N, C]` of `[N, C, …]`.
fn over_voxels(x: &Tensor) -> Result<Tensor, NetworkError> {
    let voxels: Vec<i64> = (2..x.dim() as i64).collect();
    Ok(x.f_sum_dim_intlist(voxels.as_slice(), false, None::<Kind>)?)
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
    fn without_hardness_it_is_plain_dice() {
        let p = Tensor::from_slice(&[0.9, 0.2]).view([1, 1, 2]);
        let g = Tensor::from_slice(&[1.0, 0.0]).view([1, 1, 2]);
        let value = value(hardness_dice(&p, &g, 0.0));
        let expected = 1.0 - (1.8 + 1e-5) / (2.1 + 1e-5);
        assert!((value - expected).abs() < 1e-12, "{value}");
    }

    #[test]
    fn generalised_dice_by_hand() {
        // Three voxels of background and one of foreground: their weights are 1/9 and 1.
        let p = Tensor::from_slice(&[0.9, 0.8, 0.7, 0.4, 0.1, 0.2, 0.3, 0.6]).view([1, 2, 4]);
        let g = Tensor::from_slice(&[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]).view([1, 2, 4]);
        let above = 2.0 * (2.4 / 9.0 + 0.6) + 1e-5;
        let below = (2.8 + 3.0) / 9.0 + (1.2 + 1.0) + 1e-5;
        let value = value(generalized_dice(&p, &g));
        assert!((value - (1.0 - above / below)).abs() < 1e-12, "{value}");
    }

    #[test]
    fn an_absent_class_weighs_as_much_as_the_rarest() {
        let p = Tensor::from_slice(&[0.9, 0.8, 0.1, 0.2]).view([1, 2, 2]);
        let g = Tensor::from_slice(&[1.0, 1.0, 0.0, 0.0]).view([1, 2, 2]);
        let found = value(generalized_dice(&p, &g));
        let expected = 1.0 - (2.0 * 1.7 + 1e-5) / (1.7 + 2.0 + 0.3 + 1e-5);
        assert!((found - expected).abs() < 1e-12, "{found}");
        // Nothing there and nothing found is no loss; nothing there and something found is all of it.
        let empty = Tensor::from_slice(&[0.0, 0.0]).view([1, 1, 2]);
        assert_eq!(value(generalized_dice(&empty, &empty)), 0.0);
        let all = Tensor::from_slice(&[1.0, 1.0]).view([1, 1, 2]);
        assert!((value(generalized_dice(&all, &empty)) - 1.0).abs() < 1e-5);
    }
}
