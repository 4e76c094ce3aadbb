//! Why an archive could not be written.

use std::path::PathBuf;

use super::{MAX_SIZE, MIN_SIZE};
use crate::connectors::dicom::write::WriteError;

/// An archive that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PhantomError {
    /// A matrix that no tumour fits into, or that no file holds.
    #[error(
        "a size [D, H, W] of at least {MIN_SIZE:?} and at most {MAX_SIZE:?} voxels expected, {found:?} found\n\
         hint: the order is slices, rows, columns, e.g. 24x96x96"
    )]
    Size {
        /// What was asked for.
        found: [usize; 3],
    },
    /// A degree of hardness or a distance of voxels that cannot be.
    #[error("{what} expected, {found} found\nhint: {hint}")]
    Setting {
        /// What was expected.
        what: &'static str,
        /// What was asked for.
        found: f64,
        /// The remedy.
        hint: &'static str,
    },
    /// A matrix that no liver fits into, or that no file holds.
    #[error(
        "a size [D, H, W] of at least {least:?} and at most {most:?} voxels expected, {found:?} found\n\
         hint: the order is slices, rows, columns, e.g. 40x96x96"
    )]
    LiverSize {
        /// What was asked for.
        found: [usize; 3],
        /// The smallest size allowed.
        least: [usize; 3],
        /// The largest size allowed.
        most: [usize; 3],
    },
    /// The folder cannot be made.
    #[error("cannot make the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}
