//! Segments from any bytes, by voxels of their own grid and drawn on others: both give the same voxels.

use tomoflow_connectors::dicom::{Record, read_record};
use tomoflow_connectors::dicom_seg::{Segmentation, read, read_with_threshold, record, study_of};
use tomoflow_connectors::rtstruct::Form;
use tomoflow_connectors::{Geometry, Reject};

/// The transfer syntaxes whose decoders are not ours: their panics, which are caught where they are called,
/// would end the fuzzer.
const THEIRS: [&[u8]; 4] = [
    b"1.2.840.10008.1.2.4.5",
    b"1.2.840.10008.1.2.4.7",
    b"1.2.840.10008.1.2.4.11",
    b"1.2.840.10008.1.2.4.10",
];
/// The number of voxels that a grid may have: time goes into headers.
const VOXELS: usize = 1 << 20;

/// Feeds the bytes of one file.
pub fn feed(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    // A refusal is as good as an answer here.
    drop(study_of(file.path()));
    let kept = match read_record(file.path()).unwrap() {
        Record::Outlines(outlines) if outlines.form == Form::Voxels => Some(outlines),
        _ => None,
    };
    if let Some(kept) = &kept {
        assert_eq!(record(bytes).as_ref(), Some(kept));
    }
    let theirs = |syntax: &[u8]| bytes.windows(syntax.len()).any(|window| window == syntax);
    if THEIRS.into_iter().any(theirs) {
        return;
    }
    let Ok(seg) = read(file.path()) else { return };
    let names: Vec<&str> = seg.segments().iter().map(|segment| segment.name.as_str()).collect();
    // What can be drawn is known to an index by its names.
    if let Some(kept) = kept {
        assert_eq!(kept.structures, names);
    }
    every_voxel(&seg);
    let some = read_with_threshold(file.path(), 0.25).unwrap();
    for (most, least) in some.segments().iter().zip(seg.segments()) {
        assert!(most.voxels() >= least.voxels());
    }
    let other = Geometry {
        size: [4, 16, 16],
        origin_mm: [-1.0, 2.0, 0.5],
        steps_mm: [[0.0, 0.2, 2.0], [0.0, 1.0, 0.0], [1.0, 0.0, -0.1]],
    };
    drop(seg.draw(|_| Some(1), &other));
}

/// Each segment as a mask, and drawn on the same grid.
fn every_voxel(seg: &Segmentation) {
    let grid = seg.geometry();
    if grid.size.iter().try_fold(1usize, |all, &n| all.checked_mul(n)).is_none_or(|n| n > VOXELS) {
        return;
    }
    for segment in seg.segments() {
        let mask = seg.mask(segment).unwrap();
        let counted = mask.voxels().iter().map(|&label| u64::from(label)).sum::<u64>();
        assert_eq!(counted, segment.voxels());
    }
    let drawn: Result<_, Reject> = seg.draw(|_| Some(1), grid);
    if let Ok(drawn) = drawn {
        assert_eq!(drawn.size(), grid.size);
    }
}
