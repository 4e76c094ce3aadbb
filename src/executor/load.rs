//! From a case's key to its voxels: decode, label, transform, fused in memory.

mod channels;
pub mod label_series;
mod labels;
mod lookup;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use tomoflow_connectors::dicom::{FileStat, ShortError};
use tomoflow_connectors::{Digest, Geometry, LabelMap, Reject, Scan, ShortScan, dicom};

pub use self::labels::by_images;
pub use self::lookup::Lookup;
use self::lookup::unchanged;
use super::artifact::{MaskArtifact, PreparedArtifact};
use super::keys::{self, Chain};
use super::work::{BoundCase, ScanForm, SeriesRow, SliceList};
use crate::operators::registry::Stage;
use crate::operators::source::SliceFile;
pub use crate::operators::source::vanished;
use crate::operators::value::{Case, Mask};
use crate::pipeline::Plan;
use crate::store::Artifacts;

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
            return Err(Reject::new("CHANGED", message, "the next run reads the file again"));
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
