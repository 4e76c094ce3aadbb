//! What an epoch has come to: validation, figures, and whether its weights are the best.

use std::time::{Duration, Instant};

use tch::Kind;

use super::super::NetworkError;
use super::cast::{GRADIENT_NORM, IDLE, LEARNING_RATE, LOSS, STEPS, named};
use super::checkpoint::State;
use super::settings::Validate;
use super::sums::Sums;
use super::{Observer, Training, push};
use crate::networks::objectives::{Batch, Recorded, Score};
use crate::networks::sample::WholeCase;

impl Training<'_> {
    /// The score of all validation samples, and the time that the device took for it.
    pub(super) fn validate(
        &self,
        state: &State,
        observer: &dyn Observer,
    ) -> Result<(Box<dyn Score + '_>, Duration), NetworkError> {
        let mut score = self.objective.score();
        if self.settings.validate == Validate::Cases {
            let begun = Instant::now();
            self.whole_cases(state, observer, &mut *score)?;
            return Ok((score, begun.elapsed()));
        }
        let order: Vec<usize> = (0..self.validation.len()).collect();
        // The epoch is always 0: the same validation samples, so that epochs can be compared.
        let busy = self.feed(self.validation, 0).each(&order, |portion| {
            if observer.cancelled() {
                return Err(NetworkError::Cancelled { step: state.progress.step });
            }
            for (_, samples) in portion.groups() {
                let batch = Batch::new(samples, Kind::Float, self.running.device)?;
                tch::no_grad(|| score.judge(state.model()?, &batch))?;
            }
            Ok(())
        })?;
        Ok((score, busy))
    }

    /// Judges whole cases, one after the other.
    fn whole_cases(
        &self,
        state: &State,
        observer: &dyn Observer,
        score: &mut (dyn Score + '_),
    ) -> Result<(), NetworkError> {
        let mut judge = |case: &WholeCase<'_>| {
            if observer.cancelled() {
                return Err(NetworkError::Cancelled { step: state.progress.step });
            }
            let judged = tch::no_grad(|| score.judge_case(state.model()?, case));
            judged.map_err(|error| match error {
                NetworkError::Logits { slice } => {
                    tracing::warn!(case = case.name, slice, "no finite logits in a validation");
                    NetworkError::Logits { slice }
                }
                error => error,
            })
        };
        let cases = self.validation.each_case(&mut judge)?;
        if cases == 0 && !self.validation.is_empty() {
            return Err(NetworkError::Config {
                field: "validate".to_owned(),
                message: "whole cases expected, a source that gives only samples found".to_owned(),
            });
        }
        Ok(())
    }

    /// Ends an epoch: divides its sums and counts once, and keeps the weights if they are the best.
    pub(super) fn close(&self, state: &mut State, score: &dyn Score) -> Result<(), NetworkError> {
        let nothing = Sums::of(self.cast.sums.iter().cloned());
        let sums = std::mem::replace(&mut state.progress.sums, nothing);
        let batches = std::mem::take(&mut state.progress.batch);
        state.progress.epoch += 1;
        for place in 0..self.cast.pupils.len() {
            self.close_learner(state, &sums, batches, place);
        }
        let figures = score.figures();
        let decides = self.objective.decides();
        let Some((_, value)) = figures.iter().find(|(name, _)| name == decides) else {
            return state.keep();
        };
        // The later of equal epochs is the best: its weights have learned more, and a training that finds
        // nothing does not keep its first.
        let better = state.progress.best(decides).is_none_or(|(best, _)| *value >= best);
        for (name, value) in figures {
            push(state, "validation", &name, value);
        }
        if better { state.keep() } else { Ok(()) }
    }

    /// An epoch's figures of one learner; behind the first one's loss stand those that the objective records.
    fn close_learner(&self, state: &mut State, sums: &Sums, batches: u64, place: usize) {
        let Some((pupil, rule)) = self.cast.pupils.get(place) else { return };
        let of = |what: &str| named(what, place, &pupil.name);
        let (moved, steps) = (batches.saturating_sub(sums.counted(&of(IDLE))), sums.counted(&of(STEPS)));
        if moved > 0 {
            push(state, "train", &of(LOSS), sums.number(&of(LOSS)) / moved as f64);
        }
        if place == 0 {
            for Recorded { loss, figure } in &self.cast.recorded {
                if let Some(figure) = figure {
                    push(state, "train", figure, sums.number(loss) / batches.max(1) as f64);
                }
            }
        }
        // Who follows steps by no rate.
        if self.objective.followers().iter().any(|follower| follower.place == place) {
            return;
        }
        let rate = rule.rate(state.progress.step.saturating_sub(1), self.steps());
        push(state, "train", &of(LEARNING_RATE), rate);
        if steps > 0 {
            push(state, "train", &of(GRADIENT_NORM), sums.number(&of(GRADIENT_NORM)) / steps as f64);
        }
    }
}
