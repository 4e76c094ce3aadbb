//! What would run and why, what made an output, whether all is sound, and what could go.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use expect_test::expect;
use support::probe::{self, Hook};
use support::{Workplace, assert_same, contents, ran, world};
use tomoflow::connectors::dicom::walk;
use tomoflow::connectors::table::{MaskRow, Rows, Table, read_rows, table_files};
use tomoflow::connectors::{Digest, Reject};
use tomoflow::engine::{
    self, Difference, ExplainError, Explanation, Forecast, Garbage, Options, Output, Verified,
};
use tomoflow::operators::registry::Registry;

/// Everything below a folder, with sizes and times.
fn listing(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    let about = |path: &Path| {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.len(), metadata.modified().unwrap())
    };
    found.insert(folder.to_owned(), about(folder));
    for entry in entries {
        let path = entry.unwrap().path();
        found.insert(path.clone(), about(&path));
        if path.is_dir() {
            found.extend(listing(&path));
        }
    }
    found
}

/// Does something that must leave the output as it is.
fn looking_only<T>(place: &Workplace, look: impl FnOnce() -> T) -> T {
    let before = listing(&place.out());
    let seen = look();
    assert_eq!(listing(&place.out()), before, "something was written");
    seen
}

fn forecast(place: &Workplace) -> Forecast {
    forecast_in(place, &Registry::builtin(), &Options::default())
}

fn forecast_in(place: &Workplace, registry: &Registry, options: &Options) -> Forecast {
    let plan = place.plan(registry);
    looking_only(place, || engine::forecast(plan, options).unwrap_or_else(|error| panic!("{error}")))
}

/// To run, may follow, unchanged, and why.
fn stage(forecast: &Forecast, stage: &str) -> (usize, usize, usize, Vec<(String, usize)>) {
    let stage = forecast.stages.get(stage).unwrap_or_else(|| panic!("{stage}: {forecast}"));
    (stage.run, stage.may_follow, stage.unchanged, stage.reasons.clone().into_iter().collect())
}

fn why<const N: usize>(reasons: [(&str, usize); N]) -> Vec<(String, usize)> {
    reasons.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect()
}

/// Changes the last pixel of a slice.
fn repaint(slice: &Path) {
    let mut bytes = fs::read(slice).unwrap();
    let at = bytes.len() - 2;
    bytes[at] ^= 1;
    fs::write(slice, bytes).unwrap();
}

/// The time of an action is kept in whole seconds: what is done after this is younger.
fn a_second_later() {
    std::thread::sleep(Duration::from_millis(1100));
}

// plan

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
    place.text = place.text.replace("above = 0.5", "above = 0.8");
    let seen = forecast(&place);
    assert_eq!(stage(&seen, "bright"), (2, 0, 0, why([("`above` of bright changed", 2)])));
    assert_eq!(stage(&seen, "largest"), (0, 2, 0, why([("after bright", 2)])));
    assert_eq!(stage(&seen, "scores"), (0, 2, 0, why([("after largest", 2)])));
    place.run();
    place.text = place.text.replace("[\"dice\", \"assd\", \"rve\"]", "[\"dice\"]");
    assert_eq!(stage(&forecast(&place), "scores"), (2, 0, 0, why([("`metrics` of scores changed", 2)])));
    // Back to what was done before.
    place.text = place
        .text
        .replace("above = 0.8", "above = 0.5")
        .replace("[\"dice\"]", "[\"dice\", \"assd\", \"rve\"]");
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
    place.text = place.text.replace("epochs = 2", "epochs = 1");
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

fn explain(place: &Workplace, subject: &str) -> Explanation {
    let plan = place.plan(&Registry::builtin());
    looking_only(place, || engine::explain(&plan, subject).unwrap_or_else(|error| panic!("{error}")))
}

fn output(explanation: Explanation, stage: &str) -> Output {
    explanation.outputs.into_iter().find(|output| output.stage == stage).unwrap()
}

fn masks(place: &Workplace) -> Vec<MaskRow> {
    match read_rows(&place.out().join("tables/masks"), Table::Masks).unwrap() {
        Rows::Masks(rows) => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_series_is_explained_in_every_stage() {
    let place = Workplace::new(2);
    place.run();
    let series = place.phantom_series(1);
    let explained = explain(&place, &series);
    let stages: Vec<&str> = explained.outputs.iter().map(|output| output.stage.as_str()).collect();
    assert_eq!(stages, ["bright", "largest", "scores"]);
    for output in &explained.outputs {
        assert_eq!(output.case.as_deref(), Some(series.as_str()));
        assert!(output.outcome.starts_with("artifact ") && output.before.is_none(), "{output:?}");
    }
    let [bright, largest, scores] = &explained.outputs[..] else { panic!("{explained}") };
    let chain: Vec<&str> = bright.operators.iter().map(|part| part.operator.as_str()).collect();
    assert_eq!(chain, ["dicom", "assemble", "label", "zscore", "threshold"]);
    assert_eq!(bright.operators[4].settings["above"], 0.5);
    assert_eq!((bright.slices, bright.labels.is_some()), (Some(8), false));
    assert_eq!(largest.mask.as_deref(), bright.outcome.strip_prefix("artifact "));
    assert_eq!(scores.mask.as_deref(), largest.outcome.strip_prefix("artifact "));
    assert!(scores.labels.is_some());
    assert!(explained.to_string().contains("the first one that stood here"), "{explained}");
}

#[test]
fn a_pseudonym_is_explained_and_no_identifier_is_told() {
    let mut place = Workplace::new(2);
    place.text = place.text.replace("identifiers = \"clear\"\n", "");
    place.run();
    repaint(&place.files_of(0)[2]);
    place.run();
    let clear = place.phantom_series(0);
    let shown = output(explain(&place, &clear), "bright").case.unwrap();
    assert_ne!(shown, clear);
    assert!(masks(&place).iter().any(|row| row.series == shown));
    let explained = explain(&place, &shown);
    assert_eq!(explained.outputs.len(), 3);
    // All of the phantom's identifiers have its root in common.
    let differences = format!("{:?}", output(explained, "bright").before.unwrap().differences);
    assert!(!differences.contains(&clear[..8]), "{differences}");
}

#[test]
fn an_action_and_a_model_are_explained_by_their_first_digits() {
    let place = Workplace::trained();
    place.run();
    let row = masks(&place).remove(0);
    let explained = explain(&place, &row.action[..12]);
    let [segment] = &explained.outputs[..] else { panic!("{explained}") };
    assert_eq!((segment.stage.as_str(), segment.action.as_str()), ("segment", row.action.as_str()));
    assert_eq!(
        (segment.case.as_deref(), segment.model.as_ref()),
        (Some(row.case.as_str()), Some(&row.model))
    );
    let explained = explain(&place, &row.model[..12]);
    let [net] = &explained.outputs[..] else { panic!("{explained}") };
    assert_eq!((net.stage.as_str(), net.outcome.as_str()), ("net", &*format!("artifact {}", row.model)));
    let parts: Vec<&str> = net.trained_on.iter().map(|(_, part)| part.as_str()).collect();
    assert_eq!(parts.iter().filter(|part| **part == "train").count(), 2, "{parts:?}");
    assert_eq!(net.trained_on.len(), 4);
}

#[test]
fn the_slice_that_changed_is_named_with_its_file() {
    let place = Workplace::new(2);
    place.run();
    let slice = place.files_of(0).remove(3);
    repaint(&slice);
    place.run();
    let before = output(explain(&place, &place.phantom_series(0)), "bright").before.unwrap();
    let sop_instance = sop_instance(&slice);
    assert_eq!(before.differences, [Difference::InstanceChanged { sop_instance }]);
    assert_eq!(before.files, [slice]);
    assert!(output(explain(&place, &place.phantom_series(1)), "bright").before.is_none());
}

fn sop_instance(slice: &Path) -> String {
    let object = dicom_object::open_file(slice).unwrap();
    object.meta().media_storage_sop_instance_uid().trim_end_matches(['\0', ' ']).to_owned()
}

#[test]
fn the_setting_that_changed_is_named_and_only_it() {
    let mut place = Workplace::new(1);
    place.run();
    place.text = place.text.replace("above = 0.5", "above = 0.8");
    place.run();
    let setting = Difference::Setting {
        stage: "bright".to_owned(),
        field: "above".to_owned(),
        before: "0.5".to_owned(),
        now: "0.8".to_owned(),
    };
    let explained = explain(&place, &place.phantom_series(0));
    assert!(explained.to_string().contains("    bright: `above` 0.5 -> 0.8\n"), "{explained}");
    assert_eq!(output(explained, "bright").before.unwrap().differences, [setting]);
}

#[test]
fn what_nobody_knows_is_not_explained() {
    let place = Workplace::new(1);
    let plan = place.plan(&Registry::builtin());
    for run in [false, true] {
        if run {
            place.run();
        }
        for subject in ["1.2.3", "0000", "", "nobody"] {
            let error = looking_only(&place, || engine::explain(&plan, subject)).unwrap_err();
            assert!(matches!(&error, ExplainError::Unknown(name) if name == subject), "{error}");
            assert!(error.to_string().contains("hint: give the first digits"), "{error}");
        }
    }
}

// verify

fn verify(place: &Workplace) -> Verified {
    let plan = place.plan(&Registry::builtin());
    looking_only(place, || engine::verify(plan, false).unwrap())
}

fn mend(place: &Workplace) -> Verified {
    engine::verify(place.plan(&Registry::builtin()), true).unwrap()
}

fn artifacts(place: &Workplace) -> Vec<PathBuf> {
    let folder = place.out().join("store/artifacts");
    walk(&folder).unwrap().into_iter().map(|file| file.path).collect()
}

fn named(path: &Path) -> Digest {
    path.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// After it was mended and run all is as a run from nothing makes it.
fn assert_mended(place: &Workplace) {
    assert!(mend(place).mended);
    place.run();
    let verified = verify(place);
    assert!(verified.sound(), "{verified}");
    assert_same(&place.tables(), &place.anew(), "mended");
}

#[test]
fn what_is_sound_is_counted() {
    let place = Workplace::new(2);
    place.run();
    let verified = verify(&place);
    assert!(verified.sound(), "{verified}");
    assert_eq!((verified.files, verified.outdated), (18, 0));
    assert_eq!(verified.artifacts, artifacts(&place).len());
    let rows: BTreeMap<&str, usize> =
        verified.rows.iter().map(|(table, rows)| (table.as_str(), *rows)).collect();
    assert_eq!((rows["cases"], rows["metrics"], rows["runs"]), (2, 6, 1));
    assert!(verified.to_string().ends_with("all sound\n"), "{verified}");
    repaint(&place.files_of(0)[2]);
    let verified = verify(&place);
    assert_eq!((verified.sound(), verified.files, verified.outdated), (true, 17, 1), "the next run reads it");
}

#[test]
fn every_damaged_artifact_is_found_and_made_again() {
    let place = Workplace::new(2);
    place.run();
    for path in artifacts(&place) {
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let verified = verify(&place);
        assert_eq!((verified.damaged.as_slice(), verified.sound()), (&[named(&path)][..], false));
        assert!(verified.to_string().contains("hint: `tomoflow verify --mend`"), "{verified}");
        assert_mended(&place);
        assert!(path.is_file());
    }
}

#[test]
fn a_missing_artifact_is_found_and_made_again() {
    let place = Workplace::new(2);
    place.run();
    for path in artifacts(&place) {
        fs::remove_file(&path).unwrap();
        let verified = verify(&place);
        assert_eq!((verified.missing.as_slice(), verified.sound()), (&[named(&path)][..], false));
        assert_mended(&place);
        assert!(path.is_file());
    }
}

#[test]
fn a_file_that_was_altered_behind_its_time_is_found_and_read_again() {
    let place = Workplace::new(2);
    place.run();
    let before = place.tables();
    let slice = place.files_of(0).remove(4);
    let written = fs::metadata(&slice).unwrap().modified().unwrap();
    repaint(&slice);
    fs::File::options().write(true).open(&slice).unwrap().set_modified(written).unwrap();
    // A run looks at times and sizes: it cannot know.
    assert_eq!(place.run().files_read, 0);
    assert_same(&place.tables(), &before, "not known");
    let verified = verify(&place);
    assert_eq!((verified.altered.as_slice(), verified.sound()), (&[slice][..], false), "{verified}");
    assert_eq!((verified.files, verified.outdated), (17, 0));
    assert_mended(&place);
    assert_ne!(place.tables(), before);
}

#[test]
fn a_table_that_does_not_read_back_is_found_and_made_again() {
    let place = Workplace::new(2);
    place.run();
    let before = place.tables();
    let folder = place.out().join("tables/masks");
    let file =
        walk(&folder).unwrap().into_iter().find(|file| file.path.extension().is_some_and(|e| e == "parquet"));
    fs::write(file.unwrap().path, b"PAR1").unwrap();
    let verified = mend(&place);
    let [(table, why)] = &verified.unreadable[..] else { panic!("{verified}") };
    assert_eq!(table, "masks");
    assert!(why.contains("remove the table's folder and run again"), "{why}");
    assert!(verified.to_string().contains("set right but for the tables"), "{verified}");
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(place.run().actions_run, 0);
    assert_same(&place.tables(), &before, "made again");
}

// gc

fn gc(place: &Workplace, older_than: Duration, free: bool) -> Garbage {
    let plan = place.plan(&Registry::builtin());
    let collect = || engine::gc(&plan, older_than, free).unwrap();
    if free { collect() } else { looking_only(place, collect) }
}

#[test]
fn nothing_young_goes() {
    let mut place = Workplace::new(2);
    place.run();
    place.text = place.text.replace("above = 0.5", "above = 0.8");
    place.run();
    let week = Duration::from_secs(7 * 86400);
    for free in [false, true] {
        let garbage = gc(&place, week, free);
        assert!(garbage.items.is_empty() && garbage.outcomes == 0, "{garbage}");
    }
    assert!(gc(&place, week, false).to_string().contains("nothing to free that is older than 7d"));
}

#[test]
fn what_is_outdated_goes_when_told_and_all_else_stays() {
    let mut place = Workplace::new(2);
    place.run();
    place.text = place.text.replace("above = 0.5", "above = 0.8");
    a_second_later();
    place.run();
    a_second_later();
    let (before, count) = (place.tables(), artifacts(&place).len());
    let shown = gc(&place, Duration::ZERO, false);
    assert!(shown.bytes() > 0 && !shown.freed && shown.outcomes == 6, "{shown}");
    assert!(shown.items.contains_key("artifacts") && shown.items.contains_key("table masks"), "{shown}");
    let freed = gc(&place, Duration::ZERO, true);
    assert_eq!((freed.items, freed.outcomes, freed.freed), (shown.items.clone(), 6, true));
    assert!(shown.items.values().flatten().all(|item| !item.path.exists()));
    assert_eq!(artifacts(&place).len(), count - shown.items["artifacts"].len());
    assert_same(&place.tables(), &before, "freed");
    let verified = verify(&place);
    assert!(verified.sound(), "{verified}");
    assert!(gc(&place, Duration::ZERO, false).items.is_empty());
    let next = place.run();
    assert_eq!((next.actions_run, next.tables_changed.len()), (0, 0), "{next}");
    assert_same(&place.tables(), &before, "run on");
    // What was freed is made again when it is wanted.
    place.text = place.text.replace("above = 0.8", "above = 0.5");
    assert_eq!(ran(&place.run(), "bright"), 2);
    assert_same(&place.tables(), &place.anew(), "back");
}

#[test]
fn what_a_kept_version_of_a_table_names_stays() {
    let mut place = Workplace::new(2);
    place.run();
    let first: BTreeSet<String> = masks(&place).into_iter().map(|row| row.action).collect();
    a_second_later();
    // At this moment the first version was the current one.
    let then = SystemTime::now();
    place.text = place.text.replace("above = 0.5", "above = 0.8");
    place.run();
    a_second_later();
    let kept = artifacts(&place);
    let freed = gc(&place, then.elapsed().unwrap(), true);
    assert!(!freed.items.contains_key("artifacts") && freed.outcomes == 0, "{freed}");
    assert_eq!(artifacts(&place), kept);
    // The files of that version are there, and every action that they name is as well.
    let files = table_files(&place.out().join("tables/masks"), then).unwrap();
    assert!(files.needed.len() >= 2 && files.needed.iter().all(|file| file.is_file()));
    place.text = place.text.replace("above = 0.8", "above = 0.5");
    assert_eq!(place.run().actions_run, 0);
    let back: BTreeSet<String> = masks(&place).into_iter().map(|row| row.action).collect();
    assert_eq!(back, first);
}

#[test]
fn a_pinned_model_and_what_a_table_says_of_it_stay() {
    let place = Workplace::trained();
    place.run();
    a_second_later();
    let before = place.tables();
    gc(&place, Duration::ZERO, true);
    let next = place.run();
    assert_eq!((next.trained, next.actions_run), (0, 0), "{next}");
    assert_same(&contents(&place.out()), &before, "freed");
    assert!(verify(&place).sound());
}

// The commands.

#[test]
fn commands_say_it_with_their_exit_codes_and_in_json() {
    let place = Workplace::new(1);
    let code = |subcommand: &str, arguments: &[&str]| {
        let ended = place.tomoflow(subcommand, arguments);
        if arguments.contains(&"--json") {
            assert!(serde_json::from_str::<serde_json::Value>(&ended.out).is_ok(), "{subcommand}: {ended:?}");
        }
        ended.code
    };
    assert_eq!(code("plan", &["--json"]), Some(0));
    assert!(!place.out().exists());
    assert_eq!(code("run", &["--json"]), Some(0));
    assert_eq!(code("plan", &[]), Some(0));
    assert_eq!(code("explain", &[&place.phantom_series(0), "--json"]), Some(0));
    assert_eq!(code("explain", &["nobody"]), Some(1));
    assert_eq!(code("verify", &["--json"]), Some(0));
    assert_eq!(code("gc", &["--json"]), Some(0));
    assert_eq!(code("gc", &["--older-than", "0s", "--delete"]), Some(0));
    assert_eq!(code("retry", &["--later"]), Some(0));
    assert_eq!(code("retry", &[]), Some(0));
    fs::write(&artifacts(&place)[0], b"damaged").unwrap();
    assert_eq!(code("verify", &[]), Some(1));
    assert_eq!(code("verify", &["--mend", "--json"]), Some(1), "something was wrong");
    assert_eq!(code("run", &[]), Some(0));
    assert_eq!(code("verify", &[]), Some(0));
    assert_eq!(code("plan", &["--no-such-option"]), Some(2));
}
