//! Writing of volumes to `.mha` files, header and voxels in one.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::WriteError;
use crate::imagefile::{Scalar, create, label_scalar, put_labels, put_scan, scan_scalar};
use crate::{Geometry, Intensity, LabelMap, Volume};

/// Writes a scan: as 16-bit integers when these are its values exactly, else as floats.
///
/// # Errors
/// [`WriteError`] when the file cannot be written.
pub fn write_scan<T: Intensity>(path: &Path, scan: &Volume<T>) -> Result<(), WriteError> {
    let scalar = scan_scalar(scan);
    let header = header(scan.geometry(), scalar, None);
    create(path, |file| file.write_all(header.as_bytes()).and_then(|()| put_scan(file, scan, scalar)))
}

/// Writes a label map, compressed: in 8 bits when they suffice, else in 16.
///
/// # Errors
/// [`WriteError`] when the file cannot be written.
pub fn write_labels(path: &Path, labels: &LabelMap) -> Result<(), WriteError> {
    let scalar = label_scalar(labels);
    create(path, |file| {
        // The header says how long the packed voxels are.
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        put_labels(&mut encoder, labels, scalar)?;
        let packed = encoder.finish()?;
        let header = header(labels.geometry(), scalar, Some(packed.len()));
        file.write_all(header.as_bytes())?;
        file.write_all(&packed)
    })
}

fn header(geometry: &Geometry, scalar: Scalar, compressed: Option<usize>) -> String {
    let [depth, height, width] = geometry.size;
    let [d, h, w] = geometry.spacing_mm();
    let [steps_d, steps_h, steps_w] = geometry.steps_mm;
    let axes = [(steps_w, w), (steps_h, h), (steps_d, d)];
    let cosines = axes.iter().flat_map(|(step, length)| step.map(|x| x / length));
    let element = match scalar {
        Scalar::U8 => "MET_UCHAR",
        Scalar::I16 => "MET_SHORT",
        Scalar::U16 => "MET_USHORT",
        _ => "MET_FLOAT",
    };
    let compression = match compressed {
        Some(bytes) => format!("CompressedData = True\nCompressedDataSize = {bytes}\n"),
        None => "CompressedData = False\n".to_owned(),
    };
    format!(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{compression}\
         TransformMatrix = {}\nOffset = {}\nCenterOfRotation = 0 0 0\nAnatomicalOrientation = RAI\n\
         ElementSpacing = {w} {h} {d}\nDimSize = {width} {height} {depth}\nElementType = {element}\n\
         ElementDataFile = LOCAL\n",
        words(cosines),
        words(geometry.origin_mm),
    )
}

fn words(values: impl IntoIterator<Item = f64>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
}
