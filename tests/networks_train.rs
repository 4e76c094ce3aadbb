//! Training as its callers see it: it learns, it resumes bit for bit, and it refuses by name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tomoflow::networks::config::{Channels, Dims, Variant};
use tomoflow::networks::{
    Attention, Device, Figure, InferOptions, InputView, LossConfig, Model, ModelCard, NetworkError,
    NetworkSettings, Observer, Sample, SampleSource, Task, TrainSettings, Trained, UnetSettings, set_threads,
    train,
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
        Ok(Sample { input, shape: [1, SIZE[0], SIZE[1], SIZE[2]], label })
    }
}

/// Stops after so many steps.
struct Watch {
    steps: AtomicU64,
    stop_after: u64,
    seen: Vec<Figure>,
}

impl Watch {
    fn new(stop_after: u64) -> Self {
        Self { steps: AtomicU64::new(0), stop_after, seen: Vec::new() }
    }
}

impl Observer for Watch {
    fn figure(&mut self, figure: &Figure) {
        self.seen.push(figure.clone());
    }

    fn cancelled(&self) -> bool {
        self.steps.fetch_add(1, Ordering::Relaxed) >= self.stop_after
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
        loss: LossConfig::HardnessDice { lambda: 0.6 },
        attention_weight: 1.0,
        epochs: 6,
        batch: 4,
        learning_rate: 1e-2,
        weight_decay: 1e-7,
        halve_every: 10,
        patience: 0,
        seed: 3,
    }
}

fn task() -> Task {
    Task { view: InputView::Patch { size: SIZE }, label_names: vec!["box".to_owned()] }
}

fn run(
    settings: &TrainSettings,
    source: &dyn SampleSource,
    folder: &Path,
    watch: &mut Watch,
) -> Result<Trained, NetworkError> {
    // Several tests run at once: more threads each would only wait for one another.
    set_threads(1);
    train(settings, &task(), source, &Boxes(3), folder, Device::CPU, watch)
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
    let rates = values(&trained.figures, "train", "learning_rate");
    assert_eq!(rates, [[1e-2; 6], [5e-3; 6]].concat());

    let card = ModelCard::read(&trained.safetensors).unwrap();
    assert_eq!((card.label_names, card.figures.len()), (vec!["box".to_owned()], trained.figures.len()));
    let model = Model::from_safetensors(&trained.safetensors, Device::CPU).unwrap();
    let (input, label) = boxes(20);
    let found = model.segment(&input, SIZE, &InferOptions::default()).unwrap();
    let wrong = found.iter().zip(&label).filter(|(a, b)| **a != u16::from(**b)).count();
    assert!(wrong < found.len() / 20, "{wrong} of {} wrong", found.len());
}

#[test]
fn resumed_is_undisturbed_bit_for_bit() {
    let undisturbed = tempfile::tempdir().unwrap();
    let expected = run(&settings(), &Boxes(10), undisturbed.path(), &mut Watch::new(u64::MAX)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Within the second epoch, in the validation of a later one, and once more.
    for stop_after in [5, 6, 4] {
        let error = run(&settings(), &Boxes(10), folder.path(), &mut Watch::new(stop_after)).unwrap_err();
        assert!(matches!(error, NetworkError::Cancelled { .. }), "{error}");
    }
    let mut watch = Watch::new(u64::MAX);
    let resumed = run(&settings(), &Boxes(10), folder.path(), &mut watch).unwrap();
    assert!(watch.seen.len() < resumed.figures.len(), "it began anew");
    assert!(resumed == expected, "the resumed training ended elsewhere");
    // A finished training is only read back.
    let again = run(&settings(), &Boxes(10), folder.path(), &mut Watch::new(0)).unwrap();
    assert!(again == expected);
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
fn dropout_resumes_bit_for_bit_beside_another_training() {
    let settings = vs_seg(Attention::Supervised, LossConfig::HardnessDice { lambda: 0.6 });
    let other = TrainSettings { seed: 4, ..settings.clone() };
    let undisturbed = tempfile::tempdir().unwrap();
    let expected = run(&settings, &Boxes(6), undisturbed.path(), &mut Watch::new(u64::MAX)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let folder = tempfile::tempdir().unwrap();
            run(&other, &Boxes(6), folder.path(), &mut Watch::new(u64::MAX)).unwrap()
        });
        assert!(run(&settings, &Boxes(6), folder.path(), &mut Watch::new(5)).is_err());
        let resumed = run(&settings, &Boxes(6), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
        assert!(resumed == expected, "the resumed training ended elsewhere");
        assert_ne!(beside.join().unwrap().safetensors, expected.safetensors);
    });
    // The masks are part of it: another share, another model.
    let NetworkSettings::Unet(unet) = settings.network.clone();
    let whole = NetworkSettings::Unet(UnetSettings { dropout: Some(0.0), ..unet });
    let whole = TrainSettings { network: whole, ..settings };
    let folder = tempfile::tempdir().unwrap();
    let without = run(&whole, &Boxes(6), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    assert_ne!(without.safetensors, expected.safetensors);
    Model::from_safetensors(&without.safetensors, Device::CPU).unwrap();
}

#[test]
fn every_attention_learns_by_every_loss() {
    for (attention, loss) in [
        (Attention::Off, LossConfig::CrossEntropy),
        (Attention::Gate, LossConfig::GeneralizedDice),
        (Attention::Unsupervised, LossConfig::Focal { gamma: 2.0, alpha: Some(0.75) }),
        (Attention::Supervised, LossConfig::DiceCe { include_background: false }),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let settings = vs_seg(attention, loss);
        let trained = run(&settings, &Boxes(8), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
        let losses = values(&trained.figures, "train", "loss");
        assert!(losses[5] < 0.9 * losses[0], "{attention:?}, {loss:?}: {losses:?}");
        let model = Model::from_safetensors(&trained.safetensors, Device::CPU).unwrap();
        let (input, label) = boxes(20);
        let found = model.segment(&input, SIZE, &InferOptions::default()).unwrap();
        assert_eq!(found.len(), label.len());
    }
}

#[test]
fn a_checkpoint_that_does_not_fit_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let short = TrainSettings { epochs: 1, ..settings() };
    let first = run(&short, &Boxes(4), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    let other = TrainSettings { seed: 4, ..short.clone() };
    let second = run(&other, &Boxes(4), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    assert_ne!(first.safetensors, second.safetensors);
    std::fs::write(folder.path().join("training.safetensors"), b"cut off").unwrap();
    let third = run(&short, &Boxes(4), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    assert!(third == first);
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

/// Samples that change a good one.
struct Changed(fn(usize, &mut Sample));

impl SampleSource for Changed {
    fn len(&self) -> usize {
        3
    }

    fn sample(&self, index: usize, epoch: u64, seed: u64) -> Result<Sample, String> {
        let mut sample = Boxes(3).sample(index, epoch, seed)?;
        (self.0)(index, &mut sample);
        if sample.input.is_empty() { Err("case 1.2.3: no voxels".to_owned()) } else { Ok(sample) }
    }
}

fn refusal(change: fn(usize, &mut Sample)) -> NetworkError {
    let folder = tempfile::tempdir().unwrap();
    run(&settings(), &Changed(change), folder.path(), &mut Watch::new(u64::MAX)).unwrap_err()
}

#[test]
fn samples_that_do_not_fit_are_refused_by_name() {
    let cases: BTreeMap<&str, fn(usize, &mut Sample)> = BTreeMap::from([
        ("case 1.2.3: no voxels", (|_, s| s.input.clear()) as fn(usize, &mut Sample)),
        ("labels: 0 to 1 expected, 7 found", |_, s| s.label[0] = 7),
        ("input voxels", |_, s| s.input.truncate(5)),
        ("label voxels", |_, s| s.label.truncate(5)),
        ("[1, D, H, W]", |_, s| s.shape[0] = 2),
    ]);
    for (words, change) in cases {
        let error = refusal(change).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_loss_that_is_no_number_names_its_step() {
    let error = refusal(|index, sample| sample.input[0] = if index == 2 { f32::NAN } else { 0.0 });
    assert!(matches!(error, NetworkError::NotFinite { step: 0, epoch: 0, .. }), "{error}");
}

#[test]
fn samples_of_unequal_shape_go_through_one_after_another() {
    let folder = tempfile::tempdir().unwrap();
    let uneven = Changed(|index, sample| {
        if index == 1 {
            sample.shape = [1, 2, 12, 12];
            sample.input.truncate(2 * 144);
            sample.label.truncate(2 * 144);
        }
    });
    let trained = run(&settings(), &uneven, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    let losses = values(&trained.figures, "train", "loss");
    assert!(losses[5] < losses[0], "{losses:?}");
}

#[test]
fn nobody_to_train_on_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = run(&settings(), &Boxes(0), folder.path(), &mut Watch::new(u64::MAX)).unwrap_err();
    assert!(error.to_string().contains("training samples: at least one expected"), "{error}");
}
