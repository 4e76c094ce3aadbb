//! Adam over one flat tensor. tch's own keeps its state where it cannot be saved.

use tch::Tensor;

use super::NetworkError;
use super::scalar::{plus, scale, times};

const MEAN_DECAY: f64 = 0.9;
const SQUARE_DECAY: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The optimizer's state.
pub(super) struct Adam {
    /// The running mean of gradients.
    pub mean: Tensor,
    /// The running mean of squared gradients.
    pub square: Tensor,
}

impl Adam {
    /// The state before the first step.
    pub fn new(flat: &Tensor) -> Result<Self, NetworkError> {
        Ok(Self { mean: flat.f_zeros_like()?, square: flat.f_zeros_like()? })
    }

    /// One step in place; `count` is 1 for the first. Weight decay is added to the gradient, as in
    /// PyTorch's `Adam`.
    pub fn step(
        &mut self,
        flat: &Tensor,
        gradient: &Tensor,
        count: u64,
        learning_rate: f64,
        weight_decay: f64,
    ) -> Result<(), NetworkError> {
        tch::no_grad(|| {
            let gradient = gradient.f_add(&times(flat, weight_decay)?)?;
            scale(&mut self.mean, MEAN_DECAY)?;
            let _ = self.mean.f_add_(&times(&gradient, 1.0 - MEAN_DECAY)?)?;
            scale(&mut self.square, SQUARE_DECAY)?;
            let _ = self.square.f_add_(&times(&gradient.f_mul(&gradient)?, 1.0 - SQUARE_DECAY)?)?;
            let steps = count as f64;
            let mean_bias = 1.0 - MEAN_DECAY.powf(steps);
            let square_bias = 1.0 - SQUARE_DECAY.powf(steps);
            let spread = plus(&times(&self.square.f_sqrt()?, 1.0 / square_bias.sqrt())?, EPSILON)?;
            let change = times(&self.mean.f_div(&spread)?, learning_rate / mean_bias)?;
            let _ = flat.shallow_clone().f_sub_(&change)?;
            Ok(())
        })
    }
}
