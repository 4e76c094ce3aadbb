//! A Gaussian along all three axes; beyond an end the end voxel goes on.

use rayon::prelude::*;

/// Where the Gaussian ends, in standard deviations.
const REACH: f64 = 3.0;

/// The weights from the middle on, which add up to 1 with those of the other side.
fn weights(sigma: f64) -> Vec<f32> {
    let radius = (REACH * sigma).ceil().max(1.0) as usize;
    let weight = |k: usize| (-0.5 * (k as f64 / sigma).powi(2)).exp();
    let total: f64 = (0..=radius).map(|k| if k == 0 { 1.0 } else { 2.0 * weight(k) }).sum();
    (0..=radius).map(|k| (weight(k) / total) as f32).collect()
}

/// Smooths a volume in place, `sigma` in voxels; nothing is done for 0.
pub(super) fn smooth(voxels: &mut [f32], between: &mut Vec<f32>, size: [usize; 3], sigma: f64) {
    if sigma <= 0.0 {
        return;
    }
    let weights = weights(sigma);
    let area = size[1] * size[2];
    between.resize(voxels.len(), 0.0);
    // In each plane along W, then along H.
    let scratch = || (vec![0.0; size[2] + 2 * weights.len()], vec![0.0; area]);
    between.par_chunks_exact_mut(area).zip(voxels.par_chunks_exact(area)).for_each_init(
        scratch,
        |(padded, rows), (out, plane)| {
            for (row, out) in plane.chunks_exact(size[2]).zip(rows.chunks_exact_mut(size[2])) {
                along_row(row, &weights, padded, out);
            }
            across(rows, size[1], size[2], &weights, out);
        },
    );
    // Along D.
    voxels.par_chunks_exact_mut(area).enumerate().for_each(|(slice, out)| {
        gather(between, slice, size[0], area, &weights, out);
    });
}

fn along_row(row: &[f32], weights: &[f32], padded: &mut [f32], out: &mut [f32]) {
    let (width, radius) = (row.len(), weights.len() - 1);
    padded[..radius].fill(row[0]);
    padded[radius..radius + width].copy_from_slice(row);
    padded[radius + width..radius * 2 + width].fill(row[width - 1]);
    for (out, &value) in out.iter_mut().zip(row) {
        *out = weights[0] * value;
    }
    for (k, &weight) in weights.iter().enumerate().skip(1) {
        let (low, high) = (&padded[radius - k..][..width], &padded[radius + k..][..width]);
        for ((out, &low), &high) in out.iter_mut().zip(low).zip(high) {
            *out += weight * (low + high);
        }
    }
}

/// All rows of a plane.
fn across(rows: &[f32], height: usize, width: usize, weights: &[f32], out: &mut [f32]) {
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        gather(rows, row, height, width, weights, out);
    }
}

/// Weighs the neighbours of one piece of `count` that lie one after the other.
fn gather(pieces: &[f32], piece: usize, count: usize, length: usize, weights: &[f32], out: &mut [f32]) {
    let at = |index: usize| &pieces[index * length..][..length];
    for (out, &value) in out.iter_mut().zip(at(piece)) {
        *out = weights[0] * value;
    }
    for (k, &weight) in weights.iter().enumerate().skip(1) {
        let (low, high) = (at(piece.saturating_sub(k)), at((piece + k).min(count - 1)));
        for ((out, &low), &high) in out.iter_mut().zip(low).zip(high) {
            *out += weight * (low + high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_level_stays_and_a_point_becomes_a_bell() {
        let size = [9, 11, 13];
        let mut level = vec![2.0; size.iter().product()];
        smooth(&mut level, &mut Vec::new(), size, 1.5);
        assert!(level.iter().all(|value| (value - 2.0).abs() < 1e-5));
        let mut point = vec![0.0; size.iter().product()];
        let at = |d: usize, h: usize, w: usize| (d * 11 + h) * 13 + w;
        point[at(4, 5, 6)] = 1.0;
        smooth(&mut point, &mut Vec::new(), size, 1.0);
        let total: f32 = point.iter().sum();
        assert!((total - 1.0).abs() < 1e-5, "{total}");
        let along_axes = [at(3, 5, 6), at(4, 4, 6), at(4, 5, 5), at(4, 5, 7)].map(|place| point[place]);
        assert!(along_axes.iter().all(|value| (value - along_axes[0]).abs() < 1e-7));
        let ratio = along_axes[0] / point[at(4, 5, 6)];
        assert!((f64::from(ratio) - (-0.5_f64).exp()).abs() < 1e-5);
    }
}
