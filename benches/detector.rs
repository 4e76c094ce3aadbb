//! `cargo bench --bench detector`: suppression of 10,000 boxes, RoIAlign of 1,000, a slice of 512x512 through Faster and Mask
//! R-CNN with ResNet-50, a step of their training, and a volume with bags of nine images beside every bag whole.
//!
//! The peer is torchvision with the same network, frozen norms, first weights and as many threads. First weights find little, so
//! that the boxes of a slice are few for both.
//!
//! `TOMOFLOW_PYTHON` is a Python with torch and torchvision. The comparisons go to `target/bench.json`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on says so by its panic, and prints what it measured"
)]

#[path = "support/peers.rs"]
mod peers;

use std::hint::black_box;
use std::time::{Duration, Instant};

use peers::Peer;
use tomoflow::networks::architectures::rcnn::config::{At, Norm, Scale, VolumetricAttention};
use tomoflow::networks::architectures::rcnn::{Box2, align_regions, suppress};
use tomoflow::networks::objectives::detection::Detection;
use tomoflow::networks::tch::{Device as TchDevice, Kind, Tensor};
use tomoflow::networks::{
    Detector, Device, Figure, FindOptions, InputView, Instance, Keep, LossConfig, NetworkSettings, Observer,
    OptimizerConfig, Origin, PlaneMask, Precision, RcnnSettings, Running, Sample, SampleSource, Schedule,
    Target, Task, TrainSettings, Validate, Volume, large_pages, losses::DiceLoss, train_by,
};

const SIDE: usize = 512;
const STEPS: usize = 3;
const BOXES: usize = 10_000;
const REGIONS: usize = 1_000;

const PYTHON: &str = r#"
import sys, time
import torch, torchvision
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import nms, roi_align
what, threads, masks = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "masks"
torch.set_num_threads(threads)
torch.manual_seed(0)

def timed(run, turns):
    run()
    began = time.perf_counter()
    for _ in range(turns):
        run()
    print((time.perf_counter() - began) / turns)

def boxes(count, side):
    corner = torch.rand(count, 2) * side
    return torch.cat([corner, corner + 4 + torch.rand(count, 2) * side / 4], 1)

if what == "nms":
    b, s = boxes(10000, 512), torch.rand(10000)
    timed(lambda: nms(b, s, 0.7), 3)
elif what == "align":
    x, b = torch.rand(1, 256, 128, 128), boxes(1000, 400)
    timed(lambda: roi_align(x, [b], 7, 0.25, 2, False), 3)
else:
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=5)
    kind = MaskRCNN if masks else FasterRCNN
    net = kind(backbone, 2, min_size=512, max_size=512, image_mean=[0] * 3, image_std=[1] * 3)
    images = [torch.rand(3, 512, 512)]
    if what == "slice":
        net.eval()
        with torch.no_grad():
            timed(lambda: net(images), 2)
    else:
        net.train()
        mask = torch.zeros(1, 512, 512, dtype=torch.uint8)
        mask[0, 100:180, 120:220] = 1
        truth = [{"boxes": torch.tensor([[120.0, 100, 220, 180]]), "labels": torch.tensor([1]), "masks": mask}]
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
        def step():
            optimizer.zero_grad()
            sum(net(images, truth).values()).backward()
            optimizer.step()
        timed(step, 3)
"#;

fn main() {
    // SAFETY: no other thread was started yet.
    unsafe { large_pages() };
    let threads = rayon::current_num_threads().to_string();
    let mut lines = operations(&threads);
    for masks in [false, true] {
        lines.extend(slices(&threads, masks));
        lines.extend(training(&threads, masks));
    }
    bags(&threads);
    peers::keep(&lines).expect("a file");
}

fn torchvision(what: &'static str, threads: &str, masks: bool) -> Peer<'static> {
    let arguments = [what, threads, if masks { "masks" } else { "boxes" }].map(str::to_owned);
    let run = move || peers::python(PYTHON, &arguments.each_ref().map(String::as_str));
    Peer { name: "torchvision".to_owned(), run: Box::new(run), at_least: Some(1.0) }
}

fn seconds(mut run: impl FnMut()) -> f64 {
    let began = Instant::now();
    run();
    began.elapsed().as_secs_f64()
}

/// As good as random, from 0 to below 1.
fn noise(place: usize) -> f64 {
    ((place.wrapping_mul(2_654_435_761) >> 5) % 65_521) as f64 / 65_521.0
}

fn boxes(count: usize, side: f64) -> Vec<Box2> {
    let of = |place: usize| {
        let [x, y, w, h] = [0, 1, 2, 3].map(|part| noise(4 * place + part));
        let (x, y) = (x * side, y * side);
        [x, y, x + 4.0 + w * side / 4.0, y + 4.0 + h * side / 4.0]
    };
    (0..count).map(of).collect()
}

fn operations(threads: &str) -> Vec<serde_json::Value> {
    let (many, scores) =
        (boxes(BOXES, 512.0), (0..BOXES).map(|place| noise(place + 77)).collect::<Vec<f64>>());
    let ours = || seconds(|| drop(black_box(suppress(&many, &scores, 0.7))));
    let work = format!("suppression of {BOXES} boxes");
    let mut lines = peers::compare(&work, ours, vec![torchvision("nms", threads, false)]);
    let map = Tensor::rand([1, 256, 128, 128], (Kind::Float, TchDevice::Cpu));
    let regions = boxes(REGIONS, 400.0);
    let ours = || seconds(|| drop(black_box(align_regions(&map, &regions, 0.25, 7).expect("regions"))));
    let work = format!("RoIAlign of {REGIONS} regions, {threads} threads");
    lines.extend(peers::compare(&work, ours, vec![torchvision("align", threads, false)]));
    lines
}

fn settings(masks: bool, attention: bool) -> RcnnSettings {
    let attention = attention.then_some(VolumetricAttention {
        at: At::Rpn,
        channel: true,
        spatial: true,
        scale: Scale::Area,
        reduction: 16,
    });
    RcnnSettings { norm: Norm::Batch, masks, attention, ..RcnnSettings::default() }
}

fn detector(view: InputView, masks: bool, attention: bool) -> Detector {
    let config = settings(masks, attention).resolve(&view, 2).expect("a network");
    Detector::seeded(&config, view, vec!["lesion".to_owned()], 1, Device::CPU).expect("a detector")
}

fn slices(threads: &str, masks: bool) -> Vec<serde_json::Value> {
    let detector = detector(InputView::Stack { slices: 3, stride: 1 }, masks, false);
    let voxels: Vec<f32> = (0..SIDE * SIDE).map(|place| noise(place) as f32).collect();
    let volume = Volume { voxels: &voxels, size: [1, SIDE, SIDE] };
    let ours =
        || seconds(|| drop(black_box(detector.detect(&volume, &FindOptions::default(), 1).expect("boxes"))));
    let name = if masks { "Mask" } else { "Faster" };
    let work = format!("{name} R-CNN, ResNet-50, a slice of 512x512, {threads} threads");
    peers::compare(&work, ours, vec![torchvision("slice", threads, masks)])
}

/// A volume whose bags have nine images, once through the backbone for each slice and once for each image of each bag.
fn bags(threads: &str) {
    let detector = detector(InputView::Bag { stacks: 9, slices: 3, gap: 3 }, false, true);
    let size = [8, 256, 256];
    let voxels: Vec<f32> = (0..size.iter().product()).map(|place| noise(place) as f32).collect();
    let volume = Volume { voxels: &voxels, size };
    let options = FindOptions::default();
    let ring = seconds(|| drop(black_box(detector.detect(&volume, &options, 4).expect("boxes"))));
    let whole = seconds(|| drop(black_box(detector.detect_plainly(&volume, &options).expect("boxes"))));
    println!(
        "8 slices of 256x256 in bags of nine, {threads} threads: {ring:.3} s, every bag whole {whole:.3} s"
    );
}

fn training(threads: &str, masks: bool) -> Vec<serde_json::Value> {
    let name = if masks { "Mask" } else { "Faster" };
    let work = format!("{name} R-CNN, ResNet-50, a step of training on 512x512, {threads} threads");
    peers::compare(&work, || step(masks), vec![torchvision("step", threads, masks)])
}

/// Seconds for a step; the first one is not counted, nor is what comes before it.
fn step(masks: bool) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let mut watch = Watch(None);
    let running = Running {
        checkpoint: folder.path(),
        checkpoint_every: Duration::from_secs(3600),
        readers: 1,
        device: Device::CPU,
    };
    let task = Task {
        view: InputView::Stack { slices: 3, stride: 1 },
        label_names: vec!["lesion".to_owned()],
        origin: Origin::default(),
    };
    let settings = TrainSettings {
        network: NetworkSettings::Rcnn(settings(masks, false)),
        loss: LossConfig::Dice(DiceLoss {}),
        attention_weight: 1.0,
        epochs: 1,
        steps: None,
        batch: 1,
        accumulate: 1,
        optimizer: OptimizerConfig::default(),
        learning_rate: 1e-4,
        weight_decay: 0.0,
        schedule: Schedule::default(),
        halve_every: 0,
        clip_norm: 0.0,
        patience: 0,
        precision: Precision::Float32,
        weights: Keep::Last,
        regions: false,
        validate: Validate::Samples,
        sample_attention: 0.0,
        strategy: None,
        seed: 1,
        activation: tomoflow::networks::Activation::default(),
        class_weights: std::collections::BTreeMap::new(),
        freeze: Vec::new(),
    };
    let objective = Detection::new(&settings, &task).expect("a detector");
    train_by(&objective, &settings, &task, &Noise(STEPS + 1), &Noise(0), &running, &mut watch)
        .expect("a model");
    watch.0.map_or(f64::NAN, |(first, last)| (last - first).as_secs_f64() / STEPS as f64)
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

/// Slices of noise with a thing each.
struct Noise(usize);

impl SampleSource for Noise {
    fn len(&self) -> usize {
        self.0
    }

    fn sample(&self, index: usize, _epoch: u64, _seed: u64) -> Result<Sample, String> {
        let input = (0..3 * SIDE * SIDE).map(|place| noise(place + index) as f32).collect();
        let (start, size) = ([100, 120], [80, 100]);
        let mask = PlaneMask { start, size, pixels: vec![true; 80 * 100].into() };
        let thing =
            Instance { class: 1, low: [0.0, 100.0, 120.0], high: [1.0, 180.0, 220.0], mask: Some(mask) };
        Ok(Sample { input, shape: [3, 1, SIDE, SIDE], target: Target::Instances(vec![thing]) })
    }
}
