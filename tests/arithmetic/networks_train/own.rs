//! A network and a loss of a downstream crate, trained and applied as those that tomoflow brings.

use serde_json::{Map, Value, json};
use tch::Tensor;
use tomoflow::networks::architectures::unet::Unet;
use tomoflow::networks::blocks::mode::Mode;
use tomoflow::networks::extensions::OwnLoss;
use tomoflow::networks::losses::{DiceLoss, of_segmentation};
use tomoflow::networks::objectives::supervised::Supervised;
use tomoflow::networks::tensors::weights::{Init, Layout, Parameter, Weights};
use tomoflow::networks::{Architecture, Extensions, NetworkConfig, train_by};

use super::*;

/// A threshold for each class, without running statistics.
struct One {
    layout: Layout,
    kernel: Parameter,
    bias: Parameter,
    /// What is cut off each line of the logits, which must not be.
    cut: i64,
}

fn one(
    settings: &Map<String, Value>,
    channels: usize,
    classes: usize,
) -> Result<Box<dyn Architecture>, NetworkError> {
    let mut layout = Layout::default();
    let shape = [classes as i64, channels as i64, 1, 1, 1];
    let kernel = layout.parameter("kernel".to_owned(), &shape, Init::Uniform(0.3));
    let bias = layout.parameter("bias".to_owned(), &shape[..1], Init::Constant(0.0));
    let cut = settings.get("cut").and_then(Value::as_i64).unwrap_or(0);
    Ok(Box::new(One { layout, kernel, bias, cut }))
}

impl Architecture for One {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn forward(&self, weights: &Weights, input: &Tensor, _: Mode) -> Result<Tensor, NetworkError> {
        let (kernel, bias) = (weights.get(self.kernel), weights.get(self.bias));
        let logits = input.f_conv3d(kernel, Some(bias), [1; 3], [0; 3], [1; 3], 1)?;
        let width = logits.size()[4] - self.cut;
        Ok(logits.f_narrow(4, 0, width)?)
    }
}

/// Tomoflow's own U-Net, as if another crate had brought it: with norms and their running statistics.
struct Theirs(Unet);

fn theirs(
    _: &Map<String, Value>,
    channels: usize,
    classes: usize,
) -> Result<Box<dyn Architecture>, NetworkError> {
    let NetworkConfig::Unet(config) = plain().network.resolve(channels, classes)? else {
        panic!("a U-Net expected")
    };
    Ok(Box::new(Theirs(Unet::new(&config)?)))
}

impl Architecture for Theirs {
    fn layout(&self) -> &Layout {
        self.0.layout()
    }

    fn forward(&self, weights: &Weights, input: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        Ok(self.0.forward(weights, input, mode)?.logits)
    }
}

fn dice(_: &Map<String, Value>) -> Result<OwnLoss, NetworkError> {
    Ok(Box::new(|logits, truth| of_segmentation(&LossConfig::Dice(DiceLoss {}), logits, truth)))
}

fn extensions(version: u32) -> Extensions {
    let mut extensions = Extensions::default();
    extensions.add_network("one", version, one);
    extensions.add_network("theirs", version, theirs);
    extensions.add_loss("mine", version, dice);
    extensions
}

fn plain() -> TrainSettings {
    let NetworkSettings::Unet(unet) = settings().network else { panic!("a U-Net expected") };
    let network = NetworkSettings::Unet(UnetSettings { attention: Attention::Off, ..unet });
    TrainSettings { network, loss: LossConfig::Dice(DiceLoss {}), ..settings() }
}

fn own(network: Value, loss: Value) -> TrainSettings {
    let network = serde_json::from_value(network).unwrap();
    TrainSettings { network, loss: serde_json::from_value(loss).unwrap(), ..plain() }
}

fn run_own(
    settings: &TrainSettings,
    extensions: &Extensions,
    folder: &Path,
    watch: &mut Watch,
) -> Result<Trained, NetworkError> {
    set_threads(1);
    let checkpoint_every = Duration::from_secs(3600);
    let running = Running { checkpoint: folder, checkpoint_every, readers: 2, device: Device::CPU };
    let objective = Supervised::new(settings, &task(), extensions)?;
    train_by(&objective, settings, &task(), &Boxes(8), &Boxes(3), &running, watch)
}

#[test]
fn it_learns_and_its_card_brings_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let settings = own(json!({ "type": "one" }), json!({ "type": "mine" }));
    let settings = TrainSettings { epochs: 20, learning_rate: 0.1, ..settings };
    let trained = run_own(&settings, &extensions(1), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    let losses = values(&trained.figures, "train", "loss");
    assert!(losses[19] < 0.5 * losses[0], "{losses:?}");
    let card = ModelCard::read(trained.safetensors.as_slice()).unwrap();
    assert_eq!(
        serde_json::to_value(&card.network).unwrap(),
        json!({ "type": "one", "in_channels": 1, "classes": 2, "settings": {} })
    );
    let read = |known: &Extensions| Model::from_safetensors_with(&trained.safetensors, Device::CPU, known);
    let model = read(&extensions(1)).unwrap();
    let (input, label) = boxes(20);
    for precision in [Precision::Float32, Precision::Bfloat16] {
        let options = InferOptions { precision, ..InferOptions::default() };
        let found = model.segment(&input, SIZE, &options).unwrap();
        let wrong = found.iter().zip(&label).filter(|(a, b)| **a != u16::from(**b)).count();
        assert!(wrong < found.len() / 10, "{wrong} of {} wrong", found.len());
    }
    assert!(!model.attends());
    let error = read(&Extensions::default()).err().unwrap().to_string();
    assert!(error.contains("`one` is registered by nobody here"), "{error}");
}

#[test]
fn what_another_crate_brings_is_trained_to_the_byte_as_ours() {
    let ours = tempfile::tempdir().unwrap();
    let expected = run(&plain(), &Boxes(8), ours.path(), &mut Watch::new(u64::MAX)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = own(json!({ "type": "theirs" }), json!({ "type": "mine" }));
    let known = extensions(1);
    run_own(&settings, &known, folder.path(), &mut Watch::new(5)).unwrap_err();
    let trained = run_own(&settings, &known, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    assert_eq!(trained.figures, expected.figures);
    assert_eq!(parameters(&trained.safetensors), parameters(&expected.safetensors));
    // Norms apart from their convolutions, and within them.
    let model = Model::from_safetensors_with(&trained.safetensors, Device::CPU, &known).unwrap();
    let same = Model::from_safetensors(&expected.safetensors, Device::CPU).unwrap();
    let (input, _) = boxes(20);
    for precision in [Precision::Float32, Precision::Bfloat16] {
        let options = InferOptions { precision, ..InferOptions::default() };
        let [a, b] = [&model, &same].map(|model| model.segment(&input, SIZE, &options).unwrap());
        let differ = a.iter().zip(&b).filter(|(a, b)| a != b).count();
        assert!(differ <= a.len() / 100, "{precision:?}: {differ} of {} differ", a.len());
    }
}

#[test]
fn code_of_another_version_does_not_go_on_with_a_checkpoint() {
    let asked = |version: u32, watch: &mut Watch, folder: &Path| {
        let settings = own(json!({ "type": "one" }), json!({ "type": "mine" }));
        run_own(&settings, &extensions(version), folder, watch)
    };
    let folder = tempfile::tempdir().unwrap();
    asked(1, &mut Watch::new(4), folder.path()).unwrap_err();
    let mut watch = Watch::new(u64::MAX);
    asked(2, &mut watch, folder.path()).unwrap();
    // Of each of six epochs two batches to train on and one to validate on.
    assert_eq!(watch.steps.into_inner(), 6 * (2 + 1));
    // Settings that were meant for other code are refused.
    let settings = own(json!({ "type": "one", "version": 1 }), json!({ "type": "mine" }));
    let error =
        run_own(&settings, &extensions(2), folder.path(), &mut Watch::new(0)).unwrap_err().to_string();
    assert!(error.contains("version 2 of `one` expected, version 1 found"), "{error}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let refusal = |settings: &TrainSettings| {
        let folder = tempfile::tempdir().unwrap();
        run_own(settings, &extensions(1), folder.path(), &mut Watch::new(u64::MAX)).unwrap_err().to_string()
    };
    let cut = refusal(&own(json!({ "type": "one", "cut": 1 }), json!({ "type": "dice" })));
    assert!(
        cut.contains("the logits of `one`: [4, 2, 4, 12, 12] expected, [4, 2, 4, 12, 11] found"),
        "{cut}"
    );
    let unknown = refusal(&own(json!({ "type": "two" }), json!({ "type": "dice" })));
    assert!(unknown.contains("`two` is registered by nobody here; registered: `one`, `theirs`"), "{unknown}");
    let supervised =
        TrainSettings { loss: serde_json::from_value(json!({ "type": "mine" })).unwrap(), ..settings() };
    let maps = refusal(&supervised);
    assert!(maps.contains("let `map_loss` be \"dice\""), "{maps}");
}
