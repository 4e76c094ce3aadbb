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
        doc: "A file of named numbers, relative to the pipeline file: a model that `train` wrote, or weights of anybody. \
              Numbers of 16 and 64 bits become such of 32. Pickled weights (`.pt`, `.pth`) are a program and are refused, \
              with the few lines that convert them.",
    },
    Field::absent(
        "names",
        FieldKind::Either(&[FieldKind::Choice(&["torchvision"]), FieldKind::Map(&FieldKind::Text)]),
        Role::SemanticLater,
        "How the file's names become the network's, where they are not the same: `\"torchvision\"` for its residual networks \
         and detectors of any version, which `rcnn` begins with, or a table of prefixes, the file's and the network's: \
         `{ \"module.\" = \"\" }`.",
    ),
];

/// The field.
pub(super) const START: Field = Field::absent(
    "start",
    FieldKind::Either(&[FieldKind::Stage(Kind::Model), FieldKind::Table(FILE)]),
    Role::SemanticLater,
    "The weights that training begins with: another stage of type `train`, or a file: `{ safetensors = \"weights.safetensors\" }`. \
     Tensors of the same name and shape are taken, all others begin as without it. What was loaded, missing, of another \
     shape or unused is told in the log, in `rejects` and in the training's figures; that nothing is loaded is an error. \
     Another model of that stage, or another file, has the network trained anew.",
);

/// The field beside it.
pub(super) const FREEZE: Field = Field {
    name: "freeze",
    kind: FieldKind::List { of: &FieldKind::Text, len: None },
    default: Default::Json("[]"),
    role: Role::SemanticLater,
    doc: "The beginnings of the names of tensors that stay as `start` gave them, to the byte: `[\"encoder.\"]`. Their gradient \
          has no part in `clip_norm`, their weights do not decay, and norms over the batch use their running statistics in \
          training too, as in inference. All of them must have been loaded. It takes no less time.",
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
