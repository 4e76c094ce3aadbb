//! Networks: what each is made of, as a value, and what it computes.

use tch::Tensor;

use super::NetworkError;
use super::blocks::mode::Mode;
use super::tensors::weights::{Layout, Weights};

pub mod config;
pub(in crate::networks) mod critic;
pub(in crate::networks) mod dense;
#[cfg(test)]
mod golden;
pub mod rcnn;
pub(in crate::networks) mod residual;
pub mod unet;
pub(in crate::networks) mod vnet;

/// A network that a downstream crate brings: one that gives logits for every voxel.
pub trait Architecture: Send + Sync {
    /// The tensors that it needs.
    fn layout(&self) -> &Layout;

    /// Logits `[N, classes, D, H, W]` of `[N, C, D, H, W]`, on the same grid whatever its size. The input and
    /// [`Weights::get`] may have 16 bits, and so may the logits; [`Weights::whole`] has 32. It depends on its
    /// arguments alone.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when libtorch refuses.
    fn forward(&self, weights: &Weights, input: &Tensor, mode: Mode) -> Result<Tensor, NetworkError>;
}
