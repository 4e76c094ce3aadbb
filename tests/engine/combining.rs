//! Stages that put masks of several stages together, in whole runs.

use std::collections::BTreeMap;

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, ran};

/// Two segmenters, what both hold, and what only the first does.
fn two_segmenters() -> Workplace {
    let mut place = Workplace::new(3);
    let (head, _) = place.text.split_once("[operators.largest]").unwrap();
    place.text = format!(
        "{head}
[operators.brighter]
type = \"threshold\"
inputs = [\"normal\"]
above = 1.0
label = \"tumour\"

[operators.ring]
type = \"combine\"
inputs = [\"bright\", \"brighter\"]
op = \"minus\"

[operators.core]
type = \"combine\"
inputs = [\"bright\", \"brighter\"]
op = \"and\"

[sinks.results]
type = \"delta\"
inputs = [\"bright\", \"brighter\", \"ring\", \"core\"]
"
    );
    place
}

/// The area of all masks of a scan, by stage and case, in mm².
fn areas(place: &Workplace) -> BTreeMap<(String, String), f64> {
    let mut areas = BTreeMap::new();
    for line in &place.tables()["masks"] {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| row[field].as_str().unwrap().to_owned();
        *areas.entry((text("stage"), text("case"))).or_default() += row["area_mm2"].as_f64().unwrap();
    }
    areas
}

#[test]
fn two_masks_of_a_scan_meet_and_a_change_of_one_redoes_what_comes_of_both() {
    let mut place = two_segmenters();
    let summary = place.run();
    assert_eq!((summary.rejected, summary.actions_run), (0, 12), "{summary}");
    let areas = areas(&place);
    let cases: Vec<&String> =
        areas.keys().filter(|(stage, _)| stage == "bright").map(|(_, case)| case).collect();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let area = |stage: &str| areas.get(&(stage.to_owned(), case.clone())).copied().unwrap_or_default();
        assert!(area("core") > 0.0 && area("ring") > 0.0);
        assert!((area("core") - area("brighter")).abs() < 1e-6);
        assert!((area("core") + area("ring") - area("bright")).abs() < 1e-6);
    }
    assert_eq!(place.run().actions_run, 0);

    place.text = place.text.rewrite("above = 1.0", "above = 0.8");
    let summary = place.run();
    let counts = ["bright", "brighter", "ring", "core"].map(|stage| ran(&summary, stage));
    assert_eq!(counts, [0, 3, 3, 3]);
    assert_eq!(place.tables(), place.anew());
    place.delete(1);
    assert_eq!(place.run().actions_run, 0);
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn a_scan_without_one_of_the_masks_is_not_put_together() {
    let mut place = two_segmenters();
    place.text = place.text.rewrite(
        "[operators.ring]\ntype = \"combine\"\ninputs = [\"bright\", \"brighter\"]",
        "[operators.refused]\ntype = \"fill_holes\"\ninputs = [\"bright\"]\nlabels = [\"nothing\"]\n\n\
         [operators.ring]\ntype = \"combine\"\ninputs = [\"bright\", \"refused\"]",
    );
    let summary = place.run();
    let counts = ["bright", "refused", "ring", "core"].map(|stage| ran(&summary, stage));
    // Those that failed did not run.
    assert_eq!(counts, [3, 0, 0, 3], "{summary}");
    assert_eq!(summary.rejects.get("LABEL_MISMATCH"), Some(&3), "{:?}", summary.rejects);
    assert_eq!(place.tables(), place.anew());
}
