//! Registration: where a place of one scan lies in another, first by an affine map, then by a field of displacements.
//!
//! Places are in mm of patient space. Sums are taken slice by slice and put together in the order of slices, so that the
//! same scans give the same bytes whatever the number of threads.

pub mod affine;
mod coarse;
pub mod deformation;
pub mod demons;
mod gaussian;
mod least_squares;
mod map;
mod sampler;

use rayon::prelude::*;
use tomoflow_connectors::{Reject, Scan};

use super::{grid, values};

pub use affine::{Aligned, align};
pub use deformation::{Deformation, NOWHERE};
pub use demons::{Demons, deform};
pub use map::Affine;

/// The fewest voxels along an axis: fewer have no direction to look in.
const LEAST_VOXELS: usize = 4;

/// Refuses a scan that cannot be registered to any other.
///
/// # Errors
/// `BAD_GRID`; `TOO_THIN` for a scan with fewer than four voxels along an axis; `NOT_FINITE`; `FLAT_SCAN` where all
/// intensities are one.
pub fn check(scan: &Scan) -> Result<(), Reject> {
    standardised(scan).map(drop)
}

/// The intensities of a scan with mean 0 and variance 1, on its grid.
///
/// # Errors
/// As of [`check`].
fn standardised(scan: &Scan) -> Result<Scan, Reject> {
    let geometry = scan.geometry();
    grid::check(geometry)?;
    grid::check_voxels(geometry.size)?;
    if geometry.size.iter().any(|&voxels| voxels < LEAST_VOXELS) {
        let message =
            format!("at least {LEAST_VOXELS} voxels along each axis expected, {:?} found", geometry.size);
        return Err(Reject::new("TOO_THIN", message, "a scan this thin cannot be registered"));
    }
    if !values::all_finite(scan.voxels()) {
        return Err(values::not_finite());
    }
    let slice = geometry.size[1] * geometry.size[2];
    let count = scan.voxels().len() as f64;
    let total = |of: &(dyn Fn(f64) -> f64 + Sync)| -> f64 {
        let slices = scan.voxels().par_chunks_exact(slice);
        let sums = slices.map(|slice| slice.iter().map(|&value| of(f64::from(value))).sum::<f64>());
        sums.collect::<Vec<_>>().into_iter().sum()
    };
    let mean = total(&|value| value) / count;
    let variance = total(&|value| (value - mean) * (value - mean)) / count;
    // What rounding leaves of one value is no structure.
    let least = 1e-12 * mean * mean;
    if !(variance.is_finite() && variance > least && variance > 0.0) {
        return Err(Reject::new(
            "FLAT_SCAN",
            "intensities that differ expected, one value everywhere found",
            "a scan without structure cannot be registered",
        ));
    }
    let scale = variance.sqrt().recip();
    let voxels = values::mapped(scan.voxels(), |value| ((f64::from(value) - mean) * scale) as f32);
    Scan::new(geometry.clone(), voxels).map_err(|error| Reject::new("GRID_MISMATCH", error.to_string(), ""))
}

#[cfg(test)]
mod tests;
