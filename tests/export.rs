//! `tomoflow export`: masks in the formats of other programs, and back again as labels.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::Workplace;
use tomoflow::connectors::{LabelMap, dicom_seg, metaimage, nifti, nrrd};

/// Runs the program on a workplace's pipeline.
fn export(place: &Workplace, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    command.arg("export").arg(place.pipeline()).args(args).current_dir(place.path()).output().unwrap()
}

/// The files of a folder, by the case in their names.
fn by_case(folder: &Path, ending: &str) -> BTreeMap<String, PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some((name.strip_suffix(ending)?.to_owned(), path))
        })
        .collect()
}

#[test]
fn every_format_holds_the_same_masks_on_the_scans_grid() {
    let place = Workplace::new(2);
    place.run();
    for (format, folder) in
        [("nifti", "nifti"), ("nrrd", "nrrd"), ("metaimage", "metaimage"), ("dicom-seg", "seg")]
    {
        let output = export(&place, &["--to", folder, "--format", format, "--scans"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("files of `largest`"), "{output:?}");
    }
    let masks = by_case(&place.path().join("nifti"), ".nii.gz");
    let scans = by_case(&place.path().join("nifti"), ".scan.nii.gz");
    assert_eq!((scans.len(), masks.len()), (2, 4), "a scan beside each mask");
    for (case, scan) in scans {
        let scan = nifti::read_scan(&scan).unwrap();
        let mask = nifti::read_labels(&masks[&case]).unwrap();
        assert!(mask.voxels().contains(&1), "a mask without a voxel shows nothing");
        let same = |other: &LabelMap, what: &str| {
            assert_eq!(other.voxels(), mask.voxels(), "{what}");
            let (ours, theirs) = (mask.geometry().affine_lps(), other.geometry().affine_lps());
            for (a, b) in ours.iter().flatten().zip(theirs.iter().flatten()) {
                assert!((a - b).abs() < 1e-4, "{what}: {ours:?} {theirs:?}");
            }
        };
        assert_eq!(scan.size(), mask.size());
        let nrrd_path = place.path().join(format!("nrrd/{case}.seg.nrrd"));
        same(&nrrd::read_labels(&nrrd_path).unwrap(), "nrrd");
        assert_eq!(nrrd::read_names(&nrrd_path).unwrap(), [(1, "tumour".to_owned())]);
        same(&metaimage::read_labels(&place.path().join(format!("metaimage/{case}.mha"))).unwrap(), "mha");
        let seg = dicom_seg::read(&place.path().join(format!("seg/{case}.dcm"))).unwrap();
        let drawn = seg.draw(|name| (name == "tumour").then_some(1), mask.geometry()).unwrap();
        same(&drawn, "seg");
    }
}

#[test]
fn exported_segmentations_are_labels_of_the_scans_that_they_refer_to() {
    labels_of_their_scans(
        "dicom-seg",
        "type = \"dicom_seg\"\npath = \"labels\"\nsegments = { tumour = [\"tum*\"] }",
    );
}

#[test]
fn exported_outlines_are_labels_of_the_scans_that_they_refer_to() {
    labels_of_their_scans(
        "rtstruct",
        "type = \"rtstruct\"\npath = \"labels\"\nstructures = { tumour = [\"tum*\"] }",
    );
}

/// Judges a pipeline against its own masks: they must be met voxel for voxel.
fn labels_of_their_scans(format: &str, source: &str) {
    let mut place = Workplace::new(2);
    place.run();
    let output = export(&place, &["--to", "labels", "--format", format]);
    assert!(output.status.success(), "{output:?}");
    let drawn = "type = \"rtstruct\"\npath = \"archive\"\nstructures = { tumour = [\"TV\"] }";
    assert!(place.text.contains(drawn));
    place.text = place.text.replace(drawn, source);
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected, summary.actions_run), (2, 0, 2), "{summary}");
    let dice: Vec<f64> = place.tables()["metrics"]
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|row| row["metric"] == "dice")
        .map(|row| row["value"].as_f64().unwrap())
        .collect();
    assert_eq!(dice, [1.0, 1.0]);
    // A segmentation that goes takes its figures with it.
    let one = by_case(&place.path().join("labels"), ".dcm").into_values().next().unwrap();
    fs::remove_file(one).unwrap();
    place.run();
    assert_eq!(place.tables(), place.anew());
    assert!(place.tables()["metrics"].len() < 6);
}

#[test]
fn what_cannot_be_exported_is_said() {
    let mut place = Workplace::new(1);
    let output = export(&place, &["--to", "none"]);
    assert_eq!(output.status.code(), Some(78), "nothing has run yet: {output:?}");
    place.run();
    let output = export(&place, &["--to", "none", "--stage", "scores"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("`scores`"));
    // A SEG names the patient.
    place.text = place.text.replace("identifiers = \"clear\"", "identifiers = \"pseudonymous\"");
    place.run();
    let output = export(&place, &["--to", "named", "--format", "dicom-seg"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("IDENTIFIERS"));
    let output = export(&place, &["--to", "plain"]);
    assert!(output.status.success(), "{output:?}");
    let uid = place.phantom_series(0);
    let names = fs::read_dir(place.path().join("plain")).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    assert!(names.len() == 1 && !names[0].contains(&uid), "{names:?}");
}
