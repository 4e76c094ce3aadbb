//! What scanners and protocols do to intensities: fields, contrast, resolution and noise, on samples `[C, D, H, W]`.

use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::random::normal;
use crate::voxels::grid::{Convention, Order, Sampling};
use crate::voxels::kernel::AxisKernel;
use crate::voxels::separable::{self, Clip};

/// The degree of a bias field's polynomial, as in TorchIO.
const DEGREE: usize = 3;
/// The number of the field's coefficients: of all terms up to [`DEGREE`] in three axes.
pub const TERMS: usize = 20;

/// Replaces each channel, a volume of `size`, by what `make` makes of it.
fn each_channel(input: &mut [f32], size: [usize; 3], make: impl Fn(&[f32]) -> Vec<f32>) {
    for channel in input.chunks_exact_mut(size.iter().product::<usize>().max(1)) {
        let made = make(channel);
        if made.len() == channel.len() {
            channel.copy_from_slice(&made);
        }
    }
}

/// Smooths by a Gaussian of `sigma_mm`, the outermost voxel repeated.
pub fn blur(input: &mut [f32], size: [usize; 3], spacing_mm: [f64; 3], sigma_mm: f64) {
    let line = |axis: usize| {
        let sigma = if size[axis] > 1 { sigma_mm / spacing_mm[axis] } else { 0.0 };
        AxisKernel::gaussian(size[axis], sigma)
    };
    let lines = [line(0), line(1), line(2)];
    each_channel(input, size, |volume| separable::resample(volume, size, &lines, Clip::Never));
}

/// There and back: `zoom` as many voxels along each axis, by the nearest, then as many as before by a cubic spline
/// (nnU-Net's `SimulateLowResolutionTransform`).
pub fn low_resolution(input: &mut [f32], size: [usize; 3], zoom: f64) {
    let zoom = zoom.clamp(1e-3, 1.0);
    let down = size.map(|n| Sampling::new(Convention::Nnunet, n, 1.0, 1.0 / zoom));
    there_and_back(input, size, &down, Order::Nearest, Order::Cubic, false);
}

/// There and back: slices of `thickness_mm`, smoothed over their thickness, and linear between them.
pub fn thick_slices(input: &mut [f32], size: [usize; 3], spacing_mm: [f64; 3], thickness_mm: f64) {
    let new = [thickness_mm.max(spacing_mm[0]), 1.0, 1.0];
    let old = [spacing_mm[0], 1.0, 1.0];
    let down = [0, 1, 2].map(|axis| Sampling::new(Convention::Nnunet, size[axis], old[axis], new[axis]));
    there_and_back(input, size, &down, Order::Linear, Order::Linear, true);
}

fn there_and_back(
    input: &mut [f32],
    size: [usize; 3],
    down: &[Sampling; 3],
    there: Order,
    back: Order,
    antialias: bool,
) {
    let up = [0, 1, 2].map(|axis| {
        let (few, many) = (down[axis].new, size[axis]);
        Sampling::new(Convention::Nnunet, few, many as f64, few as f64)
    });
    let small = down.map(|sampling| sampling.new);
    let there = [0, 1, 2].map(|axis| AxisKernel::new(&down[axis], there, antialias));
    let back = [0, 1, 2].map(|axis| AxisKernel::new(&up[axis], back, false));
    each_channel(input, size, |volume| {
        let coarse = separable::resample(volume, size, &there, Clip::Never);
        separable::resample(&coarse, small, &back, Clip::Volume)
    });
}

/// Raises intensities, brought to 0…1 and back, to a power.
pub fn gamma(input: &mut [f32], power: f64) {
    let (low, high) = range(input);
    let width = high - low;
    if !(width > 0.0 && width.is_finite()) {
        return;
    }
    let power = power as f32;
    input.par_iter_mut().for_each(|value| *value = ((*value - low) / width).powf(power) * width + low);
}

fn range(input: &[f32]) -> (f32, f32) {
    input.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
}

/// Adds numbers from a normal distribution of `share` times the sample's own standard deviation.
pub fn noise(input: &mut [f32], share: f64, random: &mut ChaCha8Rng) {
    let count = input.len().max(1) as f64;
    let mean = input.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let variance = input.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
    let sigma = share * variance.sqrt();
    if sigma > 0.0 && sigma.is_finite() {
        input.iter_mut().for_each(|value| *value += (sigma * normal(random)) as f32);
    }
}

/// Multiplies by exp of a polynomial over the sample, from −1 to 1 along each axis (TorchIO's `RandomBiasField`;
/// Van Leemput 1999). Coefficients come by the powers of W, then H, then D.
pub fn bias_field(input: &mut [f32], size: [usize; 3], coefficients: &[f64; TERMS]) {
    let [depth, height, width] = size;
    let place = |index: usize, n: usize| if n > 1 { 2.0 * index as f64 / (n - 1) as f64 - 1.0 } else { 0.0 };
    let plane = (height * width).max(1);
    input.par_chunks_mut(plane).enumerate().for_each(|(slice, values)| {
        let d = place(slice % depth.max(1), depth);
        for (row, line) in values.chunks_exact_mut(width.max(1)).enumerate() {
            // What remains of the polynomial along a row, by the powers of W.
            let powers = along_w(coefficients, d, place(row, height));
            for (index, value) in line.iter_mut().enumerate() {
                let w = place(index, width);
                let field = ((powers[3] * w + powers[2]) * w + powers[1]) * w + powers[0];
                *value *= field.exp() as f32;
            }
        }
    });
}

fn along_w(coefficients: &[f64; TERMS], d: f64, h: f64) -> [f64; DEGREE + 1] {
    let mut powers = [0.0; DEGREE + 1];
    let mut next = coefficients.iter();
    for (of_w, sum) in powers.iter_mut().enumerate() {
        for of_h in 0..=DEGREE - of_w {
            for of_d in 0..=DEGREE - of_w - of_h {
                let coefficient = next.next().copied().unwrap_or_default();
                *sum += coefficient * h.powi(of_h as i32) * d.powi(of_d as i32);
            }
        }
    }
    powers
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn ramp(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i * 7 % 23) as f32 - 5.0).collect()
    }

    #[test]
    fn a_blurred_impulse_is_a_bell_of_its_width_in_mm() {
        let size = [1, 41, 41];
        let mut input = vec![0.0; 41 * 41];
        input[20 * 41 + 20] = 1.0;
        blur(&mut input, size, [1.0, 2.0, 1.0], 3.0);
        let sum: f32 = input.iter().sum();
        assert!((sum - 1.0).abs() < 1e-4);
        let spread = |axis: usize, mm: f64| {
            let square = |i: usize| ([i / 41, i % 41][axis] as f64 - 20.0).powi(2) * mm * mm;
            input.iter().enumerate().map(|(i, &v)| f64::from(v) * square(i)).sum::<f64>().sqrt()
        };
        assert!((spread(0, 2.0) - 3.0).abs() < 0.05 && (spread(1, 1.0) - 3.0).abs() < 0.05);
        // Each channel on its own, and a single slice is not blurred along D.
        let mut two = [vec![1.0; 4], vec![5.0; 4]].concat();
        blur(&mut two, [1, 2, 2], [1.0; 3], 2.0);
        assert!(
            two[..4].iter().all(|v| (v - 1.0).abs() < 1e-6)
                && two[4..].iter().all(|v| (v - 5.0).abs() < 1e-5)
        );
    }

    #[test]
    fn full_resolution_and_thin_slices_change_nothing() {
        let size = [4, 6, 8];
        let before = ramp(192);
        let mut input = before.clone();
        low_resolution(&mut input, size, 1.0);
        thick_slices(&mut input, size, [3.0, 1.0, 1.0], 3.0);
        thick_slices(&mut input, size, [3.0, 1.0, 1.0], 1.0);
        assert_eq!(input, before);
        low_resolution(&mut input, size, 0.5);
        assert_ne!(input, before);
        assert_eq!(input.len(), before.len());
        let (low, high) = range(&before);
        assert!(input.iter().all(|v| (low..=high).contains(v)));
    }

    #[test]
    fn thick_slices_keep_what_is_alike_in_all_and_smear_what_is_in_one() {
        let size = [12, 1, 2];
        let mut input: Vec<f32> =
            (0..24).map(|i| if i % 2 == 0 { 3.0 } else { f32::from(i == 13) }).collect();
        thick_slices(&mut input, size, [1.0; 3], 4.0);
        assert!(input.iter().step_by(2).all(|v| (v - 3.0).abs() < 1e-5));
        let touched = input.iter().skip(1).step_by(2).filter(|v| **v > 1e-3).count();
        assert!(touched >= 4 && input[13] < 0.6, "{input:?}");
        // One slice has no other that it could be mixed with.
        let mut one = vec![2.0, 3.0];
        thick_slices(&mut one, [1, 1, 2], [1.0; 3], 9.0);
        assert_eq!(one, [2.0, 3.0]);
    }

    #[test]
    fn gamma_keeps_the_ends() {
        let mut input = vec![-2.0, 0.0, 2.0];
        gamma(&mut input, 2.0);
        assert_eq!(input, [-2.0, -1.0, 2.0]);
        let mut alike = vec![4.0; 3];
        gamma(&mut alike, 0.5);
        assert_eq!(alike, [4.0; 3]);
    }

    #[test]
    fn noise_is_as_strong_as_asked() {
        let before: Vec<f32> = (0..40_000).map(|i| (i % 2) as f32 * 10.0).collect();
        let mut input = before.clone();
        noise(&mut input, 0.1, &mut ChaCha8Rng::seed_from_u64(3));
        let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
        let sigma = (input.iter().zip(&before).map(square).sum::<f64>() / 40_000.0).sqrt();
        assert!((sigma - 0.5).abs() < 0.02, "{sigma}");
        let mut alike = vec![4.0; 3];
        noise(&mut alike, 0.5, &mut ChaCha8Rng::seed_from_u64(3));
        assert_eq!(alike, [4.0; 3]);
    }

    #[test]
    fn a_bias_field_is_the_exponential_of_its_polynomial() {
        let mut coefficients = [0.0; TERMS];
        let mut input = vec![1.0; 27];
        bias_field(&mut input, [3; 3], &coefficients);
        assert_eq!(input, [1.0; 27]);
        // The powers of D come first: 1, d, d², d³, h, …; the last is w³.
        (coefficients[1], coefficients[4], coefficients[TERMS - 1]) = (0.5, 0.25, 0.125);
        bias_field(&mut input, [3; 3], &coefficients);
        for (index, value) in input.into_iter().enumerate() {
            let [d, h, w] = [index / 9, index / 3 % 3, index % 3].map(|i| i as f64 - 1.0);
            let wanted = (0.5 * d + 0.25 * h + 0.125 * w.powi(3)).exp();
            assert!((f64::from(value) - wanted).abs() < 1e-6, "{index}");
        }
    }
}
