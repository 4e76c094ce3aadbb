//! What goes wrong around a run, or within an operator, is told, costs nothing that was stored, and never
//! hangs.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redb::ReadableTable;
use support::probe::{self, Hook, whose};
use support::process::{Ended, command};
use support::{Workplace, assert_same, contents};
use tomoflow::connectors::Reject;
use tomoflow::connectors::table::{RejectRow, Rows, Table, read_rows};
use tomoflow::engine::{self, Failures, Options, Summary};
use tomoflow::operators::registry::Registry;

/// Nothing here takes so long unless it hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// Runs in a thread of its own, so that a run that hangs fails the test.
fn run_in(place: &Workplace, registry: &Registry, threads: usize) -> Summary {
    run_with(place, registry, Options { threads, ..Options::default() })
}

fn run_with(place: &Workplace, registry: &Registry, options: Options) -> Summary {
    let plan = place.plan(registry);
    let (done, result) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        done.send(engine::run(plan, &options, &mut |_| {})).unwrap();
    });
    let ended = result.recv_timeout(DEADLINE).expect("the run ends");
    ended.unwrap_or_else(|error| panic!("{error}"))
}

fn rejects(place: &Workplace) -> Vec<RejectRow> {
    match read_rows(&place.out().join("tables/rejects"), Table::Rejects).unwrap() {
        Rows::Rejects(rows) => rows,
        other => panic!("{other:?}"),
    }
}

/// The one row of `rejects`.
fn reject(place: &Workplace) -> RejectRow {
    let mut rows = rejects(place);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

fn assert_complete(place: &Workplace, when: &str) {
    let run = place.tomoflow("run", &[]);
    assert_eq!(run.code, Some(0), "{when}: {}", run.err);
    assert_same(&place.tables(), &place.anew(), when);
}

/// Changes the last pixel of a slice.
fn repaint(slice: &Path) {
    let mut bytes = fs::read(slice).unwrap();
    let at = bytes.len() - 2;
    bytes[at] ^= 1;
    fs::write(slice, bytes).unwrap();
}

// A disk that refuses.

#[test]
fn a_disk_that_was_full_for_a_moment_costs_nothing() {
    let place = Workplace::new(2);
    let run = place.run_to("artifact.staged:1:full", &[]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_eq!(place.tables()["rejects"].len(), 0);
    assert_same(&place.tables(), &place.anew(), "after a retry");
}

#[test]
fn a_full_disk_is_a_row_with_a_hint_until_there_is_space() {
    let place = Workplace::new(2);
    let run = place.run_to("artifact.staged:1:full", &["--set", "operators.bright.retries=0"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let row = reject(&place);
    assert_eq!((row.code.as_str(), row.stage.as_str(), row.attempts), ("STORE", "bright", 1));
    assert!(row.message.contains("no storage space"), "{row:?}");
    assert!(row.hint.contains("free some space"), "{row:?}");
    assert_eq!(fs::read_dir(place.out().join("store/staging")).unwrap().count(), 0);
    assert_complete(&place, "with space");
}

#[test]
fn a_table_on_a_full_disk_ends_the_run_and_the_next_one_completes_it() {
    for count in 1..=3 {
        let place = Workplace::new(2);
        let run = place.run_to(&format!("table.staged:{count}:full"), &[]);
        assert_eq!(run.code, Some(74), "{}", run.err);
        assert!(run.err.contains("could not be written"), "{}", run.err);
        assert!(run.err.contains("hint: free some space"), "{}", run.err);
        // Every outcome is there: the next run only writes tables.
        let run = place.tomoflow("run", &[]);
        assert_eq!((run.code, run.started().len()), (Some(0), 0), "{}", run.err);
        assert_same(&place.tables(), &place.anew(), "with space");
    }
}

/// Runs a script of a shell as root of a mount namespace of its own; none where the system permits none.
fn mounted(script: &str, place: &Workplace, arguments: &[&str]) -> Option<(Option<i32>, String)> {
    let permitted = |options: &str| {
        let mut probe = Command::new("unshare");
        let probe = probe.args([options, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]);
        probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let Some(options) = ["-m", "-rm"].into_iter().find(|options| permitted(options)) else {
        println!("skipped: this system permits no mount namespaces");
        return None;
    };
    let mut shell = Command::new("unshare");
    shell.args([options, "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_tomoflow")]);
    shell.arg(place.pipeline()).arg(place.out()).args(arguments);
    shell.env("OMP_NUM_THREADS", "1").env("MKL_NUM_THREADS", "1");
    let output = shell.output().unwrap();
    Some((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn a_full_disk_loses_nothing() {
    let place = Workplace::new(3);
    let expected = place.anew();
    let kept = place.path().join("kept");
    // $1 the command, $2 the pipeline, $3 its output, $4 how large its disk is, $5 where it is kept.
    let script = "mkdir -p $3 && mount -t tmpfs -o size=$4 tmpfs $3 || exit 99
        $1 run $2 >/dev/null; code=$?
        mount -o remount,size=64m $3 || exit 99
        $1 run $2 >/dev/null || exit 98
        rm -rf $5 && cp -a $3 $5 || exit 97
        exit $code";
    let mut refused = 0;
    for size in ["64k", "1300k", "1600k", "1700k", "1800k", "1900k", "2000k", "2200k", "64m"] {
        let Some((code, err)) = mounted(script, &place, &[size, kept.to_str().unwrap()]) else { return };
        let code = code.unwrap_or_else(|| panic!("{size}: {err}"));
        assert!([0, 1, 65, 74].contains(&code), "{size}: {code}: {err}");
        if code != 0 {
            refused += 1;
        }
        if code == 74 {
            assert!(err.contains("No space left on device") && err.contains("hint: "), "{size}: {err}");
        }
        assert_same(&contents(&kept), &expected, size);
    }
    assert!((1..9).contains(&refused), "{refused} of 9 sizes were too small");
}

#[test]
fn a_read_only_output_is_told_and_can_still_be_looked_at() {
    let place = Workplace::new(2);
    place.run();
    let before = place.tables();
    place.add(2);
    let script = "mount --bind $3 $3 && mount -o remount,ro,bind $3 || exit 99
        $1 plan $2 || exit 98
        $1 verify $2 >/dev/null || exit 97
        $1 run $2 && exit 96
        exit $?";
    let Some((code, err)) = mounted(script, &place, &[]) else { return };
    assert_eq!(code, Some(74), "{err}");
    assert!(err.contains("Read-only file system"), "{err}");
    assert!(err.contains("hint: make the pipeline's `out` writable"), "{err}");
    assert_same(&place.tables(), &before, "read-only");
    assert_complete(&place, "writable again");
}

#[test]
fn an_output_that_was_never_written_and_cannot_be_is_told() {
    let place = Workplace::new(1);
    fs::create_dir(place.out()).unwrap();
    let script = "mount --bind $3 $3 && mount -o remount,ro,bind $3 || exit 99
        $1 plan $2 >/dev/null || exit 98
        $1 run $2 && exit 96
        exit $?";
    let Some((code, err)) = mounted(script, &place, &[]) else { return };
    assert_eq!(code, Some(74), "{err}");
    assert!(err.contains("Read-only file system") && err.contains("hint: "), "{err}");
}

// Who else uses it.

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
    for subcommand in ["run", "plan", "explain", "verify", "gc", "retry"] {
        let arguments: &[&str] = if subcommand == "explain" { &["1.2"] } else { &[] };
        let second = place.tomoflow(subcommand, arguments);
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

// Files that change while they are read.

#[test]
fn slices_that_change_during_a_run_are_looked_at_again_by_it() {
    let place = probe::place(4, "rewrites", "");
    let (phantom, first) = (place.phantom.clone(), AtomicBool::new(true));
    let slices: Vec<_> = (0..4).map(|index| place.files_of(index).remove(2)).collect();
    let _hook = Hook::set("rewrites", move |case| {
        if first.swap(false, Ordering::SeqCst) {
            let own = whose(&phantom, case);
            (0..4).filter(|index| *index != own).for_each(|index| repaint(&slices[index]));
        }
        Ok(())
    });
    let summary = run_in(&place, &probe::registry(1), 1);
    assert_eq!((summary.rejected, summary.processed), (0, 4), "{summary}");
    assert!(summary.files_read >= 3, "{summary}");
    assert_same(&place.tables(), &place.anew_in(&probe::registry(1)), "after one run");
    assert_eq!(run_in(&place, &probe::registry(1), 1).actions_run, 0);
}

#[test]
fn outlines_that_change_during_a_run_are_looked_at_again_by_it() {
    let place = Arc::new(probe::place(3, "redraws", ""));
    let (of_hook, first) = (Arc::downgrade(&place), AtomicBool::new(true));
    let _hook = Hook::set("redraws", move |_| {
        if let Some(place) = of_hook.upgrade().filter(|_| first.swap(false, Ordering::SeqCst)) {
            (0..3).for_each(|index| place.move_label(index, 2));
        }
        Ok(())
    });
    let summary = run_in(&place, &probe::registry(1), 1);
    assert_eq!((summary.rejected, summary.processed), (0, 3), "{summary}");
    assert_same(&place.tables(), &place.anew_in(&probe::registry(1)), "after one run");
}

// Operators that break.

#[test]
fn an_operator_that_panics_is_a_row_and_others_go_through() {
    let place = probe::place(3, "panics", "retries = 1");
    let phantom = place.phantom.clone();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let hook = Hook::set("panics", move |case| {
        if whose(&phantom, case) == 1 {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("no voxel is like another");
        }
        Ok(())
    });
    let summary = run_in(&place, &probe::registry(1), 2);
    assert_eq!((summary.accepted, summary.rejected), (3, 1), "{summary}");
    let row = reject(&place);
    assert_eq!((row.code.as_str(), row.stage.as_str(), row.attempts), ("PANIC", "bright", 2));
    assert!(row.message.contains("no voxel is like another"), "{row:?}");
    assert!(row.hint.contains("fault of the operator"), "{row:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(place.tables()["metrics"].len(), 6);
    drop(hook);
    let summary = run_in(&place, &probe::registry(1), 2);
    assert_eq!((summary.rejected, summary.processed), (0, 1), "{summary}");
    assert_same(&place.tables(), &place.anew_in(&probe::registry(1)), "mended");
}

#[test]
fn a_control_plane_that_panics_ends_the_process() {
    for (batch, workers) in [(1, "1"), (2, "1"), (2, "3")] {
        let place = Workplace::new(2);
        let mut run = command("run", &place.pipeline(), &["--workers", workers]);
        run.env("TOMOFLOW_POINT", format!("worker.batch:{batch}:panic"));
        let mut run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let since = Instant::now();
        while run.try_wait().unwrap().is_none() {
            if since.elapsed() > DEADLINE {
                run.kill().unwrap();
                panic!("batch {batch}, {workers} workers: the run hangs");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let ended: Ended = run.wait_with_output().unwrap().into();
        assert_eq!(ended.code, Some(70), "{}", ended.err);
        assert!(ended.err.contains("the control plane failed"), "{}", ended.err);
        assert!(ended.err.contains("a test asked for it at worker.batch"), "{}", ended.err);
        assert_complete(&place, "after a panic");
    }
}

#[test]
fn an_operator_that_never_returns_is_given_up_and_the_run_ends() {
    let place = probe::place(3, "hangs", "timeout = \"1s\"");
    let phantom = place.phantom.clone();
    let hook = Hook::set("hangs", move |case| {
        while whose(&phantom, case) == 1 {
            std::thread::park();
        }
        Ok(())
    });
    let summary = run_in(&place, &probe::registry(1), 1);
    assert_eq!((summary.accepted, summary.rejected), (3, 1), "{summary}");
    let row = reject(&place);
    assert_eq!((row.code.as_str(), row.stage.as_str(), row.attempts), ("TIMEOUT", "bright", 1));
    assert!(row.message.contains("1s allowed"), "{row:?}");
    assert!(row.hint.contains("tomoflow retry"), "{row:?}");
    assert_eq!(place.tables()["metrics"].len(), 6);
    drop(hook);
    // It is not tried again until somebody asks for it.
    assert_eq!(run_in(&place, &probe::registry(1), 1).actions_run, 0);
    let meant = Failures { code: Some("TIMEOUT".to_owned()), ..Failures::default() };
    assert_eq!(engine::forget_failures(&place.plan(&probe::registry(1)), &meant).unwrap(), 1);
    let summary = run_in(&place, &probe::registry(1), 1);
    assert_eq!((summary.rejected, summary.processed), (0, 1), "{summary}");
    assert_same(&place.tables(), &place.anew_in(&probe::registry(1)), "mended");
}

#[test]
fn a_run_that_is_told_to_stop_does_not_wait_for_an_operator_that_never_returns() {
    let place = probe::place(2, "stops", "timeout = \"500ms\"");
    let options = Options { threads: 1, ..Options::default() };
    let stop = options.stop.clone();
    let hook = Hook::set("stops", move |_| {
        stop.store(true, Ordering::Relaxed);
        loop {
            std::thread::park();
        }
    });
    let summary = run_with(&place, &probe::registry(1), options);
    assert!(summary.interrupted, "{summary}");
    drop(hook);
    engine::forget_failures(&place.plan(&probe::registry(1)), &Failures::default()).unwrap();
    run_in(&place, &probe::registry(1), 1);
    assert_same(&place.tables(), &place.anew_in(&probe::registry(1)), "run on");
}

#[test]
fn waiting_for_memory_is_no_timeout() {
    let mut place = probe::place(4, "slow", "timeout = \"1500ms\"");
    // So much that one case at a time is worked on.
    place.text = place.text.replace("out = \"out\"", "out = \"out\"\nmemory = \"300 KiB\"");
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let peak = most.clone();
    let _hook = Hook::set("slow", move |_| {
        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(600));
        now.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    });
    let summary = run_in(&place, &probe::registry(1), 4);
    assert_eq!((summary.rejected, most.load(Ordering::SeqCst)), (0, 1), "{summary}");
}

// Failures that pass, and failures that last.

/// Fails with this code so many times, and counts.
fn fails(name: &'static str, code: &'static str, times: usize) -> (Hook, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let hook = Hook::set(name, move |_| {
        if counted.fetch_add(1, Ordering::SeqCst) < times {
            return Err(Reject::new(code, "as a test asked", "ask less"));
        }
        Ok(())
    });
    (hook, calls)
}

#[test]
fn a_passing_failure_is_tried_again_within_the_run() {
    let place = probe::place(1, "passes", "");
    let (_hook, calls) = fails("passes", "IO", 2);
    let summary = run_in(&place, &probe::registry(1), 2);
    assert_eq!((summary.rejected, calls.load(Ordering::SeqCst)), (0, 3), "{summary}");
    assert_same(&place.tables(), &place.anew_in(&probe::registry(1)), "after retries");
}

#[test]
fn without_retries_a_passing_failure_is_a_row_until_the_next_run() {
    let place = probe::place(1, "once", "retries = 0");
    let (_hook, calls) = fails("once", "IO", 1);
    run_in(&place, &probe::registry(1), 2);
    let row = reject(&place);
    assert_eq!((row.code.as_str(), row.attempts, calls.load(Ordering::SeqCst)), ("IO", 1, 1));
    let summary = run_in(&place, &probe::registry(1), 2);
    assert_eq!((summary.rejected, calls.load(Ordering::SeqCst)), (0, 2), "{summary}");
    assert!(rejects(&place).is_empty());
}

#[test]
fn a_lasting_failure_is_tried_again_when_something_changes_and_when_asked() {
    let place = probe::place(1, "lasts", "");
    let (_hook, calls) = fails("lasts", "TOO_STRANGE", usize::MAX);
    let tried = |version| {
        run_in(&place, &probe::registry(version), 2);
        let row = reject(&place);
        assert_eq!((row.code.as_str(), row.stage.as_str(), row.attempts), ("TOO_STRANGE", "bright", 1));
        calls.load(Ordering::SeqCst)
    };
    assert_eq!(tried(1), 1, "once, and not again in the same run");
    assert_eq!(tried(1), 1, "nothing has changed");
    assert_eq!(tried(2), 2, "the operator has another version");
    assert_eq!(tried(2), 2, "nothing has changed");
    repaint(&place.files_of(0)[2]);
    assert_eq!(tried(2), 3, "its input has changed");
    let other = Failures { stage: Some("scores".to_owned()), ..Failures::default() };
    let plan = || place.plan(&probe::registry(2));
    assert_eq!(engine::forget_failures(&plan(), &other).unwrap(), 0);
    assert_eq!(tried(2), 3, "another stage was meant");
    assert_eq!(engine::forget_failures(&plan(), &Failures::default()).unwrap(), 3);
    assert_eq!(tried(2), 4, "somebody asked for it");
}
