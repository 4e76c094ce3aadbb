//! The bytes of models and checkpoints stay: what a training gave before, it gives today.

use tomoflow::connectors::Digest;

use super::*;

/// The processor that the digests below were made on: on another one the last bits of sums are others.
const MADE_ON: &str = "AuthenticAMD family 26 model 2";

/// The processor's maker, family and model.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split(':').nth(1)).unwrap_or("unknown").trim().to_owned()
    };
    format!("{} family {} model {}", value("vendor_id"), value("cpu family"), value("model"))
}

struct Kept {
    settings: TrainSettings,
    /// The loss of the first epoch and of the last one, on any processor.
    losses: [f64; 2],
    model: &'static str,
    checkpoint: &'static str,
    /// Of a training that was stopped after its third batch.
    stopped: &'static str,
    tensors: &'static [&'static str],
}

fn kept() -> [Kept; 3] {
    let sgd = OptimizerConfig::Sgd { momentum: 0.9, nesterov: true };
    let focal = LossConfig::Focal(FocalLoss { gamma: 2.0, alpha: Some(0.75) });
    let vs_seg = TrainSettings {
        optimizer: sgd,
        batch: 2,
        accumulate: 2,
        clip_norm: 0.5,
        schedule: Schedule::Cosine { warm_up: 2 },
        ..vs_seg(Attention::Supervised, focal)
    };
    let NetworkSettings::Unet(gate) = settings().network else { panic!("a U-Net expected") };
    let gate = TrainSettings {
        network: NetworkSettings::Unet(UnetSettings { attention: Attention::Gate, ..gate }),
        loss: LossConfig::DiceCe(DiceCeLoss { include_background: false }),
        precision: Precision::Bfloat16,
        weights: Keep::Last,
        ..settings()
    };
    [
        Kept {
            settings: settings(),
            losses: [1.2778, 0.5039],
            model: "5d244f3fbc2631c629a26ecbdf471a1210c9232e0a9f011beb7da3e62cc7508d",
            checkpoint: "fdceca77d47b07e5dec7ae97b1bddb173623ad653bb42601600bf7ebca8efb1e",
            stopped: "6d928d7806f3f81b942dd5fefa4dc556ee53a2bea4f75d6b5369fb67ff69f14d",
            tensors: &[
                "adam.mean",
                "adam.square",
                "best.buffers",
                "best.parameters",
                "buffers",
                "parameters",
            ],
        },
        Kept {
            settings: vs_seg,
            losses: [0.7108, 0.6690],
            model: "1fd4abacc91c823e52e814d3bd7a61529b93607faf1e1feb0ec537289a4e6575",
            checkpoint: "be0df129073fd44653574e5499563d389698cd2804af32fc1cb753537248a655",
            stopped: "3b363e52abf3f02e4690eb0de2fd94527049189d644e2e8da7b9588d6ab8a969",
            tensors: &["best.buffers", "best.parameters", "buffers", "parameters", "pending", "sgd.velocity"],
        },
        Kept {
            settings: gate,
            losses: [1.2371, 0.7021],
            model: "5363d7b81bee49b7d13a0c7cb152f5e235574e41043282508e19d301df2db072",
            checkpoint: "55881d286d6b46eddd40a4a6084f19ccf2eea66271655a9412704badf39e9116",
            stopped: "b26426479d868733c4411839db6b0eb4906a2ae995779fdf5918d5ab56d62d54",
            tensors: &[
                "adam.mean",
                "adam.square",
                "best.buffers",
                "best.parameters",
                "buffers",
                "parameters",
            ],
        },
    ]
}

#[test]
fn models_and_checkpoints_are_those_of_before() {
    let same = processor() == MADE_ON;
    if !same {
        println!("skipped to the byte: made on {MADE_ON}, this is {}", processor());
    }
    for Kept { settings, losses, model, checkpoint, stopped, tensors } in kept() {
        let what = format!("{:?}", settings.loss);
        let folder = tempfile::tempdir().unwrap();
        let file = |folder: &Path| std::fs::read(folder.join("training.safetensors")).unwrap();
        let error = run(&settings, &Boxes(10), folder.path(), &mut Watch::new(3)).unwrap_err();
        assert!(matches!(error, NetworkError::Cancelled { .. }), "{error}");
        let between = file(folder.path());
        let resumed = run(&settings, &Boxes(10), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
        let undisturbed = tempfile::tempdir().unwrap();
        let trained = run(&settings, &Boxes(10), undisturbed.path(), &mut Watch::new(u64::MAX)).unwrap();
        assert!(resumed == trained, "{what}: the resumed training ended elsewhere");

        let all = safetensors::SafeTensors::deserialize(&between).unwrap();
        let mut names = all.names();
        names.sort_unstable();
        assert_eq!(names, tensors, "{what}");
        let found = values(&trained.figures, "train", "loss");
        let found = [found[0], *found.last().unwrap()];
        let near = found.iter().zip(losses).all(|(a, b)| (a - b).abs() < 0.05 * b);
        assert!(near, "{what}: losses {found:?} for {losses:?}");
        let files = [&trained.safetensors, &file(undisturbed.path()), &between];
        let digests = files.map(|bytes| Digest::of(bytes).to_string());
        assert!(!same || digests == [model, checkpoint, stopped], "{what}: {digests:?}");
    }
}
