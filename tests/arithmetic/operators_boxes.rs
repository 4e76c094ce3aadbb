//! Turning, cropping and padding: voxels stay what and where they are, and masks find their way back.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use tomoflow::connectors::{Geometry, LabelMap, Scan, VoxelIndex};
use tomoflow::operators::cases::crop::{self, Crop};
use tomoflow::operators::cases::pad::{self, Pad};
use tomoflow::operators::cases::reorient::{self, Reorient};
use tomoflow::operators::cases::resample::{Resample, labels_to_grid};
use tomoflow::operators::registry::Transform;
use tomoflow::operators::value::Case;
use tomoflow::voxels::grid::{Convention, Order};

/// Oblique, and sheared as by a tilted gantry.
fn tilted(size: [usize; 3]) -> Geometry {
    let (c, s) = (0.9, 0.435_889_894);
    Geometry {
        size,
        origin_mm: [-20.0, 4.0, 9.0],
        steps_mm: [[0.0, 0.5, 2.0], [-s * 0.9, c * 0.9, 0.0], [c * 0.8, s * 0.8, 0.0]],
    }
}

/// Each voxel has an intensity of its own, and one of five labels.
fn numbered(geometry: Geometry) -> Case {
    let count = geometry.voxels();
    let labels = (0..count).map(|i| (i * 7 % 5) as u16 * 16383).collect();
    Case {
        channels: None,
        scan: Arc::new(Scan::new(geometry.clone(), (0..count).map(|i| i as f32).collect()).unwrap()),
        labels: Some(Arc::new(LabelMap::new(geometry.clone(), labels).unwrap())),
        original: Arc::new(geometry),
        label_names: ["a".to_owned()].into(),
        padding: None,
    }
}

fn voxels(size: [usize; 3]) -> impl Iterator<Item = VoxelIndex> {
    let [d, h, w] = size;
    (0..d * h * w).map(move |i| VoxelIndex([i / (h * w), i / w % h, i % w].map(|n| n as f64)))
}

/// Each new voxel that came from an old one lies where it lay; how many did.
fn kept(given: &Case, found: &Case, added: f32) -> usize {
    let (old, new) = (given.scan.geometry(), found.scan.geometry());
    let (labels, old_labels) = (found.labels.as_ref().unwrap(), given.labels.as_ref().unwrap());
    let mut kept = 0;
    for (index, (value, label)) in voxels(new.size).zip(found.scan.voxels().iter().zip(labels.voxels())) {
        if *value == added {
            assert_eq!(*label, 0);
            continue;
        }
        kept += 1;
        let number = *value as usize;
        let place = voxels(old.size).nth(number).unwrap();
        let (there, here) = (old.to_patient(place).0, new.to_patient(index).0);
        assert!((0..3).all(|i| (there[i] - here[i]).abs() < 1e-9), "voxel {number}");
        assert_eq!(*label, old_labels.voxels()[number]);
    }
    kept
}

fn returns(given: &Case, found: &Case) -> bool {
    let back = labels_to_grid(found.labels.as_ref().unwrap(), &found.original).unwrap();
    back.geometry() == given.scan.geometry() && back.voxels() == given.labels.as_ref().unwrap().voxels()
}

fn all_axes() -> Vec<String> {
    let mut found = Vec::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for flips in 0..8 {
            let letter = |axis: usize| ["LR", "PA", "SI"][axis].as_bytes()[flips >> axis & 1] as char;
            found.push(order.into_iter().map(letter).collect());
        }
    }
    found
}

#[test]
fn all_48_orientations_move_voxels_alone() {
    let given = numbered(tilted([3, 4, 5]));
    let codes = all_axes();
    assert_eq!(codes.len(), 48);
    for code in codes {
        let found = Reorient::parse(&code).unwrap().apply(&given).unwrap();
        assert_eq!(kept(&given, &found, -1.0), 60, "{code}");
        assert!(returns(&given, &found), "{code}");
        // Columns, rows and slices grow to the sides that were named.
        for (letter, step) in code.chars().zip(found.scan.geometry().steps_mm.into_iter().rev()) {
            let (axis, sign) = match letter {
                'L' => (0, 1.0),
                'R' => (0, -1.0),
                'P' => (1, 1.0),
                'A' => (1, -1.0),
                'S' => (2, 1.0),
                _ => (2, -1.0),
            };
            assert!(step[axis] * sign > 0.0, "{code}");
        }
        let again = Reorient::parse("LPS").unwrap().apply(&found).unwrap();
        assert!(again.scan.geometry().same_grid(given.scan.geometry(), 1e-9), "{code}");
        assert_eq!(again.scan.voxels(), given.scan.voxels(), "{code}");
    }
    let same = Reorient::parse("LPS").unwrap().apply(&given).unwrap();
    assert!(Arc::ptr_eq(&same.scan, &given.scan));
}

#[test]
fn a_crop_around_the_centre() {
    let given = numbered(Geometry::axis_aligned([6, 8, 9], [2.0, 1.0, 0.5]));
    let crop = Crop { size_mm: Some([4.0, 5.0, 100.0]), ..Crop::default() };
    let found = crop.apply(&given).unwrap();
    assert_eq!(found.scan.size(), [2, 5, 9]);
    assert_eq!(found.scan.geometry().origin_mm, [0.0, 1.0, 4.0]);
    assert_eq!(kept(&given, &found, -1.0), 90);
    let thin = Crop { size_mm: Some([0.01; 3]), ..crop }.apply(&given).unwrap();
    assert_eq!(thin.scan.size(), [1; 3]);
}

#[test]
fn a_crop_around_a_point() {
    let given = numbered(Geometry::axis_aligned([6, 8, 9], [2.0, 1.0, 0.5]));
    let around = |centre_mm: [f64; 3], size_mm: [f64; 3]| {
        Crop { size_mm: Some(size_mm), centre_mm: Some(centre_mm), ..Crop::default() }.apply(&given)
    };
    let first = |case: &Case| {
        let number = case.scan.voxels()[0] as usize;
        [number / 72, number / 9 % 8, number % 9]
    };
    // x 2 mm is column 4, y 5 mm row 5, z 6 mm slice 3.
    let found = around([2.0, 5.0, 6.0], [6.0, 3.0, 1.5]).unwrap();
    assert_eq!((found.scan.size(), first(&found)), ([3, 3, 3], [2, 4, 3]));
    assert_eq!(kept(&given, &found, -1.0), 27);
    // Its size stays at the scan's ends, and a longer box is the scan along that axis.
    let found = around([4.0, 0.0, 10.9], [6.0, 100.0, 1.5]).unwrap();
    assert_eq!((found.scan.size(), first(&found)), ([3, 8, 3], [3, 0, 6]));
    for outside in [[4.3, 0.0, 0.0], [0.0, -0.6, 0.0], [0.0, 0.0, 11.1]] {
        assert_eq!(around(outside, [6.0, 3.0, 1.5]).unwrap_err().code, "POINT_OUTSIDE");
    }
}

#[test]
fn a_crop_around_the_middle_point_is_one_around_the_centre() {
    for (size, size_mm) in [([5, 6, 7], [4.0, 1.7, 1.7]), ([4, 7, 6], [3.9, 3.6, 4.2]), ([1, 2, 2], [9.0; 3])]
    {
        let given = numbered(tilted(size));
        let middle = given.scan.geometry().to_patient(VoxelIndex(size.map(|n| (n as f64 - 1.0) / 2.0)));
        let centre = Crop { size_mm: Some(size_mm), ..Crop::default() };
        let point = Crop { centre_mm: Some(middle.0), ..centre.clone() };
        let (centre, point) = (centre.apply(&given).unwrap(), point.apply(&given).unwrap());
        assert_eq!(centre.scan, point.scan, "{size:?}");
        assert_eq!(centre.labels, point.labels);
    }
}

#[test]
fn a_crop_to_what_is_bright() {
    let mut given = numbered(tilted([4, 6, 7]));
    let mut bright = vec![0.0; 168];
    bright[(42 + 14) + 3] = 5.0;
    bright[(42 * 2 + 21) + 4] = f32::INFINITY;
    bright[0] = f32::NAN;
    given.scan = Arc::new(Scan::new(given.scan.geometry().clone(), bright).unwrap());
    let crop = |above: f32, margin_mm: f64| Crop { above: Some(above), margin_mm, ..Crop::default() };
    let found = crop(4.0, 0.0).apply(&given).unwrap();
    assert_eq!(found.scan.size(), [2, 2, 2]);
    assert_eq!((found.scan.voxels()[0], found.scan.voxels()[7]), (5.0, f32::INFINITY));
    // 0.9 mm apart: two more rows on each side; the scan's end is the box's.
    assert_eq!(crop(4.0, 1.0).apply(&given).unwrap().scan.size(), [4, 6, 6]);
    let dark = Case {
        scan: Arc::new(Scan::new(given.scan.geometry().clone(), vec![0.0; 168]).unwrap()),
        ..given.clone()
    };
    assert_eq!(crop(4.0, 1.0).apply(&dark).unwrap_err().code, "NO_FOREGROUND");
}

#[test]
fn padding_has_as_much_before_as_after() {
    let given = numbered(Geometry::axis_aligned([1, 2, 3], [2.0, 1.0, 0.5]));
    let found = Pad { size: Some([4, 1, 6]), size_mm: None, value: -9.0 }.apply(&given).unwrap();
    assert_eq!(found.scan.size(), [4, 2, 6]);
    assert_eq!(found.scan.geometry().origin_mm, [-0.5, 0.0, -2.0]);
    assert_eq!(kept(&given, &found, -9.0), 6);
    assert!(returns(&given, &found));
    let by_mm = Pad { size: None, size_mm: Some([2.1, 2.0, 3.0]), value: 0.5 }.apply(&given).unwrap();
    assert_eq!(by_mm.scan.size(), [2, 2, 6]);
    let large = Pad { size: Some([4096; 3]), size_mm: None, value: 0.0 };
    assert_eq!(large.apply(&given).unwrap_err().code, "TOO_LARGE");
}

#[test]
fn settings_that_do_not_go_together_are_named() {
    let field = |build: tomoflow::operators::registry::Build, config: serde_json::Value| {
        build(config.as_object().unwrap()).err().map(|problems| problems[0].field.clone())
    };
    let (crop, pad, turn) = (crop::ENTRY.build, pad::ENTRY.build, reorient::ENTRY.build);
    assert_eq!(field(crop, json!({ "size_mm": [1, 1, 1], "above": null, "margin_mm": 0.0 })), None);
    assert_eq!(field(crop, json!({ "above": 3, "margin_mm": 2.0 })), None);
    assert_eq!(field(crop, json!({})).as_deref(), Some("size_mm"));
    assert_eq!(field(crop, json!({ "size_mm": [1, 1, 1], "above": 1 })).as_deref(), Some("size_mm"));
    assert_eq!(field(crop, json!({ "size_mm": [1, 1, 1], "margin_mm": 1 })).as_deref(), Some("margin_mm"));
    assert_eq!(field(crop, json!({ "size_mm": [1, 1, 1], "centre_mm": [0, 0, -9] })), None);
    assert_eq!(field(crop, json!({ "above": 1, "centre_mm": [0, 0, 0] })).as_deref(), Some("centre_mm"));
    assert_eq!(field(pad, json!({ "size": [1, 1, 1], "value": 0 })), None);
    assert_eq!(field(pad, json!({ "value": 0 })).as_deref(), Some("size"));
    assert_eq!(
        field(pad, json!({ "size": [1, 1, 1], "size_mm": [1, 1, 1], "value": 0 })).as_deref(),
        Some("size")
    );
    assert_eq!(field(turn, json!({ "axes": "RAS" })), None);
    for odd in ["", "RA", "RASL", "RLS", "ras", "XYZ"] {
        assert_eq!(field(turn, json!({ "axes": odd })).as_deref(), Some("axes"), "{odd}");
    }
}

#[test]
fn damaged_grids_are_named() {
    let operators: [&dyn Transform; 3] = [
        &Reorient::parse("RAS").unwrap(),
        &Crop { size_mm: Some([1.0; 3]), ..Crop::default() },
        &Pad { size: Some([9; 3]), size_mm: None, value: 0.0 },
    ];
    for operator in operators {
        let flat = numbered(Geometry::axis_aligned([2, 2, 2], [1.0, 0.0, 1.0]));
        assert_eq!(operator.apply(&flat).unwrap_err().code, "BAD_GRID");
        let mut torn = numbered(tilted([2, 2, 2]));
        torn.labels = Some(Arc::new(LabelMap::zeros(tilted([1, 2, 2]))));
        assert_eq!(operator.apply(&torn).unwrap_err().code, "GRID_MISMATCH");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Turned, padded, made finer and cropped to what it was: the mask returns voxel for voxel.
    #[test]
    fn masks_return_through_a_whole_chain(
        size in [1..5usize, 1..6usize, 1..7usize],
        code in 0..48usize,
        extra in [0..4usize, 0..4usize, 0..4usize],
        finer in [1.0..2.5f64, 1.0..2.5f64, 1.0..2.5f64],
    ) {
        let given = numbered(tilted(size));
        let turned = Reorient::parse(&all_axes()[code]).unwrap().apply(&given).unwrap();
        prop_assert!(returns(&given, &turned));
        let wanted = [0, 1, 2].map(|axis| turned.scan.size()[axis] + extra[axis]);
        let padded = Pad { size: Some(wanted), size_mm: None, value: -1.0 }.apply(&turned).unwrap();
        prop_assert_eq!(kept(&given, &padded, -1.0), given.scan.voxels().len());
        prop_assert!(returns(&given, &padded));
        let spacing = padded.scan.geometry().spacing_mm();
        let spacing_mm = [0, 1, 2].map(|axis| spacing[axis] / finer[axis]);
        let fine = Resample::to_spacing(spacing_mm, Convention::Nnunet, Order::Linear).apply(&padded).unwrap();
        prop_assert!(returns(&given, &fine));
        let cropped = Crop { above: Some(-0.5), margin_mm: 100.0, ..Crop::default() }.apply(&fine).unwrap();
        prop_assert!(returns(&given, &cropped));
    }
}
