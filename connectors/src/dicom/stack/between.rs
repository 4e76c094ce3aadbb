//! Scans with planes between slices: these are interpolated linearly from the slices beside them.

use std::path::PathBuf;

use rayon::prelude::*;

use crate::dicom::pixels::{changed, decode, load_scan, zeros};
use crate::planes::{self, Plane, planes};
use crate::{Geometry, Reject, Scan};

/// The number of slices held beside the volume at a time; one more is held with them.
const WINDOW: usize = 32;

/// Loads a scan as [`load_scan`], with slices at `heights` along the grid's first axis, in planes
/// ([`planes()`]); without heights each plane is a slice.
///
/// A plane that a slice lies on holds its values as they are.
///
/// # Errors
/// The errors of [`load_scan`], and `BAD_GEOMETRY` for heights that do not fit the grid.
pub fn load_scan_between(
    geometry: &Geometry,
    slices: &[(PathBuf, u32)],
    heights: &[f64],
) -> Result<Scan, Reject> {
    if heights.is_empty() {
        return load_scan(geometry, slices);
    }
    let [depth, rows, columns] = geometry.size;
    if heights.len() != slices.len() || rows == 0 || columns == 0 {
        return Err(changed(format!("{} slices expected, {} given", heights.len(), slices.len())));
    }
    let planes = planes(depth, heights).ok_or_else(|| planes::unfit(geometry, heights))?;
    let area = rows * columns;
    let mut voxels = zeros(geometry.voxels())?;
    let mut window = zeros(slices.len().min(WINDOW + 1) * area)?;
    for from in (0..slices.len()).step_by(WINDOW) {
        let held = slices.get(from..slices.len().min(from + WINDOW + 1)).unwrap_or_default();
        decode(held, [rows, columns], &mut window)?;
        let made = voxels.par_chunks_exact_mut(area).zip(&planes);
        made.for_each(|(voxels, plane)| fill(voxels, *plane, from, &window));
    }
    Scan::new(geometry.clone(), voxels).map_err(|error| changed(error.to_string()))
}

/// Fills a plane whose slice, or the one below it, is among those that are held.
fn fill(voxels: &mut [f32], plane: Plane, from: usize, window: &[f32]) {
    let slice = |index: usize| {
        let place = index.checked_sub(from)?;
        window.get(place * voxels.len()..(place + 1) * voxels.len())
    };
    let (Plane::Slice(first) | Plane::Between { below: first, .. }) = plane;
    if !(from..from + WINDOW).contains(&first) {
        return;
    }
    match plane {
        Plane::Slice(index) => {
            if let Some(values) = slice(index) {
                voxels.copy_from_slice(values);
            }
        }
        Plane::Between { below, share } => {
            let (Some(low), Some(high)) = (slice(below), slice(below + 1)) else { return };
            for ((voxel, &low), &high) in voxels.iter_mut().zip(low).zip(high) {
                // Where both voxels are the same, so is what lies between.
                let (low, high) = (f64::from(low), f64::from(high));
                *voxel = (low + share * (high - low)) as f32;
            }
        }
    }
}
