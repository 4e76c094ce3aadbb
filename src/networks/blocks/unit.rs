//! Convolutions with Xavier's first weights, and units of convolution, norm by choice and PReLU with a slope a channel.

use tch::Tensor;

use super::convolution::{Step, shape};
use super::mode::Mode;
use super::norm::{Norm, NormKind};
use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::weights::{Init, Layout, Parameter, Weights};

const SLOPE: f64 = 0.25;

/// A convolution with a bias, which begins at 0.
pub(in crate::networks) struct Convolution {
    stride: [i64; 3],
    padding: [i64; 3],
    up: bool,
    weight: Parameter,
    bias: Parameter,
}

impl Convolution {
    /// Makes a unit; one that stays on its grid has an odd kernel, and sees zeros beyond it.
    pub fn new(
        layout: &mut Layout,
        name: &str,
        [input, output]: [i64; 2],
        kernel: [i64; 3],
        step: Step,
    ) -> Self {
        let (stride, padding, up) = match step {
            Step::Along => ([1; 3], kernel.map(|k| k / 2), false),
            // Windows that touch, or overlap alike on both sides.
            Step::Down(stride) => (stride, std::array::from_fn(|i| (kernel[i] - stride[i] + 1) / 2), false),
            Step::Up(stride) => (stride, std::array::from_fn(|i| (kernel[i] - stride[i] + 1) / 2), true),
        };
        let sizes = if up { shape(input, output, kernel) } else { shape(output, input, kernel) };
        let voxels: i64 = kernel.iter().product();
        let bound = (6.0 / ((input + output) * voxels) as f64).sqrt();
        let weight = layout.parameter(format!("{name}.weight"), &sizes, Init::Uniform(bound));
        let bias = layout.parameter(format!("{name}.bias"), &[output], Init::Constant(0.0));
        Self { stride, padding, up, weight, bias }
    }

    pub fn forward(&self, weights: &Weights, x: &Tensor) -> Result<Tensor, NetworkError> {
        self.with(x, weights.get(self.weight), weights.get(self.bias))
    }

    /// The same with all bits of its numbers, whatever features have elsewhere.
    pub fn whole(&self, weights: &Weights, x: &Tensor) -> Result<Tensor, NetworkError> {
        self.with(x, weights.whole(self.weight), weights.whole(self.bias))
    }

    fn with(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor, NetworkError> {
        let Self { stride, padding, up, .. } = self;
        if *up {
            return x
                .f_conv_transpose3d(weight, Some(bias), stride, padding, [0; 3], 1, [1; 3])
                .doing("transposed convolution");
        }
        x.f_conv3d(weight, Some(bias), stride, padding, [1; 3], 1).doing("convolution")
    }
}

/// Convolution, norm, PReLU.
pub(in crate::networks) struct Unit {
    convolution: Convolution,
    norm: Option<Norm>,
    slope: Parameter,
}

impl Unit {
    pub fn new(
        layout: &mut Layout,
        name: &str,
        channels: [i64; 2],
        kernel: [i64; 3],
        step: Step,
        norm: NormKind,
    ) -> Self {
        let convolution = Convolution::new(layout, name, channels, kernel, step);
        let [_, output] = channels;
        let norm = Norm::new(layout, &format!("{name}.norm"), output, norm);
        let slope = layout.parameter(format!("{name}.slope"), &[output], Init::Constant(SLOPE));
        Self { convolution, norm, slope }
    }

    pub fn forward(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        self.activated(weights, &self.before(weights, x, mode)?)
    }

    /// The same with something added before the activation.
    pub fn with_sum(
        &self,
        weights: &Weights,
        x: &Tensor,
        sum: &Tensor,
        mode: Mode,
    ) -> Result<Tensor, NetworkError> {
        self.activated(weights, &self.before(weights, x, mode)?.f_add(sum)?)
    }

    fn before(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        let x = self.convolution.forward(weights, x)?;
        self.norm.as_ref().map_or_else(|| Ok(x.shallow_clone()), |norm| norm.forward(weights, &x, mode))
    }

    fn activated(&self, weights: &Weights, x: &Tensor) -> Result<Tensor, NetworkError> {
        Ok(x.f_prelu(weights.get(self.slope))?)
    }
}
