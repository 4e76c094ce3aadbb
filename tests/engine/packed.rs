//! Scans in a `.tar`, read as if it were a folder.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::support::Workplace;
use tomoflow::connectors::container;
use tomoflow::engine::{Options, Session};
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::vs::{VsPhantom, write_archive};

/// Packs files into a container, which takes the place of one that is there.
fn pack(files: &[PathBuf], container: &Path) {
    let beside = container.with_extension("new");
    let mut tar = tar::Builder::new(File::create(&beside).unwrap());
    for file in files {
        tar.append_path_with_name(file, Path::new("inside").join(file.file_name().unwrap())).unwrap();
    }
    tar.into_inner().unwrap();
    fs::rename(&beside, container).unwrap();
}

/// Writes series number `index` into a folder of its own.
fn series(place: &Workplace, index: usize, folder: &Path) {
    write_archive(&VsPhantom { series: 1, first: index, ..place.phantom.clone() }, folder).unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_container_gives_what_a_folder_gives_and_follows_its_changes() {
    let place = Workplace::new(2);
    place.run();
    let as_folder = place.tables();
    // The same files in a container: they are read again, and nothing runs.
    let container = place.archive().join("archive.tar");
    let loose = files(&place.archive());
    pack(&loose, &container);
    for file in &loose {
        fs::remove_file(file).unwrap();
    }
    let packed = place.run();
    assert_eq!((packed.cases, packed.actions_run, packed.files_read), (2, 0, loose.len()), "{packed}");
    assert_eq!(place.tables(), as_folder);
    assert_eq!(place.anew(), as_folder, "a run from nothing reads voxels and outlines from it");
    assert_eq!(place.run().files_read, 0);
    // One more series in the container.
    let beside = place.path().join("beside");
    series(&place, 2, &beside);
    for file in &loose {
        // Packed once more from what the container holds.
        let member = container.join("inside").join(file.file_name().unwrap());
        let bytes = container::read(&member).unwrap();
        fs::write(beside.join(file.file_name().unwrap()), bytes).unwrap();
    }
    pack(&files(&beside), &container);
    let grown = place.run();
    assert_eq!((grown.cases, grown.actions_run), (3, 3), "{grown}");
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn a_session_that_is_told_of_a_container_follows_it() {
    let place = Workplace::new(2);
    let container = place.archive().join("more.tar");
    let plan = place.plan(&Registry::builtin());
    let mut session = Session::open(plan, Options::default()).unwrap();
    session.look().unwrap();
    assert_eq!(session.pending().count(), 2);
    let beside = place.path().join("beside");
    series(&place, 2, &beside);
    pack(&files(&beside), &container);
    session.update(&BTreeSet::from([container.clone()])).unwrap();
    assert_eq!(session.pending().count(), 3);
    // What is cut short says nothing about what was in it.
    let whole = fs::read(&container).unwrap();
    fs::write(&container, &whole[..whole.len() / 2]).unwrap();
    session.update(&BTreeSet::from([container.clone()])).unwrap();
    assert_eq!(session.pending().count(), 3);
    fs::remove_file(&container).unwrap();
    session.update(&BTreeSet::from([container])).unwrap();
    assert_eq!(session.pending().count(), 2);
}

#[test]
fn a_container_that_is_gone_or_empty_is_asked_about() {
    let place = Workplace::new(1);
    let container = place.archive().join("more.tar");
    let beside = place.path().join("beside");
    series(&place, 2, &beside);
    series(&place, 3, &beside);
    pack(&files(&beside), &container);
    let first = place.run();
    assert_eq!((first.cases, first.emptied), (3, 0), "{first}");
    pack(&[], &container);
    let empty = place.run();
    assert_eq!((empty.cases, empty.emptied), (3, 1), "{empty}");
    assert!(empty.to_string().contains("more.tar held 2 cases at the last run"), "{empty}");
    fs::remove_file(&container).unwrap();
    let gone = place.run();
    assert_eq!((gone.cases, gone.emptied), (3, 1), "{gone}");
    let accepted = place.run_with(&Options { threads: 2, accept_empty: true, ..Options::default() });
    assert_eq!((accepted.cases, accepted.emptied), (1, 0), "{accepted}");
    assert_eq!(place.tables(), place.anew());
}
