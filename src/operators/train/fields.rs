//! What a training can be told.

use super::networks::{LOSS, NETWORK};
use crate::operators::spec::{Default, Field, FieldKind, Role};

pub(super) const fn field(
    name: &'static str,
    kind: FieldKind,
    default: &'static str,
    doc: &'static str,
) -> Field {
    Field { name, kind, default: Default::Json(default), role: Role::Semantic, doc }
}

const COUNT: FieldKind = FieldKind::Integer { min: 1, max: 1_000_000_000 };
const COUNT_OR_NONE: FieldKind = FieldKind::Integer { min: 0, max: 1_000_000_000 };

const SHARE: FieldKind =
    FieldKind::Either(&[COUNT_OR_NONE, FieldKind::Number { min: 0.0, max: 1.0, unit: "" }]);

const SPLIT: &[Field] = &[
    field("train", SHARE, "0.7", "Patients to train on: a count, or a share of all."),
    field("validation", SHARE, "0.1", "Patients that choose the best epoch."),
    field("test", SHARE, "0.2", "Patients that training never sees; those left over are among them."),
    field("seed", COUNT_OR_NONE, "0", "Of who comes where."),
];

pub(super) const FIELDS: &[Field] = &[
    NETWORK,
    LOSS,
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
        kind: FieldKind::Choice(&["never", "always"]),
        default: Default::Json("\"never\""),
        role: Role::Operational,
        doc: "Whether a trained model is trained anew when its cases change.",
    },
];
