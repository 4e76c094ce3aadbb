//! NIfTI: `.nii` and `.nii.gz`, version 1 and, for reading, version 2, and pairs of `.hdr` and `.img`.
//!
//! Files speak of right, anterior and superior; here and there the first two world axes are turned.

mod header;
mod pose;
mod write;

use std::path::{Path, PathBuf};

use crate::imagefile::{Opened, Stream};
use crate::{LabelMap, Reject, Scan, container};
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
/// The errors of [`read_scan`], and `NOT_A_LABEL_MAP` for other values.
pub fn read_labels(path: &Path) -> Result<LabelMap, Reject> {
    open(path)?.labels()
}

/// Opens a file: its grid, and the stream at the first voxel.
pub(crate) fn open(path: &Path) -> Result<Opened, Reject> {
    let mut stream = Stream::open(path)?;
    let (header, read) = Header::read(&mut stream)?;
    let (layout, geometry, volumes) = (header.layout()?, header.geometry()?, header.volumes()?);
    let notes = header.notes(&geometry);
    if !header.pair {
        stream.skip(header.voxels_at.saturating_sub(read))?;
        return Ok(Opened { layout, geometry, volumes, stream, beside: None, notes });
    }
    let voxels = voxels_of(path)?;
    let mut stream = Stream::open(&voxels)?;
    stream.skip(header.voxels_at)?;
    Ok(Opened { layout, geometry, volumes, stream, beside: Some(voxels), notes })
}

/// The names that the voxels of the header `x.hdr` may have; its own name is without `.gz`.
pub(crate) fn voxels_beside(header: &Path) -> [std::ffi::OsString; 2] {
    let upper = header.extension().is_some_and(|ending| ending == "HDR");
    let endings = if upper { ["IMG", "IMG.GZ"] } else { ["img", "img.gz"] };
    endings.map(|ending| header.with_extension(ending).file_name().unwrap_or_default().to_owned())
}

/// The path of a header's voxels.
fn voxels_of(header: &Path) -> Result<PathBuf, Reject> {
    let packed = header.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"));
    let own = if packed { header.file_stem().map(Path::new) } else { Some(header) };
    let mut names = own.map(voxels_beside).unwrap_or_default();
    // Packed voxels are taken beside a packed header, where there are both.
    if packed {
        names.reverse();
    }
    let paths = names.each_ref().map(|name| header.with_file_name(name));
    let found = paths.iter().find(|path| container::stat(path).is_ok());
    found.cloned().ok_or_else(|| {
        let [first, second] = names.map(|name| name.to_string_lossy().into_owned());
        let message = format!(
            "the voxels of a pair expected beside its header, neither `{first}` nor `{second}` found"
        );
        Reject::new("TRUNCATED", message, "copy the `.img` as well, or convert the pair to .nii")
    })
}
