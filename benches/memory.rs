//! `cargo bench --bench memory`: whether `memory` is kept while an archive of ten times that size streams
//! through; with a plot of it in `target/memory.svg`.
//!
//! `TOMOFLOW_MEMORY_MIB` is the promise (64). The program itself runs as a child; its memory is looked at from
//! outside, every 20 ms. What it takes beside the promise is that of the same run over one tiny series.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::exit,
    reason = "a benchmark that cannot go on says so by its panic, and prints what it measured"
)]

#[path = "support/plot.rs"]
mod plot;
#[path = "support/process.rs"]
mod process;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use plot::Line;
use process::{mib, status_bytes};
use tomoflow::connectors::dicom::walk;
use tomoflow::phantom::vs::{VsPhantom, write_archive};

const EVERY: Duration = Duration::from_millis(20);

/// Two of them fit into 64 MiB at once.
const SIZE: [usize; 3] = [24, 192, 192];

fn pipeline(memory_mib: u64) -> String {
    format!(
        r#"
[pipeline]
name = "memory"
out = "out"
memory = "{memory_mib} MiB"

[sources.scans]
type = "dicom"
path = "archive"
where = {{ Modality = "MR" }}

[operators.volume]
type = "assemble"
inputs = ["scans"]

[operators.even]
type = "resample"
inputs = ["volume"]
spacing_mm = [1.0, 0.5, 0.5]

[operators.normal]
type = "zscore"
inputs = ["even"]

[operators.bright]
type = "threshold"
inputs = ["normal"]
above = 1.0

[sinks.masks]
type = "delta"
inputs = ["bright"]
"#
    )
}

fn main() {
    let asked = std::env::var("TOMOFLOW_MEMORY_MIB").ok().and_then(|mib| mib.parse().ok());
    let memory_mib: u64 = asked.unwrap_or(64);
    let tiny = run(memory_mib, 1, [4, 16, 16]);
    let overhead = tiny.highest;
    // A voxel is two bytes on disk.
    let one = 2 * SIZE.iter().product::<usize>() as u64;
    let series = (10 * (memory_mib << 20)).div_ceil(one) as usize + 8;
    let long = run(memory_mib, series, SIZE);
    println!(
        "memory = {memory_mib} MiB, an archive of {:.0} MiB in {series} series, {:.1} s: {:.0} MiB at most",
        mib(long.archive),
        long.seconds,
        mib(long.highest)
    );
    println!(
        "one tiny series: {:.0} MiB at most; beside that {:.1} MiB, {:.1} % of `memory`",
        mib(overhead),
        mib(long.highest.saturating_sub(overhead)),
        100.0 * long.highest.saturating_sub(overhead) as f64 / (memory_mib << 20) as f64
    );
    let plot = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/memory.svg");
    let lines = [
        Line(overhead + (memory_mib << 20), "#b03020", "one tiny series, and `memory`"),
        Line(overhead, "#777777", "one tiny series"),
    ];
    let note = format!("{:.0} MiB of files read", mib(long.archive));
    let drawn = plot::memory(&long.samples, long.seconds, &lines, &note);
    std::fs::write(&plot, drawn).expect("a file");
    println!("{}", plot.display());
}

/// A run as it was seen from outside.
struct Seen {
    archive: u64,
    seconds: f64,
    /// Seconds, bytes.
    samples: Vec<(f64, u64)>,
    /// Bytes at most, as the system has counted: what rises and falls between two looks is in it.
    highest: u64,
}

fn run(memory_mib: u64, series: usize, size: [usize; 3]) -> Seen {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("archive");
    write_archive(&VsPhantom { series, first: 0, seed: 1, size, ..VsPhantom::DEFAULT }, &root)
        .expect("an archive");
    let archive = walk(&root).expect("a folder").iter().map(|file| file.size).sum();
    let file = folder.path().join("pipeline.toml");
    std::fs::write(&file, pipeline(memory_mib)).expect("a file");
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tomoflow"))
        .arg("run")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process");
    let (process, mut samples, mut highest) = (child.id().to_string(), Vec::new(), 0);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a process") {
            break status;
        }
        samples.push((began.elapsed().as_secs_f64(), status_bytes(&process, "VmRSS")));
        highest = highest.max(status_bytes(&process, "VmHWM"));
        std::thread::sleep(EVERY);
    };
    assert!(status.success(), "the run failed: {status}");
    Seen { archive, seconds: began.elapsed().as_secs_f64(), samples, highest }
}
