//! Learning from what nobody has drawn without a critic: features that lie together, a running mean to agree with, boxes of
//! one scan in another. All of it resumes bit for bit, learns, and does what its settings say.

use serde_json::{Value, json};
use tomoflow::networks::objectives::Objective;
use tomoflow::networks::objectives::copy_paste::CopyPaste;
use tomoflow::networks::objectives::embedding::Embedding;
use tomoflow::networks::objectives::mean_teacher::MeanTeacher;
use tomoflow::networks::objectives::supervised::Supervised;
use tomoflow::networks::objectives::unimatch::Unimatch;
use tomoflow::networks::{Extensions, Sources, Strategy, train_on};

use super::asdnet::{Undrawn, asdnet, values};
use super::*;

fn embedding() -> Value {
    json!({ "type": "embedding", "weight": 0.5, "margin": 1.0, "voxels": 8 })
}

fn mean_teacher() -> Value {
    json!({ "type": "mean_teacher", "decay": 0.9, "weight": 1.0, "ramp": 0.4, "noise": 0.1 })
}

fn copy_paste() -> Value {
    json!({
        "type": "copy_paste", "decay": 0.9, "weight": 0.5, "share": 0.6, "start": 0.3, "largest_component": true,
    })
}

fn unimatch() -> Value {
    json!({ "type": "unimatch", "threshold": 0.5, "weight": 1.0, "start": 0.3, "drop": 0.5, "strength": 0.5 })
}

/// A small SVNet, with a norm over groups: no statistics of a batch.
fn settings_of(strategy: Value) -> TrainSettings {
    let network = json!({
        "type": "unet", "dims": "3d", "levels": 3, "channels": [4, 8, 8], "attention": "off", "variant": "vnet",
        "norm": "group",
    });
    TrainSettings {
        network: serde_json::from_value(network).unwrap(),
        strategy: serde_json::from_value(strategy).unwrap(),
        sample_attention: 0.0,
        ..asdnet(json!({}))
    }
}

fn objective(settings: &TrainSettings) -> Result<Box<dyn Objective>, NetworkError> {
    let supervised = Supervised::new(settings, &task(), &Extensions::default())?;
    Ok(match &settings.strategy {
        Some(Strategy::Embedding(own)) => Box::new(Embedding::new(supervised, own)?),
        Some(Strategy::MeanTeacher(own)) => Box::new(MeanTeacher::new(supervised, own)),
        Some(Strategy::CopyPaste(own)) => Box::new(CopyPaste::new(supervised, own)),
        Some(Strategy::Unimatch(own)) => Box::new(Unimatch::new(supervised, own)?),
        _ => Box::new(supervised),
    })
}

fn train_taught(
    settings: &TrainSettings,
    undrawn: usize,
    folder: &Path,
    watch: &mut Watch,
) -> Result<Trained, NetworkError> {
    set_threads(1);
    let undrawn = Undrawn(undrawn);
    let sources = Sources { train: &Boxes(7), unlabelled: Some(&undrawn), validation: &Boxes(4) };
    let checkpoint_every = Duration::from_secs(3600);
    let running = Running { checkpoint: folder, checkpoint_every, readers: 2, device: Device::CPU };
    train_on(&*objective(settings)?, settings, &task(), sources, &running, watch)
}

fn undisturbed(settings: &TrainSettings, undrawn: usize) -> (Trained, u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Watch::new(u64::MAX);
    let trained = train_taught(settings, undrawn, folder.path(), &mut watch).unwrap();
    (trained, watch.steps.into_inner())
}

#[test]
fn stopped_after_any_batch_they_end_alike() {
    for strategy in [embedding(), mean_teacher(), copy_paste(), unimatch()] {
        let settings = TrainSettings { accumulate: 2, ..settings_of(strategy) };
        let (expected, asked) = undisturbed(&settings, 5);
        for stop_after in 0..asked {
            let folder = tempfile::tempdir().unwrap();
            let error = train_taught(&settings, 5, folder.path(), &mut Watch::new(stop_after)).unwrap_err();
            assert!(matches!(error, NetworkError::Cancelled { .. }), "{error}");
            let resumed = train_taught(&settings, 5, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
            assert!(resumed == expected, "{:?} stopped after {stop_after}", settings.strategy);
        }
    }
}

#[test]
fn each_setting_has_a_say_and_each_term_a_figure() {
    for (strategy, term, changes) in [
        (
            embedding(),
            "embedding_loss",
            [("weight", json!(0.1)), ("margin", json!(0.2)), ("voxels", json!(3))].to_vec(),
        ),
        (
            mean_teacher(),
            "consistency_loss",
            [("decay", json!(0.1)), ("weight", json!(5.0)), ("ramp", json!(1.0)), ("noise", json!(0.5))]
                .to_vec(),
        ),
        (
            copy_paste(),
            "copy_paste_loss",
            [("decay", json!(0.1)), ("weight", json!(0.1)), ("share", json!(0.3)), ("start", json!(0.0))]
                .to_vec(),
        ),
        (
            unimatch(),
            "unimatch_loss",
            [
                ("threshold", json!(0.7)),
                ("weight", json!(0.2)),
                ("start", json!(0.0)),
                ("drop", json!(0.2)),
                ("strength", json!(0.1)),
            ]
            .to_vec(),
        ),
    ] {
        let (whole, _) = undisturbed(&settings_of(strategy.clone()), 5);
        for name in ["loss", "segmentation_loss", term] {
            let found = values(&whole, name);
            assert!(found.len() == 3 && found.iter().all(|value| value.is_finite()), "{name}: {found:?}");
        }
        assert!(values(&whole, term).last().is_some_and(|value| *value > 0.0), "{term}");
        let mut models = vec![whole.safetensors.clone()];
        for (field, value) in changes {
            let mut other = strategy.clone();
            other[field] = value;
            let (other, _) = undisturbed(&settings_of(other), 5);
            assert!(!models.contains(&other.safetensors), "{term}: `{field}` changes nothing");
            models.push(other.safetensors);
        }
        // What nobody drew takes part; without any it is another training, and not one that fails.
        let (alone, _) = undisturbed(&settings_of(strategy), 0);
        assert!(!models.contains(&alone.safetensors), "{term}");
    }
}

#[test]
fn a_teacher_of_no_weight_leaves_the_network_as_it_was() {
    let mut strategy = mean_teacher();
    strategy["weight"] = json!(0.0);
    let (alone, _) = undisturbed(&settings_of(strategy), 0);
    let plain = TrainSettings { strategy: None, ..settings_of(mean_teacher()) };
    let (supervised, _) = undisturbed(&plain, 0);
    let weights = |trained: &Trained| {
        let model = Model::from_safetensors(&trained.safetensors, Device::CPU).unwrap();
        let (input, _) = boxes(40);
        model.segment(&input, SIZE, &InferOptions::default()).unwrap()
    };
    assert_eq!(weights(&alone), weights(&supervised));
    assert_eq!(values(&alone, "dice"), values(&supervised, "dice"));
    assert!(values(&alone, "learning_rate.teacher").is_empty(), "who follows has no rate");
}

#[test]
fn a_network_that_does_not_tell_its_features_is_refused() {
    let settings = TrainSettings { strategy: settings_of(embedding()).strategy, ..settings() };
    let error = objective(&settings).err().unwrap().to_string();
    assert!(error.contains("vnet"), "{error}");
}
