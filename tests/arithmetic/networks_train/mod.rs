//! Training as its callers see it: it learns, it resumes bit for bit, and it refuses by name.

mod asdnet;
mod kept;
mod learners;
mod nested;
mod own;
mod resuming;
mod samples;
mod starting;
mod taught;
mod whole;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tomoflow::networks::architectures::config::{Channels, Dims, Variant};
use tomoflow::networks::losses::{
    CrossEntropyLoss, DiceCeLoss, FocalLoss, GeneralizedDiceLoss, HardnessDiceLoss,
};
use tomoflow::networks::{
    Attention, Device, Figure, InferOptions, InputView, Keep, LossConfig, Model, ModelCard, NetworkError,
    NetworkSettings, Observer, OptimizerConfig, Origin, Precision, Running, Sample, SampleSource, Schedule,
    Target, Task, Timing, TrainSettings, Trained, UnetSettings, Validate, set_threads, train,
};

const SIZE: [usize; 3] = [4, 12, 12];

/// Bright boxes on a dim ground, with noise; a box's place follows from the index.
struct Boxes(usize);

fn boxes(index: usize) -> (Vec<f32>, Vec<u8>) {
    let mut noise = 12345u32.wrapping_add(index as u32 * 7919);
    let mut input = Vec::new();
    let mut label = Vec::new();
    let (row, column) = (1 + index * 3 % 6, 1 + index * 5 % 6);
    for _ in 0..SIZE[0] {
        for h in 0..SIZE[1] {
            for w in 0..SIZE[2] {
                noise = noise.wrapping_mul(1664525).wrapping_add(1013904223);
                let inside = (row..row + 5).contains(&h) && (column..column + 5).contains(&w);
                let ground = (noise >> 8) as f32 / (1 << 24) as f32 - 0.5;
                input.push(ground + if inside { 2.0 } else { 0.0 });
                label.push(u8::from(inside));
            }
        }
    }
    (input, label)
}

impl SampleSource for Boxes {
    fn len(&self) -> usize {
        self.0
    }

    fn sample(&self, index: usize, _epoch: u64, _seed: u64) -> Result<Sample, String> {
        let (input, label) = boxes(index);
        Ok(Sample { input, shape: [1, SIZE[0], SIZE[1], SIZE[2]], target: Target::Classes(label) })
    }
}

/// Stops after so many steps.
struct Watch {
    steps: AtomicU64,
    stop_after: u64,
    seen: Vec<Figure>,
    timed: Vec<Timing>,
}

impl Watch {
    fn new(stop_after: u64) -> Self {
        Self { steps: AtomicU64::new(0), stop_after, seen: Vec::new(), timed: Vec::new() }
    }
}

impl Observer for Watch {
    fn figure(&mut self, figure: &Figure) {
        self.seen.push(figure.clone());
    }

    fn cancelled(&self) -> bool {
        self.steps.fetch_add(1, Ordering::Relaxed) >= self.stop_after
    }

    fn timing(&mut self, timing: &Timing) {
        self.timed.push(*timing);
    }
}

fn settings() -> TrainSettings {
    TrainSettings {
        network: NetworkSettings::Unet(UnetSettings {
            dims: Dims::TwoAndHalf,
            levels: 3.into(),
            channels: Channels::Base(4),
            attention: Attention::Supervised,
            ..UnetSettings::default()
        }),
        loss: LossConfig::HardnessDice(HardnessDiceLoss { lambda: 0.6 }),
        attention_weight: 1.0,
        epochs: 6,
        steps: None,
        batch: 4,
        accumulate: 1,
        optimizer: OptimizerConfig::default(),
        learning_rate: 1e-2,
        weight_decay: 1e-7,
        schedule: Schedule::default(),
        halve_every: 10,
        clip_norm: 0.0,
        patience: 0,
        precision: Precision::Float32,
        weights: Keep::Best,
        regions: false,
        activation: tomoflow::networks::Activation::Softmax,
        class_weights: BTreeMap::new(),
        validate: Validate::Samples,
        sample_attention: 0.0,
        strategy: None,
        freeze: Vec::new(),
        seed: 3,
    }
}

fn task() -> Task {
    Task {
        view: InputView::Patch { size: SIZE },
        label_names: vec!["box".to_owned()],
        origin: Origin::default(),
    }
}

fn run(
    settings: &TrainSettings,
    source: &dyn SampleSource,
    folder: &Path,
    watch: &mut Watch,
) -> Result<Trained, NetworkError> {
    run_saving(settings, source, folder, watch, Duration::from_secs(3600), 2)
}

fn run_saving(
    settings: &TrainSettings,
    source: &dyn SampleSource,
    folder: &Path,
    watch: &mut Watch,
    checkpoint_every: Duration,
    readers: usize,
) -> Result<Trained, NetworkError> {
    // Several tests run at once: more threads each would only wait for one another.
    set_threads(1);
    let running = Running { checkpoint: folder, checkpoint_every, readers, device: Device::CPU };
    train(settings, &task(), source, &Boxes(3), &running, watch)
}

fn values(figures: &[Figure], split: &str, name: &str) -> Vec<f64> {
    figures.iter().filter(|f| f.split == split && f.name == name).map(|f| f.value).collect()
}

#[test]
fn it_learns_and_its_model_segments() {
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Watch::new(u64::MAX);
    let settings = TrainSettings { epochs: 12, halve_every: 18, ..settings() };
    let trained = run(&settings, &Boxes(12), folder.path(), &mut watch).unwrap();
    let losses = values(&trained.figures, "train", "loss");
    assert_eq!(losses.len(), 12);
    assert!(losses[11] < 0.5 * losses[0], "{losses:?}");
    let dice = values(&trained.figures, "validation", "dice");
    assert!(dice.iter().copied().fold(0.0, f64::max) > 0.9, "{dice:?}");
    assert_eq!(watch.seen, trained.figures);
    let norms = values(&trained.figures, "train", "gradient_norm");
    assert!(norms.len() == 12 && norms.iter().all(|norm| *norm > 0.0), "{norms:?}");
    assert_eq!(watch.timed.iter().map(|timing| timing.step).collect::<Vec<_>>()[..3], [3, 6, 9]);
    assert!(watch.timed.iter().all(|timing| timing.seconds > 0.0 && (0.0..=1.0).contains(&timing.busy)));
    // A part of the whole, whose other part is positive.
    let attention = values(&trained.figures, "train", "attention_loss");
    assert!(attention.len() == 12 && attention.iter().zip(&losses).all(|(a, all)| *a > 0.0 && a < all));
    let rates = values(&trained.figures, "train", "learning_rate");
    assert_eq!(rates, [[1e-2; 6], [5e-3; 6]].concat());

    let card = ModelCard::read(trained.safetensors.as_slice()).unwrap();
    assert_eq!((card.label_names, card.figures), (vec!["box".to_owned()], trained.figures.clone()));
    let model = Model::from_safetensors(&trained.safetensors, Device::CPU).unwrap();
    let (input, label) = boxes(20);
    let found = model.segment(&input, SIZE, &InferOptions::default()).unwrap();
    let wrong = found.iter().zip(&label).filter(|(a, b)| **a != u16::from(**b)).count();
    assert!(wrong < found.len() / 20, "{wrong} of {} wrong", found.len());
}

fn vs_seg(attention: Attention, loss: LossConfig) -> TrainSettings {
    let unet = UnetSettings {
        levels: 3.into(),
        channels: Channels::Base(4),
        attention,
        variant: Variant::VsSeg,
        dropout: Some(0.2),
        ..UnetSettings::default()
    };
    TrainSettings { network: NetworkSettings::Unet(unet), loss, ..settings() }
}

#[test]
fn every_attention_learns_by_every_loss() {
    for (attention, loss) in [
        (Attention::Off, LossConfig::CrossEntropy(CrossEntropyLoss {})),
        (Attention::Gate, LossConfig::GeneralizedDice(GeneralizedDiceLoss::default())),
        (Attention::Unsupervised, LossConfig::Focal(FocalLoss { gamma: 2.0, alpha: Some(0.75) })),
        (Attention::Supervised, LossConfig::DiceCe(DiceCeLoss { include_background: false })),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let settings = vs_seg(attention, loss.clone());
        let trained = run(&settings, &Boxes(8), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
        let losses = values(&trained.figures, "train", "loss");
        assert!(losses[5] < 0.9 * losses[0], "{attention:?}, {loss:?}: {losses:?}");
        let model = Model::from_safetensors(&trained.safetensors, Device::CPU).unwrap();
        let (input, label) = boxes(20);
        let found = model.segment(&input, SIZE, &InferOptions::default()).unwrap();
        assert_eq!(found.len(), label.len());
    }
}

/// One input with changing labels: batch norms see the same whatever the size of a batch.
struct Alike(usize);

impl SampleSource for Alike {
    fn len(&self) -> usize {
        self.0
    }

    fn sample(&self, index: usize, _epoch: u64, _seed: u64) -> Result<Sample, String> {
        let (input, _) = boxes(0);
        let (_, label) = boxes(index);
        Ok(Sample { input, shape: [1, SIZE[0], SIZE[1], SIZE[2]], target: Target::Classes(label) })
    }
}

fn parameters(bytes: &[u8]) -> Vec<f32> {
    let all = safetensors::SafeTensors::deserialize(bytes).unwrap();
    let mut named = all.tensors();
    named.retain(|(name, _)| !name.ends_with("norm.mean") && !name.ends_with("norm.variance"));
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let numbers = named.iter().flat_map(|(_, view)| view.data().chunks_exact(4));
    numbers.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn small_batches_together_are_one_large_batch() {
    let optimizer = OptimizerConfig::Sgd { momentum: 0.9, nesterov: false };
    let base = TrainSettings {
        optimizer,
        epochs: 2,
        learning_rate: 0.1,
        clip_norm: 0.3,
        weights: Keep::Last,
        ..settings()
    };
    let ends = |batch, accumulate, samples| {
        let folder = tempfile::tempdir().unwrap();
        let settings = TrainSettings { batch, accumulate, ..base.clone() };
        let trained = run(&settings, &Alike(samples), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
        let steps = trained.figures.last().unwrap().step;
        (steps, parameters(&trained.safetensors), values(&trained.figures, "train", "gradient_norm"))
    };
    // Eleven samples: the last step has three, of two batches.
    let (steps, whole, norms) = ends(4, 1, 11);
    for (batch, accumulate) in [(2, 2), (1, 4)] {
        let (parts_steps, parts, parts_norms) = ends(batch, accumulate, 11);
        assert_eq!((steps, parts_steps), (6, 6));
        let worst = whole.iter().zip(&parts).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-5, "{batch} x {accumulate}: {worst}");
        let near = norms.iter().zip(&parts_norms).all(|(a, b)| (a - b).abs() < 1e-4 * a);
        assert!(near, "{norms:?} {parts_norms:?}");
    }
    // The order of samples alone does not do it.
    let (_, other, _) = ends(2, 1, 11);
    assert!(whole.iter().zip(&other).any(|(a, b)| (a - b).abs() > 1e-3));
}

#[test]
fn every_rule_and_schedule_learns() {
    let betas = [0.9, 0.999];
    let adamw = OptimizerConfig::AdamW { betas, epsilon: 1e-8 };
    let sgd = OptimizerConfig::Sgd { momentum: 0.9, nesterov: true };
    let polynomial = Schedule::Polynomial { power: 0.9, warm_up: 3 };
    for (optimizer, schedule, learning_rate) in
        [(adamw, Schedule::Cosine { warm_up: 0 }, 1e-2), (sgd, polynomial, 0.1)]
    {
        let folder = tempfile::tempdir().unwrap();
        let settings = TrainSettings { optimizer, schedule, learning_rate, epochs: 10, ..settings() };
        let trained = run(&settings, &Boxes(12), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
        let losses = values(&trained.figures, "train", "loss");
        assert!(losses[9] < 0.7 * losses[0], "{optimizer:?}: {losses:?}");
        let rates = values(&trained.figures, "train", "learning_rate");
        assert!(rates[9] < 0.01 * learning_rate.max(rates[1]) * 10.0, "{rates:?}");
    }
}

/// Fewer bits make other steps, and not worse ones; each network has them in all of its parts.
#[test]
fn half_the_bits_learn_as_well() {
    let networks = [
        (Variant::Paper, Attention::Supervised, 0.0),
        (Variant::Paper, Attention::Gate, 0.0),
        (Variant::VsSeg, Attention::Supervised, 0.1),
    ];
    for (variant, attention, dropout) in networks {
        let NetworkSettings::Unet(unet) = settings().network else { panic!("a U-Net expected") };
        let unet = UnetSettings { variant, attention, dropout: Some(dropout), ..unet };
        let trained = |precision| {
            let folder = tempfile::tempdir().unwrap();
            let network = NetworkSettings::Unet(unet.clone());
            let settings = TrainSettings { precision, network, epochs: 8, ..settings() };
            let trained = run(&settings, &Boxes(12), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
            (values(&trained.figures, "train", "loss"), parameters(&trained.safetensors))
        };
        let ((whole, weights), (half, other)) = (trained(Precision::Float32), trained(Precision::Bfloat16));
        // The first epoch's steps are nearly the same; after that rounding takes its own way.
        assert!(
            (whole[0] - half[0]).abs() < 0.05 * whole[0],
            "{variant:?} {attention:?}: {whole:?} {half:?}"
        );
        assert!(half[7] < 0.8 * half[0], "{variant:?} {attention:?}: {half:?}");
        assert_ne!(weights, other);
    }
}

#[test]
fn the_last_weights_on_request() {
    let trained = |weights, epochs| {
        let folder = tempfile::tempdir().unwrap();
        // So large a rate that epochs are better and worse.
        let settings = TrainSettings { weights, epochs, learning_rate: 0.1, ..settings() };
        run(&settings, &Boxes(6), folder.path(), &mut Watch::new(u64::MAX)).unwrap()
    };
    let dice = values(&trained(Keep::Last, 8).figures, "validation", "dice");
    let best = dice.iter().copied().fold(f64::MIN, f64::max);
    let epoch = dice.iter().position(|value| *value == best).unwrap() as u64 + 1;
    // Weights alone: the cards tell of trainings of unequal length.
    let best = parameters(&trained(Keep::Best, 8).safetensors);
    assert_eq!(best, parameters(&trained(Keep::Last, epoch).safetensors));
    assert_eq!(best == parameters(&trained(Keep::Last, 8).safetensors), epoch == 8, "{dice:?}");
}

#[test]
fn patience_ends_a_training_and_the_best_epoch_is_returned() {
    let folder = tempfile::tempdir().unwrap();
    // Without learning no epoch after the first is better.
    let still = TrainSettings { patience: 2, epochs: 50, learning_rate: 0.0, ..settings() };
    let trained = run(&still, &Boxes(4), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    let dice = values(&trained.figures, "validation", "dice");
    assert!(dice.len() < 50, "{dice:?}");
    let best = dice.iter().copied().fold(f64::MIN, f64::max);
    let first_best = dice.iter().position(|d| *d == best).unwrap();
    assert_eq!(dice.len(), first_best + 1 + 2);
}
