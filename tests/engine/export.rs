//! `tomoflow export`: masks in the formats of other programs, and back again as labels.

mod folders;
mod nnunet;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::Workplace;
use crate::support::text::Rewrite as _;
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
    place.text = place.text.rewrite(drawn, source);
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
    place.text = place.text.rewrite("identifiers = \"clear\"", "identifiers = \"pseudonymous\"");
    place.run();
    let output = export(&place, &["--to", "named", "--format", "dicom-seg"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("IDENTIFIERS"));
    assert!(!place.path().join("named").exists(), "a folder that nothing was written to");
    let output = export(&place, &["--to", "plain"]);
    assert!(output.status.success(), "{output:?}");
    let uid = place.phantom_series(0);
    let names = fs::read_dir(place.path().join("plain")).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap()).filter(|name| !name.starts_with('.'));
    let names: Vec<String> = names.collect();
    assert!(names.len() == 1 && !names[0].contains(&uid), "{names:?}");
}

#[test]
fn an_export_replaces_nothing_that_no_export_wrote() {
    let place = Workplace::new(1);
    place.run();
    let refused = |args: &[&str], telling: &[&str]| {
        let output = export(&place, args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{args:?}: {told}");
        assert!(telling.iter().all(|part| told.contains(part)), "{args:?}: {told}");
    };
    let before = fs::read_dir(place.archive()).unwrap().count();
    for (folder, how) in [("archive", "archive is "), ("archive/new/deep", "lies in"), (".", "holds")] {
        for format in ["nifti", "nnunet", "boxes"] {
            refused(
                &["--to", folder, "--format", format],
                &[how, "which the source `", "nothing was written"],
            );
        }
    }
    assert_eq!(fs::read_dir(place.archive()).unwrap().count(), before);

    // A mask that somebody drew.
    let name = format!("{}.nii.gz", place.phantom_series(0));
    let drawn = place.path().join("drawn");
    fs::create_dir(&drawn).unwrap();
    fs::write(drawn.join(&name), "drawn by hand").unwrap();
    refused(&["--to", "drawn"], &[&name, "1 found that no export wrote"]);
    assert_eq!(fs::read_to_string(drawn.join(&name)).unwrap(), "drawn by hand");
    assert_eq!(fs::read_dir(&drawn).unwrap().count(), 1);

    // Its own files it replaces, until somebody works on them.
    for _ in 0..2 {
        let output = export(&place, &["--to", "own"]);
        assert!(output.status.success(), "{output:?}");
    }
    let own = place.path().join("own").join(&name);
    let text = [fs::read(&own).unwrap(), b"corrected".to_vec()].concat();
    fs::write(&own, &text).unwrap();
    refused(&["--to", "own"], &[&name, "somebody changed since"]);
    assert_eq!(fs::read(&own).unwrap(), text);

    // A data set of others: what lies there would be cases of it.
    let set = place.path().join("Dataset001_other");
    fs::create_dir_all(set.join("labelsTr")).unwrap();
    fs::write(set.join("labelsTr/other.nii.gz"), "drawn by hand").unwrap();
    refused(&["--to", "Dataset001_other", "--format", "nnunet"], &["labelsTr/other.nii.gz"]);
    assert_eq!(fs::read_dir(&set).unwrap().count(), 1);
    for _ in 0..2 {
        let output = export(&place, &["--to", "set", "--format", "nnunet"]);
        assert!(output.status.success(), "{output:?}");
    }
    fs::write(place.path().join("set/imagesTr/more_0000.nii.gz"), "another's").unwrap();
    refused(&["--to", "set", "--format", "nnunet"], &["imagesTr/more_0000.nii.gz"]);
}
