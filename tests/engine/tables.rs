//! Tables as other programs see them: a killed writer, and deltalake and DuckDB as readers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io, io::BufRead, iter};

use serde_json::{Value, json};
use tomoflow::connectors::table::{
    CaseRow, CommitId, DeltaTable, MaskRow, MetricRow, Rows, SummaryRow, Table, read_rows,
};

fn commit(version: i64) -> CommitId {
    CommitId { app: "tests".to_owned(), version }
}

fn entries(names: impl IntoIterator<Item = i64>) -> BTreeSet<String> {
    names.into_iter().map(|n| format!("{n:04}")).collect()
}

/// Two rows of one entry; each row covers 5 + 7 pixels.
fn masks(n: i64) -> Rows {
    let row = |slice| MaskRow {
        entry: format!("{n:04}"),
        case: "1.2.840.1".to_owned(),
        slice,
        label: 1,
        runs: vec![0, 5, 100, 7],
        area_mm2: 3.0,
        ..MaskRow::default()
    };
    Rows::Masks(vec![row(0), row(1)])
}

/// A Python that can read tables: the environment's choice, or the workspace's own.
fn python() -> Option<PathBuf> {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let python = env::var_os("TOMOFLOW_PYTHON").map_or_else(own, PathBuf::from);
    let modules = Command::new(&python).args(["-c", "import deltalake, duckdb, pyarrow"]).output();
    modules.is_ok_and(|output| output.status.success()).then_some(python)
}

#[test]
fn deltalake_and_duckdb_read_what_was_written() {
    let Some(python) = python() else {
        println!("skipped: no Python with deltalake, duckdb and pyarrow (set TOMOFLOW_PYTHON)");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let open = |table: Table| DeltaTable::open(&dir.path().join(table.name()), table).unwrap();
    let mut table = open(Table::Masks);
    for n in 1..=24 {
        table.replace(&entries(n - 3..n - 2), [masks(n)], &commit(n)).unwrap();
    }
    let affine: Vec<f64> = (0..16).map(f64::from).collect();
    let case = CaseRow {
        entry: "c".to_owned(),
        affine_lps: affine.clone(),
        notes: vec!["Schnittabstand ändert sich".to_owned()],
        labelled: true,
        ..CaseRow::default()
    };
    open(Table::Cases).replace(&BTreeSet::new(), [Rows::Cases(vec![case])], &commit(1)).unwrap();
    let figure = |value| MetricRow { entry: "m".to_owned(), value, ..MetricRow::default() };
    let figures = Rows::Metrics(vec![figure(Some(0.5)), figure(None)]);
    open(Table::Metrics).replace(&BTreeSet::new(), [figures], &commit(1)).unwrap();
    let mean = |entry: &str, mean| SummaryRow {
        entry: entry.to_owned(),
        grouped_by: "vendor".to_owned(),
        group: "ACME".to_owned(),
        mean,
        ..SummaryRow::default()
    };
    let means = Rows::Summary(vec![mean("s", Some(0.25)), mean("t", None)]);
    open(Table::Summary).replace(&BTreeSet::new(), [means], &commit(1)).unwrap();
    open(Table::Rejects);

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/read_tables.py");
    let output = Command::new(python).arg(script).arg(dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let found: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}{errors}"));

    let masks = &found["masks"];
    assert_eq!((&masks["version"], &masks["rows"]), (&json!(24), &json!(6)));
    assert_eq!((&masks["duckdb"], &masks["pixels"]), (&json!([6, 3]), &json!(72)));
    assert_eq!(masks["columns"]["runs"], json!("list<element: int32>"));
    assert_eq!(masks["first"][0]["entry"], json!("0022"));
    assert_eq!(
        (&masks["operations"], &masks["rows_of_version_1"]),
        (&json!(["CREATE TABLE", "WRITE"]), &json!(2))
    );
    assert_eq!(found["cases"]["first"][0]["affine_lps"], json!(affine));
    assert_eq!(found["cases"]["first"][0]["notes"], json!(["Schnittabstand ändert sich"]));
    assert_eq!((&found["metrics"]["duckdb"], &found["metrics"]["rows"]), (&json!([2, 1]), &json!(2)));
    let summary = &found["summary"];
    assert_eq!((&summary["rows"], &summary["means"]), (&json!(2), &json!({"ACME": 0.25})));
    assert_eq!(summary["columns"]["group"], json!("string"));
    assert_eq!((&found["rejects"]["version"], &found["rejects"]["rows"]), (&json!(0), &json!(0)));
}

/// Commits until the process is killed, and says so each time.
fn write_until_killed(dir: &Path) {
    let mut table = DeltaTable::open(dir, Table::Masks).unwrap();
    let next = table.last_commit("tests").unwrap().unwrap_or(0) + 1;
    for n in next.. {
        table.replace(&entries(n - 3..n - 2), [masks(n)], &commit(n)).unwrap();
        println!("committed {n}");
    }
}

#[test]
fn a_killed_writer_leaves_a_whole_table_and_goes_on() {
    const DIR: &str = "TOMOFLOW_TEST_WRITER";
    if let Some(dir) = env::var_os(DIR) {
        return write_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 1..=4 {
        let mut writer = Command::new(env::current_exe().unwrap())
            .args(["tables::a_killed_writer_leaves_a_whole_table_and_goes_on", "--exact", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = io::BufReader::new(writer.stdout.take().unwrap()).lines();
        let told = lines.filter_map(|line| line.unwrap().rsplit_once("committed ")?.1.parse::<i64>().ok());
        let told = told.take(round * 3).last().unwrap();
        writer.kill().unwrap();
        writer.wait().unwrap();
        // What half a commit leaves at worst.
        fs::write(dir.path().join(format!("part-{round}.parquet")), b"PAR1").unwrap();

        let table = DeltaTable::open(dir.path(), Table::Masks).unwrap();
        let reached = table.last_commit("tests").unwrap().unwrap();
        assert!(reached >= told && reached > last, "{told} was told, {reached} is there, {last} was before");
        assert_eq!(table.entries(), &entries((reached - 2).max(1)..=reached));
        let Rows::Masks(rows) = read_rows(dir.path(), Table::Masks).unwrap() else {
            panic!("masks expected")
        };
        let mut expected: Vec<String> =
            table.entries().iter().flat_map(|entry| iter::repeat_n(entry.clone(), 2)).collect();
        expected.sort();
        let mut found: Vec<String> = rows.into_iter().map(|row| row.entry).collect();
        found.sort();
        assert_eq!(found, expected);
        last = reached;
    }
}
