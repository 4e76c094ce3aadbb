//! Cases and a model to boxes.

use serde::Deserialize;

use super::infer::{Infer, PARTS, PREPARE, Prepare, sides};
use super::origin::{self, DeclaredModel, FILE, ModelFile, ModelSource};
use crate::networks::{FindOptions, InferOptions, Thresholds};
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

/// The declaration of the type `detect`.
pub static SPEC: Spec = Spec {
    name: "detect",
    section: Section::Operators,
    summary: "Finds boxes with a trained detector, each with a class and a score, on the scan's original \
              grid.",
    doc: "The network (`network = { type = \"rcnn\" }` of `train`) looks at every slice of the volume \
          together with its neighbours, as in the samples of its training; beyond an end the end slice is \
          repeated. Each slice goes through the backbone once, whatever the number of stacks in a bag, since \
          features are kept for the neighbours.\n\n\
          The edges of boxes are in voxels of the scan as it was assembled: the first voxel begins at 0. \
          Each slice of that scan has the boxes of the nearest slice that the network saw, and none if that \
          is more than half a slice away. A scan whose slices the preparation turned into another plane is \
          refused as `GRID_MISMATCH`, and one for which a score is not finite as `NOT_FINITE`.\n\n\
          The table `detections` has a row for each box.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::Is(Kind::Detections),
    aspects: Aspects::Labels,
    fields: &[
        Field {
            name: "model",
            kind: FieldKind::Either(&[FieldKind::Stage(Kind::Model), FieldKind::Table(FILE)]),
            default: Default::Required,
            role: Role::Semantic,
            doc: "The stage that gives the model, or a model file that `train` wrote: `{ safetensors = \
                  \"net.safetensors\" }`.",
        },
        Field {
            name: "score",
            kind: FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
            default: Default::Json("0.05"),
            role: Role::Semantic,
            doc: "The score that a box must exceed to be kept; with 0 all boxes are kept, as a curve of \
                  sensitivity (FROC) needs them.",
        },
        Field {
            name: "overlap",
            kind: FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
            default: Default::Json("0.5"),
            role: Role::Semantic,
            doc: "The intersection over union above which, of two boxes of a class, the one with the lower \
                  score is removed (non-maximum suppression).",
        },
        Field {
            name: "most",
            kind: FieldKind::Integer { min: 0, max: 100_000 },
            default: Default::Json("100"),
            role: Role::Semantic,
            doc: "The greatest number of boxes of a slice, those with the highest scores; with 0 all are \
                  kept.",
        },
        Field {
            name: "slices",
            kind: FieldKind::Choice(&["all", "marked"]),
            default: Default::Json("\"all\""),
            role: Role::SemanticLater,
            doc: "The slices that the network looks at: all of them (`all`), or those on which something is \
                  labelled, as the key slices of DeepLesion (`marked`). With `marked` results depend on the \
                  case's labels, and a case without labels is refused as `NO_LABELS`.",
        },
        PARTS,
        PREPARE,
        Field {
            name: "batch",
            kind: FieldKind::Integer { min: 1, max: 4096 },
            default: Default::Json("4"),
            role: Role::Operational,
            doc: "The number of slices that go through the backbone together.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

#[derive(Deserialize)]
struct Declared {
    model: DeclaredModel,
    score: f64,
    overlap: f64,
    most: usize,
    slices: Slices,
    #[serde(default)]
    parts: Vec<String>,
    prepare: Prepare,
    batch: usize,
}

/// The slices that are looked at.
#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Slices {
    All,
    Marked,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let Declared { model, score, overlap, most, slices, parts, prepare, batch } =
        crate::operators::read_config(config)?;
    let model = origin::source(model).map_err(|problem| vec![problem])?;
    let sides = sides(&parts, &model).map_err(|problem| vec![problem])?;
    if model.files().iter().any(|file| matches!(file, ModelFile::Torchscript { .. })) {
        let message = "a model that `train` wrote expected, a TorchScript network found";
        let hint = "`{ safetensors = \"net.safetensors\" }`";
        return Err(vec![FieldProblem::new("model", message, hint)]);
    }
    if prepare == Prepare::Model && matches!(model, ModelSource::Stages(_)) {
        let message = "a safetensors file's card says how scans are prepared, a stage found";
        let hint = "leave `prepare` out, and prepare scans in stages before this one";
        return Err(vec![FieldProblem::new("prepare", message, hint)]);
    }
    let options = InferOptions { batch, ..InferOptions::default() };
    let boxes = Some(FindOptions { score, overlap, most });
    let marked = slices == Slices::Marked;
    Ok(Stage::Infer(Infer {
        model,
        options,
        thresholds: Thresholds::default(),
        out_of_fold: false,
        sides,
        prepare,
        follows: None,
        boxes,
        marked,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn built(model: Value, prepare: &str) -> Result<Infer, Vec<FieldProblem>> {
        let config = json!({
            "model": model, "score": 0.2, "overlap": 0.4, "most": 0, "slices": "all", "prepare": prepare, "batch": 2,
        });
        match build(config.as_object().unwrap())? {
            Stage::Infer(infer) => Ok(infer),
            _ => panic!("an inference expected"),
        }
    }

    #[test]
    fn it_is_an_inference_that_gives_boxes() {
        let infer = built(json!("net"), "pipeline").unwrap();
        assert_eq!(infer.boxes, Some(FindOptions { score: 0.2, overlap: 0.4, most: 0 }));
        assert_eq!(infer.options.batch, 2);
        assert_eq!(built(json!("net"), "model").err().unwrap()[0].field, "prepare");
        let script = json!({ "torchscript": "n.pt", "view": { "type": "stack", "slices": 3, "stride": 1 }, "labels": ["a"] });
        assert_eq!(built(script, "pipeline").err().unwrap()[0].field, "model");
    }
}
