//! `cargo bench --bench million`: what a million instances cost the control plane. No voxel is decoded.
//!
//! `TOMOFLOW_MILLION` is the number of instances (100 make a series); `TOMOFLOW_MILLION=quick` takes 100,000.
//! Each phase is a process of its own, so that none measures what another left in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::exit,
    reason = "a benchmark that cannot go on says so by its panic, and prints what it measured"
)]

#[path = "support/archive.rs"]
mod archive;
#[path = "support/process.rs"]
mod process;
#[path = "support/segmented.rs"]
mod segmented;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use archive::{Archive, SLICES};
use process::{mib, status_bytes};
use segmented::PIPELINE;
use tomoflow::connectors::Digest;
use tomoflow::connectors::dicom::{READING, walk};
use tomoflow::engine::{Options, Session};
use tomoflow::operators::registry::Registry;
use tomoflow::pipeline::{self, Plan};
use tomoflow::store::{Outcome, Recorded, Store};

/// Series that get a late slice.
const LATE: usize = 100;

fn main() {
    let archive = Archive { series: series(), late: LATE };
    match std::env::var("TOMOFLOW_MILLION_PHASE") {
        Err(_) => all(),
        Ok(phase) => {
            let at = std::env::var_os("TOMOFLOW_MILLION_AT").expect("a folder");
            let at = Path::new(&at);
            match phase.as_str() {
                "generate" => generate(&archive, at),
                "load" => load(at, "load, nothing judged yet"),
                "change" => change(&archive, at),
                "restart" => load(at, "restart, nothing done yet"),
                "killed" => load(at, "restart after a kill"),
                "do" => do_all(at),
                _ => load(at, "restart, all done"),
            }
        }
    }
}

/// How many series the instances make.
fn series() -> usize {
    let asked = std::env::var("TOMOFLOW_MILLION").unwrap_or_default();
    let instances = if asked == "quick" { 100_000 } else { asked.parse().unwrap_or(1_000_000) };
    (instances / SLICES).max(LATE)
}

/// Runs every phase in a process of its own.
fn all() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("pipeline.toml"), PIPELINE).expect("a file");
    println!("{} instances in {} series", series() * SLICES, series());
    for phase in ["generate", "load", "restart", "change", "killed", "do", "do", "done"] {
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        let child = child.env("TOMOFLOW_MILLION_PHASE", phase).env("TOMOFLOW_MILLION_AT", folder.path());
        assert!(child.status().expect("a process").success(), "{phase} failed");
    }
}

/// Files that are really there, and an index that says that all of them were read.
fn generate(archive: &Archive, at: &Path) {
    let root = at.join("archive");
    let began = Instant::now();
    let stats = archive.write_files(&root);
    println!("files made: {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let found = walk(&root).expect("a folder").len();
    println!("walk and stat of {found} files: {:.2} s", began.elapsed().as_secs_f64());
    let store = Store::open(&at.join("out")).expect("a store");
    store.read_as(READING).expect("an index");
    let began = Instant::now();
    for batch in stats.chunks(4096) {
        let read: Vec<_> = batch.iter().map(|(place, stat)| (stat.clone(), archive.record(*place))).collect();
        store.reindex(&read, &[]).expect("an index");
    }
    let took = began.elapsed().as_secs_f64();
    drop(store);
    let bytes = std::fs::metadata(at.join("out/store/state.redb")).expect("a file").len();
    println!("index written: {took:.1} s, {:.0} MiB on disk", mib(bytes));
}

fn plan(at: &Path) -> Plan {
    pipeline::load(&at.join("pipeline.toml"), &[], &Registry::builtin())
        .unwrap_or_else(|problems| panic!("{problems}"))
}

/// Memory now, without what was freed and not given back.
fn resident() -> u64 {
    // SAFETY: no arguments beside a number; it only gives free memory back to the system.
    unsafe { libc::malloc_trim(0) };
    status_bytes("self", "VmRSS")
}

/// Opens the pipeline and looks at everything, as a start does.
fn load(at: &Path, what: &str) {
    let plan = plan(at);
    let before = resident();
    let began = Instant::now();
    let mut session = Session::open(plan, Options::default()).expect("a session");
    let (opened, open) = (began.elapsed(), resident());
    let began = Instant::now();
    session.look().expect("an archive");
    let looked = began.elapsed();
    let wanted = session.pending().count();
    let (peak, after) = (status_bytes("self", "VmHWM"), resident());
    let instances = (series() * SLICES) as f64;
    println!(
        "{what}: {:.2} s ({:.2} s to open), {wanted} actions wanted; memory {:.0} MiB before, {:.0} opened, {:.0} \
         loaded, {:.0} at most: {:.0} bytes an instance",
        (opened + looked).as_secs_f64(),
        opened.as_secs_f64(),
        mib(before),
        mib(open),
        mib(after),
        mib(peak),
        after.saturating_sub(before) as f64 / instances,
    );
}

/// One late slice after the other, each until what follows is decided.
fn change(archive: &Archive, at: &Path) {
    let mut session = Session::open(plan(at), Options::default()).expect("a session");
    session.look().expect("an archive");
    let mut took: Vec<Duration> = Vec::new();
    for number in 0..LATE {
        let wanted = session.pending().count();
        let path = archive.write_late(number, &at.join("archive"));
        let began = Instant::now();
        session.update(&BTreeSet::from([path])).expect("a file");
        took.push(began.elapsed());
        assert_eq!(session.pending().count(), wanted, "another action of the same series");
    }
    took.sort_unstable();
    let ms = |at: usize| took[at].as_secs_f64() * 1e3;
    println!("one change: {:.1} ms (median of {LATE}), {:.1} ms at most", ms(LATE / 2), ms(LATE - 1));
    // As if killed: nothing is closed.
    std::process::exit(0);
}

/// Says that all that is wanted now was done.
fn do_all(at: &Path) {
    let mut session = Session::open(plan(at), Options::default()).expect("a session");
    session.look().expect("an archive");
    let keys: Vec<Digest> = session.pending().map(|action| action.key).collect();
    drop(session);
    let store = Store::open(&at.join("out")).expect("a store");
    let done: Vec<_> = keys
        .into_iter()
        .map(|key| {
            let bytes = format!("what {key} left");
            let artifact = Digest::of(bytes.as_bytes());
            let path = store.artifacts().path(artifact);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            // Not through `put`, which waits for the disk each time.
            std::fs::write(path, bytes).expect("a file");
            let outcome = Outcome::Ok { artifact, detail: None, figures: [].into(), notes: [].into() };
            (key, Recorded { outcome, seconds: 1.0 })
        })
        .collect();
    store.record(&done, &[]).expect("a store");
}
