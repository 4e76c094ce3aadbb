//! Counts of agreement between a mask and the truth: added up first, divided last.

use std::ops::{Add, AddAssign, Neg, Sub};

use serde::{Deserialize, Serialize};

/// Voxels that both hold, that only the prediction holds, and that only the reference holds.
///
/// The counts are signed, so that a retraction can take them away again: it is a group under addition.
///
/// # Examples
/// ```
/// use tomoflow::metrics::Confusion;
/// let counts = Confusion { tp: 3, fp: 1, fn_: 2 } + Confusion { tp: 1, fp: 0, fn_: 0 };
/// assert_eq!(counts.dice(), Some(8.0 / 11.0));
/// assert!((counts + -counts).is_zero());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Confusion {
    /// Voxels of both.
    pub tp: i64,
    /// Voxels of the prediction alone.
    pub fp: i64,
    /// Voxels of the reference alone.
    pub fn_: i64,
}

/// What an empty mask makes of a figure: nothing to compare, or one that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Emptiness {
    /// Both masks hold voxels.
    Ok,
    /// Neither does.
    BothEmpty,
    /// The reference holds none.
    EmptyReference,
    /// The prediction holds none: a missed structure.
    EmptyPrediction,
}

impl Emptiness {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Ok, Self::BothEmpty, Self::EmptyReference, Self::EmptyPrediction];

    /// The state of this word.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The word in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::BothEmpty => "both_empty",
            Self::EmptyReference => "empty_reference",
            Self::EmptyPrediction => "empty_prediction",
        }
    }
}

impl Confusion {
    /// No voxels.
    pub const ZERO: Self = Self { tp: 0, fp: 0, fn_: 0 };

    /// Whether nothing was counted.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Voxels of the prediction.
    pub fn predicted(&self) -> i64 {
        self.tp + self.fp
    }

    /// Voxels of the reference.
    pub fn reference(&self) -> i64 {
        self.tp + self.fn_
    }

    /// Which of the masks are empty.
    pub fn state(&self) -> Emptiness {
        match (self.predicted() == 0, self.reference() == 0) {
            (true, true) => Emptiness::BothEmpty,
            (false, true) => Emptiness::EmptyReference,
            (true, false) => Emptiness::EmptyPrediction,
            (false, false) => Emptiness::Ok,
        }
    }

    /// 2·tp / (2·tp + fp + fn); `None` when both masks are empty.
    pub fn dice(&self) -> Option<f64> {
        ratio(2 * self.tp, self.predicted() + self.reference())
    }

    /// tp / (tp + fp + fn); `None` when both masks are empty.
    pub fn iou(&self) -> Option<f64> {
        ratio(self.tp, self.tp + self.fp + self.fn_)
    }

    /// tp / (tp + fp); `None` for an empty prediction.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.tp, self.predicted())
    }

    /// tp / (tp + fn); `None` for an empty reference.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.tp, self.reference())
    }

    /// |V_pred − V_ref| / V_ref; `None` for an empty reference.
    pub fn relative_volume_error(&self) -> Option<f64> {
        ratio((self.fp - self.fn_).abs(), self.reference())
    }
}

fn ratio(numerator: i64, denominator: i64) -> Option<f64> {
    (denominator != 0).then(|| numerator as f64 / denominator as f64)
}

impl Add for Confusion {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { tp: self.tp + other.tp, fp: self.fp + other.fp, fn_: self.fn_ + other.fn_ }
    }
}

impl AddAssign for Confusion {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl AddAssign<&Self> for Confusion {
    fn add_assign(&mut self, other: &Self) {
        *self = *self + *other;
    }
}

impl Neg for Confusion {
    type Output = Self;

    fn neg(self) -> Self {
        Self { tp: -self.tp, fp: -self.fp, fn_: -self.fn_ }
    }
}

impl Sub for Confusion {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl std::iter::Sum for Confusion {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_by_hand() {
        let counts = Confusion { tp: 6, fp: 2, fn_: 4 };
        assert_eq!(counts.dice(), Some(12.0 / 18.0));
        assert_eq!(counts.iou(), Some(0.5));
        assert_eq!(counts.precision(), Some(0.75));
        assert_eq!(counts.recall(), Some(0.6));
        assert_eq!(counts.relative_volume_error(), Some(0.2));
        assert_eq!(counts.state(), Emptiness::Ok);
    }

    #[test]
    fn empty_masks_have_a_state() {
        assert_eq!(Confusion::ZERO.state(), Emptiness::BothEmpty);
        assert_eq!(Confusion::ZERO.dice(), None);
        let missed = Confusion { tp: 0, fp: 0, fn_: 5 };
        assert_eq!((missed.state(), missed.dice()), (Emptiness::EmptyPrediction, Some(0.0)));
        assert_eq!((missed.precision(), missed.relative_volume_error()), (None, Some(1.0)));
        let invented = Confusion { tp: 0, fp: 5, fn_: 0 };
        assert_eq!((invented.state(), invented.dice()), (Emptiness::EmptyReference, Some(0.0)));
        assert_eq!((invented.recall(), invented.relative_volume_error()), (None, None));
    }
}
