//! From a case's key to its voxels: decode, label, transform, fused in memory.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tomoflow_connectors::dicom::{FileStat, ShortError};
use tomoflow_connectors::rtstruct::Form;
use tomoflow_connectors::{Digest, Geometry, LabelMap, Reject, Scan, ShortScan, dicom};

use super::artifact::{MaskArtifact, PreparedArtifact};
use super::keys::{self, Chain};
use super::truth::Truth;
use super::work::{Beside, BoundCase, LabelRow, Other, ScanForm, SeriesRow, SliceList, SliceRow};
use crate::operators::cases::channels::{self, JoinChannels};
use crate::operators::registry::Stage;
pub use crate::operators::source::vanished;
use crate::operators::source::{DrawnOn, LabelPart, LabelsAt, LabelsIn, Planes, SliceFile};
use crate::operators::value::{Case, Mask};
use crate::pipeline::Plan;
use crate::store::{Artifacts, Outcome, Recorded, Store, StoreError};
use crate::voxels::ignored::IGNORED;

pub mod label_series;

/// The index that knows where content lies now. A renamed file changes its answers, and no row.
pub trait Lookup: Send + Sync {
    /// The slices of a scan, by the list's digest.
    ///
    /// # Errors
    /// `FILE_VANISHED` for a list that the index no longer holds.
    fn slices(&self, list: Digest) -> Result<SliceList, Reject>;

    /// Returns where the records of a series lie; with no series, outlines.
    ///
    /// # Errors
    /// `FILE_VANISHED` for a record that no source holds any more.
    fn places(&self, series: &str, records: &[Digest]) -> Result<Vec<FileStat>, Reject>;

    /// The series that labels are, by the record of the labels.
    ///
    /// # Errors
    /// `FILE_VANISHED` for one that the index no longer holds.
    fn label_series(&self, record: Digest) -> Result<SeriesRow, Reject>;

    /// The artifact that an action left, if it is done.
    fn done(&self, key: Digest) -> Option<Digest>;
}

impl Lookup for Store {
    fn slices(&self, list: Digest) -> Result<SliceList, Reject> {
        let bytes = self.list(list).map_err(refused)?;
        bytes.and_then(|bytes| SliceList::decode(&bytes).ok()).ok_or_else(|| vanished(list))
    }

    fn places(&self, series: &str, records: &[Digest]) -> Result<Vec<FileStat>, Reject> {
        let places = Store::places(self, series, records).map_err(refused)?;
        places
            .into_iter()
            .zip(records)
            .map(|(place, &record)| place.ok_or_else(|| vanished(record)))
            .collect()
    }

    fn label_series(&self, record: Digest) -> Result<SeriesRow, Reject> {
        let bytes = self.list(record).map_err(refused)?;
        bytes.and_then(|bytes| label_series::read(&bytes)).ok_or_else(|| vanished(record))
    }

    fn done(&self, key: Digest) -> Option<Digest> {
        match self.outcomes(&[key]).ok()?.pop()?? {
            Recorded { outcome: Outcome::Ok { artifact, .. }, .. } => Some(artifact),
            _ => None,
        }
    }
}

fn refused(error: StoreError) -> Reject {
    Reject::new("STORE", error.to_string(), "it is tried again at the next run")
}

/// Checks that files still are what was indexed.
///
/// # Errors
/// `CHANGED` for a file with another size, time or inode.
fn unchanged(files: &[FileStat]) -> Result<(), Reject> {
    for file in files {
        let now = tomoflow_connectors::container::stat(&file.path);
        if !now.is_ok_and(|now| file.is_still(&now)) {
            let message = format!("{} bytes were indexed, another file is there now", file.size);
            return Err(Reject::new("CHANGED", message, "it is read anew at the next run"));
        }
    }
    Ok(())
}

/// What every action may use.
#[derive(Clone)]
pub struct Context {
    /// The pipeline.
    pub plan: Arc<Plan>,
    /// The artifacts of the store.
    pub artifacts: Artifacts,
    /// The lookup of where content lies. Whoever runs the pipeline holds it: a thread that was given up must
    /// not keep the store open, and with it held, for ever.
    pub lookup: Weak<dyn Lookup>,
    /// Bytes of source files read so far.
    pub bytes_read: Arc<AtomicU64>,
    /// The labels that the action at hand lacks, told by name, in the order in which this was found.
    pub told: Arc<Mutex<Vec<Reject>>>,
    /// The labels that the case at hand lacks, from 1 on, where cases may lack some. Else such a case is
    /// refused.
    pub unknown: Option<Arc<Mutex<Vec<u8>>>>,
}

impl Context {
    /// Returns the lookup, unless the run has ended.
    ///
    /// # Errors
    /// `CANCELLED` when the run has ended.
    pub fn lookup(&self) -> Result<Arc<dyn Lookup>, Reject> {
        self.lookup.upgrade().ok_or_else(|| Reject::new("CANCELLED", "the run has ended", ""))
    }

    /// A case as a stage's input sees it: assembled, labelled when `row` has labels, transformed.
    ///
    /// # Errors
    /// Whatever refuses it on the way, by name.
    pub fn case(&self, stage: usize, row: &BoundCase) -> Result<Case, Reject> {
        let planned = &self.plan.stages[stage];
        // A case that was kept does not say which voxels pad it.
        if planned.keep
            && row.labels.is_none()
            && !row.is_padded()
            && let Some(case) = self.kept(stage, row)?
        {
            return Ok(case);
        }
        match &planned.stage {
            Stage::Transform(transform) => {
                // A rule that is not settled is refused before anything is read.
                if let Some(rule) = transform.rule() {
                    return Err(rule.unsettled());
                }
                transform.apply_to_all(&self.case(planned.inputs[0], row)?)
            }
            Stage::Channels(join) => self.joined(stage, join, row),
            // Its labels go with the first of the channels.
            Stage::Label { .. } if self.plan.joining(stage).is_some() => self.case(planned.inputs[0], row),
            Stage::View(_) | Stage::Augment(_) | Stage::Adopt => self.case(planned.inputs[0], row),
            _ => self.assembled(stage, row),
        }
    }

    /// A case of several channels, each as it comes to the stage that puts them together.
    fn joined(&self, stage: usize, join: &JoinChannels, row: &BoundCase) -> Result<Case, Reject> {
        let inputs = &self.plan.stages[stage].inputs;
        let (Some((&first, inputs)), Some(beside)) = (inputs.split_first(), &row.beside) else {
            return Err(Reject::new("CHANNELS_DIFFER", "a case of several channels expected, one found", ""));
        };
        let first = self.case(first, &row.first())?;
        let other = |(&input, other): (&usize, &Other)| match other.case() {
            Some(case) => self.case(input, &case).map(channels::Other::There),
            None => Ok(channels::Other::Missing(other.channels.into())),
        };
        let others = inputs.iter().zip(&beside.others).map(other).collect::<Result<_, _>>()?;
        join.join(&first, others, beside.names.clone())
    }

    /// A case with all of its channels as they were scanned, on the grid of the first, before any transform.
    ///
    /// # Errors
    /// As for [`Context::assembled`]; `NO_STAGE` where nothing in the pipeline puts these channels together.
    pub fn scanned(&self, row: &BoundCase) -> Result<Case, Reject> {
        let Some(beside) = &row.beside else {
            return Err(Reject::new("CHANNELS_DIFFER", "a case of several channels expected, one found", ""));
        };
        let of_these = |stage: usize| match &self.plan.stages[stage].stage {
            Stage::Channels(join) if self.puts_together(stage, row, beside) => Some((stage, join)),
            _ => None,
        };
        let mut last = Reject::new(
            "NO_STAGE",
            "a stage that puts these channels together expected",
            "run the pipeline again",
        );
        // The row does not say which stage made it: the first of those whose sources can read it is taken.
        for (stage, join) in (0..self.plan.stages.len()).filter_map(of_these) {
            match self.scanned_by(stage, join, row, beside) {
                Ok(case) => return Ok(case),
                Err(reject) => last = reject,
            }
        }
        Err(last)
    }

    /// Whether a stage puts such channels together, as many of each input and of sources of such a form.
    fn puts_together(&self, stage: usize, row: &BoundCase, beside: &Beside) -> bool {
        let counts: Vec<usize> = self.plan.input_channels(stage).iter().map(Vec::len).collect();
        let others: Vec<usize> = beside.others.iter().map(|other| usize::from(other.channels)).collect();
        let reads = |input: usize, series: &SeriesRow| match self.plan.stages[self.plan.origin(input)].stage {
            Stage::Scans(_) => series.form != ScanForm::Instances,
            _ => series.form == ScanForm::Instances,
        };
        let inputs = &self.plan.stages[stage].inputs;
        let scans = std::iter::once(Some(&row.series));
        let mut scans = scans.chain(beside.others.iter().map(|other| other.series.as_ref()));
        *self.plan.channels(stage) == *beside.names
            && counts.get(1..).is_some_and(|counts| *counts == *others)
            && inputs.iter().all(|&input| scans.next().flatten().is_none_or(|series| reads(input, series)))
    }

    fn scanned_by(
        &self,
        stage: usize,
        join: &JoinChannels,
        row: &BoundCase,
        beside: &Beside,
    ) -> Result<Case, Reject> {
        let origin = |place: usize| self.plan.origin(self.plan.stages[stage].inputs[place]);
        let first = self.assembled(origin(0), &row.first())?;
        let other = |(place, other): (usize, &Other)| match other.case() {
            Some(case) => self.assembled(origin(place), &case).map(channels::Other::There),
            None => Ok(channels::Other::Missing(other.channels.into())),
        };
        let others = (1..).zip(&beside.others).map(other).collect::<Result<_, _>>()?;
        join.join_scanned(&first, others, beside.names.clone())
    }

    /// The transformed scan that `keep = true` left, if it is there already.
    fn kept(&self, stage: usize, row: &BoundCase) -> Result<Option<Case>, Reject> {
        let scan = Chain::to(&self.plan, stage).scan(row);
        let Some(artifact) = self.lookup()?.done(keys::prepare(scan, None)) else { return Ok(None) };
        // Damaged or gone: then the scan is made again.
        let Some(kept) = self.artifact(artifact).ok().and_then(|bytes| PreparedArtifact::decode(&bytes).ok())
        else {
            return Ok(None);
        };
        let original = Arc::new(Geometry::from(&row.series.grid));
        kept.unlabelled(original).map(Some)
    }

    /// A case of a stage as it was scanned and drawn, before any transform.
    ///
    /// # Errors
    /// When a slice cannot be read or decoded, or the outlines cannot be drawn.
    pub fn assembled(&self, stage: usize, row: &BoundCase) -> Result<Case, Reject> {
        let geometry = Geometry::from(&row.series.grid);
        let (scans, padding) = self.scan(stage, &row.series, &geometry)?;
        let truth = row.labels.as_ref().map(|labels| match &self.unknown {
            None => self.truth(&row.series, labels),
            Some(unknown) => self.truth_in_part(&row.series, labels, unknown),
        });
        let truth = truth.transpose()?;
        let (labels, label_names) = match truth {
            Some(truth) => (Some(truth.labels), truth.label_names),
            None => (None, Arc::from([])),
        };
        let (original, padding) = (Arc::new(geometry), padding.map(Arc::new));
        let case = |scan| Case {
            channels: None,
            scan: Arc::new(scan),
            labels: labels.clone(),
            original: original.clone(),
            label_names: label_names.clone(),
            padding: padding.clone(),
        };
        let cases: Vec<Case> = scans.into_iter().map(case).collect();
        // A single channel has no name, or one that nothing asks for.
        let names = if cases.len() > 1 { self.plan.channels(self.plan.origin(stage)) } else { Vec::new() };
        Case::of_channels(cases, names.into())
    }

    /// A scan's voxels as integers of 16 bits, in half the memory; none when they may be others.
    ///
    /// # Errors
    /// When a slice cannot be read or decoded.
    pub fn short(&self, series: &SeriesRow) -> Result<Option<ShortScan>, Reject> {
        // Values between integers are no integers; other formats are read as they are.
        if series.form != ScanForm::Instances || series.has_planes_between() {
            return Ok(None);
        }
        let geometry = Geometry::from(&series.grid);
        self.decoded(series, |list, files| match dicom::load_short(&geometry, &frames(list, files)) {
            Ok(scan) => Ok(Some(scan)),
            Err(ShortError::Unfit { .. }) => Ok(None),
            Err(ShortError::Reject(reject)) => Err(reject),
        })
    }

    /// The channels of a scan as they were read, by the stage that makes the scans of another, with the voxels that only
    /// pad it.
    fn scan(
        &self,
        stage: usize,
        series: &SeriesRow,
        grid: &Geometry,
    ) -> Result<(Vec<Scan>, Option<LabelMap>), Reject> {
        let (scans, padding) = self.decoded(series, |list, files| {
            let frames = frames(list, files);
            match &self.plan.stages[self.plan.origin(stage)].stage {
                Stage::Scans(source) => {
                    let file = |(path, frame)| SliceFile { path, frame };
                    let files: Vec<SliceFile> = frames.into_iter().map(file).collect();
                    Ok((source.load_channels(grid, &files)?, None))
                }
                _ => {
                    let heights = list.heights();
                    let scan = dicom::load_scan_between(grid, &frames, &heights)?;
                    let padding = match series.is_padded() {
                        true => dicom::padding_of(&scan, &frames, &heights)?,
                        false => None,
                    };
                    Ok((vec![scan], padding))
                }
            }
        })?;
        if scans.iter().any(|scan| scan.geometry() != grid) {
            let message = "a scan on the grid that was indexed expected, another found";
            return Err(Reject::new("CHANGED", message, "it is read anew at the next run"));
        }
        Ok((scans, padding))
    }

    /// Decodes a scan's slices from the files that hold them, by `decode`.
    fn decoded<T>(
        &self,
        series: &SeriesRow,
        decode: impl FnOnce(&SliceList, &[FileStat]) -> Result<T, Reject>,
    ) -> Result<T, Reject> {
        let list = self.lookup()?.slices(series.list)?;
        let records: Vec<Digest> = list.slices.iter().map(|slice| slice.record).collect();
        let files = self.lookup()?.places(series.held_under(), &records)?;
        let decoded = decode(&list, &files)?;
        // Afterwards: what was decoded is what was indexed, so the key says the truth.
        unchanged(&files)?;
        self.bytes_read.fetch_add(distinct_bytes(&files), Ordering::Relaxed);
        Ok(decoded)
    }

    /// The label map of a scan, drawn on its original grid.
    ///
    /// # Errors
    /// When the outlines cannot be read or drawn, and `PARTLY_LABELLED` when nobody drew some of the labels: nothing
    /// may take these for background.
    pub fn truth(&self, series: &SeriesRow, labels: &LabelRow) -> Result<Mask, Reject> {
        let Truth { mask, absent, .. } = self.partial_truth(series, labels)?;
        if absent.is_empty() {
            return Ok(mask);
        }
        let message = format!("all labels drawn expected, none of {} found", absent.join(", "));
        let hint = "give the case a file for each label, or ask for fewer labels";
        Err(Reject::new("PARTLY_LABELLED", message, hint))
    }

    /// Returns the same, with all labels and their numbers, where nobody need have drawn all of them: those
    /// that nobody did are put down.
    ///
    /// # Errors
    /// As [`Context::truth`], where nobody drew any of them or where they are more than a byte can number.
    fn truth_in_part(
        &self,
        series: &SeriesRow,
        labels: &LabelRow,
        unknown: &Mutex<Vec<u8>>,
    ) -> Result<Mask, Reject> {
        let Truth { mask, absent, .. } = self.partial_truth(series, labels)?;
        if absent.is_empty() {
            return Ok(mask);
        }
        let Stage::Labels(source) = &self.plan.stages[labels.source.place()].stage else {
            return Err(Reject::new("NO_LABELS", "a stage that reads labels expected", ""));
        };
        let names = source.label_names();
        if absent.len() >= names.len() || names.len() > usize::from(u8::MAX) {
            let message = format!("a label drawn expected, none of {} found", absent.join(", "));
            return Err(Reject::new("PARTLY_LABELLED", message, "the case has nothing to learn from"));
        }
        let number = |name: &String| names.iter().position(|known| known == name).map(|place| place + 1);
        let numbers: Vec<u16> =
            mask.label_names.iter().map(|name| number(name).unwrap_or(0) as u16).collect();
        let all = |label: &u16| match label.checked_sub(1) {
            _ if *label == IGNORED => IGNORED,
            Some(place) => numbers.get(usize::from(place)).copied().unwrap_or(0),
            None => 0,
        };
        let voxels = mask.labels.voxels().iter().map(all).collect();
        let labels = LabelMap::new(mask.labels.geometry().clone(), voxels)
            .map_err(|error| Reject::new("BAD_GEOMETRY", error.to_string(), ""))?;
        let lacking = absent.iter().filter_map(number).map(|label| label as u8).collect();
        *unknown.lock().unwrap_or_else(PoisonError::into_inner) = lacking;
        Ok(Mask { labels: Arc::new(labels), label_names: names.into() })
    }

    /// Returns the same, where it is enough to know which labels nobody drew.
    ///
    /// # Errors
    /// When the outlines cannot be read or drawn.
    pub fn partial_truth(&self, series: &SeriesRow, labels: &LabelRow) -> Result<Truth, Reject> {
        let geometry = Geometry::from(&series.grid);
        if let Stage::Adopt = &self.plan.stages[labels.source.place()].stage {
            return self.adopted(series, labels);
        }
        let Stage::Labels(source) = &self.plan.stages[labels.source.place()].stage else {
            return Err(Reject::new("NO_LABELS", "a stage that reads labels expected", ""));
        };
        if let LabelsIn::Series { .. } = source.lies_in() {
            return self.of_label_series(&**source, series, labels);
        }
        let lookup = self.lookup()?;
        // Labels that have a file each are a list of files.
        let list = match source.lies_in() {
            LabelsIn::Files(_) => lookup.slices(labels.record).ok(),
            _ => None,
        };
        let files = match (&list, source.lies_in()) {
            (_, LabelsIn::Table(_)) => Vec::new(),
            (None, _) => lookup.places("", &[labels.record])?,
            (Some(list), _) => {
                let records: Vec<Digest> = list.slices.iter().map(|slice| slice.record).collect();
                lookup.places("", &records)?
            }
        };
        let heights = match series.has_planes_between() {
            true => lookup.slices(series.list)?.heights(),
            false => Vec::new(),
        };
        let of = list.iter().flat_map(|list| &list.slices).zip(&files);
        let part = |(slice, file): (&SliceRow, &'_ FileStat)| (slice.frame as u16, file.path.clone());
        let parts: Vec<(u16, PathBuf)> = of.map(part).collect();
        let parts: Vec<LabelPart<'_>> =
            parts.iter().map(|(label, file)| LabelPart { label: *label, file }).collect();
        let file = files.first().map(|file| file.path.as_path()).filter(|_| parts.is_empty());
        let (record, scan) = (labels.record, self.drawn_on(series, labels)?);
        let at =
            LabelsAt { file, parts: &parts, stack: None, series: series.series_uid(), record, scan: &scan };
        let mut drawn = source.draw(&at, &Planes { grid: &geometry, heights: &heights })?;
        unchanged(&files)?;
        let notes = std::mem::take(&mut drawn.notes);
        self.told.lock().unwrap_or_else(PoisonError::into_inner).extend(notes);
        drawn.absent.extend(labels.absent.iter());
        if drawn.labels.geometry() != &geometry {
            let message = "labels on the scan's own grid expected, another found";
            return Err(Reject::new("GRID_MISMATCH", message, "the source of the labels is at fault"));
        }
        Truth::new(drawn, source.label_names())
    }

    /// Returns labels of a truth that hold others, each with these, by name.
    pub fn nested(&self, labels: &LabelRow) -> Vec<(String, Vec<String>)> {
        let Stage::Labels(source) = &self.plan.stages[labels.source.place()].stage else {
            return Vec::new();
        };
        let names = source.label_names();
        let name = |label: &u16| names.get(usize::from(*label).checked_sub(1)?).cloned();
        let named = |(name_of, within): (&String, Vec<u16>)| {
            (name_of.clone(), within.iter().filter_map(name).collect::<Vec<_>>())
        };
        let nested = names.iter().zip(source.nested()).map(named);
        nested.filter(|(_, within)| !within.is_empty()).collect()
    }

    /// Returns what tells the scan from others that its labels name as well.
    fn drawn_on(&self, series: &SeriesRow, labels: &LabelRow) -> Result<DrawnOn, Reject> {
        let images = match by_images(&self.plan, series, labels) {
            true => {
                self.lookup()?.slices(series.list)?.slices.into_iter().map(|slice| slice.sop_uid).collect()
            }
            false => BTreeSet::new(),
        };
        Ok(DrawnOn {
            frame_of_reference: series.frame_of_reference.to_string(),
            images,
            apart: labels.apart,
            absent: labels.absent.to_vec(),
        })
    }

    /// A mask from its artifact, on the scan's original grid.
    ///
    /// # Errors
    /// When the artifact is gone or damaged.
    pub fn mask(&self, series: &SeriesRow, mask: Digest) -> Result<Mask, Reject> {
        self.found(mask)?.on(&Geometry::from(&series.grid))
    }

    /// Reads a mask as it is kept.
    ///
    /// # Errors
    /// When the artifact is gone or damaged.
    pub fn found(&self, mask: Digest) -> Result<MaskArtifact, Reject> {
        MaskArtifact::decode(&self.artifact(mask)?)
    }

    /// Reads an artifact's bytes.
    ///
    /// # Errors
    /// `STORE` when it is gone or damaged.
    pub fn artifact(&self, digest: Digest) -> Result<Vec<u8>, Reject> {
        self.artifacts
            .get(digest)
            .map_err(|error| Reject::new("STORE", error.to_string(), "it is made again at the next run"))
    }
}

/// Whether labels are drawn by the images that they name.
pub fn by_images(plan: &Plan, series: &SeriesRow, labels: &LabelRow) -> bool {
    let Stage::Labels(source) = &plan.stages[labels.source.place()].stage else { return false };
    let contours = matches!(source.lies_in(), LabelsIn::Objects { form: Form::Contours, .. });
    contours && series.form == ScanForm::Instances
}

/// The file and frame of each slice.
fn frames(list: &SliceList, files: &[FileStat]) -> Vec<(PathBuf, u32)> {
    files.iter().zip(&list.slices).map(|(file, slice)| (file.path.clone(), slice.frame)).collect()
}

/// Sums the bytes of files, each counted once however many of its frames are slices.
fn distinct_bytes(files: &[FileStat]) -> u64 {
    let mut inodes: Vec<(u64, u64)> = files.iter().map(|file| (file.inode, file.size)).collect();
    inodes.sort_unstable();
    inodes.dedup();
    inodes.iter().map(|(_, size)| size).sum()
}
