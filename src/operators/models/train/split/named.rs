//! A split in a file: a CSV of patients or series, or nnU-Net's `splits_final.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::{Assigned, Part, Subject};
use crate::connectors::{Digest, reading};
use crate::operators::spec::FieldProblem;

const HINT: &str =
    "a CSV has the columns `patient` or `series`, and `part` (train, validation or test) or `fold`";

/// What the names of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Patients,
    Cases,
    /// nnU-Net's identifiers: a case's, or its patient's.
    Either,
}

/// Who stands where, as a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    of: Of,
    parts: BTreeMap<String, Part>,
}

/// A fold of nnU-Net's `splits_final.json`.
#[derive(Deserialize)]
struct Fold {
    train: Vec<String>,
    val: Vec<String>,
}

impl Named {
    /// Reads a file; with `fold` one that names folds: this one is for validation, the others are trained on.
    ///
    /// # Errors
    /// A file that cannot be read, or the first line that says nothing or contradicts another.
    pub(super) fn read(path: &Path, fold: Option<usize>) -> Result<Self, FieldProblem> {
        let file =
            path.file_name().map_or_else(|| path.display().to_string(), |name| name.display().to_string());
        let problem =
            |message: String, hint: &str| FieldProblem::new("split.file", format!("{file}{message}"), hint);
        let bytes = reading::table(path).map_err(|error| problem(format!(": {error}"), HINT))?;
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            json(&bytes, fold).map_err(|(message, hint)| problem(message, hint))
        } else {
            csv(&bytes, fold).map_err(|(message, hint)| problem(message, hint))
        }
    }

    /// Returns the digest of what the file decides, however it is written. Whom it does not name stands in
    /// `test`, so that naming a patient for `test` changes nothing where others are named.
    pub fn digest(&self) -> Digest {
        // A series that stands in `test` takes the others of its patient there.
        let counts = |part: Part| self.of != Of::Patients || part != Part::Test;
        let named = self.parts.iter().filter(|(_, part)| counts(**part));
        let mut parts = vec![format!("{:?}", self.of)];
        parts.extend(named.flat_map(|(name, part)| [name.clone(), part.name().to_owned()]));
        Digest::of_parts(parts.iter().map(String::as_bytes))
    }

    /// A patient whose series are named for several parts stands in the one that training sees least of.
    pub(super) fn assign(&self, subjects: &[Subject]) -> Assigned {
        let mut assigned = Assigned::default();
        let mut named = Vec::new();
        for subject in subjects {
            let part = self.part(subject);
            named.extend(part.map(|part| (subject, part)));
            let stands = assigned.parts.entry(subject.patient.to_owned());
            let stands = stands.or_insert(part.unwrap_or(Part::Train));
            *stands = (*stands).max(part.unwrap_or(Part::Train));
        }
        let known: BTreeSet<&str> = named.iter().map(|(subject, _)| subject.patient).collect();
        for (patient, part) in &mut assigned.parts {
            if !known.contains(patient.as_str()) {
                *part = Part::Test;
            }
        }
        for (subject, part) in named {
            if assigned.parts.get(subject.patient).is_some_and(|stands| *stands != part) {
                assigned.torn.insert(subject.case.to_owned(), part);
            }
        }
        assigned.nobody_named = known.is_empty() && !subjects.is_empty();
        assigned
    }

    /// The names of the file that are none of these, and how many it has in all.
    pub(super) fn unknown(&self, subjects: &[Subject]) -> (Vec<&str>, usize) {
        let mut known = BTreeSet::new();
        for subject in subjects {
            if self.of != Of::Cases {
                known.insert(subject.patient);
            }
            if self.of != Of::Patients {
                known.insert(subject.case);
                known.extend(subject.case.split_once('#').map(|(series, _)| series));
            }
        }
        let names = self.parts.keys().map(String::as_str);
        (names.filter(|name| !known.contains(name)).collect(), self.parts.len())
    }

    pub(super) fn part(&self, subject: &Subject) -> Option<Part> {
        let patient = || self.parts.get(subject.patient);
        // A part of a split series is called after it.
        let series = || subject.case.split_once('#').and_then(|(series, _)| self.parts.get(series));
        let case = || self.parts.get(subject.case).or_else(series);
        let part = match self.of {
            Of::Patients => patient(),
            Of::Cases => case(),
            Of::Either => case().or_else(patient),
        };
        part.copied()
    }
}

/// A problem, told after the file's name, and a remedy.
type Wrong = (String, &'static str);

fn csv(bytes: &[u8], fold: Option<usize>) -> Result<Named, Wrong> {
    let wrong = |error: csv::Error| (format!(": {error}"), HINT);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let headers = reader.headers().map_err(wrong)?.clone();
    let column = |name: &str| headers.iter().position(|header| header == name);
    if let (Some(file), Some(part), None) = (column("File_name"), column("Train_Val_Test"), column("part")) {
        return match fold {
            None => deeplesion(reader, file, part),
            Some(_) => Err((", line 1: `fold` needs a column `fold`, none found".to_owned(), HINT)),
        };
    }
    let (of, name) = match (column("patient"), column("series")) {
        // Patients decide: a table may name their series as well.
        (Some(at), _) => (Of::Patients, at),
        (None, Some(at)) => (Of::Cases, at),
        (None, None) => return Err((", line 1: no column `patient` or `series` found".to_owned(), HINT)),
    };
    let (value, folds) = match (column("part"), column("fold"), fold) {
        (Some(at), _, None) => (at, None),
        (_, Some(at), Some(fold)) => (at, Some(fold)),
        (None, Some(_), None) => {
            let hint = "`fold = 0` takes the first of them for validation";
            return Err((", line 1: the file names folds, `fold` does not say which".to_owned(), hint));
        }
        (_, None, Some(_)) => {
            return Err((", line 1: `fold` needs a column `fold`, none found".to_owned(), HINT));
        }
        (None, None, None) => return Err((", line 1: no column `part` or `fold` found".to_owned(), HINT)),
    };
    let (mut parts, mut lines, mut held) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let line = record.position().map_or(0, csv::Position::line);
        let name = record.get(name).unwrap_or_default();
        if name.is_empty() {
            return Err((format!(", line {line}: a name expected, none found"), HINT));
        }
        let part = part(record.get(value).unwrap_or_default(), folds, &mut held)
            .map_err(|(message, hint)| (format!(", line {line}: {message}"), hint))?;
        match parts.insert(name.to_owned(), part) {
            Some(before) if before != part => {
                let first = lines.get(name).copied().unwrap_or(0);
                let message = format!(
                    ", line {line}: one side expected for each name, {} found, and {} in line {first}",
                    part.name(),
                    before.name()
                );
                return Err((message, "delete one of the two lines"));
            }
            _ => drop(lines.entry(name.to_owned()).or_insert(line)),
        }
    }
    sound(Named { of, parts }, folds, &held)
}

/// The split of `DL_info.csv`: a line for each lesion, whose part is 1, 2 or 3.
fn deeplesion(mut reader: csv::Reader<&[u8]>, file: usize, value: usize) -> Result<Named, Wrong> {
    const HINT: &str = "take `DL_info.csv` as it was published";
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|error| (format!(": {error}"), HINT))?;
        let line = record.position().map_or(0, csv::Position::line);
        let name = record.get(file).unwrap_or_default();
        let series = name.strip_suffix(".png").and_then(|name| Some(name.rsplit_once('_')?.0));
        let Some(series) = series else {
            return Err((format!(", line {line}: `<series>_<slice>.png` expected, `{name}` found"), HINT));
        };
        let text = record.get(value).unwrap_or_default();
        let part = match text {
            "1" => Part::Train,
            "2" => Part::Validation,
            "3" => Part::Test,
            _ => return Err((format!(", line {line}: 1, 2 or 3 expected, `{text}` found"), HINT)),
        };
        match parts.insert(series.to_owned(), part) {
            Some(before) if before != part => {
                let found = format!("{} and {} found", before.name(), part.name());
                return Err((format!(", line {line}: one side expected for each series, {found}"), HINT));
            }
            _ => {}
        }
    }
    sound(Named { of: Of::Cases, parts }, None, &BTreeSet::new())
}

/// A part by its word; with `fold` by the number of a fold, where nothing stands for `test`.
fn part(text: &str, fold: Option<usize>, held: &mut BTreeSet<usize>) -> Result<Part, Wrong> {
    let Some(fold) = fold else {
        let message = || format!("`train`, `validation` or `test` expected, `{text}` found");
        let labelled = |part: &Part| *part != Part::Unlabelled;
        return Part::of_name(text)
            .filter(labelled)
            .ok_or_else(|| (message(), "parts are written in lower case"));
    };
    if text.is_empty() {
        return Ok(Part::Test);
    }
    let message = |_| (format!("the number of a fold expected, `{text}` found"), "folds are counted from 0");
    let number: usize = text.parse().map_err(message)?;
    held.insert(number);
    Ok(if number == fold { Part::Validation } else { Part::Train })
}

fn json(bytes: &[u8], fold: Option<usize>) -> Result<Named, Wrong> {
    const EXPECTED: &str = "nnU-Net's splits_final.json is a list of { \"train\": […], \"val\": […] }";
    let folds: Vec<Fold> = serde_json::from_slice(bytes)
        .map_err(|error| (format!(", line {}: {error}", error.line()), EXPECTED))?;
    let Some(fold) = fold else {
        let message = format!(": it has {} folds, `fold` does not say which", folds.len());
        return Err((message, "`fold = 0` takes the first of them for validation"));
    };
    let Some(Fold { train, val }) = folds.into_iter().nth(fold) else {
        return Err((format!(": it has no fold {fold}"), "folds are counted from 0"));
    };
    let mut parts: BTreeMap<String, Part> = train.into_iter().map(|name| (name, Part::Train)).collect();
    for name in val {
        if parts.insert(name.clone(), Part::Validation) == Some(Part::Train) {
            let message = format!(": one side expected for each name, `{name}` is in both of fold {fold}");
            return Err((message, "delete the name in one of the two"));
        }
    }
    sound(Named { of: Of::Either, parts }, None, &BTreeSet::new())
}

/// A file that leaves nobody to train on, or has no such fold.
fn sound(named: Named, fold: Option<usize>, held: &BTreeSet<usize>) -> Result<Named, Wrong> {
    if let Some(fold) = fold.filter(|fold| !held.contains(fold)) {
        let held: Vec<String> = held.iter().map(usize::to_string).collect();
        return Err((
            format!(": fold {fold} expected, {} found", held.join(", ")),
            "folds are counted from 0",
        ));
    }
    if named.parts.values().any(|part| *part == Part::Train) {
        return Ok(named);
    }
    Err((": nobody is left to train on".to_owned(), HINT))
}
