//! What nobody labelled, of structures and segments in files.

use serde_json::json;
use tomoflow_connectors::Geometry;
use tomoflow_connectors::rtstruct::{Form, Outlines};

use super::super::DrawnSource;
use super::super::written::{drawn, source, write};
use crate::operators::source::{Drawing, DrawnOn, LabelSource as _};
use crate::voxels::ignored::IGNORED;

const FORMS: [Form; 2] = [Form::Contours, Form::Voxels];

/// Two slices of 3 x 4.
fn grid() -> Geometry {
    Geometry::axis_aligned([2, 3, 4], [2.0, 1.0, 1.0])
}

fn codes(drawing: &Drawing) -> Vec<&str> {
    drawing.notes.iter().map(|note| note.code.as_str()).collect()
}

/// The voxels that are not background.
fn found(drawing: &Drawing) -> Vec<(usize, u16)> {
    drawing.labels.voxels().iter().copied().enumerate().filter(|(_, label)| *label != 0).collect()
}

#[test]
fn voxels_of_ignored_parts_are_left_out_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    for form in FORMS {
        let path = folder.path().join("labels.dcm");
        let parts: [(&str, &[usize]); 3] =
            [("tumour left", &[5, 6]), ("artefact 1", &[6, 7]), ("artefact 2", &[18])];
        write(form, &path, &grid(), &parts);
        let labels = json!({ "tumour": ["tum*"] });
        let ignoring = source(form, labels.clone(), &[("ignore", json!(["artefact*"]))]);
        let left = drawn(&ignoring, &path, &grid(), &DrawnOn::default()).unwrap();
        assert_eq!(found(&left), [(5, 1), (6, IGNORED), (7, IGNORED), (18, IGNORED)], "{form:?}");
        assert_eq!(codes(&left), ["IGNORED"], "{form:?}");
        assert_eq!(left.notes[0].message, "3 of 24 voxels lie in structures of `ignore`");
        // Without the list they are nothing, and with a name that fits none as well.
        for list in [json!([]), json!(["streaks"])] {
            let all = source(form, labels.clone(), &[("ignore", list)]);
            let all = drawn(&all, &path, &grid(), &DrawnOn::default()).unwrap();
            assert_eq!((found(&all), codes(&all).len()), (vec![(5, 1), (6, 1)], 0), "{form:?}");
        }
    }
}

#[test]
fn a_case_of_nothing_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<usize> = (0..24).collect();
    for form in FORMS {
        let path = folder.path().join("labels.dcm");
        write(form, &path, &grid(), &[("tumour", &[5]), ("open", &all)]);
        let ignoring = source(form, json!({ "tumour": ["tumour"] }), &[("ignore", json!(["open"]))]);
        let refused = drawn(&ignoring, &path, &grid(), &DrawnOn::default()).unwrap_err();
        assert_eq!(refused.code, "NOTHING_LABELLED", "{form:?}");
    }
}

#[test]
fn what_lies_off_the_scan_is_told() {
    let folder = tempfile::tempdir().unwrap();
    // The scan is the first of the two slices.
    let first = Geometry::axis_aligned([1, 3, 4], [2.0, 1.0, 1.0]);
    for (form, code) in FORMS.into_iter().zip(["CONTOUR_BEYOND_SCAN", "OFF_GRID"]) {
        let path = folder.path().join("labels.dcm");
        write(form, &path, &grid(), &[("tumour", &[5]), ("artefact", &[18])]);
        let ignoring = source(form, json!({ "tumour": ["tumour"] }), &[("ignore", json!(["artefact"]))]);
        let left = drawn(&ignoring, &path, &first, &DrawnOn::default()).unwrap();
        assert_eq!((found(&left), codes(&left)), (vec![(5, 1)], vec![code]), "{form:?}");
    }
    // Contours that name the image of another scan are no part of this one.
    let path = folder.path().join("labels.dcm");
    write(Form::Contours, &path, &grid(), &[("tumour", &[5]), ("artefact", &[18])]);
    let labels = json!({ "tumour": ["tumour"] });
    let ignoring = source(Form::Contours, labels, &[("ignore", json!(["artefact"]))]);
    let scan = DrawnOn { images: ["2.25.9.0".to_owned()].into(), apart: true, ..DrawnOn::default() };
    let left = drawn(&ignoring, &path, &grid(), &scan).unwrap();
    assert_eq!((found(&left), codes(&left)), (vec![(5, 1)], vec!["DRAWN_ELSEWHERE"]));
    assert!(left.notes[0].message.contains("\"artefact\""), "{}", left.notes[0]);
}

#[test]
fn what_is_ignored_is_no_label() {
    let named = |structures: &[&str]| Outlines {
        structures: structures.iter().map(|name| (*name).to_owned()).collect(),
        ..Outlines::default()
    };
    let all = source(Form::Contours, json!({ "all": ["*"] }), &[("ignore", json!(["art*", "#3"]))]);
    assert_eq!([all.label_of("TV"), all.label_of("artefact")], [Some(1), None]);
    assert_eq!(["TV", "artefact"].map(|name| all.ignores(name)), [false, true]);
    assert_eq!([all.name_of(3, "TV"), all.name_of(2, "TV")], ["#3", "TV"]);
    assert_eq!(all.asks_for(&named(&["artefact"]), &|_| true).unwrap_err().code, "NO_STRUCTURE");
    assert_eq!(all.asks_for(&named(&["artefact", "TV"]), &|_| true).unwrap(), Vec::<u16>::new());
    // A label that asks for a place goes first.
    let placed = source(Form::Contours, json!({ "first": ["#1"] }), &[("ignore", json!(["*"]))]);
    assert_eq!([placed.label_of("#1"), placed.label_of("TV")], [Some(1), None]);
    assert_eq!([placed.ignores("#1"), placed.ignores("TV")], [false, true]);
}

#[test]
fn a_pattern_that_fits_nothing_is_told_of_all_files() {
    let object =
        |names: [&str; 2]| Outlines { structures: names.map(str::to_owned).into(), ..Outlines::default() };
    let lists = [("ignore", json!(["artefact", "uncertain*"]))];
    let ignoring = source(Form::Contours, json!({ "tumour": ["TV"] }), &lists);
    let (one, other) = (object(["TV", "artefact"]), object(["TV", "cochlea"]));
    let told = ignoring.unmet_in(&[&one, &other]);
    assert_eq!((told.len(), told[0].code.as_str()), (1, "IGNORED_NOWHERE"));
    let said =
        "none of 2 files has a structure that `ignore` names \"uncertain*\": is its name the right one?";
    assert_eq!(told[0].message, said);
    assert_eq!(ignoring.unmet_in(&[&other]).len(), 2);
    assert!(ignoring.unmet_in(&[]).is_empty());
    let plain = source(Form::Contours, json!({ "tumour": ["TV"] }), &[]);
    assert!(plain.unmet_in(&[&other]).is_empty());
}

#[test]
fn a_pattern_of_a_label_cannot_be_ignored() {
    let config = json!({ "path": "a", "structures": { "tumour": ["TV"] }, "ignore": ["TV"] });
    let problems = DrawnSource::read(config.as_object().unwrap(), "structures", Form::Contours).unwrap_err();
    assert_eq!(problems[0].field, "ignore");
    assert!(problems[0].message.contains("`TV` is one of `tumour`"), "{}", problems[0].message);
}
