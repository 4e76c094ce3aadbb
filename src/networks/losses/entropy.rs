//! What losses of log-probabilities have in common: the logarithms of a map, and the mean over voxels.

use tch::{Kind, Tensor};

use crate::networks::NetworkError;
use crate::networks::tensors::scalar::{at_least, plus, times};

/// Nearer to 0 than this, 32-bit numbers beside 1 are lost.
pub(super) const SMALLEST: f64 = 1e-7;

/// Logarithms `[N, 2, …]` of `1 - p` and `p`, for probabilities `[N, 1, …]` kept away from 0 and 1.
///
/// # Errors
/// [`NetworkError::Torch`] when libtorch refuses.
pub fn logarithms_of(probability: &Tensor) -> Result<Tensor, NetworkError> {
    Ok(at_least(&with_rest(probability)?, SMALLEST)?.f_log()?)
}

/// Returns `1 - x` and `x` as two channels, of `[N, 1, …]`.
///
/// # Errors
/// [`NetworkError::Torch`] when libtorch refuses.
pub fn with_rest(x: &Tensor) -> Result<Tensor, NetworkError> {
    Ok(Tensor::f_cat(&[&plus(&times(x, -1.0)?, 1.0)?, x], 1)?)
}

/// The mean over samples and voxels of what stands for each class, `[N, C, …]`, summed and turned round.
pub(super) fn mean_over_voxels(product: &Tensor) -> Result<Tensor, NetworkError> {
    let over_classes = product.f_sum_dim_intlist([1i64].as_slice(), false, None::<Kind>)?;
    times(&over_classes.f_mean(None::<Kind>)?, -1.0)
}

/// The same by the weight `[C]` of each voxel's class, as PyTorch weighs cross entropy: divided by the weights of all
/// voxels; 0 where these are 0.
pub(super) fn weighed_mean(
    product: &Tensor,
    truth: &Tensor,
    weights: &Tensor,
) -> Result<Tensor, NetworkError> {
    let mut shape = vec![1; truth.dim()];
    if let Some(channels) = shape.get_mut(1) {
        *channels = weights.numel() as i64;
    }
    let weights = weights.f_to_kind(truth.kind())?.f_view(shape.as_slice())?;
    let whole = at_least(&truth.f_mul(&weights)?.f_sum(None::<Kind>)?, f64::from(f32::MIN_POSITIVE))?;
    times(&product.f_mul(&weights)?.f_sum(None::<Kind>)?.f_div(&whole)?, -1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voxels_count_by_the_weight_of_their_class() {
        let logarithms = Tensor::from_slice(&[0.9f64, 0.2, 0.1, 0.8]).log().view([1, 2, 2]);
        let truth = Tensor::from_slice(&[1.0f64, 0.0, 0.0, 1.0]).view([1, 2, 2]);
        let product = logarithms * &truth;
        let of = |weights: &[f64]| {
            f64::try_from(weighed_mean(&product, &truth, &Tensor::from_slice(weights)).unwrap()).unwrap()
        };
        let expected = -(0.9f64.ln() + 3.0 * 0.8f64.ln()) / 4.0;
        assert!((of(&[1.0, 3.0]) - expected).abs() < 1e-12);
        assert!((of(&[1.0, 0.0]) + 0.9f64.ln()).abs() < 1e-12);
        assert_eq!(of(&[0.0, 0.0]), 0.0);
    }
}
