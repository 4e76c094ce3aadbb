//! What would run and why.

use std::fs;

use expect_test::expect;
use tomoflow::connectors::{Digest, Reject};
use tomoflow::engine::{self, Difference, Options};
use tomoflow::operators::registry::Registry;

use super::explained::{explain, masks, output};
use super::{forecast, forecast_in, repaint, stage, why};
use crate::support::probe::{self, Hook};
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, ran, world};

#[test]
fn a_plan_of_a_first_run_makes_no_output() {
    let place = Workplace::new(3);
    let forecast = forecast(&place);
    assert!(!place.out().exists());
    assert_eq!((forecast.cases, forecast.files_read), (3, 27));
    let unknown: Vec<&str> = forecast.unknown.iter().map(String::as_str).collect();
    assert_eq!(unknown, ["bright", "largest", "scores"]);
    expect![[r#"
        3 cases, 27 files to read, 3 actions to run
          bright: 3 to run, 0 unchanged (3 new scans)
          largest: 0 to run, up to 3 to follow, 0 unchanged (after bright)
          scores: 0 to run, up to 3 to follow, 0 unchanged (after largest)
        time: 0s and more; no past run tells of bright, largest, scores
    "#]]
    .assert_eq(&forecast.to_string());
    // What was foreseen is what happens.
    let summary = place.run();
    assert_eq!([ran(&summary, "bright"), ran(&summary, "largest"), ran(&summary, "scores")], [3, 3, 3]);
}

#[test]
fn a_plan_counts_what_changed_and_says_why() {
    let place = Workplace::new(3);
    place.run();
    place.add(3);
    place.add(4);
    place.move_label(1, 2);
    let forecast = forecast(&place);
    assert!(forecast.unknown.is_empty(), "{forecast}");
    for stage in ["bright", "largest", "scores"] {
        assert!(forecast.stages[stage].seconds_each.is_some(), "{stage}: {forecast}");
    }
    let text = forecast.to_string();
    let (counts, time) = text.split_at(text.find("time: ").unwrap());
    expect![[r#"
        5 cases, 19 files to read, 3 actions to run
          bright: 2 to run, 3 unchanged (2 new scans)
          largest: 0 to run, up to 2 to follow, 3 unchanged (after bright)
          scores: 1 to run, up to 2 to follow, 2 unchanged (after largest, 1 label changed)
    "#]]
    .assert_eq(counts);
    assert!(time.starts_with("time: about ") && time.ends_with(", as past runs took\n"), "{time}");
    let summary = place.run();
    assert_eq!([ran(&summary, "bright"), ran(&summary, "largest"), ran(&summary, "scores")], [2, 2, 3]);
}

#[test]
fn a_plan_of_nothing_says_so() {
    let place = Workplace::new(2);
    place.run();
    expect![[r#"
        2 cases: nothing to do
          bright: 0 to run, 2 unchanged
          largest: 0 to run, 2 unchanged
          scores: 0 to run, 2 unchanged
    "#]]
    .assert_eq(&forecast(&place).to_string());
}

#[test]
fn labels_that_come_and_go_are_foreseen() {
    let place = Workplace::new(2);
    let outlines = place.files_of(0).pop().unwrap();
    let away = place.path().join("away.dcm");
    fs::rename(&outlines, &away).unwrap();
    place.run();
    fs::rename(&away, &outlines).unwrap();
    assert_eq!(stage(&forecast(&place), "scores"), (1, 0, 1, why([("new label", 1)])));
    place.run();
    fs::rename(&outlines, &away).unwrap();
    let withdrawn = forecast(&place);
    assert_eq!(stage(&withdrawn, "scores"), (0, 0, 1, why([])), "its figures go, nothing runs: {withdrawn}");
    assert_eq!(place.run().actions_run, 0);
    assert_eq!(place.tables()["metrics"].len(), 3);
}

#[test]
fn a_changed_setting_is_named() {
    let mut place = Workplace::new(2);
    place.run();
    place.text = place.text.rewrite("above = 0.5", "above = 0.8");
    let seen = forecast(&place);
    assert_eq!(stage(&seen, "bright"), (2, 0, 0, why([("`above` of bright changed", 2)])));
    assert_eq!(stage(&seen, "largest"), (0, 2, 0, why([("after bright", 2)])));
    assert_eq!(stage(&seen, "scores"), (0, 2, 0, why([("after largest", 2)])));
    place.run();
    place.text = place.text.rewrite("[\"dice\", \"assd\", \"rve\"]", "[\"dice\"]");
    assert_eq!(stage(&forecast(&place), "scores"), (2, 0, 0, why([("`metrics` of scores changed", 2)])));
    // Back to what was done before.
    place.text = place
        .text
        .rewrite("above = 0.8", "above = 0.5")
        .rewrite("[\"dice\"]", "[\"dice\", \"assd\", \"rve\"]");
    assert!(forecast(&place).to_string().starts_with("2 cases: nothing to do\n"));
}

#[test]
fn a_changed_scan_and_one_that_is_back_are_told_from_a_new_one() {
    let place = Workplace::new(2);
    place.run();
    repaint(&place.files_of(0)[2]);
    assert_eq!(stage(&forecast(&place), "bright"), (1, 0, 1, why([("scan changed", 1)])));
    place.run();
    // Its outcome is there, its artifact is not.
    fs::remove_dir_all(place.out().join("store/artifacts")).unwrap();
    let lost = "done before, its output is gone or was forgotten";
    assert_eq!(stage(&forecast(&place), "bright"), (2, 0, 0, why([(lost, 2)])));
}

#[test]
fn another_version_of_an_operator_is_named() {
    let place = probe::place(2, "idle", "");
    let plan = place.plan(&probe::registry(1));
    engine::run(plan, &Options::default(), &mut |_| {}).unwrap();
    let seen = forecast_in(&place, &probe::registry(2), &Options::default());
    assert_eq!(stage(&seen, "bright"), (2, 0, 0, why([("code of `probe` changed", 2)])));
}

#[test]
fn failures_that_stand_are_counted_with_their_remedy() {
    let place = probe::place(1, "refuses", "");
    let _hook = Hook::set("refuses", |_| Err(Reject::new("TOO_STRANGE", "as a test asked", "")));
    let plan = place.plan(&probe::registry(1));
    engine::run(plan, &Options::default(), &mut |_| {}).unwrap();
    let seen = forecast_in(&place, &probe::registry(1), &Options::default());
    assert_eq!(seen.stages["bright"].failed, 1);
    assert!(seen.to_string().contains("1 failed before (`tomoflow retry` tries them again)"), "{seen}");
}

/// Two series, segmented by a model from a file.
fn with_model_file(model: usize) -> Workplace {
    let mut place = Workplace::new(2);
    let (head, _) = place.text.split_once("[operators.bright]").unwrap();
    place.text = format!(
        "{head}[operators.segment]\ntype = \"infer\"\ninputs = [\"normal\"]\n\
         model = {{ safetensors = \"net.safetensors\" }}\n\n\
         [sinks.results]\ntype = \"delta\"\ninputs = [\"segment\"]\n"
    );
    fs::write(place.path().join("net.safetensors"), &world::models()[model]).unwrap();
    place
}

#[test]
fn a_replaced_model_file_is_foreseen_and_explained() {
    let place = with_model_file(0);
    place.run();
    fs::write(place.path().join("net.safetensors"), &world::models()[1]).unwrap();
    assert_eq!(stage(&forecast(&place), "segment"), (2, 0, 0, why([("model changed", 2)])));
    place.run();
    let series = &place.phantom_series(0);
    let segment = output(explain(&place, series), "segment");
    let [before, now] = [0, 1].map(|model| Digest::of(&world::models()[model]).to_string());
    assert_eq!(segment.model.as_ref(), Some(&now));
    let weights = Difference::Model { before, now };
    assert_eq!(segment.before.unwrap().differences, [weights]);
}

#[test]
fn a_training_that_changes_is_foreseen_with_what_may_follow() {
    let mut place = Workplace::trained();
    let first = forecast(&place);
    assert_eq!(stage(&first, "samples"), (3, 0, 0, why([("new scan", 3)])));
    assert_eq!(stage(&first, "net"), (0, 1, 0, why([("once its cases are prepared", 1)])));
    assert_eq!(stage(&first, "segment"), (0, 4, 0, why([("after net", 4)])));
    assert_eq!(stage(&first, "judged"), (0, 4, 0, why([("after segment", 4)])));
    place.run();
    place.text = place.text.rewrite("epochs = 2", "epochs = 1");
    let seen = forecast(&place);
    assert_eq!(stage(&seen, "net"), (1, 0, 0, why([("`epochs` of net changed", 1)])));
    assert_eq!(stage(&seen, "segment"), (0, 4, 0, why([("after net", 4)])));
    place.run();
    let net = output(explain(&place, &masks(&place)[0].model[..12]), "net");
    let epochs = Difference::Setting {
        stage: "net".to_owned(),
        field: "epochs".to_owned(),
        before: "2".to_owned(),
        now: "1".to_owned(),
    };
    assert_eq!(net.before.unwrap().differences, [epochs]);
    (0..4).for_each(|series| place.move_label(series, 3));
    // The model is kept, unless somebody asks for a new one.
    assert_eq!(stage(&forecast(&place), "judged"), (4, 0, 0, why([("label changed", 4)])));
    let anew = Options { retrain: true, ..Options::default() };
    let seen = forecast_in(&place, &Registry::builtin(), &anew);
    assert_eq!(stage(&seen, "samples"), (3, 0, 0, why([("label changed", 3)])));
    assert_eq!(stage(&seen, "net").1, 1);
    place.run_with(&anew);
    // Another model by the same name.
    let judged = output(explain(&place, &place.phantom_series(0)), "segment");
    assert!(matches!(judged.before.unwrap().differences[..], [Difference::Model { .. }]));
}

// explain
