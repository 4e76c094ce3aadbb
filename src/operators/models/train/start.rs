//! The weights that a training begins with.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::networks::{CONVERSION, Names};
use crate::operators::models::origin::{ModelFile, ModelSource};
use crate::operators::spec::{Default, Field, FieldKind, FieldProblem, Kind, Role};

const FILE: &[Field] = &[
    Field {
        name: "safetensors",
        kind: FieldKind::Path,
        default: Default::Required,
        role: Role::Operational,
        doc: "A file of named tensors, by its path relative to the pipeline file: a model that `train` \
              wrote, or weights from elsewhere. Numbers of 16 and 64 bits are converted to 32 bits. Pickled \
              weights (`.pt`, `.pth`) are a program and are refused, with a few lines of Python that convert \
              them.",
    },
    Field::absent(
        "names",
        FieldKind::Either(&[FieldKind::Choice(&["torchvision"]), FieldKind::Map(&FieldKind::Text)]),
        Role::SemanticLater,
        "The translation of the file's tensor names to the network's, if they differ: `\"torchvision\"` for \
         residual networks and detectors of any version of torchvision, for `rcnn`; or a table of prefixes, \
         the file's and the network's: `{ \"module.\" = \"\" }`.",
    ),
];

/// The field.
pub(super) const START: Field = Field::absent(
    "start",
    FieldKind::Either(&[FieldKind::Stage(Kind::Model), FieldKind::Table(FILE)]),
    Role::SemanticLater,
    "The weights with which training begins: those of another stage of type `train`, or of a file: `{ \
     safetensors = \"weights.safetensors\" }`. Tensors of the same name and shape are loaded, and all others \
     begin as without `start`. The log, `rejects` and the figures of the training say which were loaded, \
     missing, of another shape or unused; it is an error if none is loaded. When that stage gives another \
     model, or the file changes, the network is trained again.",
);

/// The field beside it.
pub(super) const FREEZE: Field = Field {
    name: "freeze",
    kind: FieldKind::List { of: &FieldKind::Text, len: None },
    default: Default::Json("[]"),
    role: Role::SemanticLater,
    doc: "The tensors that are not trained, by the beginnings of their names: `[\"encoder.\"]`. They stay \
          exactly as `start` gave them, and all of them must have been loaded. Their gradient has no part in \
          `clip_norm`, their weights do not decay, and their batch norms use the running statistics in \
          training, as in inference. Training takes no less time.",
};

/// The weights that a training begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct Begin {
    /// The stage or the file that the weights come from.
    pub source: ModelSource,
    /// How names of tensors are read.
    pub names: Names,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Declared {
    Stage(String),
    File {
        safetensors: PathBuf,
        #[serde(default)]
        names: Names,
    },
}

/// The endings of files of pickled weights.
const PICKLED: [&str; 6] = ["pt", "pth", "pkl", "pickle", "ckpt", "bin"];

/// Makes the beginning that was declared.
pub(super) fn begin(declared: Declared) -> Result<Begin, FieldProblem> {
    let (path, names) = match declared {
        Declared::Stage(name) => {
            return Ok(Begin { source: ModelSource::Stages(vec![name]), names: Names::Same });
        }
        Declared::File { safetensors, names } => (safetensors, names),
    };
    if is_pickled(&path) {
        let message =
            "a safetensors file expected, by its name this is one of pickled weights, which are a program";
        return Err(FieldProblem::new("start.safetensors", message, CONVERSION));
    }
    Ok(Begin { source: ModelSource::Files(vec![ModelFile::Safetensors { path }]), names })
}

fn is_pickled(path: &Path) -> bool {
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
    PICKLED.iter().any(|pickled| end.eq_ignore_ascii_case(pickled))
}
