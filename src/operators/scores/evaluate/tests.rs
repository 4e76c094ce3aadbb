//! Figures by hand, by closed forms, and of empty masks.

use std::f64::consts::PI;

use serde_json::json;
use tomoflow_connectors::LabelMap;

use super::figures::FIGURES;
use super::lesions::Size;
use super::promise12::Reached;
use super::*;
use crate::operators::spec::semantic;

fn mask(names: &[&str], voxels: &[u16]) -> Mask {
    let geometry = Geometry::axis_aligned([1, 1, voxels.len()], [10.0, 10.0, 2.0]);
    on(geometry, names, voxels)
}

fn on(geometry: Geometry, names: &[&str], voxels: &[u16]) -> Mask {
    Mask {
        labels: Arc::new(LabelMap::new(geometry, voxels.to_vec()).unwrap()),
        label_names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn evaluate(metrics: &[&str], empty: Empty) -> Evaluate {
    let metrics = metrics.iter().map(|name| Figure::named(name).unwrap()).collect();
    Evaluate { metrics, empty, tolerance_mm: 2.0, lesion_iou: 0.5, second_observer: None, pooled: false }
}

const OF_VOXELS: [&str; 13] = [
    "dice",
    "assd",
    "rve",
    "iou",
    "precision",
    "recall",
    "hd95",
    "volume_ml",
    "asd_pred_to_ref",
    "asd_ref_to_pred",
    "hd",
    "nsd",
    "centre_mm",
];

fn values(empty: Empty, prediction: &[u16], reference: &[u16]) -> (String, Vec<Option<f64>>) {
    let found = evaluate(&OF_VOXELS, empty).evaluate(&mask(&["a"], prediction), &mask(&["a"], reference));
    let found = found.unwrap();
    (found[0].state.to_string(), found.iter().map(|metric| metric.value).collect())
}

#[test]
fn figures_by_hand() {
    let (state, found) = values(Empty::Nan, &[1, 1, 0, 0], &[0, 1, 1, 1]);
    assert_eq!(state, "ok");
    // Surfaces are whole: distances 2, 0 and 0, 2, 4; percentiles 1.9 and 3.8; 2 voxels of 200 mm³.
    let third = 1.0 / 3.0;
    let expected = [0.4, 1.6, third, 0.25, 0.5, third, 3.8, 0.4, 1.0, 2.0, 4.0, 0.8, 3.0];
    for (found, expected) in found.into_iter().zip(expected) {
        assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?} {expected}");
    }
    let reference = evaluate(&["volume_ref_ml"], Empty::Nan);
    let found = reference.evaluate(&mask(&["a"], &[0, 0, 0]), &mask(&["a"], &[1, 1, 1])).unwrap();
    assert_eq!((found[0].value, found[0].unit.as_str()), (Some(0.6), "ml"));
}

#[test]
fn a_missed_structure_is_always_seen() {
    let missed = |empty| values(empty, &[0, 0], &[1, 1]);
    let diagonal = (10.0_f64.powi(2) * 2.0 + 4.0_f64.powi(2)).sqrt();
    let (zero, one, none) = (Some(0.0), Some(1.0), None);
    let state = "empty_prediction".to_owned();
    let expected = [zero, none, one, zero, none, zero, none, zero, none, none, none, none, none];
    assert_eq!(missed(Empty::Nan), (state.clone(), expected.to_vec()));
    let expected = [zero, none, one, zero, zero, zero, none, zero, none, none, none, zero, none];
    assert_eq!(missed(Empty::OneZero), (state.clone(), expected.to_vec()));
    let worst = Some(diagonal);
    let expected = [zero, worst, one, zero, zero, zero, worst, zero, worst, worst, worst, zero, worst];
    assert_eq!(missed(Empty::Penalty), (state, expected.to_vec()));
}

#[test]
fn an_empty_reference_and_two_empty_masks() {
    let (zero, one, none, ml) = (Some(0.0), Some(1.0), None, Some(0.4));
    let (state, found) = values(Empty::Nan, &[1, 1], &[0, 0]);
    assert_eq!(state, "empty_reference");
    assert_eq!(found[..8], [zero, none, none, zero, zero, none, none, ml]);
    assert_eq!(found[8..], [none; 5]);
    assert_eq!(values(Empty::Penalty, &[1, 1], &[0, 0]).1[2], one);

    let (state, found) = values(Empty::Nan, &[0, 0], &[0, 0]);
    assert_eq!(state, "both_empty");
    assert_eq!(found[..8], [none, none, none, none, none, none, none, zero]);
    for empty in [Empty::OneZero, Empty::Penalty] {
        let (_, found) = values(empty, &[0, 0], &[0, 0]);
        assert_eq!(found[..8], [one, zero, zero, one, one, one, zero, zero]);
        assert_eq!(found[8..], [zero, zero, zero, one, zero]);
    }
}

#[test]
fn lesions_one_by_one() {
    // Lesions: 4 voxels found by two parts, 2 voxels of which 1 of 4 is shared, and 1 that nobody saw.
    let truth = [1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1];
    let found = [1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1, 0, 0, 0];
    let names = ["lesion_recall", "lesion_precision", "lesion_f1", "lesion_dice", "lesion_recall_small"];
    let metrics = |least_iou: f64| {
        let mut evaluate = evaluate(&names, Empty::Nan);
        evaluate.lesion_iou = least_iou;
        let found = evaluate.evaluate(&mask(&["a"], &found), &mask(&["a"], &truth)).unwrap();
        found.iter().map(|metric| metric.value.unwrap()).collect::<Vec<_>>()
    };
    // Dice 2·3/7, 2·1/5 and 0; IoU 3/4, 1/4 and 0. Four parts: two of the first lesion, one of the second.
    let dice = (6.0 / 7.0 + 2.0 / 5.0) / 3.0;
    let (third, two) = (1.0 / 3.0, 2.0 / 3.0);
    assert_eq!(metrics(0.5), [third, third, third, dice, third]);
    assert_eq!(metrics(0.75)[0], third);
    assert_eq!(metrics(0.76)[0], 0.0);
    // Where the second lesion is found too, one part alone belongs to nothing.
    assert_eq!(metrics(0.25), [two, two, two, dice, two]);
    assert_eq!(metrics(0.0), metrics(0.25), "what shares nothing is never found");
}

#[test]
fn a_part_belongs_to_the_lesion_that_it_shares_most_with() {
    // One part lies over two lesions: of 1 and of 2 voxels, then of the same size.
    let lesions = |truth: &[u16]| {
        let overlaps = Overlaps::new(&mask(&["a"], &[1, 1, 1, 1, 1]), &mask(&["a"], truth));
        overlaps.lesions((1, 1), 1.0, 0.25).each.iter().map(|lesion| lesion.found).collect::<Vec<_>>()
    };
    assert_eq!(lesions(&[1, 0, 0, 1, 1]), [false, true]);
    assert_eq!(lesions(&[1, 1, 0, 1, 1]), [true, false]);
}

#[test]
fn lesions_have_sizes_and_a_size_without_lesions_no_figure() {
    let ball = |diameter_mm: f64| PI / 6.0 * diameter_mm.powi(3);
    assert_eq!(
        [14.99, 15.01, 29.99, 30.01].map(|mm| Size::of(ball(mm))),
        [Size::Small, Size::Medium, Size::Medium, Size::Large]
    );
    let names = ["lesion_dice_small", "lesion_dice_large", "lesion_recall_medium", "lesion_dice"];
    let figures = |empty, prediction: &[u16], reference: &[u16]| {
        let found = evaluate(&names, empty).evaluate(&mask(&["a"], prediction), &mask(&["a"], reference));
        found.unwrap().iter().map(|metric| metric.value).collect::<Vec<_>>()
    };
    let (zero, one) = (Some(0.0), Some(1.0));
    assert_eq!(figures(Empty::Penalty, &[1, 0], &[1, 0]), [one, None, None, one]);
    assert_eq!(figures(Empty::Penalty, &[0, 0], &[1, 0]), [zero, None, None, zero]);
    assert_eq!(figures(Empty::OneZero, &[0, 0], &[0, 0]), [None, None, None, one]);
    assert_eq!(figures(Empty::Penalty, &[1, 0], &[0, 0]), [None, None, None, zero]);
}

#[test]
fn closed_forms_of_balls() {
    let size = [40, 56, 72];
    let spacing_mm = [1.5, 1.0, 0.75];
    let ball = |off_mm: f64| -> Vec<u16> {
        let inside = |voxel: usize| {
            let at = [voxel / (size[1] * size[2]), voxel / size[2] % size[1], voxel % size[2]];
            let mm = |axis: usize| at[axis] as f64 * spacing_mm[axis] - [30.0, 28.0, 27.0][axis];
            mm(0).powi(2) + mm(1).powi(2) + (mm(2) - off_mm).powi(2) <= 400.0
        };
        (0..size.iter().product()).map(|voxel| u16::from(inside(voxel))).collect()
    };
    let geometry = Geometry::axis_aligned(size, spacing_mm);
    let names = ["centre_mm", "volume_ml", "hd", "dice", "assd"];
    let figures = |prediction: &[u16], reference: &[u16]| {
        let masks = [prediction, reference].map(|voxels| on(geometry.clone(), &["a"], voxels));
        let found = evaluate(&names, Empty::Nan).evaluate(&masks[0], &masks[1]).unwrap();
        found.iter().map(|metric| metric.value.unwrap()).collect::<Vec<_>>()
    };
    let (here, there) = (ball(0.0), ball(3.0));
    let found = figures(&here, &there);
    assert!((found[0] - 3.0).abs() < 1e-9, "{found:?}");
    let ml = PI / 6.0 * 40.0_f64.powi(3) / 1000.0;
    assert!((found[1] / ml - 1.0).abs() < 0.01, "{found:?} {ml}");
    assert!(found[2] <= 3.0 + 1e-9 && found[2] > 2.5, "{found:?}");
    // Two balls of radius r, d apart, share 1 − 3d/4r + d³/16r³; their surfaces lie |d·cos| apart: d/2.
    let dice = 1.0 - 9.0 / 80.0 + 27.0 / 128_000.0;
    assert!((found[3] - dice).abs() < 0.01, "{found:?} {dice}");
    // The steps of a surface of voxels lie a little nearer.
    assert!((found[4] - 1.5).abs() < 0.25, "{found:?}");
    assert_eq!(figures(&here, &here)[2..], [0.0, 1.0, 0.0]);
}

const SCORES: [&str; 13] = [
    "promise12",
    "promise12_dice",
    "promise12_rve",
    "promise12_assd",
    "promise12_hd95",
    "promise12_dice_base",
    "promise12_rve_base",
    "promise12_assd_base",
    "promise12_hd95_base",
    "promise12_dice_apex",
    "promise12_rve_apex",
    "promise12_assd_apex",
    "promise12_hd95_apex",
];

/// Slices of one voxel, 3 mm apart, from feet to head.
fn prostate(slices: &[u16]) -> Mask {
    on(Geometry::axis_aligned([slices.len(), 1, 1], [3.0, 1.0, 1.0]), &["prostate"], slices)
}

fn judged(metrics: &[&str], empty: Empty, prediction: &[u16], reference: &[u16]) -> Vec<Metric> {
    let reached = |dice, rve, assd_mm, hd95_mm| Reached { dice, rve, assd_mm, hd95_mm };
    let observer = Observer {
        whole: reached(0.9, 0.1, 1.0, 3.0),
        base: reached(0.8, 0.2, 2.0, 5.7),
        apex: reached(0.7, 0.3, 3.0, 6.0),
    };
    let evaluate = Evaluate { second_observer: Some(observer), ..evaluate(metrics, empty) };
    evaluate.evaluate(&prostate(prediction), &prostate(reference)).unwrap()
}

#[test]
fn base_and_apex_by_hand() {
    let names = [
        "dice_base",
        "dice_apex",
        "rve_base",
        "rve_apex",
        "assd_base",
        "assd_apex",
        "hd95_base",
        "hd95_apex",
    ];
    let figures = |empty, prediction: &[u16], reference: &[u16]| {
        let found = judged(&names, empty, prediction, reference);
        let states = [found[0].state.to_string(), found[1].state.to_string()];
        (found.iter().map(|metric| metric.value).collect::<Vec<_>>(), states)
    };
    // Six slices, of which the uppermost is missed: two belong to each end.
    let (found, states) = figures(Empty::Nan, &[0, 1, 1, 1, 1, 1, 0, 0], &[0, 1, 1, 1, 1, 1, 1, 0]);
    let expected = [2.0 / 3.0, 1.0, 0.5, 0.0, 1.0, 0.0, 2.85, 0.0];
    for (found, expected) in found.iter().zip(expected) {
        assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?} {expected}");
    }
    assert_eq!(states, ["ok", "ok"]);
    // A base that was missed is seen, though the whole was not.
    let (found, states) = figures(Empty::Nan, &[1, 1, 0], &[1, 1, 1]);
    let (zero, one) = (Some(0.0), Some(1.0));
    assert_eq!(found, [zero, one, one, zero, None, zero, None, zero]);
    assert_eq!(states, ["empty_prediction", "ok"]);
    let diagonal = (81.0_f64 + 2.0).sqrt();
    assert_eq!(figures(Empty::Penalty, &[1, 1, 0], &[1, 1, 1]).0[4], Some(diagonal));
    assert_eq!(figures(Empty::Nan, &[1, 0], &[0, 0]).0, [None; 8]);
}

#[test]
fn the_score_of_promise12_by_hand() {
    let found = judged(&SCORES, Empty::Nan, &[0, 1, 1, 1, 1, 1, 0, 0], &[0, 1, 1, 1, 1, 1, 1, 0]);
    // These come of errors of 1/11, 1/6, 3/11 mm and 2.25 mm; of the base 1/3, 1/2, 1 mm and 2.85 mm; none of
    // the apex.
    let each = [
        100.0 - 150.0 / 11.0,
        75.0,
        100.0 - 45.0 / 11.0,
        88.75,
        75.0,
        62.5,
        92.5,
        92.5,
        100.0,
        100.0,
        100.0,
        100.0,
    ];
    assert!((found[0].value.unwrap() - each.iter().sum::<f64>() / 12.0).abs() < 1e-9, "{found:?}");
    for (found, expected) in found[1..].iter().zip(each) {
        assert!((found.value.unwrap() - expected).abs() < 1e-9, "{found:?} {expected}");
        assert_eq!(found.unit, "points");
    }
    assert!((found[0].value.unwrap() - 89.043_560_606).abs() < 1e-6);
}

#[test]
fn an_observer_is_worth_85_points_and_nothing_less_than_none() {
    let value = |empty, prediction: &[u16], reference: &[u16]| {
        let found = judged(&SCORES, empty, prediction, reference);
        found.iter().map(|metric| metric.value).collect::<Vec<_>>()
    };
    // One slice of ten is missing: the volume is as far off as the observer's.
    let mut missed = vec![1; 10];
    missed[4] = 0;
    assert!((value(Empty::Nan, &missed, &[1; 10])[2].unwrap() - 85.0).abs() < 1e-9);
    // Nothing was found: no points where there is nothing to measure, or where it is too far off.
    let nothing = value(Empty::Nan, &[0; 6], &[1; 6]);
    let expected = [0.0, 0.0, 0.0, 0.0, 25.0, 25.0, 0.0, 0.0, 50.0, 50.0, 0.0, 0.0];
    for (found, expected) in nothing[1..].iter().zip(expected) {
        assert!((found.unwrap() - expected).abs() < 1e-9, "{nothing:?}");
    }
    assert!((nothing[0].unwrap() - 12.5).abs() < 1e-9);
    assert_eq!(value(Empty::Nan, &[1, 0], &[0, 0]), [None; 13]);
    assert_eq!(value(Empty::OneZero, &[1, 0], &[0, 0]), [Some(0.0); 13]);
    assert_eq!(value(Empty::Penalty, &[0, 0], &[0, 0]), [Some(100.0); 13]);
    assert_eq!(value(Empty::Nan, &[1, 1], &[1, 1]), [Some(100.0); 13]);
}

#[test]
fn a_score_needs_an_observer_and_other_keys_stay() {
    let config = |metrics: serde_json::Value, observer: serde_json::Value| {
        let config = json!({
            "metrics": metrics, "empty": "nan", "tolerance_mm": 1.0, "lesion_iou": 0.5,
            "second_observer": observer,
        });
        config.as_object().unwrap().clone()
    };
    let problems = build(&config(json!(["dice", "promise12"]), json!(null))).err().unwrap();
    assert_eq!(problems[0].field, "second_observer");
    assert!(build(&config(json!(["dice", "dice_base"]), json!(null))).is_ok());
    let kept = semantic(SPEC.fields, &config(json!(["dice"]), json!(null)));
    let before = json!({ "metrics": ["dice"], "empty": "nan", "tolerance_mm": 1.0, "lesion_iou": 0.5 });
    assert_eq!(serde_json::Value::Object(kept), before);
}

#[test]
fn labels_are_matched_by_name() {
    let evaluate = evaluate(&["dice"], Empty::Nan);
    let truth = mask(&["tumour", "cochlea"], &[1, 2, 0, 0]);
    let found = evaluate.evaluate(&mask(&["cochlea", "tumour"], &[2, 1, 0, 0]), &truth).unwrap();
    let rows: Vec<_> = found.iter().map(|row| (row.label.as_str(), row.value, row.unit.as_str())).collect();
    assert_eq!(rows, [("tumour", Some(1.0), "1"), ("cochlea", Some(1.0), "1")]);
    let error = evaluate.evaluate(&mask(&["tumor"], &[1, 0, 0, 0]), &truth).unwrap_err();
    assert_eq!(error.code, "LABEL_MISMATCH");
    let error = evaluate.evaluate(&mask(&["tumour", "cochlea"], &[3, 0, 0, 0]), &truth).unwrap_err();
    assert_eq!(error.code, "LABEL_MISMATCH");
}

#[test]
fn a_label_that_the_mask_does_not_have_is_said_to_be_absent() {
    let evaluate = evaluate(&["dice", "rve"], Empty::OneZero);
    let truth = mask(&["tumour", "cochlea", "nerve"], &[1, 2, 3, 0]);
    let found = evaluate.evaluate(&mask(&["cochlea"], &[0, 1, 0, 0]), &truth).unwrap();
    let rows: Vec<_> = found
        .iter()
        .map(|row| (row.label.as_str(), row.metric.as_str(), row.value, row.state.name()))
        .collect();
    let absent = "not_in_mask";
    assert_eq!(
        rows,
        [
            ("tumour", "dice", None, absent),
            ("tumour", "rve", None, absent),
            ("cochlea", "dice", Some(1.0), "ok"),
            ("cochlea", "rve", Some(0.0), "ok"),
            ("nerve", "dice", None, absent),
            ("nerve", "rve", None, absent),
        ]
    );
}

#[test]
fn grids_must_agree() {
    let evaluate = evaluate(&["dice", "assd", "nsd"], Empty::Nan);
    let truth = mask(&["a"], &[1, 0]);
    let on = |geometry: Geometry| {
        let labels = Arc::new(LabelMap::zeros(geometry));
        Mask { labels, label_names: Arc::clone(&truth.label_names) }
    };
    let error = evaluate.evaluate(&mask(&["a"], &[1, 0, 0]), &truth).unwrap_err();
    assert_eq!(error.code, "GRID_MISMATCH");
    let mut moved = truth.labels.geometry().clone();
    moved.origin_mm[0] = 0.5;
    assert_eq!(evaluate.evaluate(&on(moved), &truth).unwrap_err().code, "GRID_MISMATCH");
    let mut sheared = truth.labels.geometry().clone();
    sheared.steps_mm[0][1] = 3.0;
    let error = evaluate.evaluate(&on(sheared.clone()), &on(sheared)).unwrap_err();
    assert_eq!(error.code, "SHEARED_GRID");
    assert!(error.hint.contains("leave `assd`, `nsd` out"), "{}", error.hint);
    let flat = Geometry::axis_aligned([1, 1, 2], [0.0, 1.0, 1.0]);
    assert_eq!(evaluate.evaluate(&on(flat.clone()), &on(flat)).unwrap_err().code, "BAD_GRID");
}

#[test]
fn metrics_are_named_once_and_documented() {
    let field = |metrics: serde_json::Value| {
        let reached = json!({ "dice": 0.9, "rve": 0.1, "assd_mm": 1.0, "hd95_mm": 4.0 });
        let config = json!({
            "metrics": metrics, "empty": "nan", "tolerance_mm": 1.0, "lesion_iou": 0.5,
            "second_observer": { "whole": reached, "base": reached, "apex": reached },
        });
        build(config.as_object().unwrap()).err().map(|problems| problems[0].field.clone())
    };
    assert_eq!(field(json!([])).as_deref(), Some("metrics"));
    assert_eq!(field(json!(["dice", "dice"])).as_deref(), Some("metrics"));
    assert_eq!(field(json!(["dize"])).as_deref(), Some("metrics"));
    assert_eq!(field(json!(NAMES.to_vec())), None);
    for figure in FIGURES {
        // The reference would say less of a figure whose cell in the table ends early, or is empty.
        assert!(!figure.is.is_empty() && !figure.is.contains('|'), "{}: {}", figure.name, figure.is);
        let row = format!("\n| `{}` | {} | {} |\n", figure.name, figure.is, figure.unit);
        assert!(SPEC.doc.contains(&row), "{row} is not in the table");
        assert_eq!(Figure::named(figure.name).unwrap().name, figure.name);
    }
}
