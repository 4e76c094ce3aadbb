//! `cargo bench --bench windows`: what lies around a network that costs nothing, window by window through a scan of
//! an MR protocol: cutting windows, blending their logits by a Gaussian and deciding, beside MONAI's
//! `SlidingWindowInferer`.
//!
//! Both networks give the same zeros every time, of two classes. MONAI gives blended logits, and is not asked to
//! decide; we give classes.
//!
//! Then the maps of such a scan from its blended logits: probability and entropy as bytes, ours packed, beside PyTorch.
//!
//! `TOMOFLOW_PYTHON` is a Python with monai and torch. The comparisons go to `target/bench.json`.

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
use tomoflow::networks::apply::maps::MapMaker;
use tomoflow::networks::apply::slab::{Logits, Slab};
use tomoflow::networks::apply::walk::Walk;
use tomoflow::networks::{Blend, Convention, MapKinds};

const SIZE: [usize; 3] = [80, 512, 512];
const CLASSES: usize = 2;
const BATCH: usize = 4;
const WINDOWS: [[usize; 3]; 2] = [[32, 128, 128], [64, 192, 192]];

const MONAI: &str = r#"
import sys, time, warnings
warnings.filterwarnings("ignore")
import torch
from monai.inferers import SlidingWindowInferer
torch.set_num_threads(int(sys.argv[1]))
window = [int(n) for n in sys.argv[2:]]
scan, zeros = torch.rand(1, 1, 80, 512, 512), torch.zeros(4, 2, *window)
inferer = SlidingWindowInferer(window, sw_batch_size=4, overlap=0.5, mode="gaussian")
def work():
    start = time.perf_counter()
    with torch.no_grad():
        inferer(scan, lambda windows: zeros[:len(windows)])
    return time.perf_counter() - start
work()
print(min(work() for _ in range(3)))
"#;

const TORCH: &str = r#"
import math, sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
scale = torch.arange(80 * 512 * 512, dtype=torch.float32).remainder(1009).reshape(80, 512, 512) / 100 - 5
sums, weights = torch.stack([scale, -scale]), torch.full((80, 512, 512), 0.7)
def work():
    start = time.perf_counter()
    p = (sums / weights).softmax(0)
    entropy = -(p * p.clamp_min(1e-38).log()).sum(0) / math.log(2)
    (p[1] * 254).round().to(torch.uint8), (entropy * 254).round().to(torch.uint8)
    return time.perf_counter() - start
work()
print(min(work() for _ in range(3)))
"#;

fn main() {
    let scan: Vec<f32> = (0..SIZE.iter().product()).map(|i: usize| (i % 1009) as f32).collect();
    let threads = rayon::current_num_threads().to_string();
    let mut lines = Vec::new();
    for window in WINDOWS {
        let length: usize = window.iter().product();
        let zeros = vec![0.0; BATCH * CLASSES * length];
        let mut windows = vec![0.0; BATCH * length];
        let sizes = window.map(|n| n.to_string());
        let arguments: Vec<&str> = std::iter::once(&threads).chain(&sizes).map(String::as_str).collect();
        let monai = Peer {
            name: "MONAI".into(),
            run: Box::new(move || peers::python(MONAI, &arguments)),
            at_least: Some(10.0),
        };
        let [depth, height, width] = window;
        let work = format!("windows {depth}x{height}x{width} around nothing, 512x512x80, {threads} threads");
        let ours = || {
            let began = Instant::now();
            std::hint::black_box(classes(&scan, window, &zeros, &mut windows));
            began.elapsed().as_secs_f64()
        };
        lines.extend(peers::compare(&work, ours, vec![monai]));
    }
    let arguments = [threads.as_str()];
    let torch =
        Peer { name: "PyTorch".into(), run: Box::new(|| peers::python(TORCH, &arguments)), at_least: None };
    let logits: Vec<f32> = scan.iter().map(|value| value / 100.0 - 5.0).collect();
    let ours = || {
        let began = Instant::now();
        std::hint::black_box(maps(&logits));
        began.elapsed().as_secs_f64()
    };
    lines.extend(peers::compare(
        &format!("maps of 2 classes, 512x512x80, {threads} threads"),
        ours,
        vec![torch],
    ));
    peers::keep(&lines).expect("a file");
}

/// Bytes of the packed maps when these are the tumour's blended logits, and the background's of the other sign.
fn maps(logits: &[f32]) -> usize {
    let keep = MapKinds { probabilities: true, entropy: true, attention: false };
    let (mut maker, [_, height, width]) = (MapMaker::new(keep, CLASSES, SIZE), SIZE);
    let weights = vec![0.7; width];
    let negative: Vec<f32> = logits.iter().map(|logit| -logit).collect();
    for d in 0..SIZE[0] {
        let row = |channel: usize, h: usize| match channel {
            0 => &negative[(d * height + h) * width..][..width],
            1 => &logits[(d * height + h) * width..][..width],
            _ => &weights,
        };
        maker.take(row).expect("memory");
    }
    let maps = maker.finish();
    maps.probabilities.iter().chain(&maps.entropy).flat_map(|map| map.packed()).map(Vec::len).sum()
}

/// The classes `[D, H, W]` when every window's logits are `logits`.
fn classes(scan: &[f32], window: [usize; 3], logits: &[f32], windows: &mut [f32]) -> Vec<u16> {
    let walk = Walk::new(Convention::Monai, SIZE, window, 0.5);
    let weights = Convention::Monai.weights(Blend::Gaussian, window);
    let mut slab = Slab::new(walk.clone(), weights, CLASSES).expect("memory");
    let [depth, height, width] = window;
    let class = depth * height * width;
    let logits = Logits { numbers: logits, strides: [CLASSES * class, class, height * width, width] };
    let mut decided = Vec::with_capacity(scan.len());
    for (index, &d) in walk.slabs().iter().enumerate() {
        for places in walk.places().chunks(BATCH) {
            walk.gather(scan, d, places, &mut windows[..places.len() * class]);
            slab.add(d, places, logits);
        }
        slab.decide(walk.decided(index), &mut decided).expect("finite logits");
    }
    decided
}
