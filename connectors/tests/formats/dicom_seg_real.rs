//! Real DICOM SEG objects against what is known of them: segments, voxels, grid and references.

use std::path::{Path, PathBuf};

use crate::volumes::apart_mm;
use serde_json::Value;
use tomoflow_connectors::dicom_seg::{read, read_with_threshold, record};
use tomoflow_connectors::{Geometry, nrrd};

fn samples() -> Option<PathBuf> {
    let folder = std::env::var_os("TOMOFLOW_DICOM_SAMPLES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/dicom"), PathBuf::from);
    if folder.join("expected.json").is_file() {
        return Some(folder);
    }
    println!("skipped: no samples at {}; set TOMOFLOW_DICOM_SAMPLES", folder.display());
    None
}

/// The samples' SEG files, each with what is known of it.
fn cases(folder: &Path) -> Vec<(PathBuf, Value)> {
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    for case in all["cases"].as_array().unwrap() {
        for (file, expected) in case["seg"].as_object().into_iter().flatten() {
            let path = folder.join(case["dir"].as_str().unwrap()).join(file);
            found.push((path, expected.clone()));
        }
    }
    found
}

/// The affine of a volume whose slices descend, turned to ascending ones.
fn ascending(volume: &Value) -> Geometry {
    let at = |row: usize, column: usize| {
        volume["affine_lps_highdicom_index_order_kji"][row][column].as_f64().unwrap()
    };
    let size: Vec<usize> =
        volume["shape_kji"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let column = |column: usize| [0, 1, 2].map(|row| at(row, column));
    let [down, last] = [column(0), column(3)];
    Geometry {
        size: [size[0], size[1], size[2]],
        origin_mm: [0, 1, 2].map(|i| last[i] + down[i] * (size[0] - 1) as f64),
        steps_mm: [down.map(|x| -x), column(1), column(2)],
    }
}

#[test]
fn real_objects_have_the_segments_voxels_and_grid_they_should() {
    let Some(folder) = samples() else { return };
    let cases = cases(&folder);
    assert!(cases.len() >= 5, "only {} objects", cases.len());
    for (path, expected) in cases {
        let seg = read_with_threshold(&path, f64::MIN_POSITIVE).unwrap();
        let name = path.display();
        let volume = &expected["highdicom_volume"];
        assert!(apart_mm(seg.geometry(), &ascending(volume)) < 1e-3, "{name}: {:?}", seg.geometry());
        let [named] = seg.segments() else { panic!("{name}: {} segments", seg.segments().len()) };
        let labels = expected["segments"].as_array().unwrap();
        assert_eq!(Some(named.name.as_str()), labels.last().unwrap()["label"].as_str(), "{name}");
        for frame in expected["frames_list"].as_array().unwrap() {
            let z = frame["ipp"][2].as_f64().unwrap();
            let slice = ((z - seg.geometry().origin_mm[2]) / seg.geometry().steps_mm[0][2]).round() as usize;
            let area = named.slices.get(&slice).map(|runs| runs.area());
            assert_eq!(area, frame["nonzero"].as_u64(), "{name}: slice {slice}");
        }
        let total = volume["segment_voxels"].as_array().unwrap().last().unwrap().as_u64();
        assert_eq!(Some(named.voxels()), total, "{name}");
        let kept = record(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(Value::from(kept.referenced_series), expected["referenced_series"], "{name}");
        assert_eq!(kept.structures, [named.name.as_str()], "{name}");
    }
}

#[test]
fn drawn_on_the_grid_of_a_reference_they_are_the_reference() {
    let Some(folder) = samples() else { return };
    let mut checked = 0;
    for (path, expected) in cases(&folder) {
        for reference in expected["reference_nrrd"].as_array().into_iter().flatten() {
            let file = path.parent().unwrap().join("ref").join(reference["file"].as_str().unwrap());
            let truth = nrrd::read_labels(&file).unwrap();
            let drawn = read(&path).unwrap().draw(|name| (name == "Liver").then_some(1), truth.geometry());
            // The reference of the sparse one holds its padding too.
            let truth: Vec<u16> = truth.voxels().iter().map(|&label| u16::from(label == 1)).collect();
            assert_eq!(drawn.unwrap().voxels(), truth, "{}", path.display());
            checked += 1;
        }
    }
    assert_eq!(checked, 3);
}

#[test]
fn fractions_count_from_the_threshold_on() {
    let Some(folder) = samples() else { return };
    let path = folder.join("seg_highdicom_ct/seg_image_ct_true_fractional.dcm");
    let voxels = |threshold| read_with_threshold(&path, threshold).unwrap().segments()[0].voxels();
    // The counts are those of pydicom: voxels at or over the threshold of the 255 that are one.
    let expected = [(0.1, 661), (0.25, 661), (0.5, 638), (0.51, 0)];
    for (threshold, count) in expected {
        assert_eq!(voxels(threshold), count, "{threshold}");
    }
    assert_eq!(read(&path).unwrap().segments()[0].voxels(), expected[2].1);
}
