//! What goes wrong around a run, or within an operator, is told, costs nothing that was stored, and never
//! hangs.

mod disk;
mod failures;
mod holders;
mod memory;
mod operators;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::probe::{self, Hook, whose};
use crate::support::{Workplace, assert_same};
use tomoflow::connectors::table::{RejectRow, Rows, Table, read_rows};
use tomoflow::engine::{self, Options, Summary};
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
