//! An operator whose output changes must raise its `version`: caches hold results of the old code, and the
//! version is what tells them apart. Each line here is a type, its version, and a digest of what it makes of
//! one fixed case.

use std::fmt::Write;
use std::sync::Arc;

use expect_test::expect;
use serde_json::{Value, json};
use tomoflow::connectors::{Digest, Geometry, LabelMap, RunLength, Scan, VoxelIndex};
use tomoflow::operators::cases::channels::join::Other;
use tomoflow::operators::registry::{Registry, Stage};
use tomoflow::operators::samples::things::Things;
use tomoflow::operators::value::{Case, DetectedBox, Detections, Mask};
use tomoflow::phantom::vs::{self, VsPhantom};

fn case() -> Case {
    let (scan, labels) =
        vs::case(&VsPhantom { series: 1, first: 0, seed: 3, size: [10, 40, 40], ..VsPhantom::DEFAULT }, 0);
    let original = Arc::new(scan.geometry().clone());
    let label_names = ["tumour".to_owned(), "cochlea".to_owned()].into();
    let (scan, labels) = (Arc::new(scan), Some(Arc::new(labels)));
    Case { channels: None, scan, labels, original, label_names, padding: None }
}

/// Rounded, so that the last bits of another processor's sums are no new version.
fn rounded(values: impl Iterator<Item = f64>) -> String {
    let bytes: Vec<u8> = values.flat_map(|value| ((value * 1e3).round() as i64).to_le_bytes()).collect();
    Digest::of(&bytes).short()
}

fn of_case(case: &Case) -> String {
    let geometry = case.scan.geometry().affine_lps();
    let labels = case.labels.as_ref().map_or(&[][..], |labels| labels.voxels());
    let numbers = case.scan.voxels().iter().map(|&value| f64::from(value));
    let numbers = numbers.chain(labels.iter().map(|&label| f64::from(label)));
    rounded(numbers.chain(geometry.into_iter().flatten()))
}

fn of_labels(labels: &LabelMap) -> String {
    rounded(labels.voxels().iter().map(|&label| f64::from(label)))
}

fn output(stage: &Stage) -> String {
    let case = case();
    let truth = Mask { labels: case.labels.clone().unwrap(), label_names: case.label_names.clone() };
    let bright = || {
        let bright = case.scan.voxels().iter().map(|&value| u16::from(value > 900.0)).collect();
        let labels = LabelMap::new(case.scan.geometry().clone(), bright).unwrap();
        Mask { labels: Arc::new(labels), label_names: truth.label_names.clone() }
    };
    match stage {
        Stage::Transform(transform) => of_case(&transform.apply(&case).unwrap()),
        Stage::Segment(segmenter) => of_labels(&segmenter.segment(&case).unwrap().0),
        Stage::Mask(operator) => of_labels(&operator.apply(&bright()).unwrap().labels),
        Stage::Combine(operator) => of_labels(&operator.combine(&truth, &[bright()]).unwrap().labels),
        Stage::Evaluate(evaluator) => {
            let moved: Vec<u16> = truth.labels.voxels().iter().skip(1).copied().chain([0]).collect();
            let labels = LabelMap::new(case.scan.geometry().clone(), moved).unwrap();
            let mask = Mask { labels: Arc::new(labels), label_names: truth.label_names.clone() };
            let metrics = evaluator.evaluate(&mask, &truth).unwrap();
            rounded(metrics.iter().map(|metric| metric.value.unwrap_or(-1.0)))
        }
        _ => panic!("not an operator on one case"),
    }
}

fn lines(stages: &[(&str, Value)]) -> String {
    let registry = Registry::builtin();
    let mut lines = String::new();
    for (name, config) in stages {
        let entry = registry.get(name).unwrap();
        let stage =
            (entry.build)(config.as_object().unwrap()).unwrap_or_else(|problems| panic!("{problems:?}"));
        writeln!(lines, "{name} {} {}", entry.spec.version, output(&stage)).unwrap();
    }
    lines
}

#[test]
fn outputs_change_with_versions_alone() {
    let resample = |convention: &str| json!({ "spacing_mm": [1.0, 0.7, 0.7], "convention": convention, "order": "linear" });
    let spline = |convention: &str, order: &str, labels: &str, antialias: bool| {
        let mut config = resample(convention);
        config["order"] = order.into();
        config["labels"] = labels.into();
        config["antialias"] = antialias.into();
        config
    };
    let place = case().scan.geometry().to_patient(VoxelIndex([0.4, 3.3, 2.2])).0;
    let reference = json!({
        "grid": {
            "size": [9, 30, 34], "spacing_mm": [1.6, 0.45, 0.4], "origin_mm": place,
            "direction": [[0.0, 0.6, 0.8], [0.0, 0.8, -0.6], [1.0, 0.0, 0.0]],
        },
        "fill": -5.0, "convention": "monai", "order": "linear",
    });
    let found = lines(&[
        ("resample", resample("monai")),
        ("resample", resample("nnunet")),
        ("resample", resample("torchio")),
        ("resample", spline("monai", "cubic", "nearest", false)),
        ("resample", spline("nnunet", "cubic", "linear", false)),
        ("resample", spline("torchio", "lanczos", "linear", true)),
        ("resample", reference),
        ("reorient", json!({ "axes": "RAS" })),
        ("crop", json!({ "size_mm": [6.0, 8.0, 10.0], "above": null, "margin_mm": 0.0 })),
        ("crop", json!({ "size_mm": null, "above": 900.0, "margin_mm": 1.0 })),
        ("crop", json!({ "size_mm": [6.0, 8.0, 10.0], "around": "tumour", "above": null, "margin_mm": 0.0 })),
        ("pad", json!({ "size": [12, 41, 48], "size_mm": null, "value": -1.0 })),
        ("zscore", json!({ "foreground": "none" })),
        ("zscore", json!({ "foreground": "none", "mean": 700.0, "std": 120.0, "clip": [300.0, 1500.0] })),
        ("window", json!({ "low": 100.0, "high": 1500.0 })),
        ("clip", json!({ "min": 300.0, "max": 1500.0 })),
        (
            "percentiles",
            json!({ "lower": 0.5, "upper": 99.5, "to": [0.0, 1.0], "clip": true, "foreground": "none" }),
        ),
        (
            "histogram_match",
            json!({
                "landmarks": [0, 5, 10, 12, 15, 25, 40, 55, 70, 75, 80, 90, 100], "foreground": 100.0,
            }),
        ),
        ("threshold", json!({ "above": 800.0, "below": null, "label": "bright" })),
        ("largest_component", json!({ "connectivity": 26 })),
        ("remove_small", json!({ "min_ml": null, "min_voxels": 20, "connectivity": 6, "labels": null })),
        ("fill_holes", json!({ "dims": 2, "connectivity": 6, "labels": null })),
        ("closing", json!({ "radius_mm": 1.6, "labels": null })),
        ("opening", json!({ "radius_mm": 0.9, "labels": null })),
        ("connected_components", json!({ "min_ml": 0.0, "connectivity": 26, "labels": null })),
        ("combine", json!({ "op": "xor" })),
        (
            "evaluate",
            json!({
                "metrics": ["dice", "assd", "rve"], "empty": "nan", "tolerance_mm": 1.0, "lesion_iou": 0.5,
            }),
        ),
    ]);
    expect![[r#"
        resample 1 4ea33eac0b9c
        resample 1 f3b9cc12ada0
        resample 1 73c048d1a319
        resample 1 886937bd8304
        resample 1 ff10f4030e5e
        resample 1 53af51bec407
        resample 1 825522340db9
        reorient 1 f0ea97f4cf0f
        crop 1 0ed0e04397cc
        crop 1 0df3c40f32a6
        crop 1 31291dd45fe7
        pad 1 99f2b9257780
        zscore 1 1176f210e2b0
        zscore 1 5500734b18ab
        window 1 8d27ec578a6a
        clip 1 9fcbd4183093
        percentiles 1 705cc90b7a3f
        histogram_match 1 83f4d36b7d2e
        threshold 1 fcf4e66c0736
        largest_component 1 5042eada3585
        remove_small 1 7b8c53ba020d
        fill_holes 1 3588582c4077
        closing 1 4d9e1ce0883c
        opening 1 e13aece0590b
        connected_components 1 aa0aaa0fb87a
        combine 1 5b29deb85225
        evaluate 2 0f5df59680dd
    "#]]
    .assert_eq(&found);
}

/// A scan of so many voxels in a row, 1 mm apart, that begins at a place.
fn row(voxels: &[f32], from_mm: f64) -> Case {
    let mut geometry = Geometry::axis_aligned([1, 1, voxels.len()], [1.0; 3]);
    geometry.origin_mm[0] = from_mm;
    let scan = Arc::new(Scan::new(geometry.clone(), voxels.to_vec()).unwrap());
    Case {
        channels: None,
        scan,
        labels: None,
        original: Arc::new(geometry),
        label_names: [].into(),
        padding: None,
    }
}

/// A slice, a class, a score, the edges at the lower ends, and the runs of a mask.
type Drawn<'a> = (u32, u8, f64, [f64; 2], &'a [u32]);

/// Boxes on slices of so many pixels, of a lesion (class 1) and of the liver that holds it.
fn boxes(size: [usize; 3], boxes: &[Drawn<'_>]) -> Detections {
    let nested = [("liver".to_owned(), vec!["lesion".to_owned()])];
    let on = |&(slice, class, score, low, _): &Drawn<'_>| DetectedBox {
        slice,
        class,
        score,
        low,
        high: low.map(|edge| edge + 2.0),
    };
    Detections {
        size,
        things: Things::of_labels(&["lesion".to_owned(), "liver".to_owned()], &nested),
        boxes: boxes.iter().map(on).collect(),
        masks: Some(boxes.iter().map(|(.., runs)| RunLength(runs.to_vec())).collect()),
    }
}

/// What takes or gives something else than one case, on inputs small enough to be followed by hand.
#[test]
fn outputs_of_boxes_and_channels_change_with_versions_alone() {
    let registry = Registry::builtin();
    let mut found = String::new();
    let mut add = |name: &str, config: Value, output: &dyn Fn(&Stage) -> String| {
        let entry = registry.get(name).unwrap();
        let stage =
            (entry.build)(config.as_object().unwrap()).unwrap_or_else(|problems| panic!("{problems:?}"));
        writeln!(found, "{name} {} {}", entry.spec.version, output(&stage)).unwrap();
    };
    // A sure false positive on the second slice, a hit on the first: sensitivity 0 at 0.25, 1 at 1; precision 0.5.
    let config = json!({
        "metrics": ["sensitivity", "ap50"], "false_positives": [0.25, 1.0], "iou": 0.5, "slices": "all",
    });
    add("evaluate_boxes", config, &|stage| {
        let Stage::EvaluateBoxes(evaluate) = stage else { panic!("boxes are judged") };
        let voxels = (0..32).map(|i| u16::from([0, 1, 4, 5].contains(&i))).collect();
        let labels = LabelMap::new(Geometry::axis_aligned([2, 4, 4], [1.0; 3]), voxels).unwrap();
        let truth =
            Mask { labels: Arc::new(labels), label_names: ["lesion".to_owned(), "other".to_owned()].into() };
        let mut found = boxes([2, 4, 4], &[(0, 1, 0.5, [0.0, 0.0], &[]), (1, 1, 0.9, [2.0, 2.0], &[])]);
        found.things = Things::of_labels(&["lesion".to_owned(), "other".to_owned()], &[]);
        let metrics = evaluate.evaluate(&found, &truth, &[], None).unwrap().metrics;
        rounded(metrics.iter().map(|metric| metric.value.unwrap_or(-1.0)))
    });
    let config = json!({ "score": 0.5, "within": { "lesion": "liver" } });
    add("paint", config, &|stage| {
        let Stage::Paint(paint) = stage else { panic!("boxes are painted") };
        let found = boxes([1, 2, 4], &[(0, 1, 0.9, [0.0; 2], &[2, 2]), (0, 2, 0.6, [0.0; 2], &[0, 3, 4, 2])]);
        let painted = paint.paint(&found, &Geometry::axis_aligned([1, 2, 4], [1.0; 3])).unwrap();
        of_labels(&painted.labels)
    });
    // The second channel lies half a voxel off: means of two neighbours.
    let config = json!({ "on_missing": "reject", "frames": "same", "pair": "study", "fill": 0.0 });
    add("channels", config, &|stage| {
        let Stage::Channels(join) = stage else { panic!("channels are joined") };
        let other = Other::There(row(&[0.0, 2.0, 6.0, 14.0], -0.5));
        let names = ["a".to_owned(), "b".to_owned()].into();
        let both = join.join(&row(&[5.0, 7.0, 9.0], 0.0), vec![other], names).unwrap();
        rounded(both.scans().flat_map(|scan| scan.voxels()).map(|value| f64::from(*value)))
    });
    expect![[r#"
        evaluate_boxes 1 d92385372aa4
        paint 1 8785a1f192c2
        channels 1 c0c15cc82816
    "#]]
    .assert_eq(&found);
}
