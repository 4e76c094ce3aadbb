//! Deformable convolution (Dai et al. 2017): a kernel whose places are moved by what is seen.

use tch::Tensor;

use super::numbers;
use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::scalar::{plus, times};

/// libtorch's numbers for interpolation, and for nothing beyond the map.
const BILINEAR: i64 = 0;
const ZEROS: i64 = 0;

/// A convolution of maps `[N, C, H, W]` by a weight `[O, C, k, k]`, its padding half its kernel, each of whose places is moved
/// by `offsets` `[N, 2 * k * k, H', W']`, a row's and a column's one after the other; beyond the map there is nothing.
pub(super) fn convolution(
    x: &Tensor,
    offsets: &Tensor,
    weight: &Tensor,
    stride: i64,
) -> Result<Tensor, NetworkError> {
    let (size, shape, out) = (x.size(), weight.size(), offsets.size());
    let (images, channels, height, width) = (size[0], size[1], size[2], size[3]);
    let (kernel, rows, columns) = (shape[2], out[2], out[3]);
    let places = kernel * kernel;
    let moved = offsets.f_view([images, places, 2, rows, columns])?;
    let (mut down, mut right) = (Vec::new(), Vec::new());
    for place in 0..places {
        down.push((place / kernel - kernel / 2) as f64);
        right.push((place % kernel - kernel / 2) as f64);
    }
    let along = |length: i64| -> Vec<f64> { (0..length).map(|place| (place * stride) as f64).collect() };
    let on = |numbers: &[f64], shape: [i64; 3]| -> Result<Tensor, NetworkError> {
        Ok(numbers::like(numbers, x)?.f_view(shape)?)
    };
    // For libtorch a map reaches from -1 to 1.
    let scaled = |axis: i64, rest: Tensor, length: i64| -> Result<Tensor, NetworkError> {
        let at = moved.f_select(2, axis)?.f_add(&rest)?;
        plus(&times(&at, 2.0 / length as f64)?, 1.0 / length as f64 - 1.0)
    };
    let y = on(&down, [places, 1, 1])?.f_add(&on(&along(rows), [1, rows, 1])?)?;
    let x_of = on(&right, [places, 1, 1])?.f_add(&on(&along(columns), [1, 1, columns])?)?;
    let grid = Tensor::f_stack(&[scaled(1, x_of, width)?, scaled(0, y, height)?], -1)?;
    let grid = grid.f_reshape([images, places * rows, columns, 2])?;
    let sampled = x.f_grid_sampler(&grid, BILINEAR, ZEROS, false).doing("convolution")?;
    let sampled = sampled.f_reshape([images, channels * places, rows * columns])?;
    let summed = weight.f_reshape([shape[0], channels * places])?.f_matmul(&sampled)?;
    Ok(summed.f_reshape([images, shape[0], rows, columns])?)
}
