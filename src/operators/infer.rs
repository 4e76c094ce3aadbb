//! Cases and a model to masks.

use std::path::PathBuf;

use serde::Deserialize;

use super::registry::{Entry, Stage};
use super::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::networks::{InferOptions, InputView};

const LENGTH: FieldKind = FieldKind::Integer { min: 1, max: 4096 };

const fn required(name: &'static str, kind: FieldKind, doc: &'static str) -> Field {
    Field { name, kind, default: Default::Required, role: Role::Semantic, doc }
}

const fn absent(name: &'static str, kind: FieldKind, role: Role, doc: &'static str) -> Field {
    Field { name, kind, default: Default::Absent, role, doc }
}

const VIEWS: &[(&str, &[Field])] = &[
    (
        "patch",
        &[required(
            "size",
            FieldKind::List { of: &LENGTH, len: Some(3) },
            "Voxels of a window, `[D, H, W]`.",
        )],
    ),
    (
        "stack",
        &[
            required("slices", LENGTH, "Adjacent slices as channels, odd."),
            required("stride", LENGTH, "Slices from one channel to the next."),
        ],
    ),
    (
        "bag",
        &[
            required("stacks", LENGTH, "Stacks around the target, odd."),
            required("slices", LENGTH, "Slices of one stack, odd."),
            required("gap", LENGTH, "Slices between the centres of neighbouring stacks."),
        ],
    ),
];

const FILE: &[Field] = &[
    absent(
        "torchscript",
        FieldKind::Path,
        Role::Operational,
        "A TorchScript file, relative to the pipeline file; it needs `view` and `labels`.",
    ),
    absent(
        "safetensors",
        FieldKind::Path,
        Role::Operational,
        "A model that `train` wrote, relative to the pipeline file; its card says the rest.",
    ),
    absent(
        "view",
        FieldKind::Tagged(VIEWS),
        Role::Semantic,
        "How a volume is shown to a TorchScript network.",
    ),
    absent(
        "classes",
        FieldKind::Integer { min: 2, max: 65536 },
        Role::Semantic,
        "Classes of a TorchScript network, background included; one more than `labels` when left out.",
    ),
    absent(
        "labels",
        FieldKind::List { of: &FieldKind::Text, len: None },
        Role::Semantic,
        "The names of a TorchScript network's labels, from label 1 on.",
    ),
];

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "infer",
    section: Section::Operators,
    summary: "Masks from a trained network, on the scan's original grid.",
    doc: "A network of windows walks through the volume as MONAI's does: windows every `size * (1 - overlap)` \
          voxels, the last shifted back, logits blended by a Gaussian of σ = 0.125 of the window. A network \
          of stacks or bags takes the volume slice by slice.\n\n\
          A TorchScript network takes `[N, 1, D, H, W]` for windows and `[N, channels, H, W]` for stacks and \
          bags, and gives logits `[N, classes, …]` on the same grid; where it gives a tuple, the first is \
          taken.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[
        Field {
            name: "model",
            kind: FieldKind::Either(&[FieldKind::Stage(Kind::Model), FieldKind::Table(FILE)]),
            default: Default::Required,
            role: Role::Semantic,
            doc: "The stage that gives the model, or a file: `{ safetensors = \"net.safetensors\" }`.",
        },
        Field {
            name: "overlap",
            kind: FieldKind::Number { min: 0.0, max: 0.95, unit: "" },
            default: Default::Json("0.25"),
            role: Role::Semantic,
            doc: "The share of a window that its neighbour covers again.",
        },
        Field {
            name: "batch",
            kind: FieldKind::Integer { min: 1, max: 4096 },
            default: Default::Json("4"),
            role: Role::Operational,
            doc: "Windows or slices in one pass through the network.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// Where the weights come from.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelSource {
    /// The stage of this name.
    Stage(String),
    /// A TorchScript file.
    Torchscript {
        /// The file, as written in the pipeline.
        path: PathBuf,
        /// How a volume is shown to it.
        view: InputView,
        /// Classes, background included.
        classes: usize,
        /// The names of the labels, from label 1 on.
        label_names: Vec<String>,
    },
    /// A model that `train` wrote.
    Safetensors {
        /// The file, as written in the pipeline.
        path: PathBuf,
    },
}

/// An inference.
#[derive(Clone, Debug)]
pub struct Infer {
    /// Where the weights come from.
    pub model: ModelSource,
    /// How a volume is walked through.
    pub options: InferOptions,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DeclaredModel {
    Stage(String),
    File {
        torchscript: Option<PathBuf>,
        safetensors: Option<PathBuf>,
        view: Option<InputView>,
        classes: Option<usize>,
        labels: Option<Vec<String>>,
    },
}

#[derive(Deserialize)]
struct Declared {
    model: DeclaredModel,
    overlap: f64,
    batch: usize,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let declared: Declared = super::read_config(config)?;
    let model = source(declared.model).map_err(|problem| vec![problem])?;
    let options = InferOptions { overlap: declared.overlap, batch: declared.batch };
    Ok(Stage::Infer(Infer { model, options }))
}

fn source(declared: DeclaredModel) -> Result<ModelSource, FieldProblem> {
    let (torchscript, safetensors, view, classes, labels) = match declared {
        DeclaredModel::Stage(name) => return Ok(ModelSource::Stage(name)),
        DeclaredModel::File { torchscript, safetensors, view, classes, labels } => {
            (torchscript, safetensors, view, classes, labels)
        }
    };
    match (torchscript, safetensors) {
        (Some(path), None) => torchscript_source(path, view, classes, labels),
        (None, Some(path)) => match (view, classes, labels) {
            (None, None, None) => Ok(ModelSource::Safetensors { path }),
            _ => Err(FieldProblem::new(
                "model.safetensors",
                "`view`, `classes` and `labels` stand in the model's own card",
                "leave them out",
            )),
        },
        _ => Err(FieldProblem::new(
            "model",
            "one of `torchscript` and `safetensors` expected",
            "or the name of a stage of type `train`",
        )),
    }
}

fn torchscript_source(
    path: PathBuf,
    view: Option<InputView>,
    classes: Option<usize>,
    labels: Option<Vec<String>>,
) -> Result<ModelSource, FieldProblem> {
    let Some(view) = view else {
        return Err(FieldProblem::new(
            "model.view",
            "a TorchScript file does not say how a volume is shown to it",
            "e.g. view = { type = \"patch\", size = [32, 96, 96] }",
        ));
    };
    view_fits(&view)?;
    let label_names = labels.unwrap_or_default();
    let classes = classes.unwrap_or(label_names.len() + 1);
    if label_names.is_empty() || classes != label_names.len() + 1 {
        return Err(FieldProblem::new(
            "model.labels",
            format!("a name for each class but the background expected, {} found", label_names.len()),
            "e.g. labels = [\"tumour\"] for two classes",
        ));
    }
    Ok(ModelSource::Torchscript { path, view, classes, label_names })
}

fn view_fits(view: &InputView) -> Result<(), FieldProblem> {
    let odd = |field: &str, count: usize| {
        if count % 2 == 1 {
            return Ok(());
        }
        let message = format!("an odd number expected, {count} found");
        Err(FieldProblem::new(&format!("model.view.{field}"), message, "the target is the middle one"))
    };
    match *view {
        InputView::Patch { .. } => Ok(()),
        InputView::Stack { slices, .. } => odd("slices", slices),
        InputView::Bag { stacks, slices, .. } => odd("stacks", stacks).and(odd("slices", slices)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn stage(model: Value) -> Result<Infer, Vec<FieldProblem>> {
        let config = json!({ "model": model, "overlap": 0.25, "batch": 4 });
        match build(config.as_object().unwrap())? {
            Stage::Infer(infer) => Ok(infer),
            _ => panic!("expected an inference"),
        }
    }

    #[test]
    fn a_model_is_a_stage_or_a_file() {
        assert_eq!(stage(json!("net")).unwrap().model, ModelSource::Stage("net".to_owned()));
        let safetensors =
            json!({ "torchscript": null, "safetensors": "n", "view": null, "classes": null, "labels": null });
        assert_eq!(stage(safetensors).unwrap().model, ModelSource::Safetensors { path: "n".into() });
        let script = json!({ "torchscript": "n.pt", "view": { "type": "stack", "slices": 3, "stride": 1 }, "labels": ["a"] });
        let expected = ModelSource::Torchscript {
            path: "n.pt".into(),
            view: InputView::Stack { slices: 3, stride: 1 },
            classes: 2,
            label_names: vec!["a".to_owned()],
        };
        assert_eq!(stage(script).unwrap().model, expected);
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let patch = json!({ "type": "patch", "size": [8, 8, 8] });
        for (model, field) in [
            (json!({}), "model"),
            (json!({ "torchscript": "a", "safetensors": "b" }), "model"),
            (json!({ "safetensors": "b", "classes": 2 }), "model.safetensors"),
            (json!({ "torchscript": "a", "labels": ["x"] }), "model.view"),
            (json!({ "torchscript": "a", "view": patch }), "model.labels"),
            (json!({ "torchscript": "a", "view": patch, "labels": ["x"], "classes": 3 }), "model.labels"),
            (
                json!({ "torchscript": "a", "labels": ["x"], "view": { "type": "stack", "slices": 2, "stride": 1 } }),
                "model.view.slices",
            ),
        ] {
            assert_eq!(stage(model).err().unwrap()[0].field, field);
        }
    }
}
