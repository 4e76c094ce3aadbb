//! A run that is killed at any moment and started again ends with the tables of an undisturbed one, and runs
//! nothing twice whose outcome was recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use crate::support::process::{Ended, command};
use crate::support::text::Rewrite as _;
use crate::support::{Contents, Workplace, lines};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tomoflow::connectors::dicom::walk;
use tomoflow::connectors::points;
use tomoflow::connectors::table::{Table, read_rows, table_files};
use tomoflow::store::{Outcome, Store};

const SIGABRT: i32 = 6;

/// Starts a run and kills it after a while; whether it was still running.
fn kill_after(place: &Workplace, wait: Duration) -> bool {
    let mut command = command("run", &place.pipeline(), &[]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(wait);
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    running
}

/// Runs to the end, and shows that nothing ran whose outcome was in the store before.
fn run_on(place: &Workplace, when: &str) -> Ended {
    let recorded = recorded(&place.out());
    let run = place.tomoflow("run", &[]);
    assert_eq!(run.code, Some(0), "{when}: {}", run.err);
    let started = run.started();
    assert_eq!(started.len(), run.keys().len(), "{when}: an action was started twice");
    let again: Vec<_> = run.keys().intersection(&recorded).cloned().collect();
    assert!(again.is_empty(), "{when}: recorded, and run again: {again:?}");
    run
}

/// The keys whose outcome the store has. It is looked at in a copy, so that what a crash left stays.
fn recorded(out: &Path) -> BTreeSet<String> {
    if !out.join("store/holder").is_file() {
        return BTreeSet::new();
    }
    let store = Store::scratch(out).unwrap();
    store.all_outcomes().unwrap().into_iter().map(|(key, _)| key.to_string()).collect()
}

/// Kills a run of changes again and again; every few kills it runs to its end, and is compared.
fn kill_through_changes(seed: u64, kills: usize) {
    let mut place = Workplace::new(2);
    let started = Instant::now();
    assert_eq!(place.tomoflow("run", &[]).code, Some(0));
    let undisturbed = started.elapsed().as_secs_f64();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut hit, mut there) = (0, BTreeSet::from([0, 1]));
    for kill in 0..kills {
        // Whatever a kill leaves, the next run has something to do.
        match rng.random_range(0..6) {
            0 if there.len() < 3 => {
                let index = (0..3).find(|index| !there.contains(index)).unwrap();
                place.add(index);
                there.insert(index);
            }
            1 if there.len() > 1 => place.delete(there.pop_first().unwrap()),
            2 => place.move_label(*there.first().unwrap(), rng.random_range(0..4)),
            _ => {
                let (head, tail) = place.text.split_once("above = ").unwrap();
                let (_, tail) = tail.split_once('\n').unwrap();
                place.text = format!("{head}above = 0.{}\n{tail}", rng.random_range(2..9));
            }
        }
        let wait = undisturbed * rng.random_range(0.0..1.1);
        hit += usize::from(kill_after(&place, Duration::from_secs_f64(wait)));
        if kill % 10 == 9 {
            let when = format!("seed {seed}, kill {kill}");
            run_on(&place, &when);
            crate::support::assert_same(&place.tables(), &place.anew(), &when);
            assert_clean(&place.out(), &when);
        }
    }
    assert!(hit > kills / 3, "{hit} of {kills} runs were under way when they were killed");
}

#[test]
fn killed_at_random_moments_a_run_ends_the_same() {
    kill_through_changes(5, 100);
}

#[test]
fn killed_at_other_random_moments_a_run_ends_the_same() {
    kill_through_changes(6, 100);
}

#[test]
fn a_killed_training_goes_on_to_the_same_model() {
    let mut place = Workplace::trained();
    place.text = place.text.rewrite("epochs = 2", "epochs = 6");
    let expected = place.anew();
    let started = Instant::now();
    assert_eq!(place.tomoflow("run", &[]).code, Some(0));
    let undisturbed = started.elapsed().as_secs_f64();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for round in 0..12 {
        if round % 6 == 0 {
            fs::remove_dir_all(place.out()).unwrap();
        }
        kill_after(&place, Duration::from_secs_f64(undisturbed * rng.random_range(0.0..1.2)));
        if round % 6 == 5 {
            let when = format!("round {round}");
            run_on(&place, &when);
            crate::support::assert_same(&place.tables(), &expected, &when);
        }
    }
}

#[test]
fn a_first_run_may_end_at_every_point() {
    let place = Workplace::new(2);
    let hit = at_every_point(&place, None, &[1, 2, 3]);
    assert_eq!(hit, points::ALL.iter().copied().collect(), "points that a first run passes");
}

#[test]
fn a_run_of_changes_may_end_at_every_point() {
    let mut place = Workplace::new(3);
    place.run();
    let first = place.path().join("first");
    fs::rename(place.out(), &first).unwrap();
    place.text = place.text.rewrite("above = 0.5", "above = 0.7");
    place.delete(0);
    place.add(3);
    place.move_label(1, 2);
    let hit = at_every_point(&place, Some(&first), &[1, 3]);
    assert_eq!(hit, points::ALL.iter().copied().collect(), "points that a run of changes passes");
}

/// Ends a run at each point, looks at what is left, and runs on; the points that were reached.
fn at_every_point(place: &Workplace, first: Option<&Path>, counts: &[usize]) -> BTreeSet<&'static str> {
    let (before, after) = (first.map(read_all).unwrap_or_default(), place.anew());
    let mut hit = BTreeSet::new();
    for &point in points::ALL {
        for count in counts {
            if place.out().exists() {
                fs::remove_dir_all(place.out()).unwrap();
            }
            if let Some(first) = first {
                copy(first, &place.out());
            }
            let when = format!("{point}, {count}");
            let run = place.run_to(&format!("{point}:{count}:abort"), &[]);
            if run.code == Some(0) {
                // It is passed fewer times than that.
                crate::support::assert_same(&place.tables(), &after, &when);
                break;
            }
            assert_eq!(run.signal, Some(SIGABRT), "{when}: {}", run.err);
            hit.insert(point);
            left_behind(place, point, &before, &after, &when);
            let artifacts = artifacts(&place.out());
            run_on(place, &when);
            crate::support::assert_same(&place.tables(), &after, &when);
            assert_clean(&place.out(), &when);
            for (path, inode) in artifacts {
                assert_eq!(
                    fs::metadata(&path).unwrap().ino(),
                    inode,
                    "{when}: an artifact was written twice"
                );
            }
            // And then there is nothing left to do.
            assert_eq!(place.tomoflow("run", &[]).started(), [""; 0], "{when}");
        }
    }
    hit
}

/// What a crash leaves: every table as it was or as it is to be, and what is staged at that point.
fn left_behind(place: &Workplace, point: &str, before: &Contents, after: &Contents, when: &str) {
    let out = place.out();
    for (table, rows) in read_all(&out) {
        let whole = Some(&rows) == after.get(table) || rows == *before.get(table).unwrap_or(&BTreeSet::new());
        assert!(whole, "{when}: table {table} is neither as it was nor as it is to be");
    }
    let staged = fs::read_dir(out.join("store/staging")).unwrap().count();
    let orphans = unnamed_artifacts(&out).len();
    match point {
        points::ARTIFACT_STAGED => assert!(staged > 0, "{when}: nothing staged"),
        points::ARTIFACT_NAMED => assert!(orphans > 0, "{when}: no artifact without an outcome"),
        points::TABLE_STAGED => assert!(unnamed_files(&out) > 0, "{when}: no file outside of the log"),
        _ => {}
    }
}

/// Nothing is left over in the store that a reader or a later run could trip over.
fn assert_clean(out: &Path, when: &str) {
    let staged: Vec<_> = fs::read_dir(out.join("store/staging")).unwrap().collect();
    assert!(staged.is_empty(), "{when}: {staged:?}");
}

/// Parquet files of all tables that no version names.
fn unnamed_files(out: &Path) -> usize {
    // From now on nothing but the current version is kept, so that what is left over has no version.
    let later = SystemTime::now() + Duration::from_secs(3600);
    let tables = Table::ALL.iter().map(|table| out.join("tables").join(table.name()));
    tables.map(|folder| table_files(&folder, later).unwrap().unneeded.len()).sum()
}

/// Artifacts that no outcome names.
fn unnamed_artifacts(out: &Path) -> BTreeSet<PathBuf> {
    let store = Store::scratch(out).unwrap();
    let mut named = BTreeSet::new();
    for (_, recorded) in store.all_outcomes().unwrap() {
        if let Outcome::Ok { artifact, detail, .. } = recorded.outcome {
            named.extend(
                [Some(artifact), detail].into_iter().flatten().map(|name| store.artifacts().path(name)),
            );
        }
    }
    artifacts(out).into_keys().filter(|path| !named.contains(path)).collect()
}

/// All artifacts, with what tells that they were not written anew.
fn artifacts(out: &Path) -> BTreeMap<PathBuf, u64> {
    let folder = out.join("store/artifacts");
    if !folder.is_dir() {
        return BTreeMap::new();
    }
    walk(&folder).unwrap().into_iter().map(|file| (file.path, file.inode)).collect()
}

/// The tables that are there, through the readers that everybody uses.
fn read_all(out: &Path) -> Contents {
    let tables = Table::ALL.iter().filter(|&&table| table != Table::Runs);
    let folder = |table: Table| out.join("tables").join(table.name());
    let there = tables.filter(|&&table| folder(table).join("_delta_log").is_dir());
    there.map(|&table| (table.name(), lines(&read_rows(&folder(table), table).unwrap()))).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
