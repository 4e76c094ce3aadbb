//! A tensor and a number. tch's own scalars panic when the operation they are part of fails (their drop
//! asks for libtorch's last error), so that want of GPU memory would not be an error; a tensor without
//! axes does not, and never widens the other's numbers.

use tch::Tensor;

use crate::networks::NetworkError;

fn number(value: f64) -> Result<Tensor, NetworkError> {
    Ok(Tensor::f_from_slice(&[value])?.f_view(())?)
}

/// Returns `x * value`.
pub(in crate::networks) fn times(x: &Tensor, value: f64) -> Result<Tensor, NetworkError> {
    Ok(x.f_mul(&number(value)?)?)
}

/// Returns `x + value`.
pub(in crate::networks) fn plus(x: &Tensor, value: f64) -> Result<Tensor, NetworkError> {
    Ok(x.f_add(&number(value)?)?)
}

/// Makes `x *= value` in place.
pub(in crate::networks) fn scale(x: &mut Tensor, value: f64) -> Result<(), NetworkError> {
    let _ = x.f_mul_(&number(value)?)?;
    Ok(())
}

/// Returns `x ^ exponent`.
pub(in crate::networks) fn power(x: &Tensor, exponent: f64) -> Result<Tensor, NetworkError> {
    Ok(x.f_pow(&number(exponent)?)?)
}

/// The greater of `x` and `least`.
pub(in crate::networks) fn at_least(x: &Tensor, least: f64) -> Result<Tensor, NetworkError> {
    Ok(x.f_clamp_min_tensor(&number(least)?.f_to_kind(x.kind())?.f_to_device(x.device())?)?)
}
