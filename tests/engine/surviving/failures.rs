//! Failures that pass, and failures that last.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tomoflow::connectors::Reject;
use tomoflow::engine::{self, Failures};

use crate::support::assert_same;
use crate::support::probe::{self, Hook};
use crate::surviving::{reject, rejects, repaint, run_in};

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
