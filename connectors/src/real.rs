//! A number with a total order, so that records which hold it can be sorted, hashed and compared.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// A double that is equal to itself, NaN included; negative zero is kept as zero.
///
/// # Examples
/// ```
/// use tomoflow_connectors::Real;
/// assert_eq!(Real::new(-0.0), Real::new(0.0));
/// assert!(Real::new(1.0) < Real::new(2.0));
/// ```
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Real(pub f64);

impl Real {
    /// A number, with the sign of zero taken away.
    pub fn new(value: f64) -> Self {
        Self(value + 0.0)
    }
}

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Real {}

impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Real {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Hash for Real {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl From<f64> for Real {
    fn from(value: f64) -> Self {
        Self::new(value)
    }
}

/// Whether stored values up to `largest` stay numbers, and apart from each other, as the floats that voxels are.
pub(crate) fn rescales(slope: f64, intercept: f64, largest: f64) -> bool {
    let top = slope.abs() * largest + intercept.abs();
    // The condition is written so that what is no number is refused too.
    slope.abs() >= f64::from(f32::MIN_POSITIVE) && top <= f64::from(f32::MAX)
}
