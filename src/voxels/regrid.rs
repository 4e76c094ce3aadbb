//! Labels through patient space to another grid: how masks return to the scan as it was acquired.

use rayon::prelude::*;
use tomoflow_connectors::{Geometry, LabelMap, Reject, VoxelIndex, pages};

use super::grid;
use super::interpolate;
use super::line::{Line, Volume};

/// A voxel reaches half a spacing from its centre, and a little more against rounding.
pub(super) const REACH: f64 = 0.5 + 1e-3;
/// Off-axis drift over a whole volume, in voxels, below which two grids count as parallel.
pub(super) const PARALLEL: f64 = 1e-3;

/// The labels on `target`: each voxel takes the class of the source voxel that it lies in, through patient
/// space; outside the source it is background. The grids may be oblique to each other, and sheared.
///
/// # Errors
/// `BAD_GRID` for a grid without voxels, or whose axes have no length or do not span space.
///
/// # Examples
/// ```
/// use tomoflow::connectors::{Geometry, LabelMap};
/// use tomoflow::voxels::regrid::labels_to_grid;
/// let coarse = LabelMap::new(Geometry::axis_aligned([1, 1, 2], [1.0, 1.0, 2.0]), vec![0, 7]).unwrap();
/// let fine = labels_to_grid(&coarse, &Geometry::axis_aligned([1, 1, 4], [1.0; 3])).unwrap();
/// assert_eq!(fine.voxels(), [0, 7, 7, 7]);
/// ```
pub fn labels_to_grid(labels: &LabelMap, target: &Geometry) -> Result<LabelMap, Reject> {
    let source = labels.geometry();
    grid::check(source)?;
    grid::check(target)?;
    if source == target {
        return Ok(labels.clone());
    }
    let map = VoxelMap::between(target, source)?;
    let voxels = match map.parallel(target.size) {
        Some(along @ [0, 1, 2]) => {
            interpolate::nearest(labels.voxels(), source.size, &map.places(along, target.size, source.size))
        }
        Some(along) => map.exchanged(labels, target.size, along),
        None => map.oblique(labels, target.size),
    };
    LabelMap::new(target.clone(), voxels).map_err(|error| Reject::new("GRID_MISMATCH", error.to_string(), ""))
}

/// From voxels of one grid to positions in voxels of another.
pub(super) struct VoxelMap {
    pub(super) start: [f64; 3],
    /// For each axis of the first grid, the way in voxels of the second from one voxel to the next.
    pub(super) steps: [[f64; 3]; 3],
}

impl VoxelMap {
    pub(super) fn between(from: &Geometry, to: &Geometry) -> Result<Self, Reject> {
        let position = |index: [f64; 3]| {
            to.to_voxel(from.to_patient(VoxelIndex(index)))
                .map(|found| found.0)
                .ok_or_else(|| Reject::new("BAD_GRID", "axes that span space expected", ""))
        };
        let start = position([0.0; 3])?;
        let mut steps = [[0.0; 3]; 3];
        for (axis, step) in steps.iter_mut().enumerate() {
            let mut index = [0.0; 3];
            index[axis] = 1.0;
            let next = position(index)?;
            *step = [0, 1, 2].map(|i| next[i] - start[i]);
        }
        Ok(Self { start, steps })
    }

    /// For each axis of the first grid, the one of the second that it runs along; `None` when one runs across.
    fn parallel(&self, size: [usize; 3]) -> Option<[usize; 3]> {
        let along = [0, 1, 2].map(|axis: usize| {
            let step = self.steps[axis].map(f64::abs);
            (0..3).fold(axis, |most, other| if step[other] > step[most] { other } else { most })
        });
        let drifts = |axis: usize, other: usize| {
            other != along[axis] && self.steps[axis][other].abs() * (size[axis] as f64) >= PARALLEL
        };
        let is_parallel =
            (0..3).all(|axis| along.contains(&axis) && (0..3).all(|other| !drifts(axis, other)));
        is_parallel.then_some(along)
    }

    /// For each axis of the first grid, the places of its voxels in the second; one outside is `u32::MAX`.
    fn places(&self, along: [usize; 3], size: [usize; 3], source: [usize; 3]) -> [Vec<u32>; 3] {
        [0, 1, 2].map(|axis: usize| {
            let to = along[axis];
            let place = |index: usize| {
                let position = self.start[to] + self.steps[axis][to] * index as f64;
                nearest_voxel(position, source[to]).map_or(u32::MAX, |voxel| voxel as u32)
            };
            (0..size[axis]).map(place).collect()
        })
    }

    /// Grids whose axes are parallel in another order, as after `reorient`.
    fn exchanged(&self, labels: &LabelMap, size: [usize; 3], along: [usize; 3]) -> Vec<u16> {
        let [_, source_height, source_width] = labels.size();
        let strides = [source_height * source_width, source_width, 1];
        let places = self.places(along, size, labels.size());
        let offset = |axis: usize, index: usize| {
            let place = places[axis][index];
            (place != u32::MAX).then(|| place as usize * strides[along[axis]])
        };
        let columns: Vec<Option<usize>> = (0..size[2]).map(|column| offset(2, column)).collect();
        let mut output = vec![0; size.iter().product()];
        output.par_chunks_mut(size[2]).enumerate().for_each(|(line, out)| {
            let (Some(slice), Some(row)) = (offset(0, line / size[1]), offset(1, line % size[1])) else {
                return;
            };
            for (out, column) in out.iter_mut().zip(&columns) {
                if let Some(column) = column {
                    *out = labels.voxels()[slice + row + column];
                }
            }
        });
        output
    }

    /// How a line of the target runs through the source.
    pub(super) fn line(&self, slice: usize, row: usize) -> Line {
        Line { first: self.first(slice, row), step: self.steps[2] }
    }

    /// Where the first voxel of a line of the target lies in the source.
    fn first(&self, slice: usize, row: usize) -> [f64; 3] {
        [0, 1, 2].map(|i| self.start[i] + self.steps[0][i] * slice as f64 + self.steps[1][i] * row as f64)
    }

    /// The columns of a line that lie in the source: a line enters a box once and leaves it once.
    pub(super) fn columns(&self, first: [f64; 3], size: [usize; 3], width: usize) -> std::ops::Range<usize> {
        let inside = |column: usize| {
            (0..3).all(|axis| within(first[axis] + self.steps[2][axis] * column as f64, size[axis]))
        };
        let (mut low, mut high) = (0.0_f64, width as f64 - 1.0);
        let moving = (0..3).filter(|&axis| self.steps[2][axis] != 0.0);
        let bounds = moving.map(|axis| {
            [-REACH, size[axis] as f64 - 1.0 + REACH].map(|end| (end - first[axis]) / self.steps[2][axis])
        });
        for [a, b] in bounds {
            low = low.max(a.min(b));
            high = high.min(a.max(b));
        }
        if low > high + 2.0 {
            return 0..0;
        }
        // A column more on both sides, of which those that do not hold go: the last bits decide as everywhere else.
        let mut start = (low.floor() as usize).saturating_sub(1);
        let mut end = (high.ceil() as usize + 2).min(width);
        while start < end && !inside(start) {
            start += 1;
        }
        while end > start && !inside(end - 1) {
            end -= 1;
        }
        start..end
    }

    fn oblique(&self, labels: &LabelMap, size: [usize; 3]) -> Vec<u16> {
        let [depth, height, width] = size;
        let volume = Volume { voxels: labels.voxels(), size: labels.size() };
        let mut output = vec![0; depth * height * width];
        pages::large(&mut output);
        output.par_chunks_mut(width).enumerate().for_each(|(index, out)| {
            let line = self.line(index / height, index % height);
            let columns = self.columns(line.first, volume.size, width);
            line.nearest(&volume, columns.clone(), &mut out[columns]);
        });
        output
    }
}

/// The voxel of an axis that a position lies in; halfway, the later one.
pub(super) fn nearest_voxel(position: f64, voxels: usize) -> Option<usize> {
    let last = voxels as f64 - 1.0;
    within(position, voxels).then(|| (position + 0.5).floor().clamp(0.0, last) as usize)
}

/// Whether a position lies in a voxel of an axis.
pub(super) fn within(position: f64, voxels: usize) -> bool {
    position >= -REACH && position <= voxels as f64 - 1.0 + REACH
}

#[cfg(test)]
mod tests {
    use super::*;
    use tomoflow_connectors::PatientPoint;

    fn oblique(size: [usize; 3]) -> Geometry {
        let (c, s) = (0.8, 0.6);
        Geometry {
            size,
            origin_mm: [-20.0, 4.0, 9.0],
            steps_mm: [[0.0, 0.4, 2.0], [-s * 0.5, c * 0.5, 0.0], [c * 0.5, s * 0.5, 0.0]],
        }
    }

    fn pattern(geometry: Geometry) -> LabelMap {
        let voxels = (0..geometry.voxels()).map(|i| (i * 7 % 5) as u16).collect();
        LabelMap::new(geometry, voxels).unwrap()
    }

    /// The definition, voxel by voxel.
    fn oracle(labels: &LabelMap, target: &Geometry) -> Vec<u16> {
        let [_, h, w] = labels.size();
        let mut out = Vec::new();
        for index in 0..target.voxels() {
            let [_, th, tw] = target.size;
            let voxel = [index / (th * tw), index / tw % th, index % tw].map(|i| i as f64);
            let point: PatientPoint = target.to_patient(VoxelIndex(voxel));
            let at = labels.geometry().to_voxel(point).unwrap().0;
            let near = [0, 1, 2].map(|axis| nearest_voxel(at[axis], labels.size()[axis]));
            out.push(match near {
                [Some(a), Some(b), Some(c)] => labels.voxels()[(a * h + b) * w + c],
                _ => 0,
            });
        }
        out
    }

    #[test]
    fn oblique_grids_follow_the_definition() {
        let labels = pattern(oblique([5, 9, 11]));
        let target = Geometry {
            size: [8, 7, 9],
            origin_mm: [-21.0, 3.6, 8.8],
            ..Geometry::axis_aligned([8, 7, 9], [1.1, 0.7, 0.6])
        };
        let found = labels_to_grid(&labels, &target).unwrap();
        assert!(found.voxels().iter().any(|&v| v > 0));
        assert_eq!(found.voxels(), oracle(&labels, &target));
    }

    #[test]
    fn parallel_grids_follow_the_definition() {
        let labels = pattern(oblique([5, 9, 11]));
        let mut target = oblique([4, 12, 30]);
        target.steps_mm[0] = target.steps_mm[0].map(|mm| mm * 1.3);
        target.steps_mm[2] = target.steps_mm[2].map(|mm| mm * 0.37);
        target.origin_mm = target.to_patient(VoxelIndex([0.1, -1.2, -2.0])).0;
        assert_eq!(labels_to_grid(&labels, &target).unwrap().voxels(), oracle(&labels, &target));
    }

    #[test]
    fn exchanged_axes_follow_the_definition() {
        let labels = pattern(oblique([5, 9, 11]));
        let mut target = oblique([12, 4, 9]);
        target.steps_mm = [target.steps_mm[2], target.steps_mm[0], target.steps_mm[1].map(|mm| mm * -0.8)];
        target.origin_mm = target.to_patient(VoxelIndex([-1.2, 0.1, -9.3])).0;
        let found = labels_to_grid(&labels, &target).unwrap();
        assert!(found.voxels().iter().any(|&v| v > 0));
        assert_eq!(found.voxels(), oracle(&labels, &target));
    }

    #[test]
    fn a_flipped_axis_is_turned_back() {
        let labels = pattern(Geometry::axis_aligned([1, 1, 4], [1.0; 3]));
        let target = Geometry {
            size: [1, 1, 4],
            origin_mm: [3.0, 0.0, 0.0],
            steps_mm: [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]],
        };
        let mut expected = labels.voxels().to_vec();
        expected.reverse();
        assert_eq!(labels_to_grid(&labels, &target).unwrap().voxels(), expected);
    }

    #[test]
    fn outside_is_background() {
        let labels = pattern(Geometry::axis_aligned([1, 1, 4], [1.0; 3]));
        let target = Geometry { origin_mm: [0.0, 0.0, 5.0], ..labels.geometry().clone() };
        assert_eq!(labels_to_grid(&labels, &target).unwrap().voxels(), [0; 4]);
    }

    #[test]
    fn a_flat_grid_is_refused() {
        let labels = pattern(Geometry::axis_aligned([1, 1, 4], [1.0; 3]));
        let flat = Geometry::axis_aligned([1, 1, 4], [0.0, 1.0, 1.0]);
        assert_eq!(labels_to_grid(&labels, &flat).unwrap_err().code, "BAD_GRID");
    }
}
