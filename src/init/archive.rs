//! What a folder was recognised as, before it is written down as a pipeline.

use std::path::PathBuf;

/// A table of the pipeline file: its comments, its heading and its fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// The heading of its TOML table: `sources.scans`.
    pub heading: String,
    /// The reasons why it is as it is, a paragraph each.
    pub why: Vec<String>,
    /// Fields and their values as TOML has them.
    pub fields: Vec<(String, String)>,
    /// What could be written as well, behind the fields, as comments.
    pub after: Vec<String>,
}

impl Block {
    /// A table of this heading, with its `type`.
    pub fn new(heading: &str, kind: &str) -> Self {
        let fields = vec![("type".to_owned(), super::toml::text(kind))];
        Self { heading: heading.to_owned(), fields, ..Self::default() }
    }

    /// Returns the block with one field more.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<String>) -> Self {
        self.fields.push((field.to_owned(), value.into()));
        self
    }

    /// Returns the block with a reason more.
    #[must_use]
    pub fn why(mut self, reason: impl Into<String>) -> Self {
        self.why.push(reason.into());
        self
    }

    /// Returns the block with a remark behind it.
    #[must_use]
    pub fn after(mut self, remark: impl Into<String>) -> Self {
        self.after.push(remark.into());
        self
    }
}

/// A scan as far as settings follow from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The file, of one that lies in a file.
    pub file: Option<PathBuf>,
    /// Distances between its voxels along `[D, H, W]`, mm.
    pub spacing_mm: [f64; 3],
    /// The size in slices, rows and columns.
    pub size: [usize; 3],
    /// The directions in which columns, rows and slices grow: `LPS`.
    pub axes: String,
    /// Whether it has labels.
    pub labelled: bool,
}

/// What a folder was recognised as.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    /// What it was taken for.
    pub layout: String,
    /// The sources, and the operators that make cases of them.
    pub blocks: Vec<Block>,
    /// The name of the stage that gives cases.
    pub cases: String,
    /// Its scans, those without labels among them.
    pub scans: Vec<Seen>,
    /// The names of the channels of each scan; none of scans of one.
    pub channels: Vec<String>,
    /// The labels, by name; none where there is nothing to learn.
    pub labels: Vec<String>,
    /// The modality as DICOM calls it, or empty.
    pub modality: String,
    /// How the modality is known.
    pub modality_from: String,
    /// The file that says who is trained on, as the pipeline file names it, with its folds.
    pub split: Option<String>,
    /// What was left out, guessed or not found.
    pub told: Vec<String>,
}

impl Archive {
    /// Counts the scans with labels.
    pub fn labelled(&self) -> usize {
        self.scans.iter().filter(|scan| scan.labelled).count()
    }

    /// Whether there is something to learn.
    pub fn learns(&self) -> bool {
        !self.labels.is_empty() && self.labelled() > 0
    }
}
