//! What another program writes into a table is found by `verify`, and is not there any more after the next run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tomoflow::connectors::table::{Rows, Table, current_files, read_rows, write_parquet};
use tomoflow::engine::{self, Cluster, Verified};
use tomoflow::operators::registry::Registry;

use crate::support::{Workplace, assert_same};

fn verify(place: &Workplace, mend: bool) -> Verified {
    engine::verify(place.plan(&Registry::builtin()), mend).unwrap()
}

/// One version more of a table, as another program writes it: files go, and one comes.
fn by_another(folder: &Path, gone: &BTreeSet<String>, come: Option<&Rows>) {
    let (version, _) = current_files(folder).unwrap().unwrap();
    let mut lines = vec![json!({"commitInfo": {
        "timestamp": 1_700_000_000_000u64, "operation": "WRITE", "operationParameters": {}, "engineInfo": "another:1"
    }})];
    lines.extend(gone.iter().map(|name| {
        let size = fs::metadata(folder.join(name)).unwrap().len();
        json!({"remove": {"path": name, "deletionTimestamp": 1_700_000_000_000u64, "dataChange": true,
            "extendedFileMetadata": true, "partitionValues": {}, "size": size}})
    }));
    if let Some(rows) = come {
        let name = format!("part-00000-{version:08}-c000.zstd.parquet");
        write_parquet(&folder.join(&name), rows).unwrap();
        let size = fs::metadata(folder.join(&name)).unwrap().len();
        lines.push(json!({"add": {"path": name, "partitionValues": {}, "size": size,
            "modificationTime": 1_700_000_000_000u64, "dataChange": true}}));
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("_delta_log").join(format!("{:020}.json", version + 1)), text).unwrap();
}

/// What lies in a table: its files, and its rows.
fn held(place: &Workplace, table: Table) -> (PathBuf, BTreeSet<String>, Rows) {
    let folder = place.out().join("tables").join(table.name());
    let (_, names) = current_files(&folder).unwrap().unwrap();
    let rows = read_rows(&folder, table).unwrap();
    (folder, names, rows)
}

/// The table is named; the next run makes it what it was, and then all is sound.
fn found_and_made_again(place: &Workplace, table: Table, figures: &str) {
    let found = verify(place, false);
    let line = format!("changed: table {}: {figures}", table.name());
    assert!(!found.sound() && found.to_string().contains(&line), "{line} expected: {found}");
    assert!(found.to_string().contains("(WRITE by another:1)"), "{found}");
    let summary = place.run();
    assert_eq!(summary.actions_run, 0, "{summary}");
    assert_same(&place.tables(), &place.anew(), table.name());
    let after = verify(place, false);
    assert!(after.sound() && after.unsure.is_empty(), "{after}");
}

#[test]
fn figures_of_another_program_are_found() {
    let place = Workplace::new(2);
    place.run();
    for mend in [false, true] {
        let (folder, names, rows) = held(&place, Table::Metrics);
        let Rows::Metrics(mut rows) = rows else { panic!("metrics expected") };
        let mut changed = 0;
        for row in rows.iter_mut().filter(|row| row.metric == "dice") {
            row.value = Some(0.4375);
            changed += 1;
        }
        assert!(changed > 0);
        by_another(&folder, &names, Some(&Rows::Metrics(rows)));
        if mend {
            assert_eq!(verify(&place, true).changed.len(), 1);
            place.run();
            assert_same(&place.tables(), &place.anew(), "mended");
            assert!(verify(&place, false).sound());
        } else {
            let figures = format!("{changed} row");
            found_and_made_again(&place, Table::Metrics, &figures);
        }
    }
}

#[test]
fn rows_that_nothing_desires_and_rows_that_are_gone_are_found() {
    let place = Workplace::new(1);
    place.run();
    // A row of another entry.
    let (folder, _, rows) = held(&place, Table::Cases);
    let Rows::Cases(mut rows) = rows else { panic!("cases expected") };
    rows[0].case = "nobody".to_owned();
    rows[0].entry = "nothing".to_owned();
    by_another(&folder, &BTreeSet::new(), Some(&Rows::Cases(rows)));
    found_and_made_again(&place, Table::Cases, "1 row that tomoflow did not write, 0 rows of its own gone");
    // A row once more.
    let (folder, _, rows) = held(&place, Table::Masks);
    let Rows::Masks(mut rows) = rows else { panic!("masks expected") };
    rows.truncate(1);
    by_another(&folder, &BTreeSet::new(), Some(&Rows::Masks(rows)));
    let summary = {
        let found = verify(&place, false);
        assert_eq!(found.changed.len(), 1, "{found}");
        place.run()
    };
    assert!(summary.told.iter().any(|line| line.contains("another program wrote into tables")), "{summary}");
    assert_same(&place.tables(), &place.anew(), "appended");
    // All rows.
    let (folder, names, rows) = held(&place, Table::Masks);
    by_another(&folder, &names, None);
    let figures = format!("0 rows that tomoflow did not write, {} row", rows.len());
    found_and_made_again(&place, Table::Masks, &figures);
}

#[test]
fn the_same_rows_in_another_file_are_the_same() {
    let place = Workplace::new(1);
    place.run();
    let before = place.tables();
    let (folder, names, rows) = held(&place, Table::Masks);
    by_another(&folder, &names, Some(&rows));
    let found = verify(&place, false);
    assert!(found.sound() && found.unsure.is_empty(), "{found}");
    // Where the files before are gone nobody can say so, and it is said.
    names.iter().for_each(|name| fs::remove_file(folder.join(name)).unwrap());
    let found = verify(&place, false);
    assert_eq!(found.unsure, ["masks"], "{found}");
    assert!(!found.to_string().contains("all sound"), "{found}");
    place.run();
    assert_same(&place.tables(), &before, "after a compaction");
    assert!(verify(&place, false).unsure.is_empty());
}

#[test]
fn what_no_log_holds_is_an_error_by_name_and_is_mended() {
    let place = Workplace::new(1);
    place.run();
    let before = place.tables();
    let log = place.out().join("tables/metrics/_delta_log");
    let (version, _) = current_files(log.parent().unwrap()).unwrap().unwrap();
    let next = log.join(format!("{:020}.json", version + 1));
    let pointer = log.join("_last_checkpoint");
    let large = |path: &Path| fs::File::create(path).unwrap().set_len(20 << 30).unwrap();
    let fifo = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let device = |path: &Path| std::os::unix::fs::symlink("/dev/zero", path).unwrap();
    type Making<'m> = (&'m Path, &'m dyn Fn(&Path));
    let tried: [Making<'_>; 3] = [(&pointer, &large), (&next, &fifo), (&next, &device)];
    for (path, make) in tried {
        make(path);
        let refused = engine::gc(&place.plan(&Registry::builtin()), Duration::ZERO, true).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("an ordinary file of at most") && text.contains("hint: "), "{text}");
        let found = verify(&place, false);
        assert!(!found.sound() && found.unreadable[0].0 == "metrics", "{found}");
        let mended = verify(&place, true);
        assert!(mended.lost.is_empty() && !path.exists(), "{mended}");
        place.run();
        assert_same(&place.tables(), &before, "mended");
        assert!(verify(&place, false).sound());
    }
}

#[test]
fn files_that_no_version_names_stop_nothing_and_stay() {
    let place = Workplace::new(1);
    place.run();
    let before = place.tables();
    let theirs = place.out().join("tables/metrics/mine.parquet");
    fs::write(&theirs, "no Parquet at all").unwrap();
    engine::gc(&place.plan(&Registry::builtin()), Duration::ZERO, true).unwrap();
    assert_eq!(place.run().actions_run, 0);
    assert_same(&place.tables(), &before, "beside another's file");
    let found = verify(&place, false);
    assert!(found.sound() && found.unknown == 1 && theirs.is_file(), "{found}");
}

#[test]
fn hosts_are_read_from_an_ordinary_file_alone() {
    let error = Cluster::read(Path::new("/dev/zero"), 2, 0, 1).unwrap_err().to_string();
    assert!(error.contains("an ordinary file expected, a device found"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, "# two\n127.0.0.1:7001\n\n127.0.0.1:7002\n").unwrap();
    assert_eq!(Cluster::read(&hosts, 2, 1, 1).unwrap().hosts, ["127.0.0.1:7001", "127.0.0.1:7002"]);
    fs::write(&hosts, [b'a', 0xff]).unwrap();
    assert!(Cluster::read(&hosts, 2, 1, 1).unwrap_err().to_string().contains("hint: "));
}
