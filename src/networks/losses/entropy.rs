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

/// `1 - x` and `x` as two channels, of `[N, 1, …]`.
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
