//! `cargo bench --bench components`: connected components of a mask of 512x512x80 voxels, beside
//! scipy.ndimage.label and cc3d, where these are installed.
//!
//! Everyone starts from the same mask in memory, in the type that they like best (bool for the peers), and ends
//! with a volume of component numbers and their count, which must agree. cc3d and we number in 16 bits where
//! they suffice. scipy and cc3d use one thread, we use `RAYON_NUM_THREADS`. `found` is our time without that
//! volume: what the operators pay. The line `read` says how long the mask's bytes take to be read once by all
//! threads, the least that anyone can need.
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

#[path = "support/peers.rs"]
mod peers;

use std::path::Path;
use std::time::Instant;

use peers::Peer;
use rayon::prelude::*;
use tomoflow::voxels::components::{Components, Connectivity, components};

const SIZE: [usize; 3] = [80, 512, 512];

/// A neighbourhood, and its number.
const NEIGHBOURS: [(Connectivity, u64); 2] = [(Connectivity::Faces, 6), (Connectivity::Corners, 26)];

/// What all peers begin with: the mask, the neighbours, the count that we found, and the fastest of three.
const BEGIN: &str = r#"
import sys, time
import numpy as np
mask = np.fromfile(sys.argv[1], np.uint8).reshape(80, 512, 512).astype(bool)
neighbours, expected = int(sys.argv[2]), int(sys.argv[3])
def fastest(work):
    assert work() == expected
    def turn():
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    print(min(turn() for _ in range(3)))
"#;

const SCIPY: &str = r#"
from scipy.ndimage import generate_binary_structure, label
structure = generate_binary_structure(3, {6: 1, 26: 3}[neighbours])
fastest(lambda: label(mask, structure)[1])
"#;

const CC3D: &str = r#"
import cc3d
fastest(lambda: cc3d.connected_components(mask, connectivity=neighbours, return_N=True)[1])
"#;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mask");
    let works = [("an organ and many small parts", organ()), ("noise, a tenth filled", noise(10))];
    let mut lines = Vec::new();
    for (what, mask) in &works {
        let bytes: Vec<u8> = mask.iter().map(|voxel| u8::from(*voxel > 0)).collect();
        std::fs::write(&file, bytes).expect("a file");
        let read = fastest(|| mask.par_chunks(1 << 18).map(|part| part.iter().fold(0, |a, b| a | b)).max());
        println!("read, {what}: {read:.4} s, {:.1} GB/s", size_of_val(&mask[..]) as f64 / read / 1e9);
        for (connectivity, neighbours) in NEIGHBOURS {
            let count = components(mask, SIZE, connectivity).components.len();
            let found = fastest(|| components(mask, SIZE, connectivity));
            println!(
                "found, {what}, {neighbours} neighbours: {found:.4} s, {:.0} % of reading",
                100.0 * read / found
            );
            let arguments = [text(&file).to_owned(), neighbours.to_string(), count.to_string()];
            let peer = |name: &str, script: &'static str, at_least| Peer {
                name: name.into(),
                run: Box::new({
                    let arguments = &arguments;
                    move || {
                        peers::python(&format!("{BEGIN}{script}"), &arguments.each_ref().map(|a| a.as_str()))
                    }
                }),
                at_least,
            };
            let peers = vec![peer("scipy.ndimage.label", SCIPY, Some(3.0)), peer("cc3d", CC3D, None)];
            let work = format!("components of 512x512x80, {what}, {neighbours} neighbours");
            let ours = || seconds(|| number(&components(mask, SIZE, connectivity)));
            lines.extend(peers::compare(&work, ours, peers));
        }
    }
    peers::keep(&lines).expect("a file");
}

/// Writes a volume of component numbers, of 16 bits where they suffice.
fn number(found: &Components) {
    fn volume<T: Copy + Default + Send>(found: &Components, value: impl Fn(usize) -> T + Sync) {
        let mut voxels = vec![T::default(); SIZE.iter().product()];
        found.paint(&mut voxels, |component| Some(value(component)));
        std::hint::black_box(&voxels);
    }
    if found.components.len() <= usize::from(u16::MAX) {
        volume(found, |component| component as u16 + 1);
    } else {
        volume(found, |component| component as u32 + 1);
    }
}

/// A large ellipsoid, and single voxels everywhere.
fn organ() -> Vec<u16> {
    let [d, h, w] = SIZE;
    let inside = |i: usize| {
        let voxel = [i / (h * w), i / w % h, i % w];
        let share =
            |axis: usize, centre: usize, half: f64| ((voxel[axis] as f64 - centre as f64) / half).powi(2);
        u16::from(
            i.is_multiple_of(997)
                || share(0, d / 2, 36.0) + share(1, h / 2, 190.0) + share(2, w / 2, 190.0) <= 1.0,
        )
    };
    (0..SIZE.iter().product()).map(inside).collect()
}

/// Voxels that are filled by chance, so many of a hundred.
fn noise(percent: u64) -> Vec<u16> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u16::from(state % 100 < percent)
    };
    (0..SIZE.iter().product::<usize>()).map(|_| next()).collect()
}

fn fastest<T>(mut work: impl FnMut() -> T) -> f64 {
    (0..peers::TURNS).map(|_| seconds(&mut work)).fold(f64::INFINITY, f64::min)
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let began = Instant::now();
    std::hint::black_box(work());
    began.elapsed().as_secs_f64()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in plain letters")
}
