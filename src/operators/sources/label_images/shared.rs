//! Labels of image files that cross.

use serde_json::json;
use tomoflow_connectors::{Digest, Geometry, LabelMap, nifti};

use super::{LabelImages, declared};
use crate::operators::source::{DrawnOn, LabelPart, LabelSource as _, LabelsAt, Planes};
use crate::operators::spec::FieldProblem;

fn source(files: &str, more: serde_json::Value) -> Result<LabelImages, Vec<FieldProblem>> {
    let mut config = json!({ "path": "a", "files": files });
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    declared(config.as_object().unwrap())
}

fn grid() -> Geometry {
    Geometry::axis_aligned([1, 1, 4], [1.0; 3])
}

/// An array of NumPy with these numbers `[1, 1, 4]`.
fn npy(voxels: [u8; 4]) -> Vec<u8> {
    let mut header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 4), }".to_owned();
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.into_bytes());
    bytes.extend(voxels);
    bytes
}

#[test]
fn values_of_two_labels_are_of_both() {
    let labels = json!({ "labels": { "tumour": [1, 2], "oedema": [2, 3] } });
    let folder = tempfile::tempdir().unwrap();
    let (image, array) = (folder.path().join("a.nii"), folder.path().join("a.npy"));
    let voxels = LabelMap::new(grid(), vec![0, 1, 2, 3]).unwrap();
    nifti::write_labels(&image, &voxels).unwrap();
    std::fs::write(&array, npy([0, 1, 2, 3])).unwrap();
    for file in [&image, &array] {
        let crossing = source("{case}.nii", labels.clone()).unwrap();
        assert_eq!(crossing.value_names(), ["tumour", "oedema", "tumour & oedema"]);
        assert_eq!(crossing.nested(), [vec![3], vec![3]]);
        let (record, scan) = (Digest::default(), DrawnOn::default());
        let at = LabelsAt { file: Some(file), parts: &[], stack: None, series: "a", record, scan: &scan };
        let drawn = crossing.draw(&at, &Planes { grid: &grid(), heights: &[] }).unwrap();
        assert_eq!(drawn.labels.voxels(), [0, 1, 3, 2], "{}", file.display());
        assert!(drawn.notes.is_empty(), "{:?}", drawn.notes);
    }
    // What is told of a label that no voxel of the scan shows is not told where a set shows it.
    let coarse = Geometry::axis_aligned([1, 1, 2], [1.0, 1.0, 2.0]);
    let crossing = source("{case}.nii", labels).unwrap();
    let fine = LabelMap::new(grid(), vec![2, 1, 0, 3]).unwrap();
    let drawn = crossing.draw_map(&fine, &coarse).unwrap();
    assert_eq!(drawn.labels.voxels(), [3, 0]);
    assert!(drawn.notes.is_empty(), "{:?}", drawn.notes);
}

#[test]
fn files_of_two_labels_share_what_they_may() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, voxels: [u16; 4]| {
        let path = folder.path().join(name);
        nifti::write_labels(&path, &LabelMap::new(grid(), voxels.to_vec()).unwrap()).unwrap();
        path
    };
    let (tumour, oedema) = (write("tumour.nii", [1, 1, 1, 0]), write("oedema.nii", [0, 0, 1, 1]));
    let parts = [LabelPart { label: 1, file: &tumour }, LabelPart { label: 2, file: &oedema }];
    let labels = json!({ "tumour": [1], "oedema": [1] });
    let each = "{case}/{label}.nii";
    let more = json!({ "labels": labels, "crosses": [["tumour", "oedema"]] });
    let drawn = source(each, more.clone()).unwrap().draw_parts(&parts, &grid()).unwrap();
    assert_eq!(drawn.labels.voxels(), [1, 1, 3, 2]);
    assert!(drawn.notes.is_empty() && drawn.absent.is_empty(), "{:?}", drawn.notes);
    // In one map values say it, and names are those of labels.
    assert_eq!(source("{case}.nii", more).unwrap_err()[0].field, "crosses");
    let unknown = json!({ "labels": labels, "crosses": [["tumour", "cyst"]] });
    assert_eq!(source(each, unknown).unwrap_err()[0].field, "crosses");
}

#[test]
fn a_label_may_not_have_the_name_of_a_set() {
    let labels = json!({ "labels": { "a": [1, 2], "b": [2, 3], "a & b": [4] } });
    let problems = source("{case}.nii", labels).unwrap_err();
    assert_eq!(problems[0].field, "labels");
    assert!(problems[0].message.contains("`a & b` found"), "{}", problems[0].message);
}
