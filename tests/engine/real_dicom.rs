//! Real series, with all that is wrong with them, through a whole pipeline: each is a case with the right
//! geometry or a reject with a name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tomoflow::connectors::dicom::{Record, read_record, walk};
use tomoflow::connectors::table::{CaseRow, RejectRow, Rows, Table, read_rows};
use tomoflow::engine::Options;
use tomoflow::engine::run;
use tomoflow::operators::registry::Registry;
use tomoflow::pipeline::Draft;

/// A single slice has no gap: there the length of its normal is the slice's thickness, which the expected
/// geometry leaves at 1.
const SINGLE: &[&str] = &["rt_breast"];

#[test]
fn every_series_is_a_case_or_a_reject() {
    let Some(samples) = samples() else {
        println!("skipped: no DICOM samples (TOMOFLOW_DICOM_SAMPLES names their folder)");
        return;
    };
    let expected = std::fs::read_to_string(samples.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let mut checked = 0;
    for case in expected["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let folder = samples.join(case["dir"].as_str().unwrap_or(id));
        let (cases, rejects) = through_a_pipeline(&folder);
        let named: BTreeSet<&str> =
            cases.iter().map(|case| case.series.as_str()).chain(rejects.iter().map(String::as_str)).collect();
        for series in series_in(&folder) {
            assert!(named.contains(series.as_str()), "{id}: series {series} is neither a case nor a reject");
        }
        let verdict = case["recommended_policy"]["verdict"].as_str().unwrap_or_default();
        if verdict.starts_with("accept") {
            checked += geometry(id, case, &cases);
        }
    }
    assert!(checked > 15, "geometries of {checked} volumes were compared");
}

/// The rows of `cases` and of `rejects` that a pipeline makes of a folder.
pub fn rows_of(folder: &Path) -> (Vec<CaseRow>, Vec<RejectRow>) {
    let out = tempfile::tempdir().unwrap();
    let plan = Draft::new("real", out.path().to_str().unwrap())
        .set("identifiers", "clear")
        .source("scans", "dicom", json!({ "path": folder.to_str().unwrap() }))
        .operator("volume", "assemble", &["scans"], json!({}))
        .operator("bright", "threshold", &["volume"], json!({ "above": 100 }))
        .sink("masks", "delta", &["bright"], json!({}))
        .check(Path::new("/"), &Registry::builtin())
        .unwrap_or_else(|problems| panic!("{problems}"));
    run(plan, &Options { threads: 2, ..Options::default() }, &mut |_| {}).unwrap();
    let read = |table: Table| read_rows(&out.path().join("tables").join(table.name()), table).unwrap();
    let (Rows::Cases(cases), Rows::Rejects(rejects)) = (read(Table::Cases), read(Table::Rejects)) else {
        panic!("tables of other rows")
    };
    (cases, rejects)
}

/// The rows of `cases`, and the series in `rejects`.
fn through_a_pipeline(folder: &Path) -> (Vec<CaseRow>, Vec<String>) {
    let (cases, rejects) = rows_of(folder);
    for reject in &rejects {
        assert!(!reject.code.is_empty() && !reject.message.is_empty(), "{reject:?}");
        assert_ne!(reject.code, "PANIC", "{reject:?}");
    }
    let base = |key: &str| key.split('#').next().unwrap_or_default().to_owned();
    (cases, rejects.iter().map(|reject| base(&reject.key)).collect())
}

fn series_in(folder: &Path) -> BTreeSet<String> {
    let records = walk(folder).unwrap().into_iter().map(|file| read_record(&file.path).unwrap());
    records
        .filter_map(|record| match record {
            Record::Instance(instance) => Some(instance.series_uid),
            _ => None,
        })
        .collect()
}

/// How many expected volumes were compared; each must be among the cases.
fn geometry(id: &str, expected: &Value, cases: &[CaseRow]) -> usize {
    let mut compared = 0;
    for volume in expected["volumes"].as_array().into_iter().flatten() {
        let (Some(size), Some(affine)) = (volume["size_ijk"].as_array(), volume["affine_lps"].as_array())
        else {
            continue;
        };
        let size: Vec<i64> = size.iter().filter_map(Value::as_i64).collect();
        let affine: Vec<f64> =
            affine.iter().flat_map(|row| row.as_array().unwrap()).filter_map(Value::as_f64).collect();
        let fits = |case: &CaseRow| {
            let near = |(index, (a, b)): (usize, (&f64, &f64))| {
                SINGLE.contains(&id) && index % 4 == 2 || (a - b).abs() < 1e-3 + 1e-5 * b.abs()
            };
            [case.columns, case.rows, case.slices] == size[..]
                && case.affine_lps.iter().zip(&affine).enumerate().all(near)
        };
        assert!(
            cases.iter().any(fits),
            "{id}: no case with size {size:?} and affine {affine:?} among {cases:?}"
        );
        compared += 1;
    }
    compared
}

fn samples() -> Option<PathBuf> {
    let named = std::env::var_os("TOMOFLOW_DICOM_SAMPLES").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/dicom"));
    folder.join("expected.json").is_file().then_some(folder)
}
