//! Which changes are made, and that nothing else decides.

use serde_json::json;

use super::*;
use crate::networks::sample::Target;

fn built(config: serde_json::Value) -> Result<Stage, Vec<FieldProblem>> {
    let mut full = json!({ "elastic_grid_mm": 8.0, "probability": 1.0 });
    let (Some(full), serde_json::Value::Object(given)) = (full.as_object_mut(), config) else { panic!() };
    full.extend(given);
    build(full)
}

fn augment(config: serde_json::Value) -> Augment {
    match built(config) {
        Ok(Stage::Augment(augment)) => (*augment).clone(),
        other => panic!("an augmentation expected: {:?}", other.err()),
    }
}

const SHAPE: [usize; 4] = [2, 3, 4, 5];

fn changed(augment: &Augment, number: u64) -> (Vec<f32>, Vec<u8>) {
    let mut input: Vec<f32> = (0..120).map(|i| (i * 13 % 47) as f32).collect();
    let mut target = Target::Classes((0..60).collect());
    let source = Source::new(1, "case", 2, number);
    augment.change(&source, SHAPE, 1, [3.0, 1.0, 1.0], &mut input, &mut target);
    (input, target.classes().unwrap().to_vec())
}

#[test]
fn nothing_is_done_that_is_not_named() {
    let nothing = augment(json!({}));
    let (input, label) = changed(&nothing, 0);
    assert_eq!(input, (0..120).map(|i| (i * 13 % 47) as f32).collect::<Vec<_>>());
    assert_eq!(label, (0..60).collect::<Vec<u8>>());
    let window = Window { start: [0; 3], size: [3, 4, 5], spacing_mm: [1.0; 3] };
    assert_eq!(nothing.warp(&Source::new(0, "", 0, 0), &window, false), None);
    let never = augment(json!({ "gamma": [2.0, 2.0], "scale": [2.0, 2.0], "probability": 0.0 }));
    assert_eq!(changed(&never, 0), (input, label));
    assert_eq!(never.warp(&Source::new(0, "", 0, 0), &window, false), None);
}

#[test]
fn one_more_operation_leaves_the_others_as_they_were() {
    let gamma = json!({ "gamma": [0.5, 2.0], "probability": 0.5 });
    let both = json!({ "gamma": [0.5, 2.0], "noise": [0.0, 0.0], "blur_mm": [0.0, 0.0], "probability": 0.5 });
    let (gamma, both) = (augment(gamma), augment(both));
    let all: Vec<_> = (0..20).map(|number| changed(&gamma, number)).collect();
    assert_eq!(all, (0..20).map(|number| changed(&both, number)).collect::<Vec<_>>());
    let plain = changed(&augment(json!({})), 0);
    let same = all.iter().filter(|sample| **sample == plain).count();
    assert!((4..=16).contains(&same), "{same} of 20 unchanged");
}

#[test]
fn each_axis_is_mirrored_in_half_of_the_samples() {
    let mirrored = augment(json!({ "flip": ["d", "h", "w"] }));
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..64 {
        let (input, label) = changed(&mirrored, number);
        let of = |voxel: usize| {
            (label[voxel] as usize / 20, label[voxel] as usize / 5 % 4, label[voxel] as usize % 5)
        };
        let (d, h, w) = of(0);
        assert!([0, 2].contains(&d) && [0, 3].contains(&h) && [0, 4].contains(&w));
        // Both channels move with the classes.
        for (voxel, &from) in label.iter().enumerate() {
            for channel in 0..2 {
                let wanted = ((channel * 60 + usize::from(from)) * 13 % 47) as f32;
                assert_eq!(input[channel * 60 + voxel], wanted);
            }
        }
        seen.insert((d, h, w));
    }
    assert_eq!(seen.len(), 8);
    let along_w = augment(json!({ "flip": ["w"] }));
    assert!((0..20).all(|number| changed(&along_w, number).1[0] < 5));
}

#[test]
fn all_together_depend_on_their_numbers_alone() {
    let all = augment(json!({
        "rotate_deg": [30.0, 10.0, 10.0], "scale": [0.7, 1.4], "elastic_mm": 2.0, "bias_field": 0.3,
        "gamma": [0.7, 1.5], "slice_mm": [3.0, 6.0], "blur_mm": [0.5, 1.0], "low_resolution": [0.5, 1.0],
        "noise": [0.0, 0.1], "flip": ["w"],
    }));
    let there = std::thread::scope(|scope| scope.spawn(|| changed(&all, 5)).join().unwrap());
    assert_eq!(changed(&all, 5), there);
    assert_ne!(changed(&all, 5), changed(&all, 6));
    assert!(there.0.iter().all(|value| value.is_finite()));
    let window = Window { start: [0; 3], size: [3, 4, 5], spacing_mm: [1.0; 3] };
    let warp = |number| all.warp(&Source::new(1, "case", 2, number), &window, false);
    assert_eq!(warp(1), warp(1));
    assert_ne!(warp(1), warp(2));
    // A slice that is moved in its plane shows nothing of its neighbours.
    let scan: Vec<f32> = (0..60).map(|i| (i / 20) as f32).collect();
    let size = [3, 4, 5];
    let volume = Volume { size, first: [0; 3], held: size, scan: &scan, labels: &[0; 60], outside: -1.0 };
    for slice in 0..3u8 {
        let window = Window { start: [slice.into(), 0, 0], size: [1, 4, 5], spacing_mm: [1.0; 3] };
        let flat = all.warp(&Source::new(1, "case", 2, 1), &window, true).unwrap();
        let (input, _) = flat.read(&volume, &window);
        assert!(input.iter().all(|value| *value == -1.0 || *value == f32::from(slice)));
        assert!(input.contains(&f32::from(slice)));
    }
}

#[test]
fn a_range_upside_down_is_a_problem() {
    let problems = built(json!({ "scale": [1.4, 0.7], "noise": [0.0, 0.1] })).err().unwrap();
    assert_eq!(problems.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(), ["scale"]);
}
