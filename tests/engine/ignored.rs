//! Voxels that nobody labelled: they teach nothing, no figure counts them, and each case says how many there are.

use std::fs;

use tomoflow::connectors::{Geometry, LabelMap, Scan, nifti};
use tomoflow::networks;
use tomoflow::phantom::vs;

use crate::support::pipelines::BRIGHT;
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};

const PIPELINE: &str = r#"
[pipeline]
name = "ignored"
out = "out"
identifiers = "clear"
allowed_rejects = 1.0

[sources.scans]
type = "images"
path = "data"
files = "{case}/scan.nii"

[sources.truth]
type = "label_images"
path = "data"
files = "{case}/labels.nii"
labels = { organ = [1] }
ignore = [255]

[operators.case]
type = "label"
inputs = ["scans", "truth"]
"#;

const TRAINING: &str = r#"
[operators.normal]
type = "zscore"
inputs = ["case"]

[operators.samples]
type = "patches"
inputs = ["normal"]
size = [4, 8, 8]
per_case = 4
foreground = 1.0

[operators.net]
type = "train"
inputs = ["samples"]
network = { type = "unet", dims = "2.5d", levels = 2, channels = 4 }
epochs = 3
learning_rate = 1e-2
validate = "cases"
split = { train = 2, validation = 1, test = 0, seed = 1 }
"#;

fn pipeline() -> String {
    let figures = "[\"dice\", \"volume_ml\", \"volume_ref_ml\", \"hd\", \"lesion_recall\"]";
    format!("{PIPELINE}{}", BRIGHT.rewrite("[\"dice\", \"volume_ref_ml\"]", figures))
}

const SIZE: [usize; 3] = [4, 16, 16];

/// A bright box of 4 x 8 x 8 voxels from column 4 on, which is labelled, but for columns from `from` on.
fn write(place: &Workplace, case: &str, from: usize, value: u16) {
    let grid = Geometry::axis_aligned(SIZE, [2.0, 1.0, 1.0]);
    let inside = |at: usize| (4..12).contains(&(at / 16 % 16)) && (4..12).contains(&(at % 16));
    let label = |at: usize| if at % 16 >= from { value } else { u16::from(inside(at)) };
    let intensity = |at: usize| f32::from(u8::from(inside(at))) * 100.0 + (at * 7 % 13) as f32;
    let folder = place.path().join(format!("data/{case}"));
    fs::create_dir_all(&folder).unwrap();
    let scan = Scan::new(grid.clone(), (0..grid.voxels()).map(intensity).collect()).unwrap();
    nifti::write_scan(&folder.join("scan.nii"), &scan).unwrap();
    let labels = LabelMap::new(grid.clone(), (0..grid.voxels()).map(label).collect()).unwrap();
    nifti::write_labels(&folder.join("labels.nii"), &labels).unwrap();
}

fn place() -> Workplace {
    networks::set_threads(1);
    let mut place = Workplace::new(0);
    place.text = pipeline();
    place
}

fn figure(place: &Workplace, case: &str, metric: &str) -> Option<f64> {
    let rows = place.metrics();
    rows.iter().find(|row| (&*row.case, &*row.metric) == (case, metric)).and_then(|row| row.value)
}

/// The codes and messages of a case in `rejects`.
fn told(place: &Workplace, case: &str) -> Vec<(String, String)> {
    let rows = place.tables()["rejects"].clone();
    let rows = rows.iter().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
    let own = rows.filter(|row| row["key"] == case);
    let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
    own.map(|row| (text(&row, "code"), text(&row, "message"))).collect()
}

#[test]
fn figures_leave_out_what_nobody_labelled() {
    let mut place = place();
    // All of it labelled, half of it, and nothing at all.
    write(&place, "a", 16, 255);
    write(&place, "b", 8, 255);
    write(&place, "c", 0, 255);
    let summary = place.run();
    let cases = ["a", "b"];
    assert_eq!(cases.map(|case| figure(&place, case, "dice")), [Some(1.0); 2], "{summary}");
    // 4 x 8 x 8 voxels of 2 mm3, and half of them.
    for metric in ["volume_ml", "volume_ref_ml"] {
        assert_eq!(cases.map(|case| figure(&place, case, metric)), [Some(0.512), Some(0.256)]);
    }
    assert_eq!(cases.map(|case| figure(&place, case, "hd")), [Some(0.0); 2]);
    assert_eq!(cases.map(|case| figure(&place, case, "lesion_recall")), [Some(1.0); 2]);
    assert_eq!(told(&place, "a"), []);
    let row = |code: &str, message: &str| (code.to_owned(), message.to_owned());
    assert_eq!(told(&place, "b"), [row("IGNORED", "512 of 1024 voxels have values of `ignore`")]);
    assert_eq!(
        told(&place, "c").iter().map(|(code, _)| code.as_str()).collect::<Vec<_>>(),
        ["NOTHING_LABELLED"]
    );
    assert_eq!(figure(&place, "c", "dice"), None);
    assert_same(&place.tables(), &place.anew(), "ignored");
    // As background half of what is bright is wrong.
    place.text = place.text.rewrite("ignore = [255]", "background = [255]");
    place.run();
    assert_eq!(figure(&place, "b", "dice"), Some(2.0 / 3.0));
    place.text = place.text.rewrite("background = [255]", "ignore = [255]");
    place.run();
    assert_eq!(figure(&place, "b", "dice"), Some(1.0));
}

#[test]
fn what_is_wrong_where_nobody_labelled_is_not_learned() {
    // Two archives whose scans are alike, and whose labels differ where nobody labelled: one model.
    let model = |value: u16| {
        let mut place = place();
        place.text =
            format!("{}{TRAINING}", pipeline()).rewrite("ignore = [255]", &format!("ignore = [{value}]"));
        (0..3).for_each(|case| write(&place, &format!("s{case}"), 8 + case, value));
        let summary = place.run();
        assert_eq!((summary.trained, summary.trainings_failed), (1, 0), "{summary}");
        let training = place.tables()["training"].clone();
        let rows = training.iter().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
        let loss = |row: &serde_json::Value| row.to_string().contains("\"loss\"");
        let mut losses: Vec<_> = rows.filter(loss).map(|row| row["value"].as_f64().unwrap()).collect();
        losses.sort_by(f64::total_cmp);
        (place, losses)
    };
    let (mut place, losses) = model(255);
    assert_eq!(losses.len(), 3);
    assert_eq!(model(7).1, losses);
    // Boxes and strategies cannot leave them out, and say so before the first step.
    place.text = place.text.rewrite(
        "learning_rate = 1e-2",
        "learning_rate = 1e-2\nstrategy = { type = \"adversarial\", least_dice = 0, least_label_dice = 0 }",
    );
    place.text = place.text.rewrite("validate = \"cases\"\n", "");
    let summary = place.run();
    assert_eq!((summary.trained, summary.trainings_failed), (0, 1), "{summary}");
    assert!(summary.to_string().contains("IGNORED_VOXELS"), "{summary}");
}

#[test]
fn structures_that_are_ignored_count_in_no_figure() {
    let mut place = Workplace::new(2);
    // Everything is bright, so that a mask is as large as what counts.
    place.text = place.text.rewrite("above = 0.5", "above = -1000");
    place.text = place.text.rewrite(r#"["dice", "assd", "rve"]"#, r#"["volume_ml"]"#);
    let (_, truth) = vs::case(&place.phantom, 0);
    let (width, all) = (truth.size()[2], truth.voxels().len());
    // The artefact is the right half of the scan, but for what is drawn there.
    let drawn = |at: usize| match truth.voxels()[at] {
        0 if at % width >= width / 2 => 3,
        label => label,
    };
    let voxels: Vec<u16> = (0..all).map(drawn).collect();
    let ignored = voxels.iter().filter(|label| **label == 3).count();
    let labels = LabelMap::new(truth.geometry().clone(), voxels).unwrap();
    let names = ["TV", "cochlea", "artefact"];
    vs::write_rtstruct(&place.phantom, 0, &labels, &names, &place.archive()).unwrap();
    let (series, other) = (place.phantom_series(0), place.phantom_series(1));
    let asked = r#"structures = { tumour = ["TV"] }"#;
    place.run();
    let whole = figure(&place, &series, "volume_ml").unwrap();
    let of_other = figure(&place, &other, "volume_ml");
    place.text = place.text.rewrite(asked, &format!("{asked}\nignore = [\"artefact\"]"));
    let summary = place.run();
    let left = figure(&place, &series, "volume_ml").unwrap();
    let expected = whole * (all - ignored) as f64 / all as f64;
    assert!((left - expected).abs() < 1e-9, "{left} of {whole}, {expected} expected: {summary}");
    let message = format!("{ignored} of {all} voxels lie in structures of `ignore`");
    assert_eq!(told(&place, &series), [("IGNORED".to_owned(), message)]);
    assert_eq!(figure(&place, &other, "volume_ml"), of_other);
    assert_same(&place.tables(), &place.anew(), "ignored structures");
    // A name that no file has is a row, and leaves nothing out.
    place.text = place.text.rewrite("ignore = [\"artefact\"]", "ignore = [\"streaks\"]");
    place.run();
    assert_eq!(figure(&place, &series, "volume_ml"), Some(whole));
    let rows = place.tables()["rejects"].clone();
    assert!(rows.iter().any(|row| row.contains("IGNORED_NOWHERE") && row.contains("streaks")), "{rows:?}");
    place.text = place.text.rewrite("\nignore = [\"streaks\"]", "");
    assert_eq!(place.run().actions_run, 0);
}
