//! What a change touches is redone, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::support::text::Rewrite as _;
use crate::support::{Contents, Workplace, ran};
use tomoflow::engine::{Options, RunError};
use tomoflow::store::StoreError;

#[test]
fn nothing_changed_nothing_runs() {
    let place = Workplace::new(3);
    let first = place.run();
    assert_eq!((first.cases, first.processed, first.rejected), (3, 3, 0));
    assert_eq!(first.actions_run, 9);
    let (tables, versions) = (place.tables(), place.versions());
    assert_eq!(tables["cases"].len(), 3);
    assert_eq!(tables["metrics"].len(), 9);
    let second = place.run();
    assert_eq!((second.actions_run, second.processed, second.unchanged), (0, 0, 3));
    assert_eq!(second.files_read, 0);
    assert!(second.tables_changed.is_empty());
    assert_eq!(place.tables(), tables);
    for (table, version) in place.versions() {
        assert_eq!(version, versions[table] + u64::from(table == "runs"), "{table}");
    }
}

#[test]
fn one_scan_more_runs_its_own_actions() {
    let place = Workplace::new(3);
    place.run();
    place.add(3);
    let summary = place.run();
    assert_eq!((summary.processed, summary.unchanged, summary.actions_run), (1, 3, 3));
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn corrected_outlines_redo_metrics_and_no_mask() {
    let place = Workplace::new(3);
    place.run();
    let before = place.tables();
    place.move_label(1, 2);
    let summary = place.run();
    assert_eq!(summary.actions_run, 1);
    assert_eq!(ran(&summary, "scores"), 1);
    let after = place.tables();
    assert_eq!(before["masks"], after["masks"]);
    assert_ne!(before["metrics"], after["metrics"]);
    assert_eq!(after, place.anew());
}

#[test]
fn the_rows_of_a_deleted_scan_go() {
    let place = Workplace::new(3);
    place.run();
    place.delete(1);
    let summary = place.run();
    assert_eq!((summary.cases, summary.actions_run), (2, 0));
    assert_eq!(place.tables()["cases"].len(), 2);
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn a_late_slice_takes_a_reject_away() {
    let place = Workplace::new(2);
    let files = place.files_of(1);
    let late = fs::read(&files[3]).unwrap();
    fs::remove_file(&files[3]).unwrap();
    let summary = place.run();
    assert_eq!(summary.rejects.get("MISSING_SLICE"), Some(&1), "{:?}", summary.rejects);
    fs::write(&files[3], late).unwrap();
    let summary = place.run();
    assert_eq!((summary.rejected, summary.processed), (0, 1));
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn a_changed_threshold_redoes_what_is_after_it_and_back_is_from_the_cache() {
    let mut place = Workplace::new(2);
    place.run();
    let before = place.tables();
    place.text = place.text.rewrite("above = 0.5", "above = 0.8");
    let summary = place.run();
    assert_eq!([ran(&summary, "bright"), ran(&summary, "largest"), ran(&summary, "scores")], [2, 2, 2]);
    assert_eq!(summary.files_read, 0);
    place.text = place.text.rewrite("above = 0.8", "above = 0.5");
    assert_eq!(place.run().actions_run, 0);
    assert_eq!(place.tables(), before);
}

#[test]
fn a_change_after_the_masks_keeps_them() {
    let mut place = Workplace::new(2);
    place.run();
    place.text = place.text.rewrite("metrics = [\"dice\", \"assd\", \"rve\"]", "metrics = [\"dice\"]");
    let summary = place.run();
    assert_eq!((summary.actions_run, ran(&summary, "scores")), (2, 2));
}

#[test]
fn names_of_stages_and_files_are_nobodys_business() {
    let mut place = Workplace::new(2);
    place.run();
    place.text = place
        .text
        .rewrite("normal", "standardised")
        .rewrite("\"bright\"", "\"light\"")
        .rewrite(".bright]", ".light]");
    let file = place.files_of(0).remove(2);
    fs::rename(&file, file.with_file_name("elsewhere.IMA")).unwrap();
    let summary = place.run();
    assert_eq!((summary.actions_run, summary.files_read), (0, 1));
}

#[test]
fn an_unmounted_archive_deletes_nothing() {
    let place = Workplace::new(2);
    place.run();
    let before = place.tables();
    fs::rename(place.archive(), place.path().join("away")).unwrap();
    fs::create_dir(place.archive()).unwrap();
    let plan = || {
        let registry = tomoflow::operators::registry::Registry::builtin();
        tomoflow::pipeline::load(&place.pipeline(), &[], &registry).unwrap()
    };
    let error = tomoflow::engine::run(plan(), &Options::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, RunError::Source(_)), "{error}");
    assert_eq!(place.tables(), before);
    let accepted = Options { accept_empty: true, ..Options::default() };
    tomoflow::engine::run(plan(), &accepted, &mut |_| {}).unwrap();
    assert!(place.tables()["cases"].is_empty());
}

#[test]
fn a_report_does_not_take_an_unmounted_archive_for_an_empty_one() {
    let place = Workplace::new(1);
    place.run();
    fs::rename(place.archive(), place.path().join("away")).unwrap();
    fs::create_dir(place.archive()).unwrap();
    let plan = || {
        let registry = tomoflow::operators::registry::Registry::builtin();
        tomoflow::pipeline::load(&place.pipeline(), &[], &registry).unwrap()
    };
    assert!(tomoflow::engine::pictures(plan(), 3).unwrap().is_empty());
    assert!(tomoflow::engine::run(plan(), &Options::default(), &mut |_| {}).is_err());
}

#[test]
fn two_segmenters_and_two_labels_of_one_scan_are_one_case() {
    let mut place = Workplace::new(2);
    place.text.push_str(
        "\n[operators.again]\ntype = \"label\"\ninputs = [\"volume\", \"outlines\"]\n\
         [operators.other]\ntype = \"threshold\"\ninputs = [\"again\"]\nabove = 400\n\
         [sinks.more]\ntype = \"delta\"\ninputs = [\"other\"]\n",
    );
    let summary = place.run();
    assert_eq!((summary.cases, summary.processed), (2, 2));
    assert_eq!(place.tables()["cases"].len(), 2);
    assert_eq!(place.run().actions_run, 0);
}

#[test]
fn labels_come_before_transforms() {
    let mut place = Workplace::new(0);
    place.text =
        place.text.rewrite("inputs = [\"volume\", \"outlines\"]", "inputs = [\"early\", \"outlines\"]");
    place.text.push_str("\n[operators.early]\ntype = \"zscore\"\ninputs = [\"volume\"]\n");
    let registry = tomoflow::operators::registry::Registry::builtin();
    let problems = tomoflow::pipeline::load(&place.pipeline(), &[], &registry).unwrap_err().to_string();
    assert!(problems.contains("`early` changes them"), "{problems}");
}

#[test]
fn a_damaged_artifact_is_made_again() {
    let place = Workplace::new(1);
    place.run();
    let before = place.tables();
    let artifacts = place.out().join("store/artifacts");
    for file in tomoflow::connectors::dicom::walk(&artifacts).unwrap() {
        fs::write(&file.path, b"damaged").unwrap();
    }
    // What is damaged is found when it is read: here by a new stage on the masks.
    let mut place = place;
    place.text = place.text.rewrite("[\"dice\", \"assd\", \"rve\"]", "[\"dice\"]");
    place.run();
    place.run();
    place.text = place.text.rewrite("[\"dice\"]", "[\"dice\", \"assd\", \"rve\"]");
    fs::remove_dir_all(place.out().join("tables")).unwrap();
    place.run();
    place.run();
    assert_eq!(place.tables(), before);
}

#[test]
fn several_workers_come_to_the_same_tables() {
    let place = Workplace::new(4);
    place.run_with(&Options { workers: 3, threads: 2, ..Options::default() });
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn a_second_run_on_the_same_output_is_told_who_holds_it() {
    let place = Workplace::new(1);
    let held = tomoflow::store::Store::open(&place.out()).unwrap();
    let plan =
        tomoflow::pipeline::load(&place.pipeline(), &[], &tomoflow::operators::registry::Registry::builtin());
    let error = tomoflow::engine::run(plan.unwrap(), &Options::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, RunError::Store(StoreError::Held { .. })), "{error}");
    drop(held);
}

#[test]
fn a_parquet_sink_follows_the_tables() {
    let mut place = Workplace::new(2);
    place.text.push_str("\n[sinks.files]\ntype = \"parquet\"\ninputs = [\"largest\", \"scores\"]\n");
    place.run();
    let path = place.out().join("parquet/metrics.parquet");
    let read = || {
        tomoflow::connectors::table::read_parquet(&path, tomoflow::connectors::table::Table::Metrics).unwrap()
    };
    assert_eq!(read().len(), 6);
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    place.run();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
    place.delete(0);
    place.run();
    assert_eq!(read().len(), 3);
}

#[test]
fn masks_return_to_the_grid_of_the_scan() {
    let mut place = Workplace::new(1);
    place.text = place.text.rewrite(
        "[operators.normal]\ntype = \"zscore\"\ninputs = [\"case\"]",
        "[operators.coarse]\ntype = \"resample\"\ninputs = [\"case\"]\nspacing_mm = [1.5, 0.6, 0.9]\n\n\
         [operators.normal]\ntype = \"zscore\"\ninputs = [\"coarse\"]",
    );
    let summary = place.run();
    assert_eq!((summary.rejected, summary.actions_run), (0, 3), "{summary}");
    let masks: Vec<serde_json::Value> =
        place.tables()["masks"].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!masks.is_empty());
    for mask in &masks {
        assert_eq!((&mask["rows"], &mask["columns"]), (&32.into(), &32.into()));
    }
    // Another spacing is another grid on the way, and the same one in the end.
    place.text = place.text.rewrite("[1.5, 0.6, 0.9]", "[1.5, 0.8, 0.4]");
    assert_eq!(place.run().actions_run, 3);
}

#[test]
fn declared_pipelines_are_sound() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let registry = tomoflow::operators::registry::Registry::builtin();
    let place = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let given = crate::support::declared::without_data(&path, place.path());
        let mut plan = tomoflow::pipeline::load(&path, &given, &registry)
            .unwrap_or_else(|problems| panic!("{problems}"));
        // Their archives lie elsewhere.
        plan.warnings.retain(|warning| !warning.message.contains("is not there"));
        assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
        checked += 1;
    }
    assert!(checked >= 2);
}

#[test]
fn a_filter_on_any_tag_reads_the_files_once_more_and_keeps_what_was_done() {
    let mut place = Workplace::new(2);
    let files = place.run().files_read;
    let tables = place.tables();
    let before = place.text.clone();
    let asking = |filter: &str| {
        before.rewrite("where = { Modality = \"MR\" }", &format!("where = {{ Modality = \"MR\", {filter} }}"))
    };
    // Of a tag that is no text in the file, and of one that is.
    place.text = asking("Rows = \"16..64\", EchoTime = \"0..\"");
    let summary = place.run();
    assert_eq!((summary.cases, summary.actions_run, summary.files_read), (2, 0, files), "{summary}");
    // A record that holds more is another one, which `entry` shows; all else is as it was.
    let bare = |tables: &Contents| -> BTreeMap<&str, BTreeSet<String>> {
        let row = |line: &String| line.split_once("\",").map_or(line.clone(), |(_, rest)| rest.to_owned());
        tables.iter().map(|(table, lines)| (*table, lines.iter().map(row).collect())).collect()
    };
    assert!(bare(&place.tables()) == bare(&tables));
    assert_eq!(place.run().files_read, 0);
    place.text = asking("EchoTime = \"!0..\", Rows = \"16..64\"");
    let summary = place.run();
    assert_eq!((summary.cases, summary.files_read), (0, 0), "{summary}");
    place.text = asking("Rows = \"..31\"");
    assert_eq!(place.run().cases, 0);
    place.text = before;
    let summary = place.run();
    assert_eq!((summary.cases, summary.actions_run), (2, 0), "what was done is still known: {summary}");
    assert!(place.tables() == tables);
}
