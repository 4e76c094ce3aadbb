//! Models in a pipeline: trained once, kept until told otherwise, and read from files.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, ran};
use tomoflow::connectors::table::{Rows, Table, read_rows};
use tomoflow::engine::Options;
use tomoflow::operators::registry::Registry;
use tomoflow::pipeline::{self, Problem};

fn splits(place: &Workplace) -> Vec<String> {
    let mut splits: Vec<String> = place.metrics().into_iter().map(|row| row.split).collect();
    splits.sort();
    splits
}

#[test]
fn a_model_is_trained_once_and_kept() {
    let place = Workplace::trained();
    let first = place.run();
    assert_eq!(first.trained, 1);
    assert_eq!(
        [ran(&first, "samples"), ran(&first, "net"), ran(&first, "segment"), ran(&first, "judged")],
        [3, 1, 4, 4]
    );
    assert_eq!(splits(&place), ["test", "train", "train", "validation"]);
    let tables = place.tables();
    assert!(!tables["training"].is_empty());
    assert_eq!(tables, place.anew());

    let second = place.run();
    assert_eq!((second.actions_run, second.tables_changed.len()), (0, 0));
    assert_eq!(place.tables(), tables);

    // One more labelled scan: it is segmented by the model that is there.
    place.add(4);
    let third = place.run();
    assert_eq!((third.trained, third.actions_run), (0, 2));
    assert!(third.notes.iter().any(|note| note.contains("1 labelled case newer")), "{:?}", third.notes);
    assert_eq!(splits(&place), ["new", "test", "train", "train", "validation"]);

    // Told to, it trains anew on the corrected labels, and everything after the model follows.
    (0..5).for_each(|series| place.move_label(series, 2));
    let fourth = place.run_with(&Options { retrain: true, threads: 2, ..Options::default() });
    assert_eq!(fourth.trained, 1);
    assert_eq!(ran(&fourth, "segment"), 5);
    assert!(!splits(&place).contains(&"new".to_owned()));
    assert_eq!(place.tables(), place.anew());
    // And the new model is the one that is kept.
    assert_eq!(place.run().actions_run, 0);
}

#[test]
fn a_corrected_label_of_a_training_case_redoes_its_metrics_alone() {
    let place = Workplace::trained();
    place.run();
    place.move_label(0, 3);
    let summary = place.run();
    assert_eq!((summary.trained, summary.actions_run, ran(&summary, "judged")), (0, 1, 1));
}

#[test]
fn a_changed_recipe_trains_and_back_is_from_the_cache() {
    let mut place = Workplace::trained();
    place.run();
    let before = place.tables();
    place.text = place.text.rewrite("epochs = 2", "epochs = 1");
    assert_eq!(place.run().trained, 1);
    place.text = place.text.rewrite("epochs = 1", "epochs = 2");
    assert_eq!(place.run().actions_run, 0);
    assert_eq!(place.tables(), before);
}

#[test]
fn how_a_training_is_carried_out_is_in_no_key() {
    let mut place = Workplace::trained();
    let how = "epochs = 2\ntensorboard = true\nreaders = 1\ncheckpoint_every = \"1ms\"";
    place.text = place.text.rewrite("epochs = 2", how);
    assert_eq!(place.run().trained, 1);
    let tables = place.tables();
    // Below the stage's name a folder for each training.
    let stage = place.out().join("tensorboard/net");
    let training = std::fs::read_dir(&stage).unwrap().next().unwrap().unwrap().path();
    let events = std::fs::read_dir(training).unwrap().next().unwrap().unwrap();
    assert!(events.file_name().to_str().unwrap().starts_with("events.out.tfevents."));
    assert!(events.metadata().unwrap().len() > 500);
    place.text = place.text.rewrite(how, "epochs = 2");
    assert_eq!(place.run().actions_run, 0);
    assert_eq!(place.tables(), tables);
    // The rule of steps is.
    let sgd = "epochs = 2\noptimizer = { type = \"sgd\" }\nschedule = { type = \"polynomial\", warm_up = 1 }";
    place.text = place.text.rewrite("epochs = 2", sgd);
    assert_eq!(place.run().trained, 1);
}

#[test]
fn retrain_always_follows_the_cases() {
    let mut place = Workplace::trained();
    place.text = place.text.rewrite("epochs = 2", "epochs = 1\nretrain = \"always\"");
    assert_eq!(place.run().trained, 1);
    assert_eq!(place.run().actions_run, 0);
    place.move_label(0, 3);
    place.move_label(1, 3);
    place.move_label(2, 3);
    place.move_label(3, 3);
    assert_eq!(place.run().trained, 1);
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn without_labels_a_training_says_what_it_waits_for() {
    let mut place = Workplace::trained();
    place.text = place.text.rewrite("path = \"archive\"\nstructures", "path = \"nothing\"\nstructures");
    std::fs::create_dir(place.path().join("nothing")).unwrap();
    let summary = place.run();
    assert_eq!(summary.actions_run, 0);
    assert!(summary.notes.iter().any(|note| note.contains("no labelled case")), "{:?}", summary.notes);
}

#[test]
fn a_model_file_serves_other_pipelines() {
    let place = Workplace::trained();
    place.run();
    let masks = place.tables()["masks"].len();
    let file = exported(&place);
    let card: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap();
    assert_eq!(card["preparation"][0]["type"], "zscore");
    assert_eq!((&card["data"]["train"], &card["data"]["validation"]), (&2.into(), &1.into()));

    let mut other = with_file(&file, "");
    let summary = other.run();
    assert_eq!((summary.trained, ran(&summary, "segment")), (0, 4));
    assert_eq!(other.tables()["masks"].len(), masks);
    assert_eq!(other.run().actions_run, 0);

    // With nothing but the file: the card prepares scans as the pipeline did, to the same keys.
    let scores = other.metrics();
    let unprepared =
        other.text.replacen("inputs = [\"normal\"]", "inputs = [\"case\"]\nprepare = \"model\"", 1);
    other.text = without_stage(&unprepared, "normal");
    assert_eq!(other.run().actions_run, 0);
    assert_eq!(other.metrics(), scores);
}

#[test]
fn a_card_that_crops_around_a_label_is_followed_without() {
    let mut place = Workplace::trained();
    let around = "[operators.near]\ntype = \"crop\"\ninputs = [\"normal\"]\naround = \"tumour\"\nsize_mm = [20, 20, 20]\n\n";
    let (before, after) = place.text.split_once("[operators.samples]").unwrap();
    let (samples, after) = after.split_once("[operators.net]").unwrap();
    let samples = samples.rewrite("inputs = [\"normal\"]", "inputs = [\"near\"]");
    place.text = format!("{before}{around}[operators.samples]{samples}[operators.net]{after}");
    place.run();
    let file = exported(&place);
    let card: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap();
    assert_eq!(card["preparation"][1]["settings"]["around"], "tumour");

    let mut other = with_file(&file, "");
    let declared = other.run();
    assert_eq!(ran(&declared, "segment"), 4);
    let scores = other.metrics();
    let alone = other.text.replacen("inputs = [\"normal\"]", "inputs = [\"case\"]\nprepare = \"model\"", 1);
    other.text = without_stage(&alone, "normal");
    assert_eq!(other.run().actions_run, 0);
    assert_eq!(other.metrics(), scores);
}

/// The model of `net`, as `export` writes it.
fn exported(place: &Workplace) -> PathBuf {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    command.arg("export").arg(place.pipeline()).args(["--stage", "net", "--to", "models"]);
    let output = command.current_dir(place.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    place.path().join("models/net.safetensors")
}

/// A pipeline that segments by a model's file.
fn with_file(file: &Path, more: &str) -> Workplace {
    let mut place = Workplace::trained();
    let (before, after) = place.text.split_once("[operators.samples]").unwrap();
    let (_, after) = after.split_once("[operators.segment]").unwrap();
    let model = format!("model = {{ safetensors = {:?} }}\n{more}", file.to_str().unwrap());
    place.text = format!("{before}[operators.segment]{}", after.rewrite("model = \"net\"", &model));
    place
}

fn without_stage(text: &str, name: &str) -> String {
    let (before, after) = text.split_once(&format!("[operators.{name}]")).unwrap();
    let (_, after) = after.split_once("\n[").unwrap();
    format!("{before}[{after}")
}

fn checked(place: &Workplace) -> Result<Vec<String>, Vec<String>> {
    let messages = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.message).collect();
    match pipeline::load(&place.pipeline(), &[], &Registry::builtin()) {
        Ok(plan) => Ok(messages(plan.warnings)),
        Err(problems) => Err(messages(problems.0)),
    }
}

#[test]
fn a_pipeline_that_prepares_otherwise_than_the_models_card_is_told_so() {
    let place = Workplace::trained();
    place.run();
    let file = exported(&place);
    assert_eq!(checked(&with_file(&file, "")), Ok(vec![]));

    let mut other = with_file(&file, "");
    other.text = other.text.rewrite("type = \"zscore\"", "type = \"percentiles\"");
    let warning =
        "the model was trained on scans that were prepared otherwise: by `zscore`, here by `percentiles`";
    assert_eq!(checked(&other), Ok(vec![warning.to_owned()]));

    let both = with_file(&file, "prepare = \"model\"");
    let error = "the model's card says how scans are prepared, and `normal` changes them before";
    assert_eq!(checked(&both), Err(vec![error.to_owned()]));

    let mut stage = Workplace::trained();
    stage.text = stage.text.rewrite("model = \"net\"", "model = \"net\"\nprepare = \"model\"");
    assert!(checked(&stage).unwrap_err()[0].contains("another source of a model found"));

    std::fs::write(&file, b"not a model").unwrap();
    let mut damaged = with_file(&file, "prepare = \"model\"");
    damaged.text = damaged.text.replacen("inputs = [\"normal\"]\nmodel", "inputs = [\"case\"]\nmodel", 1);
    assert!(checked(&damaged).unwrap_err()[0].contains("not a safetensors file"));
}

#[test]
fn a_torchscript_file_is_a_model() {
    let mut place = Workplace::trained();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks/threshold.pt");
    let (before, after) = place.text.split_once("[operators.samples]").unwrap();
    let (_, after) = after.split_once("[operators.segment]").unwrap();
    let model = format!(
        "model = {{ torchscript = {:?}, view = {{ type = \"patch\", size = [4, 16, 16] }}, labels = [\"tumour\"] }}",
        file.to_str().unwrap()
    );
    let after = after.rewrite("model = \"net\"", &model);
    place.text = format!("{before}[operators.segment]{after}");
    let summary = place.run();
    assert_eq!((summary.rejected, ran(&summary, "segment")), (0, 4), "{summary}");
}

#[test]
fn what_is_kept_is_where_later_actions_start() {
    let mut place = Workplace::new(2);
    place.text = place.text.rewrite("type = \"zscore\"", "type = \"zscore\"\nkeep = true");
    let first = place.run();
    assert_eq!(ran(&first, "normal"), 2);
    let kept = place.tables();
    place.text = place.text.rewrite("keep = true", "keep = false").rewrite("above = 0.5", "above = 0.6");
    place.run();
    let fresh = place.tables();
    place.text = place.text.rewrite("keep = false", "keep = true");
    assert_eq!(place.run().actions_run, 0);
    assert_eq!(place.tables(), fresh);
    place.text = place.text.rewrite("above = 0.6", "above = 0.5");
    place.run();
    assert_eq!(place.tables(), kept);
}

#[test]
fn stacks_and_bags_train_networks_of_slices() {
    let patches = "type = \"patches\"\ninputs = [\"normal\"]\nsize = [4, 16, 16]";
    for view in ["type = \"stack\"\nslices = 3", "type = \"bag\"\nstacks = 3\nslices = 3\ngap = 2"] {
        let mut place = Workplace::trained();
        let view = format!("{view}\ninputs = [\"normal\"]");
        place.text = place.text.rewrite(patches, &view).rewrite("\"2.5d\"", "\"2d\"");
        let summary = place.run();
        assert_eq!(
            (summary.trained, summary.rejected, ran(&summary, "segment")),
            (1, 0, 4),
            "{view}: {summary}"
        );
        assert_eq!(place.run().actions_run, 0);
    }
}

#[test]
fn samples_are_changed_at_random_and_alike_each_time() {
    let augmented = |changes: &str| {
        let mut place = Workplace::trained();
        let stage = format!("[operators.changed]\ntype = \"augment\"\ninputs = [\"samples\"]\n{changes}\n\n");
        let (before, after) = place.text.split_once("[operators.net]").unwrap();
        let after = after.replacen("inputs = [\"samples\"]", "inputs = [\"changed\"]", 1);
        place.text = format!("{before}{stage}[operators.net]{after}");
        place
    };
    let every = "rotate_deg = [20, 5, 5]\nscale = [0.8, 1.25]\nelastic_mm = 1.0\nbias_field = 0.2\ngamma = [0.8, 1.2]\n\
                 slice_mm = [3, 6]\nblur_mm = [0.2, 0.8]\nlow_resolution = [0.5, 1.0]\nnoise = [0, 0.1]\n\
                 flip = [\"h\", \"w\"]\nprobability = 0.5";
    let place = augmented(every);
    let first = place.run();
    assert_eq!((first.trained, first.rejected, ran(&first, "segment")), (1, 0, 4), "{first}");
    assert_eq!(place.run().actions_run, 0);
    // The same weights from nothing: what is random hangs on no thread and no clock.
    assert_eq!(place.tables(), place.anew());
    // Samples that nothing happens to train the same weights as without.
    let model = |place: &Workplace| {
        place.run();
        match read_rows(&place.out().join("tables/training"), Table::Training).unwrap() {
            Rows::Training(rows) => rows[0].model.clone(),
            other => panic!("{other:?}"),
        }
    };
    let never = model(&augmented("gamma = [2, 2]\nprobability = 0"));
    assert_eq!(never, model(&Workplace::trained()));
    assert_ne!(never, model(&augmented("gamma = [2, 2]\nprobability = 1")));
}
