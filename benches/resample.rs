//! `cargo bench --bench resample`: a scan of an MR protocol to isotropic voxels, linear beside torch and OpenCV, by
//! splines beside SimpleITK, SciPy and nnU-Net, to an oblique grid beside SimpleITK, where these are installed, and then
//! everything else that resampling does.
//!
//! Everyone has the same voxels and as many threads as we do; SciPy and nnU-Net use one. `TOMOFLOW_PYTHON` is a Python
//! with torch, OpenCV, SimpleITK, SciPy and nnunetv2. The comparisons go to `target/bench.json`; a name after `--` leaves
//! them out and times what it names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::exit,
    reason = "a benchmark that cannot go on says so by its panic, and prints what it measured"
)]

#[path = "support/bandwidth.rs"]
mod bandwidth;
#[path = "support/peers.rs"]
mod peers;

use std::sync::Arc;
use std::time::Instant;

use divan::counter::BytesCount;
use peers::Peer;
use tomoflow::connectors::{Geometry, LabelMap, Scan};
use tomoflow::operators::cases::declared_grid::DeclaredGrid;
use tomoflow::operators::cases::resample::{LabelOrder, Resample, labels_to_grid};
use tomoflow::operators::registry::Transform;
use tomoflow::operators::value::Case;
use tomoflow::voxels::grid::{Convention, Order};

/// What every peer resamples, and to how many voxels of which spacing.
const VOXELS: &str = r#"
import sys, time
import numpy
voxels = (numpy.arange(80 * 512 * 512) * 31 % 4096).astype(numpy.float32).reshape(80, 512, 512)
old, mm, size, threads = [1.5, 0.4, 0.4], float(sys.argv[1]), [int(n) for n in sys.argv[2:5]], int(sys.argv[5])
def timed(work):
    start = time.perf_counter()
    work()
    print(time.perf_counter() - start)
"#;

const TORCH: &str = r#"
import torch
torch.set_num_threads(threads)
tensor = torch.from_numpy(voxels)[None, None]
work = lambda: torch.nn.functional.interpolate(tensor, size=size, mode="trilinear", align_corners=False)
work()
timed(work)
"#;

const OPENCV: &str = r#"
import cv2
cv2.setNumThreads(threads)
depth, rows, columns = size
def work():
    planes = voxels
    if (rows, columns) != planes.shape[1:]:
        planes = numpy.stack([cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_LINEAR) for plane in planes])
    out = numpy.empty(size, numpy.float32)
    for row in range(rows):
        out[:, row] = cv2.resize(planes[:, row], (columns, depth), interpolation=cv2.INTER_LINEAR)
    return out
work()
timed(work)
"#;

const SIMPLEITK: &str = r#"
import SimpleITK as sitk
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
image = sitk.GetImageFromArray(voxels)
image.SetSpacing(old[::-1])
resample = sitk.ResampleImageFilter()
resample.SetReferenceImage(image)
resample.SetInterpolator(sitk.sitkBSpline)
resample.SetOutputSpacing([mm] * 3)
resample.SetSize(size[::-1])
timed(lambda: resample.Execute(image))
"#;

const REFERENCE: &str = r#"
import math
import SimpleITK as sitk
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
image = sitk.GetImageFromArray(voxels)
image.SetSpacing(old[::-1])
cosine, sine = math.cos(0.2), math.sin(0.2)
reference = sitk.Image(size[::-1], sitk.sitkFloat32)
reference.SetSpacing([mm, mm, 1.2])
reference.SetOrigin([-4.0, 25.0, 3.0])
reference.SetDirection([cosine, -sine, 0, sine, cosine, 0, 0, 0, 1])
timed(lambda: sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, 0.0))
"#;

const SCIPY: &str = r#"
from scipy import ndimage
factors = [new / n for new, n in zip(size, voxels.shape)]
timed(lambda: ndimage.zoom(voxels, factors, order=3, mode="nearest"))
"#;

const NNUNET: &str = r#"
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
timed(lambda: resample_data_or_seg_to_shape(voxels[None], size, old, [mm] * 3, order=3, order_z=0, force_separate_z=None))
"#;

fn main() {
    if std::env::args().skip(1).all(|argument| argument.starts_with('-')) {
        compare();
    }
    divan::main();
}

fn compare() {
    let case = case(false);
    let mut lines = Vec::new();
    let bandwidth = bandwidth::bandwidth();
    // Every old voxel is read, and every new one written.
    let bytes = |size: [usize; 3]| (case.bytes() + 4 * size.iter().product::<usize>()) as u64;
    let mut compare = |work: &str, run: &mut dyn FnMut() -> f64, size, peers| {
        let mut found = peers::compare(work, run, peers);
        bandwidth::share(&mut found, bytes(size), bandwidth);
        lines.extend(found);
    };
    for (mm, at_least) in [(1.0, 1.5), (0.4, 1.2)] {
        let ours = |convention, order| {
            let resample = Resample::to_spacing([mm; 3], convention, order);
            let size = resample.apply(&case).expect("a case").scan.size();
            let case = &case;
            let run = move || {
                let start = Instant::now();
                let found = resample.apply(case).expect("a case");
                let seconds = start.elapsed().as_secs_f64();
                drop(found);
                seconds
            };
            (run, size)
        };
        let (mut run, size) = ours(Convention::Monai, Order::Linear);
        let peers = vec![
            peer("torch", TORCH, mm, size, Some(at_least)),
            peer("OpenCV", OPENCV, mm, size, Some(at_least)),
        ];
        compare(&format!("512x512x80 to {mm} mm, linear"), &mut run, size, peers);
        let (mut run, size) = ours(Convention::Monai, Order::Cubic);
        let peers =
            vec![peer("SimpleITK", SIMPLEITK, mm, size, Some(12.0)), peer("SciPy", SCIPY, mm, size, None)];
        compare(&format!("512x512x80 to {mm} mm, cubic"), &mut run, size, peers);
        let (mut run, size) = ours(Convention::Nnunet, Order::Cubic);
        let peers = vec![peer("nnU-Net", NNUNET, mm, size, Some(15.0))];
        compare(&format!("512x512x80 to {mm} mm, nnU-Net's values"), &mut run, size, peers);
    }
    let mut run = || {
        let start = Instant::now();
        let found = reference().apply(&case).expect("a case");
        let seconds = start.elapsed().as_secs_f64();
        drop(found);
        seconds
    };
    let peers = vec![peer("SimpleITK", REFERENCE, 0.45, OBLIQUE, None)];
    compare("512x512x80 to an oblique grid of 420x400x96, linear", &mut run, OBLIQUE, peers);
    peers::keep(&lines).expect("a file");
}

/// Voxels of the oblique grid.
const OBLIQUE: [usize; 3] = [96, 400, 420];

/// To an oblique grid, as a reference scan has it.
fn reference() -> Resample {
    let (sine, cosine) = 0.2_f64.sin_cos();
    let grid = DeclaredGrid {
        size: OBLIQUE,
        spacing_mm: [1.2, 0.45, 0.45],
        origin_mm: [-4.0, 25.0, 3.0],
        direction: [[0.0, 0.0, 1.0], [-sine, cosine, 0.0], [cosine, sine, 0.0]],
    };
    let resample = Resample::to_spacing([1.0; 3], Convention::Monai, Order::Linear);
    Resample { spacing_mm: None, grid: Some(grid), ..resample }
}

fn peer(name: &str, script: &str, mm: f64, size: [usize; 3], at_least: Option<f64>) -> Peer<'static> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut arguments = vec![mm.to_string()];
    arguments.extend(size.map(|n| n.to_string()));
    arguments.push(threads.to_string());
    let script = format!("{VOXELS}{script}");
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        peers::python(&script, &arguments)
    };
    Peer { name: name.to_owned(), run: Box::new(run), at_least }
}

fn case(labelled: bool) -> Case {
    let geometry = Geometry::axis_aligned([80, 512, 512], [1.5, 0.4, 0.4]);
    let voxels = (0..geometry.voxels()).map(|i| (i * 31 % 4096) as f32).collect();
    let labels = || (0..geometry.voxels()).map(|i| u16::from(i / 7 % 11 == 0)).collect();
    Case {
        channels: None,
        scan: Arc::new(Scan::new(geometry.clone(), voxels).unwrap()),
        labels: labelled.then(|| Arc::new(LabelMap::new(geometry.clone(), labels()).unwrap())),
        original: Arc::new(geometry),
        label_names: ["a".to_owned()].into(),
        padding: None,
    }
}

fn bench(bencher: divan::Bencher, order: Order, spacing_mm: f64) {
    let case = case(false);
    let resample = Resample::to_spacing([spacing_mm; 3], Convention::Monai, order);
    bencher.counter(BytesCount::new(case.bytes())).bench(|| resample.apply(&case).unwrap());
}

#[divan::bench]
fn linear_to_1_mm(bencher: divan::Bencher) {
    bench(bencher, Order::Linear, 1.0);
}

#[divan::bench]
fn linear_to_400_um(bencher: divan::Bencher) {
    bench(bencher, Order::Linear, 0.4);
}

#[divan::bench]
fn cubic_to_1_mm(bencher: divan::Bencher) {
    bench(bencher, Order::Cubic, 1.0);
}

#[divan::bench]
fn cubic_to_400_um(bencher: divan::Bencher) {
    bench(bencher, Order::Cubic, 0.4);
}

#[divan::bench]
fn lanczos_to_1_mm(bencher: divan::Bencher) {
    bench(bencher, Order::Lanczos, 1.0);
}

#[divan::bench]
fn linear_to_an_oblique_grid(bencher: divan::Bencher) {
    let case = case(false);
    bencher.counter(BytesCount::new(case.bytes())).bench(|| reference().apply(&case).unwrap());
}

#[divan::bench]
fn labels_by_a_vote_to_1_mm(bencher: divan::Bencher) {
    let case = case(true);
    let nearest = Resample::to_spacing([1.0; 3], Convention::Monai, Order::Nearest);
    let resample = Resample { labels: LabelOrder::Linear, ..nearest };
    bencher.bench(|| resample.apply(&case).unwrap());
}

#[divan::bench]
fn nearest_to_1_mm(bencher: divan::Bencher) {
    bench(bencher, Order::Nearest, 1.0);
}

#[divan::bench]
fn masks_back_to_the_original_grid(bencher: divan::Bencher) {
    let resample = Resample::to_spacing([1.0; 3], Convention::Monai, Order::Linear);
    let found = resample.apply(&case(true)).unwrap();
    let labels = found.labels.unwrap();
    bencher.bench(|| labels_to_grid(&labels, &found.original).unwrap());
}

#[divan::bench]
fn masks_back_to_an_oblique_grid(bencher: divan::Bencher) {
    let resample = Resample::to_spacing([1.0; 3], Convention::Monai, Order::Linear);
    let found = resample.apply(&case(true)).unwrap();
    let labels = found.labels.unwrap();
    let mut target = (*found.original).clone();
    target.steps_mm[0] = [0.0, 0.2, 1.5];
    bencher.bench(|| labels_to_grid(&labels, &target).unwrap());
}
