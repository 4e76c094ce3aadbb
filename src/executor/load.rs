//! From a case's key to its voxels: decode, label, transform, fused in memory.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tomoflow_connectors::dicom::FileStat;
use tomoflow_connectors::{Digest, Geometry, Reject, Scan, dicom, rtstruct};

use super::artifact::{self, MaskArtifact, PreparedArtifact};
use super::keys::{self, Chain};
use super::work::{CaseRow, LabelRow, SeriesRow};
use crate::operators::registry::Stage;
use crate::operators::value::{Case, Mask};
use crate::pipeline::Plan;
use crate::store::{Outcome, Recorded, Store};

/// Where content lies now. A renamed file changes this, and no row.
#[derive(Debug, Default)]
pub struct Files(RwLock<HashMap<Digest, FileStat>>);

impl Files {
    /// Says where some content lies.
    pub fn insert(&self, content: Digest, file: FileStat) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(content, file);
    }

    /// Checks that files still are what was indexed.
    ///
    /// # Errors
    /// `CHANGED` for a file with another size, time or inode.
    fn unchanged(&self, contents: impl Iterator<Item = Digest>) -> Result<(), Reject> {
        let files = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for file in contents.filter_map(|content| files.get(&content)) {
            let now = std::fs::metadata(&file.path).map(|now| FileStat::new(file.path.clone(), &now));
            if !now.is_ok_and(|now| now == *file) {
                let message = format!("{} bytes were indexed, another file is there now", file.size);
                return Err(Reject::new("CHANGED", message, "it is read anew at the next run"));
            }
        }
        Ok(())
    }

    /// Where some content lies.
    ///
    /// # Errors
    /// `FILE_VANISHED` for content that no source holds any more.
    pub fn find(&self, content: Digest) -> Result<PathBuf, Reject> {
        let files = self.0.read().unwrap_or_else(PoisonError::into_inner);
        files.get(&content).map(|file| file.path.clone()).ok_or_else(|| {
            let message = format!("a file with content {} was indexed, none found now", content.short());
            Reject::new("FILE_VANISHED", message, "it is looked for again at the next run")
        })
    }
}

/// What every action may use.
#[derive(Clone)]
pub struct Context {
    /// The pipeline.
    pub plan: Arc<Plan>,
    /// Artifacts.
    pub store: Arc<Store>,
    /// Where content lies.
    pub files: Arc<Files>,
}

impl Context {
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
            Stage::Transform(transform) => transform.apply(&self.case(planned.inputs[0], row)?),
            Stage::View(_) => self.case(planned.inputs[0], row),
            _ => self.assembled(row),
        }
    }

    /// The transformed scan that `keep = true` left, if it is there already.
    fn kept(&self, stage: usize, row: &CaseRow) -> Result<Option<Case>, Reject> {
        let scan = Chain::to(&self.plan, stage).scan(&row.series);
        let known = self.store.outcomes(&[keys::prepare(scan, None)]).ok().and_then(|mut known| known.pop());
        let Some(Some(Recorded { outcome: Outcome::Ok { artifact, .. }, .. })) = known else {
            return Ok(None);
        };
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
        let mut slices = Vec::with_capacity(row.series.slices.len());
        for slice in &row.series.slices {
            slices.push((self.files.find(slice.instance)?, slice.frame));
        }
        let scan = Arc::new(dicom::load_scan(&geometry, &slices)?);
        // Afterwards: what was decoded is what was indexed, so the key says the truth.
        self.files.unchanged(row.series.slices.iter().map(|slice| slice.instance))?;
        let truth = row.labels.as_ref().map(|labels| self.truth(&row.series, labels)).transpose()?;
        let (labels, label_names) = match truth {
            Some(truth) => (Some(truth.labels), truth.label_names),
            None => (None, Arc::from([])),
        };
        Ok(Case { scan, labels, original: Arc::new(geometry), label_names })
    }

    /// The label map of a scan, drawn on its original grid.
    ///
    /// # Errors
    /// When the outlines cannot be read or drawn.
    pub fn truth(&self, series: &SeriesRow, labels: &LabelRow) -> Result<Mask, Reject> {
        let Stage::Rtstruct(source) = &self.plan.stages[usize::from(labels.source)].stage else {
            return Err(Reject::new("NO_LABELS", "a stage that reads outlines expected", ""));
        };
        let structures = rtstruct::read_structures(&self.files.find(labels.outlines)?)?;
        self.files.unchanged(std::iter::once(labels.outlines))?;
        let geometry = Geometry::from(&series.grid);
        let drawn = rtstruct::rasterise(&structures, &|name| source.label_of(name), &geometry)?;
        if drawn.off_slice > 0 || drawn.skipped > 0 {
            tracing::warn!(
                outlines = %labels.outlines.short(),
                off_slice = drawn.off_slice,
                skipped = drawn.skipped,
                "contours left out"
            );
        }
        Ok(Mask { labels: Arc::new(drawn.labels), label_names: source.label_names().into() })
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
        self.store
            .get(digest)
            .map_err(|error| Reject::new("STORE", error.to_string(), "it is made again at the next run"))
    }
}
