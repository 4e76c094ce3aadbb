//! MetaImage: `.mha`, and `.mhd` with its voxels in a file beside it.
//!
//! Patient space is LPS, as ITK writes it.

mod header;
mod write;

use std::path::Path;

use crate::imagefile::{Opened, Packing, Stream, beside, header_lines, unsupported_encoding};
use crate::{LabelMap, Reject, Scan};
use header::Header;

pub use crate::dicom::write::WriteError;
pub use write::{write_labels, write_scan};

/// Reads a scan.
///
/// # Errors
/// A [`Reject`] by name: `UNREADABLE`, `NOT_METAIMAGE`, `BAD_HEADER`, `BAD_GEOMETRY`,
/// `SEVERAL_VOLUMES`, `UNSUPPORTED_PIXEL_FORMAT`, `UNSUPPORTED_ENCODING`, `OUTSIDE_FOLDER`,
/// `TRUNCATED`, `IMPLAUSIBLE_SIZE`, `DECODE_FAILED`.
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

/// Opens a file: its grid, and the stream at the first voxel.
pub(crate) fn open(path: &Path) -> Result<Opened, Reject> {
    // The header's last line is the name of the data's file.
    let (lines, end) =
        header_lines(path, |line| header::pair(line).is_some_and(|(key, _)| key == "ElementDataFile"))?;
    let header = Header::parse(&lines)?;
    let named = header.data_file()?;
    if named.eq_ignore_ascii_case("LIST") || named.contains('%') {
        return Err(unsupported_encoding("a list of files"));
    }
    let local = named.eq_ignore_ascii_case("LOCAL");
    let (file, start) = if local { (path.to_owned(), end) } else { (beside(path, named)?, 0) };
    let packing = if header.compressed()? { Packing::Deflated } else { Packing::Raw };
    let stream = match header.skip()? {
        // The voxels are at the end, whatever comes before them.
        None if packing == Packing::Raw => Stream::open_tail(&file, header.bytes()?)?,
        None => return Err(unsupported_encoding("compressed voxels after a header of unknown size")),
        Some(skip) => Stream::open_at(&file, start.saturating_add(skip), packing)?,
    };
    let beside = (!local).then_some(file);
    let (layout, geometry) = (header.layout()?, header.geometry()?);
    Ok(Opened { layout, geometry, volumes: 1, stream, beside, notes: Vec::new() })
}
