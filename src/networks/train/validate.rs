//! What an epoch has come to: validation, figures, and whether its weights are the best.

use std::time::Duration;

use super::super::NetworkError;
use super::checkpoint::{State, Sums};
use super::counts::Counts;
use super::feed::tensors;
use super::{Observer, Training, push};
use crate::networks::blocks::mode::Mode;

impl Training<'_> {
    /// Counts over all validation samples, and the time that the device took for it.
    pub(super) fn validate(
        &self,
        state: &State,
        observer: &dyn Observer,
    ) -> Result<(Counts, Duration), NetworkError> {
        let mut counts = Counts::new(self.task.label_names.len());
        let order: Vec<usize> = (0..self.validation.len()).collect();
        // Always epoch 0: the same validation samples, so that epochs can be compared.
        let busy = self.feed(self.validation, 0).each(&order, |batch| {
            if observer.cancelled() {
                return Err(NetworkError::Cancelled { step: state.progress.step });
            }
            for (_, samples) in batch.groups() {
                let (input, labels) = tensors(samples, self.running.device)?;
                let output = tch::no_grad(|| self.unet.forward(&state.weights, &input, Mode::Infer))?;
                counts.add(&output.logits.f_argmax(1, false)?, &labels)?;
            }
            Ok(())
        })?;
        Ok((counts, busy))
    }

    /// Ends an epoch: divides its sums and counts once, and keeps the weights if they are the best.
    pub(super) fn close(&self, state: &mut State, counts: &Counts) -> Result<(), NetworkError> {
        let Sums { loss, attention, gradient_norm, steps } = std::mem::take(&mut state.progress.sums);
        let batches = std::mem::take(&mut state.progress.batch);
        state.progress.epoch += 1;
        push(state, "train", "loss", loss / batches.max(1) as f64);
        if self.unet.supervision().is_some() {
            push(state, "train", "attention_loss", attention / batches.max(1) as f64);
        }
        push(state, "train", "learning_rate", self.learning_rate(state.progress.step.saturating_sub(1)));
        push(state, "train", "gradient_norm", gradient_norm / steps.max(1) as f64);
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
        if better { state.keep() } else { Ok(()) }
    }
}
