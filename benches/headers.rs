//! `cargo bench --bench headers`: headers of 10,000 instances on one thread, warm, beside pydicom, dcmdump and
//! gdcmscanner, where these are installed; then the memory of `inspect`.
//!
//! Everyone walks the folder and reads the same tags. `TOMOFLOW_INSTANCES` is the number of instances (more than
//! 100,000 are of few pixels, and read by us alone), `TOMOFLOW_PYTHON` a Python with pydicom. The comparisons go to
//! `target/bench.json`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::exit,
    reason = "a benchmark that cannot go on says so by its panic, and prints what it measured"
)]

#[path = "support/peers.rs"]
mod peers;
#[path = "support/process.rs"]
mod process;
#[path = "support/series.rs"]
mod series;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use peers::Peer;
use process::{mib, status_bytes};
use tomoflow::connectors::dicom::{HeaderReader, Record, Walk};

/// Slices of a series.
const SLICES: usize = 100;
/// The most instances that others are asked to read.
const SHARED: usize = 100_000;

/// What a record is made of, for a file of one frame.
const TAGS: [&str; 38] = [
    "0008,0008",
    "0008,0016",
    "0008,0018",
    "0008,0020",
    "0008,0032",
    "0008,0060",
    "0008,0070",
    "0008,1030",
    "0008,103e",
    "0008,1090",
    "0010,0020",
    "0018,0015",
    "0018,0024",
    "0018,0050",
    "0018,0081",
    "0018,0088",
    "0018,1030",
    "0020,000d",
    "0020,000e",
    "0020,0011",
    "0020,0012",
    "0020,0013",
    "0020,0032",
    "0020,0037",
    "0020,0052",
    "0028,0002",
    "0028,0004",
    "0028,0008",
    "0028,0010",
    "0028,0011",
    "0028,0030",
    "0028,0100",
    "0028,0101",
    "0028,0102",
    "0028,0103",
    "0028,1052",
    "0028,1053",
    "0008,0005",
];
/// What the peers' own measurements ask for: UIDs of study, series and instance, and the position.
const FOUR: [&str; 4] = ["0020,000d", "0020,000e", "0008,0018", "0020,0032"];

const PYDICOM: &str = r#"
import os, sys, time
from pydicom import dcmread
root, tags = sys.argv[1], [int(tag.replace(",", ""), 16) for tag in sys.argv[2:]]
start = time.perf_counter()
for folder, _, names in os.walk(root):
    for name in names:
        found = dcmread(os.path.join(folder, name), stop_before_pixels=True)
        [str(found[tag].value) for tag in tags if tag in found]
print(time.perf_counter() - start)
"#;

fn main() {
    let asked = std::env::var("TOMOFLOW_INSTANCES").ok().and_then(|count| count.parse().ok());
    let count: usize = asked.unwrap_or(10_000);
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let side = if count > SHARED { 16 } else { 64 };
    for number in 0..count.div_ceil(SLICES) {
        series::write_series(number, [SLICES, side, side], &root.join(format!("{number:05}")));
    }
    if count > SHARED {
        return memory(root);
    }
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let ours = || one.install(|| scan(root));
    let text = root.to_str().expect("a path in plain letters");
    let peers = vec![
        Peer {
            name: "pydicom".into(),
            run: Box::new(|| peers::python(PYDICOM, &[&[text], &TAGS[..]].concat())),
            at_least: Some(25.0),
        },
        Peer { name: "dcmdump".into(), run: Box::new(|| dcmdump(root)), at_least: Some(10.0) },
        Peer { name: "gdcmscanner".into(), run: Box::new(|| gdcm(root, &TAGS)), at_least: Some(4.0) },
        Peer { name: "gdcmscanner, four tags".into(), run: Box::new(|| gdcm(root, &FOUR)), at_least: None },
    ];
    let work = format!("headers of {} instances, one thread, walk included", count.div_ceil(SLICES) * SLICES);
    let lines = peers::compare(&work, ours, peers);
    peers::keep(&lines).expect("a file");
    memory(root);
}

/// Seconds of a scan.
fn scan(root: &Path) -> f64 {
    let began = Instant::now();
    let mut reader = HeaderReader::default();
    let mut frames = 0;
    let files: Vec<PathBuf> = Walk::paths(root).expect("a folder").collect();
    for file in &files {
        if let Record::Instance(instance) = reader.read(file).expect("a file") {
            frames += instance.frames.len();
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(frames, files.len(), "every file is an image of one frame");
    seconds
}

fn dcmdump(root: &Path) -> Option<f64> {
    let mut command = Command::new("dcmdump");
    command.args(["-q", "+p", "-M", "+sb", "PixelData"]);
    for tag in TAGS {
        command.args(["+P", tag]);
    }
    seconds(command.args(["+sd", "+r"]).arg(root))
}

fn gdcm(root: &Path, tags: &[&str]) -> Option<f64> {
    let mut command = Command::new("gdcmscanner");
    command.args(["-r", "-p", "-d"]).arg(root);
    for tag in tags {
        command.args(["-t", tag]);
    }
    seconds(&mut command)
}

/// Tells how much memory the program takes at most for the archive, and for a folder without anything.
fn memory(root: &Path) {
    let empty = tempfile::tempdir().expect("a folder");
    let (files, least) = (Walk::paths(root).expect("a folder").count(), inspected(empty.path()));
    let most = inspected(root);
    println!(
        "inspect: {:.0} MiB at most for {files} instances, {:.0} MiB for none: {:.0} bytes an instance",
        mib(most),
        mib(least),
        most.saturating_sub(least) as f64 / files as f64
    );
}

fn inspected(root: &Path) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tomoflow"))
        .args(["inspect", "--json"])
        .arg(root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process");
    let (process, mut highest) = (child.id().to_string(), 0);
    while child.try_wait().expect("a process").is_none() {
        highest = highest.max(status_bytes(&process, "VmHWM"));
        std::thread::sleep(Duration::from_millis(1));
    }
    highest
}

/// Seconds that a command takes, its start included; `None` when it cannot be started, or fails.
fn seconds(command: &mut Command) -> Option<f64> {
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    status.success().then(|| began.elapsed().as_secs_f64())
}
