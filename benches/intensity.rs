//! `cargo bench --bench intensity`: a scan of an MR protocol scaled by its percentiles beside NumPy and MONAI, and
//! brought to landmarks beside TorchIO, where these are installed.
//!
//! Everyone has the same voxels in memory, a head in air, and may use every core. NumPy only finds the
//! percentiles, in place of ours that also scales. `TOMOFLOW_PYTHON` is a Python with these. The comparisons go to
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

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use peers::Peer;
use tomoflow::connectors::{Geometry, Scan};
use tomoflow::operators::cases::histogram_match::{HistogramMatch, PERCENTS};
use tomoflow::operators::cases::percentiles::Percentiles;
use tomoflow::operators::registry::Transform;
use tomoflow::operators::value::Case;
use tomoflow::voxels::values::Foreground;

const SIZE: [usize; 3] = [80, 512, 512];

/// What all peers begin with: the voxels, and the fastest of three.
const BEGIN: &str = r#"
import sys, time
import numpy as np
voxels = np.fromfile(sys.argv[1], np.float32).reshape(80, 512, 512)
def fastest(work):
    work()
    def turn():
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    print(min(turn() for _ in range(3)))
"#;

const NUMPY: &str = r#"
fastest(lambda: np.percentile(voxels, [0.5, 99.5]))
"#;

const MONAI: &str = r#"
import torch
from monai.transforms import ScaleIntensityRangePercentiles
scale, tensor = ScaleIntensityRangePercentiles(0.5, 99.5, 0.0, 1.0, clip=True), torch.tensor(voxels)[None]
fastest(lambda: scale(tensor))
"#;

const TORCHIO: &str = r#"
import torch, torchio
landmarks = np.array([1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99.0])
subject = torchio.Subject(scan=torchio.ScalarImage(tensor=torch.tensor(voxels)[None]))
match = torchio.HistogramStandardization({"scan": landmarks})
fastest(lambda: match(subject))
"#;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("voxels");
    let case = case();
    let bytes: Vec<u8> = case.scan.voxels().iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(&file, bytes).expect("a file");
    let peer = |name: &str, script: &str, at_least| {
        let (script, file) = (format!("{BEGIN}{script}"), text(&file).to_owned());
        let run = move || peers::python(&script, &[&file]);
        Peer { name: name.to_owned(), run: Box::new(run), at_least }
    };
    let percentiles =
        Percentiles { lower: 0.5, upper: 99.5, to: [0.0, 1.0], clip: true, foreground: Foreground::None };
    let to_landmarks = HistogramMatch { landmarks: PERCENTS, foreground: Foreground::None };
    let mut lines = peers::compare(
        "512x512x80 scaled by percentiles",
        || seconds(|| percentiles.apply(&case).expect("a case")),
        vec![peer("NumPy, percentiles alone", NUMPY, Some(3.0)), peer("MONAI", MONAI, Some(4.0))],
    );
    lines.extend(peers::compare(
        "512x512x80 to landmarks",
        || seconds(|| to_landmarks.apply(&case).expect("a case")),
        vec![peer("TorchIO", TORCHIO, Some(5.0))],
    ));
    peers::keep(&lines).expect("a file");
}

/// Air around a head of integer intensities, as a scanner stores them.
fn case() -> Case {
    let geometry = Geometry::axis_aligned(SIZE, [1.5, 0.4, 0.4]);
    let voxel = |i: usize| {
        let (h, w) = (i / SIZE[2] % SIZE[1], i % SIZE[2]);
        let head = (100..400).contains(&h) && (100..400).contains(&w);
        // The sum of two spreads is a triangle, like a tissue's noise.
        let noise = i * 7919 % 211 + i * 104_729 % 307;
        if head { (noise + 200) as f32 } else { (i * 31 % 17) as f32 }
    };
    let voxels = (0..geometry.voxels()).map(voxel).collect();
    Case {
        channels: None,
        scan: Arc::new(Scan::new(geometry.clone(), voxels).expect("a volume")),
        labels: None,
        original: Arc::new(geometry),
        label_names: [].into(),
        padding: None,
    }
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let began = Instant::now();
    let made = work();
    let seconds = began.elapsed().as_secs_f64();
    drop(std::hint::black_box(made));
    seconds
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in plain letters")
}
