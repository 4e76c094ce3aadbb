//! Samples to a model.

mod fields;
mod networks;
mod split;

use serde::{Deserialize, Serialize};

use super::registry::{Entry, Stage};
use super::spec::{Aspects, Config, FieldProblem, Kind, Output, Port, Section, Spec};
use crate::networks::TrainSettings;
use fields::FIELDS;
pub use split::{Part, Share, Split};

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
        problems.push(FieldProblem::new(
            "network",
            error.to_string(),
            "see `levels`, `channels` and `variant`",
        ));
    }
    if problems.is_empty() { Ok(Stage::Train(Train { settings, split, retrain })) } else { Err(problems) }
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
    fn every_network_and_loss_builds() {
        let levels = json!([
            { "channels": 8, "kernel": [1, 3, 3], "pool": [1, 2, 2] },
            { "channels": 12, "kernel": [3, 3, 3], "pool": [2, 2, 2] },
        ]);
        let losses = [
            json!({ "type": "generalized_dice" }),
            json!({ "type": "cross_entropy" }),
            json!({ "type": "focal", "gamma": 2.0, "alpha": null }),
            json!({ "type": "dice_ce", "include_background": false }),
        ];
        for (attention, loss) in ["off", "gate", "unsupervised", "supervised"].into_iter().zip(losses) {
            let mut config = defaults();
            config["network"]["attention"] = attention.into();
            config["network"]["variant"] = "vs_seg".into();
            config["network"]["levels"] = levels.clone();
            config["network"]["dropout"] = json!(null);
            config["network"]["map_pooling"] = "average".into();
            config["loss"] = loss;
            let Ok(Stage::Train(train)) = build(&config) else { panic!("expected a training") };
            assert!(train.settings.network.resolve(1, 2).is_ok());
        }
    }

    #[test]
    fn what_came_later_is_part_of_no_earlier_key() {
        let early = defaults();
        let mut later = early.clone();
        for name in ["dropout", "map_pooling", "map_loss"] {
            later["network"][name] = json!(null);
        }
        assert_eq!(semantic(FIELDS, &later), semantic(FIELDS, &early));
        later["network"]["dropout"] = json!(0.2);
        assert_ne!(semantic(FIELDS, &later), semantic(FIELDS, &early));
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
