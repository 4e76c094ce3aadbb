//! Boxes around labels in whole runs.

use std::fs;

use super::{problems, rejects};
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same, ran};

const NEAR: &str = r#"
[operators.near]
type = "crop"
inputs = ["case"]
size_mm = [6.0, 4.0, 4.0]
around = "tumour"

[operators.normal]
type = "zscore"
inputs = ["near"]
"#;

/// The pipeline with a box around the tumour before everything else.
fn cropped(mut place: Workplace) -> Workplace {
    let normal = "[operators.normal]\ntype = \"zscore\"\ninputs = [\"case\"]\n";
    place.text = place.text.rewrite(normal, NEAR.trim_start());
    place
}

#[test]
fn a_box_around_a_label_follows_it_and_masks_return() {
    let mut place = cropped(Workplace::new(3));
    place.text = place.text.rewrite("around = \"tumour\"", "around = \"tumour\"\nkeep = true");
    let summary = place.run();
    assert_eq!((summary.rejected, summary.actions_run), (0, 12), "{summary}");
    // Four slices of ten by ten voxels of 0.4 mm, on the original grid.
    let mut slices = std::collections::BTreeMap::new();
    for line in &place.tables()["masks"] {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(row["area_mm2"].as_f64().unwrap() <= 16.0 + 1e-9, "{row}");
        *slices.entry((row["stage"].to_string(), row["case"].to_string())).or_insert(0) += 1;
    }
    assert!(slices.len() == 6 && slices.values().all(|count| *count <= 4), "{slices:?}");
    // A corrected outline moves the box, and asks for a new mask of this scan alone.
    place.move_label(0, 3);
    let summary = place.run();
    let runs = ["near", "bright", "scores"].map(|stage| ran(&summary, stage));
    assert_eq!((runs, summary.rejected), ([1, 1, 1], 0), "{summary}");
    assert_same(&place.tables(), &place.anew(), "after a correction");
    // Without labels there is no box; the others stay.
    fs::remove_file(place.files_of(1).last().unwrap()).unwrap();
    let summary = place.run();
    assert_eq!((ran(&summary, "bright"), summary.unchanged > 0), (0, true), "{summary}");
    let found = rejects(&place);
    assert!(found.contains(&("bright".to_owned(), "NO_LABELS".to_owned())), "{found:?}");
    assert_same(&place.tables(), &place.anew(), "without labels");
}

#[test]
fn a_network_segments_what_has_a_box() {
    let place = cropped(Workplace::trained());
    let summary = place.run();
    assert_eq!((summary.rejected, ran(&summary, "segment")), (0, 4), "{summary}");
    let written = place.add(4);
    fs::remove_file(written.outlines).unwrap();
    let summary = place.run();
    assert_eq!((ran(&summary, "segment"), summary.rejected), (0, 1), "{summary}");
    assert_eq!(rejects(&place), [("segment".to_owned(), "NO_LABELS".to_owned())]);
}

#[test]
fn a_label_that_no_source_gives_is_no_place() {
    let mut place = cropped(Workplace::new(0));
    let text = place.text.clone();
    place.text = text.rewrite("around = \"tumour\"", "around = \"tumor\"");
    let found = problems(&place);
    assert!(found.contains("error: there is no label called `tumor`"), "{found}");
    assert!(found.contains("there is only `tumour`") || found.contains("did you mean `tumour`?"), "{found}");
    let near = "[operators.near]\ntype = \"crop\"\ninputs = [\"case\"]";
    place.text = text.rewrite(near, &near.rewrite("case", "volume"));
    let found = problems(&place);
    assert!(found.contains("`around` looks at labels, and `volume` gives scans without"), "{found}");
}
