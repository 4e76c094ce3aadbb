//! `cargo bench --bench metrics`: counts and surface distances of masks on a scan of an MR protocol.

use std::sync::Arc;

use tomoflow::connectors::{Geometry, LabelMap};
use tomoflow::metrics::{confusions, surface_distances};
use tomoflow::operators::components::Connectivity;
use tomoflow::operators::largest_component::LargestComponent;
use tomoflow::operators::registry::MaskTransform;
use tomoflow::operators::value::Mask;

const SIZE: [usize; 3] = [80, 512, 512];
const SPACING_MM: [f64; 3] = [1.5, 0.4, 0.4];

fn main() {
    divan::main();
}

/// An ellipsoid of these half axes in mm, its centre off the volume's by `off_mm` along each axis.
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

/// A tumour of 3 cm, and an organ that fills most of the volume.
const HALF_MM: [[f64; 3]; 2] = [[15.0; 3], [55.0, 95.0, 95.0]];

#[divan::bench(args = [0, 1])]
fn assd(bencher: divan::Bencher, which: usize) {
    let (a, b) = (ellipsoid(HALF_MM[which], 0.0), ellipsoid(HALF_MM[which], 2.0));
    bencher.bench(|| surface_distances(&a, &b, (1, 1), SIZE, SPACING_MM).unwrap().unwrap().assd_mm());
}

#[divan::bench(args = [0, 1])]
fn counts(bencher: divan::Bencher, which: usize) {
    let (a, b) = (ellipsoid(HALF_MM[which], 0.0), ellipsoid(HALF_MM[which], 2.0));
    bencher.bench(|| confusions(&a, &b, &[(1, 1)]));
}

#[divan::bench(args = [0, 1])]
fn largest_component(bencher: divan::Bencher, which: usize) {
    let mut voxels = ellipsoid(HALF_MM[which], 0.0);
    voxels.iter_mut().step_by(997).for_each(|voxel| *voxel = 1);
    let labels = LabelMap::new(Geometry::axis_aligned(SIZE, SPACING_MM), voxels).unwrap();
    let mask = Mask { labels: Arc::new(labels), label_names: ["a".to_owned()].into() };
    let largest = LargestComponent { connectivity: Connectivity::Corners };
    bencher.bench(|| largest.apply(&mask).unwrap());
}
