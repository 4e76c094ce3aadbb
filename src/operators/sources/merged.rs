//! Labels that have a file each, put together into one label map.

use tomoflow_connectors::{Geometry, LabelMap, Overlap, Reject};

/// A label map that grows label by label.
#[derive(Debug)]
pub struct Merged {
    voxels: Vec<u16>,
    overlap: Overlap,
}

impl Merged {
    /// A grid without labels.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when there is no room for it.
    pub fn new(grid: &Geometry) -> Result<Self, Reject> {
        Self::over(grid, Overlap::default())
    }

    /// A grid without labels, of which some may share voxels: `overlap` says which.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when there is no room for it.
    pub fn over(grid: &Geometry, overlap: Overlap) -> Result<Self, Reject> {
        Ok(Self { voxels: room(grid)?, overlap })
    }

    /// Puts a label where a map of the same grid has any, also on others.
    pub fn add(&mut self, label: u16, map: &LabelMap) {
        for (voxel, _) in self.voxels.iter_mut().zip(map.voxels()).filter(|(_, found)| **found != 0) {
            self.overlap.put(label, std::slice::from_mut(voxel));
        }
    }

    /// Returns where labels were put onto others.
    pub fn overlap(&self) -> &Overlap {
        &self.overlap
    }

    /// The map.
    ///
    /// # Errors
    /// `BAD_GEOMETRY` when it was made for another grid.
    pub fn labels(self, grid: &Geometry) -> Result<LabelMap, Reject> {
        map_of(grid, self.voxels)
    }
}

/// As many zeros as a grid has voxels.
pub(super) fn room(grid: &Geometry) -> Result<Vec<u16>, Reject> {
    let (count, mut voxels) = (grid.voxels(), Vec::new());
    voxels.try_reserve_exact(count).map_err(|_| {
        Reject::new("OUT_OF_MEMORY", format!("no room for {count} voxels"), "give the run more memory")
    })?;
    voxels.resize(count, 0);
    Ok(voxels)
}

/// A map of these voxels on a grid.
pub(super) fn map_of(grid: &Geometry, voxels: Vec<u16>) -> Result<LabelMap, Reject> {
    LabelMap::new(grid.clone(), voxels)
        .map_err(|error| Reject::new("BAD_GEOMETRY", error.to_string(), "the file may be damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_label_counts_and_what_it_covers_is_counted() {
        let grid = Geometry::axis_aligned([1, 1, 5], [1.0; 3]);
        let map = |voxels: [u16; 5]| LabelMap::new(grid.clone(), voxels.to_vec()).unwrap();
        let mut merged = Merged::new(&grid).unwrap();
        merged.add(1, &map([1, 1, 1, 0, 0]));
        merged.add(2, &map([0, 0, 1, 1, 0]));
        merged.add(2, &map([0, 0, 0, 1, 0]));
        assert_eq!(merged.overlap().iter().collect::<Vec<_>>(), [((2, 1), 1)]);
        assert_eq!(merged.labels(&grid).unwrap().voxels(), [1, 1, 2, 2, 0]);
    }
}
