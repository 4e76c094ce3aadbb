//! What sources ask for and is not there, and labels that belong to no scan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tomoflow_connectors::rtstruct::Form;
use tomoflow_connectors::rtstruct::Outlines;
use tomoflow_connectors::shown::Shown as _;
use tomoflow_connectors::{Digest, Reject};

use super::super::rows::{AS_SCAN, Input, NO_LABEL_FILE, OF_NO_SCAN, Remark, UNREADABLE};
use super::files::claimed;
use super::{Archive, Change, Origin, SourceError};
use crate::executor::work::{Verdict, series_of};
use crate::operators::registry::Stage;
use crate::operators::source::{LabelSource, LabelsIn};
use crate::pipeline::{Identifiers, StageId};

mod series;

/// Rows of one kind that a source gets; a line tells how many there are in all.
const ROWS: usize = 1000;
/// The remedy for labels whose scan is not found by its name.
const COMPARED: &str =
    "names are compared letter for letter: the `case` of the label file with that of scans";
/// Names that a line shows.
const NAMES: usize = 5;

/// Remarks that the control plane was told of, and what a line says of them.
#[derive(Default)]
pub(super) struct Remarks {
    told: BTreeSet<(StageId, Remark)>,
    lines: Vec<String>,
    /// The cases of labels in a table, by stage: they were read when the pipeline was built.
    listed: BTreeMap<StageId, BTreeSet<String>>,
}

/// One thing that is told.
struct Told {
    remark: Remark,
    /// What it is called, for a line.
    name: String,
}

impl Archive {
    /// Returns what is to be told of the sources beside their cases, as changes for the control plane.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn remark(&mut self) -> Result<Vec<Change>, SourceError> {
        let (mut now, mut lines) = (self.unreadable(), Vec::new());
        now.extend(self.damaged()?);
        for (number, stage) in self.plan.clone().stages.iter().enumerate() {
            let number = StageId::at(number);
            let mut told = match claimed(&stage.stage) {
                Some(_) => self.unmet(number)?,
                None => Vec::new(),
            };
            if let Stage::Labels(source) = &stage.stage {
                told.extend(self.of_no_scan(number, &**source)?);
                told.extend(self.unmet_in(&**source));
            }
            let mut kinds: BTreeMap<String, Vec<Told>> = BTreeMap::new();
            for told in told {
                kinds.entry(told.remark.reject.code.clone()).or_default().push(told);
            }
            for (code, told) in kinds {
                lines.push(format!("{}: {}", stage.name, self.line(&code, &told)));
                now.extend(told.into_iter().take(ROWS).map(|told| (number, told.remark)));
            }
        }
        let changes = |rows: Vec<&(StageId, Remark)>, diff| -> Vec<Change> {
            rows.into_iter().map(|(stage, remark)| (Input::Remark(*stage, remark.clone()), diff)).collect()
        };
        let mut all = changes(now.difference(&self.remarks.told).collect(), 1);
        all.extend(changes(self.remarks.told.difference(&now).collect(), -1));
        (self.remarks.told, self.remarks.lines) = (now, lines);
        Ok(all)
    }

    /// Returns all remarks that hold, for another control plane.
    pub(super) fn remarked(&self) -> impl Iterator<Item = Change> {
        self.remarks.told.iter().map(|(stage, remark)| (Input::Remark(*stage, remark.clone()), 1))
    }

    /// Returns the remarks as lines, one for each kind and source.
    pub fn remarks(&self) -> &[String] {
        &self.remarks.lines
    }

    /// Returns what could not be looked at, by the first source below whose folder it lies; lines tell of it
    /// elsewhere.
    fn unreadable(&self) -> BTreeSet<(StageId, Remark)> {
        let (mut rows, mut told) = (BTreeSet::new(), BTreeSet::new());
        for (number, root) in self.rooted() {
            for (path, why) in self.told_of.unread_below(root).filter(|(path, _)| told.insert(*path)) {
                let message =
                    format!("a file, a folder or an archive of files that can be read expected: {why}");
                let hint =
                    "what was known of it stays, and each run looks at it again: mend it, or take it away";
                let name = path.strip_prefix(root).unwrap_or(path).shown().to_string();
                let reject = Reject::new(UNREADABLE, message, hint);
                rows.insert((number, Remark { case: Some(name), labels: None, reject }));
            }
        }
        rows
    }

    /// Returns what a source asks for and is not there.
    fn unmet(&self, number: StageId) -> Result<Vec<Told>, SourceError> {
        let Some(source) = self.plan.stages.get(number.place()).and_then(|stage| claimed(&stage.stage))
        else {
            return Ok(Vec::new());
        };
        let scans = self.readers.iter().zip(&self.filed).filter(|(reader, _)| reader.stage == number);
        let scans = scans.flat_map(|(_, cases)| cases.values()).flat_map(BTreeMap::keys);
        let labels = self.labels_of(number).map(|(path, _)| path).chain(self.parts.paths(number));
        let there: Vec<&Path> = scans.chain(labels).map(PathBuf::as_path).collect();
        let mut unmet = source.unmet(&there, 0);
        if unmet.iter().any(|unmet| unmet.reject.code == "NO_FILE_FITS") {
            // Remarks are counted for those alone who hear of them.
            let mut files = 0;
            self.store.visit_files(source.root(), |_| files += 1)?;
            unmet = source.unmet(&there, files);
        }
        let told = |unmet: crate::operators::source::Unmet| Told {
            remark: Remark { case: unmet.case, labels: None, reject: unmet.reject },
            name: unmet.name,
        };
        Ok(unmet.into_iter().map(told).collect())
    }

    /// What a source of objects asks for beside its labels, and no object has.
    fn unmet_in(&self, source: &dyn LabelSource) -> Vec<Told> {
        let LabelsIn::Objects { root, form } = source.lies_in() else { return Vec::new() };
        let own =
            self.outlines.iter().filter(|(path, row)| path.starts_with(root) && row.outlines.form == form);
        let objects: Vec<&Outlines> = own.map(|(_, row)| &row.outlines).collect();
        let told = |reject| Told { remark: Remark { case: None, labels: None, reject }, name: String::new() };
        source.unmet_in(&objects).into_iter().map(told).collect()
    }

    /// Labels that belong to no scan of those that the source's labels are matched with.
    fn of_no_scan(&mut self, number: StageId, source: &dyn LabelSource) -> Result<Vec<Told>, SourceError> {
        let readers = self.matched_with(number);
        if readers.is_empty() {
            return Ok(Vec::new());
        }
        match source.lies_in() {
            LabelsIn::Files(files) => self.files_of_no_scan(number, source, files.root(), &readers),
            LabelsIn::Objects { root, form } => self.objects_of_no_scan(root, form),
            LabelsIn::Series { trusted, .. } => Ok(self.of_label_series(number, &readers, trusted)),
            LabelsIn::Table(table) => self.rows_of_no_scan(number, source, table, &readers),
        }
    }

    /// Tells the same of labels in files that are claimed by name.
    fn files_of_no_scan(
        &self,
        number: StageId,
        source: &dyn LabelSource,
        root: &Path,
        readers: &[usize],
    ) -> Result<Vec<Told>, SourceError> {
        let mut told = Vec::new();
        for (path, row) in self.labels_of(number) {
            let Some(case) = row.outlines.referenced_series.first() else { continue };
            if self.has_scan(readers, case)? {
                continue;
            }
            let name = path.strip_prefix(root).unwrap_or(path).shown().to_string();
            let message = "a scan of the same name as a label file expected, none found";
            let hint = self.alike(readers, case).unwrap_or_else(|| COMPARED.to_owned());
            told.push(Told::new(case, None, message, &hint, name));
        }
        told.extend(self.in_parts(number, source, readers)?);
        Ok(told)
    }

    /// Tells the same of DICOM objects.
    fn objects_of_no_scan(&self, root: &Path, form: Form) -> Result<Vec<Told>, SourceError> {
        let mut told = Vec::new();
        // The labels may well belong to another source's scans.
        let readers: Vec<usize> =
            (0..self.readers.len()).filter(|reader| !self.holds_labels(*reader)).collect();
        let rows = self.outlines.iter().filter(|(path, _)| path.starts_with(root));
        for (path, row) in rows.filter(|(_, row)| row.outlines.form == form) {
            let series = &row.outlines.referenced_series;
            if series.is_empty() {
                let frames = &row.outlines.frames;
                if !self.has_frame(&readers, frames) {
                    let name = path.strip_prefix(root).unwrap_or(path).shown().to_string();
                    let message = "a scan in the frame of reference of labels that name no series \
                                   expected, none found";
                    let hint = "copy the scan as well, or see whether its FrameOfReferenceUID is theirs";
                    let of = &row.outlines.sop_uid;
                    told.push(Told::new(of, Some(row.record), message, hint, name));
                }
                continue;
            }
            let Some(first) = series.first() else { continue };
            let mut has = false;
            for series in series {
                has = has || self.has_scan(&readers, series)?;
            }
            if has {
                continue;
            }
            let name = path.strip_prefix(root).unwrap_or(path).shown().to_string();
            let message = "the series that labels refer to expected in the archive, no image of it found";
            let hint = "copy the scan as well, or see whether it was given another SeriesInstanceUID";
            told.push(Told::new(first, Some(row.record), message, hint, name));
        }
        Ok(told)
    }

    /// Tells the same of the rows of a table, in one.
    fn rows_of_no_scan(
        &mut self,
        number: StageId,
        source: &dyn LabelSource,
        table: &Path,
        readers: &[usize],
    ) -> Result<Vec<Told>, SourceError> {
        let cases = self.remarks.listed.entry(number).or_insert_with(|| {
            source.listed().into_iter().flat_map(|outlines| outlines.referenced_series).collect()
        });
        let cases = std::mem::take(cases);
        let mut absent = 0;
        for case in &cases {
            absent += usize::from(!self.has_scan(readers, case)?);
        }
        let (of, name) = (cases.len(), table.file_name().unwrap_or_default().to_string_lossy());
        self.remarks.listed.insert(number, cases);
        if absent == 0 {
            return Ok(Vec::new());
        }
        let message = format!("a scan for each of {of} series of {name} expected, none found for {absent}");
        let reject = Reject::new(
            OF_NO_SCAN,
            message,
            "this is normal for a part of a data set that comes with the labels of all of it",
        );
        let remark = Remark { case: None, labels: None, reject };
        Ok(vec![Told { remark, name: String::new() }])
    }

    /// Tells the same of labels that have a file each, and cases that have none for some of them.
    fn in_parts(
        &self,
        number: StageId,
        source: &dyn LabelSource,
        readers: &[usize],
    ) -> Result<Vec<Told>, SourceError> {
        let (names, mut told) = (source.label_names(), Vec::new());
        for (case, labels) in self.parts.of(number) {
            if !self.has_scan(readers, case)? {
                let message = "a scan of the same name as files of labels expected, none found";
                let hint = self.alike(readers, case).unwrap_or_else(|| COMPARED.to_owned());
                told.push(Told::new(case, None, message, &hint, case.to_owned()));
                continue;
            }
            let absent = (1..).zip(&names).filter(|(label, _)| !labels.contains(label));
            let absent: Vec<&str> = absent.map(|(_, name)| name.as_str()).collect();
            if absent.is_empty() {
                continue;
            }
            let (of, absent) = (names.len(), absent.join(", "));
            let message = format!("a file for each of {of} labels expected, none found for {absent}");
            let hint =
                "the case is unlabelled for these: they get no figures, and no training learns from it";
            let reject = Reject::new(NO_LABEL_FILE, message, hint);
            let remark = Remark { case: Some(case.to_owned()), labels: None, reject };
            told.push(Told { remark, name: format!("{case} ({absent})") });
        }
        Ok(told)
    }

    /// The readers whose scans labels of a stage are matched with.
    fn matched_with(&self, labels: StageId) -> Vec<usize> {
        let with = self.plan.stages.iter().enumerate().filter(|(_, stage)| {
            let sources = stage.inputs.get(1..).unwrap_or_default();
            matches!(stage.stage, Stage::Label { .. }) && sources.contains(&labels.place())
        });
        let origins: BTreeSet<usize> = with.map(|(number, _)| self.plan.origin(number)).collect();
        let readers = self.readers.iter().enumerate();
        let of = readers.filter(|(_, reader)| origins.contains(&reader.stage.place()));
        of.map(|(number, _)| number).collect()
    }

    /// Whether there is a scan of this name, be it one that was refused or that `where` left out.
    fn has_scan(&self, readers: &[usize], case: &str) -> Result<bool, SourceError> {
        let judged = |reader: &&usize| self.told.get(**reader).is_some_and(|told| told.contains_key(case));
        if readers.iter().any(|reader| judged(&reader)) {
            return Ok(true);
        }
        // The case may be one of several scans of a series, with a name of its own.
        let series = series_of(case);
        let told =
            readers.iter().filter_map(|reader| self.told.get(*reader)).filter_map(|told| told.get(series));
        let mut scans = told.flat_map(|verdicts| verdicts.iter()).filter_map(Verdict::accepted);
        if scans.any(|row| row.own_name().is_some_and(|name| name == case)) {
            return Ok(true);
        }
        for reader in readers {
            if let Some(Origin::Instances(instances)) = self.readers.get(*reader).map(|reader| &reader.origin)
                && !self.store.members(case, &instances.root)?.is_empty()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an accepted scan lies in one of these frames of reference.
    fn has_frame(&self, readers: &[usize], frames: &[String]) -> bool {
        let told = readers.iter().filter_map(|reader| self.told.get(*reader)).flat_map(BTreeMap::values);
        let mut scans = told.flat_map(|verdicts| verdicts.iter()).filter_map(Verdict::accepted);
        scans.any(|row| frames.iter().any(|frame| *frame == *row.frame_of_reference))
    }

    /// A scan without labels whose name differs from a case's in little more than its spelling.
    fn alike(&self, readers: &[usize], case: &str) -> Option<String> {
        if self.plan.settings.identifiers != Identifiers::Clear {
            return None;
        }
        let wanted = folded(case);
        let names = readers.iter().filter_map(|reader| self.told.get(*reader)).flat_map(BTreeMap::keys);
        let mut alike = names.take(ROWS).filter(|name| folded(name) == wanted);
        let (first, none) = (alike.next()?, alike.next());
        let hint =
            format!("a scan is called `{first}`, which differs in case, accents or leading zeros alone");
        none.is_none().then_some(hint)
    }

    /// Writes what a line says of remarks of one kind.
    fn line(&self, code: &str, told: &[Told]) -> String {
        let count = told.len();
        let (first, clear) = (told.first(), self.plan.settings.identifiers == Identifiers::Clear);
        let one = |one: &'static str, many: &'static str| if count == 1 { one } else { many };
        let named = |name: &&str| !name.is_empty();
        let names: Vec<&str> = told.iter().map(|told| told.name.as_str()).filter(named).take(NAMES).collect();
        names.iter().for_each(|name| tracing::debug!("{code}: {name}"));
        let what = match code {
            OF_NO_SCAN if names.is_empty() => return first.map_or_else(String::new, Told::said),
            OF_NO_SCAN => format!("{count} {} to no scan", one("label file belongs", "label files belong")),
            AS_SCAN => format!("{count} series of labels {} taken for scans as well", one("is", "are")),
            NO_LABEL_FILE => format!("{count} {} no file for a label", one("case has", "cases have")),
            "FILE_MISSING" => {
                format!("{count} {} of its table {} not there", one("file", "files"), one("is", "are"))
            }
            "OUTSIDE_PATH" => {
                format!(
                    "{count} {} of its table {} outside of `path`",
                    one("file", "files"),
                    one("lies", "lie")
                )
            }
            _ => return told.iter().map(Told::said).collect::<Vec<_>>().join("; "),
        };
        if !clear {
            return format!("{what} (`rejects` has them by their pseudonyms)");
        }
        let more = if count > names.len() { ", …" } else { "" };
        format!("{what}: {}{more}", names.join(", "))
    }
}

impl Told {
    fn new(case: &str, labels: Option<Digest>, message: &str, hint: &str, name: String) -> Self {
        let reject = Reject::new(OF_NO_SCAN, message, hint);
        Self { remark: Remark { case: Some(case.to_owned()), labels, reject }, name }
    }

    fn said(&self) -> String {
        self.remark.reject.message.clone()
    }
}

/// A name in small letters, without accents, signs, and zeros before numbers.
fn folded(name: &str) -> String {
    let mut folded = String::new();
    for letter in name.to_lowercase().chars() {
        match letter {
            // The letter that an accent stands on may be one with it elsewhere.
            '\u{300}'..='\u{36f}' => drop(folded.pop()),
            '0' if !folded.ends_with(|before: char| before.is_ascii_digit()) => {}
            _ if letter.is_ascii_alphanumeric() => folded.push(letter),
            _ => {}
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_meant_alike_fold_alike() {
        for (one, other) in
            [("Case1", "case_001"), ("M\u{fc}ller", "Mu\u{308}ller"), ("a b-7", "AB07"), ("x10", "X-10")]
        {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
        assert_ne!(folded("case10"), folded("case1"));
        assert_ne!(folded("x100"), folded("x1"));
    }
}
