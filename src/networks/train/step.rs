//! One epoch's batches to gradients, and gradients to steps of each learner.

use std::time::Duration;

use tch::{Kind, Tensor};

use super::super::{NetworkError, Precision};
use super::cast::{GRADIENT_NORM, IDLE, LOSS, STEPS, named};
use super::checkpoint::{Saver, State};
use super::feed::{Beside, Fit, Portion};
use super::optimizer::clipped;
use super::{Observer, Training, permutation};
use crate::networks::objectives::{Batch, Follower, Learner, Loss, Moment, Recorded, Teaches};
use crate::networks::tensors::scalar::{scale, times};
use crate::networks::tensors::weights::Weights;

/// The most samples that an error names.
const NAMED: usize = 8;

/// What a batch comes to for one learner.
#[derive(Default)]
struct Moved {
    /// The sum of the losses that move it.
    loss: f64,
    /// The learner's gradient, by the batch's share of a step; none when nothing moves it.
    gradient: Option<Tensor>,
}

impl Training<'_> {
    /// Trains on what is left of an epoch, and returns the time that the device took for it.
    pub(super) fn epoch(
        &self,
        state: &mut State,
        saver: &mut Saver,
        observer: &mut dyn Observer,
    ) -> Result<Duration, NetworkError> {
        let epoch = state.progress.epoch;
        let mut feed = self.feed(self.train, epoch);
        let first = epoch.saturating_mul(self.batches()).saturating_add(state.progress.batch);
        feed.beside = self.unlabelled.filter(|source| !source.is_empty()).map(|source| {
            let fit = Fit { teaches: Teaches::Anything, ..feed.fit };
            Beside { source, fit, first }
        });
        let order = permutation(self.train.len(), self.settings.seed, epoch);
        let done = usize::try_from(state.progress.batch).unwrap_or(usize::MAX);
        let most = usize::try_from(self.batches_of(epoch)).unwrap_or(usize::MAX).saturating_mul(feed.batch);
        let order = order.get(..most).unwrap_or(&order);
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

    /// Batches of one epoch: the last one of a training by steps ends with these.
    fn batches_of(&self, epoch: u64) -> u64 {
        let Some(steps) = self.settings.steps else { return self.batches() };
        let left = steps.saturating_sub(epoch.saturating_mul(self.steps_of_epoch()));
        self.batches().min(left.saturating_mul(self.accumulate()))
    }

    fn accumulate(&self) -> u64 {
        self.settings.accumulate.max(1) as u64
    }

    /// Steps of the whole training, at most.
    pub(super) fn steps(&self) -> u64 {
        let by_epochs = || self.steps_of_epoch().saturating_mul(self.settings.epochs);
        self.settings.steps.unwrap_or_else(by_epochs)
    }

    /// Steps of a whole pass over the samples.
    pub(super) fn steps_of_epoch(&self) -> u64 {
        self.batches().div_ceil(self.accumulate())
    }

    /// Takes one batch: its gradients, by its share of the samples that make a step together, and the step if
    /// it is the last of them.
    fn take(&self, state: &mut State, portion: &Portion) -> Result<(), NetworkError> {
        let place = state.progress.batch;
        let together = self.settings.batch.max(1) as u64 * self.accumulate();
        let before = (place / self.accumulate()).saturating_mul(together);
        let samples = (self.train.len() as u64).saturating_sub(before).min(together).max(1);
        let share = portion.samples.len() as f64 / samples as f64;
        let (moved, recorded) = self.gradients(state, portion, share)?;
        let sums = &mut state.progress.sums;
        for (place, (learner, Moved { loss, gradient })) in state.learners.iter_mut().zip(moved).enumerate() {
            match gradient {
                None => sums.count(&named(IDLE, place, &learner.name)),
                Some(gradient) => {
                    sums.add(&named(LOSS, place, &learner.name), loss);
                    learner.pending = Some(match learner.pending.take() {
                        Some(sum) => sum.f_add(&gradient)?,
                        None => gradient,
                    });
                }
            }
        }
        for (Recorded { loss, .. }, value) in self.cast.recorded.iter().zip(recorded) {
            sums.add(loss, value);
        }
        state.progress.batch += 1;
        let whole =
            state.progress.batch.is_multiple_of(self.accumulate()) || state.progress.batch == self.batches();
        if whole { self.step(state, portion) } else { Ok(()) }
    }

    /// Returns, for each learner, the loss of one batch and its gradient times `share`, and the means of
    /// losses that are recorded. Samples of unequal shape go through one after another, and their gradients
    /// are averaged.
    fn gradients(
        &self,
        state: &State,
        portion: &Portion,
        share: f64,
    ) -> Result<(Vec<Moved>, Vec<f64>), NetworkError> {
        let half = self.settings.precision == Precision::Bfloat16;
        let kind = if half { Kind::BFloat16 } else { Kind::Float };
        let whole = || state.learners.iter().map(|learner| &learner.weights);
        let rounded =
            half.then(|| whole().map(|weights| weights.rounded(kind)).collect::<Result<Vec<_>, _>>());
        let rounded = rounded.transpose()?;
        let seen: Vec<&Weights> =
            rounded.as_ref().map_or_else(|| whole().collect(), |all| all.iter().collect());
        let names = state.learners.iter().map(|learner| learner.name.as_str());
        let learners: Vec<Learner> =
            names.zip(seen).map(|(name, weights)| Learner { name, weights }).collect();
        let mut moved: Vec<Moved> = learners.iter().map(|_| Moved::default()).collect();
        let mut recorded = vec![0.0; self.cast.recorded.len()];
        for (indices, samples) in portion.groups() {
            let part = samples.len() as f64 / portion.samples.len() as f64;
            let batch = Batch::new(samples, kind, self.running.device)?.beside(&portion.unlabelled)?;
            let losses = self.objective.losses(&learners, &batch, &self.moment(state))?;
            let totals = totals(&losses, learners.len())?;
            add_gradients(&mut moved, state, &totals, part * share)?;
            // The numbers are asked for only now: until then a GPU works on alone.
            for ((total, moved), learner) in totals.iter().zip(&mut moved).zip(&learners) {
                let Some(total) = total else { continue };
                let number = total.f_double_value(&[])?;
                if !number.is_finite() {
                    let group = Portion { indices, samples: samples.to_vec(), unlabelled: Vec::new() };
                    let what = if learners.len() == 1 {
                        LOSS.to_owned()
                    } else {
                        format!("loss of `{}`", learner.name)
                    };
                    return Err(self.not_finite(what, number, state, &group));
                }
                moved.loss += number * part;
            }
            for (Recorded { loss, .. }, sum) in self.cast.recorded.iter().zip(&mut recorded) {
                for Loss { value, .. } in losses.iter().filter(|found| found.name == *loss) {
                    *sum += value.f_double_value(&[])? * part;
                }
            }
        }
        Ok((moved, recorded))
    }

    fn moment<'s>(&self, state: &'s State) -> Moment<'s> {
        let super::checkpoint::Progress { epoch, step, batch, ref figures, .. } = state.progress;
        let batch = epoch.saturating_mul(self.batches()) + batch;
        Moment { epoch, step, batch, seed: self.settings.seed, steps: self.steps(), figures }
    }

    /// Takes the step of each learner that anything has moved since the last one.
    fn step(&self, state: &mut State, portion: &Portion) -> Result<(), NetworkError> {
        let step = state.progress.step;
        for place in 0..state.learners.len() {
            let (Some(learner), Some((_, rule))) =
                (state.learners.get_mut(place), self.cast.pupils.get(place))
            else {
                continue;
            };
            let name = learner.name.clone();
            let Some(gradient) = learner.pending.take() else {
                *state.progress.rested.entry(name).or_default() += 1;
                continue;
            };
            learner.weights.frozen().still(&gradient)?;
            let (norm, gradient) = clipped(gradient, rule.clip_norm)?;
            if !norm.is_finite() {
                let what = if place == 0 {
                    "gradient norm".to_owned()
                } else {
                    format!("gradient norm of `{name}`")
                };
                return Err(self.not_finite(what, norm, state, portion));
            }
            let count = step + 1 - state.progress.rested.get(&name).copied().unwrap_or(0);
            let rate = rule.rate(step, self.steps());
            learner.optimizer.step(learner.weights.flat(), &gradient, count, rate, rule.weight_decay)?;
            learner.weights.frozen().restore(learner.weights.flat())?;
            state.progress.sums.add(&named(GRADIENT_NORM, place, &name), norm);
            state.progress.sums.count(&named(STEPS, place, &name));
        }
        for Follower { place, decay } in self.objective.followers() {
            follow(state, place, decay)?;
        }
        state.progress.step += 1;
        Ok(())
    }

    fn not_finite(&self, what: String, value: f64, state: &State, portion: &Portion) -> NetworkError {
        let name = |index: &usize| self.train.name(*index);
        let broken: Vec<String> = portion
            .indices
            .iter()
            .zip(&portion.samples)
            .filter_map(|(index, sample)| {
                let count = sample.input.iter().filter(|value| !value.is_finite()).count();
                (count > 0).then(|| format!("{} holds {count} intensities that are not finite", name(index)))
            })
            .collect();
        let mut names = if broken.is_empty() { portion.indices.iter().map(name).collect() } else { broken };
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        let (step, epoch) = (state.progress.step, state.progress.epoch);
        NetworkError::NotFinite { what, value, step, epoch, samples: names.join(", ") }
    }
}

/// Brings a follower's numbers, running statistics included, nearer to the model's: the mean of as many steps as there
/// were, and from when `decay` keeps more on a running one.
fn follow(state: &State, place: usize, decay: f64) -> Result<(), NetworkError> {
    let (Some(model), Some(follower)) = (state.learners.first(), state.learners.get(place)) else {
        return Ok(());
    };
    let stays = decay.min(1.0 - 1.0 / (state.progress.step as f64 + 1.0));
    tch::no_grad(|| {
        for (own, other) in [
            (follower.weights.flat(), model.weights.flat()),
            (follower.weights.flat_buffers(), model.weights.flat_buffers()),
        ] {
            let mut own = own.shallow_clone();
            scale(&mut own, stays)?;
            let _ = own.f_add_(&times(other, 1.0 - stays)?)?;
        }
        Ok(())
    })
}

/// Returns, for each learner, the sum of the losses that move it; none where nothing does.
fn totals(losses: &[Loss], learners: usize) -> Result<Vec<Option<Tensor>>, NetworkError> {
    let mut totals: Vec<Option<Tensor>> = (0..learners).map(|_| None).collect();
    for Loss { name, value, moves } in losses {
        let Some(place) = *moves else { continue };
        let Some(total) = totals.get_mut(place) else {
            let message = format!("`{name}` moves learner {place}, {learners} expected at most, from 0");
            return Err(NetworkError::Config { field: "losses".to_owned(), message });
        };
        *total = Some(match total.take() {
            Some(sum) => sum.f_add(value)?,
            None => value.shallow_clone(),
        });
    }
    Ok(totals)
}

/// Adds the gradient of each learner's losses by its own weights, times `share`. What the losses have in common is
/// kept until the last of them went back through it.
fn add_gradients(
    moved: &mut [Moved],
    state: &State,
    totals: &[Option<Tensor>],
    share: f64,
) -> Result<(), NetworkError> {
    let last = totals.iter().rposition(Option::is_some);
    let each = moved.iter_mut().zip(&state.learners).zip(totals).enumerate();
    for (place, ((moved, learner), total)) in each {
        let Some(total) = total else { continue };
        let gradient = times(&learner.weights.gradient_of(total, Some(place) != last)?, share)?;
        moved.gradient = Some(match moved.gradient.take() {
            Some(sum) => sum.f_add(&gradient)?,
            None => gradient,
        });
    }
    Ok(())
}
