//! Cases and a model to masks.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tomoflow_connectors::Digest;

use super::registry::{Entry, Stage};
use super::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::networks::{Blend, Convention, InferOptions, InputView};

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
    doc: "A network of windows walks through the volume. By MONAI's convention windows lie every \
          `size * (1 - overlap)` voxels, the last shifted back, and logits are blended by a Gaussian of σ = 0.125 of \
          the window around its middle, at least 0.001. By nnU-Net's windows are evenly spread, no farther apart \
          than `size * (1 - overlap)` voxels, and the same Gaussian stands on the voxel `size / 2` without a least \
          weight. Where a volume is smaller than a window both pad it with zeros on either side. A network of \
          stacks or bags takes the volume slice by slice.\n\n\
          With `flips` the network sees each window mirrored along every combination of these axes, and the logits, \
          mirrored back, are averaged before they are blended, as nnU-Net does. Several models are an ensemble: \
          their logits are averaged, as nnU-Net does with its folds.\n\n\
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
            kind: FieldKind::Either(&[
                FieldKind::Stage(Kind::Model),
                FieldKind::Table(FILE),
                FieldKind::List { of: &FieldKind::Table(FILE), len: None },
            ]),
            default: Default::Required,
            role: Role::Semantic,
            doc: "The stage that gives the model, or a file: `{ safetensors = \"net.safetensors\" }`; a list of files \
                  of the same view and labels is an ensemble.",
        },
        Field {
            name: "overlap",
            kind: FieldKind::Number { min: 0.0, max: 0.95, unit: "" },
            default: Default::Json("0.25"),
            role: Role::Semantic,
            doc: "The share of a window that its neighbour covers again.",
        },
        Field {
            name: "convention",
            kind: FieldKind::Choice(&["monai", "nnunet"]),
            default: Default::Json("\"monai\""),
            role: Role::SemanticLater,
            doc: "Whose placement and Gaussian windows follow.",
        },
        Field {
            name: "blend",
            kind: FieldKind::Choice(&["gaussian", "constant"]),
            default: Default::Json("\"gaussian\""),
            role: Role::SemanticLater,
            doc: "How windows that overlap are weighed: less towards their edges, or alike.",
        },
        Field {
            name: "flips",
            kind: FieldKind::List { of: &FieldKind::Choice(&["d", "h", "w"]), len: None },
            default: Default::Json("[]"),
            role: Role::SemanticLater,
            doc: "Axes that the input is mirrored along as well; with three of them a network runs eight times.",
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
    /// A file, or several that are an ensemble.
    Files(Vec<ModelFile>),
}

impl ModelSource {
    /// The files; none of a stage.
    pub fn files(&self) -> &[ModelFile] {
        match self {
            Self::Stage(_) => &[],
            Self::Files(files) => files,
        }
    }

    /// What names files of these contents: the content itself of a single one.
    pub fn content(files: &[Digest]) -> Digest {
        match files {
            [file] => *file,
            _ => Digest::of_parts(files.iter().map(|file| file.0.as_slice())),
        }
    }
}

/// A model in a file.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelFile {
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

impl ModelFile {
    /// The file, as written in the pipeline.
    pub fn path(&self) -> &Path {
        match self {
            Self::Torchscript { path, .. } | Self::Safetensors { path } => path,
        }
    }
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
    Ensemble(Vec<DeclaredFile>),
    File(DeclaredFile),
}

#[derive(Deserialize)]
struct DeclaredFile {
    torchscript: Option<PathBuf>,
    safetensors: Option<PathBuf>,
    view: Option<InputView>,
    classes: Option<usize>,
    labels: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Declared {
    model: DeclaredModel,
    overlap: f64,
    batch: usize,
    convention: Convention,
    blend: Blend,
    flips: Vec<String>,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let declared: Declared = super::read_config(config)?;
    let model = source(declared.model).map_err(|problem| vec![problem])?;
    let flips = ["d", "h", "w"].map(|axis| declared.flips.iter().any(|flip| flip == axis));
    if flips.iter().filter(|flip| **flip).count() < declared.flips.len() {
        let message = format!("each axis once expected, {:?} found", declared.flips);
        return Err(vec![FieldProblem::new("flips", message, "e.g. flips = [\"h\", \"w\"]")]);
    }
    let Declared { overlap, batch, convention, blend, .. } = declared;
    let options = InferOptions { overlap, batch, convention, blend, flips };
    Ok(Stage::Infer(Infer { model, options }))
}

fn source(declared: DeclaredModel) -> Result<ModelSource, FieldProblem> {
    let files = match declared {
        DeclaredModel::Stage(name) => return Ok(ModelSource::Stage(name)),
        DeclaredModel::File(declared) => vec![file(declared)?],
        DeclaredModel::Ensemble(declared) => declared.into_iter().map(file).collect::<Result<_, _>>()?,
    };
    // What the cards of other models say is seen when they are loaded.
    let mut said = files.iter().filter_map(|file| match file {
        ModelFile::Torchscript { view, label_names, .. } => Some((view, label_names)),
        ModelFile::Safetensors { .. } => None,
    });
    let first = said.next();
    let message = match files.is_empty() {
        true => "at least one file expected, none found",
        false if said.any(|other| Some(other) != first) => {
            "the models of an ensemble differ in `view` or `labels`"
        }
        false => return Ok(ModelSource::Files(files)),
    };
    Err(FieldProblem::new("model", message, "the models of an ensemble see and give the same"))
}

fn file(declared: DeclaredFile) -> Result<ModelFile, FieldProblem> {
    let DeclaredFile { torchscript, safetensors, view, classes, labels } = declared;
    match (torchscript, safetensors) {
        (Some(path), None) => torchscript_source(path, view, classes, labels),
        (None, Some(path)) => match (view, classes, labels) {
            (None, None, None) => Ok(ModelFile::Safetensors { path }),
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
) -> Result<ModelFile, FieldProblem> {
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
    Ok(ModelFile::Torchscript { path, view, classes, label_names })
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
        stage_with(model, json!([]))
    }

    fn stage_with(model: Value, flips: Value) -> Result<Infer, Vec<FieldProblem>> {
        let config = json!({
            "model": model, "overlap": 0.25, "batch": 4, "convention": "nnunet", "blend": "constant",
            "flips": flips,
        });
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
        let expected = ModelSource::Files(vec![ModelFile::Safetensors { path: "n".into() }]);
        assert_eq!(stage(safetensors).unwrap().model, expected);
        let script = json!({ "torchscript": "n.pt", "view": { "type": "stack", "slices": 3, "stride": 1 }, "labels": ["a"] });
        let expected = ModelSource::Files(vec![ModelFile::Torchscript {
            path: "n.pt".into(),
            view: InputView::Stack { slices: 3, stride: 1 },
            classes: 2,
            label_names: vec!["a".to_owned()],
        }]);
        assert_eq!(stage(script).unwrap().model, expected);
    }

    #[test]
    fn a_list_of_files_is_an_ensemble() {
        let script = |label: &str| json!({ "torchscript": "n.pt", "view": { "type": "patch", "size": [8, 8, 8] }, "labels": [label] });
        let found = stage(json!([script("a"), { "safetensors": "n" }, script("a")])).unwrap().model;
        assert_eq!(found.files().len(), 3);
        for model in [json!([]), json!([script("a"), script("b")])] {
            assert_eq!(stage(model).err().unwrap()[0].field, "model");
        }
        let [a, b] = [b"a", b"b"].map(|bytes| Digest::of(bytes));
        assert_eq!(ModelSource::content(&[a]), a);
        assert_ne!(ModelSource::content(&[a, b]), ModelSource::content(&[b, a]));
    }

    #[test]
    fn options_are_what_was_declared() {
        let options = stage_with(json!("net"), json!(["w", "d"])).unwrap().options;
        assert_eq!((options.convention, options.blend), (Convention::Nnunet, Blend::Constant));
        assert_eq!(options.flips, [true, false, true]);
        assert_eq!(stage_with(json!("net"), json!(["w", "w"])).err().unwrap()[0].field, "flips");
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
