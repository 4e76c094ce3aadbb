//! The U-Net on volumes of the size that a laptop trains on: steps of training, and a whole volume.

use std::path::Path;
use std::time::Duration;

use divan::Bencher;
use tomoflow::networks::config::{Channels, Dims, Variant};
use tomoflow::networks::{
    Attention, Device, Figure, InferOptions, InputView, Keep, LossConfig, Model, NetworkSettings, Observer,
    OptimizerConfig, Running, Sample, SampleSource, Schedule, Task, TrainSettings, Trained, UnetSettings,
    train,
};

const PATCH: [usize; 3] = [16, 64, 64];
const STEPS: usize = 4;
const BATCH: usize = 2;

fn main() {
    divan::main();
}

/// A ball in noise.
struct Balls(usize);

fn ball(size: [usize; 3]) -> (Vec<f32>, Vec<u8>) {
    let mut state = 1u32;
    let mut input = Vec::new();
    let mut label = Vec::new();
    for d in 0..size[0] {
        for h in 0..size[1] {
            for w in 0..size[2] {
                state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                let from_middle = |i: usize, n: usize| (2.0 * i as f32 / n as f32 - 1.0).powi(2);
                let inside =
                    from_middle(d, size[0]) + from_middle(h, size[1]) + from_middle(w, size[2]) < 0.2;
                input.push(state as f32 / u32::MAX as f32 + f32::from(u8::from(inside)));
                label.push(u8::from(inside));
            }
        }
    }
    (input, label)
}

impl SampleSource for Balls {
    fn len(&self) -> usize {
        self.0
    }

    fn sample(&self, _index: usize, _epoch: u64, _seed: u64) -> Result<Sample, String> {
        let (input, label) = ball(PATCH);
        Ok(Sample { input, shape: [1, PATCH[0], PATCH[1], PATCH[2]], label })
    }
}

struct Nobody;

impl Observer for Nobody {
    fn figure(&mut self, _figure: &Figure) {}

    fn cancelled(&self) -> bool {
        false
    }
}

fn trained(folder: &Path, dims: Dims, attention: Attention, variant: Variant) -> Trained {
    let settings = TrainSettings {
        network: NetworkSettings::Unet(UnetSettings {
            dims,
            levels: 4.into(),
            channels: Channels::Base(8),
            attention,
            variant,
            ..UnetSettings::default()
        }),
        loss: LossConfig::HardnessDice { lambda: 0.6 },
        attention_weight: 1.0,
        epochs: 1,
        batch: BATCH,
        learning_rate: 1e-3,
        weight_decay: 1e-7,
        halve_every: 0,
        accumulate: 1,
        optimizer: OptimizerConfig::default(),
        schedule: Schedule::default(),
        clip_norm: 0.0,
        weights: Keep::Best,
        patience: 0,
        seed: 1,
    };
    let task = Task { view: InputView::Patch { size: PATCH }, label_names: vec!["ball".to_owned()] };
    let samples = Balls(STEPS * BATCH);
    let every = Duration::from_secs(60);
    let running = Running { checkpoint: folder, checkpoint_every: every, readers: 1, device: Device::CPU };
    train(&settings, &task, &samples, &Balls(0), &running, &mut Nobody).expect("a model")
}

const NETWORKS: [(Dims, Attention, Variant); 6] = [
    (Dims::Two, Attention::Off, Variant::Paper),
    (Dims::TwoAndHalf, Attention::Off, Variant::Paper),
    (Dims::TwoAndHalf, Attention::Gate, Variant::Paper),
    (Dims::TwoAndHalf, Attention::Supervised, Variant::Paper),
    (Dims::TwoAndHalf, Attention::Supervised, Variant::VsSeg),
    (Dims::Three, Attention::Off, Variant::Paper),
];

#[divan::bench(args = NETWORKS, sample_count = 5)]
fn four_training_steps(bencher: Bencher, (dims, attention, variant): (Dims, Attention, Variant)) {
    bencher
        .with_inputs(|| tempfile::tempdir().expect("a folder"))
        .bench_refs(|folder| trained(folder.path(), dims, attention, variant));
}

#[divan::bench(args = [Dims::Two, Dims::TwoAndHalf, Dims::Three], sample_count = 5)]
fn one_volume(bencher: Bencher, dims: Dims) {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = trained(folder.path(), dims, Attention::Supervised, Variant::Paper).safetensors;
    let model = Model::from_safetensors(&bytes, Device::CPU).expect("a model");
    let size = [24, 96, 96];
    let (voxels, _) = ball(size);
    bencher.bench_local(|| model.segment(&voxels, size, &InferOptions::default()).expect("classes"));
}
