//! NIfTI files: what is written comes back, what a header says is what is read, and the rest is refused.

use std::io::Write;
use std::path::PathBuf;

use crate::volumes::{Axes, apart_mm, grids, label_maps, scans};
use proptest::prelude::*;
use tempfile::TempDir;
use tomoflow_connectors::nifti::{read_labels, read_scan, write_labels, write_scan};
use tomoflow_connectors::{Geometry, LabelMap, Scan};

/// A header of version 1 and its voxels, made byte by byte.
struct File1 {
    bytes: Vec<u8>,
    big: bool,
}

impl File1 {
    fn new(size: [i16; 3], datatype: i16, big: bool) -> Self {
        let mut file = Self { bytes: vec![0; 352], big };
        file.int(0, 348);
        for (axis, n) in [3, size[0], size[1], size[2], 1, 1, 1, 1].into_iter().enumerate() {
            file.short(40 + 2 * axis, n);
            file.float(76 + 4 * axis, 1.0);
        }
        file.short(70, datatype);
        file.float(108, 352.0);
        file.bytes[344..348].copy_from_slice(b"n+1\0");
        file
    }

    fn put(&mut self, at: usize, little: &[u8]) {
        let mut value = little.to_vec();
        if self.big {
            value.reverse();
        }
        self.bytes[at..at + value.len()].copy_from_slice(&value);
    }

    fn short(&mut self, at: usize, value: i16) {
        self.put(at, &value.to_le_bytes());
    }

    fn int(&mut self, at: usize, value: i32) {
        self.put(at, &value.to_le_bytes());
    }

    fn float(&mut self, at: usize, value: f32) {
        self.put(at, &value.to_le_bytes());
    }

    fn voxels<const N: usize>(&mut self, little: impl IntoIterator<Item = [u8; N]>) {
        for mut value in little {
            if self.big {
                value.reverse();
            }
            self.bytes.extend(value);
        }
    }

    fn saved(&self) -> (TempDir, PathBuf) {
        saved("a.nii", &self.bytes)
    }

    fn code(&self) -> String {
        let (_folder, path) = self.saved();
        read_scan(&path).unwrap_err().code
    }
}

fn saved(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn two_voxels(big: bool) -> File1 {
    let mut file = File1::new([2, 1, 1], 4, big);
    file.voxels([(-3i16).to_le_bytes(), 700i16.to_le_bytes()]);
    file
}

#[test]
fn every_type_is_read_in_both_byte_orders() {
    macro_rules! check {
        ($code:expr, $kind:ty) => {
            for big in [false, true] {
                let mut file = File1::new([1, 3, 1], $code, big);
                file.voxels([0 as $kind, 7 as $kind, 100 as $kind].map(|v| v.to_le_bytes()));
                let (_folder, path) = file.saved();
                assert_eq!(read_scan(&path).unwrap().voxels(), [0.0, 7.0, 100.0], "type {}", $code);
                assert_eq!(read_labels(&path).unwrap().voxels(), [0, 7, 100], "type {}", $code);
            }
        };
    }
    check!(2, u8);
    check!(256, i8);
    check!(4, i16);
    check!(512, u16);
    check!(8, i32);
    check!(768, u32);
    check!(1024, i64);
    check!(1280, u64);
    check!(16, f32);
    check!(64, f64);
    assert_eq!(File1::new([1, 1, 1], 128, false).code(), "UNSUPPORTED_PIXEL_FORMAT");
}

#[test]
fn sform_goes_before_qform_and_qform_before_spacings() {
    let mut file = two_voxels(false);
    file.float(80, 2.0);
    let (_folder, path) = file.saved();
    let spacings = read_scan(&path).unwrap().geometry().clone();
    assert_eq!(spacings.steps_mm, [[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [-2.0, 0.0, 0.0]]);

    // A quarter turn about the third axis, which is turned round by a negative pixdim[0].
    file.short(252, 1);
    file.float(76, -1.0);
    file.float(264, 0.5f32.sqrt());
    file.float(268, 10.0);
    let (_folder, path) = file.saved();
    let turned = read_scan(&path).unwrap().geometry().clone();
    let expected = Geometry {
        size: [1, 1, 2],
        origin_mm: [-10.0, 0.0, 0.0],
        steps_mm: [[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -2.0, 0.0]],
    };
    assert!(apart_mm(&turned, &expected) < 1e-6, "{turned:?}");

    file.short(254, 2);
    for (at, value) in [(280, 0.5), (288, 0.25), (292, 4.0), (300, 3.0), (308, -6.0), (320, 2.0), (324, 8.0)]
    {
        file.float(at, value);
    }
    let (_folder, path) = file.saved();
    let stated = read_scan(&path).unwrap().geometry().clone();
    assert_eq!(stated.steps_mm, [[-0.25, 0.0, 2.0], [0.0, -3.0, 0.0], [-0.5, 0.0, 0.0]]);
    assert_eq!(stated.origin_mm, [-4.0, 6.0, 8.0]);
}

#[test]
fn metres_and_microns_become_millimetres() {
    for (unit, spacing) in [(0u8, 2.0), (2, 2.0), (1, 2000.0), (3, 0.002)] {
        let mut file = two_voxels(true);
        file.bytes[123] = unit | 8;
        file.float(80, 2.0);
        let (_folder, path) = file.saved();
        let found = read_scan(&path).unwrap().geometry().spacing_mm()[2];
        assert!((found - spacing).abs() < 1e-9, "unit {unit}: {found}");
    }
}

#[test]
fn slope_and_intercept_scale_and_a_slope_of_zero_does_not() {
    for (slope, expected) in [(2.0, [-1.0, 1405.0]), (0.0, [-3.0, 700.0]), (f32::NAN, [-3.0, 700.0])] {
        let mut file = two_voxels(false);
        file.float(112, slope);
        file.float(116, 5.0);
        let (_folder, path) = file.saved();
        assert_eq!(read_scan(&path).unwrap().voxels(), expected);
    }
    let mut file = two_voxels(false);
    file.float(112, 2.0);
    file.float(116, f32::INFINITY);
    assert_eq!(file.code(), "BAD_RESCALE");
    // Values that no float holds, or that it holds as zero, are no scan.
    for (slope, intercept) in [(3e38, 0.0), (-1e36, 0.0), (1e-40, 0.0), (2e33, 3.4e38)] {
        let mut file = two_voxels(false);
        file.float(112, slope);
        file.float(116, intercept);
        assert_eq!(file.code(), "BAD_RESCALE", "{slope} {intercept}");
    }
}

#[test]
fn labels_are_whole_numbers_that_fit() {
    let read = |value: f32| {
        let mut file = File1::new([1, 1, 1], 16, false);
        file.voxels([value.to_le_bytes()]);
        let (_folder, path) = file.saved();
        read_labels(&path).map(|labels| labels.voxels().to_vec()).map_err(|reject| reject.code)
    };
    assert_eq!(read(65535.0), Ok(vec![65535]));
    for value in [0.5, -1.0, 65536.0, f32::NAN, f32::INFINITY] {
        assert_eq!(read(value), Err("NOT_A_LABEL_MAP".to_owned()), "{value}");
    }
}

#[test]
fn a_fourth_axis_of_one_is_accepted_and_more_volumes_are_not() {
    let mut file = two_voxels(false);
    file.short(40, 4);
    let (_folder, path) = file.saved();
    assert_eq!(read_scan(&path).unwrap().size(), [1, 1, 2]);
    file.short(48, 2);
    file.voxels([[0u8; 4]]);
    assert_eq!(file.code(), "SEVERAL_VOLUMES");
}

#[test]
fn broken_headers_are_refused_by_name() {
    let with = |change: &dyn Fn(&mut File1)| {
        let mut file = two_voxels(false);
        change(&mut file);
        file.code()
    };
    assert_eq!(with(&|f| f.int(0, 347)), "NOT_NIFTI");
    assert_eq!(with(&|f| f.bytes[344..348].fill(b'x')), "NOT_NIFTI");
    assert_eq!(with(&|f| f.bytes.truncate(200)), "NOT_NIFTI");
    // A pair without its other half.
    assert_eq!(with(&|f| f.bytes[345] = b'i'), "TRUNCATED");
    // The header is of ANALYZE 7.5.
    assert_eq!(with(&|f| f.bytes[344..348].fill(0)), "UNSUPPORTED_ENCODING");
    assert_eq!(with(&|f| f.short(40, 0)), "BAD_HEADER");
    assert_eq!(with(&|f| f.short(42, -2)), "BAD_HEADER");
    assert_eq!(with(&|f| f.float(108, 12.5)), "BAD_HEADER");
    assert_eq!(with(&|f| f.float(80, 0.0)), "BAD_GEOMETRY");
    assert_eq!(with(&|f| f.float(80, f32::NAN)), "BAD_GEOMETRY");
    assert_eq!(with(&|f| f.bytes.truncate(355)), "TRUNCATED");
    assert_eq!(with(&|f| f.float(108, 1e6)), "TRUNCATED");
    let missing = read_scan(std::path::Path::new("no/such/file.nii")).unwrap_err();
    assert_eq!(missing.code, "UNREADABLE");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_small_packed_file_that_claims_gigabytes_is_refused() {
    let mut file = File1::new([2000, 1000, 1000], 4, false);
    file.voxels([[0u8; 600]]);
    let packed = gzip(&file.bytes);
    assert!(packed.len() < 1024);
    let (_folder, path) = saved("a.nii.gz", &packed);
    assert_eq!(read_scan(&path).unwrap_err().code, "IMPLAUSIBLE_SIZE");
}

#[test]
fn a_damaged_packed_file_fails_its_checksum() {
    let mut file = File1::new([50, 50, 10], 2, false);
    file.voxels((0..25_000u32).map(|i| [(i.wrapping_mul(2_654_435_761) >> 24) as u8]));
    let packed = gzip(&file.bytes);
    let (_folder, path) = saved("a.nii.gz", &packed);
    assert_eq!(read_scan(&path).unwrap().voxels()[1], 158.0);
    let mut wrong = packed.clone();
    let end = wrong.len() - 6;
    wrong[end] ^= 1;
    let (_folder, path) = saved("a.nii.gz", &wrong);
    assert_eq!(read_scan(&path).unwrap_err().code, "DECODE_FAILED");
    let (_folder, path) = saved("a.nii.gz", &packed[..packed.len() / 2]);
    assert_eq!(read_scan(&path).unwrap_err().code, "TRUNCATED");
}

#[test]
fn version_2_is_read() {
    let mut bytes = vec![0u8; 544];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &540i32.to_le_bytes());
    put(4, b"n+2\0\r\n\x1a\n");
    put(12, &512i16.to_le_bytes());
    for (axis, n) in [3i64, 1, 2, 1].iter().enumerate() {
        put(16 + 8 * axis, &n.to_le_bytes());
    }
    put(168, &544i64.to_le_bytes());
    put(176, &1f64.to_le_bytes());
    put(348, &1i32.to_le_bytes());
    for (at, value) in [(400, 0.5f64), (424, 7.0), (440, 2.0), (480, 3.0)] {
        put(at, &value.to_le_bytes());
    }
    put(500, &2i32.to_le_bytes());
    bytes.extend([9, 0, 8, 1]);
    let (_folder, path) = saved("a.nii", &bytes);
    let labels = read_labels(&path).unwrap();
    assert_eq!(labels.voxels(), [9, 264]);
    assert_eq!(labels.geometry().origin_mm, [-7.0, 0.0, 0.0]);
    assert_eq!(labels.geometry().steps_mm, [[0.0, 0.0, 3.0], [0.0, -2.0, 0.0], [-0.5, 0.0, 0.0]]);
}

#[test]
fn an_axis_too_long_for_the_header_is_an_error() {
    let labels = LabelMap::zeros(Geometry::axis_aligned([1, 1, 40_000], [1.0; 3]));
    let folder = tempfile::tempdir().unwrap();
    let error = write_labels(&folder.path().join("a.nii"), &labels).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("32767"), "{error:?}");
}

/// Reads a file again by its qform alone.
fn by_qform(path: &std::path::Path) -> Result<Scan, tomoflow_connectors::Reject> {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[254] = 0;
    std::fs::write(path, bytes).unwrap();
    read_scan(path)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn scans_come_back(scan in scans(Axes::Sheared), packed in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if packed { "a.nii.gz" } else { "a.nii" });
        write_scan(&path, &scan).unwrap();
        let back = read_scan(&path).unwrap();
        prop_assert_eq!(back.voxels(), scan.voxels());
        prop_assert!(apart_mm(back.geometry(), scan.geometry()) < 1e-3);
    }

    #[test]
    fn label_maps_come_back(labels in label_maps(Axes::Sheared, u16::MAX), packed in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if packed { "a.nii.gz" } else { "a.nii" });
        write_labels(&path, &labels).unwrap();
        let back = read_labels(&path).unwrap();
        prop_assert_eq!(back.voxels(), labels.voxels());
        prop_assert!(apart_mm(back.geometry(), labels.geometry()) < 1e-3);
    }

    #[test]
    fn qform_and_sform_agree(grid in grids(Axes::Orthogonal)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        write_scan(&path, &Scan::zeros(grid.clone())).unwrap();
        // A quaternion of 32 bits is off by up to 6e-4 radians near half a turn.
        let extent: f64 = (0..3).map(|axis| grid.size[axis] as f64 * grid.spacing_mm()[axis]).sum();
        let allowed = 1e-3 * (1.0 + extent);
        prop_assert!(apart_mm(by_qform(&path).unwrap().geometry(), &grid) < allowed);
    }
}

#[test]
fn volumes_of_one_file_are_read_in_their_order() {
    let mut file = two_voxels(false);
    file.short(40, 4);
    file.short(48, 3);
    file.voxels([2i16, 3, 4, 5].map(i16::to_le_bytes));
    let (_folder, path) = file.saved();
    let scans = tomoflow_connectors::imagefile::read_scans(&path).unwrap();
    assert_eq!(scans.len(), 3);
    assert_eq!(scans[1].voxels(), [2.0, 3.0]);
    assert_eq!(scans[2].voxels(), [4.0, 5.0]);
    assert!(scans.iter().all(|scan| scan.geometry() == scans[0].geometry()));
    let kept = tomoflow_connectors::imagefile::read_image_file(&path).unwrap().unwrap().unwrap();
    let unplaced = "NO_FORM: sform and qform say nothing, axes are taken for right, anterior and superior";
    assert_eq!((kept.volumes(), kept.other_notes()), (3, vec![unplaced.to_owned()]));
    let head = tomoflow_connectors::imagefile::read_image_head(&path, |_| true).unwrap().unwrap().unwrap();
    assert_eq!(head.volumes, 3);
    // A scan's channels are named at its source; a label map has none.
    let labels = tomoflow_connectors::imagefile::read_labels(&path).unwrap_err();
    let scan = tomoflow_connectors::imagefile::read_scan(&path).unwrap_err();
    assert_eq!([&*labels.code, &*scan.code], ["SEVERAL_VOLUMES"; 2]);
    assert!(scan.hint.contains("channels") && !labels.hint.contains("channels"), "{labels}");
    // The file ends within its last volume; another has a fifth axis.
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 4]).unwrap();
    let code = |path: &std::path::Path| tomoflow_connectors::imagefile::read_scans(path).unwrap_err().code;
    assert_eq!(code(&path), "TRUNCATED");
    file.short(40, 5);
    file.short(50, 2);
    let (_folder, path) = file.saved();
    assert_eq!(code(&path), "SEVERAL_VOLUMES");
}

#[test]
fn a_header_that_places_nothing_is_noted() {
    let notes = |change: &dyn Fn(&mut File1)| {
        let mut file = two_voxels(false);
        change(&mut file);
        let (_folder, path) = file.saved();
        tomoflow_connectors::imagefile::read_image_head(&path, |_| false).unwrap().unwrap().unwrap().notes
    };
    let found = notes(&|_| {});
    assert!(found.len() == 1 && found[0].starts_with("NO_FORM: "), "{found:?}");
    assert_eq!(notes(&|file| file.short(252, 1)), [""; 0]);
    let by_sform = notes(&|file| {
        file.short(254, 1);
        [280, 300, 320].into_iter().for_each(|at| file.float(at, 1.0));
    });
    assert_eq!(by_sform, [""; 0]);
}
