//! Labels that have a file each: a case of several files, and what becomes of it when one is absent.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same, ran};
use tomoflow::connectors::{Geometry, LabelMap, Scan, nifti};
use tomoflow::networks;

const PIPELINE: &str = r#"
[pipeline]
name = "parts"
out = "out"
identifiers = "clear"

[sources.scans]
type = "images"
path = "data"
files = "{case}/ct.nii"

[sources.truth]
type = "label_images"
path = "data"
files = "{case}/parts/{label}.nii"
labels = { liver = [1], spleen = [1, 2] }

[operators.case]
type = "label"
inputs = ["scans", "truth"]

[operators.liver]
type = "threshold"
inputs = ["case"]
above = 50
below = 150
label = "liver"

[operators.spleen]
type = "threshold"
inputs = ["case"]
above = 150
label = "spleen"

[operators.both]
type = "combine"
inputs = ["liver", "spleen"]
op = "or"

[operators.scores]
type = "evaluate"
inputs = ["both", "case"]
metrics = ["dice", "volume_ref_ml"]

[sinks.results]
type = "delta"
inputs = ["both", "scores"]
"#;

/// Places of the two structures.
const LIVER: std::ops::Range<usize> = 200..260;
const SPLEEN: std::ops::Range<usize> = 300..330;

fn grid() -> Geometry {
    Geometry::axis_aligned([8, 16, 16], [2.0, 1.0, 1.0])
}

fn write_labels(place: &Workplace, file: &str, at: std::ops::Range<usize>, value: u16) {
    let path = place.path().join("data").join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let voxels = (0..grid().voxels()).map(|voxel| if at.contains(&voxel) { value } else { 0 }).collect();
    nifti::write_labels(&path, &LabelMap::new(grid(), voxels).unwrap()).unwrap();
}

/// Cases with both structures, and a structure that nobody asks for.
fn with(cases: usize) -> Workplace {
    let mut place = Workplace::new(0);
    place.text = PIPELINE.to_owned();
    for case in 0..cases {
        write_labels(&place, &format!("s{case}/parts/liver.nii"), LIVER, 1);
        write_labels(&place, &format!("s{case}/parts/spleen.nii"), SPLEEN, 2);
        write_labels(&place, &format!("s{case}/parts/heart.nii"), 0..100, 1);
        let value = |voxel: usize| match voxel {
            voxel if LIVER.contains(&voxel) => 100.0,
            voxel if SPLEEN.contains(&voxel) => 200.0,
            voxel => ((voxel + case) % 7) as f32,
        };
        let scan = Scan::new(grid(), (0..grid().voxels()).map(value).collect()).unwrap();
        nifti::write_scan(&place.path().join(format!("data/s{case}/ct.nii")), &scan).unwrap();
    }
    place
}

/// Value and state of a figure, by case and label.
fn figures(place: &Workplace, metric: &str) -> BTreeMap<(String, String), (Option<f64>, String)> {
    let rows = place.metrics().into_iter().filter(|row| row.metric == metric);
    rows.map(|row| ((row.case, row.label), (row.value, row.state))).collect()
}

fn of(place: &Workplace, metric: &str, case: &str, label: &str) -> (Option<f64>, String) {
    figures(place, metric)[&(case.to_owned(), label.to_owned())].clone()
}

fn ok(value: f64) -> (Option<f64>, String) {
    (Some(value), "ok".to_owned())
}

/// Key, stage and code of each reject.
fn rejects(place: &Workplace) -> Vec<[String; 3]> {
    let rows = place.tables()["rejects"].clone();
    let rows = rows.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut found: Vec<[String; 3]> = rows
        .map(|row| ["key", "stage", "code"].map(|field| row[field].as_str().unwrap().to_owned()))
        .collect();
    found.sort();
    found
}

#[test]
fn files_of_one_label_each_are_the_labels_of_a_case() {
    let place = with(2);
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected, summary.unmatched.len()), (2, 0, 0), "{summary}");
    for case in ["s0", "s1"] {
        assert_eq!(
            [of(&place, "dice", case, "liver"), of(&place, "dice", case, "spleen")],
            [ok(1.0), ok(1.0)]
        );
        assert_eq!(of(&place, "volume_ref_ml", case, "liver"), ok(0.12));
        assert_eq!(of(&place, "volume_ref_ml", case, "spleen"), ok(0.06));
    }
    assert_same(&place.tables(), &place.anew(), "files of labels");
    assert_eq!(place.run().actions_run, 0);
    // One file of one case: its figures alone are made anew.
    write_labels(&place, "s1/parts/liver.nii", 200..230, 1);
    let summary = place.run();
    assert_eq!((ran(&summary, "liver"), ran(&summary, "scores")), (0, 1), "{summary}");
    assert_eq!(of(&place, "volume_ref_ml", "s1", "liver"), ok(0.06));
    // A structure that nobody asks for is of no account.
    write_labels(&place, "s1/parts/heart.nii", 0..500, 7);
    assert_eq!(place.run().actions_run, 0);
    assert_same(&place.tables(), &place.anew(), "a file that changed");
}

#[test]
fn a_label_without_a_file_has_no_truth_and_the_others_have() {
    let place = with(2);
    place.run();
    let file = place.path().join("data/s1/parts/spleen.nii");
    let kept = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected, summary.exit_code(0.0)), (2, 0, 0), "{summary}");
    let line = "truth: 1 case has no file for a label: s1 (spleen)";
    assert!(summary.to_string().contains(line), "{summary}");
    assert_eq!(rejects(&place), [["s1", "truth", "NO_LABEL_FILE"].map(str::to_owned)]);
    assert_eq!(of(&place, "dice", "s1", "liver"), ok(1.0));
    assert_eq!(of(&place, "dice", "s1", "spleen"), (None, "not_in_truth".to_owned()));
    assert_eq!(of(&place, "dice", "s0", "spleen"), ok(1.0));
    assert_same(&place.tables(), &place.anew(), "one absent");
    fs::write(&file, kept).unwrap();
    place.run();
    assert!(rejects(&place).is_empty());
    assert_eq!(of(&place, "dice", "s1", "spleen"), ok(1.0));
    // Labels of a case without a scan are told once, and not once a file.
    fs::remove_file(place.path().join("data/s0/ct.nii")).unwrap();
    place.run();
    assert_eq!(rejects(&place), [["s0", "truth", "LABEL_OF_NO_SCAN"].map(str::to_owned)]);
}

#[test]
fn no_training_learns_from_a_case_that_lacks_a_label() {
    networks::set_threads(1);
    let mut place = with(4);
    let (head, _) = PIPELINE.split_once("[operators.liver]").unwrap();
    let training = r#"
[operators.normal]
type = "zscore"
inputs = ["case"]

[operators.samples]
type = "patches"
inputs = ["normal"]
size = [8, 16, 16]
per_case = 1

[operators.net]
type = "train"
inputs = ["samples"]
network = { type = "unet", dims = "2.5d", levels = 2, channels = 2 }
epochs = 1
batch = 1
split = { train = 0.7, validation = 0.3, test = 0 }

[operators.masks]
type = "infer"
inputs = ["normal"]
model = "net"

[sinks.results]
type = "delta"
inputs = ["masks"]
"#;
    place.text = format!("{head}{training}");
    fs::remove_file(place.path().join("data/s2/parts/liver.nii")).unwrap();
    let summary = place.run();
    let prepared = &summary.stages["samples"];
    assert_eq!((summary.trained, prepared.run, prepared.failed), (1, 3, 1), "{summary}");
    // Its row stays, although the model that is kept asks for no case any more.
    let rows = [["s2", "net", "PARTLY_LABELLED"], ["s2", "truth", "NO_LABEL_FILE"]];
    assert_eq!(rejects(&place), rows.map(|row| row.map(str::to_owned)));
    assert_eq!((place.run().actions_run, rejects(&place).len()), (0, 2));
}

#[test]
fn where_labels_overlap_the_last_one_counts() {
    let mut place = with(1);
    write_labels(&place, "s0/parts/liver.nii", 200..310, 1);
    place.run();
    assert_eq!(of(&place, "volume_ref_ml", "s0", "liver"), ok(0.2));
    assert_eq!(of(&place, "volume_ref_ml", "s0", "spleen"), ok(0.06));
    place.text = place.text.rewrite("liver = [1], spleen = [1, 2]", "spleen = [1, 2], liver = [1]");
    place.run();
    assert_eq!(of(&place, "volume_ref_ml", "s0", "liver"), ok(0.22));
    assert_eq!(of(&place, "volume_ref_ml", "s0", "spleen"), ok(0.04));
}

#[test]
fn a_part_outside_of_what_holds_it_is_told_with_its_voxels() {
    let mut place = with(1);
    let labels = "labels = { liver = [1], spleen = [1, 2] }";
    place.text = place.text.rewrite(labels, &format!("{labels}\nholds = {{ liver = [\"spleen\"] }}"));
    place.run();
    assert_eq!(rejects(&place).into_iter().map(|[_, _, code]| code).collect::<Vec<_>>(), ["PART_OUTSIDE"]);
    let rows = place.tables()["rejects"].clone();
    let said = "30 of 30 voxels of `spleen` lie outside of `liver`";
    assert!(rows.iter().any(|row| row.contains(said)), "{rows:?}");
    // Within it nothing is told.
    write_labels(&place, "s0/parts/spleen.nii", LIVER.start..LIVER.start + 10, 2);
    place.run();
    assert!(rejects(&place).is_empty(), "{:?}", rejects(&place));
}

#[test]
fn a_file_with_another_value_or_two_files_of_a_label_are_refused() {
    let mut place = with(2);
    write_labels(&place, "s0/parts/liver.nii", LIVER, 255);
    place.text = place.text.rewrite("{label}.nii\"", "{label}.nii*\"");
    write_labels(&place, "s1/parts/spleen.nii.gz", 400..410, 1);
    place.run();
    let expected = [["s0", "scores", "OTHER_VALUE"], ["s1", "case", "SEVERAL_LABELS"]];
    assert_eq!(rejects(&place), expected.map(|row| row.map(str::to_owned)));
    let rows = place.tables()["rejects"].clone();
    assert!(rows.iter().any(|row| row.contains("spleen.nii.gz") && row.contains("spleen.nii,")), "{rows:?}");
    assert!(rows.iter().any(|row| row.contains("255") && row.contains("`liver`")), "{rows:?}");
    // The newer of the two files, and all others.
    let asked = "inputs = [\"scans\", \"truth\"]";
    place.text = place.text.rewrite(asked, &format!("{asked}\non_several = \"newest\""));
    for (file, seconds) in [("spleen.nii", 20), ("spleen.nii.gz", 10), ("liver.nii", 30)] {
        let path = place.path().join("data/s1/parts").join(file);
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + seconds)).unwrap();
    }
    place.run();
    assert_eq!(of(&place, "dice", "s1", "spleen"), ok(1.0));
}

#[test]
fn a_table_names_labels_of_files_as_well() {
    let mut place = with(1);
    let rows =
        "file,case,label\ns0/parts/liver.nii,s0,liver\ns0/parts/spleen.nii,s0,spleen\ns0/x.nii,s0,spleen\n";
    fs::write(place.path().join("labels.csv"), rows).unwrap();
    place.text = place.text.rewrite("files = \"{case}/parts/{label}.nii\"", "table = \"labels.csv\"");
    let summary = place.run();
    assert_eq!([of(&place, "dice", "s0", "liver"), of(&place, "dice", "s0", "spleen")], [ok(1.0), ok(1.0)]);
    assert!(summary.to_string().contains("s0/x.nii (row 4)"), "{summary}");
}
