//! Tests of tables against a plain map, and against what a crash leaves behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn commit(version: i64) -> CommitId {
    CommitId { app: "tests".to_owned(), version }
}

fn set<const N: usize>(entries: [&str; N]) -> BTreeSet<String> {
    entries.into_iter().map(str::to_owned).collect()
}

fn masks(entry: &str, slices: i64) -> Rows {
    let row = |slice| MaskRow {
        entry: entry.to_owned(),
        case: format!("case of {entry}"),
        slice,
        runs: (0..u32::try_from(slice).unwrap()).flat_map(|n| [10 * n, 3]).collect(),
        area_mm2: 0.25 * slice as f64,
        ..MaskRow::default()
    };
    Rows::Masks((0..slices).map(row).collect())
}

/// The rows of a table by entry, each entry's in the order of slices.
fn by_entry(dir: &Path) -> BTreeMap<String, Vec<MaskRow>> {
    let Rows::Masks(rows) = read_rows(dir, Table::Masks).unwrap() else { panic!("masks expected") };
    let mut found: BTreeMap<String, Vec<MaskRow>> = BTreeMap::new();
    for row in rows {
        found.entry(row.entry.clone()).or_default().push(row);
    }
    found.values_mut().for_each(|rows| rows.sort_by_key(|row| row.slice));
    found
}

fn parquet_files(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().filter(|file| file.as_ref().unwrap().path().extension().is_some()).count()
}

#[test]
fn every_table_comes_back_as_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let entry = || "e".to_owned();
    let all = [
        Rows::Cases(vec![CaseRow {
            entry: entry(),
            affine_lps: (0..16).map(f64::from).collect(),
            labelled: true,
            notes: vec!["tilted".into(), String::new()],
            spacing_d_mm: 1.5,
            ..CaseRow::default()
        }]),
        Rows::Rejects(vec![RejectRow {
            entry: entry(),
            hint: "träger\n\"quoted\"".into(),
            ..RejectRow::default()
        }]),
        masks("e", 3),
        Rows::Metrics(vec![
            MetricRow { entry: entry(), value: Some(0.5), ..MetricRow::default() },
            MetricRow { entry: entry(), value: None, state: "both_empty".into(), ..MetricRow::default() },
        ]),
        Rows::Summary(vec![SummaryRow {
            entry: entry(),
            group: "ACME".into(),
            figures: 2,
            count: 1,
            mean: Some(0.5),
            both_empty: 1,
            ..SummaryRow::default()
        }]),
        Rows::Training(vec![TrainingRow { entry: entry(), value: f64::INFINITY, ..TrainingRow::default() }]),
        Rows::Runs(vec![RunRow { entry: entry(), finished: true, cases: i64::MAX, ..RunRow::default() }]),
        Rows::Detections(vec![DetectionRow {
            entry: entry(),
            score: 0.25,
            x1: -0.5,
            ..DetectionRow::default()
        }]),
    ];
    assert_eq!(all.iter().map(Rows::table).collect::<Vec<_>>(), Table::ALL);
    for rows in all {
        let delta = dir.path().join(rows.table().name());
        let mut table = DeltaTable::open(&delta, rows.table()).unwrap();
        assert_eq!(table.replace(&BTreeSet::new(), [rows.clone()], &commit(1)).unwrap(), Some(1));
        assert_eq!(read_rows(&delta, rows.table()).unwrap(), rows);

        let plain = dir.path().join("plain").join(rows.table().name()).with_extension("parquet");
        write_parquet(&plain, &rows).unwrap();
        assert_eq!(read_parquet(&plain, rows.table()).unwrap(), rows);
        write_parquet(&plain, &Rows::empty(rows.table())).unwrap();
        assert!(read_parquet(&plain, rows.table()).unwrap().is_empty());
        assert_eq!(fs::read_dir(plain.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_file(&plain).unwrap();
    }
}

#[test]
fn entries_come_go_and_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = DeltaTable::open(dir.path(), Table::Masks).unwrap();
    assert_eq!((table.version(), table.entries().len()), (0, 0));

    let both = [masks("a", 2), masks("b", 3)];
    assert_eq!(table.replace(&BTreeSet::new(), both, &commit(1)).unwrap(), Some(1));
    assert_eq!(table.entries(), &set(["a", "b"]));
    // `a` and `b` share a file, so it is written again without `a`.
    assert_eq!(table.replace(&set(["a", "never there"]), [masks("c", 1)], &commit(2)).unwrap(), Some(2));
    assert_eq!(table.entries(), &set(["b", "c"]));
    // An entry that is present and added anew is replaced.
    assert_eq!(table.replace(&BTreeSet::new(), [masks("b", 5)], &commit(3)).unwrap(), Some(3));
    let found = by_entry(dir.path());
    assert_eq!(
        found.iter().map(|(e, rows)| (e.as_str(), rows.len())).collect::<Vec<_>>(),
        [("b", 5), ("c", 1)]
    );

    // A commit with nothing to do leaves no version.
    assert_eq!(table.replace(&BTreeSet::new(), [], &commit(4)).unwrap(), None);
    assert_eq!(table.replace(&set(["a"]), [masks("x", 0)], &commit(4)).unwrap(), None);
    assert_eq!(table.version(), 3);
    // All entries go.
    assert_eq!(table.replace(&set(["b", "c"]), [], &commit(4)).unwrap(), Some(4));
    assert!(read_rows(dir.path(), Table::Masks).unwrap().is_empty());
    assert_eq!(DeltaTable::open(dir.path(), Table::Masks).unwrap().entries().len(), 0);
}

#[test]
fn a_retry_of_a_commit_commits_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = DeltaTable::open(dir.path(), Table::Masks).unwrap();
    assert_eq!(table.last_commit("tests").unwrap(), None);
    table.replace(&BTreeSet::new(), [masks("a", 2)], &commit(7)).unwrap();

    let mut reopened = DeltaTable::open(dir.path(), Table::Masks).unwrap();
    assert_eq!(reopened.last_commit("tests").unwrap(), Some(7));
    assert_eq!(reopened.replace(&BTreeSet::new(), [masks("a", 2)], &commit(7)).unwrap(), None);
    assert_eq!(reopened.replace(&set(["a"]), [], &commit(6)).unwrap(), None);
    assert_eq!(reopened.version(), 1);

    // A second handle, whose answer was lost to the first, sees what was committed before it goes on.
    reopened.replace(&BTreeSet::new(), [masks("b", 1)], &commit(8)).unwrap();
    assert_eq!(table.replace(&BTreeSet::new(), [masks("b", 1)], &commit(8)).unwrap(), None);
    assert_eq!(table.entries(), &set(["a", "b"]));
    assert_eq!(table.replace(&set(["b"]), [], &commit(9)).unwrap(), Some(3));
    assert_eq!(by_entry(dir.path()).keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn two_committers_at_once_are_told_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = DeltaTable::open(dir.path(), Table::Masks).unwrap();
    let mut second = DeltaTable::open(dir.path(), Table::Masks).unwrap();
    // The second commits while the first is still writing its rows.
    let add = std::iter::once_with(|| {
        let other = CommitId { app: "others".to_owned(), version: 1 };
        second.replace(&BTreeSet::new(), [masks("b", 1)], &other).unwrap();
        masks("a", 2)
    });
    let refused = first.replace(&BTreeSet::new(), add, &commit(1)).unwrap_err();
    assert!(matches!(refused, TableError::Conflict { version: 1, .. }), "{refused}");
    assert_eq!(first.replace(&BTreeSet::new(), [masks("a", 2)], &commit(1)).unwrap(), Some(2));
    assert_eq!(first.entries(), &set(["a", "b"]));
    assert_eq!(by_entry(dir.path()).values().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn files_without_a_commit_are_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = DeltaTable::open(dir.path(), Table::Masks).unwrap();
    table.replace(&BTreeSet::new(), [masks("a", 2)], &commit(1)).unwrap();
    // A killed run leaves a whole file, half a file, and half a commit under its staging name.
    let mut staging = files::Staging::new(dir.path(), Table::Masks.schema());
    staging.write(&masks("ghost", 4).to_batch().unwrap()).unwrap();
    staging.finish().unwrap();
    assert_eq!(staging.keep().len(), 1);
    fs::write(dir.path().join("part-cut.zstd.parquet"), b"PAR1").unwrap();
    fs::write(dir.path().join("_delta_log/00000000000000000002.json#1"), b"{\"add\":").unwrap();

    let mut table = DeltaTable::open(dir.path(), Table::Masks).unwrap();
    assert_eq!(table.entries(), &set(["a"]));
    assert_eq!(table.replace(&BTreeSet::new(), [masks("b", 1)], &commit(2)).unwrap(), Some(2));
    assert_eq!(by_entry(dir.path()).keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn staged_files_of_a_refused_commit_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = DeltaTable::open(dir.path(), Table::Masks).unwrap();
    let other = Rows::Runs(vec![RunRow::default()]);
    let refused = table.replace(&BTreeSet::new(), [masks("a", 2), other], &commit(1)).unwrap_err();
    assert!(matches!(refused, TableError::OtherTable { expected: "masks", found: "runs" }), "{refused}");
    let big = Rows::Masks(vec![MaskRow { runs: vec![u32::MAX, 1], ..MaskRow::default() }]);
    let refused = table.replace(&BTreeSet::new(), [masks("a", 2), big], &commit(1)).unwrap_err();
    assert!(refused.to_string().contains("table `masks`, column `runs`, row 0: 4294967295"), "{refused}");
    assert_eq!((parquet_files(dir.path()), table.version()), (0, 0));
}

#[test]
fn a_half_created_table_is_created_again() {
    for half in [
        None,
        Some(("00000000000000000000.json#1", "{\"protocol\"")),
        Some(("00000000000000000000.json", "")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("_delta_log");
        fs::create_dir(&log).unwrap();
        if let Some((name, text)) = half {
            fs::write(log.join(name), text).unwrap();
        }
        let mut table = DeltaTable::open(dir.path(), Table::Masks).unwrap();
        assert_eq!(table.replace(&BTreeSet::new(), [masks("a", 1)], &commit(1)).unwrap(), Some(1));
        assert_eq!(by_entry(dir.path()).len(), 1);
    }
}

#[test]
fn many_small_files_become_one_and_the_log_is_summed_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = DeltaTable::open(dir.path(), Table::Masks).unwrap();
    for n in 1..=20 {
        table.replace(&BTreeSet::new(), [masks(&format!("{n:02}"), n % 3 + 1)], &commit(n)).unwrap();
    }
    assert_eq!(table.entries().len(), 20);
    let live = log::Log::open(dir.path(), Table::Masks).unwrap().unwrap().files().unwrap();
    assert_eq!(live.len(), 4, "sixteen and the next in one, then three more: {live:?}");
    assert!(dir.path().join("_delta_log/_last_checkpoint").exists());
    let found = by_entry(dir.path());
    assert_eq!(found.len(), 20);
    assert!(found.values().zip(1..).all(|(rows, n)| rows.len() as i64 == n % 3 + 1));
    // The checkpoint keeps the transactions and the entries.
    let reopened = DeltaTable::open(dir.path(), Table::Masks).unwrap();
    assert_eq!((reopened.last_commit("tests").unwrap(), reopened.entries().len()), (Some(20), 20));
}

#[test]
fn damage_and_strangers_are_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let absent = read_rows(dir.path(), Table::Masks).unwrap_err();
    assert!(matches!(absent, TableError::Absent { .. }), "{absent}");
    let mut table = DeltaTable::open(dir.path(), Table::Masks).unwrap();
    let other = DeltaTable::open(dir.path(), Table::Runs).map(drop).unwrap_err();
    assert!(matches!(other, TableError::Foreign { .. }), "{other}");

    table.replace(&BTreeSet::new(), [masks("a", 9)], &commit(1)).unwrap();
    let (name, _) = log::Log::open(dir.path(), Table::Masks).unwrap().unwrap().files().unwrap().remove(0);
    let path = dir.path().join(&name);
    let whole = fs::read(&path).unwrap();
    for length in [0, 4, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let cut = read_rows(dir.path(), Table::Masks).unwrap_err();
        assert!(matches!(&cut, TableError::Parquet { path, .. } if path.ends_with(&name)), "{cut}");
        assert!(DeltaTable::open(dir.path(), Table::Masks).is_err());
    }
    fs::remove_file(&path).unwrap();
    let gone = read_rows(dir.path(), Table::Masks).unwrap_err();
    assert!(matches!(gone, TableError::Io { doing: "read", .. }), "{gone}");

    fs::write(dir.path().join("_delta_log/00000000000000000001.json"), "{\"add\": {\"path\": 3").unwrap();
    let log = read_rows(dir.path(), Table::Masks).unwrap_err();
    assert!(matches!(log, TableError::Delta { .. }), "{log}");
}

#[test]
fn rows_of_another_shape_are_refused() {
    let batch = masks("a", 2).to_batch().unwrap();
    let absent = Rows::empty(Table::Runs).extend_from_batch(&batch).unwrap_err();
    assert!(matches!(absent, TableError::Column { table: "runs", column: "started" }), "{absent}");
    let mut runs = Rows::empty(Table::Runs);
    assert!(runs.extend(masks("a", 1)).is_err());
    runs.extend(Rows::Runs(vec![RunRow::default()])).unwrap();
    assert_eq!(runs.len(), 1);
}

/// One commit: which of the entries `0..6` go, and which come with how many rows.
fn step() -> impl Strategy<Value = (Vec<u8>, Vec<(u8, i64)>)> {
    (proptest::collection::vec(0u8..6, 0..4), proptest::collection::vec((0u8..6, 0i64..4), 0..4))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn random_commits_are_those_of_a_map(steps in proptest::collection::vec(step(), 1..24)) {
        let dir = tempfile::tempdir().unwrap();
        let mut model: BTreeMap<String, usize> = BTreeMap::new();
        let mut table = DeltaTable::open(dir.path(), Table::Masks).unwrap();
        for ((remove, add), n) in steps.into_iter().zip(1..) {
            let remove: BTreeSet<String> = remove.into_iter().map(|entry| entry.to_string()).collect();
            // One entry may come in several pieces, whose rows are all its own.
            let add: Vec<Rows> = add.into_iter().map(|(entry, rows)| masks(&entry.to_string(), rows)).collect();
            let mut comes: BTreeMap<String, usize> = BTreeMap::new();
            for entry in add.iter().flat_map(Rows::entries) {
                *comes.entry(entry.to_owned()).or_default() += 1;
            }
            let changes = !comes.is_empty() || remove.iter().any(|entry| model.contains_key(entry));
            let version = table.version();
            let written = table.replace(&remove, add, &commit(n)).unwrap();
            prop_assert_eq!(written, changes.then_some(version + 1));
            model.retain(|entry, _| !remove.contains(entry));
            model.extend(comes);
            prop_assert!(table.entries().iter().eq(model.keys()));
        }
        let found = by_entry(dir.path());
        prop_assert!(found.iter().map(|(entry, rows)| (entry, rows.len())).eq(model.iter().map(|(e, &n)| (e, n))));
        let reopened = DeltaTable::open(dir.path(), Table::Masks).unwrap();
        prop_assert_eq!(reopened.entries(), table.entries());
        prop_assert_eq!(reopened.version(), table.version());
    }
}

#[test]
fn a_moment_is_a_timestamp_and_was_text_once() {
    let started = Moment(1_796_021_615_112_345);
    assert_eq!(started.to_string(), "2026-11-30T06:53:35.112345Z");
    let rows = Rows::Runs(vec![RunRow { entry: "e".into(), started, ..RunRow::default() }]);
    let batch = rows.to_batch().unwrap();
    let mut back = Rows::empty(Table::Runs);
    back.extend_from_batch(&batch).unwrap();
    assert_eq!(back, rows);
    // The column is as 0.1.0 wrote it.
    let with = |text: &str| {
        let (schema, mut columns, rows) = batch.clone().into_parts();
        let at = schema.index_of("started").unwrap();
        columns[at] = std::sync::Arc::new(arrow::array::StringArray::from(vec![text]));
        let batch =
            arrow::array::RecordBatch::try_new(Table::Runs.earlier_schema().unwrap(), columns).unwrap();
        assert_eq!(batch.num_rows(), rows);
        let mut back = Rows::empty(Table::Runs);
        back.extend_from_batch(&batch).map(|()| back)
    };
    let millis = Moment(1_796_021_615_112_000);
    let Rows::Runs(read) = with("2026-11-30T06:53:35.112Z").unwrap() else { panic!("runs expected") };
    assert_eq!(read[0].started, millis);
    assert!(matches!(with("yesterday"), Err(TableError::Value { column: "started", row: Some(0), .. })));
}

#[test]
fn a_table_with_the_columns_of_before_is_read_and_written_on() {
    let dir = tempfile::tempdir().unwrap();
    let started = Moment(1_796_021_615_112_000);
    let row = |entry: &str| RunRow { entry: entry.into(), started, cases: 3, ..RunRow::default() };
    let mut table = DeltaTable::open(dir.path(), Table::Runs).unwrap();
    table.replace(&set([]), [Rows::Runs(vec![row("a"), row("b")])], &commit(1)).unwrap();
    drop(table);
    // The table is the same, as 0.1.0 left it.
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    let first = dir.path().join("_delta_log/00000000000000000000.json");
    fs::write(&first, text(&first).replace(r#"\"type\":\"timestamp\""#, r#"\"type\":\"string\""#)).unwrap();
    let named = |path: &Path| path.extension().is_some_and(|ending| ending == "parquet");
    let files = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path());
    let file = files.into_iter().find(|path| named(path)).unwrap();
    let schema = Table::Runs.earlier_schema().unwrap();
    let (_, mut columns, _) = Rows::Runs(vec![row("a"), row("b")]).to_batch().unwrap().into_parts();
    columns[1] = std::sync::Arc::new(arrow::array::StringArray::from(vec!["2026-11-30T06:53:35.112Z"; 2]));
    let batch = arrow::array::RecordBatch::try_new(schema.clone(), columns).unwrap();
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(fs::File::create(&file).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    // The log says how long it is.
    let second = dir.path().join("_delta_log/00000000000000000001.json");
    let mut add: Vec<serde_json::Value> =
        text(&second).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for action in &mut add {
        if action.get("add").is_some() {
            action["add"]["size"] = fs::metadata(&file).unwrap().len().into();
        }
    }
    fs::write(&second, add.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let before = read_rows(dir.path(), Table::Runs).unwrap();
    assert_eq!(before, Rows::Runs(vec![row("a"), row("b")]));
    assert!(!dir.path().join("_delta_log/00000000000000000002.json").exists(), "who reads writes nothing");
    let mut table = DeltaTable::open(dir.path(), Table::Runs).unwrap();
    assert_eq!((table.version(), table.entries().len()), (2, 2));
    assert_eq!(read_rows(dir.path(), Table::Runs).unwrap(), before);
    table.replace(&set(["a"]), [Rows::Runs(vec![row("c")])], &commit(2)).unwrap();
    drop(table);
    let table = DeltaTable::open(dir.path(), Table::Runs).unwrap();
    assert_eq!((table.version(), table.entries()), (3, &set(["b", "c"])));
}
