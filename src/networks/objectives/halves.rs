//! The two halves of a batch: what somebody has drawn, and what nobody has.

use tch::Tensor;

use super::Batch;
use crate::networks::NetworkError;
use crate::networks::architectures::unet::UnetOutput;

/// Both halves in one tensor, those that somebody has drawn first.
pub(super) struct Halves {
    /// The samples of both halves, `[N, C, D, H, W]`.
    pub input: Tensor,
    /// The number of samples that somebody has drawn.
    pub drawn: i64,
    /// The number of samples that nobody has drawn.
    pub undrawn: i64,
}

impl Halves {
    /// Joins the two halves of a batch.
    pub fn of(batch: &Batch) -> Result<Self, NetworkError> {
        Self::with(batch, batch.unlabelled.as_ref())
    }

    /// Joins the drawn half of a batch with others in the place of those that nobody has drawn.
    pub fn with(batch: &Batch, unlabelled: Option<&Tensor>) -> Result<Self, NetworkError> {
        let drawn = batch.samples.len() as i64;
        let undrawn = unlabelled.and_then(|input| input.size().first().copied()).unwrap_or(0);
        let input = match unlabelled {
            Some(unlabelled) => Tensor::f_cat(&[&batch.input, unlabelled], 0)?,
            None => batch.input.shallow_clone(),
        };
        Ok(Self { input, drawn, undrawn })
    }

    /// The first half of a tensor.
    pub fn first(&self, all: &Tensor) -> Result<Tensor, NetworkError> {
        Ok(all.f_narrow(0, 0, self.drawn)?)
    }

    /// The second.
    pub fn second(&self, all: &Tensor) -> Result<Tensor, NetworkError> {
        Ok(all.f_narrow(0, self.drawn, self.undrawn)?)
    }

    /// Returns what a network gave of the first half.
    pub fn first_of(&self, output: &UnetOutput) -> Result<UnetOutput, NetworkError> {
        let all = |tensors: &[Tensor]| -> Result<Vec<Tensor>, NetworkError> {
            tensors.iter().map(|tensor| self.first(tensor)).collect()
        };
        Ok(UnetOutput {
            logits: self.first(&output.logits)?,
            attention: all(&output.attention)?,
            auxiliary: all(&output.auxiliary)?,
        })
    }
}
