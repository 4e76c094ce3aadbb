//! Tensors one after another in one, and how the numbers of each lie.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use tch::{Kind, Tensor};

use super::{Declared, Init};
use crate::networks::NetworkError;

/// How the numbers of a convolution's weights `[O, I, D, H, W]` lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(in crate::networks) enum Order {
    /// The order in which the axes are written.
    ChannelsFirst,
    /// The input's channels side by side, so that features have them so, too.
    ChannelsLast,
}

impl Order {
    /// The order that convolutions on a device are fastest with.
    pub fn on(device: tch::Device) -> Self {
        if device.is_cuda() { Self::ChannelsFirst } else { Self::ChannelsLast }
    }

    /// The numbers of a tensor in this order, one after another.
    pub fn laid_out(self, value: &Tensor) -> Result<Tensor, NetworkError> {
        let kernels = self == Self::ChannelsLast && value.dim() == 5;
        Ok(if kernels {
            value.f_permute([0, 2, 3, 4, 1])?.f_reshape([-1])?
        } else {
            value.f_reshape([-1])?
        })
    }

    /// A tensor of this shape whose numbers lie so.
    pub fn view(self, numbers: &Tensor, shape: &[i64]) -> Result<Tensor, NetworkError> {
        Ok(match (self, shape) {
            (Self::ChannelsLast, &[o, i, d, h, w]) => {
                numbers.f_view([o, d, h, w, i])?.f_permute([0, 4, 1, 2, 3])?
            }
            _ => numbers.f_view(shape)?,
        })
    }
}

/// A standard normal number (Box and Muller), of two uniform ones.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    // The length is never 0, of which there is no logarithm.
    let [length, turn] = [1.0 - random.random::<f64>(), random.random::<f64>()];
    (-2.0 * length.ln()).sqrt() * (turn * std::f64::consts::TAU).cos()
}

/// Tensors that lie one after another in one.
pub(super) struct Flat {
    pub declared: Vec<Declared>,
    pub flat: Tensor,
    pub views: Vec<Tensor>,
    pub order: Order,
}

impl Flat {
    pub fn new(
        declared: Vec<Declared>,
        flat: Tensor,
        order: Order,
        trained: bool,
    ) -> Result<Self, NetworkError> {
        let mut views = Vec::with_capacity(declared.len());
        let mut offset = 0;
        for tensor in &declared {
            let view = order.view(&flat.f_narrow(0, offset, tensor.count())?, &tensor.shape)?;
            views.push(view.f_detach()?.f_set_requires_grad(trained)?);
            offset += tensor.count();
        }
        Ok(Self { declared, flat, views, order })
    }

    /// The same tensors once more.
    pub fn shared(&self) -> Self {
        let Self { declared, flat, views, order } = self;
        let views = views.iter().map(Tensor::shallow_clone).collect();
        Self { declared: declared.clone(), flat: flat.shallow_clone(), views, order: *order }
    }

    /// First numbers of all of them, as they lie on this device.
    pub fn seeded(
        declared: Vec<Declared>,
        random: &mut ChaCha8Rng,
        kind: Kind,
        device: tch::Device,
    ) -> Result<Tensor, NetworkError> {
        let mut values: Vec<f64> = Vec::new();
        for tensor in &declared {
            let count = usize::try_from(tensor.count()).unwrap_or(0);
            match tensor.init {
                Init::Constant(value) => values.extend(std::iter::repeat_n(value, count)),
                Init::Uniform(bound) => {
                    values.extend((0..count).map(|_| (random.random::<f64>() * 2.0 - 1.0) * bound));
                }
                Init::Normal(deviation) => {
                    values.extend((0..count).map(|_| normal(random) * deviation));
                }
            }
        }
        // The same numbers at the same places of each tensor, however these lie.
        let flat = Tensor::f_from_slice(&values)?.f_to_kind(kind)?.f_to_device(device)?;
        let plain = Self::new(declared, flat, Order::ChannelsFirst, false)?;
        let order = Order::on(device);
        let parts: Result<Vec<Tensor>, _> = plain.views.iter().map(|view| order.laid_out(view)).collect();
        let parts = parts?;
        Ok(if parts.is_empty() { plain.flat } else { Tensor::f_cat(&parts, 0)? })
    }
}
