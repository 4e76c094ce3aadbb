//! What intensities are worth: which of them count, whether they are numbers, and all of them made anew.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Reject, pages};

/// Voxels that a thread takes at once.
const CHUNK: usize = 1 << 16;

/// Which voxels give an operator its statistics.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Foreground {
    /// All voxels.
    None,
    /// Those that are not 0; zeros stay.
    Nonzero,
    /// Those above a number; all voxels are scaled.
    #[serde(untagged)]
    Above(f32),
}

impl Foreground {
    /// Whether a voxel counts.
    pub fn holds(self, value: f32) -> bool {
        match self {
            Self::None => true,
            Self::Nonzero => value != 0.0,
            Self::Above(least) => value > least,
        }
    }

    /// Whether a voxel stays as it is.
    pub fn leaves(self, value: f32) -> bool {
        self == Self::Nonzero && value == 0.0
    }

    /// Refuses a scan without a voxel that counts, when a number was to find one.
    ///
    /// # Errors
    /// `NO_FOREGROUND`.
    pub fn may_be_empty(self) -> Result<(), Reject> {
        let Self::Above(bound) = self else { return Ok(()) };
        Err(Reject::new(
            "NO_FOREGROUND",
            format!("voxels above {bound} expected, none found"),
            "`foreground` may not fit the scale of these intensities",
        ))
    }
}

/// Each value made anew, on all threads.
pub fn mapped(values: &[f32], make: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut output = vec![0.0; values.len()];
    pages::large(&mut output);
    output.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(output, values)| {
        output.iter_mut().zip(values).for_each(|(out, &value)| *out = make(value));
    });
    output
}

/// The refusal of NaN and infinities.
pub fn not_finite() -> Reject {
    Reject::new(
        "NOT_FINITE",
        "finite intensities expected, NaN or an infinity found",
        "`window` clamps infinities; a NaN means damaged pixels or a wrong rescale slope",
    )
}

/// What becomes of intensities of which none counts: nothing but zeros stay as they are.
///
/// # Errors
/// As [`Foreground::may_be_empty`]; [`not_finite`] where nothing is a number.
pub fn without_foreground(voxels: &[f32], foreground: Foreground) -> Result<Vec<f32>, Reject> {
    foreground.may_be_empty()?;
    let finite = voxels.iter().any(|value| value.is_finite());
    if finite { Ok(voxels.to_vec()) } else { Err(not_finite()) }
}

/// Whether each value is a number and not infinite.
pub fn all_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    values.par_chunks(CHUNK).all(|chunk| {
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

    #[test]
    fn words_and_numbers_choose_the_foreground() {
        let read = |value: serde_json::Value| -> Foreground { serde_json::from_value(value).unwrap() };
        assert_eq!(read("none".into()), Foreground::None);
        assert_eq!(read("nonzero".into()), Foreground::Nonzero);
        assert_eq!(read((-500).into()), Foreground::Above(-500.0));
    }

    #[test]
    fn every_value_is_made_anew() {
        let values: Vec<f32> = (0..100_000).map(|i| i as f32).collect();
        let found = mapped(&values, |value| value + 1.0);
        assert!(found.iter().zip(&values).all(|(found, value)| *found == value + 1.0));
        assert!(mapped(&[], |value| value).is_empty());
    }
}
