//! NIfTI: `.nii` and `.nii.gz`, version 1 and, for reading, version 2.
//!
//! Files speak of right, anterior and superior; here and there the first two world axes are turned.

mod header;
mod pose;
mod write;

use std::path::Path;

use crate::imagefile::{Opened, Stream};
use crate::{LabelMap, Reject, Scan};
use header::Header;

pub use crate::dicom::write::WriteError;
pub use write::{write_labels, write_scan};

/// Reads a scan.
///
/// # Units
/// mm, in LPS, whatever the file says of its own.
///
/// # Errors
/// A [`Reject`] by name: `UNREADABLE`, `NOT_NIFTI`, `BAD_HEADER`, `BAD_GEOMETRY`, `BAD_RESCALE`,
/// `SEVERAL_VOLUMES`, `UNSUPPORTED_PIXEL_FORMAT`, `UNSUPPORTED_ENCODING`, `TRUNCATED`,
/// `IMPLAUSIBLE_SIZE`, `DECODE_FAILED`.
pub fn read_scan(path: &Path) -> Result<Scan, Reject> {
    open(path)?.scan()
}

/// Reads a label map: whole numbers from 0 to 65,535, after slope and intercept.
///
/// # Errors
/// As [`read_scan`], and `NOT_A_LABEL_MAP` for other values.
pub fn read_labels(path: &Path) -> Result<LabelMap, Reject> {
    open(path)?.labels()
}

/// The grid, and the stream at the first voxel.
pub(crate) fn open(path: &Path) -> Result<Opened, Reject> {
    let mut stream = Stream::open(path)?;
    let (header, read) = Header::read(&mut stream)?;
    stream.skip(header.voxels_at.saturating_sub(read))?;
    Ok(Opened { layout: header.layout()?, geometry: header.geometry()?, stream, beside: None })
}
