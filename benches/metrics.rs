//! `cargo bench --bench metrics`: Dice, ASSD and HD95 of one pair of masks on a scan of an MR protocol, beside
//! SimpleITK, MONAI, DeepMind's surface-distance and scipy, where these are installed.
//!
//! Everyone starts from the same masks in memory, in the type that they like best, and may use every core.
//! SimpleITK and scipy look only at the box around both masks; the others do as they do by themselves.
//! surface-distance weighs surfaces by their area, so that its figures differ a little.
//!
//! `TOMOFLOW_PYTHON` is a Python with these. The comparisons go to `target/bench.json`.

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

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use peers::Peer;
use tomoflow::connectors::{Geometry, LabelMap};
use tomoflow::metrics::Packed;
use tomoflow::operators::masks::largest_component::LargestComponent;
use tomoflow::operators::registry::MaskTransform;
use tomoflow::operators::value::Mask;
use tomoflow::voxels::components::Connectivity;

const SIZE: [usize; 3] = [80, 512, 512];
const SPACING_MM: [f64; 3] = [1.5, 0.4, 0.4];

/// A name, half axes in mm, and how many times as fast as each peer we mean to be: SimpleITK, MONAI,
/// surface-distance and scipy.
const WORKS: [(&str, [f64; 3], [f64; 4]); 2] = [
    ("a tumour of 3 cm", [15.0; 3], [4.0; 4]),
    ("an organ that fills the volume", [55.0, 95.0, 95.0], [10.0, 10.0, 10.0, 4.0]),
];

/// What all peers begin with: two masks, their box, and the fastest of three.
const BEGIN: &str = r#"
import sys, time
import numpy as np
shape, spacing = (80, 512, 512), (1.5, 0.4, 0.4)
a, b = (np.fromfile(path, np.uint8).reshape(shape).astype(bool) for path in sys.argv[1:3])
def fastest(work):
    def turn():
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    # The first turn warms up; what takes long has no more than one after it.
    turns = 3 if turn() < 2 else 1
    print(min(turn() for _ in range(turns)))
def percentiles(there, back):
    return np.concatenate([there, back]).mean(), max(np.percentile(there, 95), np.percentile(back, 95))
"#;

const SIMPLEITK: &str = r#"
import SimpleITK as sitk
def image(mask):
    found = sitk.GetImageFromArray(mask.astype(np.uint8))
    found.SetSpacing(spacing[::-1])
    return found
p, r = image(a), image(b)
def work():
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(r, p)
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.ComputePerimeterOff()
    shapes.Execute(sitk.Or(p, r))
    box = shapes.GetBoundingBox(1)
    window = [slice(max(0, n - 1), min(full, n + count + 1)) for n, count, full in zip(box, box[3:], p.GetSize())]
    cut = [p[window], r[window]]
    edges = [sitk.LabelContour(mask) for mask in cut]
    fields = [sitk.Abs(sitk.SignedMaurerDistanceMap(edge, squaredDistance=False, useImageSpacing=True)) for edge in edges]
    on = lambda field, edge: sitk.GetArrayViewFromImage(field)[sitk.GetArrayViewFromImage(edge) == 1]
    return overlap.GetDiceCoefficient(), *percentiles(on(fields[1], edges[0]), on(fields[0], edges[1]))
fastest(work)
"#;

const MONAI: &str = r#"
import torch
from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance
p, r = (torch.from_numpy(mask)[None, None].float() for mask in (a, b))
options = {"include_background": True, "spacing": spacing}
def work():
    return (compute_dice(p, r), compute_average_surface_distance(p, r, symmetric=True, **options),
            compute_hausdorff_distance(p, r, percentile=95, **options))
fastest(work)
"#;

const SURFACE_DISTANCE: &str = r#"
import surface_distance as sd
def work():
    found = sd.compute_surface_distances(b, a, spacing)
    return (sd.compute_dice_coefficient(b, a), sd.compute_average_surface_distance(found),
            sd.compute_robust_hausdorff(found, 95))
fastest(work)
"#;

const SCIPY: &str = r#"
from scipy.ndimage import binary_erosion, distance_transform_edt
def work():
    dice = 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
    either, box = a | b, []
    for axis in range(3):
        hit = np.flatnonzero(either.any(tuple({0, 1, 2} - {axis})))
        box.append(slice(max(0, hit[0] - 1), hit[-1] + 2))
    edges = [mask & ~binary_erosion(mask) for mask in (a[tuple(box)], b[tuple(box)])]
    fields = [distance_transform_edt(~edge, spacing) for edge in edges]
    return dice, *percentiles(fields[1][edges[0]], fields[0][edges[1]])
fastest(work)
"#;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut lines = Vec::new();
    let bandwidth = bandwidth::bandwidth();
    for (what, half_mm, at_least) in WORKS {
        let masks = [ellipsoid(half_mm, 2.0), ellipsoid(half_mm, 0.0)];
        let files = ["prediction", "reference"].map(|name| folder.path().join(name));
        for (mask, file) in masks.iter().zip(&files) {
            let bytes: Vec<u8> = mask.iter().map(|voxel| u8::from(*voxel > 0)).collect();
            std::fs::write(file, bytes).expect("a file");
        }
        let scripts = [SIMPLEITK, MONAI, SURFACE_DISTANCE, SCIPY].map(|script| format!("{BEGIN}{script}"));
        let names = ["SimpleITK, cropped", "MONAI", "surface-distance", "scipy, cropped"];
        let files = files.each_ref().map(|file| text(file));
        let peer = |place: usize| Peer {
            name: names[place].into(),
            run: Box::new({
                let (script, files) = (&scripts[place], &files);
                move || peers::python(script, files)
            }),
            at_least: Some(at_least[place]),
        };
        let work = format!("Dice, ASSD and HD95 in 512x512x80, {what}");
        let ours = || seconds(|| figures(&masks));
        let mut found = peers::compare(&work, ours, (0..names.len()).map(peer).collect());
        // Both masks are read once, of 16 bits a voxel.
        bandwidth::share(&mut found, 4 * SIZE.iter().product::<usize>() as u64, bandwidth);
        lines.extend(found);

        let mask = speckled(&masks[1]);
        let largest = LargestComponent { connectivity: Connectivity::Corners };
        let ours = || seconds(|| largest.apply(&mask).expect("a mask"));
        peers::compare(&format!("largest component in 512x512x80, {what}"), ours, Vec::new());
    }
    peers::keep(&lines).expect("a file");
}

/// An ellipsoid of these half axes, its centre off the volume's by `off_mm` along each axis.
fn ellipsoid(half_mm: [f64; 3], off_mm: f64) -> Vec<u16> {
    let [_, h, w] = SIZE;
    let inside = |i: usize| {
        let voxel = [i / (h * w), i / w % h, i % w];
        let share = |axis: usize| {
            let centre = SIZE[axis] as f64 / 2.0 * SPACING_MM[axis] + off_mm;
            ((voxel[axis] as f64 * SPACING_MM[axis] - centre) / half_mm[axis]).powi(2)
        };
        u16::from(share(0) + share(1) + share(2) <= 1.0)
    };
    (0..SIZE.iter().product()).map(inside).collect()
}

fn figures([prediction, reference]: &[Vec<u16>; 2]) -> [f64; 3] {
    let packed = Packed::new(prediction, reference, SIZE, &[(1, 1)]).expect("two masks of one size");
    let distances = packed.surface_distances(0, SPACING_MM).expect("a spacing").expect("two surfaces");
    [packed.counts(0).dice().expect("voxels"), distances.assd_mm(), distances.hausdorff_95_mm()]
}

/// The mask with single voxels everywhere.
fn speckled(mask: &[u16]) -> Mask {
    let mut voxels = mask.to_vec();
    voxels.iter_mut().step_by(997).for_each(|voxel| *voxel = 1);
    let labels = LabelMap::new(Geometry::axis_aligned(SIZE, SPACING_MM), voxels).expect("a volume");
    Mask { labels: Arc::new(labels), label_names: ["a".to_owned()].into() }
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let began = Instant::now();
    std::hint::black_box(work());
    began.elapsed().as_secs_f64()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in plain letters")
}
