//! What an earlier version left is found unchanged, and this version makes the same to the byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tomoflow::connectors::Digest;
use tomoflow::connectors::table::{Rows, RunRow, Table, read_rows};
use tomoflow::engine::{Options, Summary, run};
use tomoflow::networks;
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::vs::{self, VsPhantom};
use tomoflow::pipeline;

/// The artifacts of the fixture that no network had part in, at least: prepared cases, and masks by a threshold.
const WITHOUT_NETWORK: usize = 7;

/// Whether networks' sums have the same last bits here as where `make.sh` was run: they hang on the instructions
/// that libtorch finds.
fn same_instructions() -> bool {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |what: &str| processor.split_whitespace().any(|word| word == what);
    has("AuthenticAMD") && has("avx512_bf16") && !has("amx_tile") && !has("avx512_fp16")
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/earlier").join(name)
}

/// The archive and the pipeline of the fixture, in a folder of their own.
fn workplace() -> tempfile::TempDir {
    networks::set_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    fs::create_dir_all(&archive).unwrap();
    vs::write_archive(
        &VsPhantom { series: 4, first: 0, seed: 5, size: [8, 32, 32], ..VsPhantom::DEFAULT },
        &archive,
    )
    .unwrap();
    fs::copy(fixture("pipeline.toml"), folder.path().join("pipeline.toml")).unwrap();
    folder
}

fn unpack(folder: &Path) {
    let packed = fs::File::open(fixture("out.tar.zst")).unwrap();
    let unpacked = zstd::stream::read::Decoder::new(packed).unwrap();
    tar::Archive::new(unpacked).unpack(folder).unwrap();
}

fn run_in(folder: &Path) -> Summary {
    let plan = pipeline::load(&folder.join("pipeline.toml"), &[], &Registry::builtin())
        .unwrap_or_else(|problems| panic!("{problems}"));
    run(plan, &Options { threads: 2, ..Options::default() }, &mut |_| {}).unwrap()
}

/// The digest of every file below a folder, by its name there.
fn files(folder: &Path) -> BTreeMap<PathBuf, Digest> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(name, Digest::of(&fs::read(&path).unwrap()));
            }
        }
    }
    found
}

/// All files but those that each run writes.
fn kept(folder: &Path) -> BTreeMap<PathBuf, Digest> {
    const OF_RUNS: [&str; 5] = [
        "out/tables/runs",
        "out/store/state.redb",
        "out/store/status.json",
        "out/store/holder",
        "out/store/pipeline.json",
    ];
    let mut kept = files(folder);
    kept.retain(|name, _| !OF_RUNS.iter().any(|of_runs| name.starts_with(of_runs)));
    kept.retain(|name, _| !name.starts_with("archive") && name != Path::new("pipeline.toml"));
    kept
}

fn artifacts(folder: &Path) -> BTreeSet<PathBuf> {
    files(&folder.join("out/store/artifacts")).into_keys().collect()
}

#[test]
fn an_earlier_output_is_found_unchanged() {
    let place = workplace();
    unpack(place.path());
    let before = kept(place.path());
    assert!(before.len() > 40, "{} files", before.len());
    let summary = run_in(place.path());
    assert_eq!((summary.cases, summary.processed, summary.unchanged), (4, 0, 4), "{summary}");
    assert_eq!((summary.actions_run, summary.rejected, summary.trained), (0, 0, 0), "{summary}");
    assert_eq!(summary.tables_changed, Vec::<String>::new());
    let after = kept(place.path());
    let changed: Vec<_> = after.iter().filter(|(name, digest)| before.get(*name) != Some(digest)).collect();
    assert!(changed.is_empty() && after.len() == before.len(), "{changed:#?}");
}

/// The rows of `runs`, oldest first.
fn runs(folder: &Path) -> Vec<RunRow> {
    match read_rows(&folder.join("out/tables/runs"), Table::Runs).unwrap() {
        Rows::Runs(mut rows) => {
            rows.sort_by_key(|row| row.started);
            rows
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn runs_of_an_earlier_output_get_a_timestamp() {
    let place = workplace();
    unpack(place.path());
    let log = |version: u64| {
        let path = place.path().join(format!("out/tables/runs/_delta_log/{version:020}.json"));
        fs::read_to_string(path).unwrap_or_default()
    };
    let is_text = |log: &str| log.contains(r#"\"started\",\"type\":\"string\""#);
    assert!(is_text(&log(0)));
    // What only reads takes the text as it is.
    let before = runs(place.path());
    let year = before[0].started.to_string();
    assert!(year.starts_with("20") && year.ends_with('Z') && year.len() == 27, "{year}");
    assert!(log(2).is_empty());
    run_in(place.path());
    assert!(log(2).contains(r#"\"started\",\"type\":\"timestamp\""#) && !is_text(&log(2)), "{}", log(2));
    let after = runs(place.path());
    assert_eq!((&after[..before.len()], after.len()), (&before[..], before.len() + 1));
    assert!(after[before.len()].started > before[before.len() - 1].started);
    // The version of before is still there for those who ask for it.
    assert!(log(2).contains("\"remove\"") && log(1).contains("part-"));
    run_in(place.path());
    assert_eq!((runs(place.path()).len(), log(4).contains("metaData")), (before.len() + 2, false));
}

#[test]
fn the_same_comes_of_the_same_to_the_byte() {
    let (earlier, place) = (tempfile::tempdir().unwrap(), workplace());
    unpack(earlier.path());
    run_in(place.path());
    let (expected, found) = (artifacts(earlier.path()), artifacts(place.path()));
    if same_instructions() {
        assert_eq!(found, expected);
    } else {
        println!("skipped: networks' bytes are compared on processors like the fixture's alone");
        let same = expected.intersection(&found).count();
        assert!(same >= WITHOUT_NETWORK, "{same} artifacts of {} are the same", expected.len());
    }
}
