//! Writing of volumes to `.nrrd` files, label maps with their names as 3D Slicer reads them.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{WriteError, segments};
use crate::imagefile::{Scalar, create, label_scalar, put_labels, put_scan, scan_scalar};
use crate::{Geometry, Intensity, LabelMap, Volume};

/// Writes a scan: as 16-bit integers when these are its values exactly, else as floats.
///
/// # Errors
/// [`WriteError`] when the file cannot be written.
pub fn write_scan<T: Intensity>(path: &Path, scan: &Volume<T>) -> Result<(), WriteError> {
    let scalar = scan_scalar(scan);
    let header = header(scan.geometry(), scalar, "raw") + "\n";
    create(path, |file| file.write_all(header.as_bytes()).and_then(|()| put_scan(file, scan, scalar)))
}

/// Writes a label map, packed: in 8 bits when they suffice, else in 16. With `names` for its labels
/// (and a path that ends in `.seg.nrrd`) 3D Slicer opens it as a segmentation.
///
/// # Errors
/// [`WriteError`] when the file cannot be written.
pub fn write_labels(path: &Path, labels: &LabelMap, names: &[(u16, String)]) -> Result<(), WriteError> {
    let scalar = label_scalar(labels);
    let header = header(labels.geometry(), scalar, "gzip") + &segments::lines(labels, names) + "\n";
    create(path, |file| {
        file.write_all(header.as_bytes())?;
        let mut encoder = GzEncoder::new(file, Compression::fast());
        put_labels(&mut encoder, labels, scalar)?;
        encoder.finish().map(|_| ())
    })
}

fn header(geometry: &Geometry, scalar: Scalar, encoding: &str) -> String {
    let [depth, height, width] = geometry.size;
    let [d, h, w] = geometry.steps_mm;
    let vector = |[x, y, z]: [f64; 3]| format!("({x},{y},{z})");
    let kind = match scalar {
        Scalar::U8 => "unsigned char",
        Scalar::I16 => "short",
        Scalar::U16 => "unsigned short",
        _ => "float",
    };
    format!(
        "NRRD0004\n# Written by tomoflow\ntype: {kind}\ndimension: 3\nspace: left-posterior-superior\n\
         sizes: {width} {height} {depth}\nspace directions: {} {} {}\nkinds: domain domain domain\n\
         endian: little\nencoding: {encoding}\nspace origin: {}\n",
        vector(w),
        vector(h),
        vector(d),
        vector(geometry.origin_mm),
    )
}
