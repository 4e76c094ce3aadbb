//! What stands beside the pyramid against torchvision, in double precision.

use super::*;
use crate::networks::architectures::rcnn::config::HeadKind;

#[test]
fn places_of_regions_are_torchvisions() {
    let golden = Golden::read("more");
    let small: Vec<f64> = (0..64).map(|i| f64::from(i * 5 % 17) / 17.0).collect();
    let small = Tensor::from_slice(&small).view([1, 4, 4, 4]);
    let found = numbers::of(&align::positions(&small, &[[4.0, 2.0, 28.0, 30.0]], 0.125, 2).unwrap()).unwrap();
    near("small", &found, &golden.numbers("position.small"), 1e-12);
    // The numbers were worked out by hand.
    near(
        "by hand",
        &found,
        &[0.330_882_352_941, 0.477_941_176_471, 0.383_501_838_235, 0.280_560_661_765],
        1e-11,
    );
    let map = (uniform("map.of.positions", &[1, 27, 9, 7]) - 0.5).set_requires_grad(true);
    let regions = [
        [3.0, 5.0, 21.0, 30.0],
        [-6.0, -4.0, 10.0, 12.0],
        [10.0, 12.0, 10.5, 12.25],
        [30.0, 20.0, 80.0, 90.0],
    ];
    let found = align::positions(&map, &regions, 0.25, 3).unwrap();
    near("places", &numbers::of(&found).unwrap(), &golden.numbers("position.out"), 1e-12);
    let loss = (&found * (uniform("weights.of.positions", &found.size()) - 0.5)).sum(Kind::Double);
    let gradient = Tensor::f_run_backward(&[loss], &[&map], false, false).unwrap();
    near("gradient", &numbers::of(&gradient[0]).unwrap(), &golden.numbers("position.gradient"), 1e-12);
}

#[test]
fn deformable_convolutions_and_their_gradients_are_torchvisions() {
    let golden = Golden::read("more");
    let learned = |tensor: Tensor| tensor.set_requires_grad(true);
    for (name, stride, rows, columns) in [("deformable.1", 1, 9, 7), ("deformable.2", 2, 5, 4)] {
        let of = |part: &str, shape: &[i64]| uniform(&format!("{name}.{part}"), shape);
        let (x, weight) = (learned(of("x", &[2, 3, 9, 7]) - 0.5), learned(of("weight", &[4, 3, 3, 3]) - 0.5));
        let offset = (of("offset", &[2, 18, rows, columns]) * 24.0).round() / 4.0 - 3.0;
        let out = deformable::convolution(&x, &offset, &weight, stride).unwrap();
        near(name, &numbers::of(&out).unwrap(), &golden.numbers(&format!("{name}.out")), 1e-11);
        let loss = (&out * (of("weights", &out.size()) - 0.5)).sum(Kind::Double);
        let gradients = Tensor::f_run_backward(&[loss], &[&x, &weight], false, false).unwrap();
        for (part, gradient) in ["x", "weight"].iter().zip(&gradients) {
            let expected = golden.numbers(&format!("{name}.gradient.{part}"));
            near(part, &numbers::of(gradient).unwrap(), &expected, 1e-11);
        }
    }
    let (x, weight) = (
        learned(uniform("smooth.x", &[1, 2, 6, 6]) - 0.5),
        learned(uniform("smooth.weight", &[3, 2, 3, 3]) - 0.5),
    );
    let offset = learned(uniform("smooth.offset", &[1, 18, 6, 6]) * 3.0 - 1.5);
    let out = deformable::convolution(&x, &offset, &weight, 1).unwrap();
    near("smooth", &numbers::of(&out).unwrap(), &golden.numbers("smooth.out"), 1e-11);
    let loss = (&out * (uniform("smooth.weights", &out.size()) - 0.5)).sum(Kind::Double);
    let gradients = Tensor::f_run_backward(&[loss], &[&x, &weight, &offset], false, false).unwrap();
    for (part, gradient) in ["x", "weight", "offset"].iter().zip(&gradients) {
        let expected = golden.numbers(&format!("smooth.gradient.{part}"));
        near(part, &numbers::of(gradient).unwrap(), &expected, 1e-11);
    }
}

#[test]
fn sixteen_layers_are_torchvisions() {
    set_threads(1);
    let golden = Golden::read("more");
    let network = Rcnn::new(&plain(HeadKind::Fc, 1)).unwrap();
    let weights = weighed(network.layout());
    let levels =
        tch::no_grad(|| network.levels(&weights, &uniform("image", &[1, 3, 64, 96]), Mode::Infer)).unwrap();
    assert_eq!(levels.len(), 1);
    let expected = golden.numbers("vgg");
    let largest = expected.iter().fold(1.0, |most: f64, number| most.max(number.abs()));
    near("vgg", &numbers::of(&levels[0]).unwrap(), &expected, 1e-10 * largest);
    // 13 convolutions, counted by torchvision.
    let mut layout = Layout::default();
    let _ = Vgg::new(&mut layout, "body", 3, 64);
    assert_eq!(Some(layout.parameter_count()), golden.header["vgg"].as_i64());
}

/// A network on one map, of bags of so many images.
fn plain(head: HeadKind, stacks: i64) -> RcnnConfig {
    let few =
        RcnnConfig { anchor_samples: 32, region_samples: 32, proposals: [60, 30], beta: 1.0, ..config() };
    RcnnConfig { backbone: Backbone::Vgg16, head, stacks, ..few }
}

#[test]
fn every_head_learns_and_looks_where_it_should() {
    set_threads(1);
    let all = 1_000_000;
    let deformable = RcnnConfig { deformable: true, anchor_samples: all, ..attentive(At::Rpn, Scale::Area) };
    for config in [
        plain(HeadKind::Fc, 3),
        plain(HeadKind::Rfcn, 1),
        plain(HeadKind::Context, 1),
        plain(HeadKind::Context, 3),
        deformable,
    ] {
        let network = Rcnn::new(&config).unwrap();
        let weights = Weights::seeded(network.layout(), 3, Kind::Double, Device::CPU).unwrap();
        let bags = uniform("bags", &[2, 3 * config.stacks, 64, 96]);
        let truth = Truth { boxes: vec![[5.0, 5.0, 40.0, 42.0]], classes: vec![1], masks: Vec::new() };
        let mode = Mode::Train { momentum: 0.1, draw: 0 };
        let step = |bags: &Tensor| {
            let truths = [truth.clone(), Truth::default()];
            let losses = network.losses(&weights, bags, &truths, (1, 2), mode).unwrap().losses;
            losses.iter().fold(Tensor::from(0.0), |sum, loss| sum + loss)
        };
        let whole = step(&bags);
        let flat = weights.gradient(&whole).unwrap();
        let gradient = Weights::from_flat(network.layout(), flat, weights.snapshot().unwrap().1).unwrap();
        for (name, own) in gradient.named() {
            let numbers = numbers::of(own).unwrap();
            assert!(numbers.iter().all(|number| number.is_finite()), "{name}");
            // Nobody asks what a step says of boxes of class 2; all else moves.
            assert!(numbers.iter().any(|number| *number != 0.0), "{name} of {:?}", config.head);
        }
        // The first image of a bag matters to those that look around alone.
        let other = bags.copy();
        let _ = tch::no_grad(|| other.narrow(1, 0, 1).fill_(3.0));
        let differs = numbers::of(&step(&other)).unwrap() != numbers::of(&whole).unwrap();
        assert_eq!(differs, network.looks_around() || config.stacks == 1, "{:?}", config.head);
    }
}

#[test]
fn what_does_not_go_together_is_named() {
    let error = |config: RcnnConfig| Rcnn::new(&config).err().unwrap().to_string();
    let attention = attentive(At::Rpn, Scale::Area).attention;
    assert!(error(RcnnConfig { attention, stacks: 5, ..plain(HeadKind::Fc, 5) }).contains("attention"));
    assert!(error(RcnnConfig { mask_channels: Some(4), ..plain(HeadKind::Fc, 1) }).contains("masks"));
    assert!(error(RcnnConfig { deformable: true, ..plain(HeadKind::Fc, 1) }).contains("deformable"));
    assert!(error(RcnnConfig { head: HeadKind::Rfcn, ..config() }).contains("head"));
}
