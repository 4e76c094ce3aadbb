//! `cargo bench --bench network`: the 2.5D U-Net of the published system on the CPU, as a whole case and as steps of
//! training, beside PyTorch with the same network and the same libtorch.
//!
//! A case has the size of an MR scan at 1 mm, and is walked through in windows with an overlap of a quarter. MONAI's
//! `SlidingWindowInferer` runs the network as it comes, with channels last, and in 16 bits; it gives blended logits,
//! we give classes. Training steps go through forward, loss, backward and Adam; the loss is soft Dice.
//!
//! `TOMOFLOW_PYTHON` is a Python with monai and torch. The comparisons go to `target/bench.json`.
//!
//! `cargo bench --bench network -- memory`: what a process takes for a scan of 512x512x118 and two classes instead.

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

use std::process::Command;
use std::time::{Duration, Instant};

use peers::Peer;
use process::{mib, status_bytes};
use tomoflow::networks::architectures::config::Dims;
use tomoflow::networks::losses::DiceLoss;
use tomoflow::networks::{
    Device, Figure, InferOptions, InputView, Keep, LossConfig, Model, NetworkSettings, Observer,
    OptimizerConfig, Origin, Precision, Running, Sample, SampleSource, Schedule, Target, Task, TrainSettings,
    UnetSettings, Validate, large_pages, train,
};

/// A case and a window, `[D, H, W]`.
const CASE: [usize; 3] = [120, 205, 205];
const WINDOW: [usize; 3] = [48, 128, 64];
/// Whose memory is looked at.
const LARGE: [usize; 3] = [118, 512, 512];
const PATCH: [usize; 3] = [32, 96, 96];
const BATCH: usize = 2;
const STEPS: usize = 8;

const PYTHON: &str = r#"
import resource, sys, time, warnings
warnings.filterwarnings("ignore")
import torch
from torch import nn
torch.manual_seed(0)
what, threads, *sizes = sys.argv[1:]
torch.set_num_threads(int(threads))
sizes = [int(n) for n in sizes]
CHANNELS = (16, 32, 48, 64, 80)

def block(inputs, outputs, kernel):
    def unit(i, o):
        padding = [n // 2 for n in kernel]
        return [nn.Conv3d(i, o, kernel, padding=padding, bias=False), nn.BatchNorm3d(o), nn.PReLU()]
    return nn.Sequential(*unit(inputs, outputs), *unit(outputs, outputs))

class Unet(nn.Module):
    def __init__(self):
        super().__init__()
        kernels = [(1, 3, 3)] * 2 + [(3, 3, 3)] * 3
        pools = [(1, 2, 2)] * 2 + [(2, 2, 2)] * 2
        wide = list(zip(CHANNELS, CHANNELS[1:]))
        self.down = nn.ModuleList(map(block, (1, *CHANNELS), CHANNELS, kernels))
        self.pool = nn.ModuleList(nn.MaxPool3d(p) for p in pools)
        self.grow = nn.ModuleList(nn.ConvTranspose3d(o, i, p, p) for (i, o), p in zip(wide, pools))
        self.up = nn.ModuleList(block(2 * i, i, k) for (i, _), k in zip(wide, kernels))
        self.head = nn.Conv3d(CHANNELS[0], 2, 1)

    def forward(self, x):
        skips = []
        for n, down in enumerate(self.down):
            x = down(x if n == 0 else self.pool[n - 1](x))
            skips.append(x)
        for n in reversed(range(len(self.up))):
            x = self.up[n](torch.cat([skips[n], self.grow[n](x)], 1))
        return self.head(x)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

network = Unet()
last = torch.channels_last_3d

def infer():
    from monai.inferers import SlidingWindowInferer
    network.eval()
    case = torch.randn(1, 1, *sizes[3:])
    inferer = SlidingWindowInferer(sizes[:3], sw_batch_size=4, overlap=0.25, mode="gaussian")
    if what == "memory":
        before = peak()
        with torch.inference_mode():
            inferer(case, network).argmax(1)
        return f"{before} {peak()}"
    if what != "plain":
        network.to(memory_format=last)
    def predict(x):
        if what == "plain":
            return network(x)
        with torch.autocast("cpu", torch.bfloat16, enabled=what == "bfloat16"):
            return network(x.contiguous(memory_format=last)).float()
    def work():
        start = time.perf_counter()
        with torch.inference_mode():
            inferer(case, predict)
        return time.perf_counter() - start
    with torch.inference_mode():
        predict(torch.randn(4, 1, *sizes[:3]))
    return min(work() for _ in range(2))

def steps(shown):
    batch, count, *patch = sizes
    if what != "train":
        network.to(memory_format=last)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-7)
    x, y = torch.rand(batch, 1, *patch), (torch.rand(batch, *patch) > 0.9).long()
    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=what == "train bfloat16"):
            logits = network(x)
        probabilities = logits.float().softmax(1)
        truth = nn.functional.one_hot(y, 2).movedim(-1, 1).float()
        axes = (2, 3, 4)
        above, below = 2 * (probabilities * truth).sum(axes) + 1e-5, (probabilities + truth).sum(axes) + 1e-5
        loss = 1 - (above / below).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss.item()
    step()
    start = time.perf_counter()
    for _ in range(count):
        step()
    return time.perf_counter() - start

print(steps(what) if what.startswith("train") else infer())
"#;

fn main() {
    // SAFETY: no other thread was started yet.
    unsafe { large_pages() };
    let threads = rayon::current_num_threads().to_string();
    match std::env::args().nth(1).as_deref() {
        Some("memory") => return memory(&threads),
        Some("memory-of-one") => return memory_of_one(),
        _ => {}
    }
    let mut lines = inference(&threads);
    lines.extend(training(&threads));
    peers::keep(&lines).expect("a file");
}

fn peer(name: &str, what: &'static str, threads: &str, sizes: Vec<usize>, at_least: f64) -> Peer<'static> {
    let arguments: Vec<String> =
        [what.to_owned(), threads.to_owned()].into_iter().chain(sizes.iter().map(usize::to_string)).collect();
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        peers::python(PYTHON, &arguments)
    };
    Peer { name: name.to_owned(), run: Box::new(run), at_least: Some(at_least) }
}

fn inference(threads: &str) -> Vec<serde_json::Value> {
    let (model, voxels) = model_and_scan(CASE);
    let sizes = [WINDOW, CASE].concat();
    let monai = |name, what, at_least| peer(name, what, threads, sizes.clone(), at_least);
    let mut lines = Vec::new();
    for (precision, peers) in [
        (
            Precision::Float32,
            vec![monai("MONAI, as it comes", "plain", 1.4), monai("MONAI, channels last", "last", 1.0)],
        ),
        (Precision::Bfloat16, vec![monai("MONAI, channels last, bfloat16", "bfloat16", 1.0)]),
    ] {
        let options = InferOptions { precision, ..InferOptions::default() };
        let ours = || {
            let began = Instant::now();
            std::hint::black_box(model.segment(&voxels, CASE, &options).expect("classes"));
            began.elapsed().as_secs_f64()
        };
        let work = format!("2.5D U-Net, a case of 120x205x205, {precision:?}, {threads} threads");
        lines.extend(peers::compare(&work, ours, peers));
    }
    lines
}

/// What processes take: at their peak, and beyond what they had with the network and the scan alone.
fn memory(threads: &str) {
    let sizes: Vec<String> = [WINDOW, LARGE].concat().iter().map(ToString::to_string).collect();
    let mut monai = Command::new(peers::interpreter());
    monai.args(["-c", PYTHON, "memory", threads]).args(sizes);
    let mut ours = Command::new(std::env::current_exe().expect("this program"));
    ours.arg("memory-of-one");
    for (name, mut command) in [("ours", ours), ("MONAI", monai)] {
        let output = command.output().expect("a process");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let bytes: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let &[before, peak] = bytes.as_slice() else {
            println!("{name}: nothing measured: {}", String::from_utf8_lossy(&output.stderr));
            continue;
        };
        println!("{name}: {:.0} MiB, {:.0} MiB of them for the case", mib(peak), mib(peak - before));
    }
}

fn memory_of_one() {
    let (model, voxels) = model_and_scan(LARGE);
    let before = status_bytes("self", "VmHWM");
    std::hint::black_box(model.segment(&voxels, LARGE, &InferOptions::default()).expect("classes"));
    println!("{before} {}", status_bytes("self", "VmHWM"));
}

fn model_and_scan(size: [usize; 3]) -> (Model, Vec<f32>) {
    let network = network().resolve(1, 2).expect("a network");
    let view = InputView::Patch { size: WINDOW };
    let model = Model::seeded(&network, view, vec!["tumour".to_owned()], 1, Device::CPU).expect("a model");
    (model, (0..size.iter().product()).map(|i: usize| (i % 1009) as f32 / 500.0 - 1.0).collect())
}

fn training(threads: &str) -> Vec<serde_json::Value> {
    let sizes = [vec![BATCH, STEPS], PATCH.to_vec()].concat();
    let torch = |name, what| peer(name, what, threads, sizes.clone(), 1.0);
    let whole =
        vec![torch("PyTorch, as it comes", "train"), torch("PyTorch, channels last", "train channels last")];
    let half = vec![torch("PyTorch, channels last, autocast", "train bfloat16")];
    let mut lines = Vec::new();
    for (precision, peers) in [(Precision::Float32, whole), (Precision::Bfloat16, half)] {
        let work =
            format!("2.5D U-Net, {STEPS} steps of {BATCH} x 32x96x96, {precision:?}, {threads} threads");
        lines.extend(peers::compare(&work, || steps(precision), peers));
    }
    lines
}

/// Seconds for the steps; the first one is not counted, nor is what comes before it.
fn steps(precision: Precision) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let mut watch = Watch(None);
    let running = Running {
        checkpoint: folder.path(),
        checkpoint_every: Duration::from_secs(3600),
        readers: 1,
        device: Device::CPU,
    };
    let task = Task {
        view: InputView::Patch { size: PATCH },
        label_names: vec!["tumour".to_owned()],
        origin: Origin::default(),
    };
    train(&settings(precision), &task, &Noise, &Nothing, &running, &mut watch).expect("a model");
    watch.0.map_or(f64::NAN, |(first, last)| (last - first).as_secs_f64())
}

fn settings(precision: Precision) -> TrainSettings {
    TrainSettings {
        network: network(),
        loss: LossConfig::Dice(DiceLoss {}),
        attention_weight: 1.0,
        epochs: 1,
        steps: None,
        batch: BATCH,
        accumulate: 1,
        optimizer: OptimizerConfig::default(),
        learning_rate: 1e-3,
        weight_decay: 1e-7,
        schedule: Schedule::default(),
        halve_every: 0,
        clip_norm: 0.0,
        patience: 0,
        precision,
        weights: Keep::Last,
        regions: false,
        validate: Validate::Samples,
        sample_attention: 0.0,
        strategy: None,
        freeze: Vec::new(),
        seed: 1,
    }
}

fn network() -> NetworkSettings {
    NetworkSettings::Unet(UnetSettings {
        dims: Dims::TwoAndHalf,
        levels: 5.into(),
        ..UnetSettings::default()
    })
}

/// When the first and the last step ended.
struct Watch(Option<(Instant, Instant)>);

impl Observer for Watch {
    fn figure(&mut self, _figure: &Figure) {}

    fn cancelled(&self) -> bool {
        false
    }

    fn progress(&mut self, _step: u64, _steps: u64) {
        let now = Instant::now();
        self.0 = Some((self.0.map_or(now, |(first, _)| first), now));
    }
}

/// Samples of noise.
struct Noise;

impl SampleSource for Noise {
    fn len(&self) -> usize {
        (STEPS + 1) * BATCH
    }

    fn sample(&self, index: usize, _epoch: u64, _seed: u64) -> Result<Sample, String> {
        let count: usize = PATCH.iter().product();
        let input: Vec<f32> = (0..count).map(|i| ((i + index) * 7919 % 1009) as f32 / 1009.0).collect();
        let label = input.iter().map(|&value| u8::from(value > 0.9)).collect();
        Ok(Sample { input, shape: [1, PATCH[0], PATCH[1], PATCH[2]], target: Target::Classes(label) })
    }
}

/// No samples.
struct Nothing;

impl SampleSource for Nothing {
    fn len(&self) -> usize {
        0
    }

    fn sample(&self, index: usize, _epoch: u64, _seed: u64) -> Result<Sample, String> {
        Err(format!("no sample {index}"))
    }
}
