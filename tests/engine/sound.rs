//! `verify` finds what is not as it was written: a turned bit anywhere, a database or a key that is gone; and mends it.

mod records;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use redb::{ReadableTable as _, TableDefinition};
use tomoflow::connectors::dicom::walk;
use tomoflow::connectors::table::{Table, read_rows};
use tomoflow::connectors::tensorboard::EventFile;
use tomoflow::engine::{self, Verified};
use tomoflow::operators::registry::Registry;

use self::records::records;
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};

/// A pipeline with every kind of output, which ran so often that logs are summed up.
fn place() -> Workplace {
    let mut place = Workplace::new(1);
    place.text += "\n[sinks.flat]\ntype = \"parquet\"\ninputs = [\"largest\", \"scores\"]\n\
                   \n[sinks.files]\ntype = \"files\"\ninputs = [\"largest\"]\npath = \"out/files\"\n";
    for above in ["0.8", "0.5"] {
        let known = place.text.lines().find(|line| line.starts_with("above")).unwrap().to_owned();
        place.text = place.text.rewrite(&known, &format!("above = {above}"));
        (0..6).for_each(|_| drop(place.run()));
    }
    assert!(place.out().join("tables/runs/_delta_log/_last_checkpoint").is_file());
    shown(&place);
    place
}

/// The page of `report`, and figures for TensorBoard as a training writes them.
fn shown(place: &Workplace) -> [PathBuf; 2] {
    let report = place.tomoflow("report", &[]);
    assert_eq!(report.code, Some(0), "{}", report.err);
    let folder = place.out().join("tensorboard/net/0123456789ab");
    let mut events = EventFile::begin(&folder, UNIX_EPOCH, 0).unwrap();
    (0..40)
        .for_each(|step| events.scalar(UNIX_EPOCH, step, "train/loss", 0.5 / (1.0 + step as f64)).unwrap());
    let events = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    [place.out().join("report.html"), events]
}

/// What verifying finds; an error by name is a finding as well.
fn verify(place: &Workplace) -> Result<Verified, String> {
    engine::verify(place.plan(&Registry::builtin()), false).map_err(|error| error.to_string())
}

fn files(place: &Workplace) -> Vec<(PathBuf, u64)> {
    let files = walk(&place.out()).unwrap().into_iter().filter(|file| file.size > 0);
    files.map(|file| (file.path, file.size)).collect()
}

/// Turns a bit of a file; turned again, the file is what it was.
fn turn(path: &Path, at: u64, bit: u8) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
}

#[test]
fn a_turned_bit_anywhere_is_found_or_carries_nothing() {
    let place = place();
    let first = verify(&place).unwrap();
    assert!(first.sound() && first.unknown == 0, "{first}");
    let state = place.out().join("store/state.redb");
    let before = records(&state);
    let files = files(&place);
    let mut rng = ChaCha8Rng::seed_from_u64(41);
    let (mut found, mut nothing): (BTreeMap<String, usize>, BTreeMap<String, usize>) = Default::default();
    let total: u64 = files.iter().map(|(_, size)| size).sum();
    for flip in 0..1000 {
        // Half of them by bytes, half of them by files: most bytes are the database's.
        let (path, size) = if flip % 2 == 0 {
            let mut at = rng.random_range(0..total);
            let place = files.iter().find(|(_, size)| {
                let here = at < *size;
                at = at.saturating_sub(*size);
                here
            });
            place.unwrap()
        } else {
            &files[rng.random_range(0..files.len())]
        };
        let (at, bit) = (rng.random_range(0..*size), rng.random_range(0..8));
        turn(path, at, bit);
        let kind = kind(&place, path);
        match verify(&place) {
            Ok(verified) if verified.sound() => {
                let name = path.file_name().unwrap().to_str().unwrap();
                match name {
                    // A page of the database that no record lies in.
                    "state.redb" => {
                        assert_eq!(records(&state), before, "byte {at}, bit {bit} of the database")
                    }
                    // Who ran last, and how far a run has come that has ended: written anew by each.
                    "holder" | "status.json" => {}
                    _ => panic!("byte {at}, bit {bit} of {}: not found", path.display()),
                }
                *nothing.entry(kind).or_default() += 1;
            }
            Ok(_) => *found.entry(kind).or_default() += 1,
            Err(error) => {
                assert!(error.contains("hint: "), "{error}");
                *found.entry(kind).or_default() += 1;
            }
        }
        turn(path, at, bit);
    }
    assert!(verify(&place).unwrap().sound());
    println!("found: {found:?}\ncarries nothing: {nothing:?}");
    assert!(found.values().sum::<usize>() > 600, "{found:?}");
    for kind in ["database", "artifacts", "data", "log", "parquet", "masks"] {
        assert!(found.contains_key(kind), "no bit of {kind} was turned: {found:?}");
    }
}

/// What a file is.
fn kind(place: &Workplace, path: &Path) -> String {
    let below = path.strip_prefix(place.out()).unwrap().to_string_lossy().into_owned();
    let kinds = [
        ("store/state.redb", "database"),
        ("store/artifacts", "artifacts"),
        ("store/", "store"),
        ("_delta_log", "log"),
        ("tables/", "data"),
        ("parquet/", "parquet"),
        ("files/", "masks"),
        ("tensorboard/", "figures"),
    ];
    kinds.iter().find(|(part, _)| below.contains(part)).map_or(below, |(_, kind)| (*kind).to_owned())
}

#[test]
fn one_bit_of_each_kind_is_mended() {
    let place = place();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut kinds: BTreeMap<String, Vec<(PathBuf, u64)>> = BTreeMap::new();
    for (path, size) in files(&place) {
        if !path.ends_with("holder") && !path.ends_with("status.json") {
            kinds.entry(kind(&place, &path)).or_default().push((path, size));
        }
    }
    let before = place.tables();
    for (kind, files) in kinds {
        for _ in 0..4 {
            // What runs and what is mended writes other files, so that a name may be gone.
            let there: Vec<_> = files.iter().filter(|(path, _)| path.is_file()).collect();
            let Some((path, _)) = there.get(rng.random_range(0..there.len().max(1))) else { continue };
            let size = fs::metadata(path).unwrap().len();
            let mut at = rng.random_range(0..size);
            if kind == "database" {
                // Within a record: most pages hold none.
                let bytes = fs::read(path).unwrap();
                let records: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
                at = records[rng.random_range(0..records.len())] as u64;
            }
            turn(path, at, rng.random_range(0..8));
            let found = verify(&place);
            if found.as_ref().is_ok_and(Verified::sound) {
                continue;
            }
            let when = format!("byte {at} of {}", path.display());
            let mended = engine::verify(place.plan(&Registry::builtin()), true);
            let mended = mended.unwrap_or_else(|error| panic!("{when}: {error}"));
            let summary = place.run();
            assert_same(&place.tables(), &before, &when);
            let after = verify(&place).unwrap_or_else(|error| panic!("{when}: {error}"));
            assert!(after.sound(), "{when}: {after}\nfound {mended}\nrun {summary}");
        }
    }
}

#[test]
fn a_figure_is_held_against_its_artifact() {
    let place = Workplace::new(1);
    place.run();
    let before = place.tables();
    let state = place.out().join("store/state.redb");
    let value = place.metrics().into_iter().find(|row| row.metric == "dice").unwrap().value.unwrap();
    // A record as an earlier version wrote it, without a check of its own, and with another figure.
    const OUTCOMES: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("outcomes");
    let change = |turned: bool| {
        let database = redb::Database::open(&state).unwrap();
        let write = database.begin_write().unwrap();
        {
            let mut outcomes = write.open_table(OUTCOMES).unwrap();
            let holds = |bytes: &[u8]| bytes.windows(8).position(|window| window == value.to_le_bytes());
            let rows = outcomes.iter().unwrap().map(|row| row.unwrap());
            let row = rows
                .map(|(key, row)| (*key.value(), row.value().to_vec()))
                .find(|(_, row)| holds(row).is_some());
            let (key, mut row) = row.unwrap();
            row.truncate(row.len() - 16);
            if turned {
                let at = holds(&row).unwrap();
                row[at + 6] ^= 8;
            }
            outcomes.insert(&key, row.as_slice()).unwrap();
        }
        write.commit().unwrap();
    };
    change(true);
    let found = verify(&place).unwrap();
    assert!(found.figures.len() == 1 && !found.sound(), "{found}");
    assert!(found.to_string().contains("are not those of its artifact"), "{found}");
    assert_eq!(engine::verify(place.plan(&Registry::builtin()), true).unwrap().figures.len(), 1);
    assert_eq!(place.run().actions_run, 1);
    assert_same(&place.tables(), &before, "mended");
    // With its own figure it is as good as ever.
    change(false);
    let found = verify(&place).unwrap();
    assert!(found.sound() && found.records.unchecked >= 1, "{found}");
    assert_eq!(place.run().actions_run, 0);
}

#[test]
fn without_the_database_or_the_key_nothing_is_sound() {
    let place = Workplace::new(1);
    let never = place.tomoflow("verify", &[]);
    assert_eq!(never.code, Some(1), "{}", never.out);
    assert!(never.out.contains("there is no database") && !never.out.contains("all sound"), "{}", never.out);
    assert!(!place.out().exists(), "verify writes nothing");
    place.run();
    let before = place.tables();
    let key = place.out().join("store/identity.key");
    let bytes = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let gone = place.tomoflow("verify", &[]);
    assert_eq!(gone.code, Some(1), "{}", gone.out);
    assert!(gone.out.contains("identity.key: it is not there"), "{}", gone.out);
    let refused = place.tomoflow("run", &[]);
    assert_eq!(refused.code, Some(74), "{}", refused.err);
    assert!(refused.err.contains("the key of the pseudonyms"), "{}", refused.err);
    assert_eq!(place.tomoflow("verify", &["--mend"]).code, Some(1));
    assert_eq!(fs::read(&key).unwrap(), bytes);
    assert_eq!(place.run().actions_run, 0);
    assert_same(&place.tables(), &before, "with its key again");
    fs::remove_file(place.out().join("store/state.redb")).unwrap();
    let gone = place.tomoflow("verify", &[]);
    assert_eq!(gone.code, Some(1), "{}", gone.out);
    assert!(gone.out.contains("there is no database") && !gone.out.contains("all sound"), "{}", gone.out);
    assert!(!place.out().join("store/state.redb").exists());
    place.run();
    assert_same(&place.tables(), &before, "made again");
    assert_eq!(place.tomoflow("verify", &[]).code, Some(0));
}

#[test]
fn a_damaged_database_is_an_error_by_name() {
    let place = Workplace::new(1);
    place.run();
    let state = place.out().join("store/state.redb");
    let whole = fs::read(&state).unwrap();
    let before = place.tables();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut refused = 0;
    for round in 0..60 {
        let mut bytes = whole.clone();
        let at = rng.random_range(0..bytes.len());
        match round % 5 {
            0 => bytes.truncate(at),
            1 => bytes.iter_mut().skip(at).take(512).for_each(|byte| *byte = 0),
            2 => bytes.iter_mut().skip(at).take(64).for_each(|byte| *byte ^= rng.random::<u8>()),
            3 => bytes = (0..bytes.len()).map(|_| rng.random()).collect(),
            _ => {
                let (from, to) = (at / 4096 * 4096, rng.random_range(0..bytes.len() / 4096) * 4096);
                let page = bytes[to..to + 4096].to_vec();
                bytes[from..from + 4096].copy_from_slice(&page);
            }
        }
        fs::write(&state, bytes).unwrap();
        for command in ["verify", "plan", "run"] {
            let ended = place.tomoflow(command, &[]);
            assert!(
                !ended.err.contains("panicked") && ended.signal.is_none(),
                "round {round}: {command} {}",
                ended.err
            );
            match ended.code {
                Some(0) => assert_same(&place.tables(), &before, command),
                Some(1) if command == "verify" => {}
                Some(74) => assert!(ended.err.contains("hint: "), "{}", ended.err),
                other => panic!("round {round}: {command} ended with {other:?}: {}", ended.err),
            }
            refused += usize::from(ended.code != Some(0));
        }
    }
    assert!(refused > 60, "{refused}");
    engine::verify(place.plan(&Registry::builtin()), true).unwrap();
    place.run();
    assert_same(&place.tables(), &before, "mended");
}

#[test]
fn a_run_writes_rows_again_whose_file_was_damaged() {
    let place = Workplace::new(2);
    place.run();
    let before = place.tables();
    for table in [Table::Cases, Table::Masks, Table::Metrics, Table::Summary] {
        let folder = place.out().join("tables").join(table.name());
        let (_, live) = tomoflow::connectors::table::current_files(&folder).unwrap().unwrap();
        let path = folder.join(live.first().unwrap());
        turn(&path, fs::metadata(&path).unwrap().len() / 3, 2);
        let summary = place.run();
        assert!(summary.to_string().contains("damaged, changed or removed"), "{summary}");
        assert_same(&place.tables(), &before, table.name());
        // As after a `vacuum` that went too far.
        let (_, live) = tomoflow::connectors::table::current_files(&folder).unwrap().unwrap();
        fs::remove_file(folder.join(live.first().unwrap())).unwrap();
        place.run();
        assert_same(&place.tables(), &before, table.name());
    }
    let runs = place.out().join("tables/runs");
    assert_eq!(read_rows(&runs, Table::Runs).unwrap().len(), 9);
    assert!(verify(&place).unwrap().sound());
    // Of a run nothing else tells.
    let (_, live) = tomoflow::connectors::table::current_files(&runs).unwrap().unwrap();
    fs::write(runs.join(live.first().unwrap()), "damaged").unwrap();
    let mended = engine::verify(place.plan(&Registry::builtin()), true).unwrap();
    assert!(mended.lost.iter().any(|lost| lost.contains("rows of `runs`")), "{mended}");
    assert!(mended.to_string().contains("cannot be made again: rows of `runs`"), "{mended}");
    place.run();
    assert!(verify(&place).unwrap().sound());
}

#[test]
fn a_table_that_somebody_removed_begins_anew_and_is_sound() {
    let place = Workplace::new(1);
    place.run();
    let before = place.tables();
    // The table as a whole, its log alone, and the one that nothing can make again.
    for what in ["metrics", "masks/_delta_log", "runs"] {
        fs::remove_dir_all(place.out().join("tables").join(what)).unwrap();
        for _ in 0..2 {
            place.run();
            assert_same(&place.tables(), &before, what);
            let found = verify(&place).unwrap();
            assert!(found.sound(), "{what}: {found}");
        }
    }
    // It is looked at as closely as before.
    let folder = place.out().join("tables/metrics");
    let (_, live) = tomoflow::connectors::table::current_files(&folder).unwrap().unwrap();
    let path = folder.join(live.first().unwrap());
    turn(&path, fs::metadata(&path).unwrap().len() / 2, 1);
    assert_eq!(verify(&place).unwrap().damaged_files, [path]);
}

#[test]
fn a_note_of_a_folder_is_missed_and_what_is_not_looked_at_is_named() {
    let mut place = Workplace::new(2);
    place.text += "\n[sinks.files]\ntype = \"files\"\ninputs = [\"largest\"]\npath = \"out/files\"\n";
    place.run();
    let folder = place.out().join("files");
    let masks = || {
        let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| !name.to_string_lossy().starts_with('.')).count()
    };
    let before = masks();
    assert!(before >= 2, "{before}");
    let found = verify(&place).unwrap();
    assert!(found.sound() && found.unlooked.is_empty(), "{found}");

    fs::remove_file(folder.join(".tomoflow.json")).unwrap();
    let found = verify(&place).unwrap();
    assert!(found.edited.len() == 1 && found.edited[0].ends_with("files/.tomoflow.json"), "{found}");
    // Masks of a case that is gone go, although no note names them; what somebody else put there stays.
    fs::write(folder.join("mine.nii.gz"), "by hand").unwrap();
    place.delete(1);
    place.run();
    assert_eq!(masks(), before / 2 + 1);
    assert!(folder.join("mine.nii.gz").is_file());
    let found = verify(&place).unwrap();
    assert!(found.sound(), "{found}");

    fs::write(place.out().join("report.html"), "a page").unwrap();
    let found = verify(&place).unwrap();
    assert_eq!(found.unlooked, ["report.html"]);
    assert!(found.to_string().contains("not looked at: report.html ("), "{found}");
}

#[test]
fn a_report_and_figures_of_tensorboard_are_compared_and_set_right() {
    let place = Workplace::new(1);
    place.run();
    let before = verify(&place).unwrap();
    assert!(before.sound() && before.shown == 0, "{before}");
    let paths = shown(&place);
    let found = verify(&place).unwrap();
    assert!(found.sound() && found.shown == 2 && found.unlooked.is_empty(), "{found}");
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for path in &paths {
        let size = fs::metadata(path).unwrap().len();
        let mut places = vec![0, 3, size / 2, size - 1];
        places.extend((0..12).map(|_| rng.random_range(0..size)));
        for at in places {
            let bit = rng.random_range(0..8);
            turn(path, at, bit);
            let found = verify(&place).unwrap();
            let names: Vec<&PathBuf> = found.spoiled.iter().map(|(path, _)| path).collect();
            assert!(!found.sound() && names.len() == 1, "byte {at}, bit {bit}: {found}");
            assert_eq!(names[0].file_name(), path.file_name(), "byte {at}, bit {bit}: {found}");
            turn(path, at, bit);
        }
    }
    assert!(verify(&place).unwrap().sound());
    // What somebody else put beside them is named, and no note of a page says what another page holds.
    fs::write(place.out().join("tensorboard/net/notes.txt"), "mine").unwrap();
    fs::write(place.out().join("other.html"), "mine").unwrap();
    assert_eq!(verify(&place).unwrap().unlooked, ["other.html", "tensorboard/net/notes.txt"]);

    let [page, events] = paths;
    let whole = fs::metadata(&events).unwrap().len();
    turn(&page, 20, 1);
    turn(&events, whole - 6, 1);
    let mended = engine::verify(place.plan(&Registry::builtin()), true).unwrap();
    assert!(mended.spoiled.len() == 2 && mended.lost.len() == 1, "{mended}");
    assert!(mended.to_string().contains("`tomoflow report` writes it anew"), "{mended}");
    let found = verify(&place).unwrap();
    assert!(found.sound() && found.shown == 1, "{found}");
    assert!(found.unlooked.contains(&"report.html.damaged".to_owned()) && !page.exists(), "{found}");
    assert!(fs::metadata(&events).unwrap().len() < whole);
    let freed = engine::gc(&place.plan(&Registry::builtin()), Duration::ZERO, true).unwrap();
    assert_eq!(freed.items["set aside"].len(), 1, "{freed}");
    let report = place.tomoflow("report", &[]);
    assert_eq!(report.code, Some(0), "{}", report.err);
    // Whoever does not want it any more takes it away.
    assert_eq!(verify(&place).unwrap().shown, 2);
    fs::remove_file(&page).unwrap();
    assert!(verify(&place).unwrap().sound());
}
