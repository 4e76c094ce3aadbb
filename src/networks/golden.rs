//! Forward pass, loss, gradients and steps against PyTorch, in double precision (`tests/golden/networks`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::Value;
use tch::{Kind, Tensor};

use super::LossConfig;
use super::architectures::config::{Supervision, UnetConfig, UnetSettings};
use super::architectures::unet::{Unet, UnetOutput};
use super::blocks::mode::Mode;
use super::objectives::minimised::{Minimised, Whole, total};
use super::objectives::{class_weights, regions};
use super::tensors::weights::Weights;
use super::train::adam::Adam;
use super::{Activation, Device, set_threads};

const TOLERANCE: f64 = 1e-10;
/// The tolerance for peers that compute in single precision.
const PEER_TOLERANCE: f64 = 1e-6;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks").join(name)
}

/// A file of numbers, and what its header says of them.
pub(super) struct Golden {
    pub header: Value,
    tensors: BTreeMap<String, Tensor>,
}

impl Golden {
    pub fn read(name: &str) -> Self {
        let bytes = std::fs::read(path(name)).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let header = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["golden"]).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().map(|(name, view)| {
            let (kind, to) = match view.dtype() {
                Dtype::U8 => (Kind::Uint8, Kind::Uint8),
                Dtype::F32 => (Kind::Float, Kind::Double),
                _ => (Kind::Double, Kind::Double),
            };
            let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
            (name, Tensor::f_from_data_size(view.data(), &shape, kind).unwrap().to_kind(to))
        });
        Self { header, tensors: tensors.collect() }
    }

    /// A tensor's numbers, the last axis fastest.
    pub fn floats(&self, name: &str) -> Vec<f64> {
        Vec::try_from(self.tensors[name].reshape([-1])).unwrap()
    }

    /// A tensor's numbers by its last axis.
    pub fn rows(&self, name: &str) -> Vec<Vec<f64>> {
        let length = *self.tensors[name].size().last().unwrap() as usize;
        self.floats(name).chunks_exact(length).map(<[f64]>::to_vec).collect()
    }

    fn under(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let named = self.tensors.iter().filter_map(|(name, tensor)| {
            Some((name.strip_prefix(prefix)?.to_owned(), tensor.shallow_clone()))
        });
        named.collect()
    }

    fn number(&self, name: &str) -> f64 {
        self.header[name].as_f64().unwrap()
    }

    fn value<T: for<'de> Deserialize<'de>>(&self, name: &str) -> T {
        serde_json::from_value(self.header[name].clone()).unwrap()
    }
}

fn same(what: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.size(), expected.size(), "{what}");
    let difference = f64::try_from((found - expected).abs().max()).unwrap();
    assert!(difference < TOLERANCE, "{what}: {difference:e}");
}

fn check(file: &str) {
    // Several tests run at once: more threads each would only wait for one another.
    set_threads(1);
    let golden = Golden::read(file);
    let config: UnetConfig = golden.value("config");
    let unet = Unet::new(&config).unwrap();
    let weights = Weights::from_named(unet.layout(), golden.under("start/"), Device::CPU).unwrap();
    let input = &golden.tensors["input"];
    let inferred = tch::no_grad(|| unet.forward(&weights, input, Mode::Infer)).unwrap();
    same("logits in inference", &inferred.logits, &golden.tensors["infer/logits"]);

    let mut adam = Adam::new(weights.flat(), [0.9, 0.999], 1e-8, false).unwrap();
    let losses = Vec::<f64>::try_from(&golden.tensors["losses"]).unwrap();
    for (step, expected) in losses.iter().enumerate() {
        let mode = Mode::Train { momentum: 0.1, draw: step as u64 };
        let output = unet.forward(&weights, input, mode).unwrap();
        let kind = Minimised::Known(golden.value("loss"));
        let weight = golden.number("attention_weight");
        let value = total(&whole(&kind, weight), supervision(&unet), &output, &golden.tensors["labels"])
            .unwrap()
            .whole;
        let gradient = weights.gradient(&value).unwrap();
        if step == 0 {
            same("logits in training", &output.logits, &golden.tensors["train/logits"]);
            let maps = golden.under("train/attention.");
            assert_eq!((output.attention.len(), unet.attention_scales().len()), (maps.len(), maps.len()));
            output.attention.iter().zip(maps.values()).for_each(|(map, golden)| same("map", map, golden));
            check_scales(&unet, &output, &config.multiple(), input);
            check_gradient(&unet, &weights, &gradient, &golden);
        }
        let value = f64::try_from(value).unwrap();
        assert!((value - expected).abs() < TOLERANCE, "loss of step {step}: {value} for {expected}");
        let (rate, decay) = (golden.number("rate"), golden.number("decay"));
        adam.step(weights.flat(), &gradient, step as u64 + 1, rate, decay).unwrap();
    }
    let end = golden.under("end/");
    assert!(end.is_empty() || weights.named().count() == end.len());
    weights.named().filter(|_| !end.is_empty()).for_each(|(name, tensor)| same(name, tensor, &end[name]));
}

fn supervision(unet: &Unet) -> Option<(&Unet, Supervision)> {
    Some((unet, unet.supervision()?))
}

/// Each map times its scale is the padded input.
fn check_scales(unet: &Unet, output: &UnetOutput, multiple: &[i64; 3], input: &Tensor) {
    for (map, scale) in output.attention.iter().zip(unet.attention_scales()) {
        for axis in 0..3 {
            let padded = (input.size()[axis + 2] as u64).next_multiple_of(multiple[axis] as u64) as i64;
            assert_eq!(map.size()[axis + 2] * scale[axis], padded);
        }
    }
}

fn check_gradient(unet: &Unet, weights: &Weights, flat: &Tensor, golden: &Golden) {
    let expected = golden.under("gradient/");
    let (_, buffers) = weights.snapshot().unwrap();
    // The gradient lies as the weights do.
    let gradient = Weights::from_flat(unet.layout(), flat.detach(), buffers).unwrap();
    let named = gradient.named().filter(|(name, _)| expected.contains_key(*name));
    let numbers: usize = named
        .map(|(name, tensor)| {
            same(name, tensor, &expected[name]);
            tensor.numel()
        })
        .sum();
    assert_eq!(numbers, flat.numel());
}

#[test]
fn in_plane_with_stacks_and_three_classes() {
    check("unet_2d.safetensors");
}

#[test]
fn two_and_a_half_dimensions_supervised_with_padding() {
    check("unet_25d_supervised.safetensors");
}

#[test]
fn attention_gates() {
    check("unet_25d_gate.safetensors");
}

#[test]
fn three_dimensions_with_attention() {
    check("unet_3d_unsupervised.safetensors");
}

#[test]
fn dropout_by_our_own_masks() {
    check("unet_3d_dropout.safetensors");
}

#[test]
fn vs_seg_supervised_as_published() {
    check("vs_seg_supervised.safetensors");
}

#[test]
fn vs_seg_with_gates_kernels_and_strides_of_all_lengths() {
    check("vs_seg_gate.safetensors");
}

#[derive(Deserialize)]
struct LossCase {
    config: UnetConfig,
    loss: LossConfig,
    value: f64,
    peer: Option<f64>,
}

fn whole(loss: &Minimised, attention_weight: f64) -> Whole<'_> {
    let (activation, weights) = (Activation::Softmax, &class_weights::ALIKE);
    let regions = &regions::NONE;
    Whole { loss, attention_weight, sample_attention: 0.0, regions, heads: &[], activation, weights }
}

#[test]
fn every_loss_with_every_supervision() {
    let golden = Golden::read("losses.safetensors");
    let cases: Vec<LossCase> = golden.value("cases");
    assert!(cases.iter().filter(|case| case.peer.is_some()).count() >= 8);
    for (index, case) in cases.iter().enumerate() {
        let what = format!("{:?}, {:?}, {:?}", case.loss, case.config.attention, case.config.supervision);
        let leaf = |name: &str| golden.tensors[name].copy().set_requires_grad(true);
        let logits = leaf("logits");
        let attention: Vec<Tensor> = golden.under("map.").keys().map(|i| leaf(&format!("map.{i}"))).collect();
        let leaves: Vec<Tensor> =
            std::iter::once(&logits).chain(&attention).map(Tensor::shallow_clone).collect();
        let output = UnetOutput { logits, attention, auxiliary: Vec::new() };
        let unet = Unet::new(&case.config).unwrap();
        let (weight, loss) = (golden.number("attention_weight"), Minimised::Known(case.loss.clone()));
        let value = total(&whole(&loss, weight), supervision(&unet), &output, &golden.tensors["labels"])
            .unwrap()
            .whole;
        let number = f64::try_from(&value).unwrap();
        assert!((number - case.value).abs() < TOLERANCE, "{what}: {number} for {}", case.value);
        assert!(case.peer.is_none_or(|peer| (number - peer).abs() < PEER_TOLERANCE), "{what}");
        let leaves = if unet.supervision().is_some() { &leaves[..] } else { &leaves[..1] };
        let gradients = Tensor::f_run_backward(&[value], leaves, false, false).unwrap();
        let names = ["logits", "map.0", "map.1"].map(|name| format!("{index}/{name}"));
        for (name, gradient) in names.iter().zip(&gradients) {
            // Supervision adds nothing to the gradient of the logits, which stands with the first of each
            // loss.
            if let Some(expected) = golden.tensors.get(name) {
                same(&format!("{what}, {name}"), gradient, expected);
            }
        }
    }
}

#[derive(Deserialize)]
struct Named {
    name: String,
    settings: UnetSettings,
    parameters: i64,
}

#[test]
fn named_networks_have_as_many_parameters_as_in_pytorch() {
    let rows: Vec<Named> = serde_json::from_slice(&std::fs::read(path("parameters.json")).unwrap()).unwrap();
    let documented = include_str!("architectures/unet.rs");
    for Named { name, settings, parameters } in rows {
        let unet = Unet::new(&settings.resolve(1, 2).unwrap()).unwrap();
        assert_eq!(unet.layout().parameter_count(), parameters, "{name}");
        let word = |value: Value| value.as_str().unwrap().to_owned();
        let dims = word(serde_json::to_value(settings.dims).unwrap());
        let attention = word(serde_json::to_value(settings.attention).unwrap());
        let variant = word(serde_json::to_value(settings.variant).unwrap());
        let levels = serde_json::to_value(&settings.levels).unwrap();
        let row = format!("/// | {name} | {dims} | {levels} | {attention} | {variant} | {parameters} |");
        assert!(documented.contains(&row), "the documentation has not: {row}");
    }
}
