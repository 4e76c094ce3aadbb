//! Segments on a grid.

use std::collections::BTreeMap;

use super::object::bad;
use super::read::{Segment, Segmentation};
use crate::nearest::onto;
use crate::planes::{self, planes};
use crate::{Geometry, LabelMap, Reject};

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
        onto(&self.slabs(&chosen)?, self.geometry(), grid, self.thin)
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
