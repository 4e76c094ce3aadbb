//! Voxels that only pad a scan: no statistics count them, nothing is interpolated with them, and they go where it goes.

use std::sync::Arc;

use serde_json::json;
use tomoflow::connectors::{Geometry, LabelMap, Scan};
use tomoflow::operators::cases::crop::Crop;
use tomoflow::operators::cases::histogram_match::{self, HistogramMatch};
use tomoflow::operators::cases::pad::Pad;
use tomoflow::operators::cases::percentiles::Percentiles;
use tomoflow::operators::cases::reorient;
use tomoflow::operators::cases::resample::Resample;
use tomoflow::operators::cases::tally::{Counted, Tally};
use tomoflow::operators::cases::zscore::Zscore;
use tomoflow::operators::registry::{Stage, Transform};
use tomoflow::operators::value::Case;
use tomoflow::voxels::grid::{Convention, Order};
use tomoflow::voxels::values::Foreground;

/// What pads.
const P: f32 = -2000.0;

/// A row whose voxels of -2000 pad it.
fn row(values: &[f32]) -> Case {
    case([1, 1, values.len()], values)
}

fn case(size: [usize; 3], values: &[f32]) -> Case {
    let grid = Geometry::axis_aligned(size, [2.0, 1.0, 1.0]);
    let padding = values.iter().map(|value| u16::from(*value == P)).collect();
    Case {
        channels: None,
        scan: Arc::new(Scan::new(grid.clone(), values.to_vec()).unwrap()),
        labels: None,
        original: Arc::new(grid.clone()),
        label_names: [].into(),
        padding: Some(Arc::new(LabelMap::new(grid, padding).unwrap())),
    }
}

fn voxels(transform: &dyn Transform, case: &Case) -> Vec<f32> {
    transform.apply(case).unwrap().scan.voxels().to_vec()
}

fn padded(case: &Case) -> Vec<u16> {
    case.padding.as_ref().map(|padding| padding.voxels().to_vec()).unwrap_or_default()
}

#[test]
fn mean_deviation_and_percentiles_leave_padding_out() {
    let given = row(&[1.0, P, 3.0, P]);
    assert_eq!(voxels(&Zscore::own(Foreground::None), &given), [-1.0, P - 2.0, 1.0, P - 2.0]);
    let ends =
        Percentiles { lower: 0.0, upper: 100.0, to: [0.0, 1.0], clip: false, foreground: Foreground::None };
    assert_eq!(voxels(&ends, &given), [0.0, (P - 1.0) / 2.0, 1.0, (P - 1.0) / 2.0]);
    let clipped = Percentiles { clip: true, ..ends };
    assert_eq!(voxels(&clipped, &given), [0.0, 0.0, 1.0, 0.0]);
    let tally = Tally::of(&given, Counted::By(Foreground::None)).unwrap();
    assert_eq!((tally.count, tally.sum, tally.squares), (2, 4.0, 10.0));
}

#[test]
fn histograms_are_matched_without_padding() {
    let landmarks: Vec<f64> = (0..histogram_match::PERCENTS.len()).map(|at| 10.0 * at as f64).collect();
    let matched = HistogramMatch { landmarks: landmarks.try_into().unwrap(), foreground: Foreground::None };
    let plain: Vec<f32> = (0..101).map(|value| value as f32).collect();
    let beside: Vec<f32> = plain.iter().copied().chain([P; 400]).collect();
    let without = Case { padding: None, ..row(&plain) };
    assert_eq!(voxels(&matched, &row(&beside))[..101], voxels(&matched, &without)[..]);
}

#[test]
fn a_box_around_what_is_bright_is_not_drawn_around_bright_padding() {
    let mut given = row(&[0.0, 9.0, 9.0, 0.0, P]);
    let scan = given.scan.voxels().iter().map(|value| if *value == P { 4095.0 } else { *value }).collect();
    given.scan = Arc::new(Scan::new(given.scan.geometry().clone(), scan).unwrap());
    let crop = Crop { above: Some(5.0), ..Crop::default() };
    assert_eq!(voxels(&crop, &given), [9.0, 9.0]);
    assert!(crop.minds_padding());
}

#[test]
fn nothing_is_interpolated_with_padding() {
    let given = row(&[10.0, 10.0, P, P, 20.0, 20.0]);
    for convention in [Convention::Monai, Convention::Nnunet, Convention::Torchio] {
        for order in [Order::Linear, Order::Cubic] {
            let finer = Resample::to_spacing([2.0, 1.0, 0.5], convention, order);
            let found = finer.apply(&given).unwrap();
            let mask = padded(&found);
            assert_eq!(mask.len(), found.scan.voxels().len());
            for (value, padded) in found.scan.voxels().iter().zip(&mask) {
                let sound = if *padded == 1 { *value == P } else { (8.0..=22.0).contains(value) };
                assert!(sound, "{convention:?} {order:?}: {:?} {mask:?}", found.scan.voxels());
            }
            let share = mask.iter().sum::<u16>() as usize * 6;
            assert!(share.abs_diff(2 * mask.len()) <= 12, "{mask:?}");
        }
    }
    // On the grid that it has a scan stays what it is.
    let same = Resample::to_spacing([2.0, 1.0, 1.0], Convention::Monai, Order::Linear);
    assert_eq!(voxels(&same, &given), given.scan.voxels());
    // Without padding it is done as ever.
    let plain = Case { padding: None, ..given.clone() };
    let finer = Resample::to_spacing([2.0, 1.0, 0.5], Convention::Monai, Order::Linear);
    assert!(voxels(&finer, &plain).iter().any(|value| *value < 8.0 && *value != P));
}

#[test]
fn padding_goes_where_its_scan_goes() {
    let given = case([1, 2, 3], &[1.0, 2.0, P, 4.0, P, 6.0]);
    let config = json!({ "axes": "RAS" });
    let Ok(Stage::Transform(turn)) = (reorient::ENTRY.build)(config.as_object().unwrap()) else {
        panic!("a transform expected")
    };
    let turned = turn.apply(&given).unwrap();
    let places =
        |case: &Case| -> Vec<u16> { case.scan.voxels().iter().map(|value| u16::from(*value == P)).collect() };
    assert_eq!(padded(&turned), places(&turned));
    let larger = Pad { size: Some([1, 2, 5]), size_mm: None, value: 0.0 }.apply(&given).unwrap();
    assert_eq!((padded(&larger), larger.scan.voxels().len()), (places(&larger), 10));
    let smaller = Crop { size_mm: Some([2.0, 2.0, 1.0]), ..Crop::default() }.apply(&given).unwrap();
    assert_eq!((padded(&smaller), smaller.scan.voxels().to_vec()), (vec![0, 1], vec![2.0, P]));
}

#[test]
fn a_scan_of_padding_alone_is_refused_by_name() {
    let zscore = Zscore::own(Foreground::None);
    assert_eq!(zscore.apply(&row(&[P, P])).unwrap_err().code, "ALL_PADDING");
}
