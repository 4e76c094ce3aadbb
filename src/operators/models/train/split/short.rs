//! A split that its patients do not suffice for.

use std::collections::BTreeSet;
use std::fmt;

use super::{FoldIs, Part, Share, Split, Subject};

/// What a split asks for, and cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// Labelled cases.
    pub cases: usize,
    /// The patients of these cases.
    pub patients: usize,
    /// The parts of the split that cannot be had.
    missing: Vec<String>,
}

impl Split {
    /// Returns what of the split these cases do not suffice for; none where it can be had, and of no cases.
    ///
    /// Said are a part that is asked for and empty, a count that is not reached, and fewer patients than folds.
    pub fn short(&self, subjects: &[Subject]) -> Option<Short> {
        let assigned = self.assign(subjects);
        if subjects.is_empty() || assigned.nobody_named {
            return None;
        }
        let patients: BTreeSet<&str> = subjects.iter().map(|subject| subject.patient).collect();
        let mut missing = Vec::new();
        if let (Some(folds), None) = (self.folds, &self.named)
            && folds > patients.len()
        {
            missing.push(format!("{folds} folds need {folds} patients"));
        }
        for part in Part::ALL {
            let found = assigned.parts.values().filter(|found| **found == part).count();
            let (asked, counted) = self.asked(part);
            if asked && found == 0 {
                missing.push(format!("nobody to {}", verb(part)));
            } else if let Some(count) = counted
                && (found as u64) < count
            {
                missing.push(format!("{found} of {count} to {}", verb(part)));
            }
        }
        (!missing.is_empty()).then_some(Short { cases: subjects.len(), patients: patients.len(), missing })
    }

    /// Whether a part is asked for, and a count of patients for it.
    fn asked(&self, part: Part) -> (bool, Option<u64>) {
        let by_folds = self.folds.is_some() || self.named.is_some();
        match (part, by_folds) {
            // Those whom a file does not name are tested on, and it may name everybody.
            (Part::Test, _) if self.named.is_some() => (false, None),
            // The fold itself; the others as shares say.
            (Part::Test, true) if self.fold_is == FoldIs::Test => (true, None),
            (Part::Validation, true) if self.fold_is == FoldIs::Validation => (true, None),
            (Part::Train, true) => (true, None),
            // Nobody is asked for.
            (Part::Unlabelled, _) => (false, None),
            (part, _) => {
                let share = match part {
                    Part::Train | Part::Unlabelled => self.train,
                    Part::Validation => self.validation,
                    Part::Test => self.test,
                };
                let count = match share {
                    Share::Count(count) => Some(count),
                    Share::Fraction(_) => None,
                };
                (share.of(1.0) > 0.0, count)
            }
        }
    }
}

fn verb(part: Part) -> &'static str {
    match part {
        Part::Train | Part::Unlabelled => "train on",
        Part::Validation => "validate on",
        Part::Test => "test on",
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patients = if self.patients == 1 { "patient" } else { "patients" };
        let cases = if self.cases == 1 { "case" } else { "cases" };
        let Self { missing, patients: count, cases: all, .. } = self;
        write!(f, "{count} {patients} of {all} labelled {cases}: {}", missing.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(train: Share, validation: Share, test: Share, fold: Option<(usize, usize)>) -> Split {
        let (folds, fold) = fold.unzip();
        let (fold_is, stratify) = (FoldIs::default(), None);
        Split { train, validation, test, seed: 1, folds, fold, fold_is, stratify, file: None, named: None }
    }

    fn said(split: &Split, patients: &[&str]) -> Option<String> {
        let cases: Vec<String> = (0..patients.len()).map(|n| n.to_string()).collect();
        let subjects: Vec<Subject> = (cases.iter().zip(patients))
            .map(|(case, patient)| Subject { case, patient, stratum: "" })
            .collect();
        split.short(&subjects).map(|short| short.to_string())
    }

    #[test]
    fn one_patient_is_no_split() {
        let counts = split(Share::Count(2), Share::Count(1), Share::Count(1), None);
        let found = said(&counts, &["ANON"; 8]).unwrap();
        let expected =
            "1 patient of 8 labelled cases: 1 of 2 to train on, nobody to validate on, nobody to test on";
        assert_eq!(found, expected);
        assert_eq!(said(&counts, &["a", "a", "b", "c", "d"]), None);
        assert_eq!(said(&counts, &[]), None);
        let alone = split(Share::Count(1), Share::Count(0), Share::Count(0), None);
        assert_eq!(said(&alone, &["ANON"; 3]), None, "nobody else was asked for");
    }

    #[test]
    fn counts_and_shares_that_are_not_reached_are_said() {
        let shares = split(Share::Fraction(0.7), Share::Fraction(0.1), Share::Fraction(0.2), None);
        assert_eq!(said(&shares, &["a", "b", "c"]), None);
        assert!(said(&shares, &["a", "b"]).unwrap().contains("nobody to"));
        let many = split(Share::Count(30), Share::Count(1), Share::Count(1), None);
        let found = said(&many, &["a", "b", "c", "d"]).unwrap();
        assert_eq!(found, "4 patients of 4 labelled cases: 2 of 30 to train on");
    }

    #[test]
    fn folds_need_as_many_patients() {
        let folds = |fold| split(Share::Count(0), Share::Count(0), Share::Count(0), Some((3, fold)));
        assert_eq!(said(&folds(0), &["a", "b", "c"]), None);
        for fold in 0..3 {
            assert!(said(&folds(fold), &["a", "b"]).unwrap().contains("3 folds need 3 patients"));
        }
        let one: Vec<String> = (0..3).map(|fold| said(&folds(fold), &["a"; 4]).unwrap()).collect();
        assert!(one.iter().all(|found| found.contains("nobody to")), "{one:?}");
    }
}
