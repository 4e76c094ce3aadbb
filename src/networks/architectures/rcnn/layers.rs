//! What a detector is laid of: plane convolutions, norms and layers of numbers, by torchvision's names.

use tch::{Kind, Tensor};

use super::config::Norm;
use super::deformable;
use crate::networks::NetworkError;
use crate::networks::blocks::mode::Mode;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::scalar::plus;
use crate::networks::tensors::weights::{Buffer, Init, Layout, Parameter, Weights};

/// The epsilon in norms.
const EPSILON: f64 = 1e-5;

/// Groups of a group norm, where there are channels enough.
const GROUPS: i64 = 32;

/// PyTorch's default: uniform within 1 / sqrt(inputs of one output).
pub(super) fn fan(inputs: i64) -> Init {
    Init::Uniform(1.0 / (inputs as f64).sqrt())
}

/// He's normal numbers by the outputs that one input takes part in.
pub(super) fn fan_out(output: i64, kernel: i64) -> Init {
    Init::Normal((2.0 / (output * kernel * kernel) as f64).sqrt())
}

/// He's uniform numbers for a layer without a rectifier behind it (`a = 1`).
pub(super) fn pyramid(input: i64, kernel: i64) -> Init {
    Init::Uniform((3.0 / (input * kernel * kernel) as f64).sqrt())
}

/// A convolution on a plane, its padding half its kernel.
pub(super) struct Conv {
    weight: Parameter,
    bias: Option<Parameter>,
    stride: i64,
    padding: i64,
}

impl Conv {
    /// Makes a convolution with a bias that begins as `bias` says, or without one.
    pub fn new(
        layout: &mut Layout,
        name: &str,
        [input, output, kernel, stride]: [i64; 4],
        init: Init,
        bias: Option<Init>,
    ) -> Self {
        let shape = [output, input, kernel, kernel];
        let weight = layout.parameter(format!("{name}.weight"), &shape, init);
        let bias = bias.map(|init| layout.parameter(format!("{name}.bias"), &[output], init));
        Self { weight, bias, stride, padding: kernel / 2 }
    }

    /// Computes the same convolution with its places moved by what another one says of the map; without its
    /// bias.
    pub fn deformed(&self, weights: &Weights, x: &Tensor, moved: &Tensor) -> Result<Tensor, NetworkError> {
        deformable::convolution(x, moved, weights.get(self.weight), self.stride)
    }

    pub fn forward(&self, weights: &Weights, x: &Tensor) -> Result<Tensor, NetworkError> {
        let bias = self.bias.map(|bias| weights.get(bias));
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        x.f_conv2d(weights.get(self.weight), bias, stride, padding, [1; 2], 1).doing("convolution")
    }
}

/// A layer of numbers, each from all.
pub(super) struct Linear {
    weight: Parameter,
    bias: Parameter,
}

impl Linear {
    pub fn new(layout: &mut Layout, name: &str, [input, output]: [i64; 2]) -> Self {
        let init = fan(input);
        let weight = layout.parameter(format!("{name}.weight"), &[output, input], init);
        Self { weight, bias: layout.parameter(format!("{name}.bias"), &[output], init) }
    }

    pub fn forward(&self, weights: &Weights, x: &Tensor) -> Result<Tensor, NetworkError> {
        Ok(x.f_linear(weights.get(self.weight), Some(weights.get(self.bias)))?)
    }
}

/// A norm behind a convolution.
pub(super) enum Normal {
    Frozen { scale: Buffer, shift: Buffer, mean: Buffer, variance: Buffer },
    Batch { scale: Parameter, shift: Parameter, mean: Buffer, variance: Buffer },
    Group { scale: Parameter, shift: Parameter, groups: i64 },
}

impl Normal {
    pub fn new(layout: &mut Layout, name: &str, channels: i64, norm: Norm) -> Self {
        let (one, none) = (Init::Constant(1.0), Init::Constant(0.0));
        let named = |part: &str| format!("{name}.{part}");
        let channels_of = [channels];
        if norm == Norm::Frozen {
            let mut buffer = |part: &str, init| layout.buffer(named(part), &channels_of, init);
            let (scale, shift) = (buffer("weight", one), buffer("bias", none));
            let (mean, variance) = (buffer("running_mean", none), buffer("running_var", one));
            return Self::Frozen { scale, shift, mean, variance };
        }
        let scale = layout.parameter(named("weight"), &channels_of, one);
        let shift = layout.parameter(named("bias"), &channels_of, none);
        match norm {
            Norm::Batch => {
                let mean = layout.buffer(named("running_mean"), &channels_of, none);
                let variance = layout.buffer(named("running_var"), &channels_of, one);
                Self::Batch { scale, shift, mean, variance }
            }
            // The groups are as many as divide the channels, 32 at most, and none has fewer than eight
            // channels where there are more.
            _ => {
                let most = GROUPS.min(channels / 8).max(1);
                let groups = (1..=most).rev().find(|groups| channels % groups == 0).unwrap_or(1);
                Self::Group { scale, shift, groups }
            }
        }
    }

    pub fn forward(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        Ok(match self {
            Self::Frozen { scale, shift, mean, variance } => {
                let on_planes = |tensor: &Tensor| tensor.f_view([1, -1, 1, 1]);
                let spread = plus(weights.buffer(*variance), EPSILON)?.f_rsqrt()?;
                let factor = weights.buffer(*scale).f_mul(&spread)?;
                let offset = weights.buffer(*shift).f_sub(&weights.buffer(*mean).f_mul(&factor)?)?;
                let kind = x.kind();
                x.f_mul(&on_planes(&factor)?.f_to_kind(kind)?)?
                    .f_add(&on_planes(&offset)?.f_to_kind(kind)?)?
            }
            Self::Batch { scale, shift, mean, variance } => {
                let (trains, momentum) = match mode {
                    // The variance of one number a channel is not defined.
                    Mode::Train { momentum, .. } => {
                        let several = x.size()[0] * x.size()[2] * x.size()[3] > 1;
                        (several && !weights.is_frozen(*mean), momentum)
                    }
                    Mode::Infer | Mode::Folded => (false, 0.0),
                };
                let (scale, shift) = (Some(weights.whole(*scale)), Some(weights.whole(*shift)));
                let (mean, variance) = (Some(weights.buffer(*mean)), Some(weights.buffer(*variance)));
                x.f_batch_norm(scale, shift, mean, variance, trains, momentum, EPSILON, true)?
            }
            Self::Group { scale, shift, groups } => {
                let (scale, shift) = (weights.whole(*scale), weights.whole(*shift));
                x.f_group_norm(*groups, Some(scale), Some(shift), EPSILON, true)?
            }
        })
    }
}

/// The mean of nothing as a number that depends on a tensor: what takes no part in a step has a gradient of zeros.
pub(super) fn nothing_of(x: &Tensor) -> Result<Tensor, NetworkError> {
    crate::networks::tensors::scalar::times(&x.f_sum(None::<Kind>)?, 0.0)
}
