//! Samples to a model.

mod fields;
mod networks;
mod split;
mod start;
mod strategy;
mod training;

use serde::Deserialize;

use crate::networks::architectures::config::Variant;
use crate::networks::{NetworkConfig, TrainSettings};
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{Aspects, Config, FieldProblem, Kind, Output, Port, Section, Spec, is_default};
use fields::FIELDS;
pub(super) use fields::{RETRAIN_FIELD, SPLIT_FIELD};
pub use split::{Assigned, FoldIs, Named, Part, Share, Split, Stratify, Subject};
pub use start::Begin;
pub(in crate::operators) use training::NAME;
pub use training::{Enough, Learns, Operation, PartlyLabelled, Retrain, Train};

/// The declaration of the stage type.
pub static SPEC: Spec = Spec {
    name: NAME,
    section: Section::Operators,
    summary: "Trains a network on samples.",
    doc: "The network is trained by gradient steps on `loss`; the order of samples is a permutation that \
          depends on seed and epoch. The model has the weights of the epoch with the best foreground Dice \
          over all validation samples together (true and false positives and negatives are summed, and \
          divided once); of equal epochs the latest counts. An interrupted training goes on from its last \
          checkpoint, on the CPU with the same result bit for bit. A loss or a gradient that is not finite \
          ends the training, with an error that names the samples.\n\n\
          These settings train as nnU-Net does: `optimizer = { type = \"sgd\", momentum = 0.99, nesterov = \
          true }`, `learning_rate = 0.01`, `weight_decay = 3e-5`, `schedule = { type = \"polynomial\" }` \
          (nnU-Net counts epochs, `polynomial` counts steps), `clip_norm = 12.0`, `weights = \"last\"`.",
    version: 1,
    inputs: &[Port { name: "samples", accepts: &[Kind::Samples], many: false }],
    output: Output::Is(Kind::Model),
    aspects: Aspects::Both,
    fields: FIELDS,
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

#[derive(Deserialize)]
struct Declared {
    #[serde(flatten)]
    settings: Box<TrainSettings>,
    #[serde(flatten)]
    running: Operation,
    split: Split,
    retrain: Retrain,
    #[serde(default)]
    start: Option<start::Declared>,
    #[serde(default)]
    partly_labelled: PartlyLabelled,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let Declared { settings, running, split, retrain, start, partly_labelled } =
        crate::operators::read_config(config)?;
    let (split, mut problems) = match split.checked() {
        Ok(split) => (Some(split), Vec::new()),
        Err(problems) => (None, problems),
    };
    if let Err(error) = settings.network.resolve(1, 2) {
        problems.push(FieldProblem::new(
            "network",
            error.to_string(),
            "see `levels`, `channels` and `variant`",
        ));
    }
    problems.extend(schedule_problem(&settings, config));
    problems.extend(length_problem(&settings, config));
    let asks = settings.strategy.is_some_and(|strategy| strategy.asks_for_unlabelled());
    problems.extend(retrain_problem(asks, retrain));
    if let Some((field, message, hint)) = settings.strategy.and_then(|strategy| strategy.problem()) {
        problems.push(FieldProblem::new(&format!("strategy.{field}"), message, hint));
    }
    problems.extend(features_problem(&settings));
    problems.extend(split.as_ref().and_then(|split| waiting_problem(&settings, split)));
    problems.extend(activation_problem(&settings));
    if start.is_none() && !settings.freeze.is_empty() {
        let message = "weights to begin with expected, which stay as they are, none found";
        problems.push(FieldProblem::new("freeze", message, "see `start`"));
    }
    let start = start.map(start::begin).transpose().unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    match split {
        Some(split) if problems.is_empty() => {
            let learns = Learns::Network { settings, running };
            Ok(Stage::Train(Train { learns, split, retrain, start, partly_labelled }))
        }
        _ => Err(problems),
    }
}

/// Refuses `halve_every` beside a schedule that does not halve: somebody expects it to.
fn schedule_problem(settings: &TrainSettings, config: &Config) -> Option<FieldProblem> {
    if settings.schedule.halves() || settings.halve_every == 0 || !given("halve_every", config) {
        return None;
    }
    let message = "`halve_every` has no effect in this schedule";
    let hint = "leave it out, or take `schedule = { type = \"halve\" }`";
    Some(FieldProblem::new("halve_every", message, hint))
}

/// Heads of their own beside what knows classes alone.
fn activation_problem(settings: &TrainSettings) -> Option<FieldProblem> {
    let heads = settings.activation.overlaps();
    let message = match (settings.class_weights.is_empty(), settings.network.gives_boxes()) {
        (false, true) => {
            let message = "classes of voxels expected beside `class_weights`, a network of boxes found";
            return Some(FieldProblem::new("class_weights", message, "leave it out"));
        }
        (_, true) if heads => "a network of boxes has no head for each label",
        _ if heads && settings.regions => {
            "`regions` sums up classes, and heads of their own are regions already"
        }
        _ if heads && settings.strategy.is_some() => {
            "this strategy learns from classes that exclude each other"
        }
        _ if heads && settings.sample_attention > 0.0 => "`sample_attention` knows classes alone",
        _ => return None,
    };
    Some(FieldProblem::new("activation", message, "let `activation` be \"softmax\", or leave the other out"))
}

/// Voxels that nobody drew, which begin to count by a validation that there is not: none of them ever would.
fn waiting_problem(settings: &TrainSettings, split: &Split) -> Option<FieldProblem> {
    let waits = settings.strategy.is_some_and(|strategy| strategy.waits_for_validation());
    if !waits || split.may_validate() {
        return None;
    }
    let message =
        "cases to validate on expected, by which unlabelled voxels begin to count; the split has none";
    let hint = "let `split` have `validation`; without it `least_dice = 0`, `least_label_dice = 0` and a number as `gamma`";
    Some(FieldProblem::new("strategy", message, hint))
}

/// A strategy that learns from features, of a network that does not tell them.
fn features_problem(settings: &TrainSettings) -> Option<FieldProblem> {
    let strategy = settings.strategy?;
    let variant = match settings.network.resolve(1, 2) {
        Ok(NetworkConfig::Unet(config)) => Some(config.variant),
        Ok(_) => None,
        // A configuration that cannot be resolved is refused for itself.
        Err(_) => return None,
    };
    let told = matches!(variant, Some(Variant::Vnet | Variant::Residual));
    let message = match () {
        () if strategy.asks_for_features() && !told => {
            "a network of `variant` \"vnet\" or \"residual\" expected beside `embedding`, another one found"
        }
        () if strategy.drops_channels() && variant != Some(Variant::Vnet) => {
            "a network of `variant` \"vnet\" expected beside `unimatch`, another one found"
        }
        () => return None,
    };
    Some(FieldProblem::new("strategy", message, "e.g. `variant = \"vnet\"`"))
}

/// Whether a field has another value than when it is left out.
fn given(name: &str, config: &Config) -> bool {
    let fields = FIELDS.iter().filter(|field| field.name == name);
    fields.into_iter().any(|field| config.get(name).is_some_and(|value| !is_default(field, value)))
}

/// Refuses `epochs` beside `steps`: one of them would have no say.
fn length_problem(settings: &TrainSettings, config: &Config) -> Option<FieldProblem> {
    if settings.steps.is_none() || !given("epochs", config) {
        return None;
    }
    let message = "one of `epochs` and `steps` expected, both found";
    Some(FieldProblem::new("steps", message, "leave one of them out"))
}

/// A policy that says nothing, or that waits for cases which take no part.
pub(super) fn retrain_problem(asks: bool, retrain: Retrain) -> Option<FieldProblem> {
    let Retrain::At(enough) = retrain else { return None };
    match enough {
        Enough { new_cases: None, new_unlabelled: None } => {
            let message = "one of `new_cases` and `new_unlabelled` expected, neither found";
            Some(FieldProblem::new("retrain", message, "e.g. { new_cases = 20 }"))
        }
        Enough { new_unlabelled: Some(_), .. } if !asks => {
            let message = "a training that learns from cases without labels expected, this one does not";
            Some(FieldProblem::new("retrain.new_unlabelled", message, "see `strategy`, or `new_cases`"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::networks::{OptimizerConfig, Schedule};
    use crate::operators::spec::{Default, semantic};
    use serde_json::json;

    fn defaults() -> Config {
        let mut config = Config::new();
        for field in FIELDS {
            let value = match field.default {
                Default::Json(text) => serde_json::from_str(text).unwrap(),
                Default::Absent => json!(null),
                Default::Required => panic!("{} has no default", field.name),
            };
            config.insert(field.name.to_owned(), value);
        }
        // This is how the checker hands a duration on.
        config["checkpoint_every"] = json!(60_000);
        config
    }

    #[test]
    fn the_defaults_build() {
        let Ok(Stage::Train(train)) = build(&defaults()) else { panic!("expected a training") };
        assert_eq!(train.retrain, Retrain::Never);
        let Learns::Network { settings, running } = train.learns else { panic!("expected a network") };
        assert_eq!(settings.batch, 2);
        assert!(settings.network.resolve(1, 2).is_ok());
        assert_eq!(settings.optimizer, OptimizerConfig::default());
        assert_eq!(settings.schedule, Schedule::default());
        let minute = Duration::from_secs(60);
        assert_eq!(
            running,
            Operation { checkpoint_every: minute, readers: 4, tensorboard: false, deterministic: false }
        );
    }

    /// What a training's key was made from before optimizers could be chosen.
    #[test]
    fn what_came_later_is_in_no_key_at_its_default() {
        let old = [
            "network",
            "loss",
            "attention_weight",
            "epochs",
            "batch",
            "learning_rate",
            "weight_decay",
            "halve_every",
            "patience",
            "seed",
            "split",
        ];
        let ours = [
            "optimizer",
            "schedule",
            "clip_norm",
            "accumulate",
            "precision",
            "weights",
            "regions",
            "activation",
            "class_weights",
            "partly_labelled",
            "validate",
            "steps",
            "sample_attention",
            "strategy",
            "start",
            "freeze",
        ];
        let operational = ["checkpoint_every", "readers", "tensorboard", "deterministic", "retrain"];
        let kept = semantic(FIELDS, &defaults());
        assert!(old.iter().all(|name| kept.contains_key(*name)));
        assert!(ours.iter().chain(&operational).all(|name| !kept.contains_key(*name)), "{kept:?}");
        let mut config = defaults();
        config["optimizer"] = json!({ "type": "sgd", "momentum": 0.9, "nesterov": true });
        config["checkpoint_every"] = json!(1);
        let kept = semantic(FIELDS, &config);
        assert_eq!(kept["optimizer"]["momentum"], 0.9);
        assert!(!kept.contains_key("checkpoint_every"));
    }

    #[test]
    fn halving_by_another_schedule_is_named() {
        let mut config = defaults();
        config["schedule"] = json!({ "type": "cosine", "warm_up": 10 });
        assert!(build(&config).is_ok());
        config["halve_every"] = json!(500);
        let problems = build(&config).err().unwrap();
        assert_eq!(problems[0].field, "halve_every");
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
            assert!(train.network().unwrap().network.resolve(1, 2).is_ok());
        }
    }

    #[test]
    fn what_came_later_is_part_of_no_earlier_key() {
        let early = defaults();
        let mut later = early.clone();
        for name in ["dropout", "map_pooling", "map_loss", "kernel", "convolutions", "norm", "head", "heads"]
        {
            later["network"][name] = json!(null);
        }
        assert_eq!(semantic(FIELDS, &later), semantic(FIELDS, &early));
        later["network"]["dropout"] = json!(0.2);
        assert_ne!(semantic(FIELDS, &later), semantic(FIELDS, &early));
    }

    #[test]
    fn when_a_model_is_trained_anew_is_a_word_or_a_count() {
        let at = Enough { new_cases: Some(20), new_unlabelled: None };
        for (declared, retrain) in
            [(json!("always"), Retrain::Always), (json!({ "new_cases": 20 }), Retrain::At(at))]
        {
            let mut config = defaults();
            config["retrain"] = declared;
            let Ok(Stage::Train(train)) = build(&config) else { panic!("expected a training") };
            assert_eq!(train.retrain, retrain);
        }
    }

    #[test]
    fn how_long_and_how_are_said_once_and_go_together() {
        let problem = |changes: serde_json::Value| {
            let mut config = defaults();
            config.extend(changes.as_object().unwrap().clone());
            build(&config).err().map(|problems| problems[0].field.clone())
        };
        let asdnet = |critic: &str, semi: f64| {
            let mut strategy: serde_json::Value = json!({ "type": "adversarial" });
            let crate::operators::spec::FieldKind::Tagged([("adversarial", fields), ..]) =
                strategy::STRATEGY.kind
            else {
                panic!("a critic expected")
            };
            for field in *fields {
                let Default::Json(text) = field.default else { panic!("{} has no default", field.name) };
                strategy[field.name] = serde_json::from_str(text).unwrap();
            }
            (strategy["critic"], strategy["semi"]) = (json!(critic), json!(semi));
            strategy
        };
        assert_eq!(problem(json!({ "steps": 100 })), None);
        assert_eq!(problem(json!({ "steps": 100, "epochs": 3 })).as_deref(), Some("steps"));
        assert_eq!(problem(json!({ "strategy": asdnet("fcn", 0.3) })), None);
        assert_eq!(problem(json!({ "strategy": asdnet("cnn", 0.0) })), None);
        assert_eq!(problem(json!({ "strategy": asdnet("cnn", 0.3) })).as_deref(), Some("strategy.semi"));
        // A training that waits for a validation must have one.
        let alone = json!({ "train": 0.8, "validation": 0, "test": 0.2, "seed": 0 });
        let with = |field: &str, value: serde_json::Value| {
            let mut strategy = asdnet("fcn", 0.3);
            (strategy["least_dice"], strategy["least_label_dice"]) = (json!(0.0), json!(0.0));
            strategy[field] = value;
            problem(json!({ "strategy": strategy, "split": alone }))
        };
        assert_eq!(with("least_dice", json!(0.1)).as_deref(), Some("strategy"));
        assert_eq!(with("gamma", json!("one_minus_dice")).as_deref(), Some("strategy"));
        assert_eq!(with("gamma", json!(0.2)), None);
        assert_eq!(problem(json!({ "strategy": asdnet("fcn", 0.0), "split": alone })), None);
        let fold = |fold_is: &str| {
            let mut split = alone.clone();
            (split["folds"], split["fold"], split["fold_is"]) = (json!(5), json!(0), json!(fold_is));
            problem(json!({ "strategy": asdnet("fcn", 0.3), "split": split }))
        };
        assert_eq!((fold("validation"), fold("test").as_deref()), (None, Some("strategy")));
        let more = json!({ "new_unlabelled": 5 });
        assert_eq!(problem(json!({ "retrain": more })).as_deref(), Some("retrain.new_unlabelled"));
        assert_eq!(problem(json!({ "retrain": more, "strategy": asdnet("fcn", 0.3) })), None);
        assert_eq!(problem(json!({ "retrain": {} })).as_deref(), Some("retrain"));
    }

    #[test]
    fn fields_that_came_later_leave_keys_as_they_were() {
        let mut config = defaults();
        let bare = semantic(FIELDS, &config);
        let later =
            json!({ "folds": null, "fold": null, "stratify": null, "file": null, "fold_is": "validation" });
        let table = config["split"].as_object_mut().unwrap();
        table.extend(later.as_object().unwrap().clone());
        assert_eq!(semantic(FIELDS, &config), bare);
        config["split"]["fold"] = json!(1);
        assert_ne!(semantic(FIELDS, &config), bare);
        // The parts of cases in a file enter the key, its path does not.
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
