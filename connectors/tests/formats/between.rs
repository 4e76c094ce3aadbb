//! Scans with planes between slices, from files: missing slices and uneven gaps.

use std::path::{Path, PathBuf};

use crate::files::SliceFile;
use proptest::prelude::*;
use tempfile::TempDir;
use tomoflow_connectors::dicom::{
    Assembled, Instance, OnGap, OnUneven, Record, Rules, assemble_with, load_scan_between, read_record, walk,
};
use tomoflow_connectors::geometry::dot;
use tomoflow_connectors::{Scan, VoxelIndex};

const RULES: Rules = Rules { on_gap: OnGap::Interpolate, on_uneven: OnUneven::Resample };

/// Slices of a folder as one scan.
fn load(folder: &Path, rules: Rules) -> (Assembled, Scan) {
    let files: Vec<PathBuf> = walk(folder).unwrap().into_iter().map(|file| file.path).collect();
    let read = |path: &PathBuf| match read_record(path).unwrap() {
        Record::Instance(instance) => instance,
        other => panic!("an instance expected, {other:?} found"),
    };
    let instances: Vec<Instance> = files.iter().map(read).collect();
    let assembled = assemble_with(&instances.iter().collect::<Vec<_>>(), rules).remove(0).verdict.unwrap();
    let slices: Vec<_> =
        assembled.slices.iter().map(|slice| (files[slice.instance].clone(), slice.frame)).collect();
    let scan = load_scan_between(&assembled.geometry, &slices, &assembled.heights).unwrap();
    (assembled, scan)
}

#[test]
fn a_missing_slice_is_halfway_between_its_neighbours_and_the_others_are_as_they_were() {
    let folder = TempDir::new().unwrap();
    for number in 0..40 {
        let mut file = SliceFile::new(number);
        // Each slice has another scale: planes between slices are made after rescale.
        file.set((0x0028, 0x1053), b"DS", format!("{}", 1 + number % 3).into_bytes());
        file.set((0x0028, 0x1052), b"DS", format!("-{}.5", number * number).into_bytes());
        file.write(folder.path(), &format!("{number:02}.dcm"));
    }
    let (whole, full) = load(folder.path(), Rules::default());
    assert_eq!(whole.heights, [0.0; 0]);
    assert_eq!(load(folder.path(), RULES), (whole.clone(), full.clone()));
    // The numbers include the border of what is held at a time.
    for number in [3, 10, 11, 32, 33] {
        std::fs::remove_file(folder.path().join(format!("{number:02}.dcm"))).unwrap();
    }
    let (assembled, scan) = load(folder.path(), RULES);
    assert_eq!(assembled.geometry, whole.geometry);
    assert_eq!(assembled.notes.last().unwrap(), "MISSING_SLICE: 5 of 40 slice(s) interpolated");
    for plane in 0..40 {
        let between = |below: usize, above: usize| -> Vec<f32> {
            let share = (plane - below) as f32 / (above - below) as f32;
            let values = full.slice(below).iter().zip(full.slice(above));
            values.map(|(low, high)| low + share * (high - low)).collect()
        };
        let expected = match plane {
            3 => between(2, 4),
            10 | 11 => between(9, 12),
            32 | 33 => between(31, 34),
            _ => full.slice(plane).to_vec(),
        };
        for (found, expected) in scan.slice(plane).iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-3, "plane {plane}: {found}, {expected} expected");
        }
        if ![3, 10, 11, 32, 33].contains(&plane) {
            assert_eq!(scan.slice(plane), expected, "plane {plane}");
        }
    }
}

#[test]
fn heights_that_do_not_fit_are_refused() {
    let folder = TempDir::new().unwrap();
    let slices: Vec<(PathBuf, u32)> =
        (0..3).map(|n| (SliceFile::new(n).write(folder.path(), &n.to_string()), 0)).collect();
    let geometry = load(folder.path(), RULES).0.geometry;
    let code = |heights: &[f64]| load_scan_between(&geometry, &slices, heights).map_err(|reject| reject.code);
    assert!(code(&[0.0, 1.0, 2.0]).is_ok());
    assert_eq!(code(&[0.0, 1.0]), Err("CHANGED".to_owned()));
    assert_eq!(code(&[0.0, 0.5, 1.0]), Err("BAD_GEOMETRY".to_owned()));
    assert_eq!(code(&[0.0, f64::NAN, 2.0]), Err("BAD_GEOMETRY".to_owned()));
}

/// A ramp along z, in values for a millimetre.
const SLOPE: f64 = 8.0;

/// A number in sixteen letters at most, as a decimal string has them.
fn decimal(value: f64) -> String {
    format!("{value:.6}")
}

/// Writes slices at heights along an oblique, sheared line; their values are a ramp along it.
fn write_ramp(folder: &Path, heights: &[f64], turn: f64, shear: f64) -> [[f64; 3]; 2] {
    let (sine, cosine) = turn.sin_cos();
    let (row, column) = ([cosine, 0.0, -sine], [0.0, 1.0, 0.0]);
    let normal = [sine, 0.0, cosine];
    let along = [0, 1, 2].map(|axis| normal[axis] + shear * column[axis]);
    for (number, height) in (0u16..).zip(heights) {
        let mut file = SliceFile::new(number);
        let position = along.map(|x| decimal(x * height)).join("\\");
        let cosines = row.iter().chain(&column).map(|&x| decimal(x)).collect::<Vec<_>>().join("\\");
        file.set((0x0020, 0x0032), b"DS", position.into_bytes());
        file.set((0x0020, 0x0037), b"DS", cosines.into_bytes());
        file.set((0x0028, 0x1053), b"DS", b"1".to_vec());
        file.set((0x0028, 0x1052), b"DS", decimal(SLOPE * height).into_bytes());
        file.set((0x7FE0, 0x0010), b"OW", (0..16u16).flat_map(u16::to_le_bytes).collect());
        file.write(folder, &format!("{:02}.dcm", 40 - number));
    }
    [normal, along]
}

/// Whether a gap is too far from a multiple of the modal one to pass for it: what passes is left where it is.
fn uneven(gap: &f64) -> bool {
    let multiple = (gap / 1.5).round().max(1.0);
    (gap / 1.5 - multiple).abs() > 0.02 * multiple
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_ramp_comes_back_on_the_even_grid(
        gaps in prop::collection::vec((0.7f64..3.5).prop_filter("no multiple", uneven), 1..6),
        turn in -0.5f64..0.5,
        shear in prop::sample::select(vec![0.0, -0.2, 0.3]),
    ) {
        let folder = TempDir::new().unwrap();
        let mut heights = vec![0.0, 1.5, 3.0, 4.5];
        for gap in gaps {
            heights.push(heights.last().unwrap() + gap);
        }
        // Twice more, so that no other gap is the modal one.
        heights.extend([1.5, 3.0].map(|gap| heights.last().unwrap() + gap));
        let [normal, along] = write_ramp(folder.path(), &heights, turn, shear);
        let (assembled, scan) = load(folder.path(), RULES);
        let geometry = &assembled.geometry;
        let last = *heights.last().unwrap();
        prop_assert!((geometry.size[0] as f64 - (last / 1.5 + 0.01).floor() - 1.0).abs() < 0.5);
        prop_assert_eq!(assembled.notes.iter().any(|note| note == "GANTRY_TILT"), shear != 0.0);
        for plane in 0..geometry.size[0] {
            // Each plane lies on the line of positions, and holds the ramp's value there.
            let place = geometry.to_patient(VoxelIndex([plane as f64, 0.0, 0.0])).0;
            let height = dot(place, normal);
            for axis in 0..3 {
                prop_assert!((place[axis] - along[axis] * height).abs() < 1e-4);
            }
            for (column, value) in scan.slice(plane).iter().enumerate() {
                let expected = SLOPE * height.min(last) + column as f64;
                prop_assert!((f64::from(*value) - expected).abs() < 1e-3, "{plane}: {value}, {expected}");
            }
        }
    }
}
