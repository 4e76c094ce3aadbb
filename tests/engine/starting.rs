//! Trainings that begin with weights: those of another stage, or of a file.

use std::collections::HashMap;
use std::fs;

use safetensors::tensor::{Dtype, TensorView};
use tomoflow::connectors::table::{RejectRow, Rows, Table, TrainingRow, read_rows};
use tomoflow::networks::ModelCard;
use tomoflow::operators::registry::Registry;
use tomoflow::pipeline;

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, ran};

/// Another training before `net`, which begins with it.
const BASE: &str = r#"[operators.base]
type = "train"
inputs = ["samples"]
network = { type = "unet", dims = "2.5d", levels = 2, channels = 2 }
epochs = 1
learning_rate = 2e-2
split = { train = 2, validation = 1, test = 1, seed = 3 }

[operators.net]"#;

fn begun_with(start: &str) -> Workplace {
    let mut place = Workplace::trained();
    place.text = place.text.rewrite("epochs = 2", &format!("epochs = 2\nstart = {start}"));
    place
}

fn chain() -> Workplace {
    let mut place = begun_with("\"base\"");
    place.text = place.text.rewrite("[operators.net]", BASE);
    place
}

fn training(place: &Workplace) -> Vec<TrainingRow> {
    match read_rows(&place.out().join("tables/training"), Table::Training).unwrap() {
        Rows::Training(rows) => rows,
        other => panic!("{other:?}"),
    }
}

/// A figure of `net`, before its first step.
fn figure(place: &Workplace, name: &str) -> Option<f64> {
    let rows = training(place);
    rows.iter().find(|row| row.stage == "net" && row.name == name).map(|row| row.value)
}

fn rejects(place: &Workplace) -> Vec<RejectRow> {
    match read_rows(&place.out().join("tables/rejects"), Table::Rejects).unwrap() {
        Rows::Rejects(rows) => rows,
        other => panic!("{other:?}"),
    }
}

fn model(place: &Workplace, stage: &str) -> String {
    training(place).iter().find(|row| row.stage == stage).unwrap().model.clone()
}

#[test]
fn a_training_begins_with_another_ones_model_and_follows_it() {
    let mut place = chain();
    let first = place.run();
    assert_eq!((first.trained, ran(&first, "segment")), (2, 4), "{first}");
    let loaded = figure(&place, "start.loaded").unwrap();
    assert!(loaded > 10.0);
    for none in ["start.missing", "start.mismatched", "start.unused"] {
        assert_eq!(figure(&place, none), Some(0.0), "{none}");
    }
    assert!(rejects(&place).iter().all(|row| row.code != "START_IN_PART"));
    // The card says by what it began.
    let net = model(&place, "net");
    let bytes = fs::read(place.out().join("store/artifacts").join(&net[..2]).join(&net)).unwrap();
    let began = ModelCard::read(&bytes[..]).unwrap().origin.start.map(|digest| digest.to_string());
    assert_eq!(began, Some(model(&place, "base")));
    let tables = place.tables();
    assert_eq!(tables, place.anew());
    assert_eq!(place.run().actions_run, 0);

    // A model that is kept stays with more cases, and goes with the model that it began with.
    place.add(4);
    let more = place.run();
    assert_eq!((more.trained, more.actions_run), (0, 2), "{more}");
    let kept = model(&place, "net");
    place.text = place.text.rewrite("learning_rate = 2e-2", "learning_rate = 3e-2");
    let other = place.run();
    assert_eq!(other.trained, 2, "{other}");
    assert_ne!(model(&place, "net"), kept);
    assert_eq!(place.run().actions_run, 0);

    // Without it another one is trained, and not the kept one taken for it.
    let with = model(&place, "net");
    place.text = place.text.rewrite("\nstart = \"base\"", "");
    assert_eq!(place.run().trained, 1);
    assert_ne!(model(&place, "net"), with);
    assert_eq!(figure(&place, "start.loaded"), None);
}

#[test]
fn one_that_follows_its_cases_takes_the_next_along() {
    let mut place = chain();
    place.text = place.text.rewrite("epochs = 1\n", "epochs = 1\nretrain = \"always\"\n");
    assert_eq!(place.run().trained, 2);
    (0..4).for_each(|series| place.move_label(series, 2));
    let summary = place.run();
    assert_eq!(summary.trained, 2, "{summary}");
    assert_eq!(place.run().actions_run, 0);
}

#[test]
fn a_file_is_begun_with_and_another_content_trains_anew() {
    let source = chain();
    source.run();
    let digest = model(&source, "base");
    let artifact = source.out().join("store/artifacts").join(&digest[..2]).join(&digest);
    let bytes = fs::read(artifact).unwrap();

    let mut place = begun_with("{ safetensors = \"weights.safetensors\" }");
    let file = place.path().join("weights.safetensors");
    fs::write(&file, &bytes).unwrap();
    let first = place.run();
    assert_eq!(first.trained, 1, "{first}");
    assert_eq!(figure(&place, "start.missing"), Some(0.0));
    assert_eq!(place.run().actions_run, 0);
    // The same weights lead to the same ones, whoever gives them.
    let rest = |place: &Workplace| {
        let rows = training(place);
        let rows = rows.into_iter().filter(|row| row.stage == "net");
        rows.map(|row| (row.name, row.epoch, row.value.to_bits())).collect::<Vec<_>>()
    };
    assert_eq!(rest(&place), rest(&source));

    // Moved, it is the same one; of other content, another is trained.
    fs::rename(&file, place.path().join("moved.safetensors")).unwrap();
    place.text = place.text.rewrite("weights.safetensors", "moved.safetensors");
    assert_eq!(place.run().actions_run, 0);
    let net = model(&source, "net");
    let other = fs::read(source.out().join("store/artifacts").join(&net[..2]).join(&net)).unwrap();
    fs::write(place.path().join("moved.safetensors"), other).unwrap();
    assert_eq!(place.run().trained, 1);
}

#[test]
fn what_does_not_fit_is_told_and_nothing_that_fits_is_an_error() {
    let mut place = chain();
    place.text = place.text.replacen("levels = 2, channels = 2", "levels = 2, channels = 4", 1);
    let summary = place.run();
    assert_eq!(summary.trained, 2, "{summary}");
    assert!(figure(&place, "start.mismatched").unwrap() > 0.0);
    let told: Vec<_> = rejects(&place).into_iter().filter(|row| row.code == "START_IN_PART").collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].message.contains("of another shape") && told[0].message.contains("expected"), "{told:?}");
    assert_eq!(told[0].attempts, 0);

    let place = begun_with("{ safetensors = \"weights.safetensors\" }");
    let numbers = [0u8; 8];
    let view = TensorView::new(Dtype::F32, vec![2], &numbers).unwrap();
    let bytes = safetensors::serialize([("layer1.weight", view)], None::<HashMap<String, String>>).unwrap();
    fs::write(place.path().join("weights.safetensors"), bytes).unwrap();
    let summary = place.run();
    assert_eq!((summary.trained, summary.trainings_failed), (0, 1), "{summary}");
    let told = rejects(&place);
    let told = told.iter().find(|row| row.stage == "net").unwrap();
    assert!(told.message.contains("none of 1 found") && told.message.contains("layer1.weight"), "{told:?}");
}

#[test]
fn a_case_that_was_learned_from_before_is_told_where_it_is_tested_on() {
    let mut place = chain();
    // The same split: nobody who is judged by was learned from.
    place.run();
    assert!(rejects(&place).iter().all(|row| row.code != "START_SAW_JUDGED"));
    let other = "epochs = 1\nlearning_rate = 2e-2\nsplit = { train = 4, validation = 0, test = 0, seed = 3 }";
    let same = "epochs = 1\nlearning_rate = 2e-2\nsplit = { train = 2, validation = 1, test = 1, seed = 3 }";
    place.text = place.text.rewrite(same, other);
    assert_eq!(place.run().trained, 2);
    let told = |place: &Workplace| {
        let rows = rejects(place).into_iter().filter(|row| row.code == "START_SAW_JUDGED");
        rows.map(|row| (row.stage, row.message)).collect::<Vec<_>>()
    };
    let first = told(&place);
    assert_eq!((first.len(), first[0].0.as_str()), (1, "net"));
    let again = place.run();
    assert!(again.notes.iter().any(|note| note.contains("net: cases to validate")), "{:?}", again.notes);
    assert!(first[0].1.ends_with("it has from 2 of 2"), "{first:?}");
    // As long as it is so, and not in the run that trains alone.
    place.run();
    assert_eq!(told(&place), first);
}

#[test]
fn circles_and_pickles_are_refused_where_they_are_named() {
    let problems = |place: &Workplace| {
        let read = pipeline::load(&place.pipeline(), &[], &Registry::builtin());
        read.map(|_| String::new()).unwrap_or_else(|problems| problems.to_string())
    };
    let own = problems(&begun_with("\"net\""));
    assert!(own.contains("`net` takes itself as an input"), "{own}");
    let mut circle = chain();
    circle.text = circle.text.rewrite("epochs = 1\n", "epochs = 1\nstart = \"net\"\n");
    let circle = problems(&circle);
    assert!(circle.contains("depends on itself") && circle.contains("the circle is"), "{circle}");
    let masks = problems(&begun_with("\"normal\""));
    assert!(masks.contains("`normal` gives cases where a model is expected"), "{masks}");
    let mut apart = chain();
    let unet = "network = { type = \"unet\", dims = \"2.5d\", levels = 2, channels = 2 }";
    apart.text = apart.text.replacen(unet, "network = { type = \"rcnn\" }", 1);
    let apart = problems(&apart);
    assert!(apart.contains("no tensor of the network of `base`"), "{apart}");
    let mut frozen = chain();
    frozen.text = frozen.text.rewrite("start = \"base\"", "start = \"base\"\nfreeze = [\"backbone.\"]");
    let frozen = problems(&frozen);
    assert!(frozen.contains("begins with `backbone.`") && frozen.contains("`encoder.`"), "{frozen}");
    let mut alone = Workplace::trained();
    alone.text = alone.text.rewrite("epochs = 2", "epochs = 2\nfreeze = [\"encoder.\"]");
    let alone = problems(&alone);
    assert!(alone.contains("weights to begin with expected"), "{alone}");
    let pickled = problems(&begun_with("{ safetensors = \"resnet50.pth\" }"));
    assert!(pickled.contains("pickled weights") && pickled.contains("save_file"), "{pickled}");

    let place = begun_with("{ safetensors = \"weights.safetensors\" }");
    let warnings = || {
        let plan = pipeline::load(&place.pipeline(), &[], &Registry::builtin()).unwrap();
        plan.warnings.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("\n")
    };
    assert!(warnings().contains("the file of weights for `net` is not there"), "{}", warnings());
    let numbers = 1f32.to_le_bytes();
    let view = TensorView::new(Dtype::F32, vec![1], &numbers).unwrap();
    let bytes = safetensors::serialize([("layer1.weight", view)], None::<HashMap<String, String>>).unwrap();
    fs::write(place.path().join("weights.safetensors"), bytes).unwrap();
    assert!(warnings().contains("no tensor of `weights.safetensors`"), "{}", warnings());
    fs::write(place.path().join("weights.safetensors"), b"PK\x03\x04 and so on").unwrap();
    assert_eq!(place.run().trainings_failed, 1);
    let told = rejects(&place);
    let told = told.iter().find(|row| row.stage == "net").unwrap();
    assert!(told.message.contains("pickled weights") && told.hint.contains("torch.load"), "{told:?}");
}
