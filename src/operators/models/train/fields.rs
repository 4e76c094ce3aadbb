//! The fields of a training.

use super::networks::{LOSS, NETWORK};
use super::start::{FREEZE, START};
use super::strategy::STRATEGY;
use crate::operators::spec::{Default, Field, FieldKind, Role};

/// A field that came after the type: at its default no key changes.
const fn later(name: &'static str, kind: FieldKind, default: &'static str, doc: &'static str) -> Field {
    Field { role: Role::SemanticLater, ..Field::semantic(name, kind, default, doc) }
}

/// A field that no result depends on.
const fn operational(name: &'static str, kind: FieldKind, default: &'static str, doc: &'static str) -> Field {
    Field { role: Role::Operational, ..Field::semantic(name, kind, default, doc) }
}

const COUNT: FieldKind = FieldKind::Integer { min: 1, max: 1_000_000_000 };
const COUNT_OR_NONE: FieldKind = FieldKind::Integer { min: 0, max: 1_000_000_000 };

const SHARE: FieldKind =
    FieldKind::Either(&[COUNT_OR_NONE, FieldKind::Number { min: 0.0, max: 1.0, unit: "" }]);

const SPLIT: &[Field] = &[
    Field::semantic(
        "train",
        SHARE,
        "0.7",
        "The patients that are trained on: their number, or their share \
                                            of all.",
    ),
    Field::semantic(
        "validation",
        SHARE,
        "0.1",
        "The patients that the best epoch is chosen by: their number, or their share of all.",
    ),
    Field::semantic(
        "test",
        SHARE,
        "0.2",
        "The patients that training never sees: their number, or their share of all. Patients that are left \
         over when all parts are filled are tested on as well.",
    ),
    Field::semantic("seed", COUNT_OR_NONE, "0", "The seed by which patients are assigned to the parts."),
    Field::absent(
        "folds",
        FieldKind::Integer { min: 2, max: 1000 },
        Role::SemanticLater,
        "The number of folds into which all patients are divided except those of `test`, who are the same \
         for each fold. Folds differ in size by at most one patient, and a new patient moves few others to \
         another fold.",
    ),
    Field::absent(
        "fold",
        FieldKind::Integer { min: 0, max: 999 },
        Role::SemanticLater,
        "The fold, counted from 0, whose patients the best epoch is chosen by; the patients of the other \
         folds are trained on.",
    ),
    later(
        "fold_is",
        FieldKind::Choice(&["validation", "test"]),
        "\"validation\"",
        "The part that the patients of `fold` are in. With `test` they are tested on, the patients of \
         `validation` are taken from the other folds, and the number in `test` has no effect; over all folds \
         each patient is tested on once.",
    ),
    Field::absent(
        "stratify",
        FieldKind::Choice(&["vendor", "scanner", "modality", "spacing", "volume"]),
        Role::SemanticLater,
        "The property whose values have similar shares in all parts and folds: the scanner's manufacturer \
         (`vendor`, the first word of its name) or model (`scanner`), the modality, the distance between \
         slices in classes of a factor √2 (`spacing`), or the volume of all labels in classes of a factor 2 \
         (`volume`). With `volume` all labels are drawn before training begins.",
    ),
    Field::absent(
        "file",
        FieldKind::Path,
        Role::Operational,
        "A file that assigns patients to parts, in place of the fields above. It is read when a run starts, \
         and results depend on the parts that it gives. It may be a CSV with the columns `patient` or \
         `series` (identifiers as the scans have them) and `part` (`train`, `validation` or `test`), or \
         `fold` in place of `part`, where an empty cell means `test`; nnU-Net's `splits_final.json`; or \
         `DL_info.csv` of DeepLesion as it was published. For a file of folds the field `fold` names the \
         fold. Patients that the file does not name are in `test`. A patient whose series are in several \
         parts is in the one that training sees least of, and the other series are reported as \
         `TORN_PATIENT`.",
    ),
];

const SHARE_BELOW_ONE: FieldKind = FieldKind::Number { min: 0.0, max: 0.9999, unit: "" };

const ADAM: &[Field] = &[
    Field::semantic(
        "betas",
        FieldKind::List { of: &SHARE_BELOW_ONE, len: Some(2) },
        "[0.9, 0.999]",
        "The decay rates of the running means of the gradients and of their squares.",
    ),
    Field::semantic(
        "epsilon",
        FieldKind::Number { min: 1e-16, max: 1.0, unit: "" },
        "1e-8",
        "The number that is added to the root of the mean squares, so that nothing is divided by 0.",
    ),
];

const SGD: &[Field] = &[
    Field::semantic(
        "momentum",
        SHARE_BELOW_ONE,
        "0.99",
        "The momentum: the share of the previous change \
                                                          that a step keeps.",
    ),
    Field::semantic(
        "nesterov",
        FieldKind::Bool,
        "true",
        "Whether Nesterov's momentum is used, by which a \
                                                          step looks ahead along its momentum.",
    ),
];

const WARM_UP: Field = Field::semantic(
    "warm_up",
    COUNT_OR_NONE,
    "0",
    "The number of steps over which the learning rate first rises linearly to its full height; the schedule \
     begins after them.",
);

const POLYNOMIAL: &[Field] = &[
    Field::semantic(
        "power",
        FieldKind::Number { min: 0.0, max: 10.0, unit: "" },
        "0.9",
        "The exponent of the share of steps that are left; with 1 the rate falls along a straight line.",
    ),
    WARM_UP,
];

const DROP: &[Field] = &[
    Field::semantic(
        "factor",
        FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        "0.1",
        "The factor by which the learning rate is multiplied at each drop.",
    ),
    Field::semantic(
        "drops",
        FieldKind::Integer { min: 1, max: 1000 },
        "2",
        "The number of drops; with 2 they come after one third and after two thirds of all steps.",
    ),
    WARM_UP,
];

const STEPS: &[Field] = &[
    Field::required(
        "at",
        FieldKind::List { of: &FieldKind::Number { min: 0.0, max: 1e9, unit: "" }, len: None },
        "The steps from which on the learning rate is lower, counted from the first step on, those of the warm-up too; a \
         number below 1 is the share of all steps that is done by then: `[60000, 80000]`, or `[0.67, 0.92]`.",
    ),
    Field::semantic(
        "factor",
        FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        "0.1",
        "The share of itself that the learning rate falls to at each of them.",
    ),
    Field::semantic(
        "warm_up",
        COUNT_OR_NONE,
        "0",
        "The number of steps in which the learning rate rises to its full height, in a straight line.",
    ),
    Field::semantic(
        "warm_up_from",
        FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        "0.3333333333333333",
        "The share of its full height from which it rises; Mask R-CNN's is a third.",
    ),
];

const SCHEDULES: &[(&str, &[Field])] = &[
    ("constant", &[WARM_UP]),
    ("halve", &[WARM_UP]),
    ("polynomial", POLYNOMIAL),
    ("cosine", &[WARM_UP]),
    ("drop", DROP),
    ("steps", STEPS),
];
const RETRAIN: &[Field] = &[
    Field::absent(
        "new_cases",
        COUNT,
        Role::Operational,
        "The number of labelled cases that the model has not seen, or not with their labels, from which on \
         it is trained again.",
    ),
    Field::absent(
        "new_unlabelled",
        COUNT,
        Role::Operational,
        "The number of cases without labels that the model has not seen, from which on it is trained again; \
         it is for a training whose `strategy` learns from such cases.",
    ),
];

/// Who is learned from, of whatever learns.
pub(in crate::operators::models) const SPLIT_FIELD: Field = Field::semantic(
    "split",
    FieldKind::Table(SPLIT),
    r#"{"train":0.7,"validation":0.1,"test":0.2,"seed":0}"#,
    "The split of patients into those who are trained on, validated on and tested on; all cases of a patient \
     are in one part.",
);

/// Whether a model follows its cases, of whatever learns.
pub(in crate::operators::models) const RETRAIN_FIELD: Field = Field {
    name: "retrain",
    kind: FieldKind::Either(&[FieldKind::Choice(&["never", "always"]), FieldKind::Table(RETRAIN)]),
    default: Default::Json("\"never\""),
    role: Role::Operational,
    doc: "The condition under which a model is trained again when its cases change: never (`never`), at \
          every change (`always`), or when there are so many labelled cases that it has not seen, `{ \
          new_cases = 20 }`, or so many cases without labels, `{ new_unlabelled = 50 }`. The previous model \
          is used until the new one is there.",
};

pub(super) const FIELDS: &[Field] = &[
    NETWORK,
    LOSS,
    Field::semantic(
        "attention_weight",
        FieldKind::Number { min: 0.0, max: 1000.0, unit: "" },
        "1.0",
        "The weight of the loss of supervised attention maps (`attention = \"supervised\"`), beside that of \
         the segmentation.",
    ),
    Field::semantic("epochs", COUNT, "300", "The greatest number of passes over the training samples."),
    Field::absent(
        "steps",
        COUNT,
        Role::SemanticLater,
        "The number of steps after which training ends, in place of `epochs`; each pass over the samples, \
         and the last step, is followed by a validation.",
    ),
    Field::semantic(
        "batch",
        FieldKind::Integer { min: 1, max: 4096 },
        "2",
        "The number of samples that go through the network together.",
    ),
    later(
        "accumulate",
        FieldKind::Integer { min: 1, max: 4096 },
        "1",
        "The number of batches whose gradients are averaged for one step; it has the effect of a larger \
         `batch` where memory is too small for one.",
    ),
    later(
        "optimizer",
        FieldKind::Tagged(&[("adam", ADAM), ("adamw", ADAM), ("sgd", SGD)]),
        r#"{"type":"adam","betas":[0.9,0.999],"epsilon":1e-8}"#,
        "The optimizer, as PyTorch has it; nnU-Net trains with `sgd`, `learning_rate = 0.01`, \
         `weight_decay = 3e-5`.",
    ),
    Field::semantic(
        "learning_rate",
        FieldKind::Number { min: 0.0, max: 10.0, unit: "" },
        "0.0001",
        "The learning rate of the optimizer at full height, which `schedule` then lowers.",
    ),
    Field::semantic(
        "weight_decay",
        FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        "1e-7",
        "The weight decay of the optimizer: this share of the weights is added to the gradient, or, with \
         `adamw`, subtracted from the weights.",
    ),
    later(
        "schedule",
        FieldKind::Tagged(SCHEDULES),
        r#"{"type":"halve","warm_up":0}"#,
        "The course of the learning rate: it stays (`constant`), it is halved every `halve_every` steps \
         (`halve`), it falls to 0 at the last step as `(1 - t / T)^power` (`polynomial`) or along half a \
         cosine (`cosine`), it drops to a share of itself after equal parts of all steps (`drop`), or at `steps` that \
         are named, as PyTorch's `MultiStepLR` (`steps`).",
    ),
    Field::semantic(
        "halve_every",
        COUNT_OR_NONE,
        "10000",
        "The number of steps after which `schedule = { type = \"halve\" }` halves the learning rate each \
         time; with 0 it never does.",
    ),
    later(
        "clip_norm",
        FieldKind::Number { min: 0.0, max: 1e9, unit: "" },
        "0.0",
        "The greatest norm of the whole gradient of a step; a greater gradient is scaled down to it. With 0 \
         gradients are never scaled.",
    ),
    later(
        "precision",
        FieldKind::Choice(&["float32", "bfloat16"]),
        "\"float32\"",
        "The precision of features: with `bfloat16` steps take less time and memory on a processor that \
         multiplies such numbers; weights, the statistics of norms and the loss keep 32 bits.",
    ),
    Field::semantic(
        "patience",
        COUNT_OR_NONE,
        "0",
        "The number of epochs without a better validation Dice after which training stops early; with 0 it \
         never does.",
    ),
    later(
        "weights",
        FieldKind::Choice(&["best", "last"]),
        "\"best\"",
        "The weights that the model gets: those of the epoch with the best validation Dice (`best`; of equal \
         epochs the latest), or those of the last epoch (`last`).",
    ),
    later(
        "regions",
        FieldKind::Bool,
        "false",
        "Whether labels that hold others (`liver = [1, 2]` beside `lesion = [2]`, or `holds`) are learned as \
         overlapping regions. The loss is then the mean over regions, each as inside against outside, where \
         the probability of a region is the sum over all labels in it; the validation Dice is that of \
         regions, as in `evaluate`. A mask shows the innermost label of each voxel.",
    ),
    later(
        "activation",
        FieldKind::Choice(&["softmax", "sigmoid"]),
        "\"softmax\"",
        "The output of the network for a voxel: one class out of all (`softmax`), or for each label whether \
         the voxel belongs to it (`sigmoid`), so that labels may overlap. With `sigmoid` the network has a \
         head for each label and none for the background, and a voxel of a label belongs to all labels that \
         hold it as well. The loss is the mean over labels, each as inside against outside (cross entropy is \
         binary; with `dice_ce` it is the loss by which nnU-Net trains regions). Validation and `infer` take \
         probabilities above 0.5, masks may overlap, and `evaluate` compares label by label. There may be at \
         most 16 labels.",
    ),
    later(
        "class_weights",
        FieldKind::Map(&FieldKind::Number { min: 0.0, max: 1e6, unit: "" }),
        "{}",
        "The weight of each label in the loss, by name, where `background` is a name as well: `{ lesion = \
         4.0 }`; labels that are not named have weight 1. Overlap losses and regions take the weighted mean \
         over labels; cross entropy and focal loss the weighted mean over voxels by their class, as in \
         PyTorch.",
    ),
    later(
        "partly_labelled",
        FieldKind::Choice(&["leave_out", "learn"]),
        "\"leave_out\"",
        "The use of a case in which nobody looked for some labels (a structure that its file does not have, \
         or a label without a file): it is not trained on (`leave_out`), or it teaches the labels that it \
         has (`learn`). With `learn` and `softmax` its background means `background or one of the missing \
         labels`, with the sum of their probabilities (the marginal losses of Fidon et al. 2021); with \
         `sigmoid` the heads of missing labels get no loss; and validation does not count missing labels. A \
         row `LABELS_UNKNOWN` in `rejects` says how many cases lack each label. Trainings of boxes, and \
         trainings with a `strategy`, refuse such cases.",
    ),
    later(
        "validate",
        FieldKind::Choice(&["samples", "cases"]),
        "\"samples\"",
        "The data of a validation: samples, cut as for training (`samples`; this is quick, but a handful of \
         them may hold little of a small structure), or whole cases, segmented as `infer` does with its \
         defaults (`cases`). With `cases` the validation Dice is the mean over cases, without labels that \
         are neither found nor there.",
    ),
    later(
        "sample_attention",
        FieldKind::Number { min: 0.0, max: 16.0, unit: "" },
        "0.0",
        "The exponent β of the weight `(1 - dsc)^β` that each sample has in the loss, where dsc is its \
         current soft Dice: samples that are segmented well count less (Nie et al. 2018, with β = 2). With 0 \
         all samples count alike.",
    ),
    STRATEGY,
    START,
    FREEZE,
    operational(
        "checkpoint_every",
        FieldKind::Duration,
        "\"60s\"",
        "The time between two checkpoints of a training, from which an interrupted training goes on; saving \
         takes at most a twentieth of the training's time.",
    ),
    operational(
        "readers",
        FieldKind::Integer { min: 1, max: 256 },
        "4",
        "The number of threads that cut and augment samples in advance, each up to two batches; the log \
         shows the share of time in which the device was busy.",
    ),
    operational(
        "deterministic",
        FieldKind::Bool,
        "false",
        "Whether a GPU adds numbers in a fixed order, so that the same training gives the same weights on \
         the same card with the same libtorch. This takes more time and holds for the whole process; \
         libtorch warns of operations that have no such order. On the CPU the order is always fixed.",
    ),
    operational(
        "tensorboard",
        FieldKind::Bool,
        "false",
        "Whether the figures of the training are also written for TensorBoard, below `tensorboard/STAGE` in \
         the pipeline's folder `out`.",
    ),
    Field::semantic(
        "seed",
        COUNT_OR_NONE,
        "0",
        "The seed of the initial weights, of the order of samples, \
                                                 and of what is drawn at random.",
    ),
    SPLIT_FIELD,
    RETRAIN_FIELD,
];
