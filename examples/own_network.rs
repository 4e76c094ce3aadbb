//! A network and a loss of one's own, trained and applied by a pipeline file, with public names alone.
//!
//! ```sh
//! cargo run --release --example own_network
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what came of it")]

use std::error::Error;
use std::fs;

use serde_json::{Map, Value};
use tomoflow::connectors::table::{Rows, Table, read_rows};
use tomoflow::engine::{Options, run};
use tomoflow::networks::blocks::mode::Mode;
use tomoflow::networks::extensions::OwnLoss;
use tomoflow::networks::tch::{Kind, Tensor};
use tomoflow::networks::tensors::weights::{Init, Layout, Parameter, Weights};
use tomoflow::networks::{Architecture, NetworkError};
use tomoflow::operators::registry::{LossPart, NetworkPart, Registry};
use tomoflow::operators::spec::{Field, FieldKind};
use tomoflow::phantom::vs::{VsPhantom, write_archive};

/// What a pipeline file says of the network beside its `type`: the checker, the reference and the keys are made from it.
const SLIM: NetworkPart = NetworkPart {
    name: "slim",
    version: 1,
    fields: &[Field::semantic(
        "width",
        FieldKind::Integer { min: 1, max: 256 },
        "8",
        "Feature channels of each layer.",
    )],
    build: slim,
};

/// One convolution, by the places of its numbers.
struct Conv {
    kernel: Parameter,
    bias: Parameter,
    dilation: i64,
}

impl Conv {
    /// In-plane convolutions of 3 x 3 voxels, `dilation` apart.
    fn new(layout: &mut Layout, name: &str, [input, output]: [i64; 2], dilation: i64) -> Self {
        let bound = (6.0 / (input * 9) as f64).sqrt();
        let shape = [output, input, 1, 3, 3];
        let kernel = layout.parameter(format!("{name}.kernel"), &shape, Init::Uniform(bound));
        let bias = layout.parameter(format!("{name}.bias"), &[output], Init::Constant(0.0));
        Self { kernel, bias, dilation }
    }

    fn forward(&self, weights: &Weights, x: &Tensor) -> Result<Tensor, NetworkError> {
        let Self { kernel, bias, dilation } = *self;
        let around = [0, dilation, dilation];
        let (kernel, bias) = (weights.get(kernel), weights.get(bias));
        Ok(x.f_conv3d(kernel, Some(bias), [1; 3], around, [1, dilation, dilation], 1)?)
    }
}

/// Convolutions that see ever farther, without any pooling.
struct Slim {
    layout: Layout,
    layers: Vec<Conv>,
    head: Conv,
}

fn slim(
    settings: &Map<String, Value>,
    channels: usize,
    classes: usize,
) -> Result<Box<dyn Architecture>, NetworkError> {
    let width = settings.get("width").and_then(Value::as_i64).unwrap_or(8);
    let (mut layout, mut layers, mut input) = (Layout::default(), Vec::new(), channels as i64);
    for dilation in [1, 2, 4] {
        layers.push(Conv::new(&mut layout, &format!("layer.{dilation}"), [input, width], dilation));
        input = width;
    }
    let head = Conv::new(&mut layout, "head", [input, classes as i64], 1);
    Ok(Box::new(Slim { layout, layers, head }))
}

impl Architecture for Slim {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn forward(&self, weights: &Weights, input: &Tensor, _mode: Mode) -> Result<Tensor, NetworkError> {
        let mut x = input.shallow_clone();
        for layer in &self.layers {
            x = layer.forward(weights, &x)?.f_leaky_relu()?;
        }
        self.head.forward(weights, &x)
    }
}

const SHARE: FieldKind = FieldKind::Number { min: 0.0, max: 1.0, unit: "" };

/// The loss of Salehi et al. (arXiv 1706.05721): soft overlap in which what was missed may count more than what was
/// found too much.
const TVERSKY: LossPart = LossPart {
    name: "tversky",
    version: 1,
    fields: &[
        Field::semantic("found_too_much", SHARE, "0.3", "The weight of foreground that is none."),
        Field::semantic("missed", SHARE, "0.7", "The weight of foreground that was not found."),
    ],
    build: tversky,
};

fn tversky(settings: &Map<String, Value>) -> Result<OwnLoss, NetworkError> {
    let weight = |name: &str| settings.get(name).and_then(Value::as_f64).unwrap_or(0.5);
    let weights = [weight("found_too_much"), weight("missed")];
    if weights == [0.0; 2] {
        let message = "`found_too_much` or `missed` above 0 expected, both are 0".to_owned();
        return Err(NetworkError::Config { field: "tversky".to_owned(), message });
    }
    Ok(Box::new(move |logits, truth| {
        let sum = |x: Tensor| -> Result<Tensor, NetworkError> {
            // Without the background, which is the first class.
            let foreground = x.f_narrow(1, 1, x.size()[1] - 1)?;
            Ok(foreground.f_sum_dim_intlist([0i64, 2, 3, 4].as_slice(), false, None::<Kind>)?)
        };
        let rest = |x: &Tensor| -> Result<Tensor, NetworkError> { Ok(x.f_neg()?.f_add_scalar(1.0)?) };
        let found = logits.f_softmax(1, None::<Kind>)?;
        let both = sum(found.f_mul(truth)?)?;
        let too_much = sum(found.f_mul(&rest(truth)?)?)?.f_mul_scalar(weights[0])?;
        let missed = sum(rest(&found)?.f_mul(truth)?)?.f_mul_scalar(weights[1])?;
        let whole = both.f_add(&too_much)?.f_add(&missed)?.f_add_scalar(1e-5)?;
        rest(&both.f_add_scalar(1e-5)?.f_div(&whole)?.f_mean(None::<Kind>)?)
    }))
}

const PIPELINE: &str = r#"
[pipeline]
name = "own-network"
out = "out"

[sources.scans]
type = "dicom"
path = "archive"
where = { Modality = "MR" }

[sources.outlines]
type = "rtstruct"
path = "archive"
structures = { tumour = ["TV"] }

[operators.volume]
type = "assemble"
inputs = ["scans"]

[operators.case]
type = "label"
inputs = ["volume", "outlines"]

[operators.normal]
type = "zscore"
inputs = ["case"]

[operators.samples]
type = "patches"
inputs = ["normal"]
size = [8, 32, 32]
per_case = 4
foreground = 0.75

[operators.net]
type = "train"
inputs = ["samples"]
network = { type = "slim", width = 6 }
loss = { type = "tversky", missed = 0.6 }
epochs = 12
learning_rate = 1e-2
split = { train = 4, validation = 1, test = 1 }

[operators.segment]
type = "infer"
inputs = ["normal"]
model = "net"

[operators.scores]
type = "evaluate"
inputs = ["segment", "case"]
metrics = ["dice"]

[sinks.results]
type = "delta"
inputs = ["segment", "scores"]
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("tomoflow-own-network-{}", std::process::id()));
    let phantom = VsPhantom { series: 6, first: 0, seed: 1, size: [8, 48, 48], ..VsPhantom::DEFAULT };
    write_archive(&phantom, &folder.join("archive"))?;
    let file = folder.join("own-network.toml");
    fs::write(&file, PIPELINE)?;

    let mut registry = Registry::builtin();
    let registered = registry.register_network(SLIM).and_then(|registry| registry.register_loss(TVERSKY));
    registered.map_err(|problem| problem.message)?;
    // What is wrong is told at its place, as of tomoflow's own networks.
    fs::write(folder.join("wrong.toml"), PIPELINE.replace("width = 6", "breadth = 6"))?;
    match tomoflow::pipeline::load(&folder.join("wrong.toml"), &[], &registry) {
        Err(problems) => println!("{problems}"),
        Ok(_) => return Err("`breadth` is no field of the network, and nobody said so".into()),
    }

    let plan = tomoflow::pipeline::load(&file, &[], &registry)?;
    let first = run(plan.clone(), &Options::default(), &mut |_| {})?;
    print!("{first}");
    let Rows::Training(rows) = read_rows(&folder.join("out/tables/training"), Table::Training)? else {
        return Err("figures of the training expected".into());
    };
    let losses: Vec<f64> = rows.iter().filter(|row| row.name == "loss").map(|row| row.value).collect();
    println!("losses: {losses:.3?}");
    assert!(losses.len() == 12 && losses[11] < losses[0], "it learns");
    let Rows::Metrics(rows) = read_rows(&folder.join("out/tables/metrics"), Table::Metrics)? else {
        return Err("metrics expected".into());
    };
    let dice: Vec<Option<f64>> = rows.iter().map(|row| row.value).collect();
    println!("Dice: {dice:.3?}");
    assert_eq!(dice.len(), 6);

    // Nothing has changed, so nothing is trained or applied again.
    let again = run(plan, &Options::default(), &mut |_| {})?;
    assert_eq!(again.actions_run, 0);
    fs::remove_dir_all(&folder)?;
    Ok(())
}
