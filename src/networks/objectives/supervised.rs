//! Supervised segmentation: one network, one loss of its logits, and where maps are supervised their loss beside it.

use tch::{Kind, Tensor};

use super::counts::Counts;
use super::{Batch, Learner, Loss, Moment, Objective, Pupil, Recorded, Score, Teaches};
use crate::networks::architectures::config::MapLoss;
use crate::networks::architectures::unet::{Output, Unet};
use crate::networks::blocks::mode::Mode;
use crate::networks::losses::{of_map, of_segmentation, one_hot};
use crate::networks::tensors::scalar::times;
use crate::networks::tensors::weights::Weights;
use crate::networks::{LossConfig, NetworkConfig, NetworkError, Task, TrainSettings};

/// The whole loss, which moves the network.
const WHOLE: &str = "loss";
/// The maps' own, before it is weighed.
const ATTENTION: &str = "attention";

/// Supervised segmentation.
pub struct Supervised {
    network: NetworkConfig,
    unet: Unet,
    loss: LossConfig,
    attention_weight: f64,
    label_names: Vec<String>,
}

impl Supervised {
    /// What these settings ask for.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where no network can be built from them.
    pub fn new(settings: &TrainSettings, task: &Task) -> Result<Self, NetworkError> {
        let network = settings.network.resolve(task.view.channels(), task.label_names.len() + 1)?;
        let NetworkConfig::Unet(config) = &network;
        let unet = Unet::new(config)?;
        let TrainSettings { loss, attention_weight, .. } = *settings;
        Ok(Self { network, unet, loss, attention_weight, label_names: task.label_names.clone() })
    }

    /// Logits and maps in 32 bits, whatever features have.
    fn forward(&self, weights: &Weights, input: &Tensor, mode: Mode) -> Result<Output, NetworkError> {
        let Output { logits, attention } = self.unet.forward(weights, input, mode)?;
        let attention = attention.iter().map(|map| map.f_to_kind(Kind::Float));
        Ok(Output { logits: logits.f_to_kind(Kind::Float)?, attention: attention.collect::<Result<_, _>>()? })
    }
}

impl Objective for Supervised {
    fn identity(&self) -> Option<String> {
        None
    }

    fn learners(&self) -> Vec<Pupil> {
        vec![Pupil { name: "network".to_owned(), layout: self.unet.layout().clone(), rule: None }]
    }

    fn network(&self) -> &NetworkConfig {
        &self.network
    }

    fn teaches(&self) -> Teaches {
        Teaches::Classes
    }

    fn figures(&self) -> Vec<Recorded> {
        let figure = self.unet.supervision().map(|_| "attention_loss".to_owned());
        vec![Recorded { loss: ATTENTION.to_owned(), figure }]
    }

    fn losses(
        &self,
        learners: &[Learner],
        batch: &Batch,
        moment: &Moment,
    ) -> Result<Vec<Loss>, NetworkError> {
        let Some(Learner { weights, .. }) = learners.first() else { return Ok(Vec::new()) };
        let labels = batch.classes()?;
        let output = self.forward(weights, &batch.input, moment.mode())?;
        let Total { whole, attention } =
            total(self.loss, self.attention_weight, &self.unet, &output, &labels)?;
        let mut losses = vec![Loss { name: WHOLE.to_owned(), value: whole, moves: Some(0) }];
        losses.extend(attention.map(|value| Loss { name: ATTENTION.to_owned(), value, moves: None }));
        Ok(losses)
    }

    fn decides(&self) -> &str {
        "dice"
    }

    fn score(&self) -> Box<dyn Score + '_> {
        Box::new(Dice { objective: self, counts: Counts::new(self.label_names.len()) })
    }
}

/// Dice over all validation samples.
struct Dice<'a> {
    objective: &'a Supervised,
    counts: Counts,
}

impl Score for Dice<'_> {
    fn judge(&mut self, model: &Weights, batch: &Batch) -> Result<(), NetworkError> {
        let output = self.objective.unet.forward(model, &batch.input, Mode::Infer)?;
        self.counts.add(&output.logits.f_argmax(1, false)?, &batch.classes()?)
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let Some(mean) = self.counts.mean_dice() else { return Vec::new() };
        let mut figures = vec![(self.objective.decides().to_owned(), mean)];
        let names = &self.objective.label_names;
        if names.len() > 1 {
            let each = names.iter().zip(self.counts.dice());
            figures.extend(each.filter_map(|(name, dice)| Some((format!("dice.{name}"), dice?))));
        }
        figures
    }
}

/// The loss of one batch.
pub(in crate::networks) struct Total {
    /// Segmentation, and where maps are supervised their loss by weight.
    pub whole: Tensor,
    /// The mean loss of attention maps, where they are supervised.
    pub attention: Option<Tensor>,
}

/// The loss of one batch.
///
/// # Errors
/// [`NetworkError::Torch`] when the labels do not lie on the output's grid.
pub(in crate::networks) fn total(
    loss: LossConfig,
    attention_weight: f64,
    unet: &Unet,
    output: &Output,
    labels: &Tensor,
) -> Result<Total, NetworkError> {
    let logits = &output.logits;
    let classes = logits.size().get(1).copied().unwrap_or(0);
    let segmentation = of_segmentation(loss, logits, &one_hot(labels, classes, logits.kind())?)?;
    let Some(supervision) = unet.supervision().filter(|_| !output.attention.is_empty()) else {
        return Ok(Total { whole: segmentation, attention: None });
    };
    let map_loss = match supervision.loss {
        MapLoss::Segmentation => loss,
        MapLoss::Dice => LossConfig::Dice,
    };
    let foreground = labels.f_to_kind(Kind::Bool)?.f_to_kind(logits.kind())?.f_unsqueeze(1)?;
    let targets = unet.attention_targets(&foreground)?;
    let mut maps = Vec::with_capacity(targets.len());
    for (map, target) in output.attention.iter().zip(&targets) {
        maps.push(of_map(map_loss, map, target)?);
    }
    let attention = Tensor::f_stack(&maps, 0)?.f_mean(None::<Kind>)?;
    let whole = times(&attention, attention_weight)?.f_add(&segmentation)?;
    Ok(Total { whole, attention: Some(attention) })
}
