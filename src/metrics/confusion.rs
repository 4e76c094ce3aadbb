//! Counts of agreement between a mask and the truth: added up first, divided last.

use std::ops::{Add, AddAssign, Neg, Sub};

use rayon::prelude::*;
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
pub enum State {
    /// Both masks hold voxels.
    Ok,
    /// Neither does.
    BothEmpty,
    /// The reference holds none.
    EmptyReference,
    /// The prediction holds none: a missed structure.
    EmptyPrediction,
}

impl State {
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
    pub fn state(&self) -> State {
        match (self.predicted() == 0, self.reference() == 0) {
            (true, true) => State::BothEmpty,
            (false, true) => State::EmptyReference,
            (true, false) => State::EmptyPrediction,
            (false, false) => State::Ok,
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

/// Counts for each pair of (label in the prediction, label in the reference), in one pass over the voxels.
///
/// Labels are not 0, and none stands twice on one side; voxels past the end of the shorter slice are not
/// counted.
pub fn confusions(prediction: &[u16], reference: &[u16], pairs: &[(u16, u16)]) -> Vec<Confusion> {
    const CHUNK: usize = 1 << 16;
    let table = |side: fn(&(u16, u16)) -> u16| {
        let most = pairs.iter().map(side).max().unwrap_or(0);
        let mut table = vec![0_usize; usize::from(most) + 1];
        for (index, pair) in pairs.iter().enumerate() {
            table[usize::from(side(pair))] = index + 1;
        }
        // Background belongs to no pair.
        table[0] = 0;
        table
    };
    let (of_prediction, of_reference) = (table(|pair| pair.0), table(|pair| pair.1));
    let find = |table: &[usize], label: u16| table.get(usize::from(label)).copied().unwrap_or(0);
    let count = |(prediction, reference): (&[u16], &[u16])| {
        // Place 0 takes what belongs to no pair.
        let mut counts = vec![Confusion::ZERO; pairs.len() + 1];
        for (a, b) in prediction.chunks(32).zip(reference.chunks(32)) {
            // Most voxels are background in both.
            if a.iter().chain(b).fold(0, |any, &label| any | label) == 0 {
                continue;
            }
            for (&a, &b) in a.iter().zip(b) {
                let (a, b) = (find(&of_prediction, a), find(&of_reference, b));
                if a == b {
                    counts[a].tp += 1;
                } else {
                    counts[a].fp += 1;
                    counts[b].fn_ += 1;
                }
            }
        }
        counts
    };
    let add = |mut a: Vec<Confusion>, b: Vec<Confusion>| {
        a.iter_mut().zip(&b).for_each(|(a, b)| *a += b);
        a
    };
    let none = || vec![Confusion::ZERO; pairs.len() + 1];
    let mut counts =
        prediction.par_chunks(CHUNK).zip(reference.par_chunks(CHUNK)).map(count).reduce(none, add);
    counts.remove(0);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn figures_by_hand() {
        let counts = Confusion { tp: 6, fp: 2, fn_: 4 };
        assert_eq!(counts.dice(), Some(12.0 / 18.0));
        assert_eq!(counts.iou(), Some(0.5));
        assert_eq!(counts.precision(), Some(0.75));
        assert_eq!(counts.recall(), Some(0.6));
        assert_eq!(counts.relative_volume_error(), Some(0.2));
        assert_eq!(counts.state(), State::Ok);
    }

    #[test]
    fn empty_masks_have_a_state() {
        assert_eq!(Confusion::ZERO.state(), State::BothEmpty);
        assert_eq!(Confusion::ZERO.dice(), None);
        let missed = Confusion { tp: 0, fp: 0, fn_: 5 };
        assert_eq!((missed.state(), missed.dice()), (State::EmptyPrediction, Some(0.0)));
        assert_eq!((missed.precision(), missed.relative_volume_error()), (None, Some(1.0)));
        let invented = Confusion { tp: 0, fp: 5, fn_: 0 };
        assert_eq!((invented.state(), invented.dice()), (State::EmptyReference, Some(0.0)));
        assert_eq!((invented.recall(), invented.relative_volume_error()), (None, None));
    }

    #[test]
    fn labels_are_counted_by_pair() {
        let prediction = [0, 1, 1, 2, 9, 2];
        let reference = [0, 3, 0, 3, 1, 1];
        let counts = confusions(&prediction, &reference, &[(1, 3), (2, 1)]);
        assert_eq!(counts, [Confusion { tp: 1, fp: 1, fn_: 1 }, Confusion { tp: 1, fp: 1, fn_: 1 }]);
    }

    proptest! {
        #[test]
        fn one_pass_is_as_many_passes(voxels in proptest::collection::vec((0..4u16, 0..4u16), 0..200)) {
            let (prediction, reference): (Vec<u16>, Vec<u16>) = voxels.iter().copied().unzip();
            let counts = confusions(&prediction, &reference, &[(1, 1), (2, 2), (3, 3)]);
            for label in 1..4_u16 {
                let count = |a: bool, b: bool| {
                    voxels.iter().filter(|(p, r)| ((*p == label), (*r == label)) == (a, b)).count() as i64
                };
                let expected = Confusion { tp: count(true, true), fp: count(true, false), fn_: count(false, true) };
                prop_assert_eq!(counts[usize::from(label) - 1], expected);
            }
        }
    }
}
