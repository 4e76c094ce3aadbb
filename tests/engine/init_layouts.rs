//! `tomoflow init`: layouts whose folders and names mislead.

use std::fs;

use serde_json::json;

use super::init::{Place, has, phantom, several_volumes, valued};

/// Scans and labels of these cases in folders of a part.
fn set(place: &Place, [scans, labels]: [&str; 2], cases: impl IntoIterator<Item = usize>, channel: &str) {
    for index in cases {
        let (scan, truth) = phantom(index);
        place.scan(&format!("{scans}/case_{index}{channel}.nii.gz"), &scan);
        place.labels(&format!("{labels}/case_{index}.nii.gz"), &truth);
    }
}

fn describe(place: &Place) {
    let description = json!({
        "channel_names": { "0": "MRI" }, "labels": { "background": 0, "tumour": 1 }, "numTraining": 3,
        "file_ending": ".nii.gz",
    });
    place.write("dataset.json", &description.to_string());
}

#[test]
fn nobody_trains_on_a_test_set() {
    // The same numbers in both, as some sets have them.
    let place = Place::new();
    set(&place, ["imagesTr", "labelsTr"], 0..3, "_0000");
    set(&place, ["imagesTs", "labelsTs"], 0..2, "_0000");
    describe(&place);
    let (written, said) = place.init();
    has(&written, &["files = \"imagesTr/{case}_0000.nii.gz\"", "files = \"labelsTr/{case}.nii.gz\""]);
    has(
        &said,
        &["3 MR scans, 3 of them with labels", "4 volumes in folders of test", "`imagesTs`, `labelsTs`"],
    );
    place.learns(3, &["tumour"]);

    let place = Place::new();
    for (part, cases) in [("train", 0..3), ("val", 3..5)] {
        set(&place, [&format!("{part}/images"), &format!("{part}/labels")], cases, "");
    }
    place.scan("test/images/case_7.nii.gz", &phantom(7).0);
    let (written, said) = place.init();
    has(&written, &["files = \"train/images/{case}.nii.gz\"", "files = \"train/labels/{case}.nii.gz\""]);
    has(&said, &["3 of them with labels", "5 volumes in folders of test", "`test`, `val`"]);
    place.learns(3, &["structure"]);
}

#[test]
fn a_test_set_among_folders_of_any_name_is_left_out_by_a_pattern() {
    let place = Place::new();
    for (folder, cases) in [("ward a", 0..2), ("ward b", 2..3), ("test", 3..5)] {
        for index in cases {
            let (scan, truth) = phantom(index);
            place.scan(&format!("{folder}/c{index}_mr.nii.gz"), &scan);
            place.labels(&format!("{folder}/c{index}_seg.nii.gz"), &truth);
        }
    }
    let (written, said) = place.init();
    has(&written, &["\"*/{case}_mr.nii.gz\", \"!test/**/*\"", "\"*/{case}_seg.nii.gz\", \"!test/**/*\""]);
    has(&said, &["3 of them with labels"]);
    place.learns(3, &["structure"]);
}

#[test]
fn folders_of_scans_and_labels_of_several_sets_are_told_apart() {
    // As AMOS, WORD and the Decathlon with labels of its test sets: all names are those of the cases.
    let place = Place::new();
    set(&place, ["imagesTr", "labelsTr"], 0..3, "");
    set(&place, ["imagesVa", "labelsVa"], 4..6, "");
    place.scan("imagesTs/case_9.nii.gz", &phantom(9).0);
    describe(&place);
    let (written, _) = place.init();
    has(&written, &["files = \"imagesTr/{case}.nii.gz\"", "files = \"labelsTr/{case}.nii.gz\""]);
    place.learns(3, &["tumour"]);

    // Of folders that are no test sets both are read.
    let place = Place::new();
    set(&place, ["north", "labels"], 0..2, "");
    set(&place, ["south", "masks"], 2..4, "");
    let (written, said) = place.init();
    has(
        &written,
        &[
            "files = [\"north/{case}.nii.gz\", \"south/{case}.nii.gz\"]",
            "files = [\"labels/{case}.nii.gz\", \"masks/{case}.nii.gz\"]",
        ],
    );
    has(&said, &["4 of them with labels"]);
    place.learns(4, &["structure"]);
}

#[test]
fn scans_of_several_formats_are_one_kind() {
    let place = Place::new();
    for index in 0..4 {
        let (scan, truth) = phantom(index);
        let ending = ["mhd", "nii", "nii.gz", "nii.gz"][index];
        let name = format!("images/c{index}.{ending}");
        place.scan(&name, &scan);
        if index == 3 {
            fs::rename(place.path(&name), place.path("images/c3.NII.GZ")).unwrap();
        }
        place.labels(&format!("labels/c{index}.nii.gz"), &truth);
    }
    let (written, said) = place.init();
    has(&written, &["images/{case}.nii*", "images/{case}.mhd", "images/{case}.NII.GZ"]);
    has(&said, &["4 of them with labels"]);
    assert!(!said.contains("channel") && !said.contains("no part of the pipeline"), "{said}");
    place.learns(4, &["structure"]);
}

#[test]
fn regions_that_cross_are_labels_by_their_values() {
    let place = Place::new();
    for index in 0..3 {
        let (scan, truth) = phantom(index);
        place.scan(&format!("imagesTr/case_{index}_0000.nii.gz"), &scan);
        let truth = valued(&truth, |at, label| label * (1 + (at % 3) as u16));
        place.labels(&format!("labelsTr/case_{index}.nii.gz"), &truth);
    }
    let description = json!({
        "channel_names": { "0": "MRI" }, "labels": { "background": 0, "a": [1, 2], "b": [2, 3] },
        "regions_class_order": [1, 2], "numTraining": 3, "file_ending": ".nii.gz",
    });
    place.write("dataset.json", &description.to_string());
    let (written, said) = place.init();
    has(&written, &["labels = { a = [1], a_and_b = [2], b = [3] }"]);
    has(&said, &["regions `a` and `b` share values"]);
    place.learns(3, &["a", "a_and_b", "b"]);
}

#[test]
fn label_maps_that_no_name_pairs_are_no_scans() {
    let place = Place::new();
    for index in 0..2 {
        let (scan, truth) = phantom(index);
        place.scan(&format!("p{index}_mr.nii.gz"), &scan);
        place.labels(&format!("p{index}_msk.nii.gz"), &truth);
    }
    let (written, said) = place.init();
    has(&written, &["\"!**/*_msk.nii.gz\""]);
    has(&said, &["2 volumes have the values of label maps", "they are left out", "2 scans"]);
    let summary = place.run(&[]);
    assert_eq!((summary.cases, summary.rejected), (2, 0), "{summary}");
}

#[test]
fn files_of_all_phases_beside_labelled_ones_are_left_out() {
    let place = Place::new();
    for index in 0..3 {
        let (scan, truth) = phantom(index);
        place.scan(&format!("p{index}_frame1.nii"), &scan);
        place.labels(&format!("p{index}_frame1_gt.nii"), &truth);
        several_volumes(&place.path(&format!("p{index}_4d.nii")), &scan);
    }
    let (written, said) = place.init();
    has(&written, &["\"!**/*_4d.nii\""]);
    has(&said, &["3 files without labels hold another number of volumes than 1", "3 of them with labels"]);
    place.learns(3, &["structure"]);
}

#[test]
fn a_table_of_scans_and_labels_has_a_folder_for_each() {
    let place = Place::new();
    let mut table = "file,case,patient\n".to_owned();
    for index in 0..3 {
        let (scan, truth) = phantom(index);
        place.scan(&format!("x/{index}a.nii.gz"), &scan);
        place.labels(&format!("labels/{index}b.nii.gz"), &truth);
        table.push_str(&format!("x/{index}a.nii.gz,k{index},p{index}\n"));
        table.push_str(&format!("labels/{index}b.nii.gz,k{index},p{index}\n"));
    }
    place.write("cases.csv", &table);
    let (written, said) = place.init();
    has(&written, &["path = \"data/x\"", "path = \"data/labels\""]);
    has(&said, &["3 of them with labels", "FILE_MISSING"]);
}

#[test]
fn a_case_counts_once_in_the_line_of_a_run() {
    let place = Place::new();
    for index in 0..3 {
        place.scan(&format!("p{index}.nii"), &phantom(index).0);
    }
    let (_, _) = place.init();
    // A copy that broke off.
    let file = place.path("p1.nii");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 10]).unwrap();
    let first = place.run(&[]);
    assert_eq!((first.cases, first.rejected), (3, 1), "{first}");
    assert_eq!(first.processed + first.unchanged + first.rejected, first.cases, "{first}");
    let second = place.run(&[]);
    assert_eq!((second.processed, second.unchanged, second.rejected), (0, 2, 1), "{second}");
}
