//! The field of a training for learning from more than the loss of its outlines.

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

const EMBEDDING: &[Field] = &[
    Field::semantic("weight", WEIGHT, "0.1", "The weight of the features' loss beside that of outlines."),
    Field::semantic(
        "margin",
        FieldKind::Number { min: 0.0, max: 2.0, unit: "" },
        "1.0",
        "The distance, 1 minus the cosine of the angle between them, from which on features of unequal labels are far \
         enough from each other.",
    ),
    Field::semantic(
        "voxels",
        FieldKind::Integer { min: 1, max: 4096 },
        "32",
        "The number of voxels of each class and sample whose features are compared.",
    ),
];

/// The share of a running mean that stays.
const DECAY: Field = Field::semantic(
    "decay",
    FieldKind::Number { min: 0.0, max: 0.999_999, unit: "" },
    "0.99",
    "The share of the teacher's weights that stays at each step; the rest is the network's.",
);

const MEAN_TEACHER: &[Field] = &[
    DECAY,
    Field::semantic("weight", WEIGHT, "0.1", "The weight of agreement with the teacher, once it has risen."),
    Field::semantic("ramp", SHARE, "0.4", "The share of all steps over which this weight rises."),
    Field::semantic(
        "noise",
        FieldKind::Number { min: 0.0, max: 1000.0, unit: "" },
        "0.1",
        "The deviation of the noise that either of them sees, in the units of intensities.",
    ),
];

const COPY_PASTE: &[Field] = &[
    DECAY,
    Field::semantic("weight", WEIGHT, "0.5", "The weight of voxels that nobody has drawn."),
    Field::semantic(
        "share",
        FieldKind::Number { min: 0.01, max: 1.0, unit: "" },
        "0.6666666666666666",
        "The share of each axis that the box has which is copied.",
    ),
    Field::semantic(
        "start",
        SHARE,
        "0.25",
        "The share of all steps after which mixtures are learned from; until then outlines alone are.",
    ),
    Field::semantic(
        "largest_component",
        FieldKind::Bool,
        "true",
        "Whether only the largest component of each label counts of what the teacher finds.",
    ),
];

const UNIMATCH: &[Field] = &[
    Field::semantic(
        "threshold",
        FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        "0.95",
        "The probability from which on the network is sure of a voxel.",
    ),
    Field::semantic("weight", WEIGHT, "1.0", "The weight of voxels that nobody has drawn."),
    Field::semantic("start", SHARE, "0.0", "The share of all steps after which they count."),
    Field::semantic(
        "drop",
        FieldKind::Number { min: 0.0, max: 0.9, unit: "" },
        "0.5",
        "The share of channels on the way down that is left out in one of the views.",
    ),
    Field::semantic(
        "strength",
        FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        "0.5",
        "How far intensities are changed in the other two: a factor of so much above or below 1, and so much more or less.",
    ),
];

/// The field for how a network is trained, where a loss is not all.
pub(super) const STRATEGY: Field = Field::absent(
    "strategy",
    FieldKind::Tagged(&[
        ("adversarial", ADVERSARIAL),
        ("embedding", EMBEDDING),
        ("mean_teacher", MEAN_TEACHER),
        ("copy_paste", COPY_PASTE),
        ("unimatch", UNIMATCH),
    ]),
    Role::SemanticLater,
    "How the network is trained where the loss of outlines is not all. `adversarial` (Nie et al. 2018, ASDNet): beside a \
     critic that learns to tell outlines from predictions, and on scans of the same samples that have no outlines, as many \
     of them in each batch as of the others; they are the part `unlabelled`, and never of a patient who is validated or \
     tested on. Samples are `patches` then. The others learn from such scans, too. `embedding` (Baur et al. 2017): the \
     features that logits are made from lie together where labels are equal, and apart where they are not, of outlines or \
     of what the network itself says. `mean_teacher` (Tarvainen and Valpola 2017): the network agrees with the running mean \
     of its own weights. `copy_paste` (Bai et al. 2023, BCP): boxes of scans with outlines are learned from in scans \
     without, and the other way round, by what that mean says of these; the loss of mixtures is the mean of Dice and cross \
     entropy, whatever `loss` is. `unimatch` (Yang et al. 2023): what \
     the network is sure of it must find again in two views with other intensities and a box of another scan, and in one with \
     channels left out. The two with a running mean do without statistics over batches with `norm = \"group\"`.",
);
