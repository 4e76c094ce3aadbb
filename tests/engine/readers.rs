//! Masks of others: another reader's labels stand where a network's masks would.

use std::fs;

use serde_json::Value;
use tomoflow::connectors::{Geometry, LabelMap, Scan, nifti};

use crate::support::{Workplace, assert_same};

/// Two readers over the same scans, the second with a file each for two structures.
const PIPELINE: &str = r#"
[pipeline]
name = "readers"
out = "out"
identifiers = "clear"

[sources.scans]
type = "images"
path = "images"
files = "{case}.nii"
modality = "CT"

[sources.first]
type = "label_images"
path = "first"
files = "{case}.nii"
labels = { liver = [1], spleen = [2] }

[sources.second]
type = "label_images"
path = "second"
files = "{case}-{label}.nii"
labels = { liver = [1], spleen = [1] }

[operators.truth]
type = "label"
inputs = ["scans", "first"]

[operators.other]
type = "label"
inputs = ["scans", "second"]

[operators.reader]
type = "labels_as_masks"
inputs = ["other"]

[operators.scores]
type = "evaluate"
inputs = ["reader", "truth"]
metrics = ["dice"]

[sinks.results]
type = "delta"
inputs = ["reader", "scores"]
"#;

fn grid() -> Geometry {
    Geometry::axis_aligned([2, 4, 4], [3.0, 1.0, 1.0])
}

fn labels(place: &Workplace, name: &str, label: impl Fn(usize) -> u16) {
    let path = place.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    nifti::write_labels(&path, &LabelMap::new(grid(), (0..32).map(label).collect()).unwrap()).unwrap();
}

fn figures(place: &Workplace) -> Vec<(String, String, Value, String)> {
    let tables = place.tables();
    let rows = tables["metrics"].iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    let mut rows: Vec<_> = rows
        .map(|row| (text(&row, "case"), text(&row, "label"), row["value"].clone(), text(&row, "state")))
        .collect();
    rows.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    rows
}

#[test]
fn a_reader_is_judged_as_a_network_is() {
    let mut place = Workplace::new(0);
    place.text = PIPELINE.to_owned();
    for case in ["a", "b", "c"] {
        let path = place.path().join(format!("images/{case}.nii"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        nifti::write_scan(&path, &Scan::new(grid(), vec![1.0; 32]).unwrap()).unwrap();
        // Eight voxels of liver, four of spleen.
        labels(&place, &format!("first/{case}.nii"), |i| u16::from(i < 8) + 2 * u16::from(i >= 28));
    }
    // Of a the reader has 12 voxels of liver, 8 of them right, and the same spleen; of b no file for the spleen.
    labels(&place, "second/a-liver.nii", |i| u16::from(i < 12));
    labels(&place, "second/a-spleen.nii", |i| u16::from(i >= 28));
    labels(&place, "second/b-liver.nii", |i| u16::from(i < 8));
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected), (3, 0), "{summary}");
    let row = |case: &str, label: &str, value: Value, state: &str| {
        (case.to_owned(), label.to_owned(), value, state.to_owned())
    };
    assert_eq!(
        figures(&place),
        [
            row("a", "liver", 0.8.into(), "ok"),
            row("a", "spleen", 1.0.into(), "ok"),
            row("b", "liver", 1.0.into(), "ok"),
            row("b", "spleen", Value::Null, "not_in_mask"),
        ]
    );
    assert_eq!(summary.remarked.get("NO_MASK_OF_LABELS"), Some(&1), "nobody read c: {summary}");
    assert!(summary.to_string().contains("scores (2 cases): liver dice 0.900"), "{summary}");
    assert_same(&place.tables(), &place.anew(), "two readers");

    // One correction redoes one mask and one figure; a case that is read late is judged alone.
    labels(&place, "second/a-liver.nii", |i| u16::from(i < 8));
    labels(&place, "second/c-liver.nii", |i| u16::from(i < 24));
    let summary = place.run();
    assert_eq!(summary.actions_run, 4, "{summary}");
    assert_eq!(figures(&place)[0], row("a", "liver", 1.0.into(), "ok"));
    assert_same(&place.tables(), &place.anew(), "two readers, corrected");
}
