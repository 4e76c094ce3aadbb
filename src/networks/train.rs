//! The training loop: seeded, resumable between epochs, the best epoch by validation Dice returned.

use std::path::Path;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::Tensor;
use tomoflow_connectors::Digest;

use super::checkpoint::State;
use super::config::NetworkConfig;
use super::counts::Counts;
use super::error::Doing;
use super::scalar::times;
use super::unet::{Mode, Unet, draw};
use super::{
    Device, InputView, LossConfig, ModelCard, NetworkError, NetworkSettings, Sample, SampleSource, file, loss,
};

/// How a network is trained; all of it is part of a training's key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainSettings {
    /// The architecture.
    pub network: NetworkSettings,
    /// What is minimised.
    pub loss: LossConfig,
    /// The weight of the attention maps' own loss, where they are supervised.
    pub attention_weight: f64,
    /// Passes over the training samples.
    pub epochs: u64,
    /// Samples in one step.
    pub batch: usize,
    /// Adam's, at the start.
    pub learning_rate: f64,
    /// Adam's, added to the gradient.
    pub weight_decay: f64,
    /// Steps after which the learning rate is halved; 0 for never.
    pub halve_every: u64,
    /// Epochs without a better validation Dice after which training stops; 0 for never.
    pub patience: u64,
    /// Of the first weights and of the order of samples.
    pub seed: u64,
}

/// What the data fix: how volumes are shown and which labels come out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// How a volume is shown to the network.
    pub view: InputView,
    /// The names of the labels, from label 1 on.
    pub label_names: Vec<String>,
}

/// One number of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Steps done when it was taken.
    pub step: u64,
    /// Epochs done when it was taken.
    pub epoch: u64,
    /// `train` or `validation`
    pub split: String,
    /// `loss`, `learning_rate`, `dice`, and for several labels `dice.NAME`.
    pub name: String,
    /// The number.
    pub value: f64,
}

/// Who watches a training.
pub trait Observer {
    /// A figure, after each epoch.
    fn figure(&mut self, figure: &Figure);

    /// Whether to stop; asked before every step.
    fn cancelled(&self) -> bool;

    /// After every step: how many are done, of how many at most.
    fn progress(&mut self, _step: u64, _steps: u64) {}
}

/// A finished training.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The best weights by validation Dice (the last without validation samples), with the model card in
    /// the header.
    pub safetensors: Vec<u8>,
    /// All figures, also those from before an interruption.
    pub figures: Vec<Figure>,
}

/// Trains a network. On the CPU the same settings and samples give the same bytes, however often the
/// training was interrupted: after each epoch its whole state is written to the folder `checkpoint`, which
/// the caller removes once the model is safe.
///
/// # Errors
/// [`NetworkError::Cancelled`] when the observer asks to stop, [`NetworkError::NotFinite`] for a loss that
/// is no number, [`NetworkError::Sample`] for a sample that cannot be read, [`NetworkError::Shape`] for one
/// that does not fit the task.
pub fn train(
    settings: &TrainSettings,
    task: &Task,
    train: &dyn SampleSource,
    validation: &dyn SampleSource,
    checkpoint: &Path,
    device: Device,
    observer: &mut dyn Observer,
) -> Result<Trained, NetworkError> {
    let training = Training::new(settings, task, train, validation, device)?;
    let digest = training.digest()?;
    let mut state = match State::load(checkpoint, &training.unet, digest, device) {
        Some(state) => state,
        None => State::new(&training.unet, settings.seed, digest, device)?,
    };
    while state.progress.epoch < settings.epochs && !training.out_of_patience(&state) {
        let first = state.progress.figures.len();
        training.epoch(&mut state, observer)?;
        training.validate(&mut state, observer)?;
        state.save(checkpoint)?;
        state.progress.figures.iter().skip(first).for_each(|figure| observer.figure(figure));
    }
    training.finish(state)
}

struct Training<'a> {
    settings: &'a TrainSettings,
    task: &'a Task,
    train: &'a dyn SampleSource,
    validation: &'a dyn SampleSource,
    device: Device,
    network: NetworkConfig,
    unet: Unet,
}

impl<'a> Training<'a> {
    fn new(
        settings: &'a TrainSettings,
        task: &'a Task,
        train: &'a dyn SampleSource,
        validation: &'a dyn SampleSource,
        device: Device,
    ) -> Result<Self, NetworkError> {
        let network = settings.network.resolve(task.view.channels(), task.label_names.len() + 1)?;
        let NetworkConfig::Unet(config) = &network;
        let unet = Unet::new(config)?;
        if train.is_empty() {
            return Err(NetworkError::Shape {
                what: "training samples".to_owned(),
                expected: "at least one".to_owned(),
                found: "none".to_owned(),
            });
        }
        Ok(Self { settings, task, train, validation, device, network, unet })
    }

    fn digest(&self) -> Result<Digest, NetworkError> {
        let all = (self.settings, self.task, self.train.len(), self.validation.len());
        let text = serde_json::to_vec(&all).map_err(|error| NetworkError::Config {
            field: "settings".to_owned(),
            message: error.to_string(),
        })?;
        Ok(Digest::of(&text))
    }

    fn out_of_patience(&self, state: &State) -> bool {
        let waited = state.progress.best().map_or(0, |(_, epoch)| state.progress.epoch.saturating_sub(epoch));
        self.settings.patience > 0 && waited >= self.settings.patience
    }

    fn batch(&self) -> usize {
        self.settings.batch.max(1)
    }

    fn epoch(&self, state: &mut State, observer: &mut dyn Observer) -> Result<(), NetworkError> {
        let epoch = state.progress.epoch;
        let order = permutation(self.train.len(), self.settings.seed, epoch);
        let steps = (order.len().div_ceil(self.batch()) as u64).saturating_mul(self.settings.epochs);
        let (mut sum, mut count) = (0.0, 0u64);
        self.batches(self.train, &order, epoch, |samples| {
            if observer.cancelled() {
                return Err(NetworkError::Cancelled { step: state.progress.step });
            }
            sum += self.step(state, &samples)?;
            count += 1;
            state.progress.step += 1;
            observer.progress(state.progress.step, steps);
            Ok(())
        })?;
        state.progress.epoch += 1;
        push(state, "train", "loss", sum / count.max(1) as f64);
        push(state, "train", "learning_rate", self.learning_rate(state.progress.step.saturating_sub(1)));
        Ok(())
    }

    fn learning_rate(&self, step: u64) -> f64 {
        let halvings = step.checked_div(self.settings.halve_every).unwrap_or(0);
        self.settings.learning_rate * 0.5f64.powf(halvings as f64)
    }

    /// One step on one batch. Samples of unequal shape go through one after another, and their gradients
    /// are averaged.
    fn step(&self, state: &mut State, samples: &[Sample]) -> Result<f64, NetworkError> {
        let groups: Vec<&[Sample]> = samples.chunk_by(|a, b| a.shape == b.shape).collect();
        let mut gradient: Option<Tensor> = None;
        let mut value = 0.0;
        for group in groups {
            let share = group.len() as f64 / samples.len() as f64;
            let (input, labels) = self.tensors(group)?;
            let output = self.unet.forward(
                &state.weights,
                &input,
                Mode::Train {
                    momentum: momentum(state.progress.step),
                    draw: draw(self.settings.seed, state.progress.step),
                },
            )?;
            let weight = self.settings.attention_weight;
            let loss = loss::total(self.settings.loss, weight, &self.unet, &output, &labels)?;
            let number = loss.f_double_value(&[])?;
            if !number.is_finite() {
                let (step, epoch) = (state.progress.step, state.progress.epoch);
                return Err(NetworkError::NotFinite { value: number, step, epoch });
            }
            value += number * share;
            let part = times(&state.weights.gradient(&loss)?, share)?;
            gradient = Some(match gradient {
                Some(sum) => sum.f_add(&part)?,
                None => part,
            });
        }
        if let Some(gradient) = gradient {
            let rate = self.learning_rate(state.progress.step);
            let (flat, decay) = (state.weights.flat(), self.settings.weight_decay);
            state.adam.step(flat, &gradient, state.progress.step + 1, rate, decay)?;
        }
        Ok(value)
    }

    /// Counts over all validation samples, divides once, and keeps the weights if they are the best.
    fn validate(&self, state: &mut State, observer: &dyn Observer) -> Result<(), NetworkError> {
        let mut counts = Counts::new(self.task.label_names.len());
        let order: Vec<usize> = (0..self.validation.len()).collect();
        // Always epoch 0: the same validation samples, so that epochs can be compared.
        self.batches(self.validation, &order, 0, |samples| {
            if observer.cancelled() {
                return Err(NetworkError::Cancelled { step: state.progress.step });
            }
            for group in samples.chunk_by(|a, b| a.shape == b.shape) {
                let (input, labels) = self.tensors(group)?;
                let output = tch::no_grad(|| self.unet.forward(&state.weights, &input, Mode::Infer))?;
                counts.add(&output.logits.f_argmax(1, false)?, &labels)?;
            }
            Ok(())
        })?;
        let Some(dice) = counts.mean_dice() else {
            return state.keep();
        };
        let better = state.progress.best().is_none_or(|(best, _)| dice > best);
        push(state, "validation", "dice", dice);
        if self.task.label_names.len() > 1 {
            for (name, dice) in self.task.label_names.iter().zip(counts.dice()) {
                if let Some(dice) = dice {
                    push(state, "validation", &format!("dice.{name}"), dice);
                }
            }
        }
        if better {
            state.keep()?;
        }
        Ok(())
    }

    /// Calls `work` on batch after batch while another thread reads the next ones.
    fn batches(
        &self,
        source: &dyn SampleSource,
        order: &[usize],
        epoch: u64,
        mut work: impl FnMut(Vec<Sample>) -> Result<(), NetworkError>,
    ) -> Result<(), NetworkError> {
        let seed = self.settings.seed;
        let (sender, receiver) = crossbeam_channel::bounded(1);
        std::thread::scope(|scope| {
            // The receiver is dropped when `work` fails, which ends this thread at its next batch.
            let receiver = receiver;
            scope.spawn(move || {
                for indices in order.chunks(self.batch()) {
                    let read = |&index| {
                        let sample = source.sample(index, epoch, seed);
                        let sample = sample.map_err(|message| NetworkError::Sample { index, message })?;
                        self.fits(&sample, index)?;
                        Ok(sample)
                    };
                    let samples: Result<Vec<Sample>, NetworkError> = indices.iter().map(read).collect();
                    let failed = samples.is_err();
                    if sender.send(samples).is_err() || failed {
                        break;
                    }
                }
            });
            receiver.into_iter().try_for_each(|samples| work(samples?))
        })
    }

    fn fits(&self, sample: &Sample, index: usize) -> Result<(), NetworkError> {
        let refuse = |what: &str, expected: String, found: String| {
            Err(NetworkError::Shape { what: format!("sample {index}, {what}"), expected, found })
        };
        let [channels, voxels @ ..] = sample.shape;
        let wanted = self.network.in_channels();
        if channels != wanted || voxels.contains(&0) {
            return refuse("shape", format!("[{wanted}, D, H, W]"), format!("{:?}", sample.shape));
        }
        let count: usize = voxels.iter().product();
        if sample.input.len() != count * channels {
            let expected = format!("{} for {:?}", count * channels, sample.shape);
            return refuse("input voxels", expected, sample.input.len().to_string());
        }
        if sample.label.len() != count {
            return refuse("label voxels", count.to_string(), sample.label.len().to_string());
        }
        let names = self.task.label_names.len();
        match sample.label.iter().find(|&&label| usize::from(label) > names) {
            Some(label) => refuse("labels", format!("0 to {names}"), label.to_string()),
            None => Ok(()),
        }
    }

    /// Inputs `[N, C, D, H, W]` and classes `[N, D, H, W]` of samples of one shape.
    fn tensors(&self, samples: &[Sample]) -> Result<(Tensor, Tensor), NetworkError> {
        let mut inputs = Vec::with_capacity(samples.len());
        let mut labels = Vec::with_capacity(samples.len());
        for sample in samples {
            let shape = sample.shape.map(|n| n as i64);
            let [_, d, h, w] = shape;
            inputs.push(Tensor::f_from_slice(&sample.input)?.f_view(shape)?);
            labels.push(Tensor::f_from_slice(&sample.label)?.f_view([d, h, w])?);
        }
        let input = Tensor::f_stack(&inputs, 0)?.f_to_device(self.device.0).doing("samples to the device")?;
        Ok((input, Tensor::f_stack(&labels, 0)?.f_to_device(self.device.0)?))
    }

    fn finish(self, state: State) -> Result<Trained, NetworkError> {
        let (parameters, buffers) = state.best;
        let weights = super::weights::Weights::from_flat(self.unet.layout(), parameters, buffers)?;
        let card = ModelCard {
            network: self.network,
            view: self.task.view.clone(),
            label_names: self.task.label_names.clone(),
            figures: state.progress.figures.clone(),
        };
        Ok(Trained { safetensors: file::write(&card, weights.named())?, figures: state.progress.figures })
    }
}

fn push(state: &mut State, split: &str, name: &str, value: f64) {
    let (step, epoch) = (state.progress.step, state.progress.epoch);
    let (split, name) = (split.to_owned(), name.to_owned());
    state.progress.figures.push(Figure { step, epoch, split, name, value });
}

/// The weight of a batch's statistics in those that inference uses. The first batches are averaged, so that
/// a short training does not keep a trace of the values that the statistics began with.
fn momentum(step: u64) -> f64 {
    (1.0 / (step as f64 + 1.0)).max(0.1)
}

/// The order of samples in one epoch.
fn permutation(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // Stream 0 is that of the first weights.
    random.set_stream(epoch.wrapping_add(1));
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut random);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epochs_order_is_a_permutation_of_its_own() {
        let mut order = permutation(50, 1, 0);
        assert_ne!(order, permutation(50, 1, 1));
        assert_ne!(order, permutation(50, 2, 0));
        assert_eq!(order, permutation(50, 1, 0));
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }
}
