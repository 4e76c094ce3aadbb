//! What is declared builds, what does not go together is named, and keys stay as they were.

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
fn falls_at_no_step_are_named() {
    let mut config = defaults();
    config["schedule"] =
        json!({ "type": "steps", "at": [60000, 0.9], "factor": 0.1, "warm_up": 500, "warm_up_from": 0.25 });
    assert!(build(&config).is_ok());
    config["schedule"]["at"] = json!([]);
    let problems = build(&config).err().unwrap();
    assert_eq!(problems[0].field, "schedule.at");
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
    for name in ["dropout", "map_pooling", "map_loss", "kernel", "convolutions", "norm", "head", "heads"] {
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
