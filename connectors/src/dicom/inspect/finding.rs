//! The findings in an archive, one at a time; serialised, each is a line of `inspect --json`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::Statistics;
use crate::Reject;
use crate::dicom::header::instance::Tags;
use crate::imagefile::ImageFigures;

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Finding {
    /// A stack that a pipeline gets.
    Volume(Box<FoundVolume>),
    /// A stack, or slices beside one, that a pipeline refuses.
    Reject(Refused),
    /// A file that holds nothing for a pipeline.
    Skip(Skipped),
    /// A file of outlines (RTSTRUCT).
    Outlines(FoundOutlines),
    /// A volume of another format: NIfTI, MetaImage, NRRD.
    Image(Box<FoundImage>),
}

/// A volume of another format than DICOM, by its header.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FoundImage {
    /// The file.
    #[serde(serialize_with = "path")]
    pub file: PathBuf,
    /// `NIfTI`, `MetaImage` or `NRRD`.
    pub format: String,
    /// The type of its voxels: `int16`, `float32`, …
    pub voxel_type: String,
    /// Slices, rows, columns.
    pub shape: [usize; 3],
    /// The number of volumes that the file holds, where that is more than one.
    #[serde(skip_serializing_if = "is_one")]
    pub volumes: usize,
    /// Distance between slices, between rows, between columns, mm.
    pub spacing_mm: [f64; 3],
    /// Maps (column i, row j, slice k, 1) to LPS mm.
    pub affine_lps: [[f64; 4]; 4],
    /// The scans of the same name, for a file that is called as labels are; empty where none are there.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_paths")]
    pub labels_of: Option<Vec<PathBuf>>,
    /// The notes on what is worth knowing: `FORMS_DISAGREE`, `OTHER_GRID`, …
    pub notes: Vec<String>,
    /// The figures over the voxels, where they were read: when that was asked for, or the file is small.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub figures: Option<ImageFigures>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks it")]
fn is_one(volumes: &usize) -> bool {
    *volumes == 1
}

/// A stack with one geometry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FoundVolume {
    /// SeriesInstanceUID.
    pub series_uid: String,
    /// The number of the stack in its series: 0, or several when the series is split.
    pub part: u32,
    /// The stack's files, each once, in the order of its slices.
    #[serde(serialize_with = "paths")]
    pub files: Vec<PathBuf>,
    /// Slices, rows, columns.
    pub shape: [usize; 3],
    /// Distance between slices, between rows, between columns, mm.
    pub spacing_mm: [f64; 3],
    /// The matrix that maps (column i, row j, slice k, 1) to LPS mm. Each column is as long as the spacing
    /// along it; for a lone slice that is its thickness.
    pub affine_lps: [[f64; 4]; 4],
    /// The Modality, or empty.
    pub modality: String,
    /// The notes on what was put right or is worth knowing: `GANTRY_TILT`, …
    pub notes: Vec<String>,
    /// The figures that decoding gave, when it was asked for.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
    /// The tags of its first slice.
    #[serde(skip)]
    pub tags: Arc<Tags>,
}

/// A stack, or slices beside one, that a pipeline refuses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refused {
    /// SeriesInstanceUID.
    pub series_uid: String,
    /// The refused files, each once: those at fault first where single ones are, then in the order of slices.
    #[serde(serialize_with = "paths")]
    pub files: Vec<PathBuf>,
    /// The reason of the refusal.
    #[serde(flatten)]
    pub reject: Reject,
    /// The tags of its first file.
    #[serde(skip)]
    pub tags: Arc<Tags>,
}

/// A file that holds nothing for a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The file; a folder when it could not be opened.
    #[serde(serialize_with = "path")]
    pub file: PathBuf,
    /// The code of the reason: `EMPTY_FILE`, `NOT_DICOM`, `NO_DATASET`, `TRUNCATED`, `DICOMDIR`,
    /// `NOT_AN_IMAGE`, `UNREADABLE`.
    pub code: String,
}

/// A file of outlines (RTSTRUCT).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundOutlines {
    /// The file.
    #[serde(serialize_with = "path")]
    pub file: PathBuf,
    /// The SeriesInstanceUIDs that the outlines were drawn on.
    pub series: Vec<String>,
    /// The names of its structures.
    pub structures: Vec<String>,
}

/// The figures over all of an archive.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Total {
    /// The number of files that were looked at.
    pub files: usize,
    /// The bytes of these files.
    pub bytes: u64,
    /// The number of files that hold an image.
    pub instances: usize,
    /// The number of series that these belong to.
    pub series: usize,
    /// The number of stacks that a pipeline gets.
    pub volumes: usize,
    /// The number of files of outlines.
    pub outlines: usize,
    /// The number of volumes of other formats.
    #[serde(skip_serializing_if = "is_none")]
    pub images: usize,
    /// The number of stacks that a pipeline refuses, by code.
    pub rejects: BTreeMap<String, usize>,
    /// The number of files without anything for a pipeline, by code.
    pub skipped: BTreeMap<String, usize>,
    /// The files and folders that were passed over without being looked at, in lines: what macOS leaves
    /// beside files, links to what is looked at anyway.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<String>,
    /// The time that the inspection took, s.
    pub seconds: f64,
}

impl Total {
    /// Counts a finding.
    pub(super) fn count(&mut self, finding: &Finding) {
        match finding {
            Finding::Volume(_) => self.volumes += 1,
            Finding::Outlines(_) => self.outlines += 1,
            Finding::Image(_) => self.images += 1,
            Finding::Reject(refused) => *self.rejects.entry(refused.reject.code.clone()).or_default() += 1,
            Finding::Skip(skipped) => *self.skipped.entry(skipped.code.clone()).or_default() += 1,
        }
    }
}

/// Serialises a path; one that is no text is shown as well as it can be.
fn path<S: Serializer>(path: &std::path::Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks it")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

#[expect(clippy::ref_option, reason = "as serde asks it")]
fn some_paths<S: Serializer>(paths: &Option<Vec<PathBuf>>, to: S) -> Result<S::Ok, S::Error> {
    self::paths(paths.as_deref().unwrap_or_default(), to)
}

fn paths<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reject_is_one_flat_object() {
        let refused = Refused {
            series_uid: "1.2".into(),
            files: vec!["a/1".into()],
            reject: Reject::new("TRUNCATED", "cut", "fetch it"),
            tags: Arc::default(),
        };
        assert_eq!(
            serde_json::to_string(&Finding::Reject(refused)).unwrap(),
            r#"{"kind":"reject","series_uid":"1.2","files":["a/1"],"code":"TRUNCATED","message":"cut","hint":"fetch it"}"#
        );
    }
}
