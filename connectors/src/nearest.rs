//! Labels of one grid drawn on another: voxel by voxel where grids are the same, by the nearest voxel where
//! they differ.

use rayon::prelude::*;

use crate::volume::SizeMismatch;
use crate::{Geometry, LabelMap, PatientPoint, Reject, VoxelIndex};

impl LabelMap {
    /// Draws the labels under other numbers (`label_of`; 0 is none) on another grid.
    ///
    /// Each voxel of the grid takes the label at its centre's place.
    ///
    /// # Errors
    /// `BAD_GEOMETRY`, `OUT_OF_MEMORY`, and `OFF_GRID` when there are labels and none of their slices meets the
    /// grid.
    pub fn onto(&self, label_of: impl Fn(u16) -> u16 + Sync, grid: &Geometry) -> Result<LabelMap, Reject> {
        self.onto_telling(label_of, grid).map(|(labels, _)| labels)
    }

    /// Draws the labels as [`onto`](Self::onto), and tells what of them lies beside the grid.
    ///
    /// # Errors
    /// The errors of [`onto`](Self::onto), and `OFF_GRID` when there are labels and all of them lie beside
    /// the grid.
    pub fn onto_telling(
        &self,
        label_of: impl Fn(u16) -> u16 + Sync,
        grid: &Geometry,
    ) -> Result<(LabelMap, Beside), Reject> {
        let [_, rows, columns] = self.size();
        let slab = |slice: &[u16]| {
            let labels: Vec<u16> = slice.iter().map(|&label| label_of(label)).collect();
            labels.iter().any(|&label| label != 0).then_some(labels)
        };
        let slabs: Vec<_> = self.voxels().par_chunks((rows * columns).max(1)).map(slab).collect();
        onto_telling(&slabs, self.geometry(), grid, false)
    }
}

fn damaged(error: &SizeMismatch) -> Reject {
    Reject::new("BAD_GEOMETRY", error.to_string(), "the file may be damaged")
}

/// The labels that lie beside the grid that they were drawn onto.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// The number of labelled voxels of the labels' own grid.
    pub labelled: usize,
    /// The number of those whose centres lie beside the other grid.
    pub beside: usize,
    /// The number of labelled voxels of the other grid.
    pub drawn: usize,
    /// The labels that have voxels, none of which is nearest to a voxel of the other grid, with how many they
    /// are; empty where [`told`](Self::told) says it of all.
    pub vanished: Vec<(u16, usize)>,
}

impl Beside {
    /// The refusal of what was lost; none when nothing was: `LABEL_BEYOND_SCAN` for voxels beside the grid,
    /// and `LABEL_TOO_FINE` when no voxel of it is nearest to a labelled one.
    pub fn told(&self) -> Option<Reject> {
        let Self { labelled, beside, drawn, .. } = self;
        if *beside > 0 {
            let message =
                format!("labels within the scan expected, {beside} of {labelled} voxels lie beside it");
            let hint =
                "was the scan cropped, or are the labels of another one? they count as far as they lie in it";
            return Some(Reject::new("LABEL_BEYOND_SCAN", message, hint));
        }
        let message =
            || format!("labels that a voxel of the scan's grid can show expected, none of {labelled} can");
        let hint = "the labels are thinner than the scan's voxels: the truth is empty";
        (*labelled > 0 && *drawn == 0).then(|| Reject::new("LABEL_TOO_FINE", message(), hint))
    }

    /// The refusals of labels that were lost beside others that were not, by the names that `name_of` gives
    /// them: `LABEL_VANISHED`.
    ///
    /// # Examples
    /// ```
    /// use tomoflow_connectors::{Geometry, LabelMap};
    /// // Slices of 1 mm, seen by slices of 4 mm at their first one.
    /// let fine = LabelMap::new(Geometry::axis_aligned([4, 1, 2], [1.0; 3]), vec![1, 1, 1, 1, 1, 2, 1, 1]).unwrap();
    /// let coarse = Geometry::axis_aligned([1, 1, 2], [4.0, 1.0, 1.0]);
    /// let (labels, beside) = fine.onto_telling(|label| label, &coarse).unwrap();
    /// assert_eq!(labels.voxels(), [1, 1]);
    /// let told = beside.lost(&|label| format!("label {label}"));
    /// assert_eq!(told[0].code, "LABEL_VANISHED");
    /// assert!(told[0].message.starts_with("`label 2`: "));
    /// ```
    pub fn lost(&self, name_of: &dyn Fn(u16) -> String) -> Vec<Reject> {
        let told = |(label, voxels): &(u16, usize)| {
            let message = format!(
                "`{}`: a voxel of the scan's grid that shows it expected, none of its {voxels} voxels in the file does",
                name_of(*label)
            );
            let hint =
                "it lies between the centres of the scan's voxels, or beside the scan: its truth is empty";
            Reject::new("LABEL_VANISHED", message, hint)
        };
        self.vanished.iter().map(told).collect()
    }
}

/// The number of voxels that each label has, by its number.
fn counts<'v>(voxels: impl ParallelIterator<Item = &'v [u16]>) -> Vec<usize> {
    let count = |mut counts: Vec<usize>, voxels: &[u16]| {
        for &label in voxels.iter().filter(|label| **label != 0) {
            let place = usize::from(label);
            if counts.len() <= place {
                counts.resize(place + 1, 0);
            }
            counts[place] += 1;
        }
        counts
    };
    let sum = |a: Vec<usize>, b: Vec<usize>| {
        let (mut longer, shorter) = if a.len() < b.len() { (b, a) } else { (a, b) };
        longer.iter_mut().zip(shorter).for_each(|(all, more)| *all += more);
        longer
    };
    voxels.fold(Vec::new, count).reduce(Vec::new, sum)
}

/// Draws labels as [`onto`], and tells what of them lies beside the grid.
///
/// # Errors
/// The errors of [`onto`], and `OFF_GRID` when all labels lie beside the grid.
pub(crate) fn onto_telling(
    slabs: &[Option<Vec<u16>>],
    own: &Geometry,
    grid: &Geometry,
    thin: bool,
) -> Result<(LabelMap, Beside), Reject> {
    let labels = onto(slabs, own, grid, thin)?;
    let own_counts = counts(slabs.par_iter().flatten().map(Vec::as_slice));
    let all: usize = own_counts.iter().sum();
    if all == 0 {
        return Ok((labels, Beside::default()));
    }
    let map = Map::new(own, grid)?;
    let beside = slabs.par_iter().enumerate().map(|(slice, slab)| match slab {
        Some(slab) => map.beside(slice, slab, own.size[2], grid.size),
        None => 0,
    });
    let beside: usize = beside.sum();
    if beside == all {
        let message = format!("labels within the scan expected, all {all} voxels lie beside it");
        return Err(Reject::new("OFF_GRID", message, "were they drawn on another scan?"));
    }
    let [_, rows, columns] = grid.size;
    let found = counts(labels.voxels().par_chunks((rows * columns).max(1)));
    let drawn: usize = found.iter().sum();
    let lost = |(label, _): &(u16, usize)| found.get(usize::from(*label)).is_none_or(|count| *count == 0);
    let there = (0..=u16::MAX).zip(own_counts).filter(|(_, count)| *count > 0);
    // The code `LABEL_TOO_FINE` says it of all labels.
    let vanished = if drawn + beside == 0 { Vec::new() } else { there.filter(lost).collect() };
    Ok((labels, Beside { labelled: all, beside, drawn, vanished }))
}

/// The voxels of a grid without labels, if there is room for them.
pub(crate) fn room(geometry: &Geometry) -> Result<Vec<u16>, Reject> {
    let count = geometry.size.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
    let mut voxels = Vec::new();
    let reserved = count.is_some_and(|count| voxels.try_reserve_exact(count).is_ok());
    if !reserved {
        let message = format!("no room for a grid of {:?} voxels", geometry.size);
        return Err(Reject::new("OUT_OF_MEMORY", message, "give the run more memory"));
    }
    voxels.resize(count.unwrap_or_default(), 0);
    Ok(voxels)
}

/// Draws labels of one grid, slice by slice where there are any, on another by the nearest voxel. Labels that
/// are `thin` are no thicker than a voxel of the grid, however far apart their slices lie.
///
/// # Errors
/// `BAD_GEOMETRY`, `OUT_OF_MEMORY`, and `OFF_GRID` when there are labels and none of their slices meets the grid.
pub(crate) fn onto(
    slabs: &[Option<Vec<u16>>],
    own: &Geometry,
    grid: &Geometry,
    thin: bool,
) -> Result<LabelMap, Reject> {
    let mut voxels = room(grid)?;
    let [_, rows, columns] = grid.size;
    if voxels.is_empty() || slabs.iter().all(Option::is_none) {
        return LabelMap::new(grid.clone(), voxels).map_err(|error| damaged(&error));
    }
    let map = Map::new(grid, own)?;
    let voxel = map.steps.iter().map(|step| step[0].abs()).fold(0.0, f64::max);
    // The reach is a little more than half a voxel, so that rounded decimals do not decide.
    let reach = if thin { (0.5 * voxel + 1e-3).min(1.0) } else { 1.0 };
    let source = Slabs { slabs, size: own.size, reach };
    let met = voxels
        .par_chunks_mut(rows * columns)
        .enumerate()
        .filter_map(|(slice, pixels)| {
            let near = map.may_meet(slice, [rows, columns], &source);
            (near && map.fill(slice, pixels, columns, &source)).then_some(())
        })
        .count();
    if met == 0 {
        let message = "labels on slices of the grid expected, all lie beside it";
        return Err(Reject::new("OFF_GRID", message, "were they drawn on another scan?"));
    }
    LabelMap::new(grid.clone(), voxels).map_err(|error| damaged(&error))
}

/// The slices of labels to draw from.
struct Slabs<'s> {
    slabs: &'s [Option<Vec<u16>>],
    size: [usize; 3],
    /// The reach of labels from their slice, in slices; nothing is farther than half of one from the nearest.
    reach: f64,
}

impl Slabs<'_> {
    /// The label at a place of the labels' own grid; `None` beside its occupied slices.
    fn at(&self, place: [f64; 3]) -> Option<u16> {
        if !self.reaches(place[0]) {
            return None;
        }
        let mut index = [0; 3];
        for axis in 0..3 {
            let nearest = (place[axis] + 0.5).floor();
            if !(0.0..self.size[axis] as f64).contains(&nearest) {
                return None;
            }
            index[axis] = nearest as usize;
        }
        let [slice, row, column] = index;
        self.slabs.get(slice)?.as_ref()?.get(row * self.size[2] + column).copied()
    }

    fn reaches(&self, along: f64) -> bool {
        (along - (along + 0.5).floor()).abs() <= self.reach
    }

    /// Copies what lies under a line that begins at a voxel's centre, which may be before the first column.
    fn copy_row(&self, [slice, row, column]: [f64; 3], line: &mut [u16]) -> bool {
        let [_, rows, columns] = self.size;
        if slice < 0.0 || row < 0.0 || row >= rows as f64 {
            return false;
        }
        let Some(Some(slab)) = self.slabs.get(slice as usize) else { return false };
        let from = row as usize * columns;
        let source = slab.get(from..from + columns).unwrap_or_default();
        let (before, after) = ((-column).max(0.0) as usize, column.max(0.0) as usize);
        let (target, source) = (line.get_mut(before..), source.get(after..));
        let (Some(target), Some(source)) = (target, source) else { return false };
        let length = target.len().min(source.len());
        for (to, from) in target.iter_mut().zip(source) {
            *to = *from;
        }
        length > 0
    }
}

/// The most that a row may drift from the other grid's, in voxels, and that it may begin away from its
/// voxels' centres, so that every voxel of it is nearest to the one at the same distance from the beginning.
const DRIFT: f64 = 0.1;
const OFF_CENTRE: f64 = 0.25;
/// The distance beyond the edge of a voxel up to which a place still counts as within it, in voxels.
const EDGE: f64 = 1e-2;

/// A map from voxels of one grid to places on another.
struct Map {
    origin: [f64; 3],
    steps: [[f64; 3]; 3],
    /// Whether rows of both grids run alike.
    alike: bool,
}

impl Map {
    fn new(from: &Geometry, to: &Geometry) -> Result<Self, Reject> {
        let place = |point: [f64; 3]| {
            to.to_voxel(PatientPoint(point)).map(|index| index.0).ok_or_else(|| {
                let message = "the axes of the segmentation's grid do not span space";
                Reject::new("BAD_GEOMETRY", message, "its spacing or orientation is broken")
            })
        };
        let origin = place(from.origin_mm)?;
        let mut steps = [[0.0; 3]; 3];
        for (axis, step) in steps.iter_mut().enumerate() {
            let mut index = [0.0; 3];
            index[axis] = 1.0;
            let end = place(from.to_patient(VoxelIndex(index)).0)?;
            *step = [0, 1, 2].map(|i| end[i] - origin[i]);
        }
        let drift = |axis: usize| (steps[2][axis] - [0.0, 0.0, 1.0][axis]).abs() * from.size[2] as f64;
        let alike = (0..3).all(|axis| drift(axis) < DRIFT);
        Ok(Self { origin, steps, alike })
    }

    fn place(&self, index: [f64; 3]) -> [f64; 3] {
        let along = |i: usize| (0..3).map(|axis| self.steps[axis][i] * index[axis]).sum::<f64>();
        [0, 1, 2].map(|i| self.origin[i] + along(i))
    }

    /// The number of labelled voxels of a slice that lie beside a grid of this size.
    fn beside(&self, slice: usize, slab: &[u16], columns: usize, size: [usize; 3]) -> usize {
        // The bounds are half a voxel around the centres, and a little more, so that rounded decimals do not
        // decide.
        let within = |place: [f64; 3]| {
            (0..3).all(|axis| place[axis] >= -0.5 - EDGE && place[axis] <= size[axis] as f64 - 0.5 + EDGE)
        };
        let ends = [0, columns.saturating_sub(1)];
        let rows = slab.chunks_exact(columns.max(1)).enumerate();
        let beside = |(row, line): (usize, &[u16])| {
            let at = |column: usize| self.place([slice as f64, row as f64, column as f64]);
            // A box holds a line when it holds its ends.
            if ends.iter().all(|column| within(at(*column))) {
                return 0;
            }
            line.iter().enumerate().filter(|(column, label)| **label != 0 && !within(at(*column))).count()
        };
        rows.map(beside).sum()
    }

    /// Whether an occupied slice lies between the corners of a slice.
    fn may_meet(&self, slice: usize, [rows, columns]: [usize; 2], source: &Slabs<'_>) -> bool {
        let ends = [(rows - 1) as f64, (columns - 1) as f64];
        let corners = [[0.0, 0.0], [ends[0], 0.0], [0.0, ends[1]], ends];
        let along = corners.map(|[row, column]| self.place([slice as f64, row, column])[0]);
        let low = along.into_iter().fold(f64::INFINITY, f64::min).floor().max(0.0);
        let high = along.into_iter().fold(f64::NEG_INFINITY, f64::max).ceil();
        // The range is empty for NaN too.
        if (low..=high).is_empty() {
            return false;
        }
        let reach = source.slabs.get(low as usize..).unwrap_or_default().iter();
        reach.take((high - low) as usize + 1).any(Option::is_some)
    }

    /// Labels a slice, and says whether it met an occupied slice.
    fn fill(&self, slice: usize, pixels: &mut [u16], columns: usize, source: &Slabs<'_>) -> bool {
        let mut met = false;
        for (row, line) in pixels.chunks_exact_mut(columns).enumerate() {
            let start = self.place([slice as f64, row as f64, 0.0]);
            if self.alike
                && source.reaches(start[0])
                && start.iter().all(|x| (x - x.round()).abs() < OFF_CENTRE)
            {
                met |= source.copy_row(start.map(f64::round), line);
                continue;
            }
            for (column, voxel) in line.iter_mut().enumerate() {
                let place = [0, 1, 2].map(|i| start[i] + self.steps[2][i] * column as f64);
                if let Some(label) = source.at(place) {
                    *voxel = label;
                    met = true;
                }
            }
        }
        met
    }
}
