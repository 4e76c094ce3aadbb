//! What made an output, and what changed since the one before.

use std::path::Path;

use tomoflow::connectors::table::{MaskRow, Rows, Table, read_rows};
use tomoflow::engine::{self, Difference, ExplainError, Explained, Explanation};
use tomoflow::operators::registry::Registry;

use super::{looking_only, repaint};
use crate::support::Workplace;
use crate::support::text::Rewrite as _;

pub fn explain(place: &Workplace, subject: &str) -> Explanation {
    let plan = place.plan(&Registry::builtin());
    looking_only(place, || engine::explain(&plan, subject).unwrap_or_else(|error| panic!("{error}")))
}

pub fn output(explanation: Explanation, stage: &str) -> Explained {
    explanation.outputs.into_iter().find(|output| output.stage == stage).unwrap()
}

pub fn masks(place: &Workplace) -> Vec<MaskRow> {
    match read_rows(&place.out().join("tables/masks"), Table::Masks).unwrap() {
        Rows::Masks(rows) => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_series_is_explained_in_every_stage() {
    let place = Workplace::new(2);
    place.run();
    let series = place.phantom_series(1);
    let explained = explain(&place, &series);
    let stages: Vec<&str> = explained.outputs.iter().map(|output| output.stage.as_str()).collect();
    assert_eq!(stages, ["bright", "largest", "scores"]);
    for output in &explained.outputs {
        assert_eq!(output.case.as_deref(), Some(series.as_str()));
        assert!(output.outcome.starts_with("artifact ") && output.before.is_none(), "{output:?}");
    }
    let [bright, largest, scores] = &explained.outputs[..] else { panic!("{explained}") };
    let chain: Vec<&str> = bright.operators.iter().map(|part| part.operator.as_str()).collect();
    assert_eq!(chain, ["dicom", "assemble", "label", "zscore", "threshold"]);
    assert_eq!(bright.operators[4].settings["above"], 0.5);
    assert_eq!((bright.slices, bright.labels.is_some()), (Some(8), false));
    assert_eq!(largest.mask.as_deref(), bright.outcome.strip_prefix("artifact "));
    assert_eq!(scores.mask.as_deref(), largest.outcome.strip_prefix("artifact "));
    assert!(scores.labels.is_some());
    assert!(explained.to_string().contains("the first one that stood here"), "{explained}");
}

#[test]
fn a_pseudonym_is_explained_and_no_identifier_is_told() {
    let mut place = Workplace::new(2);
    place.text = place.text.rewrite("identifiers = \"clear\"\n", "");
    place.run();
    repaint(&place.files_of(0)[2]);
    place.run();
    let clear = place.phantom_series(0);
    let shown = output(explain(&place, &clear), "bright").case.unwrap();
    assert_ne!(shown, clear);
    assert!(masks(&place).iter().any(|row| row.series == shown));
    let explained = explain(&place, &shown);
    assert_eq!(explained.outputs.len(), 3);
    // All of the phantom's identifiers have its root in common.
    let differences = format!("{:?}", output(explained, "bright").before.unwrap().differences);
    assert!(!differences.contains(&clear[..8]), "{differences}");
}

#[test]
fn an_action_and_a_model_are_explained_by_their_first_digits() {
    let place = Workplace::trained();
    place.run();
    let row = masks(&place).remove(0);
    let explained = explain(&place, &row.action[..12]);
    let [segment] = &explained.outputs[..] else { panic!("{explained}") };
    assert_eq!((segment.stage.as_str(), segment.action.as_str()), ("segment", row.action.as_str()));
    assert_eq!(
        (segment.case.as_deref(), segment.model.as_ref()),
        (Some(row.case.as_str()), Some(&row.model))
    );
    let explained = explain(&place, &row.model[..12]);
    let [net] = &explained.outputs[..] else { panic!("{explained}") };
    assert_eq!((net.stage.as_str(), net.outcome.as_str()), ("net", &*format!("artifact {}", row.model)));
    let parts: Vec<&str> = net.trained_on.iter().map(|(_, part)| part.as_str()).collect();
    assert_eq!(parts.iter().filter(|part| **part == "train").count(), 2, "{parts:?}");
    assert_eq!(net.trained_on.len(), 4);
}

#[test]
fn a_row_of_any_table_is_explained_by_its_entry() {
    let mut place = Workplace::new(2);
    place.text = place.text.rewrite("identifiers = \"clear\"\n", "");
    // A scan that is none: its row is one of `rejects`.
    for file in &place.files_of(1)[..7] {
        std::fs::remove_file(file).unwrap();
    }
    place.run();
    let tables = place.out().join("tables");
    let row = masks(&place).remove(0);
    let explained = explain(&place, &row.entry);
    let actions: Vec<&str> = explained.outputs.iter().map(|output| output.action.as_str()).collect();
    assert_eq!((explained.outputs[0].stage.as_str(), actions), (&*row.stage, vec![&*row.action]));
    let figure = place.metrics().remove(0);
    assert_eq!(explain(&place, &figure.entry[..12]).outputs[0].action, figure.action);
    let Rows::Cases(cases) = read_rows(&tables.join("cases"), Table::Cases).unwrap() else { panic!() };
    let whole = cases.iter().find(|case| case.case == row.case).unwrap();
    let stages: Vec<String> =
        explain(&place, &whole.entry).outputs.into_iter().map(|output| output.stage).collect();
    assert_eq!(stages, ["bright", "largest", "scores"]);
    let Rows::Rejects(rejects) = read_rows(&tables.join("rejects"), Table::Rejects).unwrap() else {
        panic!()
    };
    assert!(!rejects.is_empty());
    for reject in rejects {
        let explained = explain(&place, &reject.entry);
        let [found] = &explained.rejects[..] else { panic!("{reject:?}: {explained}") };
        assert_eq!((&found.code, &found.message), (&reject.code, &reject.message));
    }
}

#[test]
fn the_slice_that_changed_is_named_with_its_file() {
    let place = Workplace::new(2);
    place.run();
    let slice = place.files_of(0).remove(3);
    repaint(&slice);
    place.run();
    let before = output(explain(&place, &place.phantom_series(0)), "bright").before.unwrap();
    let sop_instance = sop_instance(&slice);
    assert_eq!(before.differences, [Difference::InstanceChanged { sop_instance }]);
    assert_eq!(before.files, [slice]);
    assert!(output(explain(&place, &place.phantom_series(1)), "bright").before.is_none());
}

fn sop_instance(slice: &Path) -> String {
    let object = dicom_object::open_file(slice).unwrap();
    object.meta().media_storage_sop_instance_uid().trim_end_matches(['\0', ' ']).to_owned()
}

#[test]
fn the_setting_that_changed_is_named_and_only_it() {
    let mut place = Workplace::new(1);
    place.run();
    place.text = place.text.rewrite("above = 0.5", "above = 0.8");
    place.run();
    let setting = Difference::Setting {
        stage: "bright".to_owned(),
        field: "above".to_owned(),
        before: "0.5".to_owned(),
        now: "0.8".to_owned(),
    };
    let explained = explain(&place, &place.phantom_series(0));
    assert!(explained.to_string().contains("    bright: `above` 0.5 -> 0.8\n"), "{explained}");
    assert_eq!(output(explained, "bright").before.unwrap().differences, [setting]);
}

#[test]
fn what_nobody_knows_is_not_explained() {
    let place = Workplace::new(1);
    let plan = place.plan(&Registry::builtin());
    for run in [false, true] {
        if run {
            place.run();
        }
        for subject in ["1.2.3", "0000", "", "nobody"] {
            let error = looking_only(&place, || engine::explain(&plan, subject)).unwrap_err();
            assert!(matches!(&error, ExplainError::Unknown(name) if name == subject), "{error}");
            assert!(error.to_string().contains("hint: give the first digits"), "{error}");
        }
    }
}

// verify
