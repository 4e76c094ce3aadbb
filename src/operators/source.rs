//! What a source of scans or labels says of itself, so that whoever runs it knows none by its name.
//!
//! A source is one file that implements one of these traits, and one line in a registry.

mod labels;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::dicom::Tags;
use tomoflow_connectors::imagefile::ImageFile;
use tomoflow_connectors::rtstruct::{Form, Outlines};
use tomoflow_connectors::{Digest, Geometry, Reject, Scan};

pub use tomoflow_connectors::geometry::Grid;

pub use self::labels::{
    Drawing, DrawnBox, DrawnOn, LabelPart, LabelSource, LabelStack, LabelsAt, LabelsIn, Planes, value_names,
};

/// DICOM instances of a folder, which `assemble` makes scans of.
pub trait InstanceSource: Send + Sync {
    /// The folder, `.zip` or `.tar`.
    fn root(&self) -> &Path;

    /// The keywords of the tags that [`InstanceSource::keeps`] asks for.
    fn keywords(&self) -> Vec<&str>;

    /// Whether an instance with these tags is one of the source's. An absent tag is empty text.
    fn keeps(&self, tags: &Tags) -> bool;

    /// Whether each slice has a series of its own, so that slices are joined by what else they have in common.
    fn series_per_slice(&self) -> bool {
        false
    }
}

/// The case and patient that a file belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// The case's name, without `#`; of labels, that of their scan, or its SeriesInstanceUID.
    pub case: String,
    /// The patient's name.
    pub patient: String,
    /// The label that the file holds, from 1 on, where labels lie in a file each. All such files of a case
    /// are one set of labels.
    pub label: Option<u16>,
}

impl Claim {
    /// A file of this case and this patient.
    pub fn new(case: impl Into<String>, patient: impl Into<String>) -> Self {
        Self { case: case.into(), patient: patient.into(), label: None }
    }

    /// Returns the same claim for the file of one label.
    #[must_use]
    pub fn of_label(self, label: u16) -> Self {
        Self { label: Some(label), ..self }
    }
}

/// How headers are read that tomoflow does not read itself.
///
/// The index keeps what is read of a file by its path alone, for all sources and all their settings. So the function
/// sees no settings: what they say of a file (a spacing, for example) enters when a case is judged.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// The name and version: files are read anew under another one.
    pub name: &'static str,
    /// Reads a file's grid, and the digest of its grid and voxels. The path may lie in a `.zip` or `.tar`
    /// ([`tomoflow_connectors::container::read`]). An error is what the system says; what is wrong inside the file
    /// is a [`Reject`].
    pub read: fn(&Path) -> io::Result<Result<ImageFile, Reject>>,
}

/// Something that a source asks for and nothing is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unmet {
    /// The case that it would be of, where that is known.
    pub case: Option<String>,
    /// The name of what is missing, which may name a person: shown where identifiers are.
    pub name: String,
    /// What was expected, and what there is. It names nobody.
    pub reject: Reject,
}

impl Unmet {
    /// Makes one of no case, without a name.
    pub fn new(reject: Reject) -> Self {
        Self { case: None, name: String::new(), reject }
    }

    /// Returns the same for a case.
    #[must_use]
    pub fn of(self, case: &str) -> Self {
        Self { case: Some(case.to_owned()), ..self }
    }

    /// Returns the same by this name.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }
}

/// Files below a folder that a source claims by their names.
pub trait FileSource: Send + Sync {
    /// The folder, `.zip` or `.tar`.
    fn root(&self) -> &Path;

    /// Returns whose the file at a path is; `None` for one that is not asked for.
    fn claim(&self, path: &Path) -> Option<Claim>;

    /// Returns what the source asks for and is not there: `there` are the files that it claims, of `of` below
    /// its folder.
    fn unmet(&self, there: &[&Path], of: usize) -> Vec<Unmet> {
        if !there.is_empty() {
            return Vec::new();
        }
        let message = format!("a file of the source expected, none of {of} files below `path` is one");
        let hint = "the documentation of the source's type says how its files are called";
        vec![Unmet::new(Reject::new("NO_FILE_FITS", message, hint))]
    }

    /// Returns how headers of the source's files are read; `None` for formats that tomoflow reads itself.
    fn reader(&self) -> Option<Reader> {
        None
    }
}

/// One file of a case.
#[derive(Clone, Copy, Debug)]
pub struct CaseFile<'a> {
    /// The path where the file lies.
    pub path: &'a Path,
    /// The header that was read of the file, or why it cannot be read.
    pub header: &'a Result<ImageFile, Reject>,
}

/// How a scan lies in its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A file holds all of it.
    Volume,
    /// Each of its planes lies in one of its slices, in this order.
    Slices,
}

/// A file of a case, or a frame of one, that a scan is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSlice {
    /// The file's place among those that were judged.
    pub file: usize,
    /// The number of the frame, 0 in a file of one.
    pub frame: u32,
}

/// What the files of a case were found to be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FoundScan {
    /// The scan's grid.
    pub grid: Grid,
    /// How the scan lies in its files.
    pub layout: Layout,
    /// The files that it is read from, in this order.
    pub slices: Vec<FileSlice>,
    /// The modality that tables show.
    pub modality: Arc<str>,
    /// What was noticed and accepted.
    pub notes: Vec<String>,
}

impl FoundScan {
    /// A scan on this grid, read from these files.
    pub fn new(grid: Grid, layout: Layout, slices: Vec<FileSlice>, modality: Arc<str>) -> Self {
        Self { grid, layout, slices, modality, notes: Vec::new() }
    }

    /// A scan that one file holds, on the file's own grid.
    ///
    /// # Errors
    /// `SEVERAL_FILES` for more than one file, or why the file cannot be read.
    pub fn of_one_file(files: &[CaseFile<'_>], modality: Arc<str>) -> Result<Self, Reject> {
        let [file] = files else {
            let message = format!("one file for a case expected, {} found", files.len());
            let hint = "the pattern of `files` may leave one out, or name more of the path as `{case}`";
            return Err(Reject::new("SEVERAL_FILES", message, hint));
        };
        let image = file.header.as_ref().map_err(Clone::clone)?;
        if image.volumes() > 1 {
            let message = format!("one volume expected, {} in one file found", image.volumes());
            let hint = "name its channels at the source, `channels = [\"T1\", \"FLAIR\"]`, or split the file, one volume \
                        each";
            return Err(Reject::new("SEVERAL_VOLUMES", message, hint));
        }
        let slices = vec![FileSlice { file: 0, frame: 0 }];
        let notes = image.other_notes();
        Ok(Self { notes, ..Self::new(image.grid, Layout::Volume, slices, modality) })
    }
}

/// The place where a slice lies now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceFile {
    /// The file.
    pub path: PathBuf,
    /// The frame in it.
    pub frame: u32,
}

/// Scans in files that a source claims.
pub trait ScanSource: FileSource {
    /// Returns what the files of one case are, in the order of their paths: a scan, several parts of one, or
    /// why none. Each answer but the first is a part of its own, `CASE#1`, `CASE#2`, …
    fn judge(&self, case: &str, files: &[CaseFile<'_>]) -> Vec<Result<FoundScan, Reject>>;

    /// The names of the channels that each of its scans has; none where it has one, without a name.
    fn channel_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// The voxels of each channel of a scan that was judged, on its grid, in the order of
    /// [`ScanSource::channel_names`].
    ///
    /// # Errors
    /// As [`ScanSource::load`].
    fn load_channels(&self, grid: &Geometry, slices: &[SliceFile]) -> Result<Vec<Scan>, Reject> {
        self.load(grid, slices).map(|scan| vec![scan])
    }

    /// The voxels of a scan that was judged, on its grid, of several channels the first's. That the files are those that were judged is checked
    /// afterwards.
    ///
    /// # Errors
    /// Whatever refuses it, by name.
    fn load(&self, grid: &Geometry, slices: &[SliceFile]) -> Result<Scan, Reject>;
}

/// A file that was indexed and is not found any more.
pub fn vanished(content: Digest) -> Reject {
    let message = format!("a file with content {} was indexed, none found now", content.short());
    Reject::new("FILE_VANISHED", message, "it is looked for again at the next run")
}

/// Names in quotes, the first of many.
pub fn quoted<'a>(names: impl Iterator<Item = &'a str>, between: &str) -> String {
    const SHOWN: usize = 12;
    let mut names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.join(between) + &rest
}

/// Labels of the scan of one case, or of one series, with this content.
pub fn labels_of(case: String, digest: Digest) -> Outlines {
    Outlines { form: Form::Voxels, referenced_series: vec![case], digest, ..Outlines::default() }
}
