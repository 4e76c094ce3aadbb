//! Numbers by hand, by a scan's own statistics and by those of an archive.

use super::*;
use crate::operators::cases::rule::{Rule, Settled};
use crate::operators::spec::semantic;
use serde_json::{Value, json};
use tomoflow_connectors::Geometry;

fn scaled(foreground: Foreground, voxels: &[f32]) -> Result<Vec<f32>, Failure> {
    let geometry = Geometry::axis_aligned([1, 1, voxels.len()], [1.0; 3]);
    Zscore::own(foreground).scaled(&Scan::new(geometry, voxels.to_vec()).unwrap(), voxels)
}

fn by(zscore: Zscore, voxels: &[f32]) -> Result<Vec<f32>, Failure> {
    let geometry = Geometry::axis_aligned([1, 1, voxels.len()], [1.0; 3]);
    zscore.scaled(&Scan::new(geometry, voxels.to_vec()).unwrap(), voxels)
}

#[test]
fn numbers_said_outright_take_the_place_of_the_scans_own() {
    let fixed = Zscore { mean: Some(10.0), std: Some(4.0), ..Zscore::own(Foreground::None) };
    assert_eq!(by(fixed, &[2.0, 10.0, 12.0, 0.0]).unwrap(), [-2.0, 0.0, 0.5, -2.5]);
    let clipped = Zscore { clip: Some([4.0, 11.0]), ..fixed };
    assert_eq!(by(clipped, &[2.0, 10.0, 12.0, 0.0]).unwrap(), [-1.5, 0.0, 0.25, -1.5]);
    let nonzero = Zscore { foreground: Foreground::Nonzero, ..clipped };
    assert_eq!(by(nonzero, &[2.0, 0.0, 12.0]).unwrap(), [-1.5, 0.0, 0.25]);
    // A constant scan, and one voxel, are what they are.
    assert_eq!(by(fixed, &[6.0]).unwrap(), [-1.0]);
    assert_eq!(by(fixed, &[f32::NAN]).unwrap_err().code, "NOT_FINITE");
    assert_eq!(by(clipped, &[f32::INFINITY]).unwrap_err().code, "NOT_FINITE");
}

#[test]
fn a_clip_comes_before_the_scans_own_mean() {
    let clipped = Zscore { clip: Some([1.0, 3.0]), ..Zscore::own(Foreground::None) };
    assert_eq!(by(clipped, &[-50.0, 900.0]).unwrap(), [-1.0, 1.0]);
    let nonzero = Zscore { foreground: Foreground::Nonzero, ..clipped };
    assert_eq!(by(nonzero, &[0.0, 0.5, 3.5]).unwrap(), [0.0, -1.0, 1.0]);
}

fn config(changes: Value) -> Config {
    let config =
        json!({ "foreground": "none", "statistics": "scan", "mean": null, "std": null, "clip": null });
    let mut config = config.as_object().unwrap().clone();
    config.extend(changes.as_object().unwrap().clone());
    config
}

fn built(changes: Value) -> Arc<dyn Transform> {
    match build(&config(changes)) {
        Ok(Stage::Transform(transform)) => transform,
        Ok(_) => panic!("a transform expected"),
        Err(problems) => panic!("{problems:?}"),
    }
}

#[test]
fn what_does_not_go_together_is_named_and_other_keys_stay() {
    let field = |changes| build(&config(changes)).err().map(|problems| problems[0].field.clone());
    assert_eq!(field(json!({ "mean": 1.0, "std": 2.0, "clip": [-3.0, 3.0] })), None);
    assert_eq!(field(json!({ "mean": 1.0 })).as_deref(), Some("mean"));
    assert_eq!(field(json!({ "std": 1.0 })).as_deref(), Some("std"));
    assert_eq!(field(json!({ "clip": [3.0, 3.0] })).as_deref(), Some("clip"));
    let above = json!({ "mean": 1.0, "std": 2.0, "foreground": 3.0 });
    assert_eq!(field(above).as_deref(), Some("foreground"));
    let percentiles = json!({ "percentiles": [0.5, 99.5] });
    assert_eq!(field(json!({ "clip": percentiles })).as_deref(), Some("clip"));
    assert_eq!(field(json!({ "foreground": "labelled" })).as_deref(), Some("foreground"));
    let archive = json!({ "statistics": "archive", "foreground": "labelled", "clip": percentiles });
    assert_eq!(field(archive), None);
    let both = json!({ "statistics": "archive", "mean": 1.0, "std": 1.0 });
    assert_eq!(field(both).as_deref(), Some("statistics"));
    let reversed = json!({ "statistics": "archive", "clip": { "percentiles": [99.5, 0.5] } });
    assert_eq!(field(reversed).as_deref(), Some("clip"));
    let kept = semantic(SPEC.fields, &config(json!({})));
    assert_eq!(Value::Object(kept), json!({ "foreground": "none" }));
}

#[test]
fn numbers_of_an_archive_are_those_said_outright() {
    let changes = json!({
        "statistics": "archive", "foreground": "labelled", "clip": { "percentiles": [0.5, 99.5] },
    });
    let archive = built(changes.clone());
    let geometry = Geometry::axis_aligned([1, 1, 3], [1.0; 3]);
    let case = Case {
        channels: None,
        scan: Arc::new(Scan::new(geometry.clone(), vec![2.0, 10.0, 12.0]).unwrap()),
        labels: None,
        original: Arc::new(geometry),
        label_names: [].into(),
        padding: None,
    };
    assert_eq!(archive.apply(&case).unwrap_err().code, "UNSETTLED");
    let measured = archive.measures().unwrap();
    assert_eq!(archive.rule(), Some(Rule::Intensities(measured)));
    let numbers = Settled::Intensities { mean: 10.0, std: 4.0, clip: Some([4.0, 11.0]) };
    assert!(archive.settled(&config(changes.clone()), &Settled::SpacingMm([1.0; 3])).is_none());
    let (settled, Stage::Transform(stage)) = archive.settled(&config(changes), &numbers).unwrap() else {
        panic!("a transform expected")
    };
    let outright = config(json!({ "mean": 10.0, "std": 4.0, "clip": [4.0, 11.0] }));
    assert_eq!(Value::Object(settled), Value::Object(outright));
    // The archive is measured on, for it may drift.
    assert_eq!((stage.rule(), stage.measures()), (None, Some(measured)));
    assert_eq!(stage.apply(&case).unwrap().scan.voxels(), [-1.5, 0.0, 0.25]);
    let nonzero = json!({ "statistics": "archive", "foreground": "nonzero", "clip": [4.0, 11.0] });
    let numbers = Settled::Intensities { mean: 10.0, std: 4.0, clip: None };
    let (settled, _) = built(nonzero.clone()).settled(&config(nonzero), &numbers).unwrap();
    let outright = json!({ "foreground": "nonzero", "mean": 10.0, "std": 4.0, "clip": [4.0, 11.0] });
    assert_eq!(Value::Object(settled), Value::Object(config(outright)));
}

#[test]
fn mean_and_deviation_are_taken_out() {
    assert_eq!(scaled(Foreground::None, &[1.0, 3.0]).unwrap(), [-1.0, 1.0]);
    assert_eq!(scaled(Foreground::None, &[0.0, 0.0, 4.0, 4.0]).unwrap(), [-1.0, -1.0, 1.0, 1.0]);
}

#[test]
fn zeros_outside_the_foreground_stay() {
    assert_eq!(scaled(Foreground::Nonzero, &[0.0, 2.0, 4.0, 0.0]).unwrap(), [0.0, -1.0, 1.0, 0.0]);
    assert_eq!(scaled(Foreground::Above(1.0), &[0.0, 2.0, 4.0]).unwrap(), [-3.0, -1.0, 1.0]);
}

#[test]
fn constant_scans_become_zeros() {
    assert_eq!(scaled(Foreground::None, &[0.1; 7]).unwrap(), [0.0; 7]);
    assert_eq!(scaled(Foreground::None, &[5.0]).unwrap(), [0.0]);
    assert_eq!(scaled(Foreground::Nonzero, &[0.0; 4]).unwrap(), [0.0; 4]);
    assert_eq!(scaled(Foreground::Nonzero, &[0.0, 3.0]).unwrap(), [0.0; 2]);
}

#[test]
fn nan_and_an_empty_foreground_are_named() {
    assert_eq!(scaled(Foreground::None, &[1.0, f32::NAN]).unwrap_err().code, "NOT_FINITE");
    assert_eq!(scaled(Foreground::None, &[1.0, f32::INFINITY]).unwrap_err().code, "NOT_FINITE");
    assert_eq!(scaled(Foreground::Above(9.0), &[1.0, 2.0]).unwrap_err().code, "NO_FOREGROUND");
}

#[test]
fn many_chunks_give_unit_variance() {
    let voxels: Vec<f32> = (0..200_000).map(|i| 1e4 + (i % 1000) as f32).collect();
    let out = scaled(Foreground::None, &voxels).unwrap();
    let mean = out.iter().map(|&v| f64::from(v)).sum::<f64>() / out.len() as f64;
    let variance = out.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / out.len() as f64;
    assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6);
}
