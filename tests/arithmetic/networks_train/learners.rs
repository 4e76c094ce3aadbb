//! Several learners in one training, by an objective of public names alone: a segmenter and a critic that take turns.

mod drift;

use std::collections::BTreeSet;

use tch::{Kind, Tensor};
use tomoflow::networks::architectures::unet::Unet;
use tomoflow::networks::blocks::mode::Mode;
use tomoflow::networks::losses::{HardnessDiceLoss, of_segmentation, one_hot};
use tomoflow::networks::objectives::{
    Batch, Learner, Loss, Moment, Objective, Pupil, Recorded, Score, Teaches,
};
use tomoflow::networks::tensors::weights::{Init, Layout, Parameter, Weights};
use tomoflow::networks::{NetworkConfig, Rule, train_by};

use super::*;

/// Judges from classes `[N, 2, …]` whether somebody drew them: a convolution, the mean over voxels, one number.
struct Critic {
    layout: Layout,
    kernel: Parameter,
    bias: Parameter,
    verdict: Parameter,
}

impl Critic {
    fn new() -> Self {
        let mut layout = Layout::default();
        let kernel = layout.parameter("kernel".to_owned(), &[3, 2, 1, 3, 3], Init::Uniform(0.3));
        let bias = layout.parameter("bias".to_owned(), &[3], Init::Uniform(0.3));
        let verdict = layout.parameter("verdict".to_owned(), &[3, 1], Init::Uniform(0.5));
        Self { layout, kernel, bias, verdict }
    }

    fn forward(&self, weights: &Weights, classes: &Tensor) -> Result<Tensor, NetworkError> {
        let (kernel, bias) = (weights.get(self.kernel), weights.get(self.bias));
        let x = classes.f_conv3d(kernel, Some(bias), [1; 3], [0, 1, 1], [1; 3], 1)?.f_leaky_relu()?;
        let mean = x.f_mean_dim([2i64, 3, 4].as_slice(), false, None::<Kind>)?;
        Ok(mean.f_matmul(weights.get(self.verdict))?)
    }
}

/// Whose turn a batch is.
type Turns = fn(u64) -> (bool, bool);

fn take_turns(batch: u64) -> (bool, bool) {
    // Both from one pass, then one alone, then the other.
    (batch % 3 != 2, batch % 3 != 1)
}

/// A segmenter that a critic helps, or only looks at.
struct Adversarial {
    network: NetworkConfig,
    unet: Unet,
    critic: Critic,
    names: [&'static str; 2],
    turns: Turns,
    /// How much the critic's word counts.
    heard: f64,
    moved: usize,
    /// Whether all epochs are judged alike.
    even: bool,
}

fn settings() -> TrainSettings {
    let NetworkSettings::Unet(unet) = super::settings().network else { panic!("a U-Net expected") };
    TrainSettings {
        network: NetworkSettings::Unet(UnetSettings { attention: Attention::Off, ..unet }),
        epochs: 3,
        batch: 2,
        ..super::settings()
    }
}

fn adversarial() -> Adversarial {
    let network = settings().network.resolve(1, 2).unwrap();
    let NetworkConfig::Unet(config) = &network else { panic!("a U-Net expected") };
    let unet = Unet::new(config).unwrap();
    let (critic, names) = (Critic::new(), ["segmenter", "critic"]);
    Adversarial { network, unet, critic, names, turns: take_turns, heard: 0.1, moved: 1, even: false }
}

fn softplus(x: &Tensor) -> Result<Tensor, NetworkError> {
    Ok(x.f_softplus()?.f_mean(None::<Kind>)?)
}

impl Objective for Adversarial {
    fn identity(&self) -> Option<String> {
        Some(format!("adversarial {}", self.heard))
    }

    fn learners(&self) -> Vec<Pupil> {
        let rule = Rule {
            optimizer: OptimizerConfig::Sgd { momentum: 0.9, nesterov: false },
            learning_rate: 0.05,
            weight_decay: 1e-4,
            schedule: Schedule::Cosine { warm_up: 2 },
            halve_every: 0,
            clip_norm: 0.5,
        };
        let [segmenter, critic] = self.names.map(str::to_owned);
        vec![
            Pupil { name: segmenter, layout: self.unet.layout().clone(), rule: None },
            Pupil { name: critic, layout: self.critic.layout.clone(), rule: Some(rule) },
        ]
    }

    fn network(&self) -> &NetworkConfig {
        &self.network
    }

    fn teaches(&self) -> Teaches {
        Teaches::Classes
    }

    fn figures(&self) -> Vec<Recorded> {
        let figure = Some("adversarial_loss".to_owned());
        vec![Recorded { loss: "adversarial".to_owned(), figure }]
    }

    fn losses(
        &self,
        learners: &[Learner],
        batch: &Batch,
        moment: &Moment,
    ) -> Result<Vec<Loss>, NetworkError> {
        let [segmenter, critic] = learners else { panic!("two learners expected") };
        assert_eq!([segmenter.name, critic.name], self.names);
        let output = self.unet.forward(segmenter.weights, &batch.input, moment.mode())?;
        let logits = output.logits.f_to_kind(Kind::Float)?;
        let truth = one_hot(&batch.classes()?, 2, Kind::Float)?;
        let kind = batch.input.kind();
        let judged = |classes: &Tensor| -> Result<Tensor, NetworkError> {
            Ok(self.critic.forward(critic.weights, &classes.f_to_kind(kind)?)?.f_to_kind(Kind::Float)?)
        };
        let guessed = judged(&logits.f_softmax(1, None::<Kind>)?)?;
        let (ours, its) = (self.turns)(moment.batch);
        let mut losses = Vec::new();
        if ours {
            let value = of_segmentation(
                &LossConfig::HardnessDice(HardnessDiceLoss { lambda: 0.6 }),
                &logits,
                &truth,
            )?;
            losses.push(Loss { name: "segmentation".to_owned(), value, moves: Some(0) });
            if self.heard > 0.0 {
                let value = softplus(&guessed.f_neg()?)? * self.heard;
                losses.push(Loss { name: "adversarial".to_owned(), value, moves: Some(0) });
            }
        }
        if its {
            // Through the segmenter as well, whose weights it does not move.
            let value = softplus(&judged(&truth)?.f_neg()?)?.f_add(&softplus(&guessed)?)?;
            losses.push(Loss { name: "critic".to_owned(), value, moves: Some(self.moved) });
        }
        Ok(losses)
    }

    fn decides(&self) -> &str {
        "agreement"
    }

    fn score(&self) -> Box<dyn Score + '_> {
        Box::new(Agreement { unet: &self.unet, same: 0, voxels: 0, even: self.even })
    }
}

/// The share of voxels whose class is right.
struct Agreement<'a> {
    unet: &'a Unet,
    same: i64,
    voxels: usize,
    even: bool,
}

impl Score for Agreement<'_> {
    fn judge(&mut self, model: &Weights, batch: &Batch) -> Result<(), NetworkError> {
        let logits = self.unet.forward(model, &batch.input, Mode::Infer)?.logits;
        let same = logits.f_argmax(1, false)?.f_eq_tensor(&batch.classes()?.f_to_kind(Kind::Int64)?)?;
        self.same += same.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        self.voxels += same.numel();
        Ok(())
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let share = if self.even { 0.5 } else { self.same as f64 / self.voxels as f64 };
        vec![("agreement".to_owned(), share)]
    }
}

fn run_by(
    objective: &dyn Objective,
    settings: &TrainSettings,
    folder: &Path,
    watch: &mut Watch,
) -> Result<Trained, NetworkError> {
    set_threads(1);
    let checkpoint_every = Duration::from_secs(3600);
    let running = Running { checkpoint: folder, checkpoint_every, readers: 2, device: Device::CPU };
    train_by(objective, settings, &task(), &Boxes(9), &Boxes(3), &running, watch)
}

fn checkpoint(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("training.safetensors")).unwrap()
}

fn numbers(checkpoint: &[u8], name: &str) -> Vec<f32> {
    let all = safetensors::SafeTensors::deserialize(checkpoint).unwrap();
    let view = all.tensor(name).unwrap();
    view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn two_learners_resume_to_the_byte_after_any_batch() {
    let plain = settings();
    let together = TrainSettings { accumulate: 2, precision: Precision::Bfloat16, ..settings() };
    for settings in [plain, together] {
        let objective = adversarial();
        let undisturbed = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(u64::MAX);
        let expected = run_by(&objective, &settings, undisturbed.path(), &mut watch).unwrap();
        let asked = watch.steps.into_inner();
        assert_eq!(asked, 3 * (5 + 2));
        let mut names = BTreeSet::new();
        for stop_after in 0..asked {
            let folder = tempfile::tempdir().unwrap();
            let mut watch = Watch::new(stop_after);
            let error = run_by(&objective, &settings, folder.path(), &mut watch).unwrap_err();
            assert!(matches!(error, NetworkError::Cancelled { .. }), "{error}");
            let between = checkpoint(folder.path());
            let all = safetensors::SafeTensors::deserialize(&between).unwrap();
            names.extend(all.names().into_iter().map(str::to_owned));
            let mut rest = Watch::new(u64::MAX);
            let resumed = run_by(&objective, &settings, folder.path(), &mut rest).unwrap();
            assert!(resumed == expected, "stopped after {stop_after}, it ended elsewhere");
            let same = checkpoint(folder.path()) == checkpoint(undisturbed.path());
            assert!(same, "stopped after {stop_after}, the critic ended elsewhere");
            assert!((asked - stop_after..asked - stop_after + 2).contains(&rest.steps.into_inner()));
        }
        let mut wanted = vec![
            "adam.mean",
            "adam.square",
            "best.buffers",
            "best.parameters",
            "buffers",
            "critic/buffers",
            "critic/parameters",
            "critic/sgd.velocity",
            "parameters",
        ];
        if settings.accumulate > 1 {
            wanted.extend(["critic/pending", "pending"]);
            wanted.sort_unstable();
        }
        assert_eq!(Vec::from_iter(names), wanted);
    }
}

#[test]
fn each_learner_learns_by_its_own_losses_and_rule() {
    let folder = tempfile::tempdir().unwrap();
    let settings = TrainSettings { epochs: 8, ..settings() };
    let trained = run_by(&adversarial(), &settings, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    let of = |name: &str| values(&trained.figures, "train", name);
    let names: Vec<&str> = trained.figures.iter().take(8).map(|figure| figure.name.as_str()).collect();
    let expected = [
        "loss",
        "adversarial_loss",
        "learning_rate",
        "gradient_norm",
        "loss.critic",
        "learning_rate.critic",
        "gradient_norm.critic",
        "agreement",
    ];
    assert_eq!(names, expected);
    assert!(of("loss")[7] < 0.8 * of("loss")[0], "{:?}", of("loss"));
    assert!(of("loss.critic")[7] < of("loss.critic")[0], "{:?}", of("loss.critic"));
    // The first epoch's last step is the fifth of forty, after a warm-up of two.
    let rate = 0.05 * (1.0 + (std::f64::consts::PI * 2.0 / 38.0).cos()) / 2.0;
    assert!((of("learning_rate.critic")[0] - rate).abs() < 1e-12, "{:?}", of("learning_rate.critic"));
    assert_eq!(of("learning_rate")[0], 1e-2);
    // A figure that decides under a name of its own.
    let agreement = values(&trained.figures, "validation", "agreement");
    assert!(agreement.len() == 8 && agreement[7] > 0.9, "{agreement:?}");
    Model::from_safetensors(&trained.safetensors, Device::CPU).unwrap();
}

#[test]
fn a_critic_that_nobody_hears_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let objective = Adversarial { heard: 0.0, turns: |_| (true, true), ..adversarial() };
    let settings = TrainSettings { weights: Keep::Last, ..settings() };
    let trained = run_by(&objective, &settings, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    let alone = tempfile::tempdir().unwrap();
    let expected = run(&settings, &Boxes(9), alone.path(), &mut Watch::new(u64::MAX)).unwrap();
    assert_eq!(parameters(&trained.safetensors), parameters(&expected.safetensors));
    let figures = |trained: &Trained, name| values(&trained.figures, "train", name);
    for name in ["loss", "gradient_norm"] {
        assert_eq!(figures(&trained, name), figures(&expected, name));
    }
    // And one that is heard does.
    let heard = Adversarial { heard: 0.1, ..objective };
    let folder = tempfile::tempdir().unwrap();
    let trained = run_by(&heard, &settings, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    assert_ne!(parameters(&trained.safetensors), parameters(&expected.safetensors));
}

#[test]
fn of_epochs_that_are_judged_alike_the_last_is_kept() {
    let parameters_of = |weights| {
        let (folder, even) = (tempfile::tempdir().unwrap(), Adversarial { even: true, ..adversarial() });
        let settings = TrainSettings { weights, ..settings() };
        let trained = run_by(&even, &settings, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
        parameters(&trained.safetensors)
    };
    assert_eq!(parameters_of(Keep::Best), parameters_of(Keep::Last));
}

#[test]
fn a_learner_that_rests_takes_no_step() {
    let folder = tempfile::tempdir().unwrap();
    let never = Adversarial { turns: |_| (true, false), ..adversarial() };
    let trained = run_by(&never, &settings(), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    let start = tempfile::tempdir().unwrap();
    run_by(&never, &settings(), start.path(), &mut Watch::new(0)).unwrap_err();
    let critic = |folder: &Path| numbers(&checkpoint(folder), "critic/parameters");
    // No decay either.
    assert_eq!(critic(folder.path()), critic(start.path()));
    // What was never taken has no mean.
    for name in ["loss.critic", "gradient_norm.critic"] {
        assert_eq!(values(&trained.figures, "train", name), [0.0; 0]);
    }
    // A mean over the batches that there were: whoever is moved in some has the figure of these.
    let rare = Adversarial { turns: |batch| (batch % 5 == 0, true), heard: 0.0, ..adversarial() };
    let still = TrainSettings { learning_rate: 0.0, weight_decay: 0.0, ..settings() };
    let folder = tempfile::tempdir().unwrap();
    let trained = run_by(&rare, &still, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    let losses = values(&trained.figures, "train", "loss");
    assert!(losses.len() == 3 && losses.iter().all(|loss| *loss > 0.3), "{losses:?}");
}

#[test]
fn learners_and_losses_that_are_unclear_are_refused() {
    let refusal = |objective: &Adversarial| {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(u64::MAX);
        run_by(objective, &settings(), folder.path(), &mut watch).unwrap_err().to_string()
    };
    let twice = refusal(&Adversarial { names: ["one", "one"], ..adversarial() });
    assert!(twice.contains("`one` found twice"), "{twice}");
    let path = refusal(&Adversarial { names: ["one", "a/b"], ..adversarial() });
    assert!(path.contains("letters, digits and `_` expected, `a/b` found"), "{path}");
    let beyond = refusal(&Adversarial { moved: 2, ..adversarial() });
    assert!(beyond.contains("`critic` moves learner 2"), "{beyond}");
    let infinite = refusal(&Adversarial { heard: f64::INFINITY, ..adversarial() });
    assert!(infinite.contains("a finite loss of `segmenter` expected in step 0"), "{infinite}");
}

#[test]
fn another_objective_does_not_go_on_with_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    run_by(&adversarial(), &settings(), folder.path(), &mut Watch::new(6)).unwrap_err();
    let other = Adversarial { heard: 0.2, ..adversarial() };
    let mut watch = Watch::new(u64::MAX);
    run_by(&other, &settings(), folder.path(), &mut watch).unwrap();
    assert_eq!(watch.steps.into_inner(), 3 * (5 + 2));
}
