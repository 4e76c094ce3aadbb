//! Figures of boxes, counted by hand and against their definition.

use super::*;

fn square(x: f64, size: f64) -> Bounds<2> {
    Bounds { low: [0.0, x], high: [size, x + size] }
}

fn scored(x: f64, score: f64) -> Scored<2> {
    Scored { bounds: square(x, 10.0), score }
}

fn image(predicted: &[(f64, f64)], reference: &[f64]) -> Found<2> {
    Found {
        predicted: predicted.iter().map(|(x, score)| scored(*x, *score)).collect(),
        reference: reference.iter().map(|x| square(*x, 10.0)).collect(),
    }
}

#[test]
fn overlaps_by_hand() {
    let cube = |x: f64| Bounds { low: [0.0, 0.0, x], high: [2.0, 3.0, x + 4.0] };
    assert_eq!(cube(0.0).volume(), 24.0);
    assert_eq!(cube(0.0).iou(&cube(2.0)), 1.0 / 3.0);
    assert_eq!(cube(0.0).iou(&cube(0.0)), 1.0);
    // Touching is not sharing.
    assert_eq!(cube(0.0).iou(&cube(4.0)), 0.0);
}

#[test]
fn steps_of_several_cases_are_those_of_all_their_images() {
    let images = [
        image(&[(0.0, 0.9), (500.0, 0.8), (40.0, 0.7)], &[0.0, 40.0]),
        image(&[], &[]),
        image(&[(500.0, 0.6), (600.0, 0.5), (0.0, 0.4)], &[0.0, 90.0]),
    ];
    let mut steps = Steps::default();
    assert_eq!((steps.average_precision(), steps.sensitivities(&[1.0])), (None, None));
    images.iter().rev().for_each(|image| steps.add(Steps::of(std::slice::from_ref(image), 0.5)));
    assert_eq!(steps.average_precision(), average_precision(&images, 0.5));
    assert_eq!(steps.sensitivities(&[0.3, 1.0]), sensitivities(&images, 0.5, &[0.3, 1.0]));
}

#[test]
fn boxes_without_a_volume_overlap_nothing() {
    let point = square(1.0, 0.0);
    assert_eq!(point.iou(&point), 0.0);
    let inverted = Bounds { low: [5.0, 5.0], high: [1.0, 1.0] };
    assert_eq!((inverted.volume(), inverted.iou(&square(0.0, 10.0))), (0.0, 0.0));
    let odd = Bounds { low: [f64::NAN, 0.0], high: [10.0, 10.0] };
    assert_eq!((odd.iou(&square(0.0, 10.0)), odd.iou(&odd)), (0.0, 0.0));
    let endless = Bounds { low: [0.0; 2], high: [f64::INFINITY; 2] };
    assert_eq!(endless.iou(&endless), 0.0);
}

#[test]
fn sensitivity_grows_with_false_positives() {
    // From the surest box on: hit, false, hit, false, false, hit; of four lesions in two images.
    let images = [
        image(&[(0.0, 0.9), (500.0, 0.8), (40.0, 0.7)], &[0.0, 40.0]),
        image(&[(500.0, 0.6), (600.0, 0.5), (0.0, 0.4)], &[0.0, 90.0]),
    ];
    let found = sensitivities(&images, 0.5, &[0.0, 0.5, 1.0, 1.4, 1.5, 16.0]).unwrap();
    assert_eq!(found, [0.25, 0.5, 0.5, 0.5, 0.75, 0.75]);
}

#[test]
fn a_box_may_hit_two_lesions_and_a_lesion_counts_once() {
    let images = [Found {
        predicted: vec![scored(0.0, 0.9), scored(0.0, 0.8), scored(1.0, 0.7)],
        reference: vec![square(0.0, 10.0), square(1.0, 10.0)],
    }];
    assert_eq!(sensitivities(&images, 0.5, &[0.0]).unwrap(), [1.0]);
    // A box takes one lesion alone: the second takes the other, the third is a false positive.
    assert_eq!(average_precision(&images, 0.5).unwrap(), 1.0);
    assert_eq!(average_precision(&[images[0].clone(), image(&[], &[0.0, 50.0])], 0.5).unwrap(), 51.0 / 101.0);
}

#[test]
fn precision_by_hand() {
    // Hit, false, hit, and a third lesion that is missed: precision 1 up to 1/3, 2/3 up to 2/3, then 0.
    let images = [image(&[(0.0, 0.9), (500.0, 0.8), (40.0, 0.7)], &[0.0, 40.0, 80.0])];
    let expected = (34.0 + 33.0 * (2.0 / 3.0)) / 101.0;
    assert!((average_precision(&images, 0.5).unwrap() - expected).abs() < 1e-12);
}

/// The definition: for each recall the best of all points that reach it.
fn plainly(steps: &Steps) -> Option<f64> {
    let lesions = Some(steps.lesions).filter(|lesions| *lesions > 0)?;
    let curve = curve(&steps.taking);
    let precisions = (0..=STEPS).map(|step| {
        let reached = curve.iter().filter(|(hits, _)| hits * STEPS >= step * lesions);
        reached.map(|(hits, misses)| *hits as f64 / (hits + misses) as f64).fold(0.0, f64::max)
    });
    Some(precisions.sum::<f64>() / (STEPS + 1) as f64)
}

#[test]
fn one_way_along_the_curve_is_the_definition_to_the_last_bit() {
    let mut state = 7_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..200 {
        let (boxes, lesions) = (draw(60), draw(25));
        let mut steps = Steps { images: 1, lesions, ..Steps::default() };
        let mut left = lesions;
        for _ in 0..boxes {
            let hits = u64::from(left > 0 && draw(2) == 0);
            left -= hits;
            steps.taking.push(Step { score: draw(20) as f64 / 20.0, hits, misses: 1 - hits });
        }
        assert_eq!(steps.average_precision(), plainly(&steps), "{steps:?}");
    }
}

#[test]
fn boxes_that_add_nothing_are_not_kept() {
    let images = [image(&[(0.0, 0.9), (1.0, 0.8), (500.0, 0.7), (0.5, 0.6)], &[0.0])];
    let steps = Steps::of(&images, 0.5);
    assert_eq!((steps.hitting.len(), steps.taking.len()), (2, 4));
    assert_eq!(steps.sensitivities(&[0.0, 1.0]), Some(vec![1.0, 1.0]));
}

#[test]
fn equal_scores_come_together() {
    let found = |images: &[Found<2>]| {
        (average_precision(images, 0.5).unwrap(), sensitivities(images, 0.5, &[0.0, 0.5]).unwrap())
    };
    let (hit, wrong) = (image(&[(0.0, 0.5)], &[0.0]), image(&[(500.0, 0.5)], &[]));
    let one_way = found(&[hit.clone(), wrong.clone()]);
    assert_eq!(one_way, found(&[wrong, hit]));
    // The only point of the curve is one hit and one false positive.
    assert_eq!(one_way, (0.5, vec![0.0, 1.0]));
}

#[test]
fn nothing_found_and_nothing_there() {
    assert_eq!(average_precision::<2>(&[], 0.5), None);
    assert_eq!(average_precision(&[image(&[(0.0, 0.5)], &[])], 0.5), None);
    assert_eq!(sensitivities(&[image(&[(0.0, 0.5)], &[])], 0.5, &FALSE_POSITIVES), None);
    let missed = [image(&[], &[0.0])];
    assert_eq!(average_precision(&missed, 0.5), Some(0.0));
    assert_eq!(sensitivities(&missed, 0.5, &FALSE_POSITIVES), Some(vec![0.0; 6]));
    // An image without lesions spreads its false positives over one image more.
    let images = [image(&[(0.0, 0.5), (500.0, 0.6)], &[0.0]), image(&[], &[])];
    assert_eq!(sensitivities(&images, 0.5, &[0.4, 0.5]), Some(vec![0.0, 1.0]));
}

/// Exactly as many false positives as are allowed, to the last bit of their share, are not too many.
#[test]
fn at_most_so_many_false_positives() {
    for misses in 1..100_usize {
        let mut images = vec![image(&[(0.0, 0.1)], &[0.0])];
        images.extend((1..100).map(|n| image(if n <= misses { &[(500.0, 0.9)] } else { &[] }, &[])));
        let rate: f64 = format!("0.{misses:02}").parse().unwrap();
        assert_eq!(sensitivities(&images, 0.5, &[rate, rate - 0.005]), Some(vec![1.0, 0.0]), "{misses}");
    }
}

#[test]
fn a_score_that_is_no_number_is_the_least_sure() {
    let images = [image(&[(500.0, f64::NAN), (0.0, 0.1)], &[0.0])];
    assert_eq!(average_precision(&images, 0.5), Some(1.0));
    assert_eq!(sensitivities(&images, 0.5, &[0.0, 1.0]), Some(vec![1.0, 1.0]));
}

#[test]
fn no_overlap_is_never_a_hit() {
    let images = [image(&[(500.0, 0.5)], &[0.0])];
    assert_eq!(average_precision(&images, 0.0), Some(0.0));
    assert_eq!(sensitivities(&images, 0.0, &[1.0]), Some(vec![0.0]));
}
