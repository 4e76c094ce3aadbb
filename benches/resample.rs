//! `cargo bench --bench resample`: a scan of an MR protocol to isotropic voxels.

use std::sync::Arc;

use divan::counter::BytesCount;
use tomoflow::connectors::{Geometry, LabelMap, Scan};
use tomoflow::operators::grid::{Convention, Order};
use tomoflow::operators::registry::Transform;
use tomoflow::operators::resample::{Resample, labels_to_grid};
use tomoflow::operators::value::Case;

fn main() {
    divan::main();
}

fn case(labelled: bool) -> Case {
    let geometry = Geometry::axis_aligned([80, 512, 512], [1.5, 0.4, 0.4]);
    let voxels = (0..geometry.voxels()).map(|i| (i * 31 % 4096) as f32).collect();
    let labels = || (0..geometry.voxels()).map(|i| u16::from(i / 7 % 11 == 0)).collect();
    Case {
        scan: Arc::new(Scan::new(geometry.clone(), voxels).unwrap()),
        labels: labelled.then(|| Arc::new(LabelMap::new(geometry.clone(), labels()).unwrap())),
        original: Arc::new(geometry),
        label_names: ["a".to_owned()].into(),
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
