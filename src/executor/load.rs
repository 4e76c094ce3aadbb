//! From a case's key to its voxels: decode, label, transform, fused in memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tomoflow_connectors::dicom::{FileStat, ShortError};
use tomoflow_connectors::rtstruct::Form;
use tomoflow_connectors::{
    Digest, Geometry, LabelMap, Reject, Scan, ShortScan, deeplesion, dicom, dicom_seg, imagefile, rtstruct,
};

use super::artifact::{self, MaskArtifact, PreparedArtifact};
use super::keys::{self, Chain};
use super::work::{CaseRow, LabelRow, ScanForm, SeriesRow, SliceList};
use crate::operators::registry::Stage;
use crate::operators::sources::drawn::DrawnSource;
use crate::operators::value::{Case, Mask};
use crate::pipeline::Plan;
use crate::store::{Artifacts, Outcome, Recorded, Store, StoreError};

/// Where content lies now. A renamed file changes this, and no row.
pub trait Lookup: Send + Sync {
    /// The slices of a scan, by the list's digest.
    ///
    /// # Errors
    /// `FILE_VANISHED` for a list that the index no longer holds.
    fn slices(&self, list: Digest) -> Result<SliceList, Reject>;

    /// Where records of a series lie; of no series: outlines.
    ///
    /// # Errors
    /// `FILE_VANISHED` for a record that no source holds any more.
    fn places(&self, series: &str, records: &[Digest]) -> Result<Vec<FileStat>, Reject>;

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

/// A file that was indexed and is not found any more.
pub fn vanished(content: Digest) -> Reject {
    let message = format!("a file with content {} was indexed, none found now", content.short());
    Reject::new("FILE_VANISHED", message, "it is looked for again at the next run")
}

/// Checks that files still are what was indexed.
///
/// # Errors
/// `CHANGED` for a file with another size, time or inode.
fn unchanged(files: &[FileStat]) -> Result<(), Reject> {
    for file in files {
        let now = tomoflow_connectors::container::stat(&file.path);
        if !now.is_ok_and(|now| now == *file) {
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
    /// Artifacts.
    pub artifacts: Artifacts,
    /// Where content lies. Whoever runs the pipeline holds it: a thread that was given up must not keep
    /// the store open, and with it held, for ever.
    pub lookup: Weak<dyn Lookup>,
    /// Bytes of source files read so far.
    pub bytes_read: Arc<AtomicU64>,
}

impl Context {
    /// Where content lies.
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
    pub fn case(&self, stage: usize, row: &CaseRow) -> Result<Case, Reject> {
        let planned = &self.plan.stages[stage];
        if planned.keep
            && row.labels.is_none()
            && let Some(case) = self.kept(stage, row)?
        {
            return Ok(case);
        }
        match &planned.stage {
            Stage::Transform(transform) => {
                // Before anything is read for it.
                if let Some(rule) = transform.rule() {
                    return Err(rule.unsettled());
                }
                transform.apply(&self.case(planned.inputs[0], row)?)
            }
            Stage::View(_) | Stage::Augment(_) => self.case(planned.inputs[0], row),
            _ => self.assembled(row),
        }
    }

    /// The transformed scan that `keep = true` left, if it is there already.
    fn kept(&self, stage: usize, row: &CaseRow) -> Result<Option<Case>, Reject> {
        let scan = Chain::to(&self.plan, stage).scan(row);
        let Some(artifact) = self.lookup()?.done(keys::prepare(scan, None)) else { return Ok(None) };
        // Damaged or gone: then the scan is made again.
        let Some(kept) = self.artifact(artifact).ok().and_then(|bytes| PreparedArtifact::decode(&bytes).ok())
        else {
            return Ok(None);
        };
        let scan = Scan::new(kept.geometry, kept.scan.to_vec())
            .map_err(|error| Reject::new("DAMAGED_ARTIFACT", error.to_string(), ""))?;
        let original = Arc::new(Geometry::from(&row.series.grid));
        Ok(Some(Case { scan: Arc::new(scan), labels: None, original, label_names: Arc::from([]) }))
    }

    /// A case as it was scanned and drawn, before any transform.
    ///
    /// # Errors
    /// When a slice cannot be read or decoded, or the outlines cannot be drawn.
    pub fn assembled(&self, row: &CaseRow) -> Result<Case, Reject> {
        let geometry = Geometry::from(&row.series.grid);
        let scan = Arc::new(self.scan(&row.series, &geometry)?);
        let truth = row.labels.as_ref().map(|labels| self.truth(&row.series, labels)).transpose()?;
        let (labels, label_names) = match truth {
            Some(truth) => (Some(truth.labels), truth.label_names),
            None => (None, Arc::from([])),
        };
        Ok(Case { scan, labels, original: Arc::new(geometry), label_names })
    }

    /// A scan's voxels as integers of 16 bits, in half the memory; none when they may be others.
    ///
    /// # Errors
    /// When a slice cannot be read or decoded.
    pub fn short(&self, series: &SeriesRow) -> Result<Option<ShortScan>, Reject> {
        // What lies between integers is none; other formats are read as they are.
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

    /// A scan as it was read.
    fn scan(&self, series: &SeriesRow, grid: &Geometry) -> Result<Scan, Reject> {
        self.decoded(series, |list, files| match series.form {
            ScanForm::Instances => dicom::load_scan_between(grid, &frames(list, files), &list.heights()),
            ScanForm::Volume => volume(files, grid),
            ScanForm::Slices => {
                let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
                deeplesion::load_scan(grid, &paths)
            }
        })
    }

    /// What `decode` makes of a scan's slices and the files that hold them.
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
    /// When the outlines cannot be read or drawn.
    pub fn truth(&self, series: &SeriesRow, labels: &LabelRow) -> Result<Mask, Reject> {
        let geometry = Geometry::from(&series.grid);
        let source = &self.plan.stages[usize::from(labels.source)].stage;
        if let Stage::Boxes(boxes) = source {
            let Some(info) = boxes.info.series.get(series.series_uid()) else {
                return Err(vanished(labels.record));
            };
            let drawn = info.draw(&geometry)?;
            return Ok(Mask { labels: Arc::new(drawn), label_names: Arc::from(["lesion".to_owned()]) });
        }
        let files = self.lookup()?.places("", &[labels.record])?;
        let Some(file) = files.first() else { return Err(vanished(labels.record)) };
        let (drawn, label_names) = match source {
            Stage::Drawn(source) => {
                let heights = match series.has_planes_between() {
                    true => self.lookup()?.slices(series.list)?.heights(),
                    false => Vec::new(),
                };
                let drawn = match source.form {
                    Form::Contours => contours(&file.path, source, &geometry, &heights, labels.record)?,
                    Form::Voxels => dicom_seg::read_with_threshold(&file.path, source.threshold)?
                        .draw_between(|name| source.label_of(name), &geometry, &heights)?,
                };
                (drawn, source.label_names())
            }
            Stage::LabelImages(source) => {
                (source.draw(&imagefile::read_labels(&file.path)?, &geometry)?, source.label_names())
            }
            _ => return Err(Reject::new("NO_LABELS", "a stage that reads labels expected", "")),
        };
        unchanged(&files)?;
        Ok(Mask { labels: Arc::new(drawn), label_names: label_names.into() })
    }

    /// A mask from its artifact, on the scan's original grid.
    ///
    /// # Errors
    /// When the artifact is gone or damaged.
    pub fn mask(&self, series: &SeriesRow, mask: Digest) -> Result<Mask, Reject> {
        let artifact: MaskArtifact = artifact::decode("mask", &self.artifact(mask)?)?;
        artifact.on(&Geometry::from(&series.grid))
    }

    /// An artifact's bytes.
    ///
    /// # Errors
    /// `STORE` when it is gone or damaged.
    pub fn artifact(&self, digest: Digest) -> Result<Vec<u8>, Reject> {
        self.artifacts
            .get(digest)
            .map_err(|error| Reject::new("STORE", error.to_string(), "it is made again at the next run"))
    }
}

/// The file and frame of each slice.
fn frames(list: &SliceList, files: &[FileStat]) -> Vec<(PathBuf, u32)> {
    files.iter().zip(&list.slices).map(|(file, slice)| (file.path.clone(), slice.frame)).collect()
}

/// A scan in one file of another format than DICOM.
fn volume(files: &[FileStat], grid: &Geometry) -> Result<Scan, Reject> {
    let [file] = files else {
        return Err(Reject::new(
            "FILE_VANISHED",
            "one file expected",
            "it is looked for again at the next run",
        ));
    };
    let scan = imagefile::read_scan(&file.path)?;
    if scan.geometry() != grid {
        let message = "a scan on the grid that was indexed expected, another found";
        return Err(Reject::new("CHANGED", message, "it is read anew at the next run"));
    }
    Ok(scan)
}

/// Outlines, drawn on a grid.
fn contours(
    path: &Path,
    source: &DrawnSource,
    grid: &Geometry,
    heights: &[f64],
    record: Digest,
) -> Result<LabelMap, Reject> {
    let mut structures = rtstruct::read_structures(path)?;
    for (place, structure) in (1..).zip(&mut structures.structures) {
        structure.name = source.name_of(place, &structure.name).into_owned();
    }
    let drawn = rtstruct::rasterise_between(&structures, &|name| source.label_of(name), grid, heights)?;
    if drawn.off_slice > 0 || drawn.skipped > 0 {
        tracing::warn!(
            outlines = %record.short(),
            off_slice = drawn.off_slice,
            skipped = drawn.skipped,
            "contours left out"
        );
    }
    Ok(drawn.labels)
}

/// Bytes of files, each counted once however many of its frames are slices.
fn distinct_bytes(files: &[FileStat]) -> u64 {
    let mut inodes: Vec<(u64, u64)> = files.iter().map(|file| (file.inode, file.size)).collect();
    inodes.sort_unstable();
    inodes.dedup();
    inodes.iter().map(|(_, size)| size).sum()
}
