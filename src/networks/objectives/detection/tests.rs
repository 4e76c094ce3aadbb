use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::networks::architectures::rcnn::LOSSES;
use crate::networks::architectures::rcnn::config::{At, Backbone, Scale, VolumetricAttention};
use crate::networks::{
    Detector, Device, Figure, InputView, Observer, OptimizerConfig, Origin, PlaneMask, RcnnSettings, Running,
    SampleSource, Schedule, Trained, UnetSettings, Volume, set_threads, train_by,
};

const SIDE: usize = 48;

/// Bright rectangles on a noisy ground, wide ones of class 1 and high ones of class 2; one sample shows nothing.
struct Rectangles(usize);

fn rectangles(index: usize) -> (Vec<f32>, Vec<Instance>) {
    let mut noise = 99u32.wrapping_add(index as u32 * 7919);
    let mut draw = |below: u32| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 8) % below
    };
    let mut things = Vec::new();
    for class in 1..=2_u8 {
        if index % 5 == 4 {
            break;
        }
        let (height, width) = if class == 1 { (6, 12) } else { (14, 6) };
        let (row, column) = (draw(30) as f32, f32::from(class - 1) * 24.0 + draw(11) as f32);
        let (start, size) = ([row as usize, column as usize], [height as usize, width as usize]);
        things.push(Instance {
            class,
            low: [0.0, row, column],
            high: [1.0, row + height as f32, column + width as f32],
            mask: Some(PlaneMask { start, size, pixels: vec![true; size[0] * size[1]].into() }),
        });
    }
    let inside = |thing: &Instance, row: usize, column: usize| {
        (thing.low[1]..thing.high[1]).contains(&(row as f32))
            && (thing.low[2]..thing.high[2]).contains(&(column as f32))
    };
    let mut input = Vec::with_capacity(3 * SIDE * SIDE);
    for _ in 0..3 {
        for row in 0..SIDE {
            for column in 0..SIDE {
                let bright = things.iter().any(|thing| inside(thing, row, column));
                input.push(draw(1000) as f32 / 1000.0 - 0.5 + if bright { 2.0 } else { 0.0 });
            }
        }
    }
    (input, things)
}

impl SampleSource for Rectangles {
    fn len(&self) -> usize {
        self.0
    }

    fn sample(&self, index: usize, epoch: u64, _seed: u64) -> Result<Sample, String> {
        let (input, things) = rectangles(index + 100 * epoch as usize);
        Ok(Sample { input, shape: [3, 1, SIDE, SIDE], target: Target::Instances(things) })
    }
}

struct Watch {
    batches: AtomicU64,
    stop_after: u64,
}

impl Watch {
    fn new(stop_after: u64) -> Self {
        Self { batches: AtomicU64::new(0), stop_after }
    }
}

impl Observer for Watch {
    fn figure(&mut self, _figure: &Figure) {}

    fn cancelled(&self) -> bool {
        self.batches.fetch_add(1, Ordering::Relaxed) >= self.stop_after
    }
}

fn settings(attention: Option<At>) -> TrainSettings {
    settings_of(attention, false)
}

fn settings_of(attention: Option<At>, masks: bool) -> TrainSettings {
    let attention = attention.map(|at| VolumetricAttention {
        at,
        channel: true,
        spatial: true,
        scale: Scale::Area,
        reduction: 4,
    });
    let network = RcnnSettings {
        backbone: Backbone::Resnet18,
        width: 8,
        pyramid: 16,
        hidden: 32,
        anchors: [10.0, 20.0, 40.0, 80.0, 160.0],
        anchor_samples: 64,
        region_samples: 32,
        proposals: [100, 50],
        attention,
        masks,
        mask_channels: masks.then_some(8),
        ..RcnnSettings::default()
    };
    let text = serde_json::json!({
        "network": NetworkSettings::Rcnn(network), "loss": { "type": "dice" }, "attention_weight": 1.0, "epochs": 3,
        "batch": 2, "accumulate": 1, "optimizer": OptimizerConfig::default(), "learning_rate": 2e-3, "weight_decay": 0.0,
        "schedule": Schedule::default(), "halve_every": 0, "clip_norm": 10.0, "patience": 0, "weights": "best",
        "seed": 3,
    });
    serde_json::from_value(text).unwrap()
}

fn task(view: InputView) -> Task {
    let label_names = ["wide", "high"].map(str::to_owned).to_vec();
    Task { view, label_names, origin: Origin::default() }
}

fn stack() -> InputView {
    InputView::Stack { slices: 3, stride: 1 }
}

fn run(
    settings: &TrainSettings,
    view: InputView,
    folder: &Path,
    stop_after: u64,
) -> Result<Trained, NetworkError> {
    set_threads(1);
    let (task, every) = (task(view), Duration::ZERO);
    let objective = Detection::new(settings, &task)?;
    let running = Running { checkpoint: folder, checkpoint_every: every, readers: 1, device: Device::CPU };
    let (train, validation) = (Rectangles(8), Rectangles(6));
    train_by(&objective, settings, &task, &train, &validation, &running, &mut Watch::new(stop_after))
}

#[test]
fn rectangles_are_learned_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let settings = TrainSettings { epochs: 40, ..settings(None) };
    let trained = run(&settings, stack(), folder.path(), u64::MAX).unwrap();
    let named = |name: &str| -> Vec<f64> {
        trained.figures.iter().filter(|figure| figure.name == name).map(|figure| figure.value).collect()
    };
    let losses = LOSSES.map(|loss| named(&format!("{loss}_loss")));
    let (mask, losses) = (losses[4].clone(), &losses[..4]);
    assert!(mask.is_empty());
    assert!(losses.iter().all(|values| values.len() == 40 && values.iter().all(|value| value.is_finite())));
    assert!(losses[0][39] < losses[0][0] / 2.0, "{:?}", losses[0]);
    let best = named("ap50").into_iter().fold(0.0, f64::max);
    assert!(best > 0.6, "{best}");
    assert_eq!(named("ap50.wide").len(), 40);
    let detector = Detector::from_safetensors(&trained.safetensors, Device::CPU).unwrap();
    let (voxels, things) = rectangles(1001);
    let found =
        detector.detect(&Volume { voxels: &voxels, size: [3, SIDE, SIDE] }, &FindOptions::default(), 1);
    let found = &found.unwrap()[1].boxes;
    for thing in &things {
        let surest = found.iter().filter(|found| found.class == thing.class).take(1).cloned();
        let hits = of_class(thing.class, &surest.collect::<Vec<_>>(), &things);
        assert_eq!(average_precision(&[hits], LEAST_IOU), Some(1.0), "{found:?} for {things:?}");
    }
}

#[test]
fn rectangles_are_painted() {
    let folder = tempfile::tempdir().unwrap();
    let settings = TrainSettings { epochs: 40, ..settings_of(None, true) };
    let trained = run(&settings, stack(), folder.path(), u64::MAX).unwrap();
    let named = |name: &str| -> Vec<f64> {
        trained.figures.iter().filter(|figure| figure.name == name).map(|figure| figure.value).collect()
    };
    let mask = named("mask_loss");
    assert!(mask.len() == 40 && mask[39] < mask[0] * 0.9, "{mask:?}");
    let detector = Detector::from_safetensors(&trained.safetensors, Device::CPU).unwrap();
    assert!(detector.gives_masks());
    let (mut all, mut painted) = (0, 0);
    for index in 1000..1004 {
        let (voxels, things) = rectangles(index);
        let volume = Volume { voxels: &voxels, size: [3, SIDE, SIDE] };
        let found = &detector.detect(&volume, &FindOptions::default(), 1).unwrap()[1].boxes;
        assert!(found.iter().all(|own| own.mask.is_some()));
        for thing in &things {
            all += 1;
            let Some(own) = found.iter().find(|own| own.class == thing.class) else { continue };
            let (truth, own) = (thing.mask.as_ref().unwrap(), own.mask.as_ref().unwrap());
            let (mut both, mut either) = (0, 0);
            for pixel in (0..SIDE * SIDE).map(|pixel| [pixel / SIDE, pixel % SIDE]) {
                both += usize::from(truth.holds(pixel) && own.holds(pixel));
                either += usize::from(truth.holds(pixel) || own.holds(pixel));
            }
            painted += usize::from(both * 2 > either);
        }
    }
    assert!(all == 8 && painted >= 5, "{painted} of {all}");
}

#[test]
fn resumed_is_undisturbed_to_the_byte() {
    for (view, attention) in
        [(stack(), None), (InputView::Bag { stacks: 3, slices: 1, gap: 1 }, Some(At::Rpn))]
    {
        let undisturbed = tempfile::tempdir().unwrap();
        let settings = settings(attention);
        let expected = run(&settings, view.clone(), undisturbed.path(), u64::MAX).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for stop_after in [2, 5, 3] {
            let error = run(&settings, view.clone(), folder.path(), stop_after).unwrap_err();
            assert!(matches!(error, NetworkError::Cancelled { .. }), "{error}");
        }
        let resumed = run(&settings, view, folder.path(), u64::MAX).unwrap();
        assert!(resumed == expected, "the resumed training ended elsewhere");
        let spread = expected.figures.iter().filter(|figure| figure.name == "attention.spread.spatial.P2");
        assert_eq!(spread.count(), if attention.is_some() { 3 } else { 0 });
    }
}

#[test]
fn what_no_detector_is_made_of_is_refused() {
    let refused = |settings: &TrainSettings, view: InputView| {
        Detection::new(settings, &task(view)).err().unwrap().to_string()
    };
    let patch = InputView::Patch { size: [1, 8, 8] };
    assert!(refused(&settings(None), patch).contains("patches found"));
    assert!(refused(&settings(Some(At::Rpn)), stack()).contains("bag"));
    let half = TrainSettings { precision: Precision::Bfloat16, ..settings(None) };
    assert!(refused(&half, stack()).contains("float32"));
    let dense = TrainSettings { network: NetworkSettings::Unet(UnetSettings::default()), ..settings(None) };
    assert!(refused(&dense, stack()).contains("detector"));
}
