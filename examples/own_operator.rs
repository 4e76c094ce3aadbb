//! A pipeline built in Rust, with an operator of one's own.
//!
//! ```sh
//! cargo run --release --example own_operator
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what came of it")]

use std::error::Error;
use std::sync::Arc;

use serde_json::json;
use tomoflow::connectors::Scan;
use tomoflow::engine::Options;
use tomoflow::engine::run;
use tomoflow::operators::registry::{Entry, Registry, Stage, Transform};
use tomoflow::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use tomoflow::operators::value::{Case, Failure};
use tomoflow::phantom::vs::{VsPhantom, write_archive};
use tomoflow::pipeline::Draft;

/// What the operator declares: the checker, the reference and the action keys are made from it.
static SPEC: Spec = Spec {
    name: "gamma",
    section: Section::Operators,
    summary: "Raises intensities, scaled to 0 to 1, to a power.",
    doc: "A power below 1 spreads the intensities of dark tissue, and one above 1 presses them together.",
    version: 1,
    inputs: &[Port { name: "scans", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Scan,
    fields: &[Field {
        name: "power",
        kind: FieldKind::Number { min: 0.01, max: 100.0, unit: "" },
        default: Default::Json("2.0"),
        role: Role::Semantic,
        doc: "The power to which intensities are raised.",
    }],
};

struct Gamma {
    power: f32,
}

impl Transform for Gamma {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        let voxels = case.scan.voxels();
        let (low, high) = voxels.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
        let range = if high > low { high - low } else { 1.0 };
        let changed = voxels.iter().map(|value| ((value - low) / range).powf(self.power)).collect();
        let scan = Scan::new(case.scan.geometry().clone(), changed)
            .map_err(|error| Failure::new("GRID_MISMATCH", error.to_string(), ""))?;
        Ok(Case { scan: Arc::new(scan), ..case.clone() })
    }
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let power = config.get("power").and_then(serde_json::Value::as_f64).unwrap_or(2.0) as f32;
    Ok(Stage::Transform(Arc::new(Gamma { power })))
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join("tomoflow-own-operator");
    let phantom = VsPhantom { series: 3, first: 0, seed: 1, size: [8, 48, 48], ..VsPhantom::DEFAULT };
    write_archive(&phantom, &folder.join("archive"))?;

    let mut registry = Registry::builtin();
    registry.register(Entry { spec: &SPEC, build });
    let draft = Draft::new("own-operator", "out")
        .source("scans", "dicom", json!({ "path": "archive", "where": { "Modality": "MR" } }))
        .source("outlines", "rtstruct", json!({ "path": "archive", "structures": { "tumour": ["TV"] } }))
        .operator("volume", "assemble", &["scans"], json!({}))
        .operator("case", "label", &["volume", "outlines"], json!({}))
        .operator("spread", "gamma", &["case"], json!({ "power": 0.7 }))
        .operator("bright", "threshold", &["spread"], json!({ "above": 0.6, "label": "tumour" }))
        .operator("scores", "evaluate", &["bright", "case"], json!({ "metrics": ["dice"] }))
        .sink("results", "delta", &["bright", "scores"], json!({}));
    let plan = draft.check(&folder, &registry)?;
    print!("{}", run(plan, &Options::default(), &mut |_| {})?);
    Ok(())
}
