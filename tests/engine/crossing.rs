//! Labels that cross: two spheres that share voxels, each learned, scored and written as it was drawn.

use std::fs;
use std::process::Output;

use tomoflow::connectors::{Geometry, LabelMap, Scan, nifti};
use tomoflow::networks;

use crate::heads::{inside, tomoflow};
use crate::support::pipelines::{BRIGHT, LEARNED, MASK_FILES, OF_FILES};
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};

/// A second reader, who drew each sphere in a file of its own.
const READER: &str = r#"
[sources.second]
type = "label_images"
path = "data"
files = "{case}/{label}.nii"
labels = { a = [1], b = [1] }
crosses = [["a", "b"]]

[operators.other]
type = "label"
inputs = ["scans", "second"]

[operators.reader]
type = "labels_as_masks"
inputs = ["other"]

[operators.scores]
type = "evaluate"
inputs = ["reader", "case"]
metrics = ["dice", "volume_ml"]

[sinks.results]
type = "delta"
inputs = ["reader", "scores"]
"#;

const SIZE: [usize; 3] = [6, 20, 20];

/// Whether a voxel lies within the spheres `a` and `b` of a case, which lie a little elsewhere in each.
fn spheres(case: usize, at: usize) -> [bool; 2] {
    let [d, h, w] = [at / 400, at / 20 % 20, at % 20];
    let within = |column: usize| {
        let squared = |x: usize, y: usize| x.abs_diff(y).pow(2);
        squared(d, 3) + squared(h, 8 + case) + squared(w, column) <= 17
    };
    [within(6 + case), within(10 + case)]
}

/// Four cases: a map of values, 1 of `a` alone, 2 of both and 3 of `b` alone, and a file for each sphere.
fn archive() -> Workplace {
    networks::set_threads(1);
    let mut place = Workplace::new(0);
    let head = OF_FILES.rewrite("{ organ = [1, 2], lesion = [2] }", "{ a = [1, 2], b = [2, 3] }");
    let training = LEARNED
        .rewrite("epochs = 12", "loss = { type = \"dice_ce\" }\nactivation = \"sigmoid\"\nepochs = 12");
    place.text = format!("{head}{training}{MASK_FILES}");
    let grid = Geometry::axis_aligned(SIZE, [1.0; 3]);
    for case in 0..4 {
        let value = |at: usize| match spheres(case, at) {
            [false, false] => 0,
            [true, false] => 1,
            [true, true] => 2,
            [false, true] => 3,
        };
        let folder = place.path().join(format!("data/s{case}"));
        fs::create_dir_all(&folder).unwrap();
        let brightness = |at: usize| f32::from([0u8, 100, 200, 150][value(at)]) + (at * 7 % 13) as f32;
        let scan = Scan::new(grid.clone(), (0..grid.voxels()).map(brightness).collect()).unwrap();
        nifti::write_scan(&folder.join("scan.nii"), &scan).unwrap();
        let write = |name: &str, label: &dyn Fn(usize) -> u16| {
            let labels = LabelMap::new(grid.clone(), (0..grid.voxels()).map(label).collect()).unwrap();
            nifti::write_labels(&folder.join(name), &labels).unwrap();
        };
        write("labels.nii", &|at| value(at) as u16);
        write("a.nii", &|at| u16::from(spheres(case, at)[0]));
        write("b.nii", &|at| u16::from(spheres(case, at)[1]));
    }
    place
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn figures(place: &Workplace, metric: &str, label: &str) -> Vec<(String, f64)> {
    let rows = place.metrics().into_iter().filter(|row| row.label == label && row.metric == metric);
    let mut found: Vec<_> = rows.map(|row| (row.case.clone(), row.value.unwrap())).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// The number of voxels of each sphere of a case, and of those that they share.
fn counts(case: usize) -> [usize; 3] {
    let count = |own: &dyn Fn([bool; 2]) -> bool| (0..2400).filter(|at| own(spheres(case, *at))).count();
    [count(&|[a, _]| a), count(&|[_, b]| b), count(&|[a, b]| a && b)]
}

#[test]
fn two_crossing_spheres_are_learned_and_scored_as_they_were_drawn() {
    let mut place = archive();
    assert!(counts(0)[2] > 20, "{:?}", counts(0));
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected), (1, 0), "{summary}");
    let metrics = place.metrics();
    assert!(metrics.iter().all(|row| row.label == "a" || row.label == "b"), "{metrics:?}");
    for (label, sphere) in [("a", 0), ("b", 1)] {
        let dice = figures(&place, "dice", label);
        assert_eq!(dice.len(), 4);
        assert!(dice.iter().all(|(_, dice)| *dice > 0.3), "{label}: {dice:?}");
        // Each figure is that of the file against the whole sphere, with what it shares.
        for (case, (name, dice)) in dice.iter().enumerate() {
            let found = inside(&place, &format!("{name}.{label}.nii.gz"));
            let wanted = |at: usize| spheres(case, at)[sphere];
            let shared = found.iter().enumerate().filter(|(at, found)| **found && wanted(*at)).count();
            let sum = found.iter().filter(|found| **found).count() + counts(case)[sphere];
            assert!((2.0 * shared as f64 / sum as f64 - dice).abs() < 1e-12, "{name} {label}");
        }
    }
    // What chose the epoch is what `evaluate` finds of the case that it was chosen by.
    let split = metrics.iter().find(|row| row.split == "validation").unwrap().case.clone();
    let judged = figures(&place, "dice", "a").iter().find(|(case, _)| *case == split).unwrap().1;
    let training = place.tables()["training"].clone();
    let rows = training.iter().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
    let mut rows = rows.filter(|row| row.to_string().contains("\"dice.a\""));
    assert!(rows.any(|row| (row["value"].as_f64().unwrap() - judged).abs() < 1e-6), "{judged}");
    let live = place.tables();
    place.text = place.text.rewrite("path = \"masks\"", "path = \"masks_anew\"");
    assert_same(&live, &place.anew(), "spheres that cross");
    place.text = place.text.rewrite("path = \"masks_anew\"", "path = \"masks\"");
    // The card names the labels alone: the network has two heads.
    let exported = tomoflow(&place, "export", &["--stage", "net", "--to", "model"]);
    assert!(exported.status.success(), "{}", said(&exported));
    let cards = fs::read_dir(place.path().join("model")).unwrap().map(|entry| entry.unwrap().path());
    let is_card = |path: &std::path::Path| {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        !hidden && path.extension().is_some_and(|ending| ending == "json")
    };
    let card: String =
        cards.filter(|path| is_card(path)).map(|path| fs::read_to_string(path).unwrap()).collect();
    let card: serde_json::Value = serde_json::from_str(&card).unwrap();
    assert_eq!(card["label_names"], serde_json::json!(["a", "b"]));
}

#[test]
fn what_takes_one_label_for_a_voxel_is_refused_before_a_run() {
    let mut place = archive();
    place.text = place.text.rewrite("activation = \"sigmoid\"\n", "");
    let refused = tomoflow(&place, "check", &[]);
    let text = said(&refused);
    assert!(!refused.status.success(), "{text}");
    assert!(text.contains("`a` and `b` of `truth` may share voxels"), "{text}");
    assert!(text.contains("let `activation` be \"sigmoid\""), "{text}");
    // Labels of which one lies within the other are classes as ever.
    place.text = place.text.rewrite("b = [2, 3]", "b = [2]");
    let taken = tomoflow(&place, "check", &[]);
    assert!(taken.status.success(), "{}", said(&taken));
}

#[test]
fn masks_of_one_label_a_voxel_are_compared_with_whole_spheres() {
    let mut place = archive();
    let (head, _) = place.text.split_once("[operators.normal]").unwrap();
    let bright = BRIGHT.rewrite("\"organ\"", "\"a\"").rewrite(", \"volume_ref_ml\"", "");
    place.text = format!("{head}{bright}");
    let summary = place.run();
    assert_eq!(summary.rejected, 0, "{summary}");
    // All that is bright is called `a`: both spheres, less what they share once.
    let [a, b, shared] = counts(0);
    let expected = 2.0 * a as f64 / (a + b - shared + a) as f64;
    let dice = figures(&place, "dice", "a");
    assert!(dice.len() == 4 && dice.iter().all(|(_, dice)| (dice - expected).abs() < 1e-12), "{dice:?}");
    let states: Vec<String> = place
        .metrics()
        .iter()
        .filter(|row| row.label != "a")
        .map(|row| format!("{} {}", row.label, row.state))
        .collect();
    assert_eq!(states, ["b not_in_mask"; 4]);
    // A data set for nnU-Net has what they share as a value of both.
    let exported = tomoflow(&place, "export", &["--to", "set", "--format", "nnunet"]);
    assert!(exported.status.success(), "{}", said(&exported));
    let text = fs::read_to_string(place.path().join("set/dataset.json")).unwrap();
    let description: serde_json::Value = serde_json::from_str(&text).unwrap();
    let labels = serde_json::json!({ "background": 0, "a": [1, 3], "b": [2, 3], "a & b": 3 });
    assert_eq!(description["labels"], labels);
    let mut maps =
        fs::read_dir(place.path().join("set/labelsTr")).unwrap().map(|entry| entry.unwrap().path());
    let map = maps.find(|path| path.to_string_lossy().ends_with(".nii.gz")).unwrap();
    let map = nifti::read_labels(&map).unwrap();
    let voxels = |value: u16| map.voxels().iter().filter(|found| **found == value).count();
    assert_eq!([1, 2, 3].map(voxels), [a - shared, b - shared, shared]);
}

#[test]
fn readers_are_compared_by_what_they_drew() {
    let mut place = archive();
    let (head, _) = place.text.split_once("[operators.normal]").unwrap();
    let files = MASK_FILES.rewrite("[\"masks\"]", "[\"reader\"]");
    place.text = format!("{head}{READER}{files}");
    let summary = place.run();
    assert_eq!(summary.rejected, 0, "{summary}");
    for (label, sphere) in [("a", 0), ("b", 1)] {
        let dice = figures(&place, "dice", label);
        assert_eq!(dice.iter().map(|(_, dice)| *dice).collect::<Vec<_>>(), [1.0; 4], "{label}");
        for (case, (name, volume)) in figures(&place, "volume_ml", label).iter().enumerate() {
            assert!((volume - counts(case)[sphere] as f64 / 1000.0).abs() < 1e-9, "{name}");
            let written = inside(&place, &format!("{name}.{label}.nii.gz"));
            assert_eq!(written.iter().filter(|own| **own).count(), counts(case)[sphere]);
        }
    }
    assert!(place.tables()["rejects"].is_empty(), "{:?}", place.tables()["rejects"]);
    // Where nobody says that they may, the later one has what they share, and a row says how much that is.
    place.text = place.text.rewrite("crosses = [[\"a\", \"b\"]]\n", "");
    place.text = place.text.rewrite("path = \"masks\"", "path = \"masks_anew\"");
    place.run();
    let [a, b, shared] = counts(0);
    let expected = 2.0 * (a - shared) as f64 / (2 * a - shared) as f64;
    let dice = |label: &str| figures(&place, "dice", label)[0].1;
    assert!((dice("a") - expected).abs() < 1e-12 && dice("b") == 1.0 && b > shared);
    let rows = place.tables()["rejects"].clone();
    let message = format!("{shared} of `a` are `b` as well");
    assert!(rows.iter().any(|row| row.contains("LABELS_OVERLAP") && row.contains(&message)), "{rows:?}");
}
