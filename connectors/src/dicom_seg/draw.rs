//! Segments on a grid: voxel by voxel where grids are the same, by the nearest voxel where they differ.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::object::bad;
use super::read::{Segment, Segmentation, room};
use crate::planes::{self, planes};
use crate::{Geometry, LabelMap, PatientPoint, Reject, VoxelIndex};

impl Segmentation {
    /// Draws segments on a grid; `label_of` gives a segment's label by its name, `None` to leave it out.
    ///
    /// Each voxel of the grid takes the label at its centre's place. Where labels overlap, the higher
    /// wins, as in [`rasterise`](crate::rtstruct::rasterise()).
    ///
    /// # Errors
    /// A [`Reject`] when the grids do not span space (`BAD_GEOMETRY`), when there is no room
    /// (`OUT_OF_MEMORY`), or when chosen segments have voxels and none of their slices meets the grid
    /// (`OFF_GRID`).
    pub fn draw(&self, label_of: impl Fn(&str) -> Option<u16>, grid: &Geometry) -> Result<LabelMap, Reject> {
        let chosen = self.segments().iter().filter_map(|s| label_of(&s.name).map(|label| (label, s)));
        let mut chosen: Vec<_> = chosen.collect();
        // A stable sort: the higher label is drawn later.
        chosen.sort_by_key(|(label, _)| *label);
        let mut voxels = room(grid)?;
        let slabs = self.slabs(&chosen)?;
        let [_, rows, columns] = grid.size;
        if voxels.is_empty() || slabs.iter().all(Option::is_none) {
            return LabelMap::new(grid.clone(), voxels).map_err(|error| bad(error.to_string()));
        }
        let map = Map::new(grid, self.geometry())?;
        let source = Slabs { slabs: &slabs, size: self.geometry().size };
        let met = voxels
            .par_chunks_mut(rows * columns)
            .enumerate()
            .filter_map(|(slice, pixels)| {
                let near = map.may_meet(slice, [rows, columns], &source);
                (near && map.fill(slice, pixels, columns, &source)).then_some(())
            })
            .count();
        if met == 0 {
            let message = "segments on slices of the grid expected, all lie beside it";
            return Err(Reject::new("OFF_GRID", message, "was it drawn on another scan?"));
        }
        LabelMap::new(grid.clone(), voxels).map_err(|error| bad(error.to_string()))
    }

    /// As [`draw`](Self::draw), on a grid with planes between slices, which lie at `heights`
    /// ([`planes()`]). A plane between slices without any label takes those of the nearer
    /// slice; halfway, those that both have.
    ///
    /// # Errors
    /// As [`draw`](Self::draw), and `BAD_GEOMETRY` for heights that do not fit the grid.
    pub fn draw_between(
        &self,
        label_of: impl Fn(&str) -> Option<u16>,
        grid: &Geometry,
        heights: &[f64],
    ) -> Result<LabelMap, Reject> {
        let mut labels = self.draw(label_of, grid)?;
        if !heights.is_empty() {
            let planes = planes(grid.size[0], heights).ok_or_else(|| planes::unfit(grid, heights))?;
            planes::fill_between(&mut labels, &planes, heights.len(), &BTreeMap::new());
        }
        Ok(labels)
    }

    /// The labels on each slice of the own grid that has any.
    fn slabs(&self, chosen: &[(u16, &Segment)]) -> Result<Vec<Option<Vec<u16>>>, Reject> {
        let [depth, rows, columns] = self.geometry().size;
        let mut slabs: Vec<Option<Vec<u16>>> = vec![None; depth];
        for (label, segment) in chosen {
            for (&slice, runs) in &segment.slices {
                let drawn = slabs.get_mut(slice).and_then(|slab| {
                    runs.decode(slab.get_or_insert_with(|| vec![0; rows * columns]), *label)
                });
                drawn.ok_or_else(|| bad("a run leaves its slice"))?;
            }
        }
        Ok(slabs)
    }
}

/// Labels to draw from.
struct Slabs<'s> {
    slabs: &'s [Option<Vec<u16>>],
    size: [usize; 3],
}

impl Slabs<'_> {
    /// The label at a place of the own grid; `None` beside its occupied slices.
    fn at(&self, place: [f64; 3]) -> Option<u16> {
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

/// How far a row may drift from the other grid's, in voxels, and how far from its voxels' centres it may
/// begin, so that every voxel of it is nearest to the one at the same distance from the beginning.
const DRIFT: f64 = 0.1;
const OFF_CENTRE: f64 = 0.25;

/// From voxels of one grid to places on another.
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

    /// Whether an occupied slice lies between the corners of a slice.
    fn may_meet(&self, slice: usize, [rows, columns]: [usize; 2], source: &Slabs<'_>) -> bool {
        let ends = [(rows - 1) as f64, (columns - 1) as f64];
        let corners = [[0.0, 0.0], [ends[0], 0.0], [0.0, ends[1]], ends];
        let along = corners.map(|[row, column]| self.place([slice as f64, row, column])[0]);
        let low = along.into_iter().fold(f64::INFINITY, f64::min).floor().max(0.0);
        let high = along.into_iter().fold(f64::NEG_INFINITY, f64::max).ceil();
        // Empty for NaN too.
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
            if self.alike && start.iter().all(|x| (x - x.round()).abs() < OFF_CENTRE) {
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
