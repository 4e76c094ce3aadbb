//! Voxels to bytes, in the smallest type that loses nothing.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::scalar::Scalar;
use crate::dicom::write::WriteError;
use crate::{LabelMap, Scan};

/// What a format cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unfit(pub(crate) String);

/// The error of a volume that a format cannot hold.
pub(crate) fn unfit(path: &Path, message: String) -> WriteError {
    WriteError::Encode { path: path.to_owned(), source: Box::new(Unfit(message)) }
}

/// 16-bit integers when they are the values exactly, else floats.
pub(crate) fn scan_scalar(scan: &Scan) -> Scalar {
    let whole = |&value: &f32| f32::from(value as i16) == value;
    if scan.voxels().iter().all(whole) { Scalar::I16 } else { Scalar::F32 }
}

/// 8 bits when all labels fit, else 16.
pub(crate) fn label_scalar(labels: &LabelMap) -> Scalar {
    if labels.voxels().iter().all(|&label| label <= 255) { Scalar::U8 } else { Scalar::U16 }
}

/// The scan's voxels as little-endian `scalar`s, which is what [`scan_scalar`] said.
pub(crate) fn scan_bytes(scan: &Scan, scalar: Scalar) -> Vec<u8> {
    match scalar {
        Scalar::I16 => packed(scan.voxels(), |value| (value as i16).to_le_bytes()),
        _ => packed(scan.voxels(), f32::to_le_bytes),
    }
}

/// The labels as little-endian `scalar`s, which is what [`label_scalar`] said.
pub(crate) fn label_bytes(labels: &LabelMap, scalar: Scalar) -> Vec<u8> {
    match scalar {
        Scalar::U8 => packed(labels.voxels(), |label| [label as u8]),
        _ => packed(labels.voxels(), u16::to_le_bytes),
    }
}

fn packed<T: Copy, const N: usize>(voxels: &[T], to_bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(voxels.len() * N);
    for &voxel in voxels {
        bytes.extend_from_slice(&to_bytes(voxel));
    }
    bytes
}

/// Writes a file through `fill`.
pub(crate) fn create(
    path: &Path,
    fill: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<(), WriteError> {
    let failed = |source| WriteError::Io { path: path.to_owned(), source };
    let mut file = File::create(path).map_err(failed)?;
    fill(&mut file).map_err(failed)
}

/// Bytes as a zlib stream.
pub(crate) fn deflated(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}
