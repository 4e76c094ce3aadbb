//! Forward pass, loss, gradients and steps against PyTorch, in double precision (`tests/golden/networks`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use safetensors::SafeTensors;
use serde_json::Value;
use tch::{Kind, Tensor};

use super::adam::Adam;
use super::config::{LossConfig, UnetConfig};
use super::unet::{Mode, Unet};
use super::weights::Weights;
use super::{Device, loss};

const TOLERANCE: f64 = 1e-10;

struct Golden {
    header: Value,
    tensors: BTreeMap<String, Tensor>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks");
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let header = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["golden"]).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().map(|(name, view)| {
            let kind = if name == "labels" { Kind::Uint8 } else { Kind::Double };
            let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
            (name, Tensor::f_from_data_size(view.data(), &shape, kind).unwrap())
        });
        Self { header, tensors: tensors.collect() }
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
}

fn same(what: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.size(), expected.size(), "{what}");
    let difference = f64::try_from((found - expected).abs().max()).unwrap();
    assert!(difference < TOLERANCE, "{what}: {difference:e}");
}

fn check(file: &str) {
    let golden = Golden::read(file);
    let config: UnetConfig = serde_json::from_value(golden.header["config"].clone()).unwrap();
    let unet = Unet::new(&config).unwrap();
    let weights = Weights::from_named(unet.layout(), golden.under("start/"), Device::CPU).unwrap();
    let input = &golden.tensors["input"];
    let inferred = tch::no_grad(|| unet.forward(&weights, input, Mode::Infer)).unwrap();
    same("logits in inference", &inferred.logits, &golden.tensors["infer/logits"]);

    let mut adam = Adam::new(weights.flat()).unwrap();
    let losses = Vec::<f64>::try_from(&golden.tensors["losses"]).unwrap();
    for (step, expected) in losses.iter().enumerate() {
        let output = unet.forward(&weights, input, Mode::Train { momentum: 0.1, draw: 0 }).unwrap();
        let kind = LossConfig::HardnessDice { lambda: golden.number("lambda") };
        let weight = golden.number("attention_weight");
        let value = loss::total(kind, weight, &unet, &output, &golden.tensors["labels"]).unwrap();
        let gradient = weights.gradient(&value).unwrap();
        if step == 0 {
            same("logits in training", &output.logits, &golden.tensors["train/logits"]);
            let maps = golden.under("train/attention.");
            assert_eq!(output.attention.len(), maps.len());
            output.attention.iter().zip(maps.values()).for_each(|(map, golden)| same("map", map, golden));
            check_gradient(&weights, &gradient, &golden);
        }
        let value = f64::try_from(value).unwrap();
        assert!((value - expected).abs() < TOLERANCE, "loss of step {step}: {value} for {expected}");
        let (rate, decay) = (golden.number("rate"), golden.number("decay"));
        adam.step(weights.flat(), &gradient, step as u64 + 1, rate, decay).unwrap();
    }
    let end = golden.under("end/");
    assert_eq!(weights.named().count(), end.len());
    weights.named().for_each(|(name, tensor)| same(name, tensor, &end[name]));
}

fn check_gradient(weights: &Weights, flat: &Tensor, golden: &Golden) {
    let expected = golden.under("gradient/");
    let mut offset = 0;
    let mut seen = 0;
    for (name, tensor) in weights.named().filter(|(name, _)| expected.contains_key(*name)) {
        let count = tensor.numel() as i64;
        same(name, &flat.narrow(0, offset, count).view(tensor.size().as_slice()), &expected[name]);
        offset += count;
        seen += 1;
    }
    assert_eq!((seen, offset), (expected.len(), flat.size()[0]));
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
fn three_dimensions_with_attention() {
    check("unet_3d_unsupervised.safetensors");
}
