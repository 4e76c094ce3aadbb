//! One epoch's batches to gradients, and gradients to steps.

use std::time::Duration;

use tch::{Kind, Tensor};

use super::super::{NetworkError, Precision};
use super::checkpoint::{Saver, State};
use super::feed::{Batch, tensors};
use super::optimizer::clipped;
use super::{Observer, Training, permutation};
use crate::networks::architectures::unet::Output;
use crate::networks::blocks::dropout::draw;
use crate::networks::blocks::mode::Mode;
use crate::networks::losses as loss;
use crate::networks::tensors::scalar::times;
use crate::networks::tensors::weights::Weights;

/// The most samples that an error names.
const NAMED: usize = 8;

/// A batch's losses: the whole one, and the attention maps' before it is weighed.
#[derive(Default)]
struct Losses {
    whole: f64,
    attention: f64,
}

impl Training<'_> {
    /// What is left of an epoch, and the time that the device took for it.
    pub(super) fn epoch(
        &self,
        state: &mut State,
        saver: &mut Saver,
        observer: &mut dyn Observer,
    ) -> Result<Duration, NetworkError> {
        let epoch = state.progress.epoch;
        let feed = self.feed(self.train, epoch);
        let order = permutation(self.train.len(), self.settings.seed, epoch);
        let done = usize::try_from(state.progress.batch).unwrap_or(usize::MAX);
        let left = order.get(done.saturating_mul(feed.batch)..).unwrap_or_default();
        let mut saving = Duration::ZERO;
        let busy = feed.each(left, |batch| {
            if observer.cancelled() {
                return Err(NetworkError::Cancelled { step: state.progress.step });
            }
            self.take(state, &batch)?;
            observer.progress(state.progress.step, self.steps());
            saving += saver.if_due(state)?;
            Ok(())
        })?;
        Ok(busy.saturating_sub(saving))
    }

    fn batches(&self) -> u64 {
        self.train.len().div_ceil(self.settings.batch.max(1)) as u64
    }

    fn accumulate(&self) -> u64 {
        self.settings.accumulate.max(1) as u64
    }

    /// Steps of the whole training, at most.
    fn steps(&self) -> u64 {
        self.batches().div_ceil(self.accumulate()).saturating_mul(self.settings.epochs)
    }

    /// The learning rate of a step, from 0.
    pub(super) fn learning_rate(&self, step: u64) -> f64 {
        let share = self.settings.schedule.share(step, self.steps(), self.settings.halve_every);
        self.settings.learning_rate * share
    }

    /// Takes one batch: its gradient, by its share of the samples that make a step together, and the step if
    /// it is the last of them.
    fn take(&self, state: &mut State, batch: &Batch) -> Result<(), NetworkError> {
        let place = state.progress.batch;
        let together = self.settings.batch.max(1) as u64 * self.accumulate();
        let before = (place / self.accumulate()).saturating_mul(together);
        let samples = (self.train.len() as u64).saturating_sub(before).min(together).max(1);
        let share = batch.samples.len() as f64 / samples as f64;
        let (loss, gradient) = self.gradient(state, batch, share)?;
        let gradient = match state.pending.take() {
            Some(sum) => sum.f_add(&gradient)?,
            None => gradient,
        };
        state.progress.sums.loss += loss.whole;
        state.progress.sums.attention += loss.attention;
        state.progress.batch += 1;
        let whole =
            state.progress.batch.is_multiple_of(self.accumulate()) || state.progress.batch == self.batches();
        if whole {
            return self.step(state, gradient, batch);
        }
        state.pending = Some(gradient);
        Ok(())
    }

    /// The loss of one batch, and its gradient times `share`. Samples of unequal shape go through one after
    /// another, and their gradients are averaged.
    fn gradient(&self, state: &State, batch: &Batch, share: f64) -> Result<(Losses, Tensor), NetworkError> {
        let batches = state.progress.epoch.saturating_mul(self.batches()) + state.progress.batch;
        let mode = Mode::Train { momentum: momentum(batches), draw: draw(self.settings.seed, batches) };
        let half = self.settings.precision == Precision::Bfloat16;
        let rounded = half.then(|| state.weights.rounded(Kind::BFloat16)).transpose()?;
        let weights = rounded.as_ref().unwrap_or(&state.weights);
        let mut sum: Option<Tensor> = None;
        let mut value = Losses::default();
        for (indices, samples) in batch.groups() {
            let part = samples.len() as f64 / batch.samples.len() as f64;
            let (input, labels) = tensors(samples, self.running.device)?;
            let output = self.forward(weights, &input, mode)?;
            let weight = self.settings.attention_weight;
            let loss = loss::total(self.settings.loss, weight, &self.unet, &output, &labels)?;
            let gradient = times(&state.weights.gradient(&loss.whole)?, part * share)?;
            // Only now: until a number is asked for, a GPU works on alone.
            let number = loss.whole.f_double_value(&[])?;
            if !number.is_finite() {
                let group = Batch { indices, samples: samples.to_vec() };
                return Err(self.not_finite("loss", number, state, &group));
            }
            value.whole += number * part;
            if let Some(attention) = loss.attention {
                value.attention += attention.f_double_value(&[])? * part;
            }
            sum = Some(match sum {
                Some(sum) => sum.f_add(&gradient)?,
                None => gradient,
            });
        }
        match sum {
            Some(gradient) => Ok((value, gradient)),
            None => Ok((value, state.weights.flat().f_zeros_like()?)),
        }
    }

    /// Logits and maps in 32 bits, whatever features have.
    fn forward(&self, weights: &Weights, input: &Tensor, mode: Mode) -> Result<Output, NetworkError> {
        let kind = match self.settings.precision {
            Precision::Float32 => Kind::Float,
            Precision::Bfloat16 => Kind::BFloat16,
        };
        let Output { logits, attention } = self.unet.forward(weights, &input.f_to_kind(kind)?, mode)?;
        let attention = attention.iter().map(|map| map.f_to_kind(Kind::Float));
        Ok(Output { logits: logits.f_to_kind(Kind::Float)?, attention: attention.collect::<Result<_, _>>()? })
    }

    fn step(&self, state: &mut State, gradient: Tensor, batch: &Batch) -> Result<(), NetworkError> {
        let (norm, gradient) = clipped(gradient, self.settings.clip_norm)?;
        if !norm.is_finite() {
            return Err(self.not_finite("gradient norm", norm, state, batch));
        }
        let step = state.progress.step;
        let (rate, decay) = (self.learning_rate(step), self.settings.weight_decay);
        state.optimizer.step(state.weights.flat(), &gradient, step + 1, rate, decay)?;
        state.progress.sums.gradient_norm += norm;
        state.progress.sums.steps += 1;
        state.progress.step += 1;
        Ok(())
    }

    fn not_finite(&self, what: &'static str, value: f64, state: &State, batch: &Batch) -> NetworkError {
        let name = |index: &usize| self.train.name(*index);
        let broken: Vec<String> = batch
            .indices
            .iter()
            .zip(&batch.samples)
            .filter_map(|(index, sample)| {
                let count = sample.input.iter().filter(|value| !value.is_finite()).count();
                (count > 0).then(|| format!("{} holds {count} intensities that are not finite", name(index)))
            })
            .collect();
        let mut names = if broken.is_empty() { batch.indices.iter().map(name).collect() } else { broken };
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        let (step, epoch) = (state.progress.step, state.progress.epoch);
        NetworkError::NotFinite { what, value, step, epoch, samples: names.join(", ") }
    }
}

/// The weight of a batch's statistics in those that inference uses. The first batches are averaged, so that
/// a short training does not keep a trace of the values that the statistics began with.
fn momentum(batches: u64) -> f64 {
    (1.0 / (batches as f64 + 1.0)).max(0.1)
}
