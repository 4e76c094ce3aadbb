//! Whether all is sound, and what could go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tomoflow::connectors::Digest;
use tomoflow::connectors::dicom::walk;
use tomoflow::connectors::table::table_files;
use tomoflow::engine::{self, Garbage, Verified};
use tomoflow::operators::registry::Registry;

use super::explained::masks;
use super::{a_second_later, looking_only, repaint};
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same, contents, ran};

fn verify(place: &Workplace) -> Verified {
    let plan = place.plan(&Registry::builtin());
    looking_only(place, || engine::verify(plan, false).unwrap())
}

fn mend(place: &Workplace) -> Verified {
    engine::verify(place.plan(&Registry::builtin()), true).unwrap()
}

pub fn artifacts(place: &Workplace) -> Vec<PathBuf> {
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
    let behind_its_time = |slice: &Path| {
        let written = fs::metadata(slice).unwrap().modified().unwrap();
        repaint(slice);
        fs::File::options().write(true).open(slice).unwrap().set_modified(written).unwrap();
    };
    let slice = place.files_of(0).remove(4);
    behind_its_time(&slice);
    let verified = verify(&place);
    assert_eq!((verified.altered.as_slice(), verified.sound()), (&[slice][..], false), "{verified}");
    assert_eq!((verified.files, verified.outdated), (17, 0));
    assert_mended(&place);
    let mended = place.tables();
    assert_ne!(mended, before);
    // The ctime of a file tells a run as well.
    behind_its_time(&place.files_of(1).remove(4));
    assert_eq!(place.run().files_read, 1);
    assert_ne!(place.tables(), mended);
    assert_eq!(verify(&place).files, 18);
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
    assert!(why.contains("tomoflow verify --mend"), "{why}");
    assert!(verified.lost.is_empty() && verified.to_string().contains("set right"), "{verified}");
    assert_eq!(place.run().actions_run, 0);
    assert_same(&place.tables(), &before, "made again");
    assert!(verify(&place).sound());
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
    place.text = place.text.rewrite("above = 0.5", "above = 0.8");
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
    place.text = place.text.rewrite("above = 0.5", "above = 0.8");
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
    place.text = place.text.rewrite("above = 0.8", "above = 0.5");
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
    place.text = place.text.rewrite("above = 0.5", "above = 0.8");
    place.run();
    a_second_later();
    let kept = artifacts(&place);
    let freed = gc(&place, then.elapsed().unwrap(), true);
    assert!(!freed.items.contains_key("artifacts") && freed.outcomes == 0, "{freed}");
    assert_eq!(artifacts(&place), kept);
    // The files of that version are there, and every action that they name is as well.
    let files = table_files(&place.out().join("tables/masks"), then).unwrap();
    assert!(files.needed.len() >= 2 && files.needed.iter().all(|file| file.is_file()));
    place.text = place.text.rewrite("above = 0.8", "above = 0.5");
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
