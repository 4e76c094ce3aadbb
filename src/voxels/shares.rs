//! Maps of shares through patient space to another grid: how they return to the scan as it was acquired.

use tomoflow_connectors::{Geometry, Reject};

use super::grid;
use super::planes::UNKNOWN;
use super::regrid::{PARALLEL, REACH, VoxelMap};

/// A weight below this is none: what is all but a voxel is that voxel.
const SNAP: f64 = 1e-6;

/// The way of a map from its grid to another, which may be oblique to it, and sheared.
///
/// A voxel takes what lies at its place, linear between the source's voxels along each axis. It lies where a mask
/// lies: within the source's voxels, the outer halves of which hold what their centres hold; what is beyond is 0.
pub struct Way {
    map: VoxelMap,
    source: [usize; 3],
    target: [usize; 3],
}

/// The two voxels of an axis about a position, and the share of the second.
#[derive(Clone, Copy)]
struct Between {
    low: usize,
    high: usize,
    weight: f32,
}

impl Way {
    /// The way from the grid of a map to that of a scan.
    ///
    /// # Errors
    /// `BAD_GRID` for a grid without voxels, or whose axes have no length or do not span space.
    pub fn new(source: &Geometry, target: &Geometry) -> Result<Self, Reject> {
        grid::check(source)?;
        grid::check(target)?;
        let map = VoxelMap::between(target, source)?;
        Ok(Self { map, source: source.size, target: target.size })
    }

    /// The plane `d` of the target, bytes `[H, W]`, from the bytes `[D, H, W]` of the whole map; none where these do
    /// not fill its grid. A voxel with an unknown neighbour is unknown.
    pub fn plane(&self, bytes: &[u8], d: usize) -> Option<Vec<u8>> {
        let [_, height, width] = self.target;
        if bytes.len() != self.source.iter().product::<usize>() || d >= self.target[0] {
            return None;
        }
        let mut plane = vec![0; height * width];
        let along = self.map.steps[2];
        // Axes of the source along which a row of the target stays where it is.
        let stays = along.map(|step| step.abs() * (width as f64) < PARALLEL);
        for (h, row) in plane.chunks_exact_mut(width).enumerate() {
            let first = [0, 1, 2].map(|i| {
                self.map.start[i] + self.map.steps[0][i] * d as f64 + self.map.steps[1][i] * h as f64
            });
            let fixed = [0, 1, 2].map(|i| between(first[i], self.source[i]));
            if (0..3).any(|i| stays[i] && fixed[i].is_none()) {
                continue;
            }
            for (w, byte) in row.iter_mut().enumerate() {
                let at = |i: usize| {
                    if stays[i] { fixed[i] } else { between(first[i] + along[i] * w as f64, self.source[i]) }
                };
                if let (Some(d), Some(h), Some(w)) = (at(0), at(1), at(2)) {
                    *byte = self.linear(bytes, [d, h, w]);
                }
            }
        }
        Some(plane)
    }

    fn linear(&self, bytes: &[u8], [d, h, w]: [Between; 3]) -> u8 {
        let [_, height, width] = self.source;
        let byte =
            |d: usize, h: usize, w: usize| bytes.get((d * height + h) * width + w).copied().unwrap_or(0);
        let nearest = byte(d.low, h.low, w.low);
        if d.weight + h.weight + w.weight == 0.0 {
            return nearest;
        }
        let (mut sum, mut unknown) = (0f32, false);
        for (d, in_d) in [(d.low, 1.0 - d.weight), (d.high, d.weight)] {
            for (h, in_h) in [(h.low, 1.0 - h.weight), (h.high, h.weight)] {
                for (w, in_w) in [(w.low, 1.0 - w.weight), (w.high, w.weight)] {
                    let (weight, byte) = (in_d * in_h * in_w, byte(d, h, w));
                    unknown |= byte == UNKNOWN && weight > 0.0;
                    sum += weight * f32::from(byte);
                }
            }
        }
        // The sum lies between known bytes, and is one.
        if unknown { UNKNOWN } else { sum.round() as u8 }
    }
}

/// The voxels of an axis around a position; none beyond them.
fn between(position: f64, voxels: usize) -> Option<Between> {
    let last = voxels as f64 - 1.0;
    if !(position >= -REACH && position <= last + REACH) {
        return None;
    }
    let within = position.clamp(0.0, last);
    let whole = within.round();
    if (within - whole).abs() <= SNAP {
        let low = whole as usize;
        return Some(Between { low, high: low, weight: 0.0 });
    }
    let low = within.floor();
    let (weight, low) = ((within - low) as f32, low as usize);
    Some(Between { low, high: (low + 1).min(voxels - 1), weight })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tomoflow_connectors::VoxelIndex;

    use super::super::grid::{Convention, Sampling, resampled};
    use super::*;

    fn through(source: &Geometry, target: &Geometry, bytes: &[u8]) -> Vec<u8> {
        let way = Way::new(source, target).unwrap();
        (0..target.size[0]).flat_map(|d| way.plane(bytes, d).unwrap()).collect()
    }

    #[test]
    fn between_two_voxels_it_is_linear_and_beyond_them_nothing() {
        let source = Geometry::axis_aligned([1, 1, 2], [1.0, 1.0, 2.0]);
        let target = Geometry { origin_mm: [-2.0, 0.0, 0.0], ..Geometry::axis_aligned([1, 1, 7], [1.0; 3]) };
        // The outer half of a voxel holds what its centre holds, as a mask's does.
        assert_eq!(through(&source, &target, &[100, 200]), [0, 100, 100, 150, 200, 200, 0]);
        let fine = Geometry { origin_mm: [0.5, 0.0, 0.0], ..Geometry::axis_aligned([1, 1, 3], [0.5; 3]) };
        assert_eq!(through(&source, &fine, &[100, 200]), [125, 150, 175]);
    }

    #[test]
    fn what_is_unknown_stays_so_where_it_counts() {
        let source = Geometry::axis_aligned([1, 1, 3], [1.0; 3]);
        let shifted = Geometry { origin_mm: [0.5, 0.0, 0.0], ..source.clone() };
        assert_eq!(through(&source, &source, &[7, UNKNOWN, 254]), [7, UNKNOWN, 254]);
        assert_eq!(through(&source, &shifted, &[7, 254, UNKNOWN]), [131, UNKNOWN, UNKNOWN]);
    }

    #[test]
    fn bytes_that_do_not_fill_the_grid_are_refused() {
        let grid = Geometry::axis_aligned([2, 1, 3], [1.0; 3]);
        let way = Way::new(&grid, &grid).unwrap();
        assert_eq!(way.plane(&[0; 5], 0), None);
        assert_eq!(way.plane(&[0; 6], 2), None);
        let flat = Geometry::axis_aligned([2, 1, 3], [1.0, 0.0, 1.0]);
        assert_eq!(Way::new(&grid, &flat).err().unwrap().code, "BAD_GRID");
    }

    /// A turned, sheared grid.
    fn oblique(size: [usize; 3], step: f64) -> Geometry {
        let (c, s) = (0.8, 0.6);
        Geometry {
            size,
            origin_mm: [-2.0, 1.0, 0.5],
            steps_mm: [[0.0, 0.2, step], [-s * step, c * step, 0.0], [c * step, s * step, 0.0]],
        }
    }

    proptest! {
        /// A linear function of place is met wherever the map reaches, to what storing rounds.
        #[test]
        fn a_ramp_comes_back_as_itself(
            size in [1usize..6, 2usize..8, 2usize..9],
            step in 0.4..1.6f64,
            turned in any::<bool>(),
            slope in [-3.0..3.0f64, -3.0..3.0f64, -3.0..3.0f64],
        ) {
            let source = if turned { oblique(size, 1.0) } else { Geometry::axis_aligned(size, [1.5, 0.8, 0.8]) };
            let target = Geometry::axis_aligned([4, 6, 7], [step, step * 0.9, step * 1.1]);
            let ramp = |at: [f64; 3]| 127.0 + (0..3).map(|i| slope[i] * at[i]).sum::<f64>();
            let [_, rows, columns] = size;
            let place = |i: usize| [i / columns / rows, i / columns % rows, i % columns].map(|n| n as f64);
            let bytes: Vec<u8> = (0..source.voxels()).map(|i| ramp(place(i)).round() as u8).collect();
            let found = through(&source, &target, &bytes);
            for (i, byte) in found.into_iter().enumerate() {
                let voxel = [i / 42, i / 7 % 6, i % 7].map(|n| n as f64);
                let at = source.to_voxel(target.to_patient(VoxelIndex(voxel))).unwrap().0;
                let inside = |slack: f64| (0..3).all(|a| at[a] >= -slack && at[a] <= size[a] as f64 - 1.0 + slack);
                if inside(0.499) {
                    let within = [0, 1, 2].map(|a| at[a].clamp(0.0, size[a] as f64 - 1.0));
                    prop_assert!((f64::from(byte) - ramp(within)).abs() < 1.01, "{byte} at {at:?}");
                } else if !inside(0.502) {
                    prop_assert_eq!(byte, 0);
                }
            }
        }

        /// Along parallel axes it is what `resample` does to a scan on its way there.
        #[test]
        fn parallel_grids_are_resampled_as_scans_are(
            size in [1usize..6, 1usize..7, 1usize..8],
            values in proptest::collection::vec(0u8..=254, 210),
            new_mm in [0.3..3.0f64, 0.3..3.0f64, 0.3..3.0f64],
        ) {
            let source = Geometry::axis_aligned(size, [1.0; 3]);
            let samplings = [0, 1, 2].map(|a| Sampling::new(Convention::Nnunet, size[a], 1.0, new_mm[a]));
            let target = resampled(&source, &samplings);
            let bytes = &values[..source.voxels()];
            let floats: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte)).collect();
            let axes = [0, 1, 2].map(|a| grid::linear(&samplings[a]));
            let expected = super::super::interpolate::linear(
                &floats, size, &super::super::interpolate::Taps::new(axes, size[2]),
            );
            for (byte, expected) in through(&source, &target, bytes).into_iter().zip(expected) {
                prop_assert!((f32::from(byte) - expected).abs() < 0.501, "{byte} for {expected}");
            }
        }
    }
}
