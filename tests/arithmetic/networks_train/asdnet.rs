//! Training beside a critic and on samples that nobody has drawn: it resumes bit for bit, it learns, and what is not asked
//! for leaves no trace.

use serde_json::json;
use tomoflow::networks::objectives::adversarial::Adversarial;
use tomoflow::networks::objectives::supervised::Supervised;
use tomoflow::networks::{Extensions, Sources, Strategy, train_on};

use super::*;

/// Boxes that nobody has drawn, other ones than those that somebody has.
pub(super) struct Undrawn(pub usize);

impl SampleSource for Undrawn {
    fn len(&self) -> usize {
        self.0
    }

    fn sample(&self, index: usize, epoch: u64, _seed: u64) -> Result<Sample, String> {
        let (mut input, _) = boxes(100 + index);
        // Each round shows them a little brighter: a resumed training must know which round it is in.
        input.iter_mut().for_each(|voxel| *voxel += epoch as f32 * 0.01);
        Ok(Sample { input, shape: [1, SIZE[0], SIZE[1], SIZE[2]], target: Target::None })
    }
}

/// A small SVNet with sample attention beside a small critic; voxels count from the second half of the training on.
pub(super) fn asdnet(changes: serde_json::Value) -> TrainSettings {
    let mut strategy = json!({
        "type": "adversarial", "critic": "fcn", "critic_width": 2, "critic_rate": 1e-3, "adversarial": 0.03,
        "semi": 0.3, "gamma": 0.2, "start": 0.3, "least_dice": 0.0, "least_label_dice": 0.0,
        "adversarial_unlabelled": true, "critic_unlabelled": false, "semi_cross_entropy": 0.0,
    });
    strategy.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let network = json!({
        "type": "unet", "dims": "3d", "levels": 3, "channels": [4, 8, 8], "attention": "off", "variant": "vnet",
    });
    TrainSettings {
        network: serde_json::from_value(network).unwrap(),
        loss: LossConfig::GeneralizedDice(GeneralizedDiceLoss::default()),
        sample_attention: 2.0,
        strategy: serde_json::from_value(strategy).unwrap(),
        epochs: 3,
        batch: 2,
        schedule: Schedule::Constant { warm_up: 0 },
        ..settings()
    }
}

fn train_asdnet(
    settings: &TrainSettings,
    undrawn: usize,
    folder: &Path,
    watch: &mut Watch,
) -> Result<Trained, NetworkError> {
    set_threads(1);
    let supervised = Supervised::new(settings, &task(), &Extensions::default())?;
    let Some(Strategy::Adversarial(own)) = settings.strategy else { panic!("a strategy expected") };
    let objective = Adversarial::new(supervised, &own, settings, &task())?;
    let undrawn = Undrawn(undrawn);
    let sources = Sources { train: &Boxes(7), unlabelled: Some(&undrawn), validation: &Boxes(4) };
    let checkpoint_every = Duration::from_secs(3600);
    let running = Running { checkpoint: folder, checkpoint_every, readers: 2, device: Device::CPU };
    train_on(&objective, settings, &task(), sources, &running, watch)
}

fn undisturbed(settings: &TrainSettings, undrawn: usize) -> (Trained, u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Watch::new(u64::MAX);
    let trained = train_asdnet(settings, undrawn, folder.path(), &mut watch).unwrap();
    (trained, watch.steps.into_inner())
}

pub(super) fn values(trained: &Trained, name: &str) -> Vec<f64> {
    trained.figures.iter().filter(|figure| figure.name == name).map(|figure| figure.value).collect()
}

#[test]
fn stopped_after_any_batch_it_ends_alike() {
    // Rounds of five over the unlabelled end within epochs of four batches of two.
    let settings = TrainSettings { accumulate: 2, ..asdnet(json!({})) };
    let (expected, asked) = undisturbed(&settings, 5);
    let share = values(&expected, "semi.share");
    assert!(share.len() == 3 && share[0] == 0.0 && share[2] > 0.0, "{share:?}");
    for stop_after in 0..asked {
        let folder = tempfile::tempdir().unwrap();
        let error = train_asdnet(&settings, 5, folder.path(), &mut Watch::new(stop_after)).unwrap_err();
        assert!(matches!(error, NetworkError::Cancelled { .. }), "{error}");
        let resumed = train_asdnet(&settings, 5, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
        assert!(resumed == expected, "stopped after {stop_after}, it ended elsewhere");
    }
    // Another number of unlabelled samples is another training: its checkpoint is not gone on with.
    let folder = tempfile::tempdir().unwrap();
    assert!(train_asdnet(&settings, 6, folder.path(), &mut Watch::new(9)).is_err());
    let anew = train_asdnet(&settings, 5, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    assert!(anew == expected);
}

#[test]
fn each_term_has_a_figure_and_moves_what_it_should() {
    let (whole, _) = undisturbed(&asdnet(json!({})), 5);
    for name in [
        "loss",
        "loss.critic",
        "segmentation_loss",
        "adversarial_loss",
        "semi_loss",
        "semi.share",
        "semi.label.box",
        "drawn.box",
        "critic_loss.real",
        "critic_loss.predicted",
        "sample_weight",
    ] {
        let found = values(&whole, name);
        assert!(found.len() == 3 && found.iter().all(|value| value.is_finite()), "{name}: {found:?}");
    }
    // Each weight has a say, and so have what nobody drew and which of it the critic sees.
    let mut models = vec![whole.safetensors.clone()];
    for changes in [
        json!({ "adversarial": 0.0 }),
        json!({ "semi": 0.0 }),
        json!({ "adversarial_unlabelled": false }),
        json!({ "critic_unlabelled": true }),
        json!({ "critic_rate": 1e-2 }),
        json!({ "gamma": 0.9999 }),
        json!({ "gamma": "one_minus_dice" }),
        json!({ "semi_cross_entropy": 0.5 }),
        json!({ "critic": "cnn", "semi": 0.0 }),
    ] {
        let (other, _) = undisturbed(&asdnet(changes.clone()), 5);
        assert!(!models.contains(&other.safetensors), "{changes} changes nothing");
        models.push(other.safetensors);
    }
    // A gate that nothing passes teaches nothing.
    let (shut, _) = undisturbed(&asdnet(json!({ "least_dice": 1.0 })), 5);
    assert_eq!(values(&shut, "semi.share"), [0.0; 3]);
    // Weights of nothing leave the network as if there were no critic.
    let none = json!({ "adversarial": 0.0, "semi": 0.0 });
    let (alone, _) = undisturbed(&asdnet(none), 5);
    let plain = TrainSettings { strategy: None, ..asdnet(json!({})) };
    let folder = tempfile::tempdir().unwrap();
    let running = Running {
        checkpoint: folder.path(),
        checkpoint_every: Duration::from_secs(3600),
        readers: 2,
        device: Device::CPU,
    };
    let supervised =
        train(&plain, &task(), &Boxes(7), &Boxes(4), &running, &mut Watch::new(u64::MAX)).unwrap();
    // Norms see whom the network sees, so that this is so without unlabelled samples alone.
    assert_ne!(values(&alone, "dice"), values(&supervised, "dice"));
    let (alone, _) = undisturbed(&asdnet(json!({ "adversarial": 0.0, "semi": 0.0 })), 0);
    assert_eq!(values(&alone, "dice"), values(&supervised, "dice"));
    assert_eq!(values(&alone, "segmentation_loss"), values(&supervised, "loss"));
}

#[test]
fn it_learns() {
    let strategy = json!({ "adversarial": 0.03, "semi": 0.3, "least_dice": 0.5, "least_label_dice": 0.2 });
    let settings = TrainSettings { epochs: 16, ..asdnet(strategy) };
    let (trained, _) = undisturbed(&settings, 8);
    let dice = values(&trained, "dice");
    assert!(dice.last().is_some_and(|dice| *dice > 0.8), "{dice:?}");
    assert!(values(&trained, "semi.share").last().is_some_and(|share| *share > 0.0));
    let model = Model::from_safetensors(&trained.safetensors, Device::CPU).unwrap();
    let (input, truth) = boxes(33);
    let found = model.segment(&input, SIZE, &InferOptions::default()).unwrap();
    let both = found.iter().zip(&truth).filter(|(found, truth)| **found == 1 && **truth == 1).count();
    let either =
        found.iter().filter(|found| **found == 1).count() + truth.iter().filter(|t| **t == 1).count();
    assert!(2 * both * 10 > either * 7, "{both} of {either}");
}

#[test]
fn slices_are_refused() {
    let settings = asdnet(json!({}));
    let task = Task { view: InputView::Stack { slices: 1, stride: 1 }, ..task() };
    let supervised = Supervised::new(&settings, &task, &Extensions::default()).unwrap();
    let Some(Strategy::Adversarial(own)) = settings.strategy else { panic!("a strategy expected") };
    let error = Adversarial::new(supervised, &own, &settings, &task).err().unwrap();
    assert!(error.to_string().contains("`patches`"), "{error}");
}

#[test]
fn so_many_steps_and_no_more() {
    for (steps, epochs, accumulate) in [(3, 1, 1), (4, 1, 1), (6, 2, 1), (5, 3, 2), (1, 1, 2)] {
        let settings = TrainSettings { steps: Some(steps), accumulate, ..asdnet(json!({})) };
        let (trained, asked) = undisturbed(&settings, 3);
        let ends: Vec<(u64, u64)> = trained
            .figures
            .iter()
            .filter(|figure| figure.name == "dice")
            .map(|figure| (figure.epoch, figure.step))
            .collect();
        assert_eq!((ends.len() as u64, ends.last().unwrap().1), (epochs, steps), "{ends:?}");
        // Stopped within the last steps, it ends alike.
        let folder = tempfile::tempdir().unwrap();
        assert!(train_asdnet(&settings, 3, folder.path(), &mut Watch::new(asked - 2)).is_err());
        let resumed = train_asdnet(&settings, 3, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
        assert!(resumed == trained, "{steps} steps");
    }
    // As many as there would be by passes are the same training, whatever the learning rate follows.
    let schedule = Schedule::Cosine { warm_up: 1 };
    let passes = TrainSettings { schedule, ..asdnet(json!({})) };
    let steps = TrainSettings { steps: Some(12), epochs: 300, ..passes.clone() };
    assert_eq!(undisturbed(&passes, 3).0, undisturbed(&steps, 3).0);
}
