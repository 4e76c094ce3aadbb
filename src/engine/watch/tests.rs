//! Real folders and what is told of them; whatever the system takes its time for is waited for.

use std::fs;
use std::slice;

use tempfile::TempDir;

use super::*;

const LONG: Duration = Duration::from_secs(3600);

/// A watched folder, after the first look at everything.
fn watched(rescan: Duration) -> (TempDir, PathBuf, Watcher) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("archive");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("old.dcm"), "old").unwrap();
    let watcher = Watcher::start(slice::from_ref(&root), rescan).unwrap();
    assert_eq!(next(&watcher), Change::Rescan);
    (folder, root, watcher)
}

fn next(watcher: &Watcher) -> Change {
    watcher.changes().recv_timeout(Duration::from_secs(30)).expect("a change within half a minute")
}

/// Waits until all of these were told, by their names or as a look at everything; what was named.
fn told(watcher: &Watcher, paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut seen = BTreeSet::new();
    while !paths.iter().all(|path| seen.contains(path)) {
        match next(watcher) {
            Change::Paths(paths) => seen.extend(paths),
            Change::Rescan => {
                panic!("a look at everything, where {paths:?} were expected; before it {seen:?}")
            }
        }
    }
    seen
}

/// Waits for a look at everything.
fn looked(watcher: &Watcher) {
    while next(watcher) != Change::Rescan {}
}

#[test]
fn a_file_that_comes_changes_and_goes_is_told() {
    let (_folder, root, watcher) = watched(LONG);
    let (new, old) = (root.join("new.dcm"), root.join("old.dcm"));
    fs::write(&new, "new").unwrap();
    assert_eq!(told(&watcher, slice::from_ref(&new)), [new.clone()].into());
    fs::write(&old, "other").unwrap();
    told(&watcher, slice::from_ref(&old));
    fs::remove_file(&new).unwrap();
    told(&watcher, &[new]);
    fs::read(&old).unwrap();
    fs::hard_link(&old, root.join("link.dcm")).unwrap();
    assert!(told(&watcher, &[root.join("link.dcm")]).len() <= 2);
}

#[test]
fn a_renamed_file_is_told_by_both_names() {
    let (_folder, root, watcher) = watched(LONG);
    let (old, new) = (root.join("old.dcm"), root.join("new.dcm"));
    fs::rename(&old, &new).unwrap();
    // The two names may come apart: then the old one, which may have been a folder's, asks for a look.
    match next(&watcher) {
        Change::Paths(paths) => assert_eq!(paths, [old, new].into()),
        Change::Rescan => {}
    }
}

#[test]
fn files_that_come_with_their_folder_are_told() {
    let (folder, root, watcher) = watched(LONG);
    let series = root.join("patient/study/series");
    fs::create_dir_all(&series).unwrap();
    let files: Vec<_> = (0..300).map(|number| series.join(format!("{number}.dcm"))).collect();
    for file in &files {
        fs::write(file, "slice").unwrap();
    }
    let seen = told(&watcher, &files);
    assert!(seen.iter().all(|path| path.starts_with(&series) && path != &series), "{seen:?}");
    // A folder is moved in, with folders below, and files are then written into it.
    let outside = folder.path().join("outside");
    fs::create_dir_all(outside.join("deep")).unwrap();
    fs::write(outside.join("deep/1.dcm"), "1").unwrap();
    fs::rename(&outside, root.join("inside")).unwrap();
    told(&watcher, &[root.join("inside/deep/1.dcm")]);
    fs::write(root.join("inside/deep/2.dcm"), "2").unwrap();
    told(&watcher, &[root.join("inside/deep/2.dcm")]);
}

#[test]
fn a_folder_that_goes_asks_for_a_look_at_everything() {
    let (folder, root, watcher) = watched(LONG);
    let (one, two) = (root.join("one/a.dcm"), root.join("two/a.dcm"));
    for file in [&one, &two] {
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(file, "a").unwrap();
    }
    told(&watcher, &[one, two]);
    fs::remove_dir_all(root.join("one")).unwrap();
    looked(&watcher);
    fs::rename(root.join("two"), root.join("three")).unwrap();
    looked(&watcher);
    fs::rename(root.join("three"), folder.path().join("away")).unwrap();
    looked(&watcher);
}

#[test]
fn everything_is_looked_at_now_and_then() {
    let (_folder, _root, watcher) = watched(Duration::from_millis(20));
    looked(&watcher);
    looked(&watcher);
}

#[test]
fn a_folder_that_comes_later_is_watched_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("mounted/later");
    let watcher = Watcher::start(slice::from_ref(&root), Duration::from_millis(300)).unwrap();
    looked(&watcher);
    for round in 0..2 {
        fs::create_dir_all(&root).unwrap();
        let mut number = 0;
        // A file that is written before the folder is watched is found by the look at everything alone.
        let named = |change: Change| matches!(change, Change::Paths(paths) if paths.iter().all(|path| path.starts_with(&root)));
        while !named(next(&watcher)) {
            fs::write(root.join(format!("{number}.dcm")), "a").unwrap();
            number += 1;
            assert!(number < 200, "round {round}: nothing was named");
        }
        fs::remove_dir_all(&root).unwrap();
    }
}

#[test]
fn changes_that_nobody_takes_become_one() {
    let (_folder, root, watcher) = watched(LONG);
    let files: Vec<_> = (0..5).map(|number| root.join(format!("{number}.dcm"))).collect();
    for file in &files {
        fs::write(file, "a").unwrap();
        std::thread::sleep(2 * GATHER);
    }
    let seen = told(&watcher, &files);
    assert_eq!(seen, files.into_iter().collect());
    assert!(watcher.changes().len() <= 1);
}

#[test]
fn a_dropped_watcher_ends_its_thread() {
    let (_folder, root, watcher) = watched(LONG);
    let changes = watcher.changes().clone();
    drop(watcher);
    // The thread holds the only sender.
    while changes.recv_timeout(Duration::from_secs(30)).is_ok() {}
    assert_eq!(changes.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected));
    fs::write(root.join("late.dcm"), "late").unwrap();
}

#[test]
fn changes_are_merged_within_bounds() {
    let paths = |numbers: std::ops::Range<usize>| {
        Some(Change::Paths(numbers.map(|number| PathBuf::from(number.to_string())).collect()))
    };
    assert_eq!(merged(None, paths(0..2)), paths(0..2));
    assert_eq!(merged(paths(0..2), paths(1..3)), paths(0..3));
    assert_eq!(merged(paths(0..2), Some(Change::Rescan)), Some(Change::Rescan));
    assert_eq!(merged(paths(0..MOST_PATHS), paths(MOST_PATHS..MOST_PATHS + 1)), Some(Change::Rescan));
}
