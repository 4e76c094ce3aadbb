//! What a training can be told of learning from more than the loss of its outlines.

use crate::operators::spec::{Field, FieldKind, Role};

const SHARE: FieldKind = FieldKind::Number { min: 0.0, max: 1.0, unit: "" };
const WEIGHT: FieldKind = FieldKind::Number { min: 0.0, max: 1000.0, unit: "" };

const ADVERSARIAL: &[Field] = &[
    Field::semantic(
        "critic",
        FieldKind::Choice(&["fcn", "cnn"]),
        "\"fcn\"",
        "What tells outlines from predictions: a network that says it of each voxel (`fcn`), or of a sample (`cnn`).",
    ),
    Field::semantic(
        "critic_width",
        FieldKind::Integer { min: 1, max: 512 },
        "32",
        "The number of channels of its first convolution; the published one has 32.",
    ),
    Field::semantic(
        "critic_rate",
        FieldKind::Number { min: 0.0, max: 10.0, unit: "" },
        "1e-4",
        "Its learning rate; optimizer, schedule, decay and clipping are the network's.",
    ),
    Field::semantic(
        "adversarial",
        WEIGHT,
        "0.03",
        "The weight of what the network learns from it: predictions that it takes for outlines.",
    ),
    Field::semantic(
        "semi",
        WEIGHT,
        "0.3",
        "The weight of what the network learns from scans without outlines: generalised Dice against its own \
         predictions, where the critic takes them for outlines.",
    ),
    Field::semantic(
        "gamma",
        FieldKind::Either(&[SHARE, FieldKind::Choice(&["one_minus_dice"])]),
        "0.2",
        "The probability above which the critic takes a voxel for one of an outline, or `one_minus_dice`: 1 minus the \
         Dice of the last validation.",
    ),
    Field::semantic("start", SHARE, "0.25", "The share of all steps after which `semi` begins to count."),
    Field::semantic(
        "least_dice",
        SHARE,
        "0.5",
        "The mean validation Dice below which `semi` does not count; with 0 it counts by steps alone.",
    ),
    Field::semantic(
        "least_label_dice",
        SHARE,
        "0.2",
        "The validation Dice of any label below which `semi` does not count: what is not found yet would be unlearned.",
    ),
    Field::semantic(
        "adversarial_unlabelled",
        FieldKind::Bool,
        "true",
        "Whether `adversarial` counts for scans without outlines, too.",
    ),
    Field::semantic(
        "critic_unlabelled",
        FieldKind::Bool,
        "false",
        "Whether the critic is shown predictions of scans without outlines, too.",
    ),
    Field::semantic(
        "semi_cross_entropy",
        WEIGHT,
        "0.0",
        "The weight of cross entropy beside generalised Dice in `semi`; it is 0 in the paper, and 0.5 keeps small labels.",
    ),
];

/// How a network is trained, where a loss is not all.
pub(super) const STRATEGY: Field = Field::absent(
    "strategy",
    FieldKind::Tagged(&[("adversarial", ADVERSARIAL)]),
    Role::SemanticLater,
    "How the network is trained where the loss of outlines is not all. `adversarial` (Nie et al. 2018, ASDNet): beside a \
     critic that learns to tell outlines from predictions, and on scans of the same samples that have no outlines, as many \
     of them in each batch as of the others; they are the part `unlabelled`, and never of a patient who is validated or \
     tested on. Samples are `patches` then.",
);
