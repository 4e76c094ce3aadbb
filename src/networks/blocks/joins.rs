//! How levels are joined: down to the next coarser grid, and up again with what was kept.

use tch::Tensor;

use super::attention::{AttentionMap, Gate};
use super::convolution::{Block, ConvNorm, Parts, Step, fan, shape};
use super::mode::Mode;
use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::weights::{Parameter, Weights};

/// The way from one level down to the next coarser one.
pub(in crate::networks) enum Down {
    Pool([i64; 3]),
    Strided(ConvNorm),
}

impl Down {
    /// Goes down by a convolution that keeps the width.
    pub fn strided(parts: &mut Parts, name: &str, channels: i64, kernel: [i64; 3], pool: [i64; 3]) -> Self {
        Self::Strided(ConvNorm::new(parts, name, channels, channels, kernel, Step::Down(pool)))
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

/// The way from one level up to the next finer one.
enum Up {
    Deconvolution { pool: [i64; 3], weight: Parameter, bias: Parameter },
    Strided(ConvNorm),
}

impl Up {
    fn new(parts: &mut Parts, name: &str, level: &Joined) -> Self {
        let (input, output, pool) = (level.below, level.channels, level.pool);
        if level.strided {
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

/// Which features of a level are weighed by a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::networks) enum Weighed {
    /// No features.
    Nothing,
    /// The features that skip, weighed by a gate that what comes from below opens.
    Skip,
    /// Both halves, weighed by a map of themselves.
    Both,
}

/// How a level is joined with the one below it.
#[derive(Clone, Copy, Debug)]
pub(in crate::networks) struct Joined {
    /// Feature channels of the level.
    pub channels: i64,
    /// The kernel of the level's convolutions.
    pub kernel: [i64; 3],
    /// The pool between the level and the one below.
    pub pool: [i64; 3],
    /// Feature channels of the level below.
    pub below: i64,
    /// Whether a convolution with norm and activation goes up, with the level's kernel, in place of a
    /// deconvolution with the pool's.
    pub strided: bool,
    /// The features that are weighed by a map.
    pub weighed: Weighed,
    /// The classes whose logits the level gives itself, where it does.
    pub classes: Option<i64>,
}

enum Weighing {
    Nothing,
    /// A gate on what skips, before it is joined.
    Gate(Gate),
    /// A map on both halves, after they are joined.
    Map(AttentionMap),
}

/// Up from the level below, joined with what skipped it.
pub(in crate::networks) struct Decoder {
    up: Up,
    weighing: Weighing,
    block: Block,
}

impl Decoder {
    pub fn new(parts: &mut Parts, name: &str, level: &Joined) -> Self {
        let up = Up::new(parts, &format!("{name}.up"), level);
        let both = 2 * level.channels;
        let attention = format!("{name}.attention");
        let weighing = match level.weighed {
            Weighed::Nothing => Weighing::Nothing,
            Weighed::Skip => {
                Weighing::Gate(Gate::new(parts, &attention, level.channels, level.below, level.pool))
            }
            Weighed::Both => Weighing::Map(AttentionMap::new(parts, &attention, both, level.kernel)),
        };
        let block = match level.classes {
            Some(classes) => Block::last(parts, name, both, classes, level.kernel),
            None => Block::new(parts, name, both, level.channels, level.kernel),
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
