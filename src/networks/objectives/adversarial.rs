//! Segmentation beside a critic that tells outlines from predictions, and on scans that nobody has drawn (ASDNet).

use tch::{Kind, Tensor};

use super::gate::Gate;
use super::strategy::{AdversarialSettings, CriticKind};
use super::supervised::Supervised;
use super::{Batch, Learner, Loss, Moment, Objective, Pupil, Recorded, Score, Teaches};
use crate::networks::architectures::critic::Critic;
use crate::networks::architectures::unet::UnetOutput;
use crate::networks::losses::critics::{
    cross_entropy_where, most_likely, real_or_not, region_attention, taken,
};
use crate::networks::losses::{Absent, logarithms, one_hot};
use crate::networks::tensors::scalar::times;
use crate::networks::tensors::weights::Weights;
use crate::networks::train::rule::Rule;
use crate::networks::{InputView, NetworkConfig, NetworkError, Task, TrainSettings};

/// The version, raised when the same settings come to other numbers.
const VERSION: u32 = 1;
/// The critic's name among the learners.
const CRITIC: &str = "critic";
/// The share of voxels of unlabelled samples that count as drawn.
pub const SHARE: &str = "semi.share";
/// The beginning of a figure's name, before a label's: the share of voxels that count as drawn, and as this
/// label.
const PSEUDO: &str = "semi.label.";
/// The beginning of a figure's name, before a label's: the label's share of voxels in what was drawn.
const DRAWN: &str = "drawn.";

/// Supervised segmentation, and beside it a critic.
///
/// The network's loss is that of outlines, plus by `adversarial` how far the critic takes its predictions for no
/// outlines, plus by `semi` generalised Dice of unlabelled predictions against themselves where the critic takes them for
/// outlines. The critic's is how badly it tells outlines from predictions. Both come of one forward pass of the network,
/// and of weights as they were before the step: so it is as if the network stepped first and the critic after it, on
/// predictions made before. Neither loss moves the other one's weights.
///
/// # Source
/// Nie et al., MICCAI 2018, "ASDNet"
pub struct Adversarial {
    supervised: Supervised,
    critic: Critic,
    settings: AdversarialSettings,
    rule: Rule,
    gate: Gate,
    label_names: Vec<String>,
}

impl Adversarial {
    /// Beside `supervised`, what these settings ask for.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for a view that shows slices: theirs have as many sizes as there are scans.
    pub fn new(
        supervised: Supervised,
        settings: &AdversarialSettings,
        training: &TrainSettings,
        task: &Task,
    ) -> Result<Self, NetworkError> {
        let InputView::Patch { size } = task.view else {
            return Err(NetworkError::Config {
                field: "strategy".to_owned(),
                message: "windows of one size (`patches`) expected, slices found".to_owned(),
            });
        };
        let (classes, width) = (task.label_names.len() as i64 + 1, settings.critic_width);
        let critic = match settings.critic {
            CriticKind::Fcn => Critic::of_voxels(classes, width),
            CriticKind::Cnn => Critic::of_samples(classes, width, size.map(|length| length as i64)),
        };
        let rule = Rule { learning_rate: settings.critic_rate, ..training.rule() };
        let gate = Gate::of(settings);
        let label_names = task.label_names.clone();
        Ok(Self { supervised, critic, settings: *settings, rule, gate, label_names })
    }

    /// The losses of unlabelled predictions, and what is told of them.
    fn semi(&self, seen: &Unlabelled<'_>, gamma: f64) -> Result<Semi, NetworkError> {
        let Unlabelled { logits, probabilities, judged } = seen;
        let (labels, taken) = (most_likely(probabilities)?, taken(judged, gamma)?);
        let mut value = region_attention(probabilities, &labels, &taken, Absent::Skip)?;
        if self.settings.semi_cross_entropy > 0.0 {
            let entropy = cross_entropy_where(&logarithms(logits)?, &labels, &taken)?;
            value = value.f_add(&times(&entropy, self.settings.semi_cross_entropy)?)?;
        }
        Ok(Semi { value, shares: self.shares(&labels.f_mul(&taken)?)?, share: taken.f_mean(None::<Kind>)? })
    }

    /// The share of voxels of each label, of one channel a class.
    fn shares(&self, classes: &Tensor) -> Result<Vec<Tensor>, NetworkError> {
        let share = |label: usize| Ok(classes.f_narrow(1, label as i64 + 1, 1)?.f_mean(None::<Kind>)?);
        (0..self.label_names.len()).map(share).collect()
    }

    /// Makes one forward pass of both halves of a batch.
    fn pass(&self, network: &Weights, batch: &Batch, moment: &Moment) -> Result<Passed, NetworkError> {
        let drawn = batch.samples.len() as i64;
        let undrawn = batch.unlabelled.as_ref().and_then(|input| input.size().first().copied()).unwrap_or(0);
        let input = match &batch.unlabelled {
            Some(unlabelled) => Tensor::f_cat(&[&batch.input, unlabelled], 0)?,
            None => batch.input.shallow_clone(),
        };
        let UnetOutput { logits, attention, auxiliary } =
            self.supervised.forward(network, &input, moment.mode())?;
        let first = |all: &Tensor| Ok::<_, NetworkError>(all.f_narrow(0, 0, drawn)?);
        let labelled = UnetOutput {
            logits: first(&logits)?,
            attention: attention.iter().map(first).collect::<Result<_, _>>()?,
            auxiliary: auxiliary.iter().map(first).collect::<Result<_, _>>()?,
        };
        let probabilities = logits.f_softmax(1, None::<Kind>)?;
        let labels = batch.classes()?;
        let classes = self.label_names.len() as i64 + 1;
        let truth = one_hot(&labels, classes, probabilities.kind())?;
        Ok(Passed { drawn, undrawn, labelled, logits, probabilities, labels, truth })
    }

    /// Returns what the network minimises beside the loss of outlines, each with its weight; what has none is
    /// told.
    fn terms(
        &self,
        critic: &Weights,
        passed: &Passed,
        gamma: Option<f64>,
    ) -> Result<Vec<(Loss, f64)>, NetworkError> {
        let Passed { drawn, undrawn, logits, probabilities, truth, .. } = passed;
        let settings = &self.settings;
        let mut terms = Vec::new();
        let mut term = |name: &str, value: Tensor, weight: f64| {
            terms.push((Loss { name: name.to_owned(), value, moves: None }, weight));
        };
        let judged = match settings.adversarial > 0.0 {
            true => Some(self.critic.forward(critic, probabilities)?),
            // An output that nobody learns from needs no graph.
            false if gamma.is_some() => Some(tch::no_grad(|| self.critic.forward(critic, probabilities))?),
            false => None,
        };
        let Some(judged) = judged else { return Ok(Vec::new()) };
        if settings.adversarial > 0.0 {
            let heard = if settings.adversarial_unlabelled { drawn + undrawn } else { *drawn };
            let value = real_or_not(&judged.f_narrow(0, 0, heard)?, true)?;
            term("adversarial", value, settings.adversarial);
        }
        if let Some(gamma) = gamma {
            let beyond = |x: &Tensor| x.f_narrow(0, *drawn, *undrawn);
            let (logits, probabilities, judged) = (beyond(logits)?, beyond(probabilities)?, beyond(&judged)?);
            let seen = Unlabelled { logits: &logits, probabilities: &probabilities, judged: &judged };
            let Semi { value, share, shares } = self.semi(&seen, gamma)?;
            term("semi", value, settings.semi);
            term(SHARE, share, 0.0);
            for ((name, pseudo), drawn) in self.label_names.iter().zip(shares).zip(self.shares(truth)?) {
                term(&format!("{PSEUDO}{name}"), pseudo, 0.0);
                term(&format!("{DRAWN}{name}"), drawn, 0.0);
            }
        }
        Ok(terms)
    }

    /// Returns how badly the critic tells outlines from what was made of the same scans.
    fn critic_losses(&self, critic: &Weights, passed: &Passed) -> Result<[Tensor; 2], NetworkError> {
        let Passed { drawn, undrawn, probabilities, truth, .. } = passed;
        let shown = if self.settings.critic_unlabelled { drawn + undrawn } else { *drawn };
        let predicted = probabilities.f_narrow(0, 0, shown)?.f_detach()?;
        let real = real_or_not(&self.critic.forward(critic, truth)?, true)?;
        Ok([real, real_or_not(&self.critic.forward(critic, &predicted)?, false)?])
    }
}

/// What a forward pass gave, of so many samples that somebody has drawn and so many that nobody has, in this order.
struct Passed {
    drawn: i64,
    undrawn: i64,
    labelled: UnetOutput,
    logits: Tensor,
    probabilities: Tensor,
    labels: Tensor,
    truth: Tensor,
}

/// Predictions of unlabelled samples, and what the critic says of them.
struct Unlabelled<'a> {
    logits: &'a Tensor,
    probabilities: &'a Tensor,
    judged: &'a Tensor,
}

/// What unlabelled samples come to.
struct Semi {
    value: Tensor,
    share: Tensor,
    shares: Vec<Tensor>,
}

fn recorded(name: &str, figure: &str) -> Recorded {
    Recorded { loss: name.to_owned(), figure: Some(figure.to_owned()) }
}

impl Objective for Adversarial {
    fn identity(&self) -> Option<String> {
        Some(self.supervised.identity_within(&format!("adversarial {VERSION}")))
    }

    fn learners(&self) -> Vec<Pupil> {
        let mut learners = self.supervised.learners();
        let (name, layout) = (CRITIC.to_owned(), self.critic.layout().clone());
        learners.push(Pupil { name, layout, rule: Some(self.rule.clone()) });
        learners
    }

    fn network(&self) -> &NetworkConfig {
        self.supervised.network()
    }

    fn teaches(&self) -> Teaches {
        Teaches::Classes
    }

    fn figures(&self) -> Vec<Recorded> {
        let mut figures = self.supervised.figures();
        figures.push(Recorded::of_loss("segmentation"));
        figures.push(Recorded::of_loss("adversarial"));
        figures.push(recorded("critic.real", "critic_loss.real"));
        figures.push(recorded("critic.predicted", "critic_loss.predicted"));
        if self.settings.semi > 0.0 {
            figures.extend([Recorded::of_loss("semi"), Recorded::by_name(SHARE)]);
            for name in &self.label_names {
                let [pseudo, drawn] = [PSEUDO, DRAWN].map(|before| format!("{before}{name}"));
                figures.extend([Recorded::by_name(&pseudo), Recorded::by_name(&drawn)]);
            }
        }
        figures
    }

    fn losses(
        &self,
        learners: &[Learner],
        batch: &Batch,
        moment: &Moment,
    ) -> Result<Vec<Loss>, NetworkError> {
        let [Learner { weights: network, .. }, Learner { weights: critic, .. }] = learners else {
            return Ok(Vec::new());
        };
        let passed = self.pass(network, batch, moment)?;
        let mut losses = self.supervised.losses_of(&passed.labelled, &passed.labels)?;
        let Some(first) = losses.first_mut() else { return Ok(losses) };
        (first.name, first.moves) = ("segmentation".to_owned(), None);
        let mut whole = first.value.shallow_clone();
        let gamma = self.gate.open(moment, &self.label_names).filter(|_| passed.undrawn > 0);
        for (loss, weight) in self.terms(critic, &passed, gamma)? {
            if weight > 0.0 {
                whole = whole.f_add(&times(&loss.value, weight)?)?;
            }
            losses.push(loss);
        }
        let [real, fake] = self.critic_losses(critic, &passed)?;
        let apart = real.f_add(&fake)?;
        let told = [("critic.real", real), ("critic.predicted", fake)];
        losses.extend(told.map(|(name, value)| Loss { name: name.to_owned(), value, moves: None }));
        losses.push(Loss { name: "loss".to_owned(), value: whole, moves: Some(0) });
        losses.push(Loss { name: CRITIC.to_owned(), value: apart, moves: Some(1) });
        Ok(losses)
    }

    fn decides(&self) -> &str {
        self.supervised.decides()
    }

    fn score(&self) -> Box<dyn Score + '_> {
        self.supervised.score()
    }
}

/// A label that the network's own predictions have lost, where it teaches itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Vanished {
    /// The label's name.
    pub label: String,
    /// The first epoch in which the predictions had lost it.
    pub epoch: u64,
    /// The number of epochs in which they had.
    pub epochs: usize,
    /// The label's share of what counted as drawn in the last of them.
    pub share: f64,
    /// The label's share of what was drawn.
    pub drawn: f64,
}

/// Labels whose share of what counted as drawn was less than a tenth of their share in outlines, in any epoch: a
/// network that teaches itself without them forgets them.
pub fn vanished(figures: &[crate::networks::Figure], label_names: &[String]) -> Vec<Vanished> {
    let value = |epoch: u64, name: &str| {
        let named = |figure: &&crate::networks::Figure| figure.epoch == epoch && figure.name == name;
        figures.iter().find(named).map(|figure| figure.value)
    };
    let epochs = || figures.iter().filter(|figure| figure.name == SHARE && figure.value > 0.0);
    let of = |name: &String| {
        let lost: Vec<(u64, f64, f64)> = epochs()
            .filter_map(|figure| {
                let pseudo = value(figure.epoch, &format!("{PSEUDO}{name}"))? / figure.value;
                let drawn = value(figure.epoch, &format!("{DRAWN}{name}"))?;
                (drawn > 0.0 && pseudo < 0.1 * drawn).then_some((figure.epoch, pseudo, drawn))
            })
            .collect();
        let (first, last) = (lost.first()?, lost.last()?);
        let (share, drawn) = (last.1, last.2);
        Some(Vanished { label: name.clone(), epoch: first.0, epochs: lost.len(), share, drawn })
    };
    label_names.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::Figure;

    #[test]
    fn a_label_that_its_own_lessons_lack_is_named() {
        let figure = |epoch, name: &str, value| Figure {
            step: epoch,
            epoch,
            split: "train".to_owned(),
            name: name.to_owned(),
            value,
        };
        let mut figures = Vec::new();
        for (epoch, share, a) in [(1, 0.0, 0.0), (2, 0.5, 0.05), (3, 0.5, 0.004), (4, 0.8, 0.0)] {
            figures.extend([
                figure(epoch, SHARE, share),
                figure(epoch, "semi.label.a", a),
                figure(epoch, "semi.label.b", share * 0.2),
                figure(epoch, "drawn.a", 0.1),
                figure(epoch, "drawn.b", 0.2),
            ]);
        }
        let names = ["a", "b"].map(str::to_owned);
        let found = vanished(&figures, &names);
        let expected = Vanished { label: "a".to_owned(), epoch: 3, epochs: 2, share: 0.0, drawn: 0.1 };
        assert_eq!(found, [expected]);
        assert!(vanished(&figures[..10], &names).is_empty());
    }
}
