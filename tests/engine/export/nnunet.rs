//! Data sets in nnU-Net's layout: scans and their truth, from one source or several.

use std::fs;
use std::process::Command;

use tomoflow::connectors::{LabelMap, nifti};

use super::{by_case, export};
use crate::support::Workplace;

/// Two sources of scans and truth, and a third of truth by another reader.
const SOURCES: &str = r#"
[pipeline]
name = "sources"
out = "out"
identifiers = "clear"

[sources.s1]
type = "images"
path = "s1"
files = "{case}.nii.gz"

[sources.s2]
type = "images"
path = "s2"
files = "{case}.nii.gz"

[sources.t1]
type = "label_images"
path = "t1"
files = "{case}.nii.gz"
labels = { tumour = [1] }

[sources.t2]
type = "label_images"
path = "t2"
files = "{case}.nii.gz"
labels = { tumour = [1] }

[operators.case1]
type = "label"
inputs = ["s1", "t1"]

[operators.case2]
type = "label"
inputs = ["s2", "t2"]

[operators.b1]
type = "threshold"
inputs = ["case1"]
above = 0.5
label = "tumour"

[operators.b2]
type = "threshold"
inputs = ["case2"]
above = 0.5
label = "tumour"

[operators.sc1]
type = "evaluate"
inputs = ["b1", "case1"]
metrics = ["dice"]

[operators.sc2]
type = "evaluate"
inputs = ["b2", "case2"]
metrics = ["dice"]

[sinks.rows]
type = "delta"
inputs = ["b1", "b2", "sc1", "sc2"]
"#;

#[test]
fn scans_of_one_name_in_several_sources_keep_their_own_labels() {
    let mut place = Workplace::new(0);
    place.text = SOURCES.to_owned();
    let truth = |index: usize| {
        let (scan, truth) = tomoflow::phantom::vs::case(&place.phantom, index);
        let tumour = truth.voxels().iter().map(|&label| u16::from(label == 1)).collect();
        (scan, LabelMap::new(truth.geometry().clone(), tumour).unwrap())
    };
    for (index, number) in [(0, 1), (1, 2)] {
        let (scan, labels) = truth(index);
        for folder in ["s", "t"] {
            fs::create_dir(place.path().join(format!("{folder}{number}"))).unwrap();
        }
        nifti::write_scan(&place.path().join(format!("s{number}/c0.nii.gz")), &scan).unwrap();
        nifti::write_labels(&place.path().join(format!("t{number}/c0.nii.gz")), &labels).unwrap();
    }
    assert_ne!(truth(0).1.voxels(), truth(1).1.voxels(), "truths that are alike show nothing");
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected), (2, 0), "{summary}");
    let output = export(&place, &["--to", "set", "--format", "nnunet"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: String| nifti::read_labels(&place.path().join(name)).unwrap();
    for (index, number) in [(0, 1), (1, 2)] {
        let (scan, labels) = truth(index);
        assert_eq!(read(format!("set/labelsTr/c0_s{number}.nii.gz")).voxels(), labels.voxels());
        let path = place.path().join(format!("set/imagesTr/c0_s{number}_0000.nii.gz"));
        let written = nifti::read_scan(&path).unwrap();
        let mut pairs = written.voxels().iter().zip(scan.voxels());
        assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-3), "the scan of s{number}");
    }
    let table = fs::read_to_string(place.path().join("set/cases.csv")).unwrap();
    assert!(table.contains("\"c0 (s1)\"") && table.contains("\"c0 (s2)\""), "{table}");
    // The masks of one stage are those of the scans of one source.
    let output = export(&place, &["--to", "masks", "--format", "nnunet", "--stage", "b2"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names: Vec<String> = by_case(&place.path().join("masks/labelsTr"), ".nii.gz").into_keys().collect();
    assert_eq!(names, ["c0_s2"]);
    assert_eq!(
        by_case(&place.path().join("masks/imagesTs"), "_0000.nii.gz").into_keys().next().unwrap(),
        "c0_s1"
    );

    // Figures of scans of several sources are paired by names, which is said.
    let mut compare = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    compare.arg("compare").arg(place.pipeline()).args(["--split", "all"]).current_dir(place.path());
    let told = String::from_utf8_lossy(&compare.output().unwrap().stderr).into_owned();
    assert!(told.contains("scans of several sources, `sc1` those of `s1`, `sc2` those of `s2`"), "{told}");

    // Two readers of one scan: a set has one truth.
    place.text = SOURCES.replace("[\"s2\", \"t2\"]", "[\"s1\", \"t2\"]");
    fs::copy(place.path().join("t1/c0.nii.gz"), place.path().join("t2/c0.nii.gz")).unwrap();
    place.run();
    let output = export(&place, &["--to", "readers", "--format", "nnunet"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("`case1` and `case2` label scans of `s1`"), "{told}");
}

#[test]
fn a_data_set_for_nnunet_holds_scans_and_truth() {
    let place = Workplace::new(3);
    // One without outlines: it is for testing there.
    fs::remove_file(place.files_of(2).last().unwrap()).unwrap();
    place.run();
    let output = export(&place, &["--to", "set", "--format", "nnunet"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let set = place.path().join("set");
    let labels = by_case(&set.join("labelsTr"), ".nii.gz");
    let scans = by_case(&set.join("imagesTr"), "_0000.nii.gz");
    assert_eq!((labels.len(), scans.len()), (2, 2));
    assert_eq!(by_case(&set.join("imagesTs"), "_0000.nii.gz").len(), 1);
    for (case, path) in &labels {
        let (truth, scan) = (nifti::read_labels(path).unwrap(), nifti::read_scan(&scans[case]).unwrap());
        assert_eq!(truth.size(), scan.size());
        assert!(truth.voxels().contains(&1), "a truth without a voxel shows nothing");
    }
    let text = fs::read_to_string(set.join("dataset.json")).unwrap();
    let description: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(description["labels"], serde_json::json!({ "background": 0, "tumour": 1 }));
    assert_eq!((&description["numTraining"], &description["file_ending"]), (&2.into(), &".nii.gz".into()));
    let table = fs::read_to_string(set.join("cases.csv")).unwrap();
    assert_eq!(table.lines().count(), 4, "{table}");
    // Identifiers are clear, and DICOM names the patient.
    assert!(
        labels.keys().all(|case| table.contains(&format!("{case},\"")) && !case.starts_with("1.2")),
        "{table}"
    );

    // The masks of a stage instead, of all scans; and what has none is said.
    let output = export(&place, &["--to", "masks", "--format", "nnunet", "--stage", "largest"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(by_case(&place.path().join("masks/labelsTr"), ".nii.gz").len(), 3);
    let output = export(&place, &["--to", "none", "--format", "nnunet", "--stage", "scores"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");

    // What was written is known again.
    let init = Command::new(env!("CARGO_BIN_EXE_tomoflow"))
        .args(["init", "set", "--out", "again.toml"])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    let again = fs::read_to_string(place.path().join("again.toml")).unwrap();
    assert!(again.contains("nnU-Net's raw layout") && again.contains("labels = { tumour = [1] }"), "{again}");
}
