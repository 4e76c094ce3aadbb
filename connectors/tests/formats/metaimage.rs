//! MetaImage files: what is written comes back, what a header says is what is read, the rest is refused.

use std::io::Write;
use std::path::PathBuf;

use crate::volumes::{Axes, apart_mm, label_maps, scans};
use proptest::prelude::*;
use tempfile::TempDir;
use tomoflow_connectors::metaimage::{read_labels, read_scan, write_labels, write_scan};

const HEADER: &str = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n\
    CompressedData = False\nTransformMatrix = 0 1 0 -1 0 0 0 0 1\nOffset = 10 -20 30.5\n\
    CenterOfRotation = 0 0 0\nElementSpacing = 0.5 2 3\nDimSize = 2 1 2\nElementType = MET_SHORT\n";

fn folder_with(files: &[(&str, &[u8])]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let path = folder.path().join(files[0].0);
    (folder, path)
}

fn local(header: &str, voxels: &[u8]) -> (TempDir, PathBuf) {
    let bytes = [header.as_bytes(), b"ElementDataFile = LOCAL\n", voxels].concat();
    folder_with(&[("a.mha", &bytes)])
}

fn code(header: &str, voxels: &[u8]) -> String {
    let (_folder, path) = local(header, voxels);
    read_scan(&path).unwrap_err().code
}

/// The numbers 1, -2, 3, 4 as little-endian shorts.
const SHORTS: [u8; 8] = [1, 0, 0xFE, 0xFF, 3, 0, 4, 0];

#[test]
fn each_axis_has_its_direction() {
    let (_folder, path) = local(HEADER, &SHORTS);
    let scan = read_scan(&path).unwrap();
    assert_eq!(scan.voxels(), [1.0, -2.0, 3.0, 4.0]);
    assert_eq!(scan.size(), [2, 1, 2]);
    assert_eq!(scan.geometry().steps_mm, [[0.0, 0.0, 3.0], [-2.0, 0.0, 0.0], [0.0, 0.5, 0.0]]);
    assert_eq!(scan.geometry().origin_mm, [10.0, -20.0, 30.5]);
}

#[test]
fn keys_have_several_names() {
    let other = HEADER
        .replace("TransformMatrix", "Rotation")
        .replace("Offset", "Position")
        .replace("BinaryDataByteOrderMSB = False", "ElementByteOrderMSB = True")
        .replace("ElementSpacing", "ElementSize");
    let swapped: Vec<u8> = SHORTS.chunks(2).flat_map(|pair| [pair[1], pair[0]]).collect();
    let (_folder, path) = local(HEADER, &SHORTS);
    let (_other, other) = local(&other, &swapped);
    assert_eq!(read_scan(&path).unwrap(), read_scan(&other).unwrap());
}

#[test]
fn voxels_may_lie_beside_the_header_and_nowhere_else() {
    let named = |name: &str| format!("{HEADER}ElementDataFile = {name}\n");
    let (folder, path) = folder_with(&[("a.mhd", named("a.raw").as_bytes()), ("a.raw", &SHORTS)]);
    assert_eq!(read_scan(&path).unwrap().voxels(), [1.0, -2.0, 3.0, 4.0]);
    let outside = folder.path().join("a.raw").display().to_string();
    for name in ["../a.raw", &outside, "x/../../a.raw"] {
        std::fs::write(&path, named(name)).unwrap();
        assert_eq!(read_scan(&path).unwrap_err().code, "OUTSIDE_FOLDER", "{name}");
    }
    std::fs::write(&path, named("b.raw")).unwrap();
    assert_eq!(read_scan(&path).unwrap_err().code, "UNREADABLE");
    std::fs::write(&path, named("LIST")).unwrap();
    assert_eq!(read_scan(&path).unwrap_err().code, "UNSUPPORTED_ENCODING");
}

#[test]
fn compressed_voxels_are_zlib_or_gzip() {
    let header =
        HEADER.replace("CompressedData = False", "CompressedData = True") + "ElementDataFile = a.zraw\n";
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(&SHORTS).unwrap();
    gzip.write_all(&SHORTS).unwrap();
    for packed in [zlib.finish().unwrap(), gzip.finish().unwrap()] {
        let (_folder, path) = folder_with(&[("a.mhd", header.as_bytes()), ("a.zraw", &packed)]);
        assert_eq!(read_scan(&path).unwrap().voxels(), [1.0, -2.0, 3.0, 4.0]);
    }
}

#[test]
fn voxels_may_follow_another_header() {
    for size in ["-1", "3"] {
        let header = format!("{HEADER}HeaderSize = {size}\nElementDataFile = a.raw\n");
        let raw = [&[9, 9, 9][..], &SHORTS].concat();
        let (_folder, path) = folder_with(&[("a.mhd", header.as_bytes()), ("a.raw", &raw)]);
        assert_eq!(read_scan(&path).unwrap().voxels(), [1.0, -2.0, 3.0, 4.0]);
    }
}

#[test]
fn two_axes_are_one_slice() {
    let header = "NDims = 2\nDimSize = 2 1\nElementSpacing = 0.5 0.5\nElementType = MET_UCHAR\n";
    let (_folder, path) = local(header, &[7, 8]);
    let labels = read_labels(&path).unwrap();
    assert_eq!((labels.size(), labels.voxels()), ([1, 1, 2], &[7u16, 8][..]));
    assert_eq!(labels.geometry().spacing_mm(), [1.0, 0.5, 0.5]);
}

#[test]
fn every_type_is_read() {
    macro_rules! check {
        ($($name:literal: $kind:ty),*) => {$({
            let header = HEADER.replace("MET_SHORT", $name).replace("MSB = False", "MSB = True");
            let voxels = [1 as $kind, 2 as $kind, 3 as $kind, 120 as $kind].map(|v| v.to_be_bytes()).concat();
            let (_folder, path) = local(&header, &voxels);
            assert_eq!(read_labels(&path).unwrap().voxels(), [1, 2, 3, 120], $name);
        })*};
    }
    check!("MET_CHAR": i8, "MET_UCHAR": u8, "MET_SHORT": i16, "MET_USHORT": u16, "MET_INT": i32, "MET_UINT": u32,
        "MET_LONG": i32, "MET_ULONG": u32, "MET_LONG_LONG": i64, "MET_ULONG_LONG": u64, "MET_FLOAT": f32,
        "MET_DOUBLE": f64);
}

#[test]
fn broken_headers_are_refused_by_name() {
    let with = |from: &str, to: &str| code(&HEADER.replace(from, to), &SHORTS);
    assert_eq!(code("hello\n", &SHORTS), "NOT_METAIMAGE");
    assert_eq!(with("= Image", "= Tube"), "BAD_HEADER");
    assert_eq!(with("DimSize = 2 1 2", "DimSize = 2 1"), "BAD_HEADER");
    assert_eq!(with("DimSize = 2 1 2", "DimSize = 2 0 2"), "BAD_HEADER");
    assert_eq!(with("DimSize = 2 1 2", "DimSize = 99999999999 99999999999 2"), "BAD_HEADER");
    assert_eq!(with("DimSize = 2 1 2", "DimSize = 2000 2000 2"), "TRUNCATED");
    assert_eq!(with("= 0.5 2 3", "= 0 2 3"), "BAD_GEOMETRY");
    assert_eq!(with("= 0.5 2 3", "= 0.5 nan 3"), "BAD_GEOMETRY");
    for length in ["1e300", "1e-300", "2e6", "5e-10"] {
        assert_eq!(with("= 0.5 2 3", &format!("= {length} 2 3")), "BAD_GEOMETRY", "{length}");
    }
    assert_eq!(with("0 1 0 -1 0 0 0 0 1", "0 1 0 0 1 0 0 0 1"), "BAD_GEOMETRY");
    assert_eq!(with("MET_SHORT", "MET_STRING"), "UNSUPPORTED_PIXEL_FORMAT");
    assert_eq!(with("MET_SHORT\n", "MET_SHORT\nElementNumberOfChannels = 3\n"), "UNSUPPORTED_PIXEL_FORMAT");
    assert_eq!(with("BinaryData = True", "BinaryData = False"), "UNSUPPORTED_ENCODING");
    let volumes = "NDims = 4\nDimSize = 1 1 1 2\nElementType = MET_UCHAR\n";
    assert_eq!(code(volumes, &SHORTS), "SEVERAL_VOLUMES");
    assert_eq!(
        code(&HEADER.replace("CompressedData = False", "CompressedData = True"), &SHORTS),
        "DECODE_FAILED"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn scans_come_back(scan in scans(Axes::Sheared)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mha");
        write_scan(&path, &scan).unwrap();
        let back = read_scan(&path).unwrap();
        prop_assert_eq!(back.voxels(), scan.voxels());
        prop_assert!(apart_mm(back.geometry(), scan.geometry()) < 1e-9);
    }

    #[test]
    fn label_maps_come_back(labels in label_maps(Axes::Sheared, u16::MAX)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mha");
        write_labels(&path, &labels).unwrap();
        let back = read_labels(&path).unwrap();
        prop_assert_eq!(back.voxels(), labels.voxels());
        prop_assert!(apart_mm(back.geometry(), labels.geometry()) < 1e-9);
    }
}
