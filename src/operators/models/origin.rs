//! The source of an inference's weights: a stage, a file, or several of one kind that are an ensemble.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tomoflow_connectors::Digest;

use crate::networks::{Activation, InputView};
use crate::operators::spec::{Field, FieldKind, FieldProblem, Role};

const LENGTH: FieldKind = FieldKind::Integer { min: 1, max: 4096 };

const VIEWS: &[(&str, &[Field])] = &[
    (
        "patch",
        &[Field::required(
            "size",
            FieldKind::List { of: &LENGTH, len: Some(3) },
            "The size of a window in voxels, `[D, H, W]`.",
        )],
    ),
    (
        "stack",
        &[
            Field::required("slices", LENGTH, "The number of slices that are channels, an odd number."),
            Field::required(
                "stride",
                LENGTH,
                "The distance from one slice to the next, in slices of the \
                                               volume.",
            ),
        ],
    ),
    (
        "bag",
        &[
            Field::required("stacks", LENGTH, "The number of stacks in the bag, an odd number."),
            Field::required("slices", LENGTH, "The number of slices in each stack, an odd number."),
            Field::required(
                "gap",
                LENGTH,
                "The number of slices from the centre of one stack to the centre of the next.",
            ),
        ],
    ),
];

pub(super) const FILE: &[Field] = &[
    Field::absent(
        "torchscript",
        FieldKind::Path,
        Role::Operational,
        "A TorchScript file, by its path relative to the pipeline file; it needs `view` and `labels`. \
         TorchScript is a program that may read and write your files: use it only from people whom you \
         trust, and prefer `safetensors`, which holds only numbers.",
    ),
    Field::absent(
        "safetensors",
        FieldKind::Path,
        Role::Operational,
        "A model file that `train` wrote, by its path relative to the pipeline file; its card holds \
         everything else.",
    ),
    Field::absent(
        "view",
        FieldKind::Tagged(VIEWS),
        Role::Semantic,
        "The form in which a TorchScript network takes a volume: windows (`patch`), stacks of slices \
         (`stack`) or bags of stacks (`bag`).",
    ),
    Field::absent(
        "classes",
        FieldKind::Integer { min: 1, max: 65536 },
        Role::Semantic,
        "The number of classes of a TorchScript network, background included; when it is left out, one more than `labels`.",
    ),
    Field::absent(
        "labels",
        FieldKind::List { of: &FieldKind::Text, len: None },
        Role::Semantic,
        "The names of a TorchScript network's labels, from label 1 on.",
    ),
    Field::absent(
        "activation",
        FieldKind::Choice(&["softmax", "sigmoid"]),
        Role::SemanticLater,
        "The meaning of a TorchScript network's logits: one channel for each class, the background first \
         (`softmax`, which is taken when it is left out), or one channel for each label (`sigmoid`).",
    ),
];

/// The place where the weights come from.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelSource {
    /// The stage of this name, or several whose models are an ensemble.
    Stages(Vec<String>),
    /// A file, or several that are an ensemble.
    Files(Vec<ModelFile>),
}

impl ModelSource {
    /// The files; none of a stage.
    pub fn files(&self) -> &[ModelFile] {
        match self {
            Self::Stages(_) => &[],
            Self::Files(files) => files,
        }
    }

    /// Returns what names models of these contents: the content itself of a single one.
    pub fn content(models: &[Digest]) -> Digest {
        match models {
            [model] => *model,
            _ => Digest::of_parts(models.iter().map(|model| model.0.as_slice())),
        }
    }

    /// The models of an ensemble of stages as they are run: in the order of their content, since the last bits
    /// of a mean hang on its order, and that of their declaration should decide nothing; and one where all are
    /// the same, whose mean it is.
    pub fn in_order(models: impl IntoIterator<Item = Digest>) -> Vec<Digest> {
        let mut models: Vec<Digest> = models.into_iter().collect();
        models.sort_unstable();
        if models.first() == models.last() {
            models.truncate(1);
        }
        models
    }
}

/// A model in a file.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelFile {
    /// A TorchScript file.
    Torchscript {
        /// The file, as written in the pipeline.
        path: PathBuf,
        /// How a volume is shown to the model.
        view: InputView,
        /// The channels of its logits: classes with the background, or labels.
        classes: usize,
        /// What the model's logits are of.
        activation: Activation,
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

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum DeclaredModel {
    Stage(String),
    Stages(Vec<String>),
    Ensemble(Vec<DeclaredFile>),
    File(DeclaredFile),
}

#[derive(Deserialize)]
pub(super) struct DeclaredFile {
    torchscript: Option<PathBuf>,
    safetensors: Option<PathBuf>,
    view: Option<InputView>,
    classes: Option<usize>,
    labels: Option<Vec<String>>,
    #[serde(default)]
    activation: Option<Activation>,
}

/// The model that was declared.
pub(super) fn source(declared: DeclaredModel) -> Result<ModelSource, FieldProblem> {
    let files = match declared {
        DeclaredModel::Stage(name) => return Ok(ModelSource::Stages(vec![name])),
        DeclaredModel::Stages(names) if !names.is_empty() => return Ok(ModelSource::Stages(names)),
        DeclaredModel::Stages(_) => Vec::new(),
        DeclaredModel::File(declared) => vec![file(declared)?],
        DeclaredModel::Ensemble(declared) => declared.into_iter().map(file).collect::<Result<_, _>>()?,
    };
    // The cards of other models are read only when these are loaded.
    let mut said = files.iter().filter_map(|file| match file {
        ModelFile::Torchscript { view, label_names, activation, .. } => Some((view, label_names, activation)),
        ModelFile::Safetensors { .. } => None,
    });
    let first = said.next();
    let message = match files.is_empty() {
        true => "at least one model expected, none found",
        false if said.any(|other| Some(other) != first) => {
            "the models of an ensemble differ in `view`, `labels` or `activation`"
        }
        false => return Ok(ModelSource::Files(files)),
    };
    Err(FieldProblem::new("model", message, "the models of an ensemble see and give the same"))
}

fn file(declared: DeclaredFile) -> Result<ModelFile, FieldProblem> {
    let DeclaredFile { torchscript, safetensors, view, classes, labels, activation } = declared;
    match (torchscript, safetensors) {
        (Some(path), None) => torchscript_source(path, view, (classes, activation), labels),
        (None, Some(path)) => match (view, classes.map(drop).or(activation.map(drop)), labels) {
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
    (classes, activation): (Option<usize>, Option<Activation>),
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
    let activation = activation.unwrap_or_default();
    let wanted = activation.channels(label_names.len());
    let classes = classes.unwrap_or(wanted);
    if activation.overlaps()
        && (label_names.is_empty() || classes != wanted || classes > Activation::MOST_HEADS)
    {
        return Err(FieldProblem::new(
            "model.labels",
            format!(
                "a name for each head, 1 to {} of them, expected, {} for {classes} found",
                Activation::MOST_HEADS,
                label_names.len()
            ),
            "e.g. labels = [\"tumour\"] for a network of one channel",
        ));
    }
    if label_names.is_empty() || classes != wanted {
        return Err(FieldProblem::new(
            "model.labels",
            format!("a name for each class but the background expected, {} found", label_names.len()),
            "e.g. labels = [\"tumour\"] for two classes",
        ));
    }
    Ok(ModelFile::Torchscript { path, view, classes, activation, label_names })
}

fn view_fits(view: &InputView) -> Result<(), FieldProblem> {
    let odd = |field: &str, count: usize| {
        if count % 2 == 1 {
            return Ok(());
        }
        let message = format!("an odd number expected, {count} found");
        Err(FieldProblem::new(
            &format!("model.view.{field}"),
            message,
            "the target is the middle one, with as many on each side",
        ))
    };
    match *view {
        InputView::Patch { .. } => Ok(()),
        InputView::Stack { slices, .. } => odd("slices", slices),
        InputView::Bag { stacks, slices, .. } => odd("stacks", stacks).and(odd("slices", slices)),
    }
}
