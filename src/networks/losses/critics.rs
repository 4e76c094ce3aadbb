//! What a critic says of probabilities, and what a segmentation learns from it (Nie et al., MICCAI 2018).

use tch::{Kind, Tensor};

use super::generalized_dice::{Absent, generalized_dice_each};
use super::overlap::over_voxels;
use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::scalar::{at_least, times};

/// Binary cross entropy of logits, the mean over all of them, against 1 for what is real and 0 for what is not.
///
/// # Errors
/// [`NetworkError::Torch`] when libtorch refuses.
pub fn real_or_not(logits: &Tensor, real: bool) -> Result<Tensor, NetworkError> {
    let logits = if real { logits.shallow_clone() } else { times(logits, -1.0)? };
    times(&logits.f_log_sigmoid()?.f_mean(None::<Kind>)?, -1.0)
}

/// Returns where a critic takes probabilities for an outline: `[N, 1, …]` of its logits, 1 where their
/// sigmoid is above `gamma`, else 0; without a gradient.
///
/// # Errors
/// [`NetworkError::Torch`] when libtorch refuses.
pub fn taken(logits: &Tensor, gamma: f64) -> Result<Tensor, NetworkError> {
    let sure = logits.f_detach()?.f_sigmoid()?;
    let gamma =
        Tensor::f_from_slice(&[gamma])?.f_view(())?.f_to_kind(sure.kind())?.f_to_device(sure.device())?;
    Ok(sure.f_gt_tensor(&gamma)?.f_to_kind(logits.kind())?)
}

/// What a segmentation would say: one channel a class of `[N, C, …]`, 1 where the class is the most likely; without a
/// gradient.
///
/// # Errors
/// [`NetworkError::Torch`] when libtorch refuses.
pub fn most_likely(probabilities: &Tensor) -> Result<Tensor, NetworkError> {
    let probabilities = probabilities.f_detach()?;
    let index = probabilities.f_argmax(1, true)?;
    let ones = index.f_ones_like()?.f_to_kind(probabilities.kind())?;
    probabilities.f_zeros_like()?.f_scatter(1, &index, &ones).doing("pseudo-labels")
}

/// Generalised Dice of probabilities `[N, C, …]` against `labels`, which they were themselves taken for
/// ([`most_likely`]), where `taken` `[N, 1, …]` is 1: "region attention". The mean over samples; one of which nothing is
/// taken counts as 0. Volumes are those of what is taken.
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal shape.
///
/// # Source
/// Nie et al., MICCAI 2018, equation 6
pub fn region_attention(
    probabilities: &Tensor,
    labels: &Tensor,
    taken: &Tensor,
    absent: Absent,
) -> Result<Tensor, NetworkError> {
    let within = |x: &Tensor| x.f_mul(taken).doing("region attention");
    let each = generalized_dice_each(&within(probabilities)?, &within(labels)?, absent)?;
    let voxels = over_voxels(taken)?.f_squeeze_dim(1)?;
    let any = voxels.f_gt_tensor(&voxels.f_zeros_like()?)?;
    Ok(each.f_where_self(&any, &each.f_zeros_like()?)?.f_mean(None::<Kind>)?)
}

/// Cross entropy of logarithms of probabilities `[N, C, …]` against `labels` where `taken` is 1: the mean over these
/// voxels, 0 where there are none.
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal shape.
pub fn cross_entropy_where(
    logarithms: &Tensor,
    labels: &Tensor,
    taken: &Tensor,
) -> Result<Tensor, NetworkError> {
    let sum = logarithms.f_mul(labels)?.f_mul(taken)?.f_sum(None::<Kind>)?;
    let voxels = at_least(&taken.f_sum(None::<Kind>)?, 1.0)?;
    times(&sum.f_div(&voxels)?, -1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(loss: &Tensor) -> f64 {
        f64::try_from(loss).unwrap()
    }

    fn logits(sure: &[f64]) -> Tensor {
        let logits: Vec<f64> = sure.iter().map(|p| (p / (1.0 - p)).ln()).collect();
        Tensor::from_slice(&logits)
    }

    #[test]
    fn the_specifications_cross_entropies() {
        let logits = logits(&[0.9, 0.6, 0.3]);
        let found = [true, false].map(|real| value(&real_or_not(&logits, real).unwrap()));
        for (found, expected) in found.into_iter().zip([0.606_719_647_9, 1.191_850_256_3]) {
            assert!((found - expected).abs() < 1e-10, "{found}");
        }
    }

    #[test]
    fn the_specifications_regions() {
        let p = [0.1, 0.7, 0.8, 0.8, 0.8, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1];
        let p = Tensor::from_slice(&p).view([1, 3, 4]).set_requires_grad(true);
        let sure = logits(&[0.9, 0.1, 0.6, 0.3]).view([1, 1, 4]).set_requires_grad(true);
        for (gamma, absent, expected) in [
            (0.2, Absent::Skip, 0.179_487_179_5),
            (0.5, Absent::Skip, 0.157_894_736_8),
            (0.2, Absent::Max, 0.255_813_953_5),
            (0.5, Absent::Max, 0.2),
            // Here nothing is taken.
            (0.95, Absent::Skip, 0.0),
        ] {
            let taken = taken(&sure, gamma).unwrap();
            assert!(!taken.requires_grad());
            let labels = most_likely(&p).unwrap();
            let loss = region_attention(&p, &labels, &taken, absent).unwrap();
            assert!((value(&loss) - expected).abs() < 2e-6, "{gamma}: {}", value(&loss));
            let [gradient] = &Tensor::f_run_backward(&[&loss], &[&p], false, false).unwrap()[..] else {
                panic!("one gradient expected")
            };
            assert!(bool::try_from(gradient.isfinite().all()).unwrap());
            // Voxels that are not taken teach nothing.
            let second = gradient.narrow(2, 1, 1).abs().max();
            assert_eq!(value(&second), 0.0);
        }
    }

    #[test]
    fn cross_entropy_is_the_mean_over_what_is_taken() {
        let p = Tensor::from_slice(&[0.8, 0.4, 0.2, 0.6]).view([1, 2, 2]);
        let labels = most_likely(&p).unwrap();
        let of = |taken: &[f64]| {
            let taken = Tensor::from_slice(taken).view([1, 1, 2]);
            value(&cross_entropy_where(&p.log(), &labels, &taken).unwrap())
        };
        assert!((of(&[1.0, 0.0]) + 0.8f64.ln()).abs() < 1e-12);
        assert!((of(&[1.0, 1.0]) + (0.8f64.ln() + 0.6f64.ln()) / 2.0).abs() < 1e-12);
        assert_eq!(of(&[0.0, 0.0]), 0.0);
    }
}
