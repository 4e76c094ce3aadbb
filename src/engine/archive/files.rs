//! Files of other formats than DICOM: which case each belongs to, and what the cases were judged to be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::deeplesion::Info;
use tomoflow_connectors::imagefile::ImageFile;
use tomoflow_connectors::rtstruct::{Form, Outlines};
use tomoflow_connectors::{Digest, Geometry, Reject};

use super::super::rows::Input;
use super::judge::described;
use super::look::{Looked, touch};
use super::{Archive, Change, Origin};
use crate::executor::work::{Grid, OutlinesRow, ScanForm, SeriesRow, SliceList, SliceRow, Verdict};
use crate::operators::registry::Stage;
use crate::operators::sources::images::{Images, Scans, slice_number};
use crate::store::StoreError;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filed {
    /// The record's digest.
    pub(super) record: Digest,
    /// The record: a grid and a digest, or why there is none.
    pub(super) image: Result<ImageFile, Reject>,
}

/// The files of each case.
pub(super) type Cases = BTreeMap<String, BTreeMap<PathBuf, Filed>>;

impl Archive {
    /// Whether a source asks for a file of another format than DICOM.
    pub(super) fn asks_for(&self, path: &Path) -> bool {
        self.plan.stages.iter().any(|stage| match &stage.stage {
            Stage::Images(images) => images.place(path).is_some(),
            Stage::LabelImages(labels) => labels.place(path).is_some(),
            _ => false,
        })
    }

    /// A file holds this now.
    pub(super) fn filed_now(&mut self, path: &Path, filed: Option<&Filed>, at_ns: i64, looked: &mut Looked) {
        let plan = self.plan.clone();
        for number in 0..self.readers.len() {
            let stage = usize::from(self.readers[number].stage);
            let (Origin::Files, Stage::Images(images)) =
                (&self.readers[number].origin, &plan.stages[stage].stage)
            else {
                continue;
            };
            let Some(place) = images.place(path) else { continue };
            let files = self.filed[number].entry(place.case.clone()).or_default();
            match filed {
                Some(filed) => files.insert(path.to_owned(), filed.clone()),
                None => files.remove(path),
            };
            if files.is_empty() {
                self.filed[number].remove(&place.case);
            }
            touch(looked, &place.case, at_ns);
        }
        for (number, stage) in plan.stages.iter().enumerate() {
            let Stage::LabelImages(labels) = &stage.stage else { continue };
            let Some(place) = labels.place(path) else { continue };
            let row = filed.map(|filed| label_row(filed, place.case));
            self.labels_now(number as u16, path, row, &mut looked.changes);
        }
    }

    /// The labels in a file are these now, to one stage.
    fn labels_now(
        &mut self,
        stage: u16,
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

    /// Boxes of tables, which no file below a folder holds.
    pub(super) fn boxes(&self) -> impl Iterator<Item = (PathBuf, Change)> {
        let plan = self.plan.clone();
        (0..plan.stages.len()).flat_map(move |number| {
            let Stage::Boxes(boxes) = &plan.stages[number].stage else { return Vec::new() };
            let change = |(series, info): (&String, &tomoflow_connectors::deeplesion::SeriesInfo)| {
                let digest = info.digest();
                let outlines = outlines(series.clone(), digest);
                let row = Arc::new(OutlinesRow { record: digest, outlines });
                (boxes.path.clone(), (Input::Outlines(number as u16, row), 1))
            };
            boxes.info.series.iter().map(change).collect()
        })
    }

    /// What cases were judged to be, by their files.
    pub(super) fn file_verdicts(
        &self,
        reader: usize,
        cases: &[String],
    ) -> Result<Vec<Vec<Verdict>>, StoreError> {
        let Stage::Images(images) = &self.plan.stages[usize::from(self.readers[reader].stage)].stage else {
            return Ok(vec![Vec::new(); cases.len()]);
        };
        let mut lists = Vec::new();
        let judge = |case: &String| match self.filed[reader].get(case) {
            Some(files) => Judge { images, case, lists: &mut lists }.case(files),
            None => Vec::new(),
        };
        let verdicts = cases.iter().map(judge).collect();
        self.store.judge(&[], &lists)?;
        Ok(verdicts)
    }
}

fn label_row(filed: &Filed, case: String) -> Arc<OutlinesRow> {
    // What cannot be read is refused when it is drawn, with its own reason.
    let digest = filed.image.as_ref().map_or(filed.record, |image| image.digest);
    Arc::new(OutlinesRow { record: filed.record, outlines: outlines(case, digest) })
}

fn outlines(case: String, digest: Digest) -> Outlines {
    Outlines { form: Form::Voxels, referenced_series: vec![case], digest, ..Outlines::default() }
}

struct Judge<'a> {
    images: &'a Images,
    case: &'a str,
    /// Lists of slices that verdicts name.
    lists: &'a mut Vec<(Digest, Vec<u8>)>,
}

impl Judge<'_> {
    fn case(mut self, files: &BTreeMap<PathBuf, Filed>) -> Vec<Verdict> {
        let scans = self.images.scans.clone();
        match &scans {
            Scans::Files(_) => vec![self.file(files)],
            Scans::Deeplesion(info) => self.slices(files, info),
        }
    }

    fn refuse(&self, reject: Reject) -> Verdict {
        Verdict::Rejected(self.case.to_owned(), reject)
    }

    /// One file, one scan.
    fn file(&mut self, files: &BTreeMap<PathBuf, Filed>) -> Verdict {
        let mut all = files.iter();
        let (Some((path, filed)), None) = (all.next(), all.next()) else {
            let message = format!("one file for a case expected, {} found", files.len());
            let hint = "the pattern of `files` may leave one out, or name more of the path as `{case}`";
            return self.refuse(Reject::new("SEVERAL_FILES", message, hint));
        };
        match &filed.image {
            Err(reject) => self.refuse(reject.clone()),
            Ok(_) if self.case.contains('#') => {
                let message = "a case's name without `#` expected: it numbers the parts of a series";
                self.refuse(Reject::new(
                    "CASE_NAME",
                    message,
                    "rename the file, or name the case in a `table`",
                ))
            }
            Ok(image) => {
                let slice = self.slice(path, filed.record, image);
                self.scan(0, ScanForm::Volume, path, image.grid, vec![slice])
            }
        }
    }

    /// Slices with consecutive numbers are a scan.
    fn slices(&mut self, files: &BTreeMap<PathBuf, Filed>, info: &Info) -> Vec<Verdict> {
        let Some(series) = info.series.get(self.case) else {
            let message = "a series of the table expected, none of this name found";
            return vec![self.refuse(Reject::new("NOT_IN_TABLE", message, "is the table whole?"))];
        };
        let mut slices: BTreeMap<u32, (&PathBuf, &Filed)> = BTreeMap::new();
        for (path, filed) in files {
            let Some(number) = slice_number(path) else { continue };
            if slices.insert(number, (path, filed)).is_some() {
                let message = format!("one file for slice {number} expected, two found");
                return vec![self.refuse(Reject::new("SEVERAL_FILES", message, "remove one of them"))];
            }
        }
        let mut runs: Vec<Vec<(u32, &PathBuf, &Filed)>> = Vec::new();
        for (number, (path, filed)) in slices {
            match runs.last_mut() {
                Some(run) if run.last().is_some_and(|(last, ..)| last + 1 == number) => {
                    run.push((number, path, filed));
                }
                _ => runs.push(vec![(number, path, filed)]),
            }
        }
        let judge = |(part, run): (u32, Vec<(u32, &PathBuf, &Filed)>)| {
            self.run(part, run, |size, lowest| series.geometry(size, lowest))
        };
        (0..).zip(runs).map(judge).collect()
    }

    fn run(
        &mut self,
        part: u32,
        mut run: Vec<(u32, &PathBuf, &Filed)>,
        geometry: impl Fn([usize; 3], u32) -> Geometry,
    ) -> Verdict {
        let lowest = run.first().map_or(0, |(number, ..)| *number);
        // From the feet up.
        run.reverse();
        let (mut rows, mut size) = (Vec::new(), None);
        for (_, path, filed) in &run {
            let image = match &filed.image {
                Ok(image) => image,
                Err(reject) => return self.refuse(reject.clone()),
            };
            let [_, height, width] = Geometry::from(&image.grid).size;
            if *size.get_or_insert([height, width]) != [height, width] {
                let message = format!("slices of {:?} expected, one of {height}x{width} found", size);
                return self.refuse(Reject::new("MIXED_MATRIX", message, "slices of a series have one size"));
            }
            rows.push(self.slice(path, filed.record, image));
        }
        let ([height, width], Some((_, first, _))) = (size.unwrap_or_default(), run.first()) else {
            return self.refuse(Reject::new("NO_GEOMETRY", "a slice expected, none found", ""));
        };
        let grid = Grid::from(&geometry([run.len(), height, width], lowest));
        self.scan(part, ScanForm::Slices, first, grid, rows)
    }

    fn slice(&self, path: &Path, record: Digest, image: &ImageFile) -> SliceRow {
        let below = path.strip_prefix(&self.images.path).unwrap_or(path);
        SliceRow { record, content: image.digest, frame: 0, sop_uid: below.to_string_lossy().into_owned() }
    }

    fn scan(&mut self, part: u32, form: ScanForm, path: &Path, grid: Grid, slices: Vec<SliceRow>) -> Verdict {
        let (digest, list) = described(&SliceList { slices, heights: Vec::new() }, &grid);
        let key = if part == 0 { self.case.to_owned() } else { format!("{}#{part}", self.case) };
        let patient = self.images.place(path).map_or_else(|| self.case.to_owned(), |place| place.patient);
        let row = SeriesRow {
            key: key.into(),
            part,
            form,
            study_uid: self.case.into(),
            patient: patient.into(),
            modality: self.images.modality.clone(),
            manufacturer: "".into(),
            model_name: "".into(),
            description: "".into(),
            grid,
            list: Digest::of(&list),
            notes: Vec::new(),
            digest,
        };
        self.lists.push((row.list, list));
        Verdict::Accepted(Arc::new(row))
    }
}
