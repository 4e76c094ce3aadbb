//! A detector against torchvision, in double precision (`tests/golden/rcnn`), and against itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use safetensors::SafeTensors;
use serde_json::Value;

use super::boxes::{Box2, Match, matched, suppress, suppress_in_groups};
use super::config::{Backbone, Norm, Scale, VolumetricAttention};
use super::*;
use crate::networks::{Device, set_threads};

/// Numbers from 0 to below 1 that follow from a name, as the script makes them.
pub(in crate::networks) fn uniform(name: &str, shape: &[i64]) -> Tensor {
    let hash = |value: u64, byte: u8| (value ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    let start = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, hash);
    let mixed = |value: u64| {
        let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let number = |i: u64| (mixed(start.wrapping_add(i)) >> 11) as f64 / (1u64 << 53) as f64;
    let values: Vec<f64> = (0..shape.iter().product::<i64>() as u64).map(number).collect();
    Tensor::from_slice(&values).view(shape)
}

fn boxes_of(name: &str, count: i64, side: f64) -> Vec<Box2> {
    let corner = uniform(&format!("{name}.corner"), &[count, 2]) * side * 1.2 - side * 0.1;
    let size = uniform(&format!("{name}.size"), &[count, 2]) * (side * 0.6) + 2.0;
    numbers::fours(&Tensor::cat(&[&corner, &(&corner + size)], 1)).unwrap()
}

mod more;
mod painted;

struct Golden {
    header: Value,
    tensors: BTreeMap<String, Tensor>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let file = format!("tests/golden/rcnn/{name}.safetensors");
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
        let bytes = std::fs::read(path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let header = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["golden"]).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().map(|(name, view)| {
            let kind = match view.dtype() {
                safetensors::Dtype::F32 => Kind::Float,
                safetensors::Dtype::U8 => Kind::Uint8,
                _ => Kind::Double,
            };
            let shape: Vec<i64> = view.shape().iter().map(|n| *n as i64).collect();
            (name, Tensor::f_from_data_size(view.data(), &shape, kind).unwrap().to_kind(Kind::Double))
        });
        Self { header, tensors: tensors.collect() }
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        numbers::of(&self.tensors[name]).unwrap()
    }

    fn places(&self, name: &str) -> Vec<usize> {
        self.numbers(name).into_iter().map(|place| place as usize).collect()
    }

    fn fours(&self, name: &str) -> Vec<[f64; 4]> {
        numbers::fours(&self.tensors[name]).unwrap()
    }
}

fn near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off <= tolerance, "{what}: {off:e}");
}

/// Weights that follow from their names, as the script gives them.
fn weighed(layout: &Layout) -> Weights {
    let fresh = Weights::seeded(layout, 1, Kind::Double, Device::CPU).unwrap();
    let value = |name: &str, shape: &[i64]| {
        let numbers = uniform(name, shape);
        let norm = name.contains(".bn") || name.contains("downsample.1");
        match () {
            () if norm && name.ends_with("running_var") => numbers + 0.5,
            () if norm && name.ends_with("weight") => numbers * 0.5 + 0.5,
            () if !norm && shape.len() > 1 => {
                let fan: i64 = shape[1..].iter().product();
                (numbers * 2.0 - 1.0) * (3.0 / fan as f64).sqrt()
            }
            () => numbers * 0.2 - 0.1,
        }
    };
    let named = fresh.named().map(|(name, tensor)| (name.to_owned(), value(name, &tensor.size()))).collect();
    Weights::from_named(layout, named, Device::CPU).unwrap()
}

fn config() -> RcnnConfig {
    RcnnConfig {
        slices: 3,
        stacks: 1,
        classes: 3,
        backbone: Backbone::Resnet18,
        width: 4,
        norm: Norm::Frozen,
        pyramid: 8,
        hidden: 16,
        anchors: [8.0, 16.0, 32.0, 64.0, 128.0],
        anchor_samples: 1_000_000,
        region_samples: 1_000_000,
        proposals: [2000, 1000],
        beta: 1.0 / 9.0,
        attention: None,
        scale: None,
        mask_channels: None,
        head: HeadKind::Fc,
        deformable: false,
    }
}

#[test]
fn anchors_matches_and_suppression_are_torchvisions() {
    let golden = Golden::read("rcnn");
    let image = [64, 96];
    let anchors: Vec<Box2> = [(16.0, [16, 24]), (40.0, [8, 12])]
        .into_iter()
        .flat_map(|(size, level)| anchors::of_level(&[size], level, image))
        .collect();
    assert_eq!(anchors, golden.fours("anchors"));

    let (truth, others) = (boxes_of("truth", 6, 80.0), boxes_of("others", 250, 80.0));
    for (name, bounds, low_quality) in
        [("rpn", [0.3, 0.7], true), ("loose", [0.2, 0.4], true), ("head", [0.5, 0.5], false)]
    {
        let number = |found: Match| match found {
            Match::Thing(thing) => thing as f64,
            Match::Nothing => -1.0,
            Match::Between => -2.0,
        };
        let found: Vec<f64> = matched(&truth, &others, bounds, low_quality).into_iter().map(number).collect();
        assert_eq!(found, golden.numbers(&format!("match.{name}")), "{name}");
        assert!(found.iter().any(|found| *found >= 0.0));
    }
    let scores = numbers::of(&((uniform("scores", &[250]) * 40.0).floor() / 40.0)).unwrap();
    assert_eq!(suppress(&others, &scores, 0.3), golden.places("nms.0.3"));
    assert_eq!(suppress(&others, &scores, 0.7), golden.places("nms.0.7"));
    let groups: Vec<usize> = numbers::of(&(uniform("groups", &[250]) * 3.0).floor())
        .unwrap()
        .into_iter()
        .map(|group| group as usize)
        .collect();
    let spread = numbers::of(&uniform("spread", &[250])).unwrap();
    assert_eq!(suppress_in_groups(&others, &spread, &groups, 0.5), golden.places("nms.groups"));
}

#[test]
fn codes_are_torchvisions() {
    let golden = Golden::read("rcnn");
    let (truth, others) = (boxes_of("truth", 6, 80.0), boxes_of("others", 250, 80.0));
    let codes = numbers::fours(&(uniform("codes", &[6, 4]) * 12.0 - 4.0)).unwrap();
    // Some scales are larger than they are followed to.
    assert!(codes.iter().any(|[.., width, height]| width.max(*height) > 5.0));
    for (name, coder) in [("rpn", Coder::RPN), ("head", Coder::HEAD)] {
        let encoded: Vec<[f64; 4]> =
            others.iter().zip(&truth).map(|(other, own)| coder.encode(*own, *other)).collect();
        near(name, encoded.as_flattened(), golden.fours(&format!("encode.{name}")).as_flattened(), 1e-12);
        let decoded: Vec<[f64; 4]> =
            others.iter().zip(&codes).map(|(other, code)| coder.decode(*other, *code)).collect();
        let expected = golden.fours(&format!("decode.{name}"));
        near(name, decoded.as_flattened(), expected.as_flattened(), 1e-11);
    }
}

#[test]
fn regions_and_their_gradient_are_torchvisions() {
    let golden = Golden::read("rcnn");
    let map = (uniform("map", &[1, 2, 9, 7]) - 0.5).set_requires_grad(true);
    let mut regions = boxes_of("regions", 12, 40.0);
    regions.extend([[3.0, 5.0, 3.1, 5.1], [-60.0, -60.0, -50.0, -50.0]]);
    let found = align::regions(&map, &regions, 0.25, 7).unwrap();
    near("regions", &numbers::of(&found).unwrap(), &golden.numbers("align.out"), 1e-12);
    let loss = (&found * (uniform("weights", &found.size()) - 0.5)).sum(Kind::Double);
    let gradient = Tensor::f_run_backward(&[loss], &[&map], false, false).unwrap();
    near("gradient", &numbers::of(&gradient[0]).unwrap(), &golden.numbers("align.gradient"), 1e-12);
}

#[test]
fn pyramids_are_torchvisions() {
    set_threads(1);
    let golden = Golden::read("rcnn");
    for (name, backbone, width) in [("resnet18", Backbone::Resnet18, 4), ("resnet50", Backbone::Resnet50, 2)]
    {
        let network = Rcnn::new(&RcnnConfig { backbone, width, pyramid: 4, ..config() }).unwrap();
        let weights = weighed(network.layout());
        let image = uniform("image", &[1, 3, 64, 96]);
        let levels = tch::no_grad(|| network.levels(&weights, &image, Mode::Infer)).unwrap();
        for (place, level) in levels.iter().enumerate() {
            let expected = golden.numbers(&format!("{name}.P{}", place + 2));
            let largest = expected.iter().fold(1.0, |most: f64, number| most.max(number.abs()));
            near(name, &numbers::of(level).unwrap(), &expected, 1e-10 * largest);
        }
    }
}

fn truths() -> Vec<Truth> {
    vec![
        Truth {
            boxes: vec![[10.0, 12.0, 30.0, 40.0], [50.0, 8.0, 90.0, 30.0], [60.0, 40.0, 70.0, 55.0]],
            classes: vec![1, 2, 1],
            masks: Vec::new(),
        },
        Truth { boxes: vec![[0.0, 0.0, 25.0, 60.0]], classes: vec![2], masks: Vec::new() },
        Truth::default(),
    ]
}

#[test]
fn a_step_of_training_is_torchvisions_loss_by_loss() {
    set_threads(1);
    let golden = Golden::read("rcnn");
    let network = Rcnn::new(&config()).unwrap();
    let weights = weighed(network.layout());
    let images = uniform("images", &[3, 3, 64, 96]);
    let mode = Mode::Train { momentum: 0.1, draw: 0 };
    for seed in [(1, 0), (9, 77)] {
        let Losses { losses, .. } = network.losses(&weights, &images, &truths(), seed, mode).unwrap();
        let names = ["loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"];
        for (name, loss) in names.iter().zip(&losses) {
            let expected = golden.header["losses"][name].as_f64().unwrap();
            near(name, &numbers::of(loss).unwrap(), &[expected], 1e-8);
        }
        compare_gradients(&network, &weights, &losses, &golden);
    }
}

/// Compares a number of each tensor's gradient of the sum of losses.
fn compare_gradients(network: &Rcnn, weights: &Weights, losses: &[Tensor], golden: &Golden) {
    let whole = losses.iter().fold(Tensor::from(0.0), |sum, loss| sum + loss);
    let flat = weights.gradient(&whole).unwrap();
    let buffers = weights.snapshot().unwrap().1;
    let gradient = Weights::from_flat(network.layout(), flat, buffers).unwrap();
    let mut compared = 0;
    for (name, own) in gradient.named() {
        let Some(expected) = golden.header["gradients"][name].as_f64() else { continue };
        let number = (own * (uniform(&format!("gradient.{name}"), &own.size()) - 0.5)).sum(Kind::Double);
        near(name, &numbers::of(&number).unwrap(), &[expected], 1e-8 * expected.abs().max(1.0));
        compared += 1;
    }
    assert_eq!(compared, golden.header["gradients"].as_object().unwrap().len());
}

#[test]
fn what_is_found_is_torchvisions() {
    set_threads(1);
    let golden = Golden::read("rcnn");
    let network = Rcnn::new(&config()).unwrap();
    let weights = weighed(network.layout());
    let images = uniform("images", &[3, 3, 64, 96]).narrow(0, 0, 2);
    let find = || network.find(&weights, &images, &FindOptions::default(), Mode::Infer);
    for (place, found) in tch::no_grad(find).unwrap().into_iter().enumerate() {
        let rows: Vec<f64> = found
            .iter()
            .flat_map(|found| found.bounds.into_iter().chain([found.score, f64::from(found.class)]))
            .collect();
        assert!(!rows.is_empty());
        near("found", &rows, &golden.numbers(&format!("found.{place}")), 1e-8);
    }
}

#[test]
fn it_has_torchvisions_parameters_by_their_names() {
    let golden = Golden::read("rcnn");
    let whole = RcnnConfig {
        backbone: Backbone::Resnet50,
        width: 64,
        classes: 91,
        pyramid: 256,
        hidden: 1024,
        ..config()
    };
    let count =
        |norm: Norm| Rcnn::new(&RcnnConfig { norm, ..whole.clone() }).unwrap().layout().parameter_count();
    // torchvision's count of its trained network leaves out the frozen norms' scales and shifts.
    assert_eq!(count(Norm::Frozen), 41_755_286);
    assert_eq!(count(Norm::Batch), 41_755_286 + 53_120);
    assert_eq!(Some(count(Norm::Batch)), golden.header["parameters"]["faster"].as_i64());
    let names: Vec<String> = serde_json::from_value(golden.header["names"].clone()).unwrap();
    let network = Rcnn::new(&RcnnConfig { width: 1, backbone: Backbone::Resnet50, ..config() }).unwrap();
    let weights = Weights::seeded(network.layout(), 1, Kind::Float, Device::CPU).unwrap();
    let mut own: Vec<&str> = weights.named().map(|(name, _)| name).collect();
    own.sort_unstable();
    let expected: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !name.contains("mask")).collect();
    assert_eq!(own, expected);
}

/// A bag of five images of three slices, and attention at a place.
fn attentive(at: At, scale: Scale) -> RcnnConfig {
    let attention = VolumetricAttention { at, channel: true, spatial: true, scale, reduction: 4 };
    let few = RcnnConfig { anchor_samples: 64, region_samples: 32, proposals: [60, 40], ..config() };
    RcnnConfig { stacks: 5, norm: Norm::Group, attention: Some(attention), ..few }
}

#[test]
fn every_parameter_has_a_gradient_and_draws_repeat() {
    set_threads(1);
    for config in [attentive(At::Rpn, Scale::Area), attentive(At::Rcnn, Scale::Literal)] {
        let network = Rcnn::new(&config).unwrap();
        let weights = Weights::seeded(network.layout(), 3, Kind::Double, Device::CPU).unwrap();
        let bags = uniform("bags", &[2, 15, 40, 50]);
        let step = |seed: Seed, truths: &[Truth]| {
            let mode = Mode::Train { momentum: 0.1, draw: 0 };
            let Losses { losses, spread } = network.losses(&weights, &bags, truths, seed, mode).unwrap();
            let told: Vec<String> = spread.iter().map(|(name, _)| name.clone()).collect();
            assert_eq!(told, network.attends());
            assert!(
                spread.iter().all(|(_, kinds)| kinds.iter().all(|even| (0.0..=1.0).contains(&even.unwrap())))
            );
            let whole = losses.iter().fold(Tensor::from(0.0), |sum, loss| sum + loss);
            (numbers::of(&whole).unwrap(), numbers::of(&weights.gradient(&whole).unwrap()).unwrap())
        };
        let truth = Truth { boxes: vec![[5.0, 5.0, 20.0, 22.0]], classes: vec![1], masks: Vec::new() };
        let truths = [truth, Truth::default()];
        let (loss, gradient) = step((1, 2), &truths);
        assert!(loss[0].is_finite() && gradient.iter().all(|number| number.is_finite()));
        assert_eq!(step((1, 2), &truths), (loss.clone(), gradient));
        assert_ne!(step((1, 3), &truths).0, loss);
        assert!(step((1, 2), &[Truth::default(), Truth::default()]).0[0].is_finite());
    }
}

#[test]
fn boxes_come_back_from_the_size_that_images_are_shown_in() {
    set_threads(1);
    let shown = |shorter, longer| config::ImageScale { shorter, longer }.shown([30, 40]);
    assert_eq!([shown(60, 1000), shown(60, 60), shown(15, 99)], [[60, 80], [45, 60], [15, 20]]);
    let scale = Some(config::ImageScale { shorter: 128, longer: 1000 });
    let network = Rcnn::new(&RcnnConfig { scale, ..config() }).unwrap();
    let plain = Rcnn::new(&config()).unwrap();
    let weights = weighed(network.layout());
    let small = uniform("images", &[1, 3, 64, 96]);
    let large = small.upsample_bilinear2d([128, 192], false, None, None);
    let find = |network: &Rcnn, images: &Tensor| {
        tch::no_grad(|| network.find(&weights, images, &FindOptions::default(), Mode::Infer))
            .unwrap()
            .remove(0)
    };
    let (found, expected) = (find(&network, &small), find(&plain, &large));
    assert!(!found.is_empty() && found.len() == expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        near("bounds", &found.bounds, &expected.bounds.map(|edge| edge / 2.0), 1e-9);
        assert_eq!((found.score, found.class), (expected.score, expected.class));
    }
    // The truth goes with its image.
    let truth = |factor: f64| Truth {
        boxes: vec![[10.0, 12.0, 30.0, 40.0].map(|edge| edge * factor)],
        classes: vec![1],
        masks: Vec::new(),
    };
    let mode = Mode::Train { momentum: 0.1, draw: 0 };
    let losses = |network: &Rcnn, images: &Tensor, factor| {
        let losses = network.losses(&weights, images, &[truth(factor)], (1, 1), mode).unwrap().losses;
        losses.iter().map(|loss| numbers::of(loss).unwrap()[0]).collect::<Vec<f64>>()
    };
    near("losses", &losses(&network, &small, 1.0), &losses(&plain, &large, 2.0), 1e-12);
}

#[test]
fn truths_that_are_no_boxes_are_refused() {
    let network = Rcnn::new(&config()).unwrap();
    let weights = Weights::seeded(network.layout(), 3, Kind::Float, Device::CPU).unwrap();
    let images = uniform("images", &[1, 3, 64, 96]).to_kind(Kind::Float);
    for (bounds, class) in
        [([1.0, 1.0, 1.0, 5.0], 1), ([1.0, 1.0, 4.0, f64::NAN], 1), ([1.0, 1.0, 4.0, 5.0], 3)]
    {
        let truths = [Truth { boxes: vec![bounds], classes: vec![class], masks: Vec::new() }];
        let refused = network.losses(&weights, &images, &truths, (1, 1), Mode::Infer);
        assert!(matches!(refused.err().unwrap(), NetworkError::Shape { .. }));
    }
    let error = |config: RcnnConfig| Rcnn::new(&config).err().unwrap().to_string();
    assert!(error(RcnnConfig { stacks: 4, ..config() }).contains("stacks"));
    assert!(error(RcnnConfig { classes: 1, ..config() }).contains("classes"));
    assert!(error(RcnnConfig { beta: f64::NAN, ..config() }).contains("beta"));
}
