//! Data sets that `init` knows by their layout.

use std::fs;

use serde_json::json;

use super::{Place, has, phantom, several_volumes, valued};

#[test]
fn nnunet_with_regions_folds_and_a_second_channel() {
    let place = Place::new();
    for index in 0..4 {
        let (scan, labels) = phantom(index);
        place.scan(&format!("imagesTr/case_{index}_0000.nii.gz"), &scan);
        place.scan(&format!("imagesTr/case_{index}_0001.nii.gz"), &scan);
        let labels = valued(
            &labels,
            |at, label| if label == 1 { 1 + (at % 2) as u16 } else { u16::from(at == 0) * 3 },
        );
        place.labels(&format!("labelsTr/case_{index}.nii.gz"), &labels);
    }
    place.scan("imagesTs/case_9_0000.nii.gz", &phantom(9).0);
    let description = json!({
        "channel_names": { "0": "T2", "1": "T1" }, "numTraining": 4, "file_ending": ".nii.gz",
        "labels": { "background": 0, "whole": [1, 2], "core": 2, "ignore": 3 }, "regions_class_order": [1, 2],
    });
    place.write("dataset.json", &description.to_string());
    let folds = json!([
        { "train": ["case_0", "case_1"], "val": ["case_2"] },
        { "train": ["case_2", "case_1"], "val": ["case_0"] }
    ]);
    place.write("splits_final.json", &folds.to_string());
    let (written, said) = place.init();
    has(
        &written,
        &[
            "nnU-Net's raw layout",
            "files = \"imagesTr/{case}_{channel}.nii.gz\"",
            "channels = [\"T2\", \"T1\"]",
            "files = \"labelsTr/{case}.nii.gz\"",
            "labels = { whole = [1, 2], core = [2] }",
            "[3]",
            "modality = \"MR\"",
            "split = { file = \"data/splits_final.json\", fold = 0 }",
        ],
    );
    has(&said, &["2 channels, and all are read: T2, T1", "imagesTs/case_9_0000.nii.gz", "fold 0 of 2"]);
    place.learns(4, &["whole", "core"]);
    let metrics = place.metrics();
    let parts: Vec<&str> =
        metrics.iter().filter(|row| row.metric == "dice").map(|row| row.split.as_str()).collect();
    for (part, figures) in [("train", 4), ("validation", 2), ("test", 2)] {
        assert_eq!(parts.iter().filter(|found| **found == part).count(), figures, "{part}: {parts:?}");
    }
}

#[test]
fn decathlon_and_its_files_of_several_channels() {
    let place = Place::new();
    for index in 1..4 {
        let (scan, labels) = phantom(index);
        place.scan(&format!("imagesTr/vs_{index:03}.nii.gz"), &scan);
        place.labels(&format!("labelsTr/vs_{index:03}.nii.gz"), &labels);
    }
    let description = json!({
        "modality": { "0": "MRI" }, "labels": { "0": "background", "1": "Schwannoma" }, "numTraining": 3,
        "training": [], "test": [],
    });
    place.write("dataset.json", &description.to_string());
    let (written, _) = place.init();
    has(
        &written,
        &["Medical Segmentation Decathlon", "labels = { Schwannoma = [1] }", "imagesTr/{case}.nii.gz"],
    );
    place.learns(3, &["Schwannoma"]);

    // The same with a fourth axis: its volumes are channels.
    for index in 1..4 {
        fs::remove_file(place.path(&format!("imagesTr/vs_{index:03}.nii.gz"))).unwrap();
        several_volumes(&place.path(&format!("imagesTr/vs_{index:03}.nii")), &phantom(index).0);
    }
    let (written, said) = place.init();
    has(&written, &["channels = [\"channel_0\", \"channel_1\"]", "files = \"imagesTr/{case}.nii\""]);
    has(&said, &["files hold 2 volumes each", "nothing names them"]);
    let named = json!({
        "modality": { "0": "FLAIR", "1": "T1w" }, "labels": { "0": "background", "1": "Schwannoma" },
        "numTraining": 3, "training": [], "test": [],
    });
    place.write("dataset.json", &named.to_string());
    let (written, _) = place.init();
    has(&written, &["channels = [\"FLAIR\", \"T1w\"]", "of the channels FLAIR, T1w"]);
    place.learns(3, &["Schwannoma"]);
}

#[test]
fn known_sets_by_the_names_of_their_files() {
    let lits = Place::new();
    for index in 0..3 {
        let (scan, labels) = phantom(index);
        lits.scan(&format!("batch {}/volume-{index}.nii", 1 + index % 2), &scan);
        let labels = valued(&labels, |at, label| label * (1 + (at % 2) as u16));
        lits.labels(&format!("batch {}/segmentation-{index}.nii", 1 + index % 2), &labels);
    }
    let (written, _) = lits.init();
    has(&written, &["LiTS", "files = \"*/volume-{case}.nii\"", "labels = { liver = [1, 2], lesion = [2] }"]);
    lits.learns(3, &["liver", "lesion"]);

    let promise = Place::new();
    for index in 0..3 {
        let (scan, labels) = phantom(index);
        promise.scan(&format!("Case{index:02}.mhd"), &scan);
        promise.labels(&format!("Case{index:02}_segmentation.mhd"), &labels);
    }
    let (written, _) = promise.init();
    has(
        &written,
        &[
            "PROMISE12",
            "files = [\"{case}.mhd\", \"!*_segmentation.mhd\"]",
            "labels = { prostate = [1] }",
            "type = \"zscore\"",
        ],
    );
    promise.learns(3, &["prostate"]);
}
