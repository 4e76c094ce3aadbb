//! Outlines from any bytes, drawn on a small grid.

use tomoflow_connectors::Geometry;
use tomoflow_connectors::dicom::read_record;
use tomoflow_connectors::rtstruct::{rasterise, read_structures};

/// Feeds the bytes of one file.
pub fn feed(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    read_record(file.path()).unwrap();
    if let Ok(set) = read_structures(file.path()) {
        let geometry = Geometry::axis_aligned([4, 16, 16], [2.0, 1.0, 1.0]);
        // A refusal is as good as an answer here.
        drop(rasterise(&set, &|_| Some(1), &geometry));
    }
}
