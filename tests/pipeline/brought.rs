//! Networks and losses that a downstream crate brings are declared, checked and told of as tomoflow's own.

use serde_json::{Map, Value, json};
use tomoflow::networks::blocks::mode::Mode;
use tomoflow::networks::extensions::OwnLoss;
use tomoflow::networks::tch::Tensor;
use tomoflow::networks::tensors::weights::{Layout, Weights};
use tomoflow::networks::{Architecture, NetworkError};
use tomoflow::operators::registry::{LossPart, NetworkPart, Registry};
use tomoflow::operators::spec::{Field, FieldKind, FieldProblem, semantic};
use tomoflow::pipeline::{Draft, Plan, Problems, page, schema};

fn network(_: &Map<String, Value>, _: usize, _: usize) -> Result<Box<dyn Architecture>, NetworkError> {
    Err(NetworkError::Config {
        field: "width".to_owned(),
        message: "an even number expected, 7 found".to_owned(),
    })
}

fn loss(_: &Map<String, Value>) -> Result<OwnLoss, NetworkError> {
    Ok(Box::new(|logits, _| Ok(logits.shallow_clone())))
}

const NETWORK: NetworkPart = NetworkPart {
    name: "slim",
    version: 1,
    fields: &[Field::semantic("width", FieldKind::Integer { min: 1, max: 9 }, "7", "How wide it is.")],
    build: network,
};

const LOSS: LossPart = LossPart {
    name: "tversky",
    version: 3,
    fields: &[Field::semantic(
        "missed",
        FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        "0.7",
        "How much.",
    )],
    build: loss,
};

fn registry(loss: LossPart) -> Registry {
    let mut registry = Registry::builtin();
    registry.register_network(NETWORK).and_then(|registry| registry.register_loss(loss)).unwrap();
    registry
}

fn checked(net: Value, registry: &Registry) -> Result<Plan, Problems> {
    Draft::new("brought", "out")
        .source("scans", "dicom", json!({ "path": "archive" }))
        .source("outlines", "rtstruct", json!({ "path": "archive", "structures": { "tumour": ["TV"] } }))
        .operator("volume", "assemble", &["scans"], json!({}))
        .operator("case", "label", &["volume", "outlines"], json!({}))
        .operator("samples", "patches", &["case"], json!({ "size": [8, 16, 16] }))
        .operator("net", "train", &["samples"], net)
        .operator("found", "infer", &["case"], json!({ "model": "net" }))
        .sink("results", "delta", &["found"], json!({}))
        .check(std::env::temp_dir().as_path(), registry)
}

fn problems(net: Value) -> String {
    checked(net, &registry(LOSS)).err().unwrap().to_string()
}

#[test]
fn they_are_checked_field_by_field() {
    let words = problems(json!({ "network": { "type": "slim", "breadth": 3 } }));
    assert!(words.contains("has no field `breadth`"), "{words}");
    let words = problems(json!({ "loss": { "type": "tversky", "missed": 2.0 } }));
    assert!(words.contains("`loss.missed` takes a number") && words.contains("from 0 to 1"), "{words}");
    let words = problems(json!({ "network": { "type": "slimm" } }));
    assert!(words.contains("did you mean `slim`?"), "{words}");
    // The version is what the code says.
    let words = problems(json!({ "loss": { "type": "tversky", "version": 2 } }));
    assert!(words.contains("`loss.version`"), "{words}");
    // What only the network itself can see.
    let words = problems(json!({ "network": { "type": "slim" } }));
    assert!(words.contains("an even number expected, 7 found"), "{words}");
    // What does not go together.
    let unet = json!({ "type": "unet", "attention": "supervised" });
    let words = problems(json!({ "network": unet, "loss": { "type": "tversky" } }));
    assert!(words.contains("has no form for attention maps"), "{words}");
    // Where nobody registered it, it is as unknown as any.
    let net = json!({ "loss": { "type": "tversky" } });
    let words = checked(net, &Registry::builtin()).err().unwrap().to_string();
    assert!(words.contains("`loss` has no type `tversky`"), "{words}");
}

#[test]
fn the_version_of_their_code_is_part_of_the_key() {
    let keyed = |version| {
        let registry = registry(LossPart { version, ..LOSS });
        let plan = checked(json!({ "loss": { "type": "tversky" } }), &registry).unwrap();
        let net = plan.stages.iter().find(|stage| stage.name == "net").unwrap();
        semantic(net.spec.fields, &net.config)
    };
    assert_eq!(keyed(3)["loss"], json!({ "type": "tversky", "missed": 0.7, "version": 3 }));
    assert_ne!(keyed(3), keyed(4));
    // And of no other training's.
    let plain = |registry: &Registry| {
        let plan = checked(json!({}), registry).unwrap();
        let net = plan.stages.iter().find(|stage| stage.name == "net").unwrap();
        semantic(net.spec.fields, &net.config)
    };
    assert_eq!(plain(&registry(LOSS)), plain(&Registry::builtin()));
}

#[test]
fn the_reference_and_the_schema_have_them() {
    let registry = registry(LOSS);
    let reference = page(registry.get("train").unwrap().spec);
    assert!(reference.contains("slim") && reference.contains("How wide it is."), "{reference}");
    let schema = schema(&registry).to_string();
    assert!(schema.contains("tversky") && schema.contains("missed"));
}

#[test]
fn a_name_is_given_once() {
    let refused = |register: &dyn Fn(&mut Registry) -> Option<FieldProblem>| {
        register(&mut registry(LOSS)).unwrap().message
    };
    let twice = refused(&|registry| registry.register_network(NETWORK).err());
    assert!(twice.contains("`slim` is there already"), "{twice}");
    let ours = refused(&|registry| registry.register_network(NetworkPart { name: "unet", ..NETWORK }).err());
    assert!(ours.contains("`unet` is there already"), "{ours}");
    let ours = refused(&|registry| registry.register_loss(LossPart { name: "dice", ..LOSS }).err());
    assert!(ours.contains("`dice` is there already"), "{ours}");
    let nowhere = Registry::empty().register_loss(LOSS).err().unwrap().message;
    assert!(nowhere.contains("no `train` is registered"), "{nowhere}");
}

#[test]
fn a_model_of_a_network_that_nobody_registered_is_told_before_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let network = json!({ "type": "wide", "in_channels": 1, "classes": 2, "settings": {} });
    let view = json!({ "type": "patch", "size": [4, 8, 8] });
    let card = json!({ "network": network, "view": view, "label_names": ["tumour"] });
    let header = json!({ "__metadata__": { "tomoflow": card.to_string() } }).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    std::fs::write(folder.path().join("wide.safetensors"), bytes).unwrap();
    let checked = |registry: &Registry| {
        Draft::new("brought", "out")
            .source("scans", "dicom", json!({ "path": "archive" }))
            .operator("volume", "assemble", &["scans"], json!({}))
            .operator(
                "found",
                "infer",
                &["volume"],
                json!({ "model": { "safetensors": "wide.safetensors" } }),
            )
            .sink("results", "delta", &["found"], json!({}))
            .check(folder.path(), registry)
    };
    let words = checked(&registry(LOSS)).err().unwrap().to_string();
    assert!(words.contains("`wide` is registered by nobody here; registered: `slim`"), "{words}");
    assert!(
        words.contains("draft:") && words.contains("hint: run it with the program that trained it"),
        "{words}"
    );
    let mut known = Registry::builtin();
    let wide = |_: &Map<String, Value>, _: usize, _: usize| -> Result<Box<dyn Architecture>, NetworkError> {
        Ok(Box::new(Wide(Layout::default())))
    };
    known.register_network(NetworkPart { name: "wide", build: wide, ..NETWORK }).unwrap();
    assert!(checked(&known).is_ok());
}

/// Gives what it is given.
struct Wide(Layout);

impl Architecture for Wide {
    fn layout(&self) -> &Layout {
        &self.0
    }

    fn forward(&self, _: &Weights, input: &Tensor, _: Mode) -> Result<Tensor, NetworkError> {
        Ok(input.shallow_clone())
    }
}
