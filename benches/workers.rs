//! `cargo bench --bench workers`: what it costs to hand actions to workers.
//!
//! Each figure is a slope between a small and a large archive, so that neither the start of processes nor the time until
//! workers are there counts. The first is how many times faster eight workers are than one at actions of a quarter of a
//! second, which they sleep; the second the milliseconds that an action takes longer with a worker than in the run's own
//! process, where both see the archive, so that no voxel goes over the wire.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::exit,
    reason = "a benchmark that cannot go on says so by its panic, and prints what it measured"
)]

#[path = "support/segmented.rs"]
mod segmented;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use segmented::PIPELINE;
use tomoflow::engine::Status;
use tomoflow::phantom::vs::{VsPhantom, write_archive};

/// What makes each action of a worker take a quarter of a second.
const SLOW: &str = "artifact.staged:1:slow";
const SIZE: [usize; 3] = [8, 32, 32];
/// Cases of the small and the large archive, of actions that sleep and of those that do not.
const SLEEPING: [usize; 2] = [16, 80];
const AWAKE: [usize; 2] = [40, 340];
/// Each slope of actions that do not sleep is measured so often; the median counts.
const TIMES: usize = 3;
/// The time within which a run must say where workers join.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let one = slope(SLEEPING, 1, Some(SLOW));
    let eight = slope(SLEEPING, 8, Some(SLOW));
    println!("an action that sleeps 250 ms: {one:.1} ms with 1 worker, {eight:.1} ms with 8");
    println!("8 workers are {:.2} times as fast as 1", one / eight);
    let here = median(|| slope(AWAKE, 0, None));
    let there = median(|| slope(AWAKE, 1, None));
    println!("an action that does not sleep: {here:.2} ms in the run, {there:.2} ms with 1 worker");
    println!("{:.2} ms of an action are the wire's", there - here);
}

fn median(measure: impl Fn() -> f64) -> f64 {
    let mut all: Vec<f64> = (0..TIMES).map(|_| measure()).collect();
    all.sort_by(f64::total_cmp);
    all[TIMES / 2]
}

/// Milliseconds by which each further action makes a run longer.
fn slope(cases: [usize; 2], workers: usize, point: Option<&str>) -> f64 {
    let [(few, short), (many, long)] = cases.map(|cases| run(cases, workers, point));
    assert!(many > few, "{few} and {many} actions");
    1000.0 * (long - short) / (many - few) as f64
}

/// Runs the pipeline with so many workers, or by itself where there are none; returns its actions and its seconds.
fn run(cases: usize, workers: usize, point: Option<&str>) -> (u64, f64) {
    let place = tempfile::tempdir().expect("a folder");
    let pipeline = place.path().join("pipeline.toml");
    fs::write(&pipeline, PIPELINE).expect("a file");
    let phantom = VsPhantom { series: cases, size: SIZE, ..VsPhantom::DEFAULT };
    write_archive(&phantom, &place.path().join("archive")).expect("an archive");
    let mut command = tomoflow(place.path(), &["run", "--json", "--threads", "1"]);
    if workers > 0 {
        command.args(["--listen", "127.0.0.1:0", "--no-local"]);
    }
    let run = command.arg(&pipeline).stdout(Stdio::piped()).spawn().expect("a run");
    let mut workers: Vec<Child> = match workers {
        0 => Vec::new(),
        workers => {
            let address = listening(&place.path().join("out/store"));
            let worker = |_| {
                let mut command = tomoflow(place.path(), &["work", "--threads", "1", "--once"]);
                command.args(["--join", &address]).envs(point.map(|point| ("TOMOFLOW_POINT", point)));
                command.stdout(Stdio::null()).spawn().expect("a worker")
            };
            (0..workers).map(worker).collect()
        }
    };
    let output = run.wait_with_output().expect("a run");
    assert!(output.status.success(), "the run failed");
    for worker in &mut workers {
        // One that came when all was done looks for the next run.
        drop(worker.kill());
        drop(worker.wait());
    }
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a summary");
    let actions = summary["actions_run"].as_u64().expect("a count");
    (actions, summary["seconds"].as_f64().expect("a time"))
}

fn tomoflow(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    command.env("OMP_NUM_THREADS", "1").env("MKL_NUM_THREADS", "1").env("RUST_LOG", "error");
    command.env_remove("TOMOFLOW_SECRET").env_remove("TOMOFLOW_POINT");
    command.env("XDG_STATE_HOME", place.join("state")).stdin(Stdio::null()).stderr(Stdio::null());
    command.args(arguments);
    command
}

/// Where workers join a run, once it says so.
fn listening(store: &Path) -> String {
    let began = Instant::now();
    loop {
        if let Some(address) = Status::read(store).ok().flatten().and_then(|status| status.listening) {
            return address;
        }
        assert!(began.elapsed() < PATIENCE, "the run does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
}
