//! How levels are joined: down to the next coarser grid, and up again with what was kept.

use tch::Tensor;

use super::attention::{AttentionMap, Gate};
use super::convolution::{Block, ConvNorm, Parts, Step, fan, shape};
use crate::networks::NetworkError;
use crate::networks::architectures::config::{Attention, Level, UnetConfig, Variant};
use crate::networks::architectures::unet::Mode;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::weights::{Parameter, Weights};

/// From one level down to the next coarser one.
pub(in crate::networks) enum Down {
    Pool([i64; 3]),
    Strided(ConvNorm),
}

impl Down {
    /// Below level `index`.
    pub fn new(parts: &mut Parts, index: usize, level: &Level) -> Self {
        match parts.variant {
            Variant::Paper => Self::Pool(level.pool),
            Variant::VsSeg => {
                let name = format!("encoder.{index}.down");
                let step = Step::Down(level.pool);
                Self::Strided(ConvNorm::new(parts, &name, level.channels, level.channels, level.kernel, step))
            }
        }
    }

    pub fn norm(&self) -> Option<&ConvNorm> {
        match self {
            Self::Pool(_) => None,
            Self::Strided(conv) => Some(conv),
        }
    }

    pub fn forward(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        match self {
            Self::Pool(pool) => x.f_max_pool3d(pool, pool, [0; 3], [1; 3], false).doing("pooling"),
            Self::Strided(conv) => conv.forward(weights, x, mode),
        }
    }
}

/// From one level up to the next finer one.
enum Up {
    Deconvolution { pool: [i64; 3], weight: Parameter, bias: Parameter },
    Strided(ConvNorm),
}

impl Up {
    fn new(parts: &mut Parts, name: &str, level: &Level, below: &Level) -> Self {
        let (input, output, pool) = (below.channels, level.channels, level.pool);
        if parts.variant == Variant::VsSeg {
            return Self::Strided(ConvNorm::new(parts, name, input, output, level.kernel, Step::Up(pool)));
        }
        // As in PyTorch, the fan of a deconvolution counts its output channels.
        let init = fan(output, pool);
        let weight = parts.parameter(&format!("{name}.weight"), &shape(input, output, pool), init);
        let bias = parts.parameter(&format!("{name}.bias"), &[output], init);
        Self::Deconvolution { pool, weight, bias }
    }

    fn forward(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        match self {
            Self::Deconvolution { pool, weight, bias } => {
                let bias = Some(weights.get(*bias));
                x.f_conv_transpose3d(weights.get(*weight), bias, pool, [0; 3], [0; 3], 1, [1; 3])
                    .doing("deconvolution")
            }
            Self::Strided(conv) => conv.forward(weights, x, mode),
        }
    }
}

enum Weighing {
    Nothing,
    /// What skips, before it is joined.
    Gate(Gate),
    /// Both halves, after.
    Map(AttentionMap),
}

/// Up from the level below, joined with what skipped it.
pub(in crate::networks) struct Decoder {
    up: Up,
    weighing: Weighing,
    block: Block,
}

impl Decoder {
    pub fn new(parts: &mut Parts, index: usize, config: &UnetConfig, level: &Level, below: &Level) -> Self {
        let name = format!("decoder.{index}");
        let up = Up::new(parts, &format!("{name}.up"), level, below);
        let both = 2 * level.channels;
        let attention = format!("{name}.attention");
        let weighing = match config.attention {
            Attention::Off => Weighing::Nothing,
            Attention::Gate => {
                Weighing::Gate(Gate::new(parts, &attention, level.channels, below.channels, level.pool))
            }
            Attention::Unsupervised | Attention::Supervised => {
                Weighing::Map(AttentionMap::new(parts, &attention, both, level.kernel))
            }
        };
        let block = if parts.variant == Variant::VsSeg && index == 0 {
            Block::last(parts, &name, both, config.classes, level.kernel)
        } else {
            Block::new(parts, &name, both, level.channels, level.kernel)
        };
        Self { up, weighing, block }
    }

    pub fn norms(&self) -> impl Iterator<Item = &ConvNorm> {
        let up = match &self.up {
            Up::Deconvolution { .. } => None,
            Up::Strided(conv) => Some(conv),
        };
        up.into_iter().chain(self.block.norms())
    }

    /// The level's features, and the map that weighed them.
    pub fn forward(
        &self,
        weights: &Weights,
        below: &Tensor,
        skip: &Tensor,
        mode: Mode,
    ) -> Result<(Tensor, Option<Tensor>), NetworkError> {
        let up = self.up.forward(weights, below, mode)?;
        let (both, map) = match &self.weighing {
            Weighing::Nothing => (Tensor::f_cat(&[skip, &up], 1)?, None),
            Weighing::Gate(gate) => {
                let (gated, map) = gate.forward(weights, skip, below)?;
                (Tensor::f_cat(&[&gated, &up], 1)?, Some(map))
            }
            Weighing::Map(attention) => {
                let (weighed, map) = attention.forward(weights, &Tensor::f_cat(&[skip, &up], 1)?)?;
                (weighed, Some(map))
            }
        };
        Ok((self.block.forward(weights, &both, mode)?, map))
    }
}
