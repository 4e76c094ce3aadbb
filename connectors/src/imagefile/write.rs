//! Writing of voxels to bytes, in the smallest type that loses nothing.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::scalar::Scalar;
use crate::dicom::write::WriteError;
use crate::{Intensity, LabelMap, Volume};

/// The number of voxels converted at a time.
const PORTION: usize = 1 << 16;

/// The reason why a format cannot hold a volume.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unfit(pub(crate) String);

/// The error of a volume that a format cannot hold.
pub(crate) fn unfit(path: &Path, message: String) -> WriteError {
    WriteError::Encode { path: path.to_owned(), source: Box::new(Unfit(message)) }
}

/// The type of a scan's voxels: 16-bit integers when they are the values exactly, else floats.
pub(crate) fn scan_scalar<T: Intensity>(scan: &Volume<T>) -> Scalar {
    let whole = |value: &T| value.short().is_some();
    if scan.voxels().iter().all(whole) { Scalar::I16 } else { Scalar::F32 }
}

/// The type of a label map's voxels: 8 bits when all labels fit, else 16.
pub(crate) fn label_scalar(labels: &LabelMap) -> Scalar {
    if labels.voxels().iter().all(|&label| label <= 255) { Scalar::U8 } else { Scalar::U16 }
}

/// Writes the scan's voxels as little-endian `scalar`s, which is what [`scan_scalar`] said.
pub(crate) fn put_scan<T: Intensity>(
    out: &mut dyn Write,
    scan: &Volume<T>,
    scalar: Scalar,
) -> io::Result<()> {
    match scalar {
        Scalar::I16 => put(out, scan.voxels(), |value| value.short().unwrap_or_default().to_le_bytes()),
        _ => put(out, scan.voxels(), |value| value.float().to_le_bytes()),
    }
}

/// Writes the labels as little-endian `scalar`s, which is what [`label_scalar`] said.
pub(crate) fn put_labels(out: &mut dyn Write, labels: &LabelMap, scalar: Scalar) -> io::Result<()> {
    match scalar {
        Scalar::U8 => put(out, labels.voxels(), |label| [label as u8]),
        _ => put(out, labels.voxels(), u16::to_le_bytes),
    }
}

/// Writes voxels in portions, so that no second copy of a volume is held.
fn put<T: Copy, const N: usize>(
    out: &mut dyn Write,
    voxels: &[T],
    to_bytes: impl Fn(T) -> [u8; N],
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(PORTION * N);
    for portion in voxels.chunks(PORTION) {
        bytes.clear();
        for &voxel in portion {
            bytes.extend_from_slice(&to_bytes(voxel));
        }
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Writes a file through `fill`.
pub(crate) fn create(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), WriteError> {
    let failed = |source| WriteError::Io { path: path.to_owned(), source };
    let mut file = File::create(path).map_err(failed)?;
    fill(&mut file).map_err(failed)
}
