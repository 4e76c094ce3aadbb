//! Cubic and Lanczos resampling, and labels by a vote, against SciPy, MONAI, scikit-image and nnU-Net.

use std::sync::Arc;

use crate::golden::Golden;
use proptest::prelude::*;
use serde_json::json;
use tomoflow::connectors::{Geometry, LabelMap, Scan};
use tomoflow::operators::cases::resample::{LabelOrder, Resample, Target};
use tomoflow::operators::registry::Transform;
use tomoflow::operators::value::Case;
use tomoflow::voxels::grid::{Convention, Order};

const CONVENTIONS: [Convention; 3] = [Convention::Monai, Convention::Nnunet, Convention::Torchio];

fn case(geometry: Geometry, scan: Vec<f32>, labels: Option<Vec<u16>>) -> Case {
    Case {
        channels: None,
        scan: Arc::new(Scan::new(geometry.clone(), scan).unwrap()),
        labels: labels.map(|labels| Arc::new(LabelMap::new(geometry.clone(), labels).unwrap())),
        original: Arc::new(geometry),
        label_names: ["a".to_owned()].into(),
        padding: None,
    }
}

fn mm(golden: &Golden, name: &str) -> [f64; 3] {
    golden.f64(name).try_into().unwrap()
}

fn near(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{what}: {worst} off");
}

#[test]
fn splines_are_those_of_scipy_and_monai() {
    let golden = Golden::open("splines.safetensors");
    for name in ["finer", "coarser"] {
        let (old, new) = (mm(&golden, &format!("{name}.old")), mm(&golden, &format!("{name}.new")));
        let given = case(Geometry::axis_aligned(golden.size("scan"), old), golden.f32("scan"), None);
        let check = |convention, order, expected: &str| {
            let expected = format!("{name}.{expected}");
            let found = Resample::to_spacing(new, convention, order).apply(&given).unwrap();
            assert_eq!(found.scan.size(), golden.size(&expected), "{expected}");
            // The voxels reach 400.
            near(&expected, found.scan.voxels(), &golden.f32(&expected), 4e-4);
        };
        check(Convention::Monai, Order::Cubic, "monai");
        check(Convention::Torchio, Order::Cubic, "torchio");
        check(Convention::Torchio, Order::Lanczos, "lanczos");
    }
}

#[test]
fn antialiasing_is_scikit_images() {
    let golden = Golden::open("splines.safetensors");
    let (old, new) = (mm(&golden, "coarser.old"), mm(&golden, "coarser.new"));
    let given = case(Geometry::axis_aligned(golden.size("scan"), old), golden.f32("scan"), None);
    for (order, expected) in [(Order::Linear, "antialias.linear"), (Order::Cubic, "antialias.cubic")] {
        let resample = Resample { antialias: true, ..Resample::to_spacing(new, Convention::Nnunet, order) };
        let found = resample.apply(&given).unwrap();
        near(expected, found.scan.voxels(), &golden.f32(expected), 4e-4);
    }
}

#[test]
fn short_lines_are_scipys() {
    let golden = Golden::open("splines.safetensors");
    for n in 1..=3 {
        let name = format!("short.{n}");
        let geometry = Geometry::axis_aligned([1, 1, n], [1.0; 3]);
        let given = case(geometry, golden.f32(&name), None);
        let found =
            Resample::to_spacing([1.0, 1.0, 0.25], Convention::Torchio, Order::Cubic).apply(&given).unwrap();
        let expected = golden.f32(&format!("{name}.cubic"));
        if n == 1 {
            // TorchIO leaves a single slice as it is.
            assert_eq!(found.scan.voxels(), &expected[..1]);
        } else {
            near(&name, found.scan.voxels(), &expected, 1e-4);
        }
    }
}

#[test]
fn nnunets_own_data_and_labels() {
    let golden = Golden::open("nnunet.safetensors");
    for name in ["volume", "slices", "slices_after", "rows", "columns", "tied"] {
        let of = |part: &str| format!("{name}.{part}");
        let geometry = Geometry::axis_aligned(golden.size("scan"), mm(&golden, &of("old")));
        let given = case(geometry, golden.f32("scan"), Some(golden.u16("labels")));
        let resample = Resample {
            labels: LabelOrder::Linear,
            ..Resample::to_spacing(mm(&golden, &of("new")), Convention::Nnunet, Order::Cubic)
        };
        let found = resample.apply(&given).unwrap();
        assert_eq!(found.scan.size(), golden.size(&of("scan")), "{name}");
        // The voxels span 500.
        near(name, found.scan.voxels(), &golden.f32(&of("scan")), 1e-3);
        let (found, expected) = (found.labels.unwrap(), golden.u16(&of("labels")));
        let others = found.voxels().iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert_eq!(others, 0, "{name}: of {}", expected.len());
    }
}

/// A single slice is taken as it is, and what overshoots in its plane is clipped all the same.
#[test]
fn nnunets_range_holds_for_a_single_slice() {
    let voxels = vec![0.0, 0.0, 0.0, -5.6];
    let given = case(Geometry::axis_aligned([1, 2, 2], [1.0; 3]), voxels, None);
    let found =
        Resample::to_spacing([0.6, 1.0, 0.7], Convention::Nnunet, Order::Cubic).apply(&given).unwrap();
    assert_eq!(found.scan.size(), [2, 2, 3]);
    assert!(found.scan.voxels().iter().all(|value| (-5.6..=0.0).contains(value)));
}

#[test]
fn a_vote_takes_the_largest_share_and_a_tie_the_nearest() {
    let vote = |labels: Vec<u16>, new_mm: f64, convention| {
        let geometry = Geometry::axis_aligned([1, 1, labels.len()], [1.0; 3]);
        let given = case(geometry, vec![0.0; labels.len()], Some(labels));
        let resample = Resample {
            labels: LabelOrder::Linear,
            ..Resample::to_spacing([1.0, 1.0, new_mm], convention, Order::Linear)
        };
        resample.apply(&given).unwrap().labels.unwrap().voxels().to_vec()
    };
    assert_eq!(vote(vec![7, 65535], 0.25, Convention::Monai), [7, 7, 65535, 65535, 65535]);
    assert_eq!(vote(vec![9, 3], 0.5, Convention::Torchio), [9, 9, 3, 3]);
}

#[test]
fn isotropic_is_the_smallest_spacing() {
    let given = case(Geometry::axis_aligned([2, 4, 3], [3.0, 0.5, 0.75]), vec![1.0; 24], None);
    let to = Resample {
        spacing_mm: None,
        to: Some(Target::Isotropic),
        ..Resample::to_spacing([1.0; 3], Convention::Torchio, Order::Cubic)
    };
    let found = to.apply(&given).unwrap();
    assert_eq!(found.scan.size(), [12, 4, 5]);
    for mm in found.scan.geometry().spacing_mm() {
        assert!((mm - 0.5).abs() < 1e-12);
    }
}

#[test]
fn a_spacing_or_a_rule_is_asked_for() {
    let build = tomoflow::operators::cases::resample::ENTRY.build;
    let field =
        |config: serde_json::Value| build(config.as_object().unwrap()).err().map(|p| p[0].field.clone());
    let rest = json!({ "convention": "monai", "order": "cubic" });
    let with = |extra: serde_json::Value| {
        let mut config = rest.clone();
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        config
    };
    assert_eq!(field(with(json!({ "to": "isotropic", "spacing_mm": null }))), None);
    assert_eq!(field(with(json!({ "spacing_mm": [1, 1, 1] }))), None);
    assert_eq!(field(rest.clone()).as_deref(), Some("spacing_mm"));
    assert_eq!(
        field(with(json!({ "to": "isotropic", "spacing_mm": [1, 1, 1] }))).as_deref(),
        Some("spacing_mm")
    );
}

#[test]
fn damaged_and_odd_scans() {
    for order in [Order::Cubic, Order::Lanczos] {
        for convention in CONVENTIONS {
            let fine = Resample::to_spacing([0.5; 3], convention, order);
            for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut voxels = vec![1.0; 27];
                voxels[13] = odd;
                let given = case(Geometry::axis_aligned([3; 3], [1.0; 3]), voxels, None);
                assert_eq!(fine.apply(&given).unwrap_err().code, "NOT_FINITE");
            }
            let one = case(Geometry::axis_aligned([1; 3], [1.0; 3]), vec![4.0], Some(vec![65535]));
            let found = fine.apply(&one).unwrap();
            assert!(found.scan.voxels().iter().all(|value| *value == 4.0), "{order:?} {convention:?}");
            assert!(found.labels.unwrap().voxels().iter().all(|label| *label == 65535));
            let slice = case(Geometry::axis_aligned([1, 2, 3], [1.0; 3]), vec![2.0; 6], None);
            let found = fine.apply(&slice).unwrap();
            assert!(found.scan.voxels().iter().all(|value| (value - 2.0).abs() < 1e-5));
            for mm in [0.0, -1.0, f64::NAN] {
                let bad = Resample::to_spacing([mm; 3], convention, order);
                assert_eq!(bad.apply(&slice).unwrap_err().code, "BAD_SPACING");
            }
        }
    }
}

/// A wave that is slow enough for both grids, on the voxels of a grid.
fn wave(geometry: &Geometry) -> Vec<f32> {
    let [d, h, w] = geometry.size;
    let at = |i: usize| {
        let index = [i / (h * w), i / w % h, i % w].map(|n| n as f64);
        let [x, y, z] = geometry.to_patient(tomoflow::connectors::VoxelIndex(index)).0;
        ((0.31 * x).sin() + (0.27 * y + 0.4).cos() * (0.22 * z + 0.1).sin()) as f32
    };
    (0..d * h * w).map(at).collect()
}

/// There and back again gives a slow wave back, away from the borders.
#[test]
fn a_slow_wave_survives_the_way_there_and_back() {
    let geometry = Geometry::axis_aligned([24, 28, 32], [1.0; 3]);
    let given = case(geometry.clone(), wave(&geometry), None);
    let there = |order| {
        let fine = Resample::to_spacing([0.8, 0.7, 0.5], Convention::Monai, order).apply(&given).unwrap();
        let back = Resample::to_spacing([1.0; 3], Convention::Monai, order).apply(&fine).unwrap();
        let inside = |n: usize, count: usize| n >= 6 && n + 8 < count;
        (0..geometry.voxels())
            .filter(|i| inside(i / 896, 24) && inside(i / 32 % 28, 28) && inside(i % 32, 32))
            .map(|i| {
                let place = [i / 896, i / 32 % 28, i % 32];
                let [_, h, w] = back.scan.size();
                (back.scan.voxels()[(place[0] * h + place[1]) * w + place[2]] - given.scan.voxels()[i]).abs()
            })
            .fold(0.0, f32::max)
    };
    let (cubic, lanczos, linear) = (there(Order::Cubic), there(Order::Lanczos), there(Order::Linear));
    assert!(cubic < 2e-3, "{cubic}");
    assert!(cubic < linear / 10.0 && lanczos < linear, "{cubic} {lanczos} {linear}");
}

/// The voxels with two axes exchanged, or one turned round.
fn moved(voxels: &[f32], size: [usize; 3], order: [usize; 3], flip: [bool; 3]) -> Vec<f32> {
    let new = order.map(|axis| size[axis]);
    let mut out = Vec::with_capacity(voxels.len());
    for i in 0..voxels.len() {
        let place = [i / (new[1] * new[2]), i / new[2] % new[1], i % new[2]];
        let mut old = [0; 3];
        for axis in 0..3 {
            let at = if flip[axis] { new[axis] - 1 - place[axis] } else { place[axis] };
            old[order[axis]] = at;
        }
        out.push(voxels[(old[0] * size[1] + old[1]) * size[2] + old[2]]);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Turning and exchanging axes before or after comes to the same, whichever way lines are worked on.
    #[test]
    fn axes_are_worked_on_alike(
        size in [1..9usize, 1..20usize, 1..20usize],
        values in proptest::collection::vec(-100.0..100.0f32, 8 * 19 * 19),
        // No axis is so coarse that its nearest slice is taken: halfway, that is the later one.
        new_mm in [0.6..1.75f64, 0.6..1.75f64, 0.6..1.75f64],
        keeps in [any::<bool>(), any::<bool>(), any::<bool>()],
        order in Just([0_usize, 1, 2]).prop_shuffle(),
        flip in [any::<bool>(), any::<bool>(), any::<bool>()],
        lanczos in any::<bool>(),
        antialias in any::<bool>(),
    ) {
        let kind = if lanczos { Order::Lanczos } else { Order::Cubic };
        let new_mm = [0, 1, 2].map(|axis| if keeps[axis] { 1.0 } else { new_mm[axis] });
        let run = |size: [usize; 3], voxels: Vec<f32>, mm: [f64; 3]| {
            let given = case(Geometry::axis_aligned(size, [1.0; 3]), voxels, None);
            let resample = Resample { antialias, ..Resample::to_spacing(mm, Convention::Nnunet, kind) };
            let found = resample.apply(&given).unwrap();
            (found.scan.size(), found.scan.voxels().to_vec())
        };
        let voxels = values[..size.iter().product()].to_vec();
        let (made, straight) = run(size, voxels.clone(), new_mm);
        let expected = moved(&straight, made, order, flip);
        let turned = moved(&voxels, size, order, flip);
        let (_, found) = run(order.map(|axis| size[axis]), turned, order.map(|axis| new_mm[axis]));
        prop_assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert!((found - expected).abs() < 1e-3, "{} {}", found, expected);
        }
    }

    /// A vote of one is the nearest voxel, and no vote makes a label that no neighbour has.
    #[test]
    fn votes_are_of_the_neighbours(
        size in [1..5usize, 1..6usize, 1..7usize],
        values in proptest::collection::vec(0..3u16, 4 * 5 * 6),
        new_mm in [0.3..3.0f64, 0.3..3.0f64, 0.3..3.0f64],
        which in 0..3usize,
    ) {
        let labels = values[..size.iter().product()].to_vec();
        let geometry = Geometry::axis_aligned(size, [1.0; 3]);
        let given = case(geometry, vec![0.0; labels.len()], Some(labels));
        let near = Resample::to_spacing(new_mm, CONVENTIONS[which], Order::Linear);
        let voted = Resample { labels: LabelOrder::Linear, ..near.clone() };
        let found = voted.apply(&given).unwrap().labels.unwrap();
        // The share of each label, interpolated as an image.
        let share = |label: u16| {
            let image = given.labels.as_ref().unwrap().voxels().iter().map(|l| f32::from(u8::from(*l == label)));
            let image = case(given.scan.geometry().clone(), image.collect(), None);
            near.apply(&image).unwrap().scan.voxels().to_vec()
        };
        let shares = [share(0), share(1), share(2)];
        for (voxel, label) in found.voxels().iter().enumerate() {
            let most = shares.iter().map(|share| share[voxel]).fold(0.0, f32::max);
            prop_assert!(shares[usize::from(*label)][voxel] >= most - 1e-5);
        }
    }
}
