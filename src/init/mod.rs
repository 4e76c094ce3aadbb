//! A folder to a first pipeline: what it holds is looked at, settings follow from it, and each says why in a comment.

mod archive;
mod budget;
mod channels;
mod claims;
mod described;
mod dicom;
mod files;
mod grids;
mod intensity;
mod label_series;
mod labels;
mod naming;
mod paired;
mod parts;
pub mod planning;
mod studies;
mod survey;
mod table;
mod text;
mod toml;
mod training;

use std::path::{Path, PathBuf};

use tomoflow_connectors::dicom::inspect::InspectError;

use crate::operators::registry::Registry;
use archive::Archive;
pub use survey::Survey;

/// What a draft is made for.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// The name of the pipeline.
    pub name: String,
    /// The folder as the pipeline file is to name it.
    pub path: String,
    /// The folder where results go, as the pipeline file is to name it.
    pub out: String,
    /// The folder of the pipeline file.
    pub base: PathBuf,
    /// Memory of the device that trains, in GB, which the size of the network follows from.
    pub gigabytes: f64,
    /// Whether that device is a GPU.
    pub gpu: bool,
}

/// A pipeline for a folder.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The pipeline file's text.
    pub text: String,
    /// What the folder was taken for, and what of it, in lines.
    pub found: Vec<String>,
    /// What was left out, guessed or not found, in lines.
    pub told: Vec<String>,
}

/// The reasons why there is no pipeline for a folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// It cannot be looked at.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// It holds no scan that can be read.
    #[error("a scan below {} expected, none found{found}\nhint: {hint}", path.display())]
    NoScan {
        /// The folder.
        path: PathBuf,
        /// What there is instead.
        found: String,
        /// The remedy.
        hint: String,
    },
    /// It holds several data sets.
    #[error("the folder of one data set expected, {} below {} have a dataset.json\nhint: name one of them: {}", names.len(), path.display(), names.join(", "))]
    SeveralSets {
        /// The folder.
        path: PathBuf,
        /// The names of their folders.
        names: Vec<String>,
    },
    /// Its scans have several channels in one file.
    #[error(
        "scans of one channel expected, {files} files of several volumes found ({first}: {message})\nhint: {hint}"
    )]
    SeveralChannels {
        /// The number of files.
        files: usize,
        /// The path of one of them.
        first: String,
        /// What its reader says.
        message: String,
        /// The remedy.
        hint: String,
    },
    /// What describes it cannot be understood.
    #[error("{}: {message}\nhint: {hint}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
        /// The remedy.
        hint: String,
    },
}

/// A pipeline for what a survey of a folder found.
///
/// # Errors
/// [`InitError`] where nothing can be made of it.
pub fn draft(survey: &Survey, wishes: &Wishes, registry: &Registry) -> Result<Draft, InitError> {
    let mut archive = recognise(survey, wishes, registry)?;
    archive.told.extend(survey.refusals());
    Ok(text::write(archive, wishes))
}

/// Recognises what the folder is, by what it holds most of.
fn recognise(survey: &Survey, wishes: &Wishes, registry: &Registry) -> Result<Archive, InitError> {
    survey.is_one_set()?;
    let described = described::read(&survey.root)?;
    if let Some(refused) = survey.several_channels(described.as_ref()) {
        return Err(refused);
    }
    let drawn = dicom::labelled(survey);
    let pairs = survey.pairs();
    if survey.images.is_empty() && survey.volumes.is_empty() {
        return Err(survey.nothing());
    }
    // Outlines are known to belong to their scans, and files go together by their names alone.
    if described.is_none() && !survey.volumes.is_empty() && (drawn * 2 >= pairs || survey.images.is_empty()) {
        return Ok(dicom::recognise(survey, wishes));
    }
    let archive = files::recognise(survey, described, wishes, registry)?;
    if archive.scans.is_empty() { Err(survey.unclaimed()) } else { Ok(archive) }
}

/// Returns a path as it lies below another one; the whole of it where it does not.
fn below<'p>(path: &'p Path, root: &Path) -> &'p Path {
    path.strip_prefix(root).unwrap_or(path)
}
