//! Labels of files: their values, their grids, and what is told of them.

use super::*;
use serde_json::json;

fn source(labels: serde_json::Value, grid: &str) -> Result<LabelImages, Vec<FieldProblem>> {
    let config = json!({ "path": "a", "files": "{case}.nii", "labels": labels, "grid": grid });
    declared(config.as_object().unwrap())
}

#[test]
fn values_become_labels_and_the_last_wins() {
    let source = source(json!({ "liver": [1, 2], "tumour": [2] }), "patient").unwrap();
    assert_eq!([0, 1, 2, 3].map(|value| source.label_of(value)), [0, 1, 2, 0]);
    let grid = Geometry::axis_aligned([1, 1, 4], [1.0; 3]);
    let found = LabelMap::new(grid.clone(), vec![0, 1, 2, 9]).unwrap();
    let drawn = source.draw_map(&found, &grid).unwrap();
    assert_eq!(drawn.labels.voxels(), [0, 1, 2, 0]);
    assert_eq!(drawn.notes.len(), 1);
    assert!(drawn.notes[0].message.contains("9 in 1 voxels"), "{}", drawn.notes[0]);
    assert_eq!(source.nested(), [vec![2], Vec::new()]);
}

#[test]
fn regions_nest_whatever_their_order() {
    // Whole tumour, core, and enhancing core.
    let regions = json!({ "core": [1, 3], "whole": [1, 2, 3], "enhancing": [3] });
    let nested = source(regions, "patient").unwrap();
    assert_eq!([0, 1, 2, 3].map(|value| nested.label_of(value)), [0, 1, 2, 3]);
    assert_eq!(nested.nested(), [vec![3], vec![1, 3], Vec::new()]);
    assert!(source(json!({ "a": [1], "b": [2] }), "patient").unwrap().nested().is_empty());
}

#[test]
fn labels_with_a_file_each_may_be_parts_of_others() {
    let declare = |files: &str, holds: serde_json::Value| {
        let labels = json!({ "liver": [1], "lesion": [1] });
        let config = json!({ "path": "a", "files": files, "labels": labels, "holds": holds });
        declared(config.as_object().unwrap())
    };
    let each = "{case}/{label}.nii";
    let grid = Geometry::axis_aligned([1, 1, 4], [1.0; 3]);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, voxels: [u16; 4]| {
        let path = folder.path().join(name);
        let labels = LabelMap::new(grid.clone(), voxels.to_vec()).unwrap();
        tomoflow_connectors::nifti::write_labels(&path, &labels).unwrap();
        path
    };
    let (liver, lesion) = (write("liver.nii", [1, 1, 1, 0]), write("lesion.nii", [0, 0, 1, 1]));
    let parts = [LabelPart { label: 1, file: &liver }, LabelPart { label: 2, file: &lesion }];
    let drawn = |holds: serde_json::Value| declare(each, holds).unwrap().draw_parts(&parts, &grid).unwrap();
    let told = drawn(json!({}));
    assert_eq!((told.labels.voxels(), told.notes.len()), (&[1, 1, 2, 2][..], 1));
    assert!(told.notes[0].message.contains("1 of `liver` are `lesion` as well"), "{}", told.notes[0]);
    let held = drawn(json!({ "liver": ["lesion"] }));
    // What a part has beside its whole is told.
    assert_eq!((held.labels.voxels(), held.notes.len()), (&[1, 1, 2, 2][..], 1));
    assert_eq!(held.notes[0].code, "PART_OUTSIDE");
    assert_eq!(declare(each, json!({ "liver": ["lesion"] })).unwrap().nested(), [vec![2], Vec::new()]);
    let wrong = |files, holds| declare(files, holds).unwrap_err()[0].field.clone();
    assert_eq!(wrong("{case}.nii", json!({ "liver": ["lesion"] })), "holds");
    assert_eq!(wrong(each, json!({ "liver": ["cyst"] })), "holds.liver");
}

#[test]
fn values_that_count_as_background_are_not_told() {
    let config = json!({ "path": "a", "files": "{case}.nii", "labels": { "a": [1] }, "background": [2] });
    let source = declared(config.as_object().unwrap()).unwrap();
    let grid = Geometry::axis_aligned([1, 1, 3], [1.0; 3]);
    let notes = |voxels: [u16; 3]| {
        source.draw_map(&LabelMap::new(grid.clone(), voxels.to_vec()).unwrap(), &grid).unwrap().notes.len()
    };
    assert_eq!([notes([0, 1, 2]), notes([0, 1, 3])], [0, 1]);
    let both = json!({ "path": "a", "files": "{case}.nii", "labels": { "a": [1] }, "background": [1] });
    assert_eq!(declared(both.as_object().unwrap()).unwrap_err()[0].field, "background");
}

#[test]
fn labels_beside_the_scan_are_told_or_refused() {
    let own = |z: f64| Geometry { origin_mm: [0.0, 0.0, z], ..Geometry::axis_aligned([4, 1, 1], [1.0; 3]) };
    let source = source(json!({ "a": [1] }), "patient").unwrap();
    let drawn = |z: f64| {
        let found = LabelMap::new(own(z), vec![0, 1, 1, 0]).unwrap();
        source.draw_map(&found, &own(0.0))
    };
    assert!(drawn(1.0).unwrap().notes.is_empty());
    let half = drawn(2.0).unwrap();
    assert_eq!(half.labels.voxels(), [0, 0, 0, 1]);
    assert_eq!(half.notes[0].code, "LABEL_BEYOND_SCAN");
    assert!(half.notes[0].message.contains("1 of 2 voxels"), "{}", half.notes[0]);
    assert_eq!(drawn(3.0).unwrap_err().code, "OFF_GRID");
}

#[test]
fn a_label_between_the_scans_voxels_is_told_beside_one_that_is_met() {
    let source = source(json!({ "liver": [1], "lesion": [2] }), "patient").unwrap();
    let coarse = Geometry::axis_aligned([2, 1, 2], [4.0, 1.0, 1.0]);
    let drawn = |lesion_at: usize| {
        let mut voxels = vec![1; 12];
        voxels[2 * lesion_at] = 2;
        let found = LabelMap::new(Geometry::axis_aligned([6, 1, 2], [1.0; 3]), voxels).unwrap();
        source.draw_map(&found, &coarse).unwrap()
    };
    // Slices of the scan lie at slices 0 and 4 of the map.
    let met = drawn(4);
    assert_eq!((met.labels.voxels(), met.notes.len()), (&[1, 1, 2, 1][..], 0));
    let lost = drawn(1);
    assert_eq!(lost.labels.voxels(), [1; 4]);
    let [note] = &lost.notes[..] else { panic!("one row expected: {:?}", lost.notes) };
    assert_eq!(note.code, "LABEL_VANISHED");
    assert!(
        note.message.starts_with("`lesion`: ") && note.message.contains("1 voxels in the file"),
        "{note}"
    );
}

#[test]
fn headers_are_believed_unless_they_are_not() {
    let found = LabelMap::new(Geometry::axis_aligned([1, 1, 3], [1.0; 3]), vec![0, 1, 1]).unwrap();
    let shifted = Geometry { origin_mm: [1.0, 0.0, 0.0], ..Geometry::axis_aligned([1, 1, 3], [1.0; 3]) };
    let drawn = |grid: &str, on: &Geometry| {
        source(json!({ "tumour": [1] }), grid)
            .unwrap()
            .draw_map(&found, on)
            .map(|drawn| drawn.labels.voxels().to_vec())
    };
    assert_eq!(drawn("patient", &shifted).unwrap(), [1, 1, 0]);
    assert_eq!(drawn("index", &shifted).unwrap(), [0, 1, 1]);
    let larger = Geometry::axis_aligned([1, 1, 4], [1.0; 3]);
    assert_eq!(drawn("patient", &larger).unwrap(), [0, 1, 1, 0]);
    assert_eq!(drawn("index", &larger).unwrap_err().code, "LABEL_SIZE");
}

#[test]
fn labels_without_values_are_refused() {
    assert_eq!(source(json!({ "tumour": [] }), "patient").unwrap_err()[0].field, "labels.tumour");
    assert_eq!(source(json!({}), "patient").unwrap_err()[0].field, "labels");
}
