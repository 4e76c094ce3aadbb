//! Boxes in a pipeline: a detector is trained, looks at every scan, and its boxes stand in a table and are judged.

use crate::support::text::Rewrite as _;
use crate::support::{THRESHOLD, Workplace, ran};
use tomoflow::connectors::table::{DetectionRow, Rows, Table, read_rows};
use tomoflow::networks;
use tomoflow::operators::registry::Registry;
use tomoflow::pipeline;

const DETECTED: &str = r#"
[operators.samples]
type = "stack"
inputs = ["normal"]
slices = 3
per_case = 4
foreground = 0.9
instances = { growth = ["tumour"] }

[operators.net]
type = "train"
inputs = ["samples"]
epochs = 2
learning_rate = 2e-3
split = { train = 2, validation = 1, test = 1, seed = 3 }

[operators.net.network]
type = "rcnn"
backbone = "resnet18"
width = 4
pyramid = 8
hidden = 16
anchors = [8, 16, 32, 64, 128]
anchor_samples = 64
region_samples = 32
proposals = [60, 40]

[operators.found]
type = "detect"
inputs = ["normal"]
model = "net"
score = 0

[operators.judged]
type = "evaluate_boxes"
inputs = ["found", "case"]
false_positives = [1, 4]

[sinks.learned]
type = "delta"
inputs = ["found", "judged"]
"#;

/// Four series, and the pipeline that trains a detector on them.
fn place() -> Workplace {
    networks::set_threads(1);
    let mut place = Workplace::new(4);
    let (head, _) = THRESHOLD.split_once("[operators.bright]").unwrap();
    place.text = format!("{head}{DETECTED}");
    place
}

fn boxes(place: &Workplace) -> Vec<DetectionRow> {
    match read_rows(&place.out().join("tables/detections"), Table::Detections).unwrap() {
        Rows::Detections(rows) => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_detector_is_trained_looks_and_is_judged() {
    let mut place = place();
    let first = place.run();
    assert_eq!((first.trained, ran(&first, "found"), ran(&first, "judged")), (1, 4, 4));
    let found = boxes(&place);
    assert!(!found.is_empty());
    for row in &found {
        assert_eq!((row.label, row.label_name.as_str(), row.stage.as_str()), (1, "growth", "found"));
        assert!(0.0 <= row.x1 && row.x1 < row.x2 && row.x2 <= 32.0, "{row:?}");
        assert!(0.0 <= row.y1 && row.y1 < row.y2 && row.y2 <= 32.0, "{row:?}");
        assert!(row.score > 0.0 && row.score <= 1.0 && !row.sop_instance.is_empty());
        // Pixels of 0.4 mm: the corners lie as far apart as the edges.
        let mm = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let apart = mm([row.x1_mm, row.y1_mm, row.z1_mm], [row.x2_mm, row.y2_mm, row.z2_mm]);
        let edges = ((row.x2 - row.x1).powi(2) + (row.y2 - row.y1).powi(2)).sqrt() * 0.4;
        assert!((apart - edges).abs() < 1e-6, "{row:?}");
    }
    let metrics = place.metrics();
    let mut names: Vec<&str> = metrics.iter().map(|row| row.metric.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((names, metrics.len()), (vec!["ap50", "sensitivity_at_1", "sensitivity_at_4"], 12));
    assert!(metrics.iter().all(|row| row.label == "growth" && row.state == "ok" && row.value.is_some()));
    // Over all images of a group together, beside the means over cases.
    let tables = place.tables();
    let pooled = tables["summary"].iter().filter(|row| row.contains("pooled_ap50")).count();
    let means = tables["summary"].iter().filter(|row| row.contains("\"ap50\"")).count();
    assert!(pooled > 2 && pooled == means, "{pooled} {means}");
    let training = &tables["training"];
    for figure in ["objectness_loss", "proposal_box_loss", "class_loss", "box_loss", "ap50"] {
        assert!(training.iter().any(|row| row.contains(&format!("\"{figure}\""))), "{figure}: {training:?}");
    }

    // It is the same from nothing, and nothing is done twice.
    let tables = place.tables();
    assert_eq!(tables, place.anew());
    let second = place.run();
    assert_eq!((second.actions_run, second.tables_changed.len()), (0, 0));

    // Fewer boxes are told of: the network looks again, and is not trained.
    place.text = place.text.rewrite("score = 0\n", "score = 0.5\n");
    let third = place.run();
    assert_eq!((third.trained, ran(&third, "found")), (0, 4));
    assert!(boxes(&place).iter().all(|row| row.score > 0.5));

    // A scan that goes takes its boxes with it.
    place.text = place.text.rewrite("score = 0.5\n", "score = 0\n");
    let gone = place.phantom_series(0);
    place.delete(0);
    place.run();
    assert!(boxes(&place).iter().all(|row| row.series != gone));
    assert_eq!(place.tables()["detections"].len(), found.iter().filter(|row| row.series != gone).count());
}

const PAINTED: &str = r#"
[operators.segment]
type = "paint"
inputs = ["found"]
score = 0.1

[operators.scores]
type = "evaluate"
inputs = ["segment", "case"]
metrics = ["dice"]

[sinks.painted]
type = "delta"
inputs = ["segment", "scores"]
"#;

/// The same, whose detector gives masks, which are painted and compared.
fn painting() -> Workplace {
    let mut place = place();
    let masks = place.text.rewrite("width = 4\n", "width = 4\nmasks = true\nmask_channels = 8\n");
    // A thing is called as its label is, with which it is compared.
    place.text =
        format!("{masks}{PAINTED}").rewrite("{ growth = [\"tumour\"] }", "{ tumour = [\"tumour\"] }");
    place
}

#[test]
fn masks_are_painted_and_compared() {
    let mut place = painting();
    let first = place.run();
    assert_eq!((first.trained, ran(&first, "segment"), ran(&first, "scores")), (1, 4, 4));
    let tables = place.tables();
    assert!(tables["training"].iter().any(|row| row.contains("\"mask_loss\"")));
    let dice: Vec<_> = place.metrics().into_iter().filter(|row| row.metric == "dice").collect();
    assert!(
        dice.len() == 4 && dice.iter().all(|row| row.label == "tumour" && row.value.is_some()),
        "{dice:?}"
    );
    // No box is surer than this: an empty mask is one, too.
    place.text = place.text.rewrite("score = 0.1\n", "score = 1\n");
    let second = place.run();
    assert_eq!((second.trained, ran(&second, "found"), ran(&second, "segment")), (0, 0, 4));
    assert!(place.tables()["masks"].is_empty());
    place.text = place.text.rewrite("score = 1\n", "score = 0.1\n");
    place.run();
    assert_eq!(place.tables()["masks"], tables["masks"]);
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn what_is_painted_must_have_masks() {
    let place = painting();
    let problems = |text: &str| {
        let path = place.path().join("wrong.toml");
        std::fs::write(&path, text).unwrap();
        pipeline::load(&path, &[], &Registry::builtin()).unwrap_err().to_string()
    };
    let without = place.text.rewrite("masks = true\nmask_channels = 8\n", "");
    let found = problems(&without);
    assert!(
        found.contains("`net` is trained to give boxes alone") && found.contains("masks = true"),
        "{found}"
    );
    let lonely = place.text.rewrite("masks = true\n", "");
    assert!(problems(&lonely).contains("`masks = true` expected beside it"));
}

#[test]
fn boxes_are_asked_for_where_they_are_given() {
    let place = place();
    let problems = |text: &str| {
        let path = place.path().join("wrong.toml");
        std::fs::write(&path, text).unwrap();
        pipeline::load(&path, &[], &Registry::builtin()).unwrap_err().to_string()
    };
    let text = &place.text;
    let masks = text.rewrite("type = \"detect\"", "type = \"infer\"").rewrite("score = 0\n", "");
    let found = problems(&masks);
    assert!(found.contains("`net` gives boxes") && found.contains("use `detect`"), "{found}");
    let head = text.split_once("[operators.net.network]").unwrap().0;
    let tail = text.split_once("[operators.found]").unwrap().1;
    let dense = format!("{head}\n[operators.found]{tail}");
    let found = problems(&dense);
    assert!(found.contains("`net` gives a class for each voxel") && found.contains("use `infer`"), "{found}");
    assert!(found.contains("`instances` of its samples has no say"), "{found}");
    let patches = text
        .rewrite("type = \"stack\"", "type = \"patches\"")
        .rewrite("slices = 3\n", "size = [4, 16, 16]\n")
        .rewrite("instances = { growth = [\"tumour\"] }\n", "");
    assert!(problems(&patches).contains("patches found"));
    let attentive = text.rewrite("width = 4\n", "width = 4\nattention = { at = \"rcnn\" }\n");
    assert!(problems(&attentive).contains("needs a bag"));
    let lossy =
        text.rewrite("epochs = 2\n", "epochs = 2\nloss = { type = \"cross_entropy\" }\nregions = true\n");
    let found = problems(&lossy);
    assert!(found.contains("`loss` has no say") && found.contains("`regions` is for"), "{found}");
    let beside = "epochs = 2\nstrategy = { type = \"adversarial\" }\n";
    let found = problems(&text.rewrite("epochs = 2\n", &format!("{beside}sample_attention = 2.0\n")));
    let said = ["`strategy` has no say", "`sample_attention` has no say"];
    assert!(said.iter().all(|said| found.contains(said)), "{found}");
    // A critic of windows is not shown slices, which is said before any case is prepared.
    let critic = dense.rewrite("epochs = 2\n", beside);
    assert!(problems(&critic).contains("windows of one size (`patches`) expected beside `strategy`"));
    assert!(!found.contains("windows of one size"), "{found}");
}

#[test]
fn a_kind_of_thing_that_no_label_makes_up_is_a_failed_training() {
    let mut place = place();
    place.text = place.text.rewrite("{ growth = [\"tumour\"] }", "{ growth = [\"node\"] }");
    let summary = place.run();
    assert_eq!((summary.trained, summary.trainings_failed), (0, 1));
    let rejects = &place.tables()["rejects"];
    assert!(rejects.iter().any(|row| row.contains("UNKNOWN_LABEL") && row.contains("`node`")), "{rejects:?}");
}
