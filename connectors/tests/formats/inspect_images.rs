//! Folders of NIfTI, MetaImage and NRRD files, and what inspecting them says of volumes and of pairs.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Value, json};
use tomoflow_connectors::dicom::inspect::{InspectEvent, InspectOptions, Total, inspect};
use tomoflow_connectors::{Geometry, LabelMap, Scan, metaimage, nifti, nrrd};

use crate::files::SliceFile;

/// The lines of an archive by their paths in it, and the total.
fn lines(folder: &Path, stats: bool) -> (Vec<Value>, Total) {
    let mut lines = Vec::new();
    let total = inspect(&[folder.to_owned()], InspectOptions { stats }, &mut |event| {
        if let InspectEvent::Found(finding) = event {
            let text = serde_json::to_string(&finding).unwrap();
            lines.push(serde_json::from_str(&text.replace(&format!("{}/", folder.display()), "")).unwrap());
        }
        ControlFlow::Continue(())
    });
    (lines, total.unwrap().unwrap())
}

/// The codes of each image's notes, by its path.
fn notes(folder: &Path, stats: bool) -> Vec<(String, Vec<String>)> {
    let code = |note: &Value| note.as_str().unwrap().split(':').next().unwrap().to_owned();
    let of = |line: &Value| line["notes"].as_array().unwrap().iter().map(code).collect();
    let images = lines(folder, stats).0.into_iter().filter(|line| line["kind"] == "image");
    images.map(|line| (line["file"].as_str().unwrap().to_owned(), of(&line))).collect()
}

fn grid(size: [usize; 3]) -> Geometry {
    Geometry { origin_mm: [-3.0, 4.0, 5.0], ..Geometry::axis_aligned(size, [2.0, 0.5, 0.25]) }
}

fn scan(grid: Geometry) -> Scan {
    let voxels = (0..grid.voxels()).map(|at| at as f32 - 7.0).collect();
    Scan::new(grid, voxels).unwrap()
}

fn labels(grid: Geometry) -> LabelMap {
    let voxels = (0..grid.voxels()).map(|at| u16::from(at % 4 == 0) * 2).collect();
    LabelMap::new(grid, voxels).unwrap()
}

#[test]
fn volumes_of_every_format_are_found_with_what_their_headers_say() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let scan = scan(grid([3, 4, 5]));
    nifti::write_scan(&root.join("a.nii.gz"), &scan).unwrap();
    metaimage::write_scan(&root.join("b.mha"), &scan).unwrap();
    nrrd::write_scan(&root.join("c.nrrd"), &scan).unwrap();
    let (lines, total) = lines(root, false);
    let of = |file: &str, format: &str| {
        json!({
            "kind": "image", "file": file, "format": format, "voxel_type": "int16",
            "shape": [3, 4, 5], "spacing_mm": [2.0, 0.5, 0.25],
            "affine_lps": [
                [0.25, 0.0, 0.0, -3.0], [0.0, 0.5, 0.0, 4.0], [0.0, 0.0, 2.0, 5.0], [0.0, 0.0, 0.0, 1.0]
            ],
            "notes": [], "min": -7.0, "max": 52.0, "mean": 22.5
        })
    };
    assert_eq!(lines, [of("a.nii.gz", "NIfTI"), of("b.mha", "MetaImage"), of("c.nrrd", "NRRD")]);
    assert_eq!((total.files, total.images, total.volumes), (3, 3, 0));
    assert!(total.rejects.is_empty() && total.skipped.is_empty() && total.bytes > 300);
}

#[test]
fn pairs_that_do_not_go_together_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["imagesTr", "labelsTr"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    for name in ["fine", "shifted", "smaller", "alone"] {
        nifti::write_scan(&root.join(format!("imagesTr/{name}_0000.nii")), &scan(grid([3, 4, 5]))).unwrap();
    }
    let shifted = Geometry { origin_mm: [-3.0, 4.0, 7.0], ..grid([3, 4, 5]) };
    let of = [("fine", grid([3, 4, 5])), ("shifted", shifted), ("smaller", grid([3, 4, 4]))];
    for (name, grid) in of.into_iter().chain([("lost", grid([3, 4, 5]))]) {
        nifti::write_labels(&root.join(format!("labelsTr/{name}.nii")), &labels(grid)).unwrap();
    }
    // A scan where labels should be, and labels where a scan should be.
    nifti::write_scan(&root.join("x.nii"), &scan(grid([3, 4, 5]))).unwrap();
    nifti::write_scan(&root.join("x_seg.nii"), &scan(grid([3, 4, 5]))).unwrap();
    nifti::write_labels(&root.join("y.nii"), &labels(grid([3, 4, 5]))).unwrap();
    let found = notes(root, false);
    let expected = [
        ("imagesTr/alone_0000.nii", "NO_LABELS_BESIDE"),
        ("imagesTr/fine_0000.nii", ""),
        ("imagesTr/shifted_0000.nii", ""),
        ("imagesTr/smaller_0000.nii", ""),
        ("labelsTr/fine.nii", ""),
        ("labelsTr/lost.nii", "NO_SCAN_BESIDE"),
        ("labelsTr/shifted.nii", "OTHER_GRID"),
        ("labelsTr/smaller.nii", "OTHER_GRID"),
        ("x.nii", ""),
        ("x_seg.nii", "NOT_LIKE_LABELS"),
        ("y.nii", "NO_LABELS_BESIDE LIKE_LABELS"),
    ];
    let found: Vec<(&str, String)> =
        found.iter().map(|(file, notes)| (file.as_str(), notes.join(" "))).collect();
    assert_eq!(found, expected.map(|(file, notes)| (file, notes.to_owned())));
    let (lines, _) = lines(root, false);
    let fine = lines.iter().find(|line| line["file"] == "labelsTr/fine.nii").unwrap();
    assert_eq!((&fine["labels_of"], &fine["values"]), (&json!(["imagesTr/fine_0000.nii"]), &json!([0, 2])));
}

#[test]
fn broken_files_are_refused_and_voxels_beside_a_header_are_none_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    nifti::write_scan(&root.join("cut.nii"), &scan(grid([3, 4, 5]))).unwrap();
    let whole = fs::read(root.join("cut.nii")).unwrap();
    fs::write(root.join("cut.nii"), &whole[..whole.len() - 1]).unwrap();
    fs::write(root.join("text.nrrd"), "no image").unwrap();
    let header = "ObjectType = Image\nNDims = 3\nDimSize = 2 1 1\nElementType = MET_UCHAR\n";
    fs::write(root.join("beside.mhd"), format!("{header}ElementDataFile = beside.raw\n")).unwrap();
    fs::write(root.join("beside.raw"), [1, 2]).unwrap();
    fs::write(root.join("elsewhere.mhd"), format!("{header}ElementDataFile = beside.raw\n")).unwrap();
    fs::write(root.join("shot.png"), "no image").unwrap();
    let (lines, total) = lines(root, false);
    let images = lines.iter().filter(|line| line["kind"] == "image").count();
    let rejects: Vec<(&str, &str)> = lines
        .iter()
        .filter(|line| line["kind"] == "reject")
        .map(|line| (line["files"][0].as_str().unwrap(), line["code"].as_str().unwrap()))
        .collect();
    let expected =
        [("cut.nii", "TRUNCATED"), ("elsewhere.mhd", "VOXELS_ELSEWHERE"), ("text.nrrd", "NOT_NRRD")];
    assert_eq!((images, rejects), (1, expected.to_vec()));
    assert_eq!(total.skipped.into_iter().collect::<Vec<_>>(), [("NOT_DICOM".to_owned(), 1)]);
}

#[test]
fn a_mixed_folder_shows_both() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for number in 0..2 {
        SliceFile::new(number).write(root, &format!("{number}.dcm"));
    }
    // DICOM by another name is DICOM.
    SliceFile::new(2).write(root, "2.nii");
    nifti::write_scan(&root.join("scan.nii.gz"), &scan(grid([3, 4, 5]))).unwrap();
    let (lines, total) = lines(root, true);
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds, total.volumes, total.images), (vec!["volume", "image"], 1, 1));
    assert_eq!(lines[0]["shape"][0], 3);
}

#[test]
fn voxels_are_read_where_that_is_cheap_or_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    // A little more than a megabyte.
    let scan = scan(Geometry::axis_aligned([6, 300, 300], [1.0; 3]));
    nifti::write_scan(&folder.path().join("large.nii.gz"), &scan).unwrap();
    let seen = |stats| lines(folder.path(), stats).0[0].get("mean").is_some();
    assert_eq!([seen(false), seen(true)], [false, true]);
}
