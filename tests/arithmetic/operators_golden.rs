//! Operators and metrics against the projects whose conventions they follow (`make.py`, `make_surfaces.py`,
//! `make_intensities.py`, `make_ct.py`, `make_detections.py`, `make_rules.py` and `make_reference.py` in `golden/operators`).

use std::sync::Arc;

use crate::golden::Golden;
use serde_json::json;
use tomoflow::connectors::{Geometry, LabelMap, Scan};
use tomoflow::metrics::{Bounds, Found, Scored, average_precision, surface_distances};
use tomoflow::operators::cases::declared_grid::DeclaredGrid;
use tomoflow::operators::cases::rule::{Measured, Sampled, Settled, SpacingRule};
use tomoflow::operators::cases::tally::{Counted, Tally, Together};
use tomoflow::operators::masks::largest_component::LargestComponent;
use tomoflow::operators::registry::{MaskTransform, Registry, Stage, Transform};
use tomoflow::operators::value::{Case, Mask};
use tomoflow::voxels::components::Connectivity;

fn transform(kind: &str, config: serde_json::Value) -> Arc<dyn Transform> {
    let registry = Registry::builtin();
    match (registry.get(kind).unwrap().build)(config.as_object().unwrap()) {
        Ok(Stage::Transform(transform)) => transform,
        _ => panic!("a transform expected"),
    }
}

fn case(geometry: Geometry, scan: Vec<f32>, labels: Option<Vec<u16>>) -> Case {
    Case {
        channels: None,
        scan: Arc::new(Scan::new(geometry.clone(), scan).unwrap()),
        labels: labels.map(|labels| Arc::new(LabelMap::new(geometry.clone(), labels).unwrap())),
        original: Arc::new(geometry),
        label_names: ["a".to_owned(), "b".to_owned(), "c".to_owned()].into(),
        padding: None,
    }
}

fn near(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{worst} off");
}

fn resampled(golden: &Golden, convention: &str) -> Case {
    let geometry = golden.geometry("affine", golden.size("scan"));
    let config = json!({
        "spacing_mm": golden.f64("spacing"), "convention": convention, "order": "linear",
    });
    let given = case(geometry, golden.f32("scan"), Some(golden.u16("labels")));
    transform("resample", config).apply(&given).unwrap()
}

#[test]
fn resampling_is_monais() {
    let golden = Golden::open("resample.safetensors");
    let found = resampled(&golden, "monai");
    let geometry = golden.geometry("monai.affine", golden.size("monai.scan"));
    assert!(found.scan.geometry().same_grid(&geometry, 1e-9));
    near(found.scan.voxels(), &golden.f32("monai.scan"), 1e-5);
    assert_eq!(found.labels.unwrap().voxels(), golden.u16("monai.labels"));
}

#[test]
fn resampling_is_torchios_within_the_scan() {
    let golden = Golden::open("resample.safetensors");
    let found = resampled(&golden, "torchio");
    let size = golden.size("torchio.scan");
    let geometry = golden.geometry("torchio.affine", size);
    assert!(found.scan.geometry().same_grid(&geometry, 1e-5), "{:?} {geometry:?}", found.scan.geometry());
    let (scan, labels) = (golden.f32("torchio.scan"), golden.u16("torchio.labels"));
    let mut beyond = 0;
    for (voxel, expected) in scan.iter().enumerate() {
        // TorchIO puts 0 past the far end, where tomoflow repeats the outermost voxel.
        if *expected == 0.0 {
            beyond += 1;
            continue;
        }
        assert!((found.scan.voxels()[voxel] - expected).abs() < 1e-5);
        assert_eq!(found.labels.as_ref().unwrap().voxels()[voxel], labels[voxel]);
    }
    // No more than the last plane along each axis.
    let within = size.map(|n| n - 1).iter().product::<usize>();
    assert!(scan.len() - beyond >= within, "{beyond} of {}", scan.len());
}

#[test]
fn resampling_is_nnunets() {
    let golden = Golden::open("resample.safetensors");
    let found = resampled(&golden, "nnunet");
    assert_eq!(found.scan.size(), golden.size("nnunet.scan"));
    near(found.scan.voxels(), &golden.f32("nnunet.scan"), 1e-5);
}

#[test]
fn the_grid_of_a_reference_is_simpleitks() {
    let golden = Golden::open("reference.safetensors");
    let geometry = golden.geometry("affine", golden.size("scan"));
    let given = case(geometry, golden.f32("scan"), Some(golden.u16("labels")));
    for name in ["oblique", "parallel", "sagittal"] {
        let size = golden.size(&format!("{name}.linear"));
        let target = golden.geometry(&format!("{name}.affine"), size);
        for order in ["linear", "nearest"] {
            let config = json!({
                "grid": DeclaredGrid::from(&target), "fill": -3.0, "convention": "monai", "order": order,
            });
            let found = transform("resample", config).apply(&given).unwrap();
            assert!(found.scan.geometry().same_grid(&target, 1e-5));
            near(found.scan.voxels(), &golden.f32(&format!("{name}.{order}")), 1e-5);
            assert_eq!(found.labels.unwrap().voxels(), golden.u16(&format!("{name}.labels")), "{name}");
        }
    }
}

#[test]
fn nnunet_takes_the_coarse_axis_apart() {
    let golden = Golden::open("resample.safetensors");
    let spacing: [f64; 3] = golden.f64("nnunet.separate.spacing").try_into().unwrap();
    let given = case(Geometry::axis_aligned(golden.size("scan"), spacing), golden.f32("scan"), None);
    let config = json!({ "spacing_mm": golden.f64("spacing"), "convention": "nnunet", "order": "linear" });
    let found = transform("resample", config).apply(&given).unwrap();
    assert_eq!(found.scan.size(), golden.size("nnunet.separate.scan"));
    near(found.scan.voxels(), &golden.f32("nnunet.separate.scan"), 1e-5);
}

#[test]
fn intensities_are_monais() {
    let golden = Golden::open("intensities.safetensors");
    let geometry = Geometry::axis_aligned(golden.size("scan"), [1.0; 3]);
    let given = case(geometry, golden.f32("scan"), None);
    let check = |kind: &str, config: serde_json::Value, expected: &str| {
        let found = transform(kind, config).apply(&given).unwrap();
        near(found.scan.voxels(), &golden.f32(expected), 1e-6);
    };
    check("zscore", json!({ "foreground": "none" }), "zscore");
    check("zscore", json!({ "foreground": "nonzero" }), "zscore.nonzero");
    check("window", json!({ "low": -160, "high": 240 }), "window");
}

#[test]
fn numbers_for_ct_are_nnunets() {
    let golden = Golden::open("ct.safetensors");
    let [mean, std, low, high] = golden.f64("properties").try_into().unwrap();
    let given = |name: &str| {
        let geometry = Geometry::axis_aligned(golden.size(&format!("{name}.scan")), [1.0; 3]);
        case(geometry, golden.f32(&format!("{name}.scan")), Some(golden.u16(&format!("{name}.labels"))))
    };
    let config = json!({ "foreground": "none", "mean": mean, "std": std, "clip": [low, high] });
    let found = transform("zscore", config).apply(&given("a")).unwrap();
    near(found.scan.voxels(), &golden.f32("normalised"), 1e-5);
    // nnU-Net draws a million voxels of each case, and we count all: its numbers are off by their chance.
    let mut all = Together::default();
    for name in ["a", "b"] {
        all.add(&Tally::of(&given(name), Counted::Labelled).unwrap(), 1);
    }
    let counted = Measured { counted: Counted::Labelled, percentiles: Some([0.5, 99.5]) }.settled(&all);
    let Some(Settled::Intensities { mean: m, std: s, clip: Some([l, h]) }) = counted else {
        panic!("{counted:?}")
    };
    assert!((m - mean).abs() < 0.3 && (s - std).abs() < 0.3, "{m} {s}");
    assert!((l - low).abs() <= 2.0 && (h - high).abs() <= 2.0, "{l} {h}");
}

#[test]
fn percentiles_are_monais() {
    let golden = Golden::open("standardised.safetensors");
    let geometry = Geometry::axis_aligned(golden.size("scan"), [1.0; 3]);
    let given = case(geometry, golden.f32("scan"), None);
    let check = |lower: f64, upper: f64, to: [f64; 2], clip: bool, above: Option<f64>, expected: &str| {
        let foreground = above.map_or(json!("none"), |above| json!(above));
        let config =
            json!({ "lower": lower, "upper": upper, "to": to, "clip": clip, "foreground": foreground });
        let found = transform("percentiles", config).apply(&given).unwrap();
        near(found.scan.voxels(), &golden.f32(expected), 1e-5);
    };
    check(0.5, 99.5, [0.0, 1.0], true, None, "percentiles");
    check(10.0, 90.0, [-1.0, 1.0], false, None, "percentiles.free");
    check(0.0, 10.0, [0.25, 1e5], true, None, "percentiles.equal");
    check(2.0, 98.0, [0.0, 1.0], true, Some(100.0), "percentiles.above");
}

#[test]
fn histograms_are_torchios() {
    let golden = Golden::open("standardised.safetensors");
    let geometry = Geometry::axis_aligned(golden.size("scan"), [1.0; 3]);
    let check = |scan: Vec<f32>, foreground: serde_json::Value, expected: &str| {
        let config = json!({ "landmarks": golden.f64("landmarks"), "foreground": foreground });
        let found = transform("histogram_match", config).apply(&case(geometry.clone(), scan, None)).unwrap();
        near(found.scan.voxels(), &golden.f32(expected), 1e-4);
    };
    check(golden.f32("scan"), json!("none"), "histogram_match");
    check(golden.f32("scan"), json!(0.0), "histogram_match.above");
    check(vec![37.0; golden.f32("scan").len()], json!("none"), "histogram_match.constant");
}

#[test]
fn distances_are_scipys_and_monais() {
    let golden = Golden::open("distances.safetensors");
    let size = golden.size("prediction");
    let spacing: [f64; 3] = golden.f64("spacing").try_into().unwrap();
    let (prediction, reference) = (golden.u16("prediction"), golden.u16("reference"));
    let found = surface_distances(&prediction, &reference, (1, 1), size, spacing).unwrap().unwrap();
    assert!((found.assd_mm() - golden.f64("assd_mm")[0]).abs() < 1e-6);
    assert!((found.hausdorff_95_mm() - golden.f64("hausdorff_95_mm")[0]).abs() < 1e-6);

    // Of the whole transform, what a surface voxel of the prediction asks for.
    let inside = |[d, h, w]: [usize; 3]| {
        let within = d < size[0] && h < size[1] && w < size[2];
        within && prediction[(d * size[1] + h) * size[2] + w] == 1
    };
    let bare = |voxel: &usize| {
        let at = [voxel / (size[1] * size[2]), voxel / size[2] % size[1], voxel % size[2]];
        let beside = |axis: usize, step: usize| {
            let mut next = at;
            next[axis] = next[axis].wrapping_add(step);
            next
        };
        inside(at) && (0..3).any(|axis| !inside(beside(axis, 1)) || !inside(beside(axis, usize::MAX)))
    };
    let transform = golden.f32("to_reference");
    let expected: Vec<f32> = (0..transform.len()).filter(bare).map(|voxel| transform[voxel]).collect();
    let distances: Vec<f32> = found.from_prediction_mm.iter().map(|mm| *mm as f32).collect();
    near(&distances, &expected, 1e-5);
}

#[test]
fn surfaces_are_monais_scipys_and_simpleitks() {
    let golden = Golden::open("surfaces.safetensors");
    for name in ["blobs", "sparse", "balls", "one_voxel", "one_slice", "full"] {
        let key = |part: &str| format!("{name}.{part}");
        let size = golden.size(&key("prediction"));
        let spacing: [f64; 3] = golden.f64(&key("spacing")).try_into().unwrap();
        let masks = ["prediction", "reference"].map(|side| golden.u16(&key(side)));
        let found = surface_distances(&masks[0], &masks[1], (1, 1), size, spacing).unwrap().unwrap();
        let figures = [
            ("assd", found.assd_mm()),
            ("asd_pred_to_ref", found.from_prediction_mean_mm()),
            ("asd_ref_to_pred", found.from_reference_mean_mm()),
            ("hd", found.hausdorff_mm()),
            ("hd95", found.hausdorff_95_mm()),
            ("nsd_0.5", found.surface_dice(0.5)),
            ("nsd_1.0", found.surface_dice(1.0)),
            ("nsd_2.0", found.surface_dice(2.0)),
        ];
        for (figure, found) in figures {
            let expected = golden.f64(&key(figure))[0];
            assert!((found - expected).abs() < 1e-12, "{name}, {figure}: {found} {expected}");
        }
    }
}

#[test]
fn average_precision_is_cocos() {
    let golden = Golden::open("detections.safetensors");
    let mut images: Vec<Found<2>> = vec![Found::default(); 12];
    let bounds = |row: &[f64]| Bounds { low: [row[1], row[2]], high: [row[3], row[4]] };
    for row in golden.f64("reference").chunks_exact(5) {
        images[row[0] as usize].reference.push(bounds(row));
    }
    for row in golden.f64("predicted").chunks_exact(6) {
        images[row[0] as usize].predicted.push(Scored { bounds: bounds(row), score: row[5] });
    }
    for (least_iou, expected) in golden.f64("least_iou").iter().zip(golden.f64("average_precision")) {
        let found = average_precision(&images, *least_iou).unwrap();
        assert!((found - expected).abs() < 1e-12, "{least_iou}: {found} {expected}");
    }
}

#[test]
fn components_are_scipys() {
    let golden = Golden::open("components.safetensors");
    let geometry = Geometry::axis_aligned(golden.size("labels"), [1.0; 3]);
    let labels = Arc::new(LabelMap::new(geometry, golden.u16("labels")).unwrap());
    let mask = Mask { labels, label_names: ["a".to_owned(), "b".to_owned()].into() };
    for neighbours in [6, 18, 26] {
        let connectivity = Connectivity::from_neighbours(neighbours).unwrap();
        let found = LargestComponent { connectivity }.apply(&mask).unwrap();
        assert_eq!(found.labels.voxels(), golden.u16(&neighbours.to_string()), "{neighbours}");
    }
}

#[test]
fn spacings_are_those_of_nnunet_and_numpy() {
    let golden = Golden::open("rules.safetensors");
    let triples = |name: &str| -> Vec<[f64; 3]> {
        golden.f64(name).chunks_exact(3).map(|triple| triple.try_into().unwrap()).collect()
    };
    let (spacings, sizes) = (triples("spacings"), triples("sizes"));
    let scans: Vec<Sampled> = spacings
        .iter()
        .zip(&sizes)
        .map(|(spacing_mm, size)| Sampled { spacing_mm: *spacing_mm, size: size.map(|n| n as usize) })
        .collect();
    for (rule, name) in [
        (SpacingRule::Nnunet, "nnunet"),
        (SpacingRule::Median, "median"),
        (SpacingRule::Percentile(10.0), "percentile_10"),
    ] {
        let mut rest = &scans[..];
        for (index, (count, expected)) in golden.u16("counts").into_iter().zip(triples(name)).enumerate() {
            let (archive, others) = rest.split_at(usize::from(count));
            rest = others;
            let found = rule.spacing_mm(archive).unwrap();
            // Nine digits are kept.
            let near = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-8 * b);
            assert!(near, "{name}, archive {index}: {expected:?} expected, {found:?} found");
        }
        assert!(rest.is_empty());
    }
}
