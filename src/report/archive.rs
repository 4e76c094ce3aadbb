//! What an archive was found to hold, gathered for people: rows by series, refusals by code, and the page.

mod page;

use std::collections::BTreeMap;
use std::path::Path;

use tomoflow_connectors::dicom::Tags;
use tomoflow_connectors::dicom::inspect::{Finding, FoundImage, FoundVolume, Refused, Total};
use tomoflow_connectors::shown::Shown as _;

use super::ReportError;

/// The number of refusals of a code that are named one by one.
const EXAMPLES: usize = 50;

/// One or more stacks of a series that are alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArchiveRow {
    /// The modality, or empty.
    pub modality: String,
    /// The SeriesDescription, or empty.
    pub description: String,
    /// The manufacturer, or empty.
    pub manufacturer: String,
    /// The ManufacturerModelName, or empty.
    pub scanner: String,
    /// Slices, rows and columns, and their distances in mm; `None` for what was refused.
    pub grid: Option<([usize; 3], [f64; 3])>,
    /// What was put right or is worth knowing.
    pub notes: Vec<String>,
    /// The code of the refusal, or empty.
    pub code: String,
    /// The number of stacks.
    pub stacks: usize,
    /// The number of files.
    pub files: usize,
    /// The SeriesInstanceUID.
    pub series_uid: String,
    /// The name that files of a folder have in common that are alike; empty for DICOM.
    pub folder: String,
}

/// What is alike in its code: how often, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeGroup<T> {
    /// The number of them.
    pub count: usize,
    /// The first of them.
    pub examples: Vec<T>,
}

impl<T> CodeGroup<T> {
    fn add(&mut self, example: T) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example);
        }
    }
}

impl<T> Default for CodeGroup<T> {
    fn default() -> Self {
        Self { count: 0, examples: Vec::new() }
    }
}

/// One refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedExample {
    /// The SeriesInstanceUID.
    pub series_uid: String,
    /// What was expected and what was found.
    pub message: String,
    /// The remedy.
    pub hint: String,
    /// A file of it, one at fault where single ones are.
    pub file: String,
    /// The number of files.
    pub files: usize,
}

/// What an archive was found to hold, for a table in a terminal and for a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArchiveContents {
    rows: Vec<ArchiveRow>,
    refused: BTreeMap<String, CodeGroup<RefusedExample>>,
    skipped: BTreeMap<String, CodeGroup<String>>,
}

impl ArchiveContents {
    /// Takes a finding in.
    pub fn add(&mut self, finding: &Finding) {
        match finding {
            Finding::Volume(volume) => self.put(volume_row(volume)),
            Finding::Image(image) => self.put(image_row(image)),
            Finding::Reject(refused) => {
                let group = self.refused.entry(refused.reject.code.clone()).or_default();
                group.add(RefusedExample {
                    series_uid: refused.series_uid.clone(),
                    message: refused.reject.message.clone(),
                    hint: refused.reject.hint.clone(),
                    file: refused.files.first().map(|file| file.shown().to_string()).unwrap_or_default(),
                    files: refused.files.len(),
                });
                self.put(refused_row(refused));
            }
            Finding::Skip(skipped) => {
                let group = self.skipped.entry(skipped.code.clone()).or_default();
                group.add(skipped.file.shown().to_string());
            }
            // They are counted in the total.
            Finding::Outlines(_) => {}
        }
    }

    /// Adds a row, to one of the same series that is alike where there is one.
    fn put(&mut self, row: ArchiveRow) {
        let alike = |other: &&mut ArchiveRow| {
            (&other.grid, &other.notes, &other.code, &other.folder)
                == (&row.grid, &row.notes, &row.code, &row.folder)
        };
        let same_series = self.rows.iter_mut().rev().take_while(|other| other.series_uid == row.series_uid);
        match { same_series }.find(alike) {
            Some(other) => {
                if !row.folder.is_empty() {
                    other.description = row.folder;
                }
                other.stacks += 1;
                other.files += row.files;
            }
            None => self.rows.push(row),
        }
    }

    /// Rows by modality, description and shape: by nothing that belongs to a patient before these.
    pub fn sorted(&self) -> Vec<&ArchiveRow> {
        let mut rows: Vec<&ArchiveRow> = self.rows.iter().collect();
        let key = |row: &ArchiveRow| row.grid.map(|(shape, _)| shape);
        rows.sort_by(|a, b| {
            (&a.modality, &a.description, key(a), &a.series_uid, &a.code).cmp(&(
                &b.modality,
                &b.description,
                key(b),
                &b.series_uid,
                &b.code,
            ))
        });
        rows
    }

    /// Returns what was refused, by code.
    pub fn refused(&self) -> &BTreeMap<String, CodeGroup<RefusedExample>> {
        &self.refused
    }

    /// Files that were skipped, by code.
    pub fn skipped(&self) -> &BTreeMap<String, CodeGroup<String>> {
        &self.skipped
    }

    /// Writes the page about an archive: one file without scripts, which needs no network.
    ///
    /// # Errors
    /// When the page cannot be written.
    pub fn write(&self, title: &str, total: &Total, out: &Path) -> Result<(), ReportError> {
        super::put(&page::page(self, title, total), out)
    }
}

fn volume_row(volume: &FoundVolume) -> ArchiveRow {
    ArchiveRow {
        grid: Some((volume.shape, volume.spacing_mm)),
        notes: volume.notes.clone(),
        files: volume.files.len(),
        ..row(&volume.series_uid, &volume.tags)
    }
}

fn image_row(image: &FoundImage) -> ArchiveRow {
    let labels = if image.labels_of.is_some() { " labels" } else { "" };
    let folder = image.file.parent().unwrap_or(Path::new("")).shown();
    ArchiveRow {
        modality: image.format.clone(),
        description: format!("{} {}{labels}", image.file.shown(), image.voxel_type),
        grid: Some((image.shape, image.spacing_mm)),
        notes: image.notes.clone(),
        stacks: 1,
        files: 1,
        folder: format!("{folder}/* {}{labels}", image.voxel_type),
        ..ArchiveRow::default()
    }
}

fn refused_row(refused: &Refused) -> ArchiveRow {
    ArchiveRow {
        code: refused.reject.code.clone(),
        files: refused.files.len(),
        ..row(&refused.series_uid, &refused.tags)
    }
}

fn row(series_uid: &str, tags: &Tags) -> ArchiveRow {
    let tag = |keyword: &str| tags.get(keyword).cloned().unwrap_or_default();
    ArchiveRow {
        modality: tag("Modality"),
        description: tag("SeriesDescription"),
        manufacturer: tag("Manufacturer"),
        scanner: tag("ManufacturerModelName"),
        stacks: 1,
        series_uid: series_uid.to_owned(),
        ..ArchiveRow::default()
    }
}
