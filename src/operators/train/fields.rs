//! What a training can be told.

use crate::operators::spec::{Default, Field, FieldKind, Role};

const fn field(name: &'static str, kind: FieldKind, default: &'static str, doc: &'static str) -> Field {
    Field { name, kind, default: Default::Json(default), role: Role::Semantic, doc }
}

const fn later(name: &'static str, kind: FieldKind, role: Role, doc: &'static str) -> Field {
    Field { name, kind, default: Default::Absent, role, doc }
}

const COUNT: FieldKind = FieldKind::Integer { min: 1, max: 1_000_000_000 };
const COUNT_OR_NONE: FieldKind = FieldKind::Integer { min: 0, max: 1_000_000_000 };

const UNET: &[Field] = &[
    field(
        "dims",
        FieldKind::Choice(&["2d", "2.5d", "3d"]),
        "\"2.5d\"",
        "Which levels see across slices: none, all but the first two, or all. Kernels are 1x3x3 or 3x3x3, pools 1x2x2 or 2x2x2.",
    ),
    field("levels", FieldKind::Integer { min: 1, max: 8 }, "5", "Levels, full resolution included."),
    field(
        "channels",
        FieldKind::Either(&[
            FieldKind::Integer { min: 1, max: 512 },
            FieldKind::List { of: &FieldKind::Integer { min: 1, max: 4096 }, len: None },
        ]),
        "16",
        "Feature channels: a number n gives level l n * l of them, a list one number for each level.",
    ),
    field(
        "attention",
        FieldKind::Choice(&["off", "unsupervised", "supervised"]),
        "\"off\"",
        "Attention maps on the decoder's features; `supervised` also compares them with the foreground.",
    ),
    field(
        "variant",
        FieldKind::Choice(&["paper"]),
        "\"paper\"",
        "How levels are joined: `paper` pools by maximum and deconvolves.",
    ),
];

const HARDNESS: &[Field] = &[field(
    "lambda",
    FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
    "0.6",
    "How much more a wrong voxel counts than a right one; 0 is plain Dice.",
)];

const SHARE: FieldKind =
    FieldKind::Either(&[COUNT_OR_NONE, FieldKind::Number { min: 0.0, max: 1.0, unit: "" }]);

const SPLIT: &[Field] = &[
    field("train", SHARE, "0.7", "Patients to train on: a count, or a share of all."),
    field("validation", SHARE, "0.1", "Patients that choose the best epoch."),
    field("test", SHARE, "0.2", "Patients that training never sees; those left over are among them."),
    field("seed", COUNT_OR_NONE, "0", "Of who comes where."),
    later(
        "folds",
        FieldKind::Integer { min: 2, max: 1000 },
        Role::SemanticLater,
        "Folds of all patients but those of `test`, which are the same for each fold. They differ by one patient at \
         most, and a patient who comes moves few of the others to another one.",
    ),
    later(
        "fold",
        FieldKind::Integer { min: 0, max: 999 },
        Role::SemanticLater,
        "The fold, from 0 on, whose patients choose the best epoch; the others are trained on.",
    ),
    later(
        "stratify",
        FieldKind::Choice(&["vendor", "scanner", "modality", "spacing"]),
        Role::SemanticLater,
        "What parts and folds hold alike shares of: the scanner's maker (the first word of its name) or model, the \
         modality, or the distance between slices in classes of a factor √2. It is what is known of a scan before \
         its labels are drawn; their volume is not.",
    ),
    later(
        "file",
        FieldKind::Path,
        Role::Operational,
        "A file that says it instead, read when a run starts; results depend on what it decides. A CSV has the \
         columns `patient` or `series` (identifiers as the scans have them) and `part` (`train`, `validation` or \
         `test`), or `fold`, where nothing is for `test`; a `.json` is nnU-Net's `splits_final.json`. With folds \
         `fold` says which. Who is not named is in `test`. A patient whose series stand in several parts is in the \
         one that training sees least of, and the other series are told of as `TORN_PATIENT`.",
    ),
];

const RETRAIN: &[Field] = &[Field {
    name: "new_cases",
    kind: COUNT,
    default: Default::Required,
    role: Role::Operational,
    doc: "Labelled cases that the model has not seen, from which on it is trained anew.",
}];

pub(super) const FIELDS: &[Field] = &[
    field(
        "network",
        FieldKind::Tagged(&[("unet", UNET)]),
        r#"{"type":"unet","dims":"2.5d","levels":5,"channels":16,"attention":"off","variant":"paper"}"#,
        "The architecture.",
    ),
    field(
        "loss",
        FieldKind::Tagged(&[("dice", &[]), ("hardness_dice", HARDNESS)]),
        r#"{"type":"dice"}"#,
        "What training minimises, the mean over samples and classes.",
    ),
    field(
        "attention_weight",
        FieldKind::Number { min: 0.0, max: 1000.0, unit: "" },
        "1.0",
        "The weight of the loss of supervised attention maps.",
    ),
    field("epochs", COUNT, "300", "Passes over the training samples, at most."),
    field("batch", FieldKind::Integer { min: 1, max: 4096 }, "2", "Samples in one step."),
    field(
        "learning_rate",
        FieldKind::Number { min: 0.0, max: 10.0, unit: "" },
        "0.0001",
        "Of Adam, at the start.",
    ),
    field(
        "weight_decay",
        FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        "1e-7",
        "Of Adam, added to the gradient.",
    ),
    field(
        "halve_every",
        COUNT_OR_NONE,
        "10000",
        "Steps after which the learning rate is halved; 0 for never.",
    ),
    field(
        "patience",
        COUNT_OR_NONE,
        "0",
        "Epochs without a better validation Dice after which training stops; 0 for never.",
    ),
    field("seed", COUNT_OR_NONE, "0", "Of the first weights and of the order of samples."),
    field(
        "split",
        FieldKind::Table(SPLIT),
        r#"{"train":0.7,"validation":0.1,"test":0.2,"seed":0}"#,
        "Who is trained on, by patient, so that no patient stands on both sides.",
    ),
    Field {
        name: "retrain",
        kind: FieldKind::Either(&[FieldKind::Choice(&["never", "always"]), FieldKind::Table(RETRAIN)]),
        default: Default::Json("\"never\""),
        role: Role::Operational,
        doc: "When a trained model is trained anew as its cases change: never, always, or once so many labelled cases \
              stand beside those that it has seen: `{ new_cases = 20 }`. Until the new one is there, the one before \
              is used.",
    },
];
