//! `cargo bench --bench crf`: five rounds of mean field over 24x64x64 voxels of three classes, every neighbour of at most five
//! voxels along each axis asked, beside the same sums in NumPy, a neighbour at a time for all voxels at once.
//!
//! Both begin with intensities and probabilities in memory and must come to the same labels; we use `RAYON_NUM_THREADS`.
//! `TOMOFLOW_PYTHON` is a Python with NumPy. The comparison goes to `target/bench.json`.

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

use std::time::Instant;

use peers::Peer;
use tomoflow::voxels::mean_field::{Field, Pairwise};

const SIZE: [usize; 3] = [24, 64, 64];
const ROUNDS: usize = 5;
const PAIRWISE: Pairwise = Pairwise {
    appearance: 0.05,
    appearance_mm: 10.0,
    contrast: 0.5,
    smoothness: 0.03,
    smoothness_mm: 3.0,
    reach: 5,
};

/// What the peer begins with: the numbers, and how many voxels we gave each class.
const NUMPY: &str = r#"
import itertools, sys, time
import numpy as np
size, reach = (24, 64, 64), 5
numbers = np.fromfile(sys.argv[1], np.float64).reshape(4, *size)
expected = [int(count) for count in sys.argv[2].split(",")]
image, start = numbers[0], numbers[1:]

def parts(step, length):
    return (slice(0, length - step), slice(step, length)) if step >= 0 else (slice(-step, length), slice(0, length + step))

def field():
    known = start
    for _ in range(5):
        heard = np.zeros_like(start)
        for steps in itertools.product(range(-reach, reach + 1), repeat=3):
            if steps == (0, 0, 0):
                continue
            own, other = zip(*(parts(step, length) for step, length in zip(steps, size)))
            far = sum(step * step for step in steps)
            weight = 0.05 * np.exp(-far / 200 - (image[own] - image[other]) ** 2 / 0.5) + 0.03 * np.exp(-far / 18)
            heard[(slice(None), *own)] += weight * known[(slice(None), *other)]
        said = start * np.exp(heard - heard.max(0))
        known = said / said.sum(0)
    return known

began = time.perf_counter()
found = field()
seconds = time.perf_counter() - began
counts = np.bincount(found.argmax(0).ravel(), minlength=3).tolist()
assert all(abs(a - b) <= 2 for a, b in zip(counts, expected)), (counts, expected)
print(seconds)
"#;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("numbers");
    let field = field();
    let numbers = field.intensities.iter().chain(&field.probabilities).flatten();
    std::fs::write(&file, numbers.flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
        .expect("a file");
    let whole = SIZE.map(|length| 0..length);
    let known = PAIRWISE.mean_field(&field, &whole, ROUNDS);
    let mut counts = [0; 3];
    (0..field.intensities[0].len()).for_each(|voxel| {
        let class = (0..3).max_by(|a, b| known[*a][voxel].total_cmp(&known[*b][voxel])).expect("a class");
        counts[class] += 1;
    });
    println!("voxels of each class: {counts:?}");
    let counts = counts.map(|count| count.to_string()).join(",");
    let ours = || {
        let began = Instant::now();
        std::hint::black_box(PAIRWISE.mean_field(&field, &whole, ROUNDS));
        began.elapsed().as_secs_f64()
    };
    let path = file.to_str().expect("a path in plain letters").to_owned();
    let run = Box::new(move || peers::python(NUMPY, &[&path, &counts]));
    let peers = vec![Peer { name: "NumPy".into(), run, at_least: None }];
    let work = "mean field, 24x64x64, 3 classes, 11x11x11 neighbours, 5 rounds";
    peers::keep(&peers::compare(work, ours, peers)).expect("a file");
}

/// Two bright balls in noise, of which a network is more or less sure.
fn field() -> Field {
    let [depth, height, width] = SIZE;
    let mut state = 1_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % 1000) as f64 / 1000.0
    };
    let (mut image, mut classes) = (Vec::new(), vec![Vec::new(); 3]);
    for voxel in 0..depth * height * width {
        let place = [voxel / (height * width), voxel / width % height, voxel % width];
        let from = |middle: [f64; 3]| -> f64 {
            (0..3).map(|axis| (place[axis] as f64 - middle[axis]).powi(2)).sum::<f64>().sqrt()
        };
        let label = match () {
            () if from([12.0, 20.0, 24.0]) < 9.0 => 1,
            () if from([11.0, 42.0, 40.0]) < 8.0 => 2,
            () => 0,
        };
        image.push([0.0, 1.0, 1.6][label] + 0.6 * noise());
        let sure = 0.4 + 0.5 * noise();
        for (class, known) in classes.iter_mut().enumerate() {
            known.push(if class == label { sure } else { (1.0 - sure) / 2.0 });
        }
    }
    Field { size: SIZE, spacing_mm: [1.0; 3], intensities: vec![image], probabilities: classes }
}
