//! Tensors to plain numbers and back: what boxes are made of.

use tch::{Device, Kind, Tensor};

use super::boxes::Box2;
use crate::networks::NetworkError;

/// Returns all numbers of a tensor, the last axis fastest.
pub(super) fn of(tensor: &Tensor) -> Result<Vec<f64>, NetworkError> {
    let flat = tensor.f_detach()?.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?.f_reshape([-1])?;
    Ok(Vec::try_from(flat)?)
}

/// Whether all of a tensor's numbers are some.
pub(super) fn all_finite(tensor: &Tensor) -> Result<bool, NetworkError> {
    Ok(of(tensor)?.iter().all(|number| number.is_finite()))
}

/// Numbers by fours.
pub(super) fn fours(tensor: &Tensor) -> Result<Vec<[f64; 4]>, NetworkError> {
    Ok(of(tensor)?.as_chunks::<4>().0.to_vec())
}

/// Places as an index on a device.
pub(super) fn index(places: &[usize], device: Device) -> Result<Tensor, NetworkError> {
    let places: Vec<i64> = places.iter().map(|place| *place as i64).collect();
    Ok(Tensor::f_from_slice(&places)?.f_to_device(device)?)
}

/// Numbers as a tensor `[n, 4]` of the kind and on the device of another.
pub(super) fn rows(rows: &[Box2], like: &Tensor) -> Result<Tensor, NetworkError> {
    let tensor = Tensor::f_from_slice(rows.as_flattened())?.f_view([rows.len() as i64, 4])?;
    Ok(tensor.f_to_kind(like.kind())?.f_to_device(like.device())?)
}

/// Numbers as a tensor of the kind and on the device of another.
pub(super) fn like(numbers: &[f64], like: &Tensor) -> Result<Tensor, NetworkError> {
    Ok(Tensor::f_from_slice(numbers)?.f_to_kind(like.kind())?.f_to_device(like.device())?)
}
