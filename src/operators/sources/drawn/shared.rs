//! Structures and segments that cross, drawn from files.

use serde_json::json;
use tomoflow_connectors::Geometry;
use tomoflow_connectors::rtstruct::Form;

use super::DrawnSource;
use super::written::{Part, drawn, source, write};
use crate::operators::source::{Drawing, DrawnOn, LabelSource as _};
use crate::voxels::ignored::IGNORED;

const FORMS: [Form; 2] = [Form::Contours, Form::Voxels];

/// Draws parts of two slices of 3 x 4, and gives the voxels that are not background.
fn found(source: &DrawnSource, form: Form, parts: &[Part<'_>]) -> (Vec<(usize, u16)>, Drawing) {
    let grid = Geometry::axis_aligned([2, 3, 4], [2.0, 1.0, 1.0]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.dcm");
    write(form, &path, &grid, parts);
    let drawing = drawn(source, &path, &grid, &DrawnOn::default()).unwrap();
    let voxels = drawing.labels.voxels().iter().copied().enumerate();
    (voxels.filter(|(_, label)| *label != 0).collect(), drawing)
}

#[test]
fn what_two_labels_share_is_of_both_where_they_may_cross() {
    let parts: [Part<'_>; 2] = [("oedema", &[6, 7, 17, 18]), ("tumour", &[5, 6, 17])];
    let labels = json!({ "tumour": ["tumour"], "oedema": ["oedema"] });
    for form in FORMS {
        let crossing = source(form, labels.clone(), &[("crosses", json!([["oedema", "tumour"]]))]);
        assert_eq!(crossing.value_names(), ["tumour", "oedema", "tumour & oedema"]);
        assert_eq!((crossing.sets(), crossing.nested()), (vec![vec![1, 2]], vec![vec![3], vec![3]]));
        let (voxels, drawing) = found(&crossing, form, &parts);
        assert_eq!(voxels, [(5, 1), (6, 3), (7, 2), (17, 3), (18, 2)], "{form:?}");
        assert!(drawing.notes.is_empty(), "{form:?}: {:?}", drawing.notes);
        // Where they may not, the later label has it, and a row says so and what to do.
        let (voxels, drawing) = found(&source(form, labels.clone(), &[]), form, &parts);
        assert_eq!(voxels, [(5, 1), (6, 2), (7, 2), (17, 2), (18, 2)], "{form:?}");
        let [note] = &drawing.notes[..] else { panic!("one row expected: {:?}", drawing.notes) };
        assert_eq!(note.code, "LABELS_OVERLAP");
        assert!(note.message.contains("2 of `tumour` are `oedema` as well"), "{note}");
        assert!(note.hint.contains("crosses"), "{note}");
    }
}

#[test]
fn parts_and_what_is_ignored_cross_as_well() {
    // A vessel crosses a liver and its lesion; what nobody labelled is of none of them.
    let parts: [Part<'_>; 4] =
        [("liver", &[4, 5, 6, 7, 16]), ("vessel", &[5, 6, 9]), ("lesion", &[6, 7]), ("open", &[7, 9])];
    let labels = json!({ "liver": ["liver"], "vessel": ["vessel"], "lesion": ["lesion"] });
    let more = [
        ("holds", json!({ "liver": ["lesion"] })),
        ("crosses", json!([["liver", "vessel"], ["vessel", "lesion"]])),
        ("ignore", json!(["open"])),
    ];
    for form in FORMS {
        let crossing = source(form, labels.clone(), &more);
        assert_eq!(crossing.sets(), [vec![1, 2], vec![2, 3]]);
        let (voxels, drawing) = found(&crossing, form, &parts);
        assert_eq!(voxels, [(4, 1), (5, 4), (6, 5), (7, IGNORED), (9, IGNORED), (16, 1)], "{form:?}");
        assert_eq!(drawing.notes.iter().map(|note| note.code.as_str()).collect::<Vec<_>>(), ["IGNORED"]);
    }
}

#[test]
fn parts_are_found_by_their_places() {
    let parts: [Part<'_>; 3] = [("a", &[5]), ("b", &[6, 17]), ("c", &[7])];
    for form in FORMS {
        let placed = source(form, json!({ "tumour": ["#2"] }), &[("ignore", json!(["#1"]))]);
        assert_eq!(found(&placed, form, &parts).0, [(5, IGNORED), (6, 1), (17, 1)], "{form:?}");
        assert_eq!(placed.by_place(), form == Form::Voxels);
        assert!(!source(form, json!({ "tumour": ["b"] }), &[]).by_place());
    }
}

#[test]
fn labels_that_hold_each_other_cannot_cross() {
    let config = json!({
        "path": "a", "segments": { "liver": ["liver"], "lesion": ["lesion"] },
        "holds": { "liver": ["lesion"] }, "crosses": [["liver", "lesion"]],
    });
    let problems = DrawnSource::read(config.as_object().unwrap(), "segments", Form::Voxels).unwrap_err();
    assert_eq!(problems[0].field, "crosses");
}
