//! Who is trained on, who chooses the best epoch, and whom training never sees.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::connectors::Digest;
use crate::operators::spec::FieldProblem;

/// On which side of the split a patient stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Trained on.
    Train,
    /// Chooses the best epoch.
    Validation,
    /// Never seen by training.
    Test,
}

impl Part {
    /// The word in tables and datasets.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// How many patients a part gets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Share {
    /// So many.
    Count(u64),
    /// This share of all, 0 to 1.
    Fraction(f64),
}

/// Who is trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Patients to train on.
    pub train: Share,
    /// Patients that choose the best epoch.
    pub validation: Share,
    /// Patients that training never sees.
    pub test: Share,
    /// Of who comes where.
    pub seed: u64,
}

impl Split {
    /// Where each patient stands: patients in the order of a hash of seed and name, the first of them
    /// trained on, the next for validation, all others for testing. Parts that ask for more patients than
    /// there are get fewer in proportion, but each at least one while there are enough.
    pub fn assign(&self, patients: &BTreeSet<String>) -> BTreeMap<String, Part> {
        let mut order: Vec<_> = patients.iter().map(|patient| (self.rank(patient), patient)).collect();
        order.sort_unstable();
        let [train, validation, _] = self.sizes(patients.len());
        let part = |place: usize| {
            if place < train {
                Part::Train
            } else if place < train + validation {
                Part::Validation
            } else {
                Part::Test
            }
        };
        order.into_iter().enumerate().map(|(place, (_, patient))| (patient.clone(), part(place))).collect()
    }

    fn rank(&self, patient: &str) -> Digest {
        Digest::of_parts([&self.seed.to_le_bytes()[..], patient.as_bytes()])
    }

    /// Patients of each part, of `count`.
    fn sizes(&self, count: usize) -> [usize; 3] {
        let all = count as f64;
        let wanted = [self.train, self.validation, self.test].map(|share| match share {
            Share::Count(number) => number as f64,
            Share::Fraction(fraction) => fraction * all,
        });
        let sum: f64 = wanted.iter().sum();
        let scale = if sum > all { all / sum } else { 1.0 };
        let ideal = wanted.map(|number| number * scale);
        let total = (ideal.iter().sum::<f64>().round() as usize).min(count);
        let mut sizes = ideal.map(|number| number.floor() as usize);
        while sizes.iter().sum::<usize>() < total {
            let short = (0..3).max_by(|&a, &b| {
                let missing = |i: usize| ideal[i] - sizes[i] as f64;
                missing(a).total_cmp(&missing(b)).then(b.cmp(&a))
            });
            sizes[short.unwrap_or(0)] += 1;
        }
        for part in 0..3 {
            let largest = (0..3).max_by_key(|&i| (sizes[i], 3 - i)).unwrap_or(0);
            if wanted[part] > 0.0 && sizes[part] == 0 {
                if sizes.iter().sum::<usize>() < count {
                    sizes[part] += 1;
                } else if sizes[largest] > 1 {
                    sizes[largest] -= 1;
                    sizes[part] += 1;
                }
            }
        }
        sizes
    }

    /// Shares that cannot be: nobody to train on, or more than everybody.
    pub(super) fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        if matches!(self.train, Share::Count(0)) || matches!(self.train, Share::Fraction(f) if f <= 0.0) {
            problems.push(FieldProblem::new(
                "split.train",
                "nobody is left to train on",
                "a count of 1 or more, or a share above 0",
            ));
        }
        let shares = [self.train, self.validation, self.test].map(|share| match share {
            Share::Fraction(fraction) => fraction,
            Share::Count(_) => 0.0,
        });
        let sum: f64 = shares.iter().sum();
        if sum > 1.0 + 1e-9 {
            problems.push(FieldProblem::new(
                "split",
                format!("shares of at most 1 in all expected, {sum} found"),
                "e.g. { train = 0.7, validation = 0.1, test = 0.2 }",
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn split(train: Value, validation: Value, test: Value) -> Split {
        serde_json::from_value(json!({ "train": train, "validation": validation, "test": test, "seed": 1 }))
            .unwrap()
    }

    fn patients(count: usize) -> BTreeSet<String> {
        (0..count).map(|i| format!("patient {i}")).collect()
    }

    #[test]
    fn counts_shares_and_too_few_patients() {
        let paper = || split(json!(178), json!(20), json!(47));
        assert_eq!(paper().sizes(245), [178, 20, 47]);
        assert_eq!(paper().sizes(300), [178, 20, 47]);
        assert_eq!(paper().sizes(10), [7, 1, 2]);
        assert_eq!(paper().sizes(3), [1, 1, 1]);
        assert_eq!(paper().sizes(2), [1, 1, 0]);
        assert_eq!(paper().sizes(1), [1, 0, 0]);
        assert_eq!(paper().sizes(0), [0, 0, 0]);
        let shares = split(json!(0.7), json!(0.1), json!(0.2));
        assert_eq!(shares.sizes(10), [7, 1, 2]);
        assert_eq!(shares.sizes(8), [5, 1, 2]);
        assert_eq!(shares.sizes(3), [1, 1, 1]);
        assert_eq!(split(json!(0.5), json!(0), json!(0)).sizes(9), [5, 0, 0]);
        assert_eq!(split(json!(1.0), json!(0), json!(0)).sizes(9), [9, 0, 0]);
        assert_eq!(split(json!(1), json!(1), json!(1)).sizes(3), [1, 1, 1]);
    }

    #[test]
    fn patients_stand_on_one_side_by_seed_alone() {
        let split = split(json!(6), json!(1), json!(1));
        let parts = split.assign(&patients(8));
        assert_eq!(parts, split.assign(&patients(8)));
        assert_eq!(parts.values().filter(|part| **part == Part::Train).count(), 6);
        let other = Split { seed: 2, ..split.clone() };
        assert_ne!(parts, other.assign(&patients(8)));
        // Whoever was trained on with fewer patients keeps the place before all who come after.
        assert_eq!(split.assign(&patients(20)).len(), 20);
    }
}
