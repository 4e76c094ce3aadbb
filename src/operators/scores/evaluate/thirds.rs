//! The base and the apex of a structure: the cranial and the caudal third of the slices that the truth has.

use std::borrow::Cow;
use std::ops::Range;

use tomoflow_connectors::geometry::norm;
use tomoflow_connectors::{Geometry, LabelMap};

use crate::metrics::{Confusion, Packed, SurfaceDistances};
use crate::operators::value::{Failure, Mask};
use crate::voxels::ignored::{self, IGNORED};

/// An end of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The cranial third.
    Base,
    /// The caudal third.
    Apex,
}

/// What was found out about one end.
#[derive(Debug)]
pub struct Third {
    /// The counts of voxels.
    pub counts: Confusion,
    /// Distances between the surfaces of the two parts; none where one is empty.
    pub distances: Option<SurfaceDistances>,
}

impl Third {
    /// Returns [`SurfaceDistances::assd_mm`], where there are distances.
    pub fn assd_mm(&self) -> Option<f64> {
        self.distances.as_ref().map(SurfaceDistances::assd_mm)
    }

    /// Returns [`SurfaceDistances::hausdorff_95_mm`], where there are distances.
    pub fn hausdorff_95_mm(&self) -> Option<f64> {
        self.distances.as_ref().map(SurfaceDistances::hausdorff_95_mm)
    }
}

/// Both ends of one label.
#[derive(Debug)]
pub struct Thirds {
    /// The cranial end.
    pub base: Third,
    /// The caudal end.
    pub apex: Third,
}

impl Thirds {
    /// Cuts one pair of labels (prediction, truth), both on one grid, and compares the parts as masks of their own;
    /// `None` where the truth holds no voxel.
    ///
    /// # Errors
    /// `BAD_GRID` for a grid without lengths.
    pub fn of(mask: &Mask, truth: &Mask, pair: (u16, u16)) -> Result<Option<Self>, Failure> {
        let geometry = truth.labels.geometry();
        let (axis, upwards) = axial(geometry);
        let Some(extent) = extent(&truth.labels, pair.1, axis) else { return Ok(None) };
        let [low, high] = ends(extent, geometry.size[axis]);
        let third = |slices: Range<usize>| -> Result<Third, Failure> {
            let [prediction, reference] =
                [mask, truth].map(|mask| slab(mask.labels.voxels(), geometry.size, axis, &slices));
            let mut size = geometry.size;
            size[axis] = slices.len();
            let packed = match ignored::any(&reference) {
                true => Packed::leaving_out(&prediction, &reference, size, &[pair], IGNORED),
                false => Packed::new(&prediction, &reference, size, &[pair]),
            };
            let packed = packed.map_err(|error| Failure::new("GRID_MISMATCH", error.to_string(), ""))?;
            let distances = packed
                .surface_distances(0, geometry.spacing_mm())
                .map_err(|error| Failure::new("BAD_GRID", error.to_string(), ""))?;
            Ok(Third { counts: packed.counts(0), distances })
        };
        let (low, high) = (third(low)?, third(high)?);
        Ok(Some(if upwards { Self { base: high, apex: low } } else { Self { base: low, apex: high } }))
    }

    /// Returns one of the two thirds.
    pub fn at(&self, end: End) -> &Third {
        match end {
            End::Base => &self.base,
            End::Apex => &self.apex,
        }
    }
}

/// The axis of the grid that runs from feet to head most, and whether it runs upwards.
fn axial(geometry: &Geometry) -> (usize, bool) {
    let share = |axis: usize| geometry.steps_mm[axis][2].abs() / norm(geometry.steps_mm[axis]);
    // The first of equals.
    let axis = (1..3).fold(0, |most, axis| if share(axis) > share(most) { axis } else { most });
    (axis, geometry.steps_mm[axis][2] >= 0.0)
}

/// The first and the last slice along an axis that hold a label.
fn extent(labels: &LabelMap, label: u16, axis: usize) -> Option<(usize, usize)> {
    let [_, height, width] = labels.size();
    let mut found: Option<(usize, usize)> = None;
    for (line, row) in labels.voxels().chunks_exact(width.max(1)).enumerate() {
        let Some(first) = row.iter().position(|value| *value == label) else { continue };
        let (low, high) = match axis {
            0 => (line / height, line / height),
            1 => (line % height, line % height),
            _ => (first, row.iter().rposition(|value| *value == label).unwrap_or(first)),
        };
        found = Some(found.map_or((low, high), |(least, most)| (least.min(low), most.max(high))));
    }
    found
}

/// The slices of the lower and of the upper end: a third of those that the truth has, to the nearest whole one and
/// one at least, and all that lie beyond it.
fn ends((first, last): (usize, usize), slices: usize) -> [Range<usize>; 2] {
    let count = last - first + 1;
    let third = ((count + 1) / 3).max(1);
    [0..first + third, last + 1 - third..slices]
}

/// The voxels of some slices along an axis.
fn slab<'a>(voxels: &'a [u16], size: [usize; 3], axis: usize, slices: &Range<usize>) -> Cow<'a, [u16]> {
    let [_, height, width] = size;
    let rows = |range: &Range<usize>, length: usize| range.start * length..range.end * length;
    match axis {
        0 => Cow::Borrowed(&voxels[rows(slices, height * width)]),
        1 => voxels
            .chunks_exact(height * width)
            .flat_map(|slice| &slice[rows(slices, width)])
            .copied()
            .collect(),
        _ => voxels.chunks_exact(width).flat_map(|row| &row[slices.clone()]).copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_third_is_the_nearest_whole_number_of_slices() {
        let ends = |count: usize| {
            let [low, high] = ends((2, count + 1), count + 5);
            assert_eq!((low.start, high.end), (0, count + 5), "what lies beyond belongs to the ends");
            (low.end - 2, count + 2 - high.start)
        };
        let thirds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15].map(ends);
        assert_eq!(thirds, [1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 5].map(|third| (third, third)));
    }

    #[test]
    fn the_axis_is_the_one_from_feet_to_head() {
        let grid = |steps_mm| Geometry { size: [2, 2, 2], origin_mm: [0.0; 3], steps_mm };
        assert_eq!(axial(&Geometry::axis_aligned([2, 2, 2], [3.0, 1.0, 1.0])), (0, true));
        // Stored from head to feet; sagittal slices whose rows run downwards, and whose columns run upwards.
        assert_eq!(axial(&grid([[0.0, 0.4, -3.0], [0.0, 1.0, 0.2], [1.0, 0.0, 0.0]])), (0, false));
        assert_eq!(axial(&grid([[3.0, 0.0, 0.3], [0.0, 0.1, -0.9], [0.0, 1.0, 0.1]])), (1, false));
        assert_eq!(axial(&grid([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.5]])), (2, true));
    }

    /// The same structure along each axis, upwards and downwards, has the same ends.
    #[test]
    fn ends_do_not_depend_on_how_slices_are_stored() {
        let mask = |axis: usize, flipped: bool, slices: &[u16]| {
            let mut size = [1; 3];
            size[axis] = slices.len();
            let across = if axis == 1 { [0.0, 1.0, 0.0] } else { [1.0, 0.0, 0.0] };
            let mut steps_mm = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], across];
            steps_mm[axis] = [0.0, 0.0, if flipped { -2.0 } else { 2.0 }];
            let mut voxels = slices.to_vec();
            if flipped {
                voxels.reverse();
            }
            let geometry = Geometry { size, origin_mm: [0.0; 3], steps_mm };
            let labels = Arc::new(LabelMap::new(geometry, voxels).unwrap());
            Mask { labels, label_names: ["a".to_owned()].into() }
        };
        let (truth, found) = ([0, 1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0, 1, 0]);
        for axis in 0..3 {
            for flipped in [false, true] {
                let [found, truth] = [&found, &truth].map(|slices| mask(axis, flipped, slices));
                let thirds = Thirds::of(&found, &truth, (1, 1)).unwrap().unwrap();
                assert_eq!(thirds.at(End::Apex).counts, Confusion { tp: 2, fp: 1, fn_: 0 });
                assert_eq!(thirds.at(End::Base).counts, Confusion { tp: 1, fp: 0, fn_: 1 });
                let distances = thirds.base.distances.unwrap();
                assert_eq!(distances.from_reference_mm.iter().sum::<f64>(), 2.0);
            }
        }
        let empty = mask(0, false, &[0; 8]);
        assert!(Thirds::of(&mask(0, false, &found), &empty, (1, 1)).unwrap().is_none());
        let missed = Thirds::of(&empty, &mask(0, false, &truth), (1, 1)).unwrap().unwrap();
        assert!(missed.apex.distances.is_none() && missed.apex.counts.fn_ == 2);
    }
}
