//! The field of a training for learning from more than the loss of its outlines.

use crate::operators::spec::{Field, FieldKind, Role};

const SHARE: FieldKind = FieldKind::Number { min: 0.0, max: 1.0, unit: "" };
const WEIGHT: FieldKind = FieldKind::Number { min: 0.0, max: 1000.0, unit: "" };

const ADVERSARIAL: &[Field] = &[
    Field::semantic(
        "critic",
        FieldKind::Choice(&["fcn", "cnn"]),
        "\"fcn\"",
        "The critic, which tells outlines from predictions: a network that judges each voxel (`fcn`), or \
         each sample as a whole (`cnn`).",
    ),
    Field::semantic(
        "critic_width",
        FieldKind::Integer { min: 1, max: 512 },
        "32",
        "The number of channels of the critic's first convolution; in the paper it is 32.",
    ),
    Field::semantic(
        "critic_rate",
        FieldKind::Number { min: 0.0, max: 10.0, unit: "" },
        "1e-4",
        "The critic's learning rate; optimizer, schedule, weight decay and clipping are those of the network.",
    ),
    Field::semantic(
        "adversarial",
        WEIGHT,
        "0.03",
        "The weight of the adversarial loss, by which the network learns to make predictions that the critic \
         takes for outlines.",
    ),
    Field::semantic(
        "semi",
        WEIGHT,
        "0.3",
        "The weight of the loss on scans without outlines: generalised Dice against the network's own \
         predictions, over the voxels that the critic takes for those of outlines.",
    ),
    Field::semantic(
        "gamma",
        FieldKind::Either(&[SHARE, FieldKind::Choice(&["one_minus_dice"])]),
        "0.2",
        "The probability above which the critic takes a voxel for one of an outline, or `one_minus_dice`: 1 minus the \
         Dice of the last validation.",
    ),
    Field::semantic("start", SHARE, "0.25", "The share of all steps after which the loss of `semi` begins."),
    Field::semantic(
        "least_dice",
        SHARE,
        "0.5",
        "The mean validation Dice below which the loss of `semi` does not count; with 0 it depends on \
         `start` alone.",
    ),
    Field::semantic(
        "least_label_dice",
        SHARE,
        "0.2",
        "The validation Dice that every label must reach for the loss of `semi` to count; without it labels \
         that are not found yet would be unlearned.",
    ),
    Field::semantic(
        "adversarial_unlabelled",
        FieldKind::Bool,
        "true",
        "Whether the adversarial loss counts for scans without outlines as well.",
    ),
    Field::semantic(
        "critic_unlabelled",
        FieldKind::Bool,
        "false",
        "Whether the critic is trained on predictions for scans without outlines as well.",
    ),
    Field::semantic(
        "semi_cross_entropy",
        WEIGHT,
        "0.0",
        "The weight of cross entropy beside generalised Dice in the loss of `semi`; it is 0 in the paper, \
         and 0.5 keeps small labels from vanishing.",
    ),
];

const EMBEDDING: &[Field] = &[
    Field::semantic(
        "weight",
        WEIGHT,
        "0.1",
        "The weight of the loss on features, beside that of the \
                                              segmentation.",
    ),
    Field::semantic(
        "margin",
        FieldKind::Number { min: 0.0, max: 2.0, unit: "" },
        "1.0",
        "The distance from which on features of different labels are far enough apart; it is 1 minus the \
         cosine of the angle between them.",
    ),
    Field::semantic(
        "voxels",
        FieldKind::Integer { min: 1, max: 4096 },
        "32",
        "The number of voxels of each class in a sample whose features are compared.",
    ),
];

/// The share of a running mean that stays.
const DECAY: Field = Field::semantic(
    "decay",
    FieldKind::Number { min: 0.0, max: 0.999_999, unit: "" },
    "0.99",
    "The share of the teacher's weights that stays at each step; the rest comes from the network's weights.",
);

const MEAN_TEACHER: &[Field] = &[
    DECAY,
    Field::semantic(
        "weight",
        WEIGHT,
        "0.1",
        "The weight of the loss of agreement with the teacher, at its \
                                              full height.",
    ),
    Field::semantic(
        "ramp",
        SHARE,
        "0.4",
        "The share of all steps over which the weight rises from 0 to its \
                                           full height.",
    ),
    Field::semantic(
        "noise",
        FieldKind::Number { min: 0.0, max: 1000.0, unit: "" },
        "0.1",
        "The standard deviation of the noise that is added to the inputs of network and teacher, in the \
         scale of the intensities.",
    ),
];

const COPY_PASTE: &[Field] = &[
    DECAY,
    Field::semantic("weight", WEIGHT, "0.5", "The weight of the loss on voxels without outlines."),
    Field::semantic(
        "share",
        FieldKind::Number { min: 0.01, max: 1.0, unit: "" },
        "0.6666666666666666",
        "The length of the box that is copied, as a share of the window's length along each axis.",
    ),
    Field::semantic(
        "start",
        SHARE,
        "0.25",
        "The share of all steps after which the network learns from mixtures; until then it learns from \
         outlines alone.",
    ),
    Field::semantic(
        "largest_component",
        FieldKind::Bool,
        "true",
        "Whether only the largest connected component of each label in the teacher's prediction counts.",
    ),
];

const UNIMATCH: &[Field] = &[
    Field::semantic(
        "threshold",
        FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        "0.95",
        "The probability from which on a prediction of the network counts as confident.",
    ),
    Field::semantic("weight", WEIGHT, "1.0", "The weight of the loss on voxels without outlines."),
    Field::semantic(
        "start",
        SHARE,
        "0.0",
        "The share of all steps after which voxels without outlines count.",
    ),
    Field::semantic(
        "drop",
        FieldKind::Number { min: 0.0, max: 0.9, unit: "" },
        "0.5",
        "The share of the encoder's channels that is left out in one of the views.",
    ),
    Field::semantic(
        "strength",
        FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        "0.5",
        "The strength of the changes of intensities in the other two views: intensities are multiplied by a \
         factor that differs from 1, and shifted by an offset that differs from 0, by at most this number.",
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
    "The method of semi-supervised training, which also learns from scans without outlines; when it is left \
     out, the network learns from outlines alone. Each batch has as many samples of scans without outlines \
     as of scans with them; the former are the part `unlabelled` of the split, and never of a patient who is \
     validated or tested on. Samples must be `patches`. `adversarial` (ASDNet, Nie et al. 2018) trains a \
     critic beside the network, which learns to tell outlines from predictions. `embedding` (Baur et al. \
     2017) draws the features before the logits together where labels are equal, and apart where they \
     differ; labels are those of outlines, or of the network's own predictions. `mean_teacher` (Tarvainen \
     and Valpola 2017) makes the network agree with a teacher, the running mean of its own weights. \
     `copy_paste` (BCP, Bai et al. 2023) learns from mixtures: boxes of scans with outlines are pasted into \
     scans without, and the other way round, where the teacher gives the missing labels; the loss of \
     mixtures is the mean of Dice and cross entropy, whatever `loss` is. `unimatch` (Yang et al. 2023) has \
     the network find its confident predictions again in two views with changed intensities and a box of \
     another scan, and in one view with channels left out. For `mean_teacher` and `copy_paste`, `norm = \
     \"group\"` avoids statistics over batches.",
);
