//! Scans in coarser voxels: means of blocks.

use rayon::prelude::*;
use tomoflow_connectors::{Geometry, Scan};

/// The fewest voxels that an axis is brought down to.
const LEAST: usize = 8;

/// How many voxels along each axis become one, so that voxels are about `level_mm` wide.
pub(super) fn factors(geometry: &Geometry, level_mm: f64) -> [usize; 3] {
    let spacing_mm = geometry.spacing_mm();
    [0, 1, 2].map(|axis| within(geometry.size[axis], (level_mm / spacing_mm[axis] + 1e-6) as usize))
}

/// A factor that leaves an axis enough voxels.
pub(super) fn within(voxels: usize, factor: usize) -> usize {
    factor.min(voxels / LEAST).max(1)
}

/// The grid of blocks; voxels that fill no block at the far end are left out.
pub(super) fn grid(geometry: &Geometry, factors: [usize; 3]) -> Geometry {
    let mut coarse = geometry.clone();
    for (axis, factor) in factors.into_iter().enumerate() {
        let step = geometry.steps_mm[axis];
        coarse.size[axis] = geometry.size[axis] / factor;
        coarse.steps_mm[axis] = step.map(|mm| mm * factor as f64);
        for (origin, mm) in coarse.origin_mm.iter_mut().zip(step) {
            *origin += mm * (factor - 1) as f64 / 2.0;
        }
    }
    coarse
}

/// Means of blocks.
pub(super) fn means(voxels: &[f32], size: [usize; 3], factors: [usize; 3]) -> Vec<f32> {
    if factors == [1; 3] {
        return voxels.to_vec();
    }
    let [depth, height, width] = [0, 1, 2].map(|axis| size[axis] / factors[axis]);
    let scale = 1.0 / factors.iter().product::<usize>() as f32;
    let mut coarse = vec![0.0; depth * height * width];
    coarse.par_chunks_exact_mut(height * width).enumerate().for_each(|(slice, out)| {
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            for d in slice * factors[0]..(slice + 1) * factors[0] {
                for h in row * factors[1]..(row + 1) * factors[1] {
                    let line = &voxels[(d * size[1] + h) * size[2]..][..width * factors[2]];
                    for (out, block) in out.iter_mut().zip(line.chunks_exact(factors[2])) {
                        *out += block.iter().sum::<f32>();
                    }
                }
            }
            out.iter_mut().for_each(|value| *value *= scale);
        }
    });
    coarse
}

/// A scan in blocks.
pub(super) fn scan(scan: &Scan, factors: [usize; 3]) -> Option<Scan> {
    let voxels = means(scan.voxels(), scan.size(), factors);
    Scan::new(grid(scan.geometry(), factors), voxels).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_lie_where_their_voxels_did() {
        let geometry = Geometry::axis_aligned([8, 17, 24], [3.0, 1.0, 1.0]);
        assert_eq!(factors(&geometry, 4.0), [1, 2, 3]);
        let voxels: Vec<f32> = (0..geometry.voxels()).map(|index| (index % 24) as f32).collect();
        let fine = Scan::new(geometry, voxels).unwrap();
        let coarse = scan(&fine, [1, 2, 3]).unwrap();
        assert_eq!(coarse.size(), [8, 8, 8]);
        assert_eq!(coarse.geometry().origin_mm, [1.0, 0.5, 0.0]);
        // A slope stays the same one.
        assert!(
            coarse.voxels().iter().enumerate().all(|(index, &value)| value == (index % 8) as f32 * 3.0 + 1.0)
        );
    }
}
