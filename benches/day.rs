//! `cargo bench --bench day`: a day of arrivals at speed, with the program watched from outside.
//!
//! `TOMOFLOW_ARRIVALS` is the number of series (3000). Their slices come out of order, some of them twice, one
//! in ten series is whole only later. Prints the program's memory as the work goes on, and draws it into
//! `target/day.svg`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::exit,
    reason = "a benchmark that cannot go on says so by its panic, and prints what it measured"
)]

#[path = "../tests/support/pipelines.rs"]
#[allow(dead_code, reason = "the text of one of them is used here")]
mod pipelines;
#[path = "support/plot.rs"]
mod plot;
#[path = "support/process.rs"]
mod process;
#[path = "../tests/support/text.rs"]
mod text;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pipelines::THRESHOLD;
use plot::Line;
use process::{mib, status_bytes};
use rand::prelude::*;
use rand_chacha::ChaCha8Rng;
use text::Rewrite as _;
use tomoflow::engine::Status;
use tomoflow::phantom::vs::{VsPhantom, Written, write_archive};

/// The pipeline of the tests with thresholds as they are measured, watching.
fn pipeline() -> String {
    let normal = "[operators.normal]\ntype = \"zscore\"\ninputs = [\"case\"]\n\n";
    THRESHOLD
        .rewrite("name = \"test\"", "name = \"day\"")
        .rewrite("identifiers = \"clear\"\nallowed_rejects = 1.0", "settle = \"1s\"\nrescan = \"30s\"")
        .rewrite(normal, "")
        .rewrite("inputs = [\"normal\"]\nabove = 0.5", "inputs = [\"case\"]\nabove = 600")
        .rewrite("metrics = [\"dice\", \"assd\", \"rve\"]\n", "")
        .rewrite("[\"bright\", \"largest\", \"scores\"]", "[\"largest\", \"scores\"]")
}

const SIZE: [usize; 3] = [8, 32, 32];

/// Series that come at the same time.
const AT_ONCE: usize = 8;

/// How far the last slices of a series that is whole only later are behind, in series.
const LATER: usize = 100;

/// Series that may have come and not be done, before the next one comes.
const AHEAD: usize = 200;

fn main() {
    let asked = std::env::var("TOMOFLOW_ARRIVALS").ok().and_then(|series| series.parse().ok());
    let series: usize = asked.unwrap_or(3000);
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let before = at.join("before");
    let written =
        write_archive(&VsPhantom { series, first: 0, seed: 1, size: SIZE, ..VsPhantom::DEFAULT }, &before);
    let written = written.expect("an archive");
    fs::create_dir(at.join("archive")).expect("a folder");
    fs::write(at.join("pipeline.toml"), pipeline()).expect("a file");
    let mut day = Day::start(at, series);
    day.happen(arrivals(&written, &mut ChaCha8Rng::seed_from_u64(1)));
    day.until(series);
    day.report();
}

/// One file that comes; `whole` when it is the last of its series.
struct Arrival {
    from: PathBuf,
    again: bool,
    whole: bool,
}

/// What comes, in its order.
fn arrivals(written: &[Written], rng: &mut ChaCha8Rng) -> Vec<Arrival> {
    let mut all = Vec::new();
    let mut arriving: Vec<Vec<Arrival>> = Vec::new();
    let mut later: VecDeque<(usize, Arrival)> = VecDeque::new();
    let mut coming = written.iter().enumerate();
    loop {
        while arriving.len() < AT_ONCE
            && let Some((number, series)) = coming.next()
        {
            let mut files: Vec<Arrival> = series
                .slices
                .iter()
                .chain([&series.outlines])
                .map(|file| Arrival { from: file.clone(), again: false, whole: false })
                .collect();
            files.shuffle(rng);
            if rng.random_bool(0.15) {
                files.push(Arrival { from: series.slices[0].clone(), again: true, whole: false });
            }
            if number % 10 == 0 {
                let late = files.iter().position(|file| file.from == series.slices[2]).unwrap_or(0);
                later.push_back((number + LATER, Arrival { whole: true, ..files.remove(late) }));
            } else if let Some(last) = files.first_mut() {
                // Taken from the end: the first one comes last.
                last.whole = true;
            }
            arriving.push(files);
            while later.front().is_some_and(|(due, _)| *due <= number) {
                all.extend(later.pop_front().map(|(_, arrival)| arrival));
            }
        }
        if arriving.is_empty() {
            all.extend(later.into_iter().map(|(_, arrival)| arrival));
            return all;
        }
        let at = rng.random_range(0..arriving.len());
        all.extend(arriving[at].pop());
        if arriving[at].is_empty() {
            arriving.swap_remove(at);
        }
    }
}

/// The program at work, as it is seen from outside.
struct Day {
    child: Child,
    at: PathBuf,
    series: usize,
    began: Instant,
    /// Seconds, bytes.
    samples: Vec<(f64, u64)>,
    /// Series scored, bytes.
    scored: Vec<(usize, u64)>,
    files: usize,
}

impl Day {
    fn start(at: &Path, series: usize) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_tomoflow"))
            .args(["run", "--watch"])
            .arg(at.join("pipeline.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let (samples, scored) = (Vec::new(), Vec::new());
        Self { child, at: at.to_owned(), series, began: Instant::now(), samples, scored, files: 0 }
    }

    /// Lets files come as fast as they are worked on.
    fn happen(&mut self, arrivals: Vec<Arrival>) {
        let mut whole = 0;
        for arrival in arrivals {
            let name = arrival.from.file_name().expect("a file");
            let mut to = self.at.join("archive").join(name);
            if arrival.again {
                to.set_extension("again");
            }
            fs::copy(&arrival.from, &to).expect("a file");
            self.files += 1;
            whole += usize::from(arrival.whole);
            if arrival.whole && whole > AHEAD {
                self.until(whole - AHEAD);
            }
        }
    }

    /// Looks until so many series have been scored.
    fn until(&mut self, series: usize) {
        while self.look() < series {
            if let Some(status) = self.child.try_wait().expect("a process") {
                panic!("the program ended: {status}");
            }
            let stages = self.status().stages;
            assert!(stages.values().all(|stage| stage.failed == 0), "{stages:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn status(&self) -> Status {
        Status::read(&self.at.join("out/store")).ok().flatten().unwrap_or_default()
    }

    /// Notes what the program takes now; gives how many series have been scored.
    fn look(&mut self) -> usize {
        let bytes = status_bytes(&self.child.id().to_string(), "VmRSS");
        let scored = self.status().stages.get("scores").map_or(0, |stage| stage.done);
        self.samples.push((self.began.elapsed().as_secs_f64(), bytes));
        if self.scored.last().is_none_or(|(before, _)| scored >= before + self.series.div_ceil(10)) {
            self.scored.push((scored, bytes));
        }
        scored
    }

    fn report(mut self) {
        let last = self.samples.last().map_or(0, |(_, bytes)| *bytes);
        let (seconds, highest) =
            (self.began.elapsed().as_secs_f64(), status_bytes(&self.child.id().to_string(), "VmHWM"));
        println!("{} files of {} series in {seconds:.0} s", self.files, self.series);
        for (scored, bytes) in &self.scored {
            println!("{scored:6} series scored: {:.0} MiB", mib(*bytes));
        }
        println!("at the end {:.0} MiB, {:.0} MiB at most", mib(last), mib(highest));
        let half = self.scored.iter().find(|(scored, _)| *scored >= self.series / 2);
        if let Some((scored, bytes)) = half {
            let grown = last as f64 - *bytes as f64;
            println!("since half of it: {:.1} KiB a series", grown / 1024.0 / (self.series - scored) as f64);
        }
        self.child.kill().expect("a process");
        self.child.wait().expect("a process");
        let plot = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/day.svg");
        let lines = [Line(highest, "#777777", "at most")];
        let note = format!("{} files of {} series", self.files, self.series);
        fs::write(&plot, plot::memory(&self.samples, seconds, &lines, &note)).expect("a file");
        println!("{}", plot.display());
    }
}
