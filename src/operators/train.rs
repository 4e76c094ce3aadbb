//! Samples to a model.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::registry::{Entry, Stage};
use super::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::connectors::Digest;
use crate::networks::TrainSettings;

const fn field(name: &'static str, kind: FieldKind, default: &'static str, doc: &'static str) -> Field {
    Field { name, kind, default: Default::Json(default), role: Role::Semantic, doc }
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
];

const FIELDS: &[Field] = &[
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
        kind: FieldKind::Choice(&["never", "always"]),
        default: Default::Json("\"never\""),
        role: Role::Operational,
        doc: "Whether a trained model is trained anew when its cases change.",
    },
];

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "train",
    section: Section::Operators,
    summary: "Samples to a trained network.",
    doc: "Adam on the declared loss; batches are a permutation of the samples by seed and epoch. The best \
          epoch by the foreground Dice over all validation samples (true and false positives and negatives \
          are counted, and divided once) gives the model. A training that was interrupted goes on from its \
          last whole epoch, on the CPU with the same result bit for bit.",
    version: 1,
    inputs: &[Port { name: "samples", accepts: &[Kind::Samples], many: false }],
    output: Output::Is(Kind::Model),
    aspects: Aspects::Both,
    fields: FIELDS,
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// What happens to a trained model when its cases change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retrain {
    /// It stays.
    Never,
    /// It is trained anew.
    Always,
}

/// On which side of the split a patient stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Trained on.
    Train,
    /// Chooses the best epoch.
    Validation,
    /// Never seen by training.
    Test,
}

impl Part {
    /// The word in tables and datasets.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// How many patients a part gets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Share {
    /// So many.
    Count(u64),
    /// This share of all, 0 to 1.
    Fraction(f64),
}

/// Who is trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Patients to train on.
    pub train: Share,
    /// Patients that choose the best epoch.
    pub validation: Share,
    /// Patients that training never sees.
    pub test: Share,
    /// Of who comes where.
    pub seed: u64,
}

impl Split {
    /// Where each patient stands: patients in the order of a hash of seed and name, the first of them
    /// trained on, the next for validation, all others for testing. Parts that ask for more patients than
    /// there are get fewer in proportion, but each at least one while there are enough.
    pub fn assign(&self, patients: &BTreeSet<String>) -> BTreeMap<String, Part> {
        let mut order: Vec<_> = patients.iter().map(|patient| (self.rank(patient), patient)).collect();
        order.sort_unstable();
        let [train, validation, _] = self.sizes(patients.len());
        let part = |place: usize| {
            if place < train {
                Part::Train
            } else if place < train + validation {
                Part::Validation
            } else {
                Part::Test
            }
        };
        order.into_iter().enumerate().map(|(place, (_, patient))| (patient.clone(), part(place))).collect()
    }

    fn rank(&self, patient: &str) -> Digest {
        Digest::of_parts([&self.seed.to_le_bytes()[..], patient.as_bytes()])
    }

    /// Patients of each part, of `count`.
    fn sizes(&self, count: usize) -> [usize; 3] {
        let all = count as f64;
        let wanted = [self.train, self.validation, self.test].map(|share| match share {
            Share::Count(number) => number as f64,
            Share::Fraction(fraction) => fraction * all,
        });
        let sum: f64 = wanted.iter().sum();
        let scale = if sum > all { all / sum } else { 1.0 };
        let ideal = wanted.map(|number| number * scale);
        let total = (ideal.iter().sum::<f64>().round() as usize).min(count);
        let mut sizes = ideal.map(|number| number.floor() as usize);
        while sizes.iter().sum::<usize>() < total {
            let short = (0..3).max_by(|&a, &b| {
                let missing = |i: usize| ideal[i] - sizes[i] as f64;
                missing(a).total_cmp(&missing(b)).then(b.cmp(&a))
            });
            sizes[short.unwrap_or(0)] += 1;
        }
        for part in 0..3 {
            let largest = (0..3).max_by_key(|&i| (sizes[i], 3 - i)).unwrap_or(0);
            if wanted[part] > 0.0 && sizes[part] == 0 {
                if sizes.iter().sum::<usize>() < count {
                    sizes[part] += 1;
                } else if sizes[largest] > 1 {
                    sizes[largest] -= 1;
                    sizes[part] += 1;
                }
            }
        }
        sizes
    }

    /// Shares that cannot be: nobody to train on, or more than everybody.
    fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        if matches!(self.train, Share::Count(0)) || matches!(self.train, Share::Fraction(f) if f <= 0.0) {
            problems.push(FieldProblem::new(
                "split.train",
                "nobody is left to train on",
                "a count of 1 or more, or a share above 0",
            ));
        }
        let shares = [self.train, self.validation, self.test].map(|share| match share {
            Share::Fraction(fraction) => fraction,
            Share::Count(_) => 0.0,
        });
        let sum: f64 = shares.iter().sum();
        if sum > 1.0 + 1e-9 {
            problems.push(FieldProblem::new(
                "split",
                format!("shares of at most 1 in all expected, {sum} found"),
                "e.g. { train = 0.7, validation = 0.1, test = 0.2 }",
            ));
        }
        problems
    }
}

/// A training.
#[derive(Clone, Debug)]
pub struct Train {
    /// How.
    pub settings: TrainSettings,
    /// On whom.
    pub split: Split,
    /// Whether anew when cases change.
    pub retrain: Retrain,
}

#[derive(Deserialize)]
struct Declared {
    #[serde(flatten)]
    settings: TrainSettings,
    split: Split,
    retrain: Retrain,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let Declared { settings, split, retrain } = super::read_config(config)?;
    let mut problems = split.problems();
    if let Err(error) = settings.network.resolve(1, 2) {
        problems.push(FieldProblem::new("network", error.to_string(), "see `levels` and `channels`"));
    }
    if problems.is_empty() { Ok(Stage::Train(Train { settings, split, retrain })) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn split(train: Value, validation: Value, test: Value) -> Split {
        serde_json::from_value(json!({ "train": train, "validation": validation, "test": test, "seed": 1 }))
            .unwrap()
    }

    fn patients(count: usize) -> BTreeSet<String> {
        (0..count).map(|i| format!("patient {i}")).collect()
    }

    #[test]
    fn counts_shares_and_too_few_patients() {
        let paper = || split(json!(178), json!(20), json!(47));
        assert_eq!(paper().sizes(245), [178, 20, 47]);
        assert_eq!(paper().sizes(300), [178, 20, 47]);
        assert_eq!(paper().sizes(10), [7, 1, 2]);
        assert_eq!(paper().sizes(3), [1, 1, 1]);
        assert_eq!(paper().sizes(2), [1, 1, 0]);
        assert_eq!(paper().sizes(1), [1, 0, 0]);
        assert_eq!(paper().sizes(0), [0, 0, 0]);
        let shares = split(json!(0.7), json!(0.1), json!(0.2));
        assert_eq!(shares.sizes(10), [7, 1, 2]);
        assert_eq!(shares.sizes(8), [5, 1, 2]);
        assert_eq!(shares.sizes(3), [1, 1, 1]);
        assert_eq!(split(json!(0.5), json!(0), json!(0)).sizes(9), [5, 0, 0]);
        assert_eq!(split(json!(1.0), json!(0), json!(0)).sizes(9), [9, 0, 0]);
        assert_eq!(split(json!(1), json!(1), json!(1)).sizes(3), [1, 1, 1]);
    }

    #[test]
    fn patients_stand_on_one_side_by_seed_alone() {
        let split = split(json!(6), json!(1), json!(1));
        let parts = split.assign(&patients(8));
        assert_eq!(parts, split.assign(&patients(8)));
        assert_eq!(parts.values().filter(|part| **part == Part::Train).count(), 6);
        let other = Split { seed: 2, ..split.clone() };
        assert_ne!(parts, other.assign(&patients(8)));
        // Whoever was trained on with fewer patients keeps the place before all who come after.
        assert_eq!(split.assign(&patients(20)).len(), 20);
    }

    fn defaults() -> Config {
        let mut config = Config::new();
        for field in FIELDS {
            let Default::Json(text) = field.default else { panic!("{} has no default", field.name) };
            config.insert(field.name.to_owned(), serde_json::from_str(text).unwrap());
        }
        config
    }

    #[test]
    fn the_defaults_build() {
        let Ok(Stage::Train(train)) = build(&defaults()) else { panic!("expected a training") };
        assert_eq!(train.retrain, Retrain::Never);
        assert_eq!(train.settings.batch, 2);
        assert!(train.settings.network.resolve(1, 2).is_ok());
    }

    #[test]
    fn fields_that_do_not_go_together_are_named() {
        let mut config = defaults();
        config["split"] = json!({ "train": 0, "validation": 0.9, "test": 0.9, "seed": 0 });
        config["network"]["channels"] = json!([8, 16]);
        let problems = build(&config).err().unwrap();
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["split.train", "split", "network"]);
    }
}
