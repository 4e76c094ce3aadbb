//! What a training minimises, and by which figures it is judged: all that the loop knows of networks.

pub mod adversarial;
pub mod class_weights;
pub mod copy_paste;
mod counts;
pub mod detection;
pub mod embedding;
mod gate;
mod halves;
pub mod mean_teacher;
pub(in crate::networks) mod minimised;
mod parts;
pub mod regions;
pub mod strategy;
pub mod supervised;
pub mod unimatch;

use tch::{Kind, Tensor};

use super::blocks::dropout::draw;
use super::blocks::mode::Mode;
use super::sample::WholeCase;
use super::tensors::error::Doing;
use super::tensors::weights::{Layout, Weights};
use super::train::rule::Rule;
use super::{Device, Figure, NetworkConfig, NetworkError, Sample};

/// What a training minimises. Supervised segmentation is [`Supervised`](supervised::Supervised): one learner and one
/// loss. A detector is one learner with a loss for each of its heads, adversarial training two learners.
///
/// Nothing of it may depend on anything but its arguments and itself: a training that was interrupted then ends as if
/// it had not been, to the byte.
pub trait Objective: Send + Sync {
    /// Returns what results depend on and neither settings nor task say: a checkpoint of another identity is
    /// not gone on with. None where they say all of it.
    fn identity(&self) -> Option<String>;

    /// Who learns. The first is the model: its weights are kept, judged and written; the others are there for its
    /// training alone. They may not change while a training goes on.
    fn learners(&self) -> Vec<Pupil>;

    /// Learners that no loss moves, and that follow the first one: after each step they are a running mean of its weights.
    fn followers(&self) -> Vec<Follower> {
        Vec::new()
    }

    /// Returns the configuration of the first learner's network, for the model's card.
    fn network(&self) -> &NetworkConfig;

    /// The greatest class of samples, where it may be greater than the number of labels.
    fn greatest_class(&self) -> usize {
        0
    }

    /// Returns what samples must teach.
    fn teaches(&self) -> Teaches;

    /// Whether voxels that nobody labelled, and labels that nobody looked for, may be left out of its losses. Samples with
    /// such are refused where not.
    fn leaves_out(&self) -> bool {
        false
    }

    /// The losses of which the loop takes the mean over each epoch. The whole loss of each learner, its learning rate
    /// and the norm of its gradient are taken in any case.
    fn figures(&self) -> Vec<Recorded>;

    /// The losses of samples of one shape. The loop sums up those that move a learner, and follows the sum to that
    /// learner's weights alone, even where the losses depend on others' as well. A learner that nothing moves in any
    /// batch of a step takes no step.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when libtorch refuses.
    fn losses(&self, learners: &[Learner], batch: &Batch, moment: &Moment)
    -> Result<Vec<Loss>, NetworkError>;

    /// The figure of [`Score::figures`] that decides which epoch is the best: the one where it is greatest.
    fn decides(&self) -> &str;

    /// The score of a validation, before its first batch.
    fn score(&self) -> Box<dyn Score + '_>;
}

/// What a validation has come to so far.
pub trait Score {
    /// Adds what the model, the first learner, makes of samples of one shape. No graph is kept meanwhile.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when libtorch refuses.
    fn judge(&mut self, model: &Weights, batch: &Batch) -> Result<(), NetworkError>;

    /// Adds what the model makes of a whole case, as inference does.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where the objective has no score of whole cases, else as inference.
    fn judge_case(&mut self, _model: &Weights, _case: &WholeCase<'_>) -> Result<(), NetworkError> {
        Err(NetworkError::Config {
            field: "validate".to_owned(),
            message: "an objective that judges whole cases expected, this one judges samples alone"
                .to_owned(),
        })
    }

    /// Figures by name, over all samples. Without the one that [decides](Objective::decides) no epoch is better than
    /// the one before it was: the last one's weights are kept.
    fn figures(&self) -> Vec<(String, f64)>;
}

/// A learner before its training.
#[derive(Clone, Debug, PartialEq)]
pub struct Pupil {
    /// The learner's name in figures and checkpoints; letters, digits and `_`.
    pub name: String,
    /// The learner's tensors, and how each begins.
    pub layout: Layout,
    /// The rule by which the learner steps, where it is not as the training's settings say.
    pub rule: Option<Rule>,
}

/// A learner whose weights are the running mean of the first one's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Follower {
    /// The follower's place among the learners; it has the first one's tensors.
    pub place: usize,
    /// The share of the mean that stays at each step, 0 to 1; in the first steps less, so that nothing of the numbers
    /// that it began with is kept.
    pub decay: f64,
}

/// A learner in the midst of its training.
#[derive(Clone, Copy)]
pub struct Learner<'a> {
    /// The learner's name.
    pub name: &'a str,
    /// The learner's numbers, as features are to see them.
    pub weights: &'a Weights,
}

/// One loss of one batch.
#[derive(Debug)]
pub struct Loss {
    /// The name by which [`Objective::figures`] finds the loss.
    pub name: String,
    /// The loss, one number in 32 bits.
    pub value: Tensor,
    /// The place of the learner that it moves; none for what is only recorded.
    pub moves: Option<usize>,
}

/// A loss that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The name of the loss.
    pub loss: String,
    /// The name of the loss's mean over an epoch's batches, those without it counting as 0; none for one that
    /// is summed up and not told.
    pub figure: Option<String>,
}

impl Recorded {
    /// The loss of this name as the figure `NAME_loss`.
    pub(super) fn of_loss(name: &str) -> Self {
        Self { loss: name.to_owned(), figure: Some(format!("{name}_loss")) }
    }

    /// The loss of this name as a figure of the same name.
    pub(super) fn by_name(name: &str) -> Self {
        Self { loss: name.to_owned(), figure: Some(name.to_owned()) }
    }
}

/// What samples must teach for an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teaches {
    /// A class for each voxel.
    Classes,
    /// Things, each with its class and its box.
    Instances,
    /// Either of these, or nothing.
    Anything,
}

/// Samples of one shape, which go through a network together.
pub struct Batch<'a> {
    /// The inputs `[N, C, D, H, W]` on the device, with as many bits as features have.
    pub input: Tensor,
    /// The samples, in the same order.
    pub samples: &'a [Sample],
    /// Samples of the same shape that nobody has drawn, where a training has such: `[N, C, D, H, W]`, as `input`.
    pub unlabelled: Option<Tensor>,
}

impl<'a> Batch<'a> {
    /// Samples of one shape on a device.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] for samples of unequal shape, and when the memory is refused.
    pub fn new(samples: &'a [Sample], kind: Kind, device: Device) -> Result<Self, NetworkError> {
        Ok(Self { input: inputs(samples.iter(), kind, device)?, samples, unlabelled: None })
    }

    /// Returns the same batch beside those of `unlabelled` that have the shape of its samples.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when the memory is refused.
    pub fn beside(mut self, unlabelled: &[Sample]) -> Result<Self, NetworkError> {
        let shape = self.samples.first().map(|sample| sample.shape);
        let alike: Vec<&Sample> = unlabelled.iter().filter(|sample| Some(sample.shape) == shape).collect();
        if !alike.is_empty() {
            let (kind, device) = (self.input.kind(), Device(self.input.device()));
            self.unlabelled = Some(inputs(alike.into_iter(), kind, device)?);
        }
        Ok(self)
    }

    /// The classes of voxels, `[N, D, H, W]` on the device.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for a sample that teaches none.
    pub fn classes(&self) -> Result<Tensor, NetworkError> {
        let mut labels = Vec::with_capacity(self.samples.len());
        for Sample { shape, target, .. } in self.samples {
            let [_, d, h, w] = shape.map(|n| n as i64);
            let classes = target.classes().ok_or_else(|| NetworkError::Shape {
                what: "a sample's target".to_owned(),
                expected: "classes".to_owned(),
                found: target.name().to_owned(),
            })?;
            labels.push(Tensor::f_from_slice(classes)?.f_view([d, h, w])?);
        }
        Ok(Tensor::f_stack(&labels, 0)?.f_to_device(self.input.device())?)
    }
}

/// The inputs of samples of one shape, on a device.
fn inputs<'a>(
    samples: impl Iterator<Item = &'a Sample>,
    kind: Kind,
    device: Device,
) -> Result<Tensor, NetworkError> {
    let mut inputs = Vec::new();
    for sample in samples {
        let shape = sample.shape.map(|n| n as i64);
        inputs.push(Tensor::f_from_slice(&sample.input)?.f_view(shape)?);
    }
    let input = Tensor::f_stack(&inputs, 0)?.f_to_device(device.0).doing("samples to the device")?;
    Ok(input.f_to_kind(kind)?)
}

/// The place of a batch in a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment<'a> {
    /// The number of epochs done.
    pub epoch: u64,
    /// The number of steps done.
    pub step: u64,
    /// Batches done since the training began.
    pub batch: u64,
    /// The training's.
    pub seed: u64,
    /// Steps of the whole training, at most.
    pub steps: u64,
    /// All figures so far.
    pub figures: &'a [Figure],
}

impl Moment<'_> {
    /// Returns what layers are asked for now: what dropout draws depends on the seed and the batch alone.
    pub fn mode(&self) -> Mode {
        Mode::Train { momentum: momentum(self.batch), draw: draw(self.seed, self.batch) }
    }
}

/// The weight of a batch's statistics in those that inference uses. The first batches are averaged, so that
/// a short training does not keep a trace of the values that the statistics began with.
fn momentum(batches: u64) -> f64 {
    (1.0 / (batches as f64 + 1.0)).max(0.1)
}
