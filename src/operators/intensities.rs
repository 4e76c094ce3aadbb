//! What operators on intensities share: a case with other voxels, and the refusal of NaN.

use std::sync::Arc;

use rayon::prelude::*;
use tomoflow_connectors::Scan;

use super::value::{Case, Failure};

/// The case with other intensities on the same grid.
///
/// # Errors
/// `GRID_MISMATCH` when there are not as many.
pub fn replace(case: &Case, voxels: Vec<f32>) -> Result<Case, Failure> {
    let scan = Scan::new(case.scan.geometry().clone(), voxels)
        .map_err(|error| Failure::new("GRID_MISMATCH", error.to_string(), ""))?;
    Ok(Case { scan: Arc::new(scan), ..case.clone() })
}

/// The refusal of NaN and infinities.
pub fn not_finite() -> Failure {
    Failure::new(
        "NOT_FINITE",
        "finite intensities expected, NaN or an infinity found",
        "`window` clamps infinities; a NaN means damaged pixels or a wrong rescale slope",
    )
}

/// Whether each value is a number and not infinite.
pub fn all_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    values.par_chunks(1 << 16).all(|chunk| {
        !chunk.iter().fold(false, |found, value| found | (value.to_bits() & EXPONENT == EXPONENT))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_infinities_are_seen() {
        let mut values = vec![1.0_f32; 100_000];
        values[70_000] = f32::MAX;
        assert!(all_finite(&values));
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            values[99_999] = odd;
            assert!(!all_finite(&values));
        }
        assert!(all_finite(&[]));
    }
}
