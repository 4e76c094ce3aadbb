//! What losses of overlap have in common: sums over voxels, and the ratio of two of them.

use tch::{Kind, Tensor};

use crate::networks::NetworkError;
use crate::networks::tensors::scalar::{at_least, plus, times};

pub(super) const EPSILON: f64 = 1e-5;

/// The mean of `1 - (2 above + ε) / (below + ε)`.
pub(super) fn one_minus_ratio(above: &Tensor, below: &Tensor) -> Result<Tensor, NetworkError> {
    one_minus(&ratio(above, below, EPSILON)?.f_mean(None::<Kind>)?)
}

/// The mean over samples of that over classes by weights `[C]`; 0 where these are 0.
pub(super) fn weighed_one_minus_ratio(
    above: &Tensor,
    below: &Tensor,
    weights: &Tensor,
) -> Result<Tensor, NetworkError> {
    let weights = weights.f_to_kind(above.kind())?;
    let each = one_minus(&ratio(above, below, EPSILON)?)?.f_mul(&weights)?;
    let over_classes = each.f_sum_dim_intlist([1i64].as_slice(), false, None::<Kind>)?;
    let whole = at_least(&weights.f_sum(None::<Kind>)?, f64::from(f32::MIN_POSITIVE))?;
    Ok(over_classes.f_div(&whole)?.f_mean(None::<Kind>)?)
}

/// Returns `(2 above + ε) / (below + ε)`.
pub(super) fn ratio(above: &Tensor, below: &Tensor, epsilon: f64) -> Result<Tensor, NetworkError> {
    let above = plus(&times(above, 2.0)?, epsilon)?;
    Ok(above.f_div(&plus(below, epsilon)?)?)
}

/// Returns `1 - x`.
pub(super) fn one_minus(x: &Tensor) -> Result<Tensor, NetworkError> {
    plus(&times(x, -1.0)?, 1.0)
}

/// Returns the sums `[N, C]` of `[N, C, …]` over voxels.
pub(super) fn over_voxels(x: &Tensor) -> Result<Tensor, NetworkError> {
    let voxels: Vec<i64> = (2..x.dim() as i64).collect();
    Ok(x.f_sum_dim_intlist(voxels.as_slice(), false, None::<Kind>)?)
}
