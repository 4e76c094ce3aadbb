//! Adam and AdamW over one flat tensor. tch's own keep their state where it cannot be saved.

use tch::Tensor;

use crate::networks::NetworkError;
use crate::networks::tensors::scalar::{plus, scale, times};

/// The optimizer's state, and what it does not change.
pub(in crate::networks) struct Adam {
    /// The running mean of gradients.
    pub mean: Tensor,
    /// The running mean of squared gradients.
    pub square: Tensor,
    /// How slowly the two means forget.
    pub betas: [f64; 2],
    /// The number that is added to the root of the squares.
    pub epsilon: f64,
    /// Whether weights decay by themselves (AdamW), not by the gradient.
    pub decoupled: bool,
}

impl Adam {
    /// The state before the first step.
    pub fn new(flat: &Tensor, betas: [f64; 2], epsilon: f64, decoupled: bool) -> Result<Self, NetworkError> {
        Ok(Self { mean: flat.f_zeros_like()?, square: flat.f_zeros_like()?, betas, epsilon, decoupled })
    }

    /// Makes one step in place; `count` is 1 for the first. Weight decay is added to the gradient, as in
    /// PyTorch's `Adam`, or takes its share of the weights first, as in its `AdamW`.
    pub fn step(
        &mut self,
        flat: &Tensor,
        gradient: &Tensor,
        count: u64,
        learning_rate: f64,
        weight_decay: f64,
    ) -> Result<(), NetworkError> {
        let [mean_decay, square_decay] = self.betas;
        tch::no_grad(|| {
            let gradient = if self.decoupled {
                scale(&mut flat.shallow_clone(), 1.0 - learning_rate * weight_decay)?;
                gradient.shallow_clone()
            } else {
                gradient.f_add(&times(flat, weight_decay)?)?
            };
            scale(&mut self.mean, mean_decay)?;
            let _ = self.mean.f_add_(&times(&gradient, 1.0 - mean_decay)?)?;
            scale(&mut self.square, square_decay)?;
            let _ = self.square.f_add_(&times(&gradient.f_mul(&gradient)?, 1.0 - square_decay)?)?;
            let steps = count as f64;
            let mean_bias = 1.0 - mean_decay.powf(steps);
            let square_bias = 1.0 - square_decay.powf(steps);
            let spread = plus(&times(&self.square.f_sqrt()?, 1.0 / square_bias.sqrt())?, self.epsilon)?;
            let change = times(&self.mean.f_div(&spread)?, learning_rate / mean_bias)?;
            let _ = flat.shallow_clone().f_sub_(&change)?;
            Ok(())
        })
    }
}
