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
    Field::semantic("train", SHARE, "0.7", "The patients that are trained on: a count, or a share of all."),
    Field::semantic(
        "validation",
        SHARE,
        "0.1",
        "The patients that choose the best epoch: a count, or a share of all.",
    ),
    Field::semantic(
        "test",
        SHARE,
        "0.2",
        "The patients that training never sees: a count, or a share of all. Those left over are among them.",
    ),
    Field::semantic("seed", COUNT_OR_NONE, "0", "The seed by which patients are dealt to the parts."),
    Field::absent(
        "folds",
        FieldKind::Integer { min: 2, max: 1000 },
        Role::SemanticLater,
        "The number of folds of all patients but those of `test`, which are the same for each fold. They differ by one patient at \
         most, and a patient who comes moves few of the others to another one.",
    ),
    Field::absent(
        "fold",
        FieldKind::Integer { min: 0, max: 999 },
        Role::SemanticLater,
        "The fold, from 0 on, whose patients choose the best epoch; the others are trained on.",
    ),
    later(
        "fold_is",
        FieldKind::Choice(&["validation", "test"]),
        "\"validation\"",
        "What the patients of `fold` are for. With `test` they are never seen, `validation` is of those that are left, and \
         `test` has no say: over all folds each patient is tested on once.",
    ),
    Field::absent(
        "stratify",
        FieldKind::Choice(&["vendor", "scanner", "modality", "spacing", "volume"]),
        Role::SemanticLater,
        "The property of which parts and folds hold alike shares: the scanner's maker (the first word of its name) or model, the \
         modality, the distance between slices in classes of a factor √2, or the volume of all labels in classes of \
         a factor 2. For the last one all labels are drawn before anybody is trained on.",
    ),
    Field::absent(
        "file",
        FieldKind::Path,
        Role::Operational,
        "A file that says who stands in which part, in place of the fields above; it is read when a run starts; results depend on what it decides. A CSV has the \
         columns `patient` or `series` (identifiers as the scans have them) and `part` (`train`, `validation` or \
         `test`), or `fold`, where nothing is for `test`; a `.json` is nnU-Net's `splits_final.json`; `DL_info.csv` of DeepLesion is read \
         as it was published. With folds \
         `fold` says which. Who is not named is in `test`. A patient whose series stand in several parts is in the \
         one that training sees least of, and the other series are told of as `TORN_PATIENT`.",
    ),
];

const SHARE_BELOW_ONE: FieldKind = FieldKind::Number { min: 0.0, max: 0.9999, unit: "" };

const ADAM: &[Field] = &[
    Field::semantic(
        "betas",
        FieldKind::List { of: &SHARE_BELOW_ONE, len: Some(2) },
        "[0.9, 0.999]",
        "How slowly the running means of gradients and of their squares forget.",
    ),
    Field::semantic(
        "epsilon",
        FieldKind::Number { min: 1e-16, max: 1.0, unit: "" },
        "1e-8",
        "The number that is added to the root of the squares, against a division by 0.",
    ),
];

const SGD: &[Field] = &[
    Field::semantic("momentum", SHARE_BELOW_ONE, "0.99", "The share of the last change that a step keeps."),
    Field::semantic("nesterov", FieldKind::Bool, "true", "Whether a step looks ahead along its momentum."),
];

const WARM_UP: Field = Field::semantic(
    "warm_up",
    COUNT_OR_NONE,
    "0",
    "The number of steps in which the learning rate rises to its full height, in equal parts; the schedule begins after them.",
);

const POLYNOMIAL: &[Field] = &[
    Field::semantic(
        "power",
        FieldKind::Number { min: 0.0, max: 10.0, unit: "" },
        "0.9",
        "The power that the share of steps which are left is raised to; 1 is a straight line.",
    ),
    WARM_UP,
];

const DROP: &[Field] = &[
    Field::semantic(
        "factor",
        FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        "0.1",
        "The share of itself that the learning rate falls to each time.",
    ),
    Field::semantic(
        "drops",
        FieldKind::Integer { min: 1, max: 1000 },
        "2",
        "How often it falls: with 2 after a third of all steps, and after two thirds.",
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
        "The number of labelled cases that the model has not seen, or not with their labels, from which on it is trained anew.",
    ),
    Field::absent(
        "new_unlabelled",
        COUNT,
        Role::Operational,
        "The number of cases without labels that the model has not seen from which on it is trained anew, where its `strategy` \
         learns from such cases.",
    ),
];

/// Who is learned from, of whatever learns.
pub(in crate::operators::models) const SPLIT_FIELD: Field = Field::semantic(
    "split",
    FieldKind::Table(SPLIT),
    r#"{"train":0.7,"validation":0.1,"test":0.2,"seed":0}"#,
    "The split of patients into those who are trained on, validated on and tested on; no patient stands on both sides.",
);

/// Whether a model follows its cases, of whatever learns.
pub(in crate::operators::models) const RETRAIN_FIELD: Field = Field {
    name: "retrain",
    kind: FieldKind::Either(&[FieldKind::Choice(&["never", "always"]), FieldKind::Table(RETRAIN)]),
    default: Default::Json("\"never\""),
    role: Role::Operational,
    doc: "When a trained model is trained anew as its cases change: never, always, or once so many labelled cases \
          stand beside those that it has seen: `{ new_cases = 20 }`, or so many without labels: `{ new_unlabelled = 50 }`. Until the new one is there, the one before \
          is used.",
};

pub(super) const FIELDS: &[Field] = &[
    NETWORK,
    LOSS,
    Field::semantic(
        "attention_weight",
        FieldKind::Number { min: 0.0, max: 1000.0, unit: "" },
        "1.0",
        "The weight of the loss of supervised attention maps.",
    ),
    Field::semantic("epochs", COUNT, "300", "The greatest number of passes over the training samples."),
    Field::absent(
        "steps",
        COUNT,
        Role::SemanticLater,
        "The number of steps after which training ends, in place of `epochs`; a validation follows each pass over the samples, and \
         the last step.",
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
        "The number of batches whose gradients are averaged for one step, where memory is too small for a greater `batch`.",
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
        "The learning rate of the optimizer, before the schedule takes its share.",
    ),
    Field::semantic(
        "weight_decay",
        FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        "1e-7",
        "The weight decay of the optimizer: it is added to the gradient, or with `adamw` taken from the weights.",
    ),
    later(
        "schedule",
        FieldKind::Tagged(SCHEDULES),
        r#"{"type":"halve","warm_up":0}"#,
        "How the learning rate goes on: it stays, it is halved by `halve_every`, it falls to 0 after the last \
         step, `(1 - t / T)^power` or along half a cosine, it drops to a share of itself after equal parts of all steps, or it does so at \
         `steps` that are named, as PyTorch's `MultiStepLR`.",
    ),
    Field::semantic(
        "halve_every",
        COUNT_OR_NONE,
        "10000",
        "The number of steps after which the learning rate is halved by `schedule = { type = \"halve\" }`; 0 for never.",
    ),
    later(
        "clip_norm",
        FieldKind::Number { min: 0.0, max: 1e9, unit: "" },
        "0.0",
        "The greatest norm of a step's whole gradient, which is scaled down to it; with 0 it is never scaled.",
    ),
    later(
        "precision",
        FieldKind::Choice(&["float32", "bfloat16"]),
        "\"float32\"",
        "The precision of features: with `bfloat16` steps take less time and memory where the processor multiplies \
         such numbers; weights, the statistics of norms and the loss keep 32 bits.",
    ),
    Field::semantic(
        "patience",
        COUNT_OR_NONE,
        "0",
        "The number of epochs without a better validation Dice after which training stops; with 0 it never stops early.",
    ),
    later(
        "weights",
        FieldKind::Choice(&["best", "last"]),
        "\"best\"",
        "The weights that the model has: those of the epoch with the best validation Dice (of equal ones the latest), or those of the last epoch.",
    ),
    later(
        "regions",
        FieldKind::Bool,
        "false",
        "Whether labels that hold others (`liver = [1, 2]` beside `lesion = [2]`, or `holds`) are learned as regions that \
         overlap: the loss is the mean over regions, each inside against outside, where a region is as likely as all \
         labels in it together, and the validation Dice is that of regions, as `evaluate` has it. A mask shows the \
         innermost.",
    ),
    later(
        "activation",
        FieldKind::Choice(&["softmax", "sigmoid"]),
        "\"softmax\"",
        "What the network says of a voxel: which class it has (`softmax`), or of each label whether the voxel is inside \
         (`sigmoid`), so that labels overlap. With `sigmoid` the network has a head for each label and none for the \
         background; a label that holds others is inside of all of them; the loss is the mean over labels, each inside \
         against outside (cross entropy is binary, and `dice_ce` is what nnU-Net trains regions by); validation and \
         `infer` take what is above 0.5, masks may overlap, and `evaluate` compares label by label. At most 16 labels.",
    ),
    later(
        "class_weights",
        FieldKind::Map(&FieldKind::Number { min: 0.0, max: 1e6, unit: "" }),
        "{}",
        "How much labels count in the loss, by name, `background` among them: `{ lesion = 4.0 }`, 1 for those that are not \
         named. Of overlap losses and of regions it is a weighed mean over labels, of cross entropy and focal loss over \
         voxels by their class, as PyTorch has it.",
    ),
    later(
        "partly_labelled",
        FieldKind::Choice(&["leave_out", "learn"]),
        "\"leave_out\"",
        "What becomes of a case in which nobody looked for some labels (a structure that its file does not have, or a label \
         without a file): it is not trained on, or it teaches the labels that it has (`learn`). There the background is \
         `background or one of these` for a network of classes, as likely as all of them together (the marginal losses of \
         Fidon et al. 2021), a head of its own gets no loss, and validation does not count them. A row \
         `LABELS_UNKNOWN` says how many cases lack each label. Trainings of boxes and by a `strategy` refuse such cases.",
    ),
    later(
        "validate",
        FieldKind::Choice(&["samples", "cases"]),
        "\"samples\"",
        "What a validation looks at: samples, cut as for training (quick, and a handful of them may hold little of a \
         small structure), or whole cases by windows, as `infer` does with its defaults; the validation Dice is then \
         the mean over cases, a label that is neither found nor there left out.",
    ),
    later(
        "sample_attention",
        FieldKind::Number { min: 0.0, max: 16.0, unit: "" },
        "0.0",
        "The power β of the weight `(1 - dsc)^β` that each sample has in the loss, by the soft Dice that it has now: what is \
         segmented well counts less (Nie et al. 2018, β = 2). With 0 all count alike.",
    ),
    STRATEGY,
    START,
    FREEZE,
    operational(
        "checkpoint_every",
        FieldKind::Duration,
        "\"60s\"",
        "The time from one checkpoint of a training to the next, from which a killed one goes on; saving takes a twentieth of its time at most.",
    ),
    operational(
        "readers",
        FieldKind::Integer { min: 1, max: 256 },
        "4",
        "The number of threads that cut and augment samples ahead, each up to two batches; the log shows the share of time in \
         which the device had work.",
    ),
    operational(
        "deterministic",
        FieldKind::Bool,
        "false",
        "Whether a GPU sums in one order, so that the same training gives the same weights on the same card and \
         libtorch; it takes more time, is set for the whole process, and libtorch warns of operations that have no \
         such order. On the CPU it is always so.",
    ),
    operational(
        "tensorboard",
        FieldKind::Bool,
        "false",
        "Whether figures are written for TensorBoard too, below `tensorboard/STAGE` of the output folder.",
    ),
    Field::semantic("seed", COUNT_OR_NONE, "0", "The seed of the first weights and of the order of samples."),
    SPLIT_FIELD,
    RETRAIN_FIELD,
];
