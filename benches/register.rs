//! `cargo bench --bench register`: demons between two scans of 64x160x160 voxels, beside SimpleITK's, one thread each.
//!
//! The scans are a formula's, the second one's places moved by waves. SimpleITK's fast symmetric demons run without a
//! pyramid, for as few iterations of 10, 20, 40, … as bring their overlap (the mean Dice of three organs) to ours: that run
//! alone is timed. Where none of them gets there the longest one counts. `TOMOFLOW_PYTHON` is a Python with SimpleITK. The
//! comparisons go to `target/bench.json`.

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
use std::time::Instant;

use peers::Peer;
use tomoflow::connectors::{Geometry, LabelMap, Scan};
use tomoflow::voxels::register::{Affine, Demons, align, deform};

const SIZE: [usize; 3] = [64, 160, 160];
const SPACING_MM: [f64; 3] = [2.0, 1.5, 1.5];
/// Centre and radii in mm from the middle, and what it adds.
const ORGANS: [([f64; 3], [f64; 3], f64); 4] = [
    ([0.0, 0.0, 0.0], [56.0, 95.0, 100.0], 0.4),
    ([15.0, -20.0, 0.0], [20.0, 26.0, 30.0], 0.45),
    ([-25.0, -10.0, 5.0], [14.0, 18.0, 20.0], 0.25),
    ([-14.0, 40.0, -8.0], [34.0, 14.0, 16.0], -0.2),
];

const SIMPLEITK: &str = r#"
import sys, time
import numpy as np
import SimpleITK as sitk
folder, wanted = sys.argv[1], float(sys.argv[2])
def read(name, kind):
    made = sitk.GetImageFromArray(np.fromfile(f"{folder}/{name}", kind).reshape(64, 160, 160))
    made.SetSpacing((1.5, 1.5, 2.0))
    return made
fixed, moving = read("fixed", np.float32), read("moving", np.float32)
truth, drawn = np.fromfile(f"{folder}/truth", np.uint16).reshape(64, 160, 160), read("drawn", np.uint16)
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
for iterations in (10, 20, 40, 80, 160):
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(iterations)
    demons.SetStandardDeviations(1.5)
    demons.SetSmoothUpdateField(True)
    demons.SetUpdateFieldStandardDeviations(1.0)
    demons.SetNumberOfThreads(1)
    start = time.perf_counter()
    field = demons.Execute(fixed, moving)
    seconds = time.perf_counter() - start
    lead = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    found = sitk.GetArrayFromImage(sitk.Resample(drawn, fixed, lead, sitk.sitkNearestNeighbor, 0))
    dice = np.mean([2 * np.sum((found == k) & (truth == k)) / (np.sum(found == k) + np.sum(truth == k)) for k in (1, 2, 3)])
    print(f"SimpleITK, {iterations} iterations: Dice {dice:.4f}, {seconds:.2f} s", file=sys.stderr)
    if dice >= wanted:
        break
print(seconds)
"#;

fn share(place: [f64; 3], centre: [f64; 3], radii: [f64; 3]) -> f64 {
    (0..3).map(|axis| ((place[axis] - centre[axis]) / radii[axis]).powi(2)).sum::<f64>().sqrt()
}

/// A scan and its labels, places moved by waves of this height.
fn made(height: f64) -> (Scan, LabelMap) {
    let geometry = Geometry::axis_aligned(SIZE, SPACING_MM);
    let turn = std::f64::consts::TAU;
    let (mut voxels, mut labels) = (Vec::new(), Vec::new());
    for voxel in 0..geometry.voxels() {
        let index = [voxel / (SIZE[1] * SIZE[2]), voxel / SIZE[2] % SIZE[1], voxel % SIZE[2]];
        let [d, h, w] =
            [0, 1, 2].map(|axis| (index[axis] as f64 - (SIZE[axis] - 1) as f64 / 2.0) * SPACING_MM[axis]);
        let waves = [(turn * h / 110.0).sin(), (turn * d / 90.0 + 1.0).sin(), (turn * w / 120.0).cos()];
        let place = [d + height * waves[0], h + height * waves[1], w + height * waves[2]];
        let mut value = 0.03 * (place[0] / 8.0).sin() * (place[1] / 11.0).sin() * (place[2] / 9.0).sin();
        for (centre, radii, adds) in ORGANS {
            let width = radii.iter().sum::<f64>() / 3.0;
            value += adds / (1.0 + ((share(place, centre, radii) - 1.0) * width / 2.0).exp());
        }
        voxels.push(value as f32);
        let holds = |organ: &usize| share(place, ORGANS[*organ].0, ORGANS[*organ].1) < 1.0;
        labels.push((1..4).rev().find(holds).unwrap_or(0) as u16);
    }
    (Scan::new(geometry.clone(), voxels).unwrap(), LabelMap::new(geometry, labels).unwrap())
}

fn dice(a: &[u16], b: &[u16]) -> f64 {
    let of = |label: u16| {
        let both = a.iter().zip(b).filter(|(a, b)| **a == label && **b == label).count();
        let each = a.iter().chain(b).filter(|found| **found == label).count();
        2.0 * both as f64 / each as f64
    };
    [1, 2, 3].map(of).iter().sum::<f64>() / 3.0
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let began = Instant::now();
    std::hint::black_box(work());
    began.elapsed().as_secs_f64()
}

fn bytes<T: Copy, const N: usize>(values: &[T], of: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| of(value)).collect()
}

fn main() {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let ((fixed, truth), (moving, drawn)) = (made(0.0), made(7.0));
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes).expect("a file");
    write("fixed", bytes(fixed.voxels(), f32::to_le_bytes));
    write("moving", bytes(moving.voxels(), f32::to_le_bytes));
    write("truth", bytes(truth.voxels(), u16::to_le_bytes));
    write("drawn", bytes(drawn.voxels(), u16::to_le_bytes));
    let how = Demons::default();
    let demons = || one.install(|| deform(&fixed, &moving, &Affine::IDENTITY, &how).unwrap());
    let found = demons();
    let overlap = dice(&found.labels(&drawn).unwrap(), truth.voxels());
    println!(
        "Dice {:.4} before, {overlap:.4} after, {} folded",
        dice(drawn.voxels(), truth.voxels()),
        found.folds()
    );
    println!("affine: {:.3} s", seconds(|| one.install(|| align(&fixed, &moving).unwrap())));
    let arguments = [text(folder.path()).to_owned(), overlap.to_string()];
    let peer = Peer {
        name: "SimpleITK, fast symmetric demons".into(),
        run: Box::new(|| peers::python(SIMPLEITK, &arguments.each_ref().map(|argument| argument.as_str()))),
        at_least: Some(1.0),
    };
    let lines = peers::compare("demons of 64x160x160, one thread", || seconds(demons), vec![peer]);
    peers::keep(&lines).expect("a file");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in plain letters")
}
