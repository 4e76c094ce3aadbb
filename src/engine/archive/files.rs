//! Files of other formats than DICOM: which case each belongs to, and what the cases were judged to be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::dicom::{Named, Names, Record, read_record_with};
use tomoflow_connectors::rtstruct::Outlines;
use tomoflow_connectors::{Digest, Reject};

use super::super::rows::Input;
use super::judge::described;
use super::look::{Filed, Looked, touch};
use super::{Archive, Change, Origin};
use crate::executor::work::{OutlinesRow, ScanForm, SeriesRow, SliceList, SliceRow, Verdict};
use crate::operators::registry::Stage;
use crate::operators::source::{
    CaseFile, FileSource, FoundScan, LabelSource, LabelsIn, Layout, Reader, ScanSource, labels_of,
};
use crate::pipeline::{Plan, StageId};
use crate::store::StoreError;

/// The files of each case.
pub(super) type Cases = BTreeMap<String, BTreeMap<PathBuf, Filed>>;

/// The files that a stage claims; none for one that claims none.
pub(super) fn claimed(stage: &Stage) -> Option<&dyn FileSource> {
    match stage {
        Stage::Scans(source) => Some(&**source),
        Stage::Labels(source) => labelled(&**source),
        _ => None,
    }
}

fn labelled(source: &dyn LabelSource) -> Option<&dyn FileSource> {
    match source.lies_in() {
        LabelsIn::Files(files) => Some(files),
        _ => None,
    }
}

impl Archive {
    /// Whether a source asks for a file of another format than DICOM.
    pub(super) fn asks_for(&self, path: &Path) -> bool {
        self.claims(path).next().is_some()
    }

    /// Returns what names of files say to a walk, where a source claims files by their names.
    pub(super) fn names(&self) -> Option<Names> {
        let plan = self.plan.clone();
        plan.stages.iter().any(|stage| claimed(&stage.stage).is_some()).then(|| {
            let names: Names = Arc::new(move |path: &Path| named(&plan, path));
            names
        })
    }

    /// The cases of which a file is a scan, and those of which it is a label.
    pub(super) fn claimed_as(&self, path: &Path) -> [Vec<String>; 2] {
        let (mut scans, mut labels) = (Vec::new(), Vec::new());
        for stage in &self.plan.stages {
            let Some(claim) = claimed(&stage.stage).and_then(|files| files.claim(path)) else { continue };
            match &stage.stage {
                Stage::Scans(_) => scans.push(claim.case),
                _ => labels.push(claim.case),
            }
        }
        [scans, labels]
    }

    fn claims<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a dyn FileSource> {
        let sources = self.plan.stages.iter().filter_map(|stage| claimed(&stage.stage));
        sources.filter(|source| source.claim(path).is_some())
    }

    /// The readers of a file beyond tomoflow's own, each once; and their names, none where there are none.
    fn readers_of(&self, path: &Path) -> (Vec<Option<Reader>>, Option<String>) {
        // A look asks this of every file.
        if !self.own_readers {
            return (Vec::new(), None);
        }
        let mut readers: Vec<Option<Reader>> = Vec::new();
        for reader in self.claims(path).map(|source| source.reader()) {
            let name = reader.map(|reader| reader.name);
            if readers.iter().all(|known| known.map(|known| known.name) != name) {
                readers.push(reader);
            }
        }
        if readers.iter().all(Option::is_none) {
            return (Vec::new(), None);
        }
        let names: Vec<_> =
            readers.iter().map(|reader| reader.map_or("image", |reader| reader.name)).collect();
        let names = names.join(", ");
        (readers, Some(names))
    }

    /// Whether a file is read as it was when this record was made of it.
    pub(super) fn reads_as(&self, path: &Path, reader: Option<&str>) -> bool {
        self.readers_of(path).1.as_deref() == reader
    }

    /// Reads what a file holds, as the sources that ask for it read it.
    ///
    /// # Errors
    /// Only what the system says.
    pub fn read(&self, path: &Path) -> std::io::Result<Record> {
        let image = match self.readers_of(path) {
            (_, None) => return Ok(self.joined(path, read_record_with(path, &self.more)?)),
            (readers, Some(reader)) => {
                let image = match readers.as_slice() {
                    [Some(only)] => (only.read)(path)?,
                    _ => {
                        let message = format!("one way to read a file expected, several found: {reader}");
                        let hint = "let one source ask for it: `!` before a pattern leaves files out";
                        Err(Reject::new("SEVERAL_READERS", message, hint))
                    }
                };
                Record::Read { reader, image }
            }
        };
        Ok(image)
    }

    /// A file holds this now.
    pub(super) fn filed_now(&mut self, path: &Path, filed: Option<&Filed>, at_ns: i64, looked: &mut Looked) {
        let plan = self.plan.clone();
        for number in 0..self.readers.len() {
            let stage = self.readers[number].stage.place();
            let (Origin::Files, Stage::Scans(source)) =
                (&self.readers[number].origin, &plan.stages[stage].stage)
            else {
                continue;
            };
            let Some(claim) = source.claim(path) else { continue };
            let files = self.filed[number].entry(claim.case.clone()).or_default();
            match filed {
                Some(filed) => files.insert(path.to_owned(), filed.clone()),
                None => files.remove(path),
            };
            if files.is_empty() {
                self.filed[number].remove(&claim.case);
            }
            touch(looked, &claim.case, at_ns);
        }
        for (number, stage) in plan.stages.iter().enumerate() {
            let Stage::Labels(source) = &stage.stage else { continue };
            let Some(files) = labelled(&**source) else { continue };
            let Some(claim) = files.claim(path) else { continue };
            let below = path.strip_prefix(files.root()).unwrap_or(path);
            if let Some(label) = claim.label {
                self.parts.filed_now((StageId::at(number), claim.case), label, path, below, filed);
                continue;
            }
            let row = filed.map(|filed| label_row(filed, below, claim.case));
            self.labels_now(StageId::at(number), path, row, &mut looked.changes);
        }
    }

    /// The labels in a file are these now, to one stage.
    fn labels_now(
        &mut self,
        stage: StageId,
        path: &Path,
        row: Option<Arc<OutlinesRow>>,
        changes: &mut Vec<(PathBuf, Change)>,
    ) {
        let key = (stage, path.to_owned());
        let before = match &row {
            Some(row) => self.filed_labels.insert(key, row.clone()),
            None => self.filed_labels.remove(&key),
        };
        if before != row {
            let change = |row, diff| (path.to_owned(), (Input::Outlines(stage, row), diff));
            changes.extend(before.map(|row| change(row, -1)));
            changes.extend(row.map(|row| change(row, 1)));
        }
    }

    /// The files of labels that a stage reads, with what they refer to.
    pub(super) fn labels_of(&self, stage: StageId) -> impl Iterator<Item = (&PathBuf, &Arc<OutlinesRow>)> {
        let from = (stage, PathBuf::new());
        let own = self.filed_labels.range(from..).take_while(move |((of, _), _)| *of == stage);
        own.map(|((_, path), row)| (path, row))
    }

    /// Returns the labels of tables, which no file below a folder holds.
    pub(super) fn listed(&self) -> impl Iterator<Item = (PathBuf, Change)> {
        let plan = self.plan.clone();
        (0..plan.stages.len()).flat_map(move |number| {
            let Stage::Labels(source) = &plan.stages[number].stage else { return Vec::new() };
            let LabelsIn::Table(table) = source.lies_in() else { return Vec::new() };
            let change = |outlines: Outlines| {
                let row = Arc::new(OutlinesRow { record: outlines.digest, outlines });
                (table.to_owned(), (Input::Outlines(StageId::at(number), row), 1))
            };
            source.listed().into_iter().map(change).collect()
        })
    }

    /// Returns what cases were judged to be, by their files.
    pub(super) fn file_verdicts(
        &self,
        reader: usize,
        cases: &[String],
    ) -> Result<Vec<Vec<Verdict>>, StoreError> {
        let Stage::Scans(source) = &self.plan.stages[self.readers[reader].stage.place()].stage else {
            return Ok(vec![Vec::new(); cases.len()]);
        };
        let mut lists = Vec::new();
        let judge = |case: &String| match self.filed[reader].get(case) {
            Some(files) => judged(&**source, case, files, &mut lists),
            None => Vec::new(),
        };
        let verdicts = cases.iter().map(judge).collect();
        self.store.judge(&[], &lists)?;
        Ok(verdicts)
    }
}

/// A scan has one name; labels go by that of their scan, and those of several scans may be the same.
fn named(plan: &Plan, path: &Path) -> Named {
    let mut says = Named::Nothing;
    for stage in &plan.stages {
        if claimed(&stage.stage).is_none_or(|files| files.claim(path).is_none()) {
            continue;
        }
        match &stage.stage {
            Stage::Scans(_) => return Named::Itself,
            _ => says = Named::Apart,
        }
    }
    says
}

fn label_row(filed: &Filed, below: &Path, case: String) -> Arc<OutlinesRow> {
    // What cannot be read is refused when it is drawn, with its own reason.
    let digest = filed.image.as_ref().map_or(filed.record, |image| image.digest);
    // Such files carry no date: that of the file stands for it, and its name for an identifier.
    let date_time = format!("{:020}", filed.mtime_ns.max(0));
    let sop_uid = below.to_string_lossy().into_owned();
    let outlines = Outlines { date_time, sop_uid, ..labels_of(case, digest) };
    Arc::new(OutlinesRow { record: filed.record, outlines })
}

/// Returns what a source says that the files of a case are; `lists` takes the lists of slices that verdicts
/// name.
fn judged(
    source: &dyn ScanSource,
    case: &str,
    files: &BTreeMap<PathBuf, Filed>,
    lists: &mut Vec<(Digest, Vec<u8>)>,
) -> Vec<Verdict> {
    let known: Vec<CaseFile<'_>> =
        files.iter().map(|(path, filed)| CaseFile { path, header: &filed.image }).collect();
    let verdict = |(part, found): (u32, Result<FoundScan, Reject>)| match found
        .and_then(|found| scan(source, case, part, found, files))
    {
        Ok((row, list)) => {
            lists.push((row.list, list));
            Verdict::Accepted(Arc::new(row))
        }
        Err(reject) => Verdict::Rejected(case.to_owned(), reject),
    };
    (0..).zip(source.judge(case, &known)).map(verdict).collect()
}

/// A scan as a row, and the list of its slices.
fn scan(
    source: &dyn ScanSource,
    case: &str,
    part: u32,
    found: FoundScan,
    files: &BTreeMap<PathBuf, Filed>,
) -> Result<(SeriesRow, Vec<u8>), Reject> {
    if case.contains('#') {
        let message = "a case's name without `#` expected: it numbers the parts of a series";
        return Err(Reject::new("CASE_NAME", message, "rename the file, or name the case in a `table`"));
    }
    let files: Vec<(&PathBuf, &Filed)> = files.iter().collect();
    let (mut slices, mut patient) = (Vec::with_capacity(found.slices.len()), None);
    for slice in &found.slices {
        let Some(&(path, filed)) = files.get(slice.file) else {
            let message = format!("one of {} files expected, number {} found", files.len(), slice.file);
            return Err(Reject::new("BAD_SOURCE", message, "the source of the scan is at fault"));
        };
        let image = filed.image.as_ref().map_err(Clone::clone)?;
        let below = path.strip_prefix(source.root()).unwrap_or(path).to_string_lossy().into_owned();
        patient = patient.or_else(|| source.claim(path).map(|claim| claim.patient));
        slices.push(SliceRow {
            record: filed.record,
            content: image.digest,
            frame: slice.frame,
            sop_uid: below,
        });
    }
    let grid = found.grid;
    let (mut digest, list) = described(&SliceList { slices, heights: Vec::new() }, &grid);
    let channels = source.channel_names();
    if !channels.is_empty() {
        let names = channels.iter().map(String::as_bytes);
        digest = Digest::of_parts([b"channels".as_slice(), &digest.0].into_iter().chain(names));
    }
    let key = if part == 0 { case.to_owned() } else { format!("{case}#{part}") };
    let row = SeriesRow {
        key: key.into(),
        part,
        form: match found.layout {
            Layout::Volume => ScanForm::Volume,
            Layout::Slices => ScanForm::Slices,
        },
        study_uid: case.into(),
        patient: patient.unwrap_or_else(|| case.to_owned()).into(),
        modality: found.modality,
        manufacturer: "".into(),
        model_name: "".into(),
        description: "".into(),
        frame_of_reference: "".into(),
        grid,
        list: Digest::of(&list),
        notes: found.notes,
        digest,
    };
    Ok((row, list))
}
