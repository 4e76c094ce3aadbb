use tch::Kind;

use super::*;
use crate::networks::architectures::rcnn::config::{At, Backbone, Scale, VolumetricAttention};
use crate::networks::{RcnnSettings, set_threads};

fn detector(view: InputView, attention: Option<At>) -> Detector {
    let attention = attention.map(|at| VolumetricAttention {
        at,
        channel: true,
        spatial: true,
        scale: Scale::Area,
        reduction: 2,
    });
    let settings = RcnnSettings {
        backbone: Backbone::Resnet18,
        width: 4,
        pyramid: 8,
        hidden: 16,
        anchors: [8.0, 16.0, 32.0, 64.0, 128.0],
        proposals: [30, 30],
        attention,
        ..RcnnSettings::default()
    };
    let network = Rcnn::new(&settings.resolve(&view, 2).unwrap()).unwrap();
    let weights = Weights::seeded(network.layout(), 5, Kind::Float, Device::CPU).unwrap();
    let label_names = vec!["a".to_owned()];
    Detector { network, weights, view, things: vec![label_names.clone()], label_names, device: Device::CPU }
}

/// Every slice is another one.
fn voxels(size: [usize; 3]) -> Vec<f32> {
    let mixed = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) % 1000;
    (0..size.iter().product())
        .map(|i| mixed(i) as f32 / 1000.0 + (i / (size[1] * size[2]) % 3) as f32)
        .collect()
}

#[test]
fn one_pass_a_slice_finds_what_whole_bags_find() {
    set_threads(1);
    let all = FindOptions { score: 0.0, overlap: 0.9, most: 0 };
    for (view, attention, depth) in [
        (InputView::Stack { slices: 3, stride: 2 }, None, 5),
        (InputView::Bag { stacks: 3, slices: 3, gap: 3 }, Some(At::Rpn), 9),
        (InputView::Bag { stacks: 5, slices: 3, gap: 2 }, Some(At::Rpn), 3),
        (InputView::Bag { stacks: 3, slices: 1, gap: 4 }, Some(At::Rcnn), 6),
        (InputView::Bag { stacks: 3, slices: 3, gap: 3 }, None, 2),
    ] {
        let detector = detector(view.clone(), attention);
        let size = [depth, 40, 33];
        let voxels = voxels(size);
        let volume = Volume { voxels: &voxels, size };
        let plain = detector.detect_plainly(&volume, &all).unwrap();
        assert!(plain.iter().map(|slice| slice.boxes.len()).sum::<usize>() > depth);
        for batch in [1, 4] {
            let found = detector.detect(&volume, &all, batch).unwrap();
            assert_eq!(found.len(), depth);
            for (found, plain) in found.iter().zip(&plain) {
                assert_eq!((found.slice, found.boxes.len()), (plain.slice, plain.boxes.len()), "{view:?}");
                for (found, plain) in found.boxes.iter().zip(&plain.boxes) {
                    let off = found.bounds.iter().zip(plain.bounds).map(|(a, b)| (a - b).abs());
                    // Pixels of a slice that is 40 long.
                    assert!(off.fold(0.0, f64::max) < 1e-4 && (found.score - plain.score).abs() < 1e-6);
                    assert_eq!(found.class, plain.class);
                }
            }
        }
    }
}

#[test]
fn slices_that_nobody_asks_for_are_left_out() {
    set_threads(1);
    let all = FindOptions { score: 0.0, overlap: 0.9, most: 0 };
    let size = [14, 32, 40];
    let voxels = voxels(size);
    let volume = Volume { voxels: &voxels, size };
    for (view, attention) in [
        (InputView::Stack { slices: 3, stride: 1 }, None),
        (InputView::Bag { stacks: 3, slices: 1, gap: 2 }, Some(At::Rpn)),
    ] {
        let detector = detector(view, attention);
        let whole = detector.detect(&volume, &all, 3).unwrap();
        let few = detector.detect_on(&volume, &all, 3, |slice| [0, 1, 9, 13].contains(&slice)).unwrap();
        assert_eq!(few.iter().map(|own| own.slice).collect::<Vec<_>>(), [0, 1, 9, 13]);
        for own in &few {
            let same = &whole[own.slice];
            assert_eq!(own.boxes.len(), same.boxes.len());
            for (own, same) in own.boxes.iter().zip(&same.boxes) {
                assert!((own.score - same.score).abs() < 1e-6);
            }
        }
        assert_eq!(detector.detect_on(&volume, &all, 3, |_| false).unwrap(), []);
    }
}

#[test]
fn volumes_that_hold_no_numbers_are_named() {
    let detector = detector(InputView::Stack { slices: 1, stride: 1 }, None);
    let mut voxels = voxels([3, 32, 32]);
    voxels[2 * 32 * 32] = f32::NAN;
    let found = detector.detect(&Volume { voxels: &voxels, size: [3, 32, 32] }, &FindOptions::default(), 1);
    assert!(matches!(found, Err(NetworkError::Logits { slice: 2 })), "{found:?}");
    let found = detector.detect(&Volume { voxels: &voxels, size: [3, 32, 31] }, &FindOptions::default(), 1);
    assert!(matches!(found, Err(NetworkError::Shape { .. })));
}

/// A network that says nothing of where boxes are has not looked in vain: it is broken.
#[test]
fn codes_of_boxes_that_are_no_numbers_are_named() {
    let size = [2, 32, 32];
    let voxels = voxels(size);
    for name in ["rpn.head.bbox_pred.bias", "roi_heads.box_predictor.bbox_pred.bias"] {
        let detector = detector(InputView::Stack { slices: 1, stride: 1 }, None);
        let found = || detector.detect(&Volume { voxels: &voxels, size }, &FindOptions::default(), 1);
        assert!(found().is_ok());
        let (_, codes) = detector.weights.named().find(|(own, _)| *own == name).unwrap();
        let mut broken = codes.shallow_clone();
        let _ = tch::no_grad(|| broken.fill_(f64::NAN));
        assert!(matches!(found(), Err(NetworkError::Logits { slice: 0 })), "{name}: {:?}", found());
    }
}
