//! A scan through patient space onto another grid: how all scans come to the grid of one.

use rayon::prelude::*;
use tomoflow_connectors::{Geometry, Reject, Scan, pages};

use super::grid::{self, Order};
use super::line::Volume;
use super::regrid::VoxelMap;
use super::values;

/// The intensities of a scan on `target`, through patient space: by the nearest voxel, or linear between eight. A
/// place within half a voxel of the outermost centres has their values; what lies farther out is `fill`. The grids
/// may be oblique to each other, and sheared.
///
/// # Errors
/// `BAD_GRID` for a grid without voxels, or whose axes have no length or do not span space; `NO_OVERLAP` where no
/// voxel of the target lies in the scan; `NOT_FINITE` for NaN or infinities in the result; `TOO_LARGE`.
pub fn onto(scan: &Scan, target: &Geometry, order: Order, fill: f32) -> Result<Scan, Reject> {
    let source = scan.geometry();
    grid::check(source)?;
    grid::check(target)?;
    grid::check_voxels(target.size)?;
    let map = VoxelMap::between(target, source)?;
    let mut voxels = vec![0.0; target.voxels()];
    pages::large(&mut voxels);
    let volume = Volume { voxels: scan.voxels(), size: source.size };
    let write = |band: Band<'_>| map.write(&volume, band, target.size[2], order, fill);
    let both = |a: (usize, bool), b: (usize, bool)| (a.0 + b.0, a.1 && b.1);
    let bands = bands(&mut voxels, target.size).into_par_iter().with_min_len(TOGETHER);
    let (inside, finite) = bands.map(write).reduce(|| (0, true), both);
    if inside == 0 {
        return Err(Reject::new(
            "NO_OVERLAP",
            "a scan that shares space with the grid expected, one that lies beside it found",
            "both are placed by their patient positions: nothing is registered",
        ));
    }
    if !finite {
        return Err(values::not_finite());
    }
    Scan::new(target.clone(), voxels).map_err(|error| Reject::new("GRID_MISMATCH", error.to_string(), ""))
}

/// Rows of one slice of a grid: its slice, its first row, and their voxels.
type Band<'a> = (usize, usize, &'a mut [f32]);

/// The rows of a band: what they read of the source stays in the cache for the same rows of the next slice.
const ROWS: usize = 16;
/// The least number of bands that a thread takes at once.
const TOGETHER: usize = 24;

/// The bands of a volume `[D, H, W]`, those of the same rows one after the other.
fn bands(voxels: &mut [f32], [_, height, width]: [usize; 3]) -> Vec<Band<'_>> {
    let mut bands: Vec<Band<'_>> = Vec::new();
    for (slice, plane) in voxels.chunks_exact_mut(height * width).enumerate() {
        let rows = plane.chunks_mut(ROWS * width).enumerate();
        bands.extend(rows.map(|(band, rows)| (slice, band * ROWS, rows)));
    }
    bands.sort_by_key(|(slice, row, _)| (*row, *slice));
    bands
}

impl VoxelMap {
    /// Writes a band. Gives the number of its voxels that lie in the source, and whether all its values are finite.
    fn write(
        &self,
        volume: &Volume<'_, f32>,
        (slice, row, voxels): Band<'_>,
        width: usize,
        order: Order,
        fill: f32,
    ) -> (usize, bool) {
        let mut inside = 0;
        for (index, out) in voxels.chunks_exact_mut(width).enumerate() {
            let line = self.line(slice, row + index);
            let columns = self.columns(line.first, volume.size, width);
            out[..columns.start].fill(fill);
            out[columns.end..].fill(fill);
            inside += columns.len();
            let out = &mut out[columns.clone()];
            match order {
                Order::Nearest => line.nearest(volume, columns, out),
                _ => line.linear(volume, columns, out),
            }
        }
        (inside, values::all_finite(voxels))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tomoflow_connectors::VoxelIndex;

    use super::super::regrid::{nearest_voxel, within};
    use super::*;

    fn numbered(geometry: Geometry) -> Scan {
        let voxels = (0..geometry.voxels()).map(|i| (i * 37 % 101) as f32).collect();
        Scan::new(geometry, voxels).unwrap()
    }

    fn turned(size: [usize; 3], angle: f64) -> Geometry {
        let (c, s) = (angle.cos(), angle.sin());
        Geometry {
            size,
            origin_mm: [-2.0, 1.0, 0.5],
            steps_mm: [[0.0, 0.2, 2.0], [-s * 0.9, c * 0.9, 0.0], [c * 0.8, s * 0.8, 0.1]],
        }
    }

    /// The definition, voxel by voxel: eight neighbours by their shares, or the nearest.
    fn oracle(scan: &Scan, target: &Geometry, order: Order, fill: f32) -> Vec<f32> {
        let size = scan.size();
        let value = |at: [f64; 3]| {
            let mut sum = 0.0;
            for corner in 0..8 {
                let mut share = 1.0;
                let place = [0, 1, 2].map(|axis: usize| {
                    let low = at[axis].floor();
                    let up = corner >> axis & 1 == 1;
                    share *= if up { at[axis] - low } else { 1.0 - (at[axis] - low) };
                    let index = low + f64::from(u8::from(up));
                    index.clamp(0.0, size[axis] as f64 - 1.0) as usize
                });
                sum += share * f64::from(scan.voxels()[(place[0] * size[1] + place[1]) * size[2] + place[2]]);
            }
            sum as f32
        };
        let [_, height, width] = target.size;
        let each = (0..target.voxels()).map(|i| [i / (height * width), i / width % height, i % width]);
        each.map(|index| {
            let point = target.to_patient(VoxelIndex(index.map(|n| n as f64)));
            let at = scan.geometry().to_voxel(point).unwrap().0;
            match (0..3).all(|axis| within(at[axis], size[axis])) {
                false => fill,
                true if order == Order::Nearest => {
                    let [d, h, w] = [0, 1, 2].map(|axis| nearest_voxel(at[axis], size[axis]).unwrap());
                    scan.voxels()[(d * size[1] + h) * size[2] + w]
                }
                true => value(at),
            }
        })
        .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn oblique_grids_follow_the_definition(
            sizes in [[1..6usize, 1..7usize, 1..14usize], [1..6usize, 1..20usize, 1..30usize]],
            angles in [-3.2..3.2f64, -3.2..3.2f64],
            shift in [-4.0..4.0f64, -4.0..4.0f64, -4.0..4.0f64],
            nearest in any::<bool>(),
        ) {
            let scan = numbered(turned(sizes[0], angles[0]));
            let mut target = turned(sizes[1], angles[1]);
            target.origin_mm = shift;
            let order = if nearest { Order::Nearest } else { Order::Linear };
            let expected = oracle(&scan, &target, order, -7.0);
            match onto(&scan, &target, order, -7.0) {
                Ok(found) => {
                    prop_assert_eq!(found.geometry(), &target);
                    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 2e-3;
                    prop_assert!(found.voxels().iter().zip(&expected).all(near));
                }
                Err(failure) => {
                    prop_assert_eq!(failure.code, "NO_OVERLAP");
                    prop_assert!(expected.iter().all(|value| *value == -7.0));
                }
            }
        }
    }

    #[test]
    fn its_own_grid_changes_nothing() {
        let scan = numbered(turned([3, 4, 5], 0.3));
        for order in [Order::Nearest, Order::Linear] {
            assert_eq!(onto(&scan, scan.geometry(), order, 0.0).unwrap(), scan);
        }
        // A grid that is the same but for what can be said of it: nothing of a neighbour gets in.
        let rounded = |mm: f64| (mm * 1e9).round() / 1e9;
        let own = scan.geometry().clone();
        let said = Geometry { steps_mm: own.steps_mm.map(|step| step.map(rounded)), ..own };
        assert_eq!(onto(&scan, &said, Order::Linear, 0.0).unwrap().voxels(), scan.voxels());
    }

    #[test]
    fn linear_by_hand() {
        let scan = Scan::new(Geometry::axis_aligned([1, 1, 3], [1.0; 3]), vec![2.0, 4.0, 8.0]).unwrap();
        let target =
            Geometry { origin_mm: [-0.75, 0.0, 0.0], ..Geometry::axis_aligned([1, 1, 8], [1.0, 1.0, 0.5]) };
        // At -0.75, -0.25, 0.25, …: half a voxel beyond the outermost centres their values count.
        let found = onto(&scan, &target, Order::Linear, 9.0).unwrap();
        assert_eq!(found.voxels(), [9.0, 2.0, 2.5, 3.5, 5.0, 7.0, 8.0, 9.0]);
        let found = onto(&scan, &target, Order::Nearest, 9.0).unwrap();
        assert_eq!(found.voxels(), [9.0, 2.0, 2.0, 4.0, 4.0, 8.0, 8.0, 9.0]);
    }

    /// Half a voxel before the first centre, and a little noise along the line: labels are there as well.
    #[test]
    fn the_border_is_where_it_is_for_labels() {
        let scan = Scan::new(Geometry::axis_aligned([1, 2, 3], [1.0; 3]), vec![1.0; 6]).unwrap();
        for noise in [0.0, 1e-17, -1e-13] {
            let mut target = Geometry { origin_mm: [0.0, -0.5 - 1e-9, 0.0], ..scan.geometry().clone() };
            target.steps_mm[2][1] = noise;
            let found = onto(&scan, &target, Order::Linear, 0.0).unwrap();
            assert_eq!(found.voxels(), [1.0; 6], "{noise}");
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let scan = numbered(turned([3, 4, 5], 0.3));
        let beside = Geometry { origin_mm: [500.0, 0.0, 0.0], ..turned([3, 4, 5], 0.3) };
        assert_eq!(onto(&scan, &beside, Order::Linear, 0.0).unwrap_err().code, "NO_OVERLAP");
        let flat = Geometry::axis_aligned([1, 1, 4], [0.0, 1.0, 1.0]);
        assert_eq!(onto(&scan, &flat, Order::Linear, 0.0).unwrap_err().code, "BAD_GRID");
        let large = Geometry::axis_aligned([65_536; 3], [0.1; 3]);
        assert_eq!(onto(&scan, &large, Order::Linear, 0.0).unwrap_err().code, "TOO_LARGE");
        let torn = Scan::new(scan.geometry().clone(), vec![f32::NAN; 60]).unwrap();
        assert_eq!(onto(&torn, scan.geometry(), Order::Linear, 0.0).unwrap_err().code, "NOT_FINITE");
    }
}
