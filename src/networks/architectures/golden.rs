//! The networks and the losses of ASDNet's rows against PyTorch (`tests/golden/asdnet`): what they give, their losses and
//! their gradients, in double precision, and one step of the whole in single precision.

use std::collections::BTreeMap;

use safetensors::SafeTensors;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use super::config::NetworkSettings;
use super::critic::Critic;
use super::dense::Dense;
use super::rcnn::golden::uniform;
use crate::networks::activation::Activation;
use crate::networks::blocks::mode::Mode;
use crate::networks::losses::critics::real_or_not;
use crate::networks::losses::{Absent, GeneralizedDiceLoss, one_hot};
use crate::networks::objectives::adversarial::Adversarial;
use crate::networks::objectives::class_weights::ClassWeights;
use crate::networks::objectives::minimised::{Minimised, Whole, total};
use crate::networks::objectives::strategy::Strategy;
use crate::networks::objectives::supervised::Supervised;
use crate::networks::objectives::{Batch, Learner, Moment, Objective, regions};
use crate::networks::sample::Target;
use crate::networks::tensors::weights::{Layout, Weights};
use crate::networks::{
    Device, Extensions, InputView, LossConfig, OptimizerConfig, Origin, Sample, Schedule, Task,
    TrainSettings, set_threads,
};

const SIZE: [i64; 3] = [5, 8, 9];
/// The difference that two orders of the same sums may have, of numbers around 1.
const NEAR: f64 = 1e-10;
/// The same difference in single precision.
const NEAR_SINGLE: f64 = 2e-5;

struct Golden {
    header: Value,
    tensors: BTreeMap<String, Vec<f64>>,
}

impl Golden {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/asdnet/asdnet.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let header = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["golden"]).unwrap();
        let numbers = |bytes: &[u8]| {
            let (numbers, rest) = bytes.as_chunks::<8>();
            assert!(rest.is_empty());
            numbers.iter().map(|number| f64::from_le_bytes(*number)).collect::<Vec<_>>()
        };
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter();
        Self { header, tensors: tensors.map(|(name, view)| (name, numbers(view.data()))).collect() }
    }
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().to_kind(Kind::Double).reshape([-1])).unwrap()
}

fn near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0, |most: f64, number| most.max(number.abs()));
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off <= tolerance * largest, "{what}: {off:e} of {largest}");
}

/// Weights that follow from their names, as the script gives them.
fn weighed(layout: &Layout, kind: Kind) -> Weights {
    let fresh = Weights::seeded(layout, 1, kind, Device::CPU).unwrap();
    let value = |name: &str, shape: &[i64]| {
        let numbers = uniform(name, shape);
        match () {
            () if name.ends_with("variance") => numbers + 0.5,
            () if name.ends_with("norm.weight") || name.ends_with("slope") => numbers * 0.5 + 0.5,
            () if shape.len() > 1 => {
                let fan: i64 = shape[1..].iter().product();
                (numbers * 2.0 - 1.0) * (3.0 / fan as f64).sqrt()
            }
            () => numbers * 0.2 - 0.1,
        }
    };
    let named = fresh.named().map(|(name, own)| (name.to_owned(), value(name, &own.size()).to_kind(kind)));
    Weights::from_named(layout, named.collect(), Device::CPU).unwrap()
}

/// A number for each tensor that every one of its numbers takes part in.
fn project<'a>(
    prefix: &str,
    named: impl Iterator<Item = (&'a str, &'a Tensor)>,
    expected: &Value,
    tolerance: f64,
) {
    let expected = expected.as_object().unwrap();
    let mut compared = 0;
    for (name, own) in named {
        let Some(expected) = expected.get(name).and_then(Value::as_f64) else { continue };
        let weights = uniform(&format!("{prefix}.{name}"), &own.size()) - 0.5;
        let number = (own.detach().to_kind(Kind::Double) * weights).sum(Kind::Double);
        near(&format!("{prefix} of {name}"), &numbers(&number), &[expected], tolerance);
        compared += 1;
    }
    assert_eq!(compared, expected.len(), "{prefix}");
}

fn gradients(weights: &Weights, layout: &Layout, loss: &Tensor, expected: &Value, tolerance: f64) {
    let flat = weights.gradient_of(loss, true).unwrap();
    let buffers = weights.snapshot().unwrap().1;
    let gradient = Weights::from_flat(layout, flat, buffers).unwrap();
    project("gradient", gradient.named(), expected, tolerance);
}

fn classes_of(name: &str, [d, h, w]: [i64; 3]) -> Tensor {
    (uniform(name, &[2, d, h, w]) * 3.0).floor().to_kind(Kind::Int64)
}

fn dense(settings: Value) -> Dense {
    let mut all = json!({ "type": "unet", "dims": "3d", "attention": "off" });
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let settings: NetworkSettings = serde_json::from_value(all).unwrap();
    Dense::new(&settings.resolve(1, 3).unwrap(), &Extensions::default()).unwrap()
}

#[test]
fn networks_give_what_pytorchs_give() {
    set_threads(1);
    let golden = Golden::read();
    let vnet = |more: Value| {
        let mut all = json!({ "variant": "vnet" });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let deep = json!({
        "levels": 5, "channels": [2, 3, 4, 5, 6], "kernel": 5, "norm": "none", "head": "level",
        "convolutions": [1, 2, 3, 3, 3],
    });
    let shallow = json!({ "levels": 4, "channels": [2, 3, 4, 5] });
    let group = json!({ "levels": 3, "channels": [2, 4, 6], "norm": "group", "convolutions": [1, 2, 2] });
    let residual = json!({ "levels": 4, "channels": [2, 3, 4, 5], "variant": "residual" });
    for (name, settings, sample_attention) in [
        ("vnet", vnet(deep), 0.0),
        ("svnet", vnet(shallow), 2.0),
        ("svnet_group", vnet(group), 0.0),
        ("residual", residual, 0.0),
    ] {
        let (network, said) = (dense(settings), &golden.header[name]);
        assert_eq!(Some(network.layout().parameter_count()), said["parameters"].as_i64(), "{name}");
        let weights = weighed(network.layout(), Kind::Double);
        let [d, h, w] = SIZE;
        let input = uniform("input", &[2, 1, d, h, w]) * 4.0 - 2.0;
        let infer = tch::no_grad(|| network.forward(&weights, &input, Mode::Infer)).unwrap();
        near(name, &numbers(&infer.logits), &golden.tensors[&format!("{name}.infer")], NEAR);
        let output = network.forward(&weights, &input, Mode::Train { momentum: 0.1, draw: 0 }).unwrap();
        project("train", [("logits", &output.logits)].into_iter(), &said["train"], NEAR);
        let loss = Minimised::Known(LossConfig::GeneralizedDice(GeneralizedDiceLoss { absent: Absent::Max }));
        let whole = Whole {
            loss: &loss,
            attention_weight: 1.0,
            sample_attention,
            regions: &regions::NONE,
            heads: network.heads(),
            activation: Activation::default(),
            weights: &ClassWeights::default(),
        };
        let value = total(&whole, None, &output, &classes_of("labels", SIZE)).unwrap().whole;
        near(name, &numbers(&value), &[said["loss"].as_f64().unwrap()], NEAR);
        gradients(&weights, network.layout(), &value, &said["gradients"], NEAR);
        project("buffer", weights.named(), &said["buffers"], NEAR);
    }
}

#[test]
fn critics_judge_and_learn_as_pytorchs_do() {
    set_threads(1);
    let golden = Golden::read();
    let [d, h, w] = SIZE;
    for (name, critic) in [("fcn", Critic::of_voxels(3, 2)), ("cnn", Critic::of_samples(3, 2, SIZE))] {
        let said = &golden.header[name];
        assert_eq!(Some(critic.layout().parameter_count()), said["parameters"].as_i64(), "{name}");
        let weights = weighed(critic.layout(), Kind::Double);
        let truth = one_hot(&classes_of("truth", SIZE), 3, Kind::Double).unwrap();
        let predicted = (uniform("predicted", &[2, 3, d, h, w]) * 6.0).softmax(1, Kind::Double);
        let predicted = predicted.set_requires_grad(true);
        let logits = critic.forward(&weights, &predicted).unwrap();
        near(name, &numbers(&logits), &golden.tensors[&format!("{name}.logits")], NEAR);
        let adversarial = real_or_not(&logits, true).unwrap();
        let moved = Tensor::f_run_backward(&[&adversarial], &[&predicted], true, false).unwrap();
        project("moved", [("predicted", &moved[0])].into_iter(), &said["moved"], NEAR);
        let real = real_or_not(&critic.forward(&weights, &truth).unwrap(), true).unwrap();
        let fake = real_or_not(&critic.forward(&weights, &predicted.detach()).unwrap(), false).unwrap();
        for (loss, what) in [(&adversarial, "adversarial"), (&real, "real"), (&fake, "predicted")] {
            near(what, &numbers(loss), &[said[what].as_f64().unwrap()], NEAR);
        }
        gradients(&weights, critic.layout(), &(real + fake), &said["gradients"], NEAR);
    }
}

fn settings() -> TrainSettings {
    let network = json!({
        "type": "unet", "dims": "3d", "attention": "off", "variant": "vnet", "levels": 3, "channels": [2, 3, 4],
        "norm": "group", "convolutions": [1, 2, 2],
    });
    let strategy = json!({
        "type": "adversarial", "critic": "fcn", "critic_width": 2, "critic_rate": 1e-4, "adversarial": 0.03,
        "semi": 0.3, "gamma": 0.5839, "start": 0.0, "least_dice": 0.0, "least_label_dice": 0.0,
        "adversarial_unlabelled": true, "critic_unlabelled": false, "semi_cross_entropy": 0.5,
    });
    serde_json::from_value(json!({
        "network": network, "strategy": strategy, "loss": { "type": "generalized_dice" }, "attention_weight": 1.0,
        "epochs": 1, "batch": 2, "accumulate": 1, "optimizer": OptimizerConfig::default(), "learning_rate": 1e-3,
        "weight_decay": 0.0, "schedule": Schedule::default(), "halve_every": 0, "clip_norm": 0.0,
        "patience": 0, "weights": "best", "seed": 1, "sample_attention": 2.0,
    }))
    .unwrap()
}

fn drawn(size: [i64; 3]) -> Vec<Sample> {
    let [d, h, w] = size;
    let input = uniform("drawn", &[2, 1, d, h, w]) * 4.0 - 2.0;
    let labels = classes_of("drawn.labels", size);
    let sample = |place: i64| Sample {
        input: numbers(&input.get(place)).into_iter().map(|value| value as f32).collect(),
        shape: [1, d as usize, h as usize, w as usize],
        target: Target::Classes(numbers(&labels.get(place)).into_iter().map(|class| class as u8).collect()),
    };
    vec![sample(0), sample(1)]
}

/// The test takes both networks, both halves of a batch, and all terms.
#[test]
fn a_step_of_asdnet_is_pytorchs_loss_by_loss() {
    set_threads(1);
    let golden = Golden::read();
    let (settings, size) = (settings(), [8, 8, 8]);
    let [d, h, w] = size;
    let task = Task {
        view: InputView::Patch { size: size.map(|length| length as usize) },
        label_names: ["a", "b"].map(str::to_owned).to_vec(),
        origin: Origin::default(),
    };
    let supervised = Supervised::new(&settings, &task, &Extensions::default()).unwrap();
    let Some(Strategy::Adversarial(own)) = settings.strategy else { panic!("a strategy expected") };
    let objective = Adversarial::new(supervised, &own, &settings, &task).unwrap();
    let pupils = objective.learners();
    let weights: Vec<Weights> = pupils.iter().map(|pupil| weighed(&pupil.layout, Kind::Float)).collect();
    let learners: Vec<Learner> =
        pupils.iter().zip(&weights).map(|(pupil, weights)| Learner { name: &pupil.name, weights }).collect();
    let samples = drawn(size);
    let batch = Batch {
        unlabelled: Some((uniform("undrawn", &[2, 1, d, h, w]) * 4.0 - 2.0).to_kind(Kind::Float)),
        ..Batch::new(&samples, Kind::Float, Device::CPU).unwrap()
    };
    let moment = Moment { epoch: 0, step: 1, batch: 1, seed: 1, steps: 10, figures: &[] };
    let losses = objective.losses(&learners, &batch, &moment).unwrap();
    let said = &golden.header["step"];
    let expected = said["losses"].as_object().unwrap();
    for (name, expected) in expected {
        let found = losses.iter().find(|loss| loss.name == *name).unwrap_or_else(|| panic!("no {name}"));
        near(name, &numbers(&found.value), &[expected.as_f64().unwrap()], NEAR_SINGLE);
    }
    for (place, name) in [(0, "network"), (1, "critic")] {
        let moving = losses.iter().find(|loss| loss.moves == Some(place)).unwrap();
        gradients(&weights[place], &pupils[place].layout, &moving.value, &said[name], NEAR_SINGLE);
    }
}
