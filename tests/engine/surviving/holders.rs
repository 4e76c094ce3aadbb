//! Who else uses an output, or has written it.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use redb::ReadableTable;

use crate::support::process::command;
use crate::support::{Workplace, assert_same};
use crate::surviving::{DEADLINE, assert_complete};

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_as_it_is() {
    const META: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("meta");
    let place = Workplace::new(2);
    place.run();
    let before = place.tables();
    let state = place.out().join("store/state.redb");
    let set = |format: Option<u64>| {
        let database = redb::Database::open(&state).unwrap();
        let write = database.begin_write().unwrap();
        let known = {
            let mut meta = write.open_table(META).unwrap();
            let known = meta.get("format").unwrap().unwrap().value();
            meta.insert("format", format.unwrap_or(known)).unwrap();
            known
        };
        write.commit().unwrap();
        known
    };
    let known = set(Some(99));
    for subcommand in ["run", "plan", "verify", "gc"] {
        let refused = place.tomoflow(subcommand, &[]);
        assert_eq!(refused.code, Some(74), "{subcommand}: {}", refused.err);
        assert!(refused.err.contains("holds format 99, expected"), "{subcommand}: {}", refused.err);
        assert!(
            refused.err.contains("hint: run the tomoflow that wrote it"),
            "{subcommand}: {}",
            refused.err
        );
    }
    assert_same(&place.tables(), &before, "refused");
    assert_eq!(set(Some(known)), 99, "the store was changed");
    assert_eq!(place.run().actions_run, 0);
    assert_same(&place.tables(), &before, "with its own version");
}

#[test]
fn a_second_run_on_an_output_is_told_who_holds_it() {
    let place = Workplace::new(2);
    let mut first = command("run", &place.pipeline(), &[]);
    first.env("TOMOFLOW_POINT", "outcome.recorded:1:hang").stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = first.spawn().unwrap();
    let holder = place.out().join("store/holder");
    let since = Instant::now();
    while fs::read_to_string(&holder).is_ok_and(|text| text.ends_with('\n')).eq(&false) {
        assert!(since.elapsed() < DEADLINE && first.try_wait().unwrap().is_none(), "the first run goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    let host = tomoflow::store::host();
    // Who only looks sees what the run has committed until now.
    let looked = place.tomoflow("plan", &[]);
    assert_eq!(looked.code, Some(0), "{}", looked.err);
    for subcommand in ["run", "verify", "gc", "retry"] {
        let second = place.tomoflow(subcommand, &[]);
        assert_eq!(second.code, Some(75), "{subcommand}: {}", second.err);
        let expected = format!("in use by another run (process {} on {host})", first.id());
        assert!(second.err.contains(&expected), "{subcommand}: {}", second.err);
        assert!(second.err.contains("hint: wait for it"), "{subcommand}: {}", second.err);
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert_complete(&place, "with the first one gone");
}

#[test]
fn a_run_waits_for_somebody_who_only_looks() {
    let place = Workplace::new(1);
    place.run();
    let holder = fs::File::open(place.out().join("store/holder")).unwrap();
    holder.lock_shared().unwrap();
    let looks = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        drop(holder);
    });
    assert_eq!(place.run().actions_run, 0);
    looks.join().unwrap();
}
