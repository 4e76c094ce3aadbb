//! NRRD files: what is written comes back, what a header says is what is read, the rest is refused.

use std::path::PathBuf;

use crate::volumes::{Axes, apart_mm, label_maps, scans};
use proptest::prelude::*;
use tempfile::TempDir;
use tomoflow_connectors::nrrd::{read_labels, read_names, read_scan, write_labels, write_scan};
use tomoflow_connectors::{Geometry, LabelMap};

const HEADER: &str = "NRRD0004\n# a comment\ntype: short\ndimension: 3\nspace: left-posterior-superior\n\
    sizes: 2 1 2\nspace directions: (0,0.5,0) (-2,0,0) (0,0,3)\nkinds: domain domain domain\n\
    endian: little\nencoding: raw\nspace origin: (10,-20,30.5)\nkey:=value\n";

/// The numbers 1, -2, 3, 4 as little-endian shorts.
const SHORTS: [u8; 8] = [1, 0, 0xFE, 0xFF, 3, 0, 4, 0];

fn folder_with(files: &[(&str, &[u8])]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let path = folder.path().join(files[0].0);
    (folder, path)
}

fn attached(header: &str, voxels: &[u8]) -> (TempDir, PathBuf) {
    folder_with(&[("a.nrrd", &[header.as_bytes(), b"\n", voxels].concat())])
}

fn code(header: &str, voxels: &[u8]) -> String {
    let (_folder, path) = attached(header, voxels);
    read_scan(&path).unwrap_err().code
}

#[test]
fn directions_are_steps_and_spaces_turn_them() {
    let (_folder, path) = attached(HEADER, &SHORTS);
    let scan = read_scan(&path).unwrap();
    assert_eq!(scan.voxels(), [1.0, -2.0, 3.0, 4.0]);
    assert_eq!(scan.geometry().steps_mm, [[0.0, 0.0, 3.0], [-2.0, 0.0, 0.0], [0.0, 0.5, 0.0]]);
    assert_eq!(scan.geometry().origin_mm, [10.0, -20.0, 30.5]);
    for (space, origin, step) in [
        ("right-anterior-superior", [-10.0, 20.0, 30.5], [2.0, 0.0, 0.0]),
        ("RAS", [-10.0, 20.0, 30.5], [2.0, 0.0, 0.0]),
        ("left-anterior-superior", [10.0, 20.0, 30.5], [-2.0, 0.0, 0.0]),
    ] {
        let (_folder, path) = attached(&HEADER.replace("left-posterior-superior", space), &SHORTS);
        let scan = read_scan(&path).unwrap();
        assert_eq!((scan.geometry().origin_mm, scan.geometry().steps_mm[1]), (origin, step), "{space}");
    }
    assert_eq!(code(&HEADER.replace("left-posterior-superior", "scanner-xyz"), &SHORTS), "BAD_GEOMETRY");
}

#[test]
fn spacings_do_without_a_space() {
    let header = "NRRD0001\ntype: uchar\ndimension: 2\nsizes: 2 1\nspacings: 0.5 0.25\nencoding: raw\n";
    let (_folder, path) = attached(header, &[7, 8]);
    let labels = read_labels(&path).unwrap();
    assert_eq!(labels.voxels(), [7, 8]);
    assert_eq!(labels.geometry().spacing_mm(), [1.0, 0.25, 0.5]);
}

#[test]
fn a_first_place_along_axes_that_is_not_used_is_noted() {
    let header = "NRRD0001\ntype: uchar\ndimension: 2\nsizes: 2 1\nspacings: 0.5 0.25\nencoding: raw\n";
    let notes = |more: &str| {
        let (_folder, path) = attached(&format!("{header}{more}"), &[7, 8]);
        tomoflow_connectors::imagefile::read_image_head(&path, |_| false).unwrap().unwrap().unwrap().notes
    };
    assert_eq!(notes("axis mins: -10 4\n"), ["AXIS_MINS_UNUSED: -10 4, the origin is taken for 0"]);
    assert_eq!(notes("axismins: 0 2\n").len(), 1);
    for unused in ["", "axis mins: nan nan\n", "axis mins: 0 0\n", "axis maxs: 3 4\n"] {
        assert_eq!(notes(unused), [""; 0], "{unused}");
    }
}

#[test]
fn voxels_may_lie_beside_the_header_and_nowhere_else() {
    let named = |name: &str| format!("{HEADER}data file: {name}\n\n");
    let (_folder, path) = folder_with(&[("a.nhdr", named("a.raw").as_bytes()), ("a.raw", &SHORTS)]);
    assert_eq!(read_scan(&path).unwrap().voxels(), [1.0, -2.0, 3.0, 4.0]);
    for (name, code) in
        [("../a.raw", "OUTSIDE_FOLDER"), ("/a.raw", "OUTSIDE_FOLDER"), ("LIST", "UNSUPPORTED_ENCODING")]
    {
        std::fs::write(&path, named(name)).unwrap();
        assert_eq!(read_scan(&path).unwrap_err().code, code, "{name}");
    }
    for skip in ["-1", "2"] {
        let header = format!("{HEADER}byte skip: {skip}\ndata file: a.raw\n\n");
        let raw = [&[9, 9][..], &SHORTS].concat();
        let (_folder, path) = folder_with(&[("a.nhdr", header.as_bytes()), ("a.raw", &raw)]);
        assert_eq!(read_scan(&path).unwrap().voxels(), [1.0, -2.0, 3.0, 4.0]);
    }
}

#[test]
fn an_axis_outside_space_may_have_one_value() {
    let header = HEADER
        .replace("dimension: 3", "dimension: 4")
        .replace("sizes: 2", "sizes: 1 2")
        .replace("directions: ", "directions: none ");
    let (_folder, path) = attached(&header, &SHORTS);
    assert_eq!(read_scan(&path).unwrap().size(), [2, 1, 2]);
    assert_eq!(code(&header.replace("sizes: 1", "sizes: 3"), &SHORTS.repeat(3)), "SEVERAL_VOLUMES");
    let colour =
        "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 3 2 2\nkinds: RGB-color domain domain\nencoding: raw\n";
    assert_eq!(code(colour, &[0; 12]), "SEVERAL_VOLUMES");
}

#[test]
fn every_type_is_read() {
    macro_rules! check {
        ($($name:literal: $kind:ty),*) => {$({
            let header = HEADER.replace("short", $name).replace("little", "big");
            let voxels = [1 as $kind, 2 as $kind, 3 as $kind, 120 as $kind].map(|v| v.to_be_bytes()).concat();
            let (_folder, path) = attached(&header, &voxels);
            assert_eq!(read_labels(&path).unwrap().voxels(), [1, 2, 3, 120], $name);
        })*};
    }
    check!("signed char": i8, "uint8": u8, "int16_t": i16, "unsigned short": u16, "int": i32,
        "unsigned int": u32, "long long": i64, "ulonglong": u64, "float": f32, "double": f64);
}

#[test]
fn broken_headers_are_refused_by_name() {
    let with = |from: &str, to: &str| code(&HEADER.replace(from, to), &SHORTS);
    assert_eq!(with("NRRD0004", "NRRD"), "NOT_NRRD");
    assert_eq!(with("encoding: raw", "encoding: ascii"), "UNSUPPORTED_ENCODING");
    assert_eq!(with("encoding: raw", "encoding: gzip"), "DECODE_FAILED");
    assert_eq!(with("encoding: raw", "encoding: raw\nline skip: 3"), "UNSUPPORTED_ENCODING");
    assert_eq!(with("type: short", "type: block"), "UNSUPPORTED_PIXEL_FORMAT");
    assert_eq!(with("endian: little", "endian: middle"), "BAD_HEADER");
    assert_eq!(with("sizes: 2 1 2", "sizes: 2 1"), "BAD_HEADER");
    assert_eq!(with("sizes: 2 1 2", "sizes: 2 9 2"), "TRUNCATED");
    assert_eq!(with("dimension: 3", "dimension: 0"), "BAD_HEADER");
    assert_eq!(with("(-2,0,0)", "(0,2,0)"), "BAD_GEOMETRY");
    assert_eq!(with("(-2,0,0)", "(0,2)"), "BAD_HEADER");
    assert_eq!(with("(-2,0,0)", ""), "BAD_HEADER");
    assert_eq!(with("(10,-20,30.5)", "(10,inf,30.5)"), "BAD_GEOMETRY");
}

#[test]
fn names_of_labels_come_back() {
    let labels = LabelMap::new(Geometry::axis_aligned([1, 2, 3], [1.0; 3]), vec![0, 2, 2, 0, 0, 2]).unwrap();
    let names = vec![(2, "tumour \\ left\nside".to_owned()), (5, "cochlea".to_owned())];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.seg.nrrd");
    write_labels(&path, &labels, &names).unwrap();
    assert_eq!(read_names(&path).unwrap(), names);
    assert_eq!(read_labels(&path).unwrap(), labels);
    let bytes = std::fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("\nSegment0_Extent:=1 2 0 1 0 0\n"), "{text}");
    assert!(text.contains("\nSegment1_Extent:=0 -1 0 -1 0 -1\n"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn scans_come_back(scan in scans(Axes::Sheared)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nrrd");
        write_scan(&path, &scan).unwrap();
        let back = read_scan(&path).unwrap();
        prop_assert_eq!(back.voxels(), scan.voxels());
        prop_assert!(apart_mm(back.geometry(), scan.geometry()) < 1e-9);
    }

    #[test]
    fn label_maps_come_back(labels in label_maps(Axes::Sheared, u16::MAX)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nrrd");
        write_labels(&path, &labels, &[]).unwrap();
        let back = read_labels(&path).unwrap();
        prop_assert_eq!(back.voxels(), labels.voxels());
        prop_assert!(apart_mm(back.geometry(), labels.geometry()) < 1e-9);
    }
}
