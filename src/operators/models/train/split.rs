//! Who is trained on, who chooses the best epoch, and whom training never sees.

mod deal;
mod named;
mod part;
mod short;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::connectors::Digest;
use crate::operators::spec::FieldProblem;
pub use named::Named;
pub use part::Part;

/// The purpose of a fold's patients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoldIs {
    /// They choose the best epoch.
    #[default]
    Validation,
    /// They are tested on.
    Test,
}

/// The number or the share of patients that a part gets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Share {
    /// So many patients.
    Count(u64),
    /// This share of all patients, 0 to 1.
    Fraction(f64),
}

impl Share {
    /// Patients of `all`, not yet whole ones.
    fn of(self, all: f64) -> f64 {
        match self {
            Self::Count(number) => number as f64,
            Self::Fraction(fraction) => fraction * all,
        }
    }
}

/// The property of cases of which parts and folds hold alike shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stratify {
    /// The maker of the scanner.
    Vendor,
    /// The scanner's model.
    Scanner,
    /// The modality.
    Modality,
    /// The distance between slices, in classes.
    Spacing,
    /// The volume of its labels, in classes.
    Volume,
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
    /// The seed by which patients come to parts and folds.
    pub seed: u64,
    /// Folds of all patients but those to test on.
    pub folds: Option<usize>,
    /// The fold that chooses the best epoch, from 0 on.
    pub fold: Option<usize>,
    /// The purpose of the fold.
    #[serde(default)]
    pub fold_is: FoldIs,
    /// The property of cases of which parts and folds hold alike shares.
    pub stratify: Option<Stratify>,
    /// The file that names the parts instead.
    pub file: Option<PathBuf>,
    /// The parts that the file names.
    #[serde(skip)]
    pub named: Option<Arc<Named>>,
}

/// A case as a split knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject<'a> {
    /// The case's key.
    pub case: &'a str,
    /// The case's patient.
    pub patient: &'a str,
    /// The stratum of the case; empty where nothing is stratified.
    pub stratum: &'a str,
}

/// The parts in which patients stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Each patient's part.
    pub parts: BTreeMap<String, Part>,
    /// Cases that a file names for another part than the one where their patient stands, with that part.
    pub torn: BTreeMap<String, Part>,
    /// Whether there are patients and a file, and it names none of them.
    pub nobody_named: bool,
}

impl Split {
    /// Reads the file, if there is one, and checks what must go together.
    ///
    /// # Errors
    /// Shares that cannot be, fields that exclude each other, and whatever is wrong with the file.
    pub(in crate::operators::models) fn checked(mut self) -> Result<Self, Vec<FieldProblem>> {
        let mut problems = self.problems();
        if let (Some(path), true) = (&self.file, problems.is_empty()) {
            match Named::read(path, self.fold) {
                Ok(named) => self.named = Some(Arc::new(named)),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(self) } else { Err(problems) }
    }

    /// Returns where each patient stands, all of its cases on one side.
    ///
    /// By shares: patients in the order of a hash of seed and name, the first of them trained on, the next for
    /// validation, all others for testing. Parts that ask for more patients than there are get fewer in
    /// proportion, but each at least one while there are enough. By folds: the last ones of this order are for
    /// testing, and the others are dealt to folds. By a file: as it says, and for testing whom it does not name.
    pub fn assign(&self, subjects: &[Subject]) -> Assigned {
        if let Some(named) = &self.named {
            return named.assign(subjects);
        }
        let order = self.order(subjects);
        let patients = order.iter().map(|ranked| ranked.patient);
        let parts = match (self.folds, self.fold) {
            (Some(folds), Some(fold)) if self.fold_is == FoldIs::Test => self.test_fold(&order, folds, fold),
            (Some(folds), Some(fold)) => {
                let seen = order.len() - self.test_size(order.len());
                let dealt = deal::deal(&order[..seen], folds, self.seed);
                let part = |place: usize| match dealt.get(place) {
                    Some(dealt) if *dealt == fold => Part::Validation,
                    Some(_) => Part::Train,
                    None => Part::Test,
                };
                patients.enumerate().map(|(place, patient)| (patient.to_owned(), part(place))).collect()
            }
            _ => {
                let [train, validation, _] = self.sizes(order.len());
                let part = |place: usize| match place {
                    place if place < train => Part::Train,
                    place if place < train + validation => Part::Validation,
                    _ => Part::Test,
                };
                patients.enumerate().map(|(place, patient)| (patient.to_owned(), part(place))).collect()
            }
        };
        Assigned { parts, ..Assigned::default() }
    }

    /// All patients are dealt to folds, of which one is tested on. Of the others the first in the order of ranks choose
    /// the best epoch.
    fn test_fold(&self, order: &[Ranked], folds: usize, fold: usize) -> BTreeMap<String, Part> {
        let dealt = deal::deal(order, folds, self.seed);
        let seen = dealt.iter().filter(|dealt| **dealt != fold).count();
        // One patient is left to be trained on.
        let asked = self.validation.of(seen as f64).round() as usize;
        let mut validation = asked.min(seen.saturating_sub(1));
        let mut parts = BTreeMap::new();
        for (ranked, dealt) in order.iter().zip(dealt) {
            let part = match dealt == fold {
                true => Part::Test,
                false if validation > 0 => {
                    validation -= 1;
                    Part::Validation
                }
                false => Part::Train,
            };
            parts.insert(ranked.patient.to_owned(), part);
        }
        parts
    }

    /// The names of the split's file that are those of none of these cases, and how many it has in all; none without a
    /// file.
    pub fn unknown(&self, subjects: &[Subject]) -> (Vec<&str>, usize) {
        self.named.as_ref().map_or((Vec::new(), 0), |named| named.unknown(subjects))
    }

    /// Whether anybody may stand for validation: what a file names is seen with the cases, all else without them.
    pub fn may_validate(&self) -> bool {
        let share = match self.validation {
            Share::Count(count) => count > 0,
            Share::Fraction(fraction) => fraction > 0.0,
        };
        let fold = self.folds.is_some() && self.fold_is == FoldIs::Validation;
        self.file.is_some() || fold || share
    }

    /// Whether a patient without labels may be learned from: not where a file names the case for another part.
    pub fn admits_unlabelled(&self, case: &str, patient: &str) -> bool {
        let subject = Subject { case, patient, stratum: "" };
        let named = self.named.as_ref().and_then(|named| named.part(&subject));
        named.is_none_or(|part| part == Part::Train)
    }

    /// Patients by a hash of seed and name; with strata each of these is spread evenly over the whole order, so
    /// that every stretch of it holds the same shares of all.
    fn order<'a>(&self, subjects: &[Subject<'a>]) -> Vec<Ranked<'a>> {
        // A patient with scans of several strata is of the first by name.
        let mut patients: BTreeMap<&str, &str> = BTreeMap::new();
        for subject in subjects {
            let stratum = patients.entry(subject.patient).or_insert(subject.stratum);
            *stratum = (*stratum).min(subject.stratum);
        }
        let ranked = |(patient, stratum)| Ranked { stratum, rank: self.rank(patient), patient };
        let mut order: Vec<Ranked> = patients.into_iter().map(ranked).collect();
        order.sort_unstable();
        let mut placed: Vec<(u64, u64, Ranked)> = Vec::with_capacity(order.len());
        for stratum in order.chunk_by(|a, b| a.stratum == b.stratum) {
            let middle = |place: usize| 2 * place as u64 + 1;
            let all = stratum.iter().enumerate();
            placed.extend(all.map(|(place, ranked)| (middle(place), stratum.len() as u64, *ranked)));
        }
        // (2 i + 1) / 2 n, compared without division.
        placed.sort_unstable_by(|(a, of_a, one), (b, of_b, other)| {
            (a * of_b).cmp(&(b * of_a)).then(one.rank.cmp(&other.rank)).then(one.patient.cmp(other.patient))
        });
        placed.into_iter().map(|(_, _, ranked)| ranked).collect()
    }

    fn rank(&self, patient: &str) -> Digest {
        Digest::of_parts([&self.seed.to_le_bytes()[..], patient.as_bytes()])
    }

    /// Patients to test on, of `count`, before the others are dealt to folds.
    fn test_size(&self, count: usize) -> usize {
        // One patient is left to be dealt.
        (self.test.of(count as f64).round() as usize).min(count.saturating_sub(1))
    }

    /// Patients of each part, of `count`.
    fn sizes(&self, count: usize) -> [usize; 3] {
        let all = count as f64;
        let wanted = [self.train, self.validation, self.test].map(|share| share.of(all));
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

    /// Shares that cannot be (nobody to train on, or more than everybody), and fields that exclude each other.
    fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = self.fold_problems();
        // A file or folds say who is trained on.
        let by_share = self.file.is_none() && self.folds.is_none();
        if by_share
            && (matches!(self.train, Share::Count(0)) || matches!(self.train, Share::Fraction(f) if f <= 0.0))
        {
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
        if by_share && sum > 1.0 + 1e-9 {
            problems.push(FieldProblem::new(
                "split",
                format!("shares of at most 1 in all expected, {sum} found"),
                "e.g. { train = 0.7, validation = 0.1, test = 0.2 }",
            ));
        }
        if self.folds.is_some()
            && self.fold_is == FoldIs::Validation
            && matches!(self.test, Share::Fraction(f) if f >= 1.0)
        {
            let hint = "give a share below 1: folds are made of the patients who are not in `test`";
            problems.push(FieldProblem::new("split.test", "nobody is left to train on", hint));
        }
        problems
    }

    fn fold_problems(&self) -> Vec<FieldProblem> {
        let problem =
            |field: &str, message: String, hint: &str| vec![FieldProblem::new(field, message, hint)];
        if self.fold_is == FoldIs::Test && (self.folds.is_none() || self.file.is_some()) {
            let hint = "e.g. split = { folds = 5, fold = 0, fold_is = \"test\", validation = 5 }";
            return problem("split.fold_is", "`folds` expected beside it, none found".to_owned(), hint);
        }
        match (self.folds, self.fold, &self.file) {
            (Some(_), _, Some(_)) => {
                let hint = "a file of folds needs `fold` alone: it says how many there are";
                problem("split.folds", "one of `folds` and `file` expected, both found".to_owned(), hint)
            }
            (_, _, Some(_)) if self.stratify.is_some() => {
                let message = "`stratify` has no effect beside `file`, which assigns all patients";
                problem("split.stratify", message.to_owned(), "leave out `stratify` or `file`")
            }
            (Some(folds), None, None) => {
                let message =
                    format!("one of {folds} folds chooses the best epoch, `fold` does not say which");
                problem("split.folds", message, "e.g. split = { folds = 5, fold = 0 }")
            }
            (None, Some(_), None) => {
                let message = "`fold` is given without the number of `folds`".to_owned();
                problem("split.fold", message, "e.g. split = { folds = 5, fold = 0 }")
            }
            (Some(folds), Some(fold), None) if fold >= folds => {
                let message = format!("a fold from 0 to {} expected, {fold} found", folds.saturating_sub(1));
                problem("split.fold", message, "folds are counted from 0")
            }
            _ => Vec::new(),
        }
    }
}

/// A patient's place in its stratum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked<'a> {
    stratum: &'a str,
    rank: Digest,
    patient: &'a str,
}

#[cfg(test)]
mod tests;
