//! Labels that atlases bring to a scan, and atlases that bring none.

use std::sync::Arc;

use serde_json::{Value, json};
use tomoflow_connectors::{Geometry, LabelMap, Scan};

use super::fuse::LeftOut;
use super::*;
use crate::operators::value::{Case, Failure};

/// A ball beside a wall, moved by `shift` voxels along W.
fn atlas(shift: f32) -> Atlas {
    let geometry = Geometry::axis_aligned([10, 24, 26], [3.0, 2.0, 2.0]);
    let (mut scan, mut labels) = (Vec::new(), Vec::new());
    for d in 0..10 {
        for h in 0..24 {
            for w in 0..26 {
                let [d, h, w] = [d as f32 - 4.5, h as f32 - 11.0, w as f32 - 12.0 - shift];
                let ball = (d * d / 9.0 + h * h / 25.0 + w * w / 25.0).sqrt();
                let wall = 1.0 / (1.0 + (-(h - 6.0) * 1.5).exp());
                scan.push(1.0 / (1.0 + ((ball - 1.0) * 5.0).exp()) + 0.5 * wall + 0.03 * (w * 0.9 + d).sin());
                labels.push(u16::from(ball < 1.0));
            }
        }
    }
    let scan = Scan::new(geometry.clone(), scan).unwrap();
    Atlas { scan, labels: LabelMap::new(geometry, labels).unwrap() }
}

fn case(atlas: Atlas) -> Case {
    Case {
        channels: None,
        original: Arc::new(atlas.scan.geometry().clone()),
        scan: Arc::new(atlas.scan),
        labels: None,
        label_names: Arc::from([]),
        padding: None,
    }
}

struct Shifted(Vec<f32>);

impl Library for Shifted {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn atlas(&self, number: usize) -> Result<Atlas, Failure> {
        let shift = self.0[number];
        let made = atlas(if shift.is_finite() { shift } else { 0.0 });
        // An atlas without a finite shift is a scan without structure.
        let scan = if shift.is_finite() {
            made.scan.voxels().to_vec()
        } else {
            vec![3.0; made.labels.voxels().len()]
        };
        let scan = Scan::new(made.scan.geometry().clone(), scan).unwrap();
        Ok(Atlas { scan, labels: made.labels })
    }
}

fn fuse(registration: &str, most: usize, fusion: Value) -> Fuse {
    let demons = json!({ "levels": 3, "iterations": 10, "fluid": 1.0, "diffusion": 1.5 });
    let config = json!({ "atlases": "library", "registration": registration, "demons": demons, "most": most, "fusion": fusion });
    match build(config.as_object().unwrap()) {
        Ok(Stage::Fuse(fuse)) => fuse,
        _ => panic!("a fusion expected"),
    }
}

fn dice(found: &LabelMap) -> f64 {
    let truth = atlas(0.0).labels;
    let both = found.voxels().iter().zip(truth.voxels()).filter(|(a, b)| **a == 1 && **b == 1).count();
    let each = found.voxels().iter().chain(truth.voxels()).filter(|label| **label == 1).count();
    2.0 * both as f64 / each as f64
}

#[test]
fn registered_atlases_find_what_others_miss() {
    let library = Shifted(vec![4.0, -3.0, 5.0]);
    let majority = json!({ "type": "majority" });
    let joint = json!({ "type": "joint", "patch_mm": 2.0, "search_mm": 3.0, "alpha": 0.1, "beta": 2.0 });
    let sparse = json!({ "type": "sparse", "patch_mm": 2.0, "search_mm": 3.0, "candidates": 20, "l1": 0.1, "l2": 0.01 });
    let found = |registration: &str, fusion: &Value| {
        let (labels, told) =
            fuse(registration, 10, fusion.clone()).fuse(&case(atlas(0.0)), &library).unwrap();
        assert_eq!(told, None);
        dice(&labels)
    };
    let alone = found("none", &majority);
    assert!(alone < 0.7, "{alone}");
    for (registration, fusion) in
        [("affine", &majority), ("demons", &majority), ("demons", &joint), ("demons", &sparse)]
    {
        let dice = found(registration, fusion);
        assert!(dice > 0.9, "{registration} {fusion}: {dice}, {alone} without");
    }
}

#[test]
fn the_most_alike_take_part_and_never_the_case_itself() {
    // The second is the case itself, the first its like.
    let library = Shifted(vec![0.5, 0.0, 6.0]);
    let one = fuse("none", 1, json!({ "type": "majority" }));
    let (labels, _) = one.fuse(&case(atlas(0.0)), &library).unwrap();
    assert!((0.8..1.0).contains(&dice(&labels)), "{}", dice(&labels));
    let chosen = |most: usize| {
        let fuse = fuse("affine", most, json!({ "type": "majority" }));
        let chosen = fuse.choose(&atlas(0.0).scan, &library, &mut LeftOut::default()).unwrap();
        chosen.iter().map(|chosen| (chosen.number, chosen.correlation)).collect::<Vec<_>>()
    };
    let all = chosen(10);
    assert!(all.len() == 2 && all.iter().all(|(number, _)| *number != 1) && all[0].1 >= all[1].1, "{all:?}");
    assert_eq!(chosen(1), all[..1]);
    let itself = one.fuse(&case(atlas(0.0)), &Shifted(vec![0.0])).unwrap_err();
    assert_eq!(itself.code, "NO_ATLAS");
}

#[test]
fn what_cannot_be_registered_is_told_and_no_atlas_is_no_mask() {
    let all = fuse("demons", 10, json!({ "type": "majority" }));
    let (labels, told) = all.fuse(&case(atlas(0.0)), &Shifted(vec![f32::NAN, 2.0])).unwrap();
    let told = told.unwrap();
    assert!(
        dice(&labels) > 0.9 && told.code == "ATLASES_LEFT_OUT" && told.message.contains("FLAT_SCAN"),
        "{told}"
    );
    let none = all.fuse(&case(atlas(0.0)), &Shifted(vec![f32::NAN])).unwrap_err();
    assert!(none.code == "NO_ATLAS" && none.message.contains("FLAT_SCAN"), "{none}");
    assert_eq!(all.fuse(&case(atlas(0.0)), &Shifted(Vec::new())).unwrap_err().code, "NO_ATLAS");
    let flat = Shifted(vec![f32::NAN]).atlas(0).unwrap();
    assert_eq!(all.fuse(&case(flat), &Shifted(vec![2.0])).unwrap_err().code, "FLAT_SCAN");
}

#[test]
fn memory_grows_with_what_takes_part() {
    let joint = json!({ "type": "joint", "patch_mm": 2.0, "search_mm": 3.0, "alpha": 0.1, "beta": 2.0 });
    let [few, many] = [1, 10].map(|most| fuse("demons", most, joint.clone()).bytes(1000, 500));
    assert!(few > 1000 * 100 && many > few + 9 * 1000 * 40);
    assert_eq!(fuse("demons", 1000, joint).bytes(u64::MAX, u64::MAX), u64::MAX);
}
