//! Operators that break.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tomoflow::engine::{self, Failures, Options};

use crate::support::probe::{self, Hook, whose};
use crate::support::process::{Ended, command};
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};
use crate::surviving::{DEADLINE, assert_complete, reject, run_in, run_with};

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
    place.text = place.text.rewrite("out = \"out\"", "out = \"out\"\nmemory = \"300 KiB\"");
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
