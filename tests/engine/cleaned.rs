//! `gc` beside other programs that keep house in the same tables.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tomoflow::connectors::dicom::walk;
use tomoflow::connectors::table::{Table, current_files, read_rows};
use tomoflow::engine::{self, RunError};
use tomoflow::operators::registry::Registry;

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};

/// A pipeline that ran so often that each table has versions on both sides of a checkpoint.
fn often(runs: usize) -> Workplace {
    let mut place = Workplace::new(2);
    for run in 0..runs {
        // Half of the runs replace all masks and figures.
        let above = if run % 2 == 0 { "above = 0.5" } else { "above = 0.8" };
        let other = if run % 2 == 0 { "above = 0.8" } else { "above = 0.5" };
        if place.text.contains(other) {
            place.text = place.text.rewrite(other, above);
        }
        place.run();
    }
    place
}

fn log(place: &Workplace, table: Table) -> PathBuf {
    place.out().join("tables").join(table.name()).join("_delta_log")
}

fn commits(log: &Path) -> Vec<PathBuf> {
    let mut commits: Vec<PathBuf> = walk(log).unwrap().into_iter().map(|file| file.path).collect();
    commits.retain(|path| path.extension().is_some_and(|end| end == "json"));
    commits.sort();
    commits
}

/// The version that the last checkpoint sums up.
fn summed(log: &Path) -> u64 {
    let text = fs::read(log.join("_last_checkpoint")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&text).unwrap()["version"].as_u64().unwrap()
}

/// Everything that lies in tables is as old as if it had been written forty days ago.
fn age(place: &Workplace) {
    let then = SystemTime::now() - Duration::from_secs(40 * 86_400);
    for file in walk(&place.out().join("tables")).unwrap() {
        fs::File::options().write(true).open(&file.path).unwrap().set_modified(then).unwrap();
    }
}

/// Frees all that is older than a week; tables are what they were, and the next run has nothing to do.
fn freed(place: &Workplace, when: &str) -> usize {
    let before = place.tables();
    let runs = read_rows(&place.out().join("tables/runs"), Table::Runs).unwrap().len();
    let garbage =
        engine::gc(&place.plan(&Registry::builtin()), Duration::from_secs(7 * 86_400), true).unwrap();
    for item in garbage.items.values().flatten() {
        assert!(!item.why.is_empty(), "{when}: {item:?}");
    }
    assert_same(&place.tables(), &before, when);
    assert_eq!(read_rows(&place.out().join("tables/runs"), Table::Runs).unwrap().len(), runs, "{when}");
    assert_eq!(place.run().actions_run, 0, "{when}");
    assert_same(&place.tables(), &before, when);
    garbage.items.iter().filter(|(kind, _)| kind.starts_with("table")).map(|(_, items)| items.len()).sum()
}

#[test]
fn logs_that_others_cleaned_cost_nothing() {
    let mut tried = 0;
    // All up to the checkpoint, as Spark cleans; all before it; only some of them.
    for keep in [|_: u64, _: u64| false, |version, summed| version == summed, |version, _| version % 3 == 0] {
        let place = often(13);
        let mut cleaned = 0;
        for table in [Table::Masks, Table::Metrics, Table::Summary, Table::Runs] {
            let log = log(&place, table);
            let summed = summed(&log);
            for (version, path) in (0..).zip(commits(&log)) {
                if version <= summed && !keep(version, summed) {
                    fs::remove_file(path).unwrap();
                    cleaned += 1;
                }
            }
        }
        assert!(cleaned > 20, "{cleaned}");
        age(&place);
        let verified = engine::verify(place.plan(&Registry::builtin()), false).unwrap();
        assert!(verified.sound(), "{verified}");
        tried += freed(&place, "cleaned");
    }
    assert!(tried > 0, "nothing was freed in any of them");
}

#[test]
fn a_log_with_a_hole_frees_nothing_and_says_so() {
    let place = often(13);
    let log = log(&place, Table::Masks);
    let after = commits(&log).into_iter().nth(summed(&log) as usize + 1).unwrap();
    fs::remove_file(after).unwrap();
    age(&place);
    let count = walk(&place.out()).unwrap().len();
    let plan = place.plan(&Registry::builtin());
    let refused = engine::gc(&plan, Duration::ZERO, true).unwrap_err();
    assert!(matches!(refused, RunError::NothingFreed { table: "masks", .. }), "{refused}");
    assert!(refused.to_string().starts_with("nothing is freed"), "{refused}");
    assert_eq!(walk(&place.out()).unwrap().len(), count);
    // What nothing names is not made again for the asking, but the rows are.
    let verified = engine::verify(place.plan(&Registry::builtin()), true).unwrap();
    assert!(
        !verified.sound() && verified.lost.iter().any(|lost| lost.contains("history of `masks`")),
        "{verified}"
    );
    assert_eq!(place.run().actions_run, 0);
    assert_same(&place.tables(), &place.anew(), "mended");
    assert!(engine::verify(place.plan(&Registry::builtin()), false).unwrap().sound());
}

#[test]
fn delta_tools_may_clean_checkpoint_vacuum_and_compact() {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let python = std::env::var_os("TOMOFLOW_PYTHON").map_or_else(own, PathBuf::from);
    if !Command::new(&python)
        .args(["-c", "import deltalake"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("skipped: no Python with deltalake (set TOMOFLOW_PYTHON)");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/keep_house.py");
    for what in ["clean", "checkpoint", "vacuum", "compact", "compact,checkpoint,clean,vacuum"] {
        let place = often(13);
        age(&place);
        let output =
            Command::new(&python).arg(&script).arg(place.out().join("tables")).arg(what).output().unwrap();
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        age(&place);
        let verified = engine::verify(place.plan(&Registry::builtin()), false).unwrap();
        assert!(verified.sound(), "{what}: {verified}");
        freed(&place, what);
        let checked =
            Command::new(&python).arg(&script).arg(place.out().join("tables")).arg("read").output().unwrap();
        assert!(checked.status.success(), "{what}: {}", String::from_utf8_lossy(&checked.stderr));
        assert!(engine::verify(place.plan(&Registry::builtin()), false).unwrap().sound(), "{what}");
    }
}

#[test]
fn what_was_set_aside_is_told_of_and_goes() {
    let mut place = Workplace::new(1);
    place.run();
    // A file of a table that a run sets aside, and a table that `verify --mend` moves away.
    let metrics = place.out().join("tables/metrics");
    let (_, live) = current_files(&metrics).unwrap().unwrap();
    let path = metrics.join(live.first().unwrap());
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 3;
    bytes[at] ^= 4;
    fs::write(&path, bytes).unwrap();
    let is_told = |told: &[String]| told.iter().any(|line| line.starts_with("set aside as damaged"));
    assert!(!is_told(&place.run().told), "identifiers are clear by choice");
    let first = commits(&log(&place, Table::Cases)).into_iter().next().unwrap();
    fs::write(first, "junk").unwrap();
    engine::verify(place.plan(&Registry::builtin()), true).unwrap();
    let aside = [path.with_extension("parquet.damaged"), place.out().join("tables/.damaged/cases.1")];
    assert!(aside.iter().all(|path| path.exists()), "{aside:?}");

    fs::write(place.out().join("report.html"), "a page with names").unwrap();
    place.text = place.text.rewrite("identifiers = \"clear\"\n", "");
    let summary = place.run();
    assert!(is_told(&summary.told), "{summary}");
    assert!(summary.told.iter().any(|line| line.contains("report.html shows cases as")), "{summary}");
    let plan = place.plan(&Registry::builtin());
    let young = engine::gc(&plan, Duration::from_secs(86_400), true).unwrap();
    assert!(!young.items.contains_key("set aside") && aside.iter().all(|path| path.exists()), "{young}");
    let freed = engine::gc(&plan, Duration::ZERO, true).unwrap();
    assert_eq!(freed.items["set aside"].len(), 2, "{freed}");
    assert!(!aside.iter().any(|path| path.exists()), "{freed}");
    assert!(!is_told(&place.run().told));
    assert!(engine::verify(place.plan(&Registry::builtin()), false).unwrap().sound());
}
