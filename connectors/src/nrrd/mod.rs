//! NRRD: `.nrrd`, and `.nhdr` with its voxels in a file beside it, as 3D Slicer and others write them.

mod header;
mod segments;
mod write;

use std::path::Path;

use crate::imagefile::{Opened, Packing, Stream, beside, header_lines, unsupported_encoding};
use crate::{LabelMap, Reject, Scan};
use header::Header;

pub use crate::dicom::write::WriteError;
pub use segments::read_names;
pub use write::{write_labels, write_scan};

/// Reads a scan.
///
/// # Errors
/// A [`Reject`] by name: `UNREADABLE`, `NOT_NRRD`, `BAD_HEADER`, `BAD_GEOMETRY`, `SEVERAL_VOLUMES`,
/// `UNSUPPORTED_PIXEL_FORMAT`, `UNSUPPORTED_ENCODING`, `OUTSIDE_FOLDER`, `TRUNCATED`,
/// `IMPLAUSIBLE_SIZE`, `DECODE_FAILED`.
pub fn read_scan(path: &Path) -> Result<Scan, Reject> {
    open(path)?.scan()
}

/// Reads a label map: whole numbers from 0 to 65,535.
///
/// # Errors
/// The errors of [`read_scan`], and `NOT_A_LABEL_MAP` for other values.
pub fn read_labels(path: &Path) -> Result<LabelMap, Reject> {
    open(path)?.labels()
}

/// The header, and the offset of what follows it.
fn read_header(path: &Path) -> Result<(Header, u64), Reject> {
    let (lines, end) = header_lines(path, |line| line.is_empty())?;
    Ok((Header::parse(&lines)?, end))
}

/// Opens a file: its grid, and the stream at the first voxel.
pub(crate) fn open(path: &Path) -> Result<Opened, Reject> {
    let (header, end) = read_header(path)?;
    let (file, start) = match header.data_file() {
        None => (path.to_owned(), end),
        Some(named) if named.starts_with("LIST") || named.contains('%') => {
            return Err(unsupported_encoding("a list of files"));
        }
        Some(named) => (beside(path, named)?, 0),
    };
    let packing = header.packing()?;
    let stream = match header.skip()? {
        // The voxels are at the end, whatever comes before them.
        None if packing == Packing::Raw => Stream::open_tail(&file, header.bytes()?)?,
        None => return Err(unsupported_encoding("compressed voxels at the end of a file")),
        // Bytes to skip are counted after unpacking.
        Some(skip) => {
            let mut stream = Stream::open_at(&file, start, packing)?;
            stream.skip(skip)?;
            stream
        }
    };
    let beside = (file != path).then_some(file);
    let (layout, geometry) = (header.layout()?, header.geometry()?);
    let notes = header.note().into_iter().collect();
    Ok(Opened { layout, geometry, volumes: 1, stream, beside, notes })
}
