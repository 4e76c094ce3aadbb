//! Segments on a grid.

use std::collections::BTreeMap;

use super::object::bad;
use super::read::{Segment, Segmentation};
use crate::nearest::{Beside, onto, onto_telling};
use crate::planes::{self, planes};
use crate::{Geometry, LabelMap, Overlap, Reject};

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
        let slabs = self.slabs(&self.chosen(&label_of), &mut Overlap::default())?;
        onto(&slabs, self.geometry(), grid, self.thin)
    }

    /// The segments that are asked for, in the order in which they are drawn.
    fn chosen(&self, label_of: &dyn Fn(&str) -> Option<u16>) -> Vec<(u16, &Segment)> {
        let chosen = self.segments().iter().filter_map(|s| label_of(&s.name).map(|label| (label, s)));
        let mut chosen: Vec<_> = chosen.collect();
        // The sort is stable: the higher label is drawn later.
        chosen.sort_by_key(|(label, _)| *label);
        chosen
    }

    /// Draws segments as [`draw`](Self::draw), on a grid with planes between slices, which lie at `heights`
    /// ([`planes()`]). A plane between slices without any label takes those of the nearer slice; halfway,
    /// those that both have.
    ///
    /// # Errors
    /// The errors of [`draw`](Self::draw), and `BAD_GEOMETRY` for heights that do not fit the grid.
    pub fn draw_between(
        &self,
        label_of: impl Fn(&str) -> Option<u16>,
        grid: &Geometry,
        heights: &[f64],
    ) -> Result<LabelMap, Reject> {
        self.draw_telling(label_of, grid, heights).map(|(labels, ..)| labels)
    }

    /// Draws segments as [`draw_between`](Self::draw_between), and tells what of them lies beside the grid,
    /// and where they overlap on their own grid.
    ///
    /// # Errors
    /// The errors of [`draw_between`](Self::draw_between), and `OFF_GRID` when all voxels lie beside the
    /// grid.
    pub fn draw_telling(
        &self,
        label_of: impl Fn(&str) -> Option<u16>,
        grid: &Geometry,
        heights: &[f64],
    ) -> Result<(LabelMap, Beside, Overlap), Reject> {
        self.draw_over(label_of, grid, heights, Overlap::default())
    }

    /// Draws segments as [`draw_telling`](Self::draw_telling), where some labels may share voxels: `over` says which.
    ///
    /// # Errors
    /// The errors of [`draw_telling`](Self::draw_telling).
    pub fn draw_over(
        &self,
        label_of: impl Fn(&str) -> Option<u16>,
        grid: &Geometry,
        heights: &[f64],
        mut over: Overlap,
    ) -> Result<(LabelMap, Beside, Overlap), Reject> {
        let slabs = self.slabs(&self.chosen(&label_of), &mut over)?;
        let (mut labels, beside) = onto_telling(&slabs, self.geometry(), grid, self.thin)?;
        if !heights.is_empty() {
            let planes = planes(grid.size[0], heights).ok_or_else(|| planes::unfit(grid, heights))?;
            planes::fill_between(&mut labels, &planes, heights.len(), &BTreeMap::new(), &over);
        }
        Ok((labels, beside, over))
    }

    /// The labels on each slice of the segmentation's own grid that has any.
    fn slabs(&self, chosen: &[(u16, &Segment)], over: &mut Overlap) -> Result<Vec<Option<Vec<u16>>>, Reject> {
        let [depth, rows, columns] = self.geometry().size;
        let mut slabs: Vec<Option<Vec<u16>>> = vec![None; depth];
        for (label, segment) in chosen {
            for (&slice, runs) in &segment.slices {
                let drawn = slabs.get_mut(slice).and_then(|slab| {
                    let slab = slab.get_or_insert_with(|| vec![0; rows * columns]);
                    runs.each(slab, |run| over.put(*label, run))
                });
                drawn.ok_or_else(|| bad("a run leaves its slice"))?;
            }
        }
        Ok(slabs)
    }
}
