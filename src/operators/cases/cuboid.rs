//! A box of voxels along a grid's own axes, within it or beyond it: what cropping and padding share.

use std::sync::Arc;

use rayon::prelude::*;
use tomoflow_connectors::volume::SizeMismatch;
use tomoflow_connectors::{Geometry, Volume, VoxelIndex};

use crate::operators::spec::FieldKind;
use crate::operators::value::{Case, Failure};
use crate::voxels::grid;

/// Voxels that are all but whole: lengths are ratios of measured spacings.
pub(super) const SNAP: f64 = 1e-6;

/// The lengths of a box along `[D, H, W]`, in mm, as a pipeline file gives them.
pub(in crate::operators) const LENGTHS_MM: FieldKind =
    FieldKind::List { of: &FieldKind::Number { min: 0.01, max: 10_000.0, unit: "mm" }, len: Some(3) };

/// The place where a box begins, in voxels of the grid, and its number of voxels along each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuboid {
    /// The first voxel along `[D, H, W]`; negative before the grid begins.
    pub start: [i64; 3],
    /// Voxels along `[D, H, W]`.
    pub size: [usize; 3],
}

impl Cuboid {
    /// The case within the box; outside its grid intensities are `value` and labels background.
    ///
    /// # Errors
    /// `TOO_LARGE` for a box that no machine should be asked to hold; `GRID_MISMATCH` for labels of another size.
    pub fn cut(&self, case: &Case, value: f32) -> Result<Case, Failure> {
        let size = case.scan.size();
        if let Some(labels) = &case.labels {
            grid::check_same_size("labels", size, labels.size())?;
        }
        if self.start == [0; 3] && self.size == size {
            return Ok(case.clone());
        }
        grid::check_voxels(self.size)?;
        let scan = self.volume(&case.scan, value).map_err(misfit)?;
        let labels = case.labels.as_ref().map(|labels| self.volume(labels, 0)).transpose().map_err(misfit)?;
        let padding =
            case.padding.as_ref().map(|padding| self.volume(padding, 0)).transpose().map_err(misfit)?;
        let (labels, padding) = (labels.map(Arc::new), padding.map(Arc::new));
        Ok(Case { scan: Arc::new(scan), labels, padding, ..case.clone() })
    }

    fn volume<T: Copy + Send + Sync>(&self, volume: &Volume<T>, fill: T) -> Result<Volume<T>, SizeMismatch> {
        Volume::new(self.geometry(volume.geometry()), self.voxels(volume.voxels(), volume.size(), fill))
    }

    /// Returns the grid of the box within another.
    pub(super) fn geometry(&self, geometry: &Geometry) -> Geometry {
        let origin = geometry.to_patient(VoxelIndex(self.start.map(|voxel| voxel as f64)));
        Geometry { size: self.size, origin_mm: origin.0, steps_mm: geometry.steps_mm }
    }

    fn voxels<T: Copy + Send + Sync>(&self, voxels: &[T], size: [usize; 3], fill: T) -> Vec<T> {
        let [_, rows, width] = self.size;
        let mut output = vec![fill; self.size.iter().product()];
        // The old columns lie here among the new ones.
        let first = self.start[2].max(0) as usize;
        let to = (-self.start[2]).max(0) as usize;
        let count = size[2].saturating_sub(first).min(width.saturating_sub(to));
        output.par_chunks_exact_mut(width).enumerate().for_each(|(line, out)| {
            let old = |axis: usize, index: usize| {
                usize::try_from(self.start[axis] + index as i64).ok().filter(|index| *index < size[axis])
            };
            if let (Some(d), Some(h)) = (old(0, line / rows), old(1, line % rows)) {
                let source = &voxels[(d * size[1] + h) * size[2]..][..size[2]];
                out[to..to + count].copy_from_slice(&source[first..first + count]);
            }
        });
        output
    }
}

pub(super) fn misfit(error: SizeMismatch) -> Failure {
    Failure::new("GRID_MISMATCH", error.to_string(), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_may_lie_across_the_border() {
        let voxels: Vec<u16> = (1..=12).collect();
        let found = Cuboid { start: [0, -1, 1], size: [1, 3, 4] }.voxels(&voxels, [1, 3, 4], 0);
        assert_eq!(found, [0, 0, 0, 0, 2, 3, 4, 0, 6, 7, 8, 0]);
        let beyond = Cuboid { start: [0, 5, -9], size: [1, 1, 2] }.voxels(&voxels, [1, 3, 4], 9);
        assert_eq!(beyond, [9, 9]);
    }
}
