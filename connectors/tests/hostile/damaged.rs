//! Damaged files of every format: a refusal or a value, never a panic, and never room for what a header
//! merely claims.

use std::path::Path;

use crate::volumes::seg::header;
use proptest::prelude::*;
use tomoflow_connectors::dicom_seg::{self, Algorithm, Encoding, SegmentText};
use tomoflow_connectors::{Geometry, LabelMap, Scan, metaimage, nifti, nrrd};

/// The largest request for memory in bytes: files here hold a few thousand bytes, of which deflate may make a
/// thousandfold.
const LARGE: usize = 32 << 20;

const NAMES: [&str; 9] =
    ["s.nii", "l.nii.gz", "s.mha", "l.mha", "s.nrrd", "l.seg.nrrd", "split.mhd", "b.dcm", "m.dcm"];

/// A valid file of each format.
fn write_all(folder: &Path) {
    let grid = Geometry::axis_aligned([3, 9, 11], [2.0, 0.5, 0.75]);
    let labels = LabelMap::new(grid.clone(), (0..297u32).map(|i| (i * i % 3) as u16).collect()).unwrap();
    let scan = Scan::new(grid, (0..297).map(|i| i as f32 * 0.5).collect()).unwrap();
    let at = |name: &str| folder.join(name);
    nifti::write_scan(&at("s.nii"), &scan).unwrap();
    nifti::write_labels(&at("l.nii.gz"), &labels).unwrap();
    metaimage::write_scan(&at("s.mha"), &scan).unwrap();
    metaimage::write_labels(&at("l.mha"), &labels).unwrap();
    nrrd::write_scan(&at("s.nrrd"), &scan).unwrap();
    nrrd::write_labels(&at("l.seg.nrrd"), &labels, &[(1, "a".to_owned()), (2, "b".to_owned())]).unwrap();
    std::fs::write(at("voxels.raw"), vec![1; 297]).unwrap();
    let split = "ObjectType = Image\nNDims = 3\nDimSize = 11 9 3\nElementSpacing = 1 1 1\nHeaderSize = -1\n\
        ElementType = MET_UCHAR\nElementDataFile = voxels.raw\n";
    std::fs::write(at("split.mhd"), split).unwrap();
    let text = |label| SegmentText::new(label, &format!("label {label}"), Algorithm::Manual);
    for (name, encoding) in [("b.dcm", Encoding::Binary), ("m.dcm", Encoding::LabelMap)] {
        dicom_seg::write(&at(name), &header(3), &labels, &[text(1), text(2)], encoding).unwrap();
    }
}

/// Reads a file in every way that its format knows; returns whether one of them gave a value.
fn read(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    if name.ends_with(".dcm") {
        dicom_seg::record(&std::fs::read(path).unwrap());
        let Ok(seg) = dicom_seg::read(path) else { return false };
        let target = Geometry::axis_aligned([3, 9, 11], [2.0, 0.5, 0.75]);
        // A damaged position may lie anywhere.
        return seg.draw(|_| Some(1), &target).is_ok();
    }
    let (scan, labels) = match name.rsplit('.').next() {
        Some("mha" | "mhd") => (metaimage::read_scan(path), metaimage::read_labels(path)),
        Some("nrrd") => {
            let _ = nrrd::read_names(path);
            (nrrd::read_scan(path), nrrd::read_labels(path))
        }
        _ => (nifti::read_scan(path), nifti::read_labels(path)),
    };
    scan.is_ok() || labels.is_ok()
}

/// The damage to a file: bytes replaced by place and value, then cut.
type Damage = (Vec<(prop::sample::Index, u8)>, Option<prop::sample::Index>);

fn damages() -> impl Strategy<Value = Damage> {
    let value = prop_oneof![any::<u8>(), Just(0), Just(255), b'0'..=b'9', Just(b'-'), Just(b' ')];
    let bytes = proptest::collection::vec((any::<prop::sample::Index>(), value), 0..6);
    (bytes, proptest::option::weighted(0.3, any::<prop::sample::Index>()))
}

#[test]
fn whole_files_are_read() {
    let _alone = crate::noting::alone();
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path());
    for name in NAMES {
        assert!(read(&folder.path().join(name)), "{name}");
    }
}

#[test]
fn no_damage_panics_or_takes_much_memory() {
    let _alone = crate::noting::alone();
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path());
    for name in NAMES {
        let path = folder.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        // Headers matter most: half of the damage goes to the first bytes.
        let head = whole.len().min(400);
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let outcome = runner.run(&(damages(), any::<bool>()), |((bytes, cut), early)| {
            let mut damaged = whole.clone();
            for (place, value) in &bytes {
                let place = place.index(if early { head } else { whole.len() });
                damaged[place] = *value;
            }
            damaged.truncate(cut.map_or(whole.len(), |cut| cut.index(whole.len())));
            // A new file: replacing one in place waits for the disk on some file systems.
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, &damaged).unwrap();
            crate::noting::begin();
            read(&path);
            let largest = crate::noting::largest();
            prop_assert!(largest < LARGE, "{} bytes at once", largest);
            Ok(())
        });
        assert!(outcome.is_ok(), "{name}: {}", outcome.unwrap_err());
    }
}
