//! Judges series: from the records of their files to scans, or to why they are none.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use tomoflow_connectors::dicom::{Assembled, Instance, Record, assemble_asking, made_from, same_values};
use tomoflow_connectors::{Digest, Real};

use super::super::label_series::notes_of;
use super::super::rows::Input;
use super::label_series::instances_of;
use super::{Archive, Change, Instances, Origin, SourceError, joined};
use crate::executor::label_series;
use crate::executor::work::{Grid, ScanForm, SeriesRow, SliceList, SliceRow, Verdict};
use crate::store::StoreError;

/// Series judged at once: bounds the memory that their records take.
const BATCH: usize = 256;

/// What a series was judged to be, and the lists of slices that its verdicts name.
type Judgement = (Vec<Verdict>, Vec<(Digest, Vec<u8>)>);

impl Archive {
    /// Judges each series that may have changed again, unless the index knows the verdict, and returns what
    /// follows.
    ///
    /// # Errors
    /// When the index cannot be read or written.
    pub fn derive<'a>(
        &mut self,
        series: impl IntoIterator<Item = &'a String>,
    ) -> Result<Vec<Change>, SourceError> {
        let mut changes = Vec::new();
        let series: Vec<String> = series.into_iter().cloned().collect();
        for batch in series.chunks(BATCH) {
            let mut judged: Vec<Vec<Vec<Verdict>>> = vec![Vec::new(); batch.len()];
            for number in 0..self.readers.len() {
                let verdicts = match &self.readers[number].origin {
                    Origin::Instances(instances) => self.verdicts(instances, batch)?,
                    Origin::Files => self.file_verdicts(number, batch)?,
                };
                judged.iter_mut().zip(verdicts).for_each(|(judged, verdicts)| judged.push(verdicts));
            }
            for (series, mut judged) in batch.iter().zip(judged) {
                self.tell_apart(series, &mut judged);
                for (number, mut verdicts) in judged.into_iter().enumerate() {
                    self.share(&mut verdicts);
                    self.now(number, series, verdicts, &mut changes);
                }
            }
        }
        Ok(changes)
    }

    /// Tells what has changed of a series.
    fn now(&mut self, reader: usize, series: &str, verdicts: Vec<Verdict>, changes: &mut Vec<Change>) {
        let stage = self.readers[reader].stage;
        let told = &mut self.told[reader];
        let before = told.get(series).map_or(&[][..], |before| &**before);
        if *before == *verdicts {
            return;
        }
        changes.extend(verdicts.iter().map(|verdict| (Input::Series(stage, verdict.clone()), 1)));
        changes.extend(before.iter().map(|verdict| (Input::Series(stage, verdict.clone()), -1)));
        if verdicts.is_empty() {
            told.remove(series);
        } else {
            told.insert(series.into(), verdicts.into());
        }
    }

    /// Verdicts as they are kept: a text that is in memory already is not kept again.
    fn share(&mut self, verdicts: &mut [Verdict]) {
        for verdict in verdicts {
            let Verdict::Accepted(row) = verdict else { continue };
            // Fresh from the index: nobody else holds it.
            let Some(row) = Arc::get_mut(row) else { continue };
            row.shared().into_iter().for_each(|text| self.texts.share(text));
        }
    }

    fn verdicts(&self, reader: &Instances, series: &[String]) -> Result<Vec<Vec<Verdict>>, StoreError> {
        let known = self.store.verdicts(series, reader.digest)?;
        let judged: Vec<(Option<Vec<u8>>, Judgement)> = series
            .par_iter()
            .zip(known)
            .map(|(series, known)| match known {
                Some(bytes) => Ok((None, (postcard::from_bytes(&bytes)?, Vec::new()))),
                None => {
                    let judgement = self.judge(reader, series)?;
                    Ok((Some(postcard::to_stdvec(&judgement.0)?), judgement))
                }
            })
            .collect::<Result<_, StoreError>>()?;
        let (mut new, mut lists, mut verdicts) = (Vec::new(), Vec::new(), Vec::with_capacity(judged.len()));
        for (series, (bytes, (verdict, more))) in series.iter().zip(judged) {
            new.extend(bytes.map(|bytes| (series.clone(), reader.digest, bytes)));
            lists.extend(more);
            verdicts.push(verdict);
        }
        self.store.judge(&new, &lists)?;
        Ok(verdicts)
    }

    fn judge(&self, reader: &Instances, series: &str) -> Result<Judgement, StoreError> {
        let members = self.store.members(series, &reader.root)?;
        let digests: Vec<Digest> = members.iter().map(|(_, record)| *record).collect();
        let Some(source) = instances_of(&self.plan.stages[reader.source].stage) else {
            return Ok(Judgement::default());
        };
        let (mut instances, mut left_out) = (Vec::with_capacity(digests.len()), 0);
        for (record, digest) in self.store.records(&digests)?.into_iter().zip(&digests) {
            let Record::Instance(instance) = record else { continue };
            if source.keeps(&instance.tags) {
                instances.push((instance, *digest));
            } else {
                left_out += 1;
            }
        }
        let mut judgement = Judgement::default();
        if instances.is_empty() {
            return Ok(judgement);
        }
        let scans = if reader.joins { joined::scans(instances) } else { vec![instances] };
        for instances in scans {
            assemble_all(reader, series, &members, &instances, left_out, &mut judgement);
        }
        Ok(judgement)
    }
}

/// Assembles instances of a series, behind what was assembled of it before.
fn assemble_all(
    reader: &Instances,
    series: &str,
    members: &[(PathBuf, Digest)],
    instances: &[(Instance, Digest)],
    left_out: usize,
    judgement: &mut Judgement,
) {
    let all: Vec<&Instance> = instances.iter().map(|(instance, _)| instance).collect();
    // The path of a record's file; of several files with this record any will do, since they hold the same.
    let paths: BTreeMap<Digest, &PathBuf> =
        members.iter().rev().map(|(path, record)| (*record, path)).collect();
    let place =
        |index: usize| instances.get(index).and_then(|(found, digest)| Some((*paths.get(digest)?, found)));
    let same = |a, b| {
        let (Some(a), Some(b)) = (place(a), place(b)) else { return false };
        same_values((a.0, a.1), (b.0, b.1))
    };
    let file = |index: usize| place(index).map(|(path, _)| path.as_path());
    let before = judgement.0.len() as u32;
    for part in assemble_asking(&all, reader.rules, file, same) {
        let number = before + part.number;
        let key = if number == 0 { series.to_owned() } else { format!("{series}#{number}") };
        judgement.0.push(match part.verdict {
            Ok(assembled) => {
                let (mut row, list) = series_row(key.into(), number, &assembled, instances);
                if left_out > 0 {
                    // A part of a series looks like a whole scan.
                    let of = left_out + instances.len();
                    row.notes.push(format!("WHERE_SPLITS_SERIES: {left_out} of {of} images left out"));
                }
                row.notes.extend(joined::note(&assembled, instances).filter(|_| reader.joins));
                judgement.1.push((row.list, list));
                if reader.labels.is_some() {
                    let first = assembled.slices.first().and_then(|slice| place(slice.instance));
                    let from = first.and_then(|(path, _)| made_from(path).ok()).unwrap_or_default();
                    row.notes.extend(notes_of(&from));
                    judgement.1.push(label_series::kept(&row));
                }
                Verdict::Accepted(Arc::new(row))
            }
            Err(reject) => Verdict::Rejected(key, reject),
        });
    }
}

/// A scan as a row, and the list of its slices.
fn series_row(
    key: Arc<str>,
    part: u32,
    assembled: &Assembled,
    instances: &[(Instance, Digest)],
) -> (SeriesRow, Vec<u8>) {
    let slices: Vec<SliceRow> = assembled
        .slices
        .iter()
        .map(|slice| {
            let (instance, record) = &instances[slice.instance];
            SliceRow {
                record: *record,
                content: instance.content,
                frame: slice.frame,
                sop_uid: instance.sop_uid.clone(),
            }
        })
        .collect();
    let grid = Grid::from(&assembled.geometry);
    let heights = assembled.heights.iter().copied().map(Real::new).collect();
    let (digest, list) = described(&SliceList { slices, heights }, &grid);
    let first = &instances[assembled.slices[0].instance].0;
    let patient = if first.patient_id.is_empty() { &first.study_uid } else { &first.patient_id };
    let one_frame = assembled
        .slices
        .iter()
        .all(|slice| instances[slice.instance].0.frame_of_reference == first.frame_of_reference);
    let frame = if one_frame { first.frame_of_reference.as_str() } else { "" };
    let tag = |keyword: &str| first.tags.get(keyword).map_or("", String::as_str).into();
    let row = SeriesRow {
        key,
        part,
        form: ScanForm::Instances,
        study_uid: first.study_uid.as_str().into(),
        patient: patient.as_str().into(),
        modality: tag("Modality"),
        manufacturer: tag("Manufacturer"),
        model_name: tag("ManufacturerModelName"),
        description: tag("SeriesDescription"),
        frame_of_reference: frame.into(),
        grid,
        list: Digest::of(&list),
        notes: assembled.notes.clone(),
        digest,
    };
    (row, list)
}

/// Returns the digest of all that a scan's voxels depend on, and the list of its slices as it is kept.
pub(super) fn described(list: &SliceList, grid: &Grid) -> (Digest, Vec<u8>) {
    let content: Vec<(Digest, u32)> = list.slices.iter().map(|slice| (slice.content, slice.frame)).collect();
    // Rows of plain values always serialise.
    let mut content = postcard::to_stdvec(&(&content, grid)).unwrap_or_default();
    if !list.heights.is_empty() {
        content.extend(postcard::to_stdvec(&list.heights).unwrap_or_default());
    }
    (Digest::of(&content), list.encode())
}
