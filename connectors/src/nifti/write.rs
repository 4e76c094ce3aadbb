//! Writing of volumes to NIfTI-1 files: sform, and a qform that agrees with it as far as a turn without shear
//! can.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::WriteError;
use super::pose::{turn, turned};
use crate::imagefile::{Scalar, create, label_scalar, put_labels, put_scan, scan_scalar, unfit};
use crate::{Geometry, Intensity, LabelMap, Volume};

/// The place where voxels begin: behind the header, and four bytes that say that no extension follows.
const VOXELS_AT: usize = 352;

/// Writes a scan, packed when the name ends in `.gz`: as 16-bit integers when these are its values
/// exactly, else as floats.
///
/// # Errors
/// [`WriteError`] when the file cannot be written, or an axis has over 32,767 voxels.
pub fn write_scan<T: Intensity>(path: &Path, scan: &Volume<T>) -> Result<(), WriteError> {
    let scalar = scan_scalar(scan);
    write(path, scan.geometry(), scalar, |out| put_scan(out, scan, scalar))
}

/// Writes a label map, packed when the name ends in `.gz`: in 8 bits when they suffice, else in 16.
///
/// # Errors
/// [`WriteError`] when the file cannot be written, or an axis has over 32,767 voxels.
pub fn write_labels(path: &Path, labels: &LabelMap) -> Result<(), WriteError> {
    let scalar = label_scalar(labels);
    write(path, labels.geometry(), scalar, |out| put_labels(out, labels, scalar))
}

fn write(
    path: &Path,
    geometry: &Geometry,
    scalar: Scalar,
    put: impl Fn(&mut dyn Write) -> io::Result<()>,
) -> Result<(), WriteError> {
    let header = header(geometry, scalar).ok_or_else(|| {
        unfit(path, format!("at most {} voxels along an axis expected, {:?} found", i16::MAX, geometry.size))
    })?;
    let packed = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    create(path, |file: &mut File| -> io::Result<()> {
        if packed {
            let mut encoder = GzEncoder::new(file, Compression::fast());
            encoder.write_all(&header)?;
            put(&mut encoder)?;
            encoder.finish()?;
            return Ok(());
        }
        file.write_all(&header)?;
        put(file)
    })
}

/// The header; `None` for a grid whose sizes have no room in it.
fn header(geometry: &Geometry, scalar: Scalar) -> Option<[u8; VOXELS_AT]> {
    let [depth, height, width] = geometry.size;
    let [d, h, w] = geometry.steps_mm;
    let spacing = geometry.spacing_mm();
    let sizes = [3, width, height, depth, 1, 1, 1, 1];
    let mut bytes = [0u8; VOXELS_AT];
    let mut put = |at: usize, value: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    };
    put(0, &348i32.to_le_bytes());
    put(38, b"r");
    for (axis, size) in sizes.into_iter().enumerate() {
        put(40 + 2 * axis, &i16::try_from(size).ok()?.to_le_bytes());
    }
    let (datatype, bits): (i16, i16) = match scalar {
        Scalar::U8 => (2, 8),
        Scalar::I16 => (4, 16),
        Scalar::U16 => (512, 16),
        _ => (16, 32),
    };
    put(70, &datatype.to_le_bytes());
    put(72, &bits.to_le_bytes());
    let columns = [turned(w), turned(h), turned(d)];
    let origin = turned(geometry.origin_mm);
    let turn = turn(columns, origin, [width, height, depth]);
    let mut float = |at: usize, value: f64| put(at, &(value as f32).to_le_bytes());
    for (axis, value) in
        [turn.handed, spacing[2], spacing[1], spacing[0], 1.0, 1.0, 1.0, 1.0].iter().enumerate()
    {
        float(76 + 4 * axis, *value);
    }
    float(108, VOXELS_AT as f64);
    float(112, 1.0);
    for (index, value) in turn.quaternion.iter().chain(&turn.origin).enumerate() {
        float(256 + 4 * index, *value);
    }
    for row in 0..3 {
        for (column, vector) in columns.iter().chain([&origin]).enumerate() {
            float(280 + 16 * row + 4 * column, vector[row]);
        }
    }
    // The units are millimetres and seconds.
    put(123, &[2 | 8]);
    put(148, b"tomoflow");
    put(252, &1i16.to_le_bytes());
    put(254, &1i16.to_le_bytes());
    put(344, b"n+1\0");
    Some(bytes)
}
