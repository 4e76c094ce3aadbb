//! Samples to a model.

mod fields;
mod split;

use serde::Deserialize;

use super::registry::{Entry, Stage};
use super::spec::{Aspects, Config, FieldProblem, Kind, Output, Port, Section, Spec};
use crate::networks::TrainSettings;
use fields::FIELDS;
pub use split::{Assigned, Named, Part, Share, Split, Stratify, Subject};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "DeclaredRetrain")]
pub enum Retrain {
    /// It stays.
    Never,
    /// It is trained anew.
    Always,
    /// It stays until so many labelled cases stand beside those that it has seen.
    NewCases(u64),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DeclaredRetrain {
    Word(Word),
    Table { new_cases: u64 },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Never,
    Always,
}

impl From<DeclaredRetrain> for Retrain {
    fn from(declared: DeclaredRetrain) -> Self {
        match declared {
            DeclaredRetrain::Word(Word::Never) => Self::Never,
            DeclaredRetrain::Word(Word::Always) => Self::Always,
            DeclaredRetrain::Table { new_cases } => Self::NewCases(new_cases),
        }
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
    let (split, mut problems) = match split.checked() {
        Ok(split) => (Some(split), Vec::new()),
        Err(problems) => (None, problems),
    };
    if let Err(error) = settings.network.resolve(1, 2) {
        problems.push(FieldProblem::new("network", error.to_string(), "see `levels` and `channels`"));
    }
    match split {
        Some(split) if problems.is_empty() => Ok(Stage::Train(Train { settings, split, retrain })),
        _ => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::spec::{Default, semantic};
    use serde_json::json;

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
    fn when_a_model_is_trained_anew_is_a_word_or_a_count() {
        for (declared, retrain) in
            [(json!("always"), Retrain::Always), (json!({ "new_cases": 20 }), Retrain::NewCases(20))]
        {
            let mut config = defaults();
            config["retrain"] = declared;
            let Ok(Stage::Train(train)) = build(&config) else { panic!("expected a training") };
            assert_eq!(train.retrain, retrain);
        }
    }

    #[test]
    fn fields_that_came_later_leave_keys_as_they_were() {
        let mut config = defaults();
        let bare = semantic(FIELDS, &config);
        let later = json!({ "folds": null, "fold": null, "stratify": null, "file": null });
        let table = config["split"].as_object_mut().unwrap();
        table.extend(later.as_object().unwrap().clone());
        assert_eq!(semantic(FIELDS, &config), bare);
        config["split"]["fold"] = json!(1);
        assert_ne!(semantic(FIELDS, &config), bare);
        // What a file decides enters by the parts of cases, its path does not.
        (config["split"]["fold"], config["split"]["file"]) = (json!(null), json!("splits.csv"));
        (config["retrain"], config["split"]["stratify"]) = (json!({ "new_cases": 3 }), json!(null));
        assert_eq!(semantic(FIELDS, &config), bare);
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
