//! What levels are made of: convolutions, with norm, dropout and activation or bare, and blocks of them.

use tch::{Kind, Tensor};

use super::dropout::Dropout;
use super::mode::Mode;
use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::scalar::plus;
use crate::networks::tensors::weights::{Buffer, Init, Layout, Parameter, Weights};

const EPSILON: f64 = 1e-5;
const PRELU_SLOPE: f64 = 0.25;

/// What parts are made with: the tensors asked for so far, and what all parts of a network have in common.
pub(in crate::networks) struct Parts {
    pub layout: Layout,
    /// Whether convolutions before a norm have a bias, which the norm takes away again.
    pub bias: bool,
    /// Whether a block's input is added to what it gives.
    pub residual: bool,
    /// The share of features that a training step leaves out after each norm.
    pub dropout: f64,
}

impl Parts {
    pub fn parameter(&mut self, name: &str, shape: &[i64], init: Init) -> Parameter {
        self.layout.parameter(name.to_owned(), shape, init)
    }
}

/// The grid that a convolution goes to.
#[derive(Clone, Copy)]
pub(in crate::networks) enum Step {
    /// It stays on its grid.
    Along,
    /// It goes to a grid that is this much coarser.
    Down([i64; 3]),
    /// It goes to a grid that is this much finer.
    Up([i64; 3]),
}

/// Convolution, batch norm, dropout, PReLU.
pub(in crate::networks) struct ConvNorm {
    step: Step,
    padding: [i64; 3],
    weight: Parameter,
    bias: Option<Parameter>,
    scale: Parameter,
    shift: Parameter,
    slope: Parameter,
    mean: Buffer,
    variance: Buffer,
    dropout: Option<Dropout>,
}

impl ConvNorm {
    pub fn new(parts: &mut Parts, name: &str, input: i64, output: i64, kernel: [i64; 3], step: Step) -> Self {
        // A transposed convolution's weights stand the other way round, and PyTorch counts its fan so.
        let (init, weight_shape) = match step {
            Step::Up(_) => (fan(output, kernel), shape(input, output, kernel)),
            Step::Along | Step::Down(_) => (fan(input, kernel), shape(output, input, kernel)),
        };
        let channels = [output];
        let weight = parts.parameter(&format!("{name}.weight"), &weight_shape, init);
        let bias = parts.bias.then(|| parts.parameter(&format!("{name}.bias"), &channels, init));
        let mut constant = |part: &str, shape: &[i64], value| {
            parts.parameter(&format!("{name}.{part}"), shape, Init::Constant(value))
        };
        let scale = constant("norm.weight", &channels, 1.0);
        let shift = constant("norm.bias", &channels, 0.0);
        let slope = constant("slope", &[1], PRELU_SLOPE);
        let mean = parts.layout.buffer(format!("{name}.norm.mean"), &channels, Init::Constant(0.0));
        let variance = parts.layout.buffer(format!("{name}.norm.variance"), &channels, Init::Constant(1.0));
        let dropout = Dropout::new(parts.dropout, name);
        Self { step, padding: same(kernel), weight, bias, scale, shift, slope, mean, variance, dropout }
    }

    pub fn forward(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        if mode == Mode::Folded {
            let x = self.convolve(weights, x, Some(self.shift))?;
            return activate(x, weights.get(self.slope));
        }
        let x = self.convolve(weights, x, self.bias)?;
        // The variance of one number a channel is not defined: the running statistics would turn to NaN.
        let numbers: i64 = x.size().iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, n)| n).product();
        let (training, momentum) = match mode {
            Mode::Train { momentum, .. } => (numbers > 1 && !weights.is_frozen(self.mean), momentum),
            Mode::Infer | Mode::Folded => (false, 0.0),
        };
        let mut normal = x.f_batch_norm(
            Some(weights.whole(self.scale)),
            Some(weights.whole(self.shift)),
            Some(weights.buffer(self.mean)),
            Some(weights.buffer(self.variance)),
            training,
            momentum,
            EPSILON,
            true,
        )?;
        if let (Some(dropout), Mode::Train { draw, .. }) = (&self.dropout, mode) {
            normal = dropout.forward(&normal, draw)?;
        }
        Ok(normal.f_prelu(weights.get(self.slope))?)
    }

    /// Puts the norm into the convolution: its weights, and in place of the norm's shift a bias.
    pub fn fold(&self, weights: &Weights, values: &mut [Tensor]) -> Result<(), NetworkError> {
        let wide = |x: &Tensor| x.f_to_kind(Kind::Double);
        let spread = plus(&wide(weights.buffer(self.variance))?, EPSILON)?.f_sqrt()?;
        let factor = wide(weights.get(self.scale))?.f_div(&spread)?;
        let mut mean = wide(weights.buffer(self.mean))?;
        if let Some(bias) = self.bias {
            mean = mean.f_sub(&wide(weights.get(bias))?)?;
        }
        let shift = wide(weights.get(self.shift))?.f_sub(&mean.f_mul(&factor)?)?;
        let channels = match self.step {
            Step::Up(_) => [1, -1, 1, 1, 1],
            Step::Along | Step::Down(_) => [-1, 1, 1, 1, 1],
        };
        let weight = wide(weights.get(self.weight))?.f_mul(&factor.f_view(channels)?)?;
        for (parameter, folded) in [(self.weight, weight), (self.shift, shift)] {
            if let Some(value) = values.get_mut(parameter.place()) {
                *value = folded;
            }
        }
        Ok(())
    }

    fn convolve(
        &self,
        weights: &Weights,
        x: &Tensor,
        bias: Option<Parameter>,
    ) -> Result<Tensor, NetworkError> {
        let weight = weights.get(self.weight);
        let bias = bias.map(|bias| weights.get(bias));
        match self.step {
            Step::Along => conv(x, weight, bias, [1; 3], self.padding),
            Step::Down(stride) => conv(x, weight, bias, stride, self.padding),
            Step::Up(stride) => x
                // With an odd kernel, this much more padding at the far end gives n * stride voxels for n.
                .f_conv_transpose3d(weight, bias, stride, self.padding, stride.map(|s| s - 1), 1, [1; 3])
                .doing("transposed convolution"),
        }
    }
}

/// PReLU of features that nobody else has, without a gradient.
///
/// On the CPU it is done in place: fresh memory for as many features takes longer than the function itself. What does so
/// in libtorch with a slope of one's own is the gradient of the leaky ReLU, of which the features are both operands:
/// `x * 1` above zero, `x * slope` below. On a GPU the slope stays there.
fn activate(x: Tensor, slope: &Tensor) -> Result<Tensor, NetworkError> {
    if x.device().is_cuda() {
        return Ok(x.f_prelu(slope)?);
    }
    let slope = slope.f_double_value(&[0])?;
    Ok(x.f_leaky_relu_backward_grad_input(&x, &x, slope, false)?)
}

/// A convolution with a bias and nothing after it.
pub(in crate::networks) struct Conv {
    padding: [i64; 3],
    weight: Parameter,
    bias: Parameter,
}

impl Conv {
    pub fn new(parts: &mut Parts, name: &str, input: i64, output: i64, kernel: [i64; 3]) -> Self {
        let init = fan(input, kernel);
        let weight = parts.parameter(&format!("{name}.weight"), &shape(output, input, kernel), init);
        let bias = parts.parameter(&format!("{name}.bias"), &[output], init);
        Self { padding: same(kernel), weight, bias }
    }

    pub fn forward(&self, weights: &Weights, x: &Tensor) -> Result<Tensor, NetworkError> {
        conv(x, weights.get(self.weight), Some(weights.get(self.bias)), [1; 3], self.padding)
    }
}

enum Second {
    Normed(ConvNorm),
    Bare(Conv),
}

enum Shortcut {
    None,
    Itself,
    Across(Conv),
}

/// A level: two of convolution, norm and activation; where blocks are residual its input is added, through a
/// 1x1x1 convolution where the width changes.
pub(in crate::networks) struct Block {
    first: ConvNorm,
    second: Second,
    shortcut: Shortcut,
}

impl Block {
    pub fn new(parts: &mut Parts, name: &str, input: i64, output: i64, kernel: [i64; 3]) -> Self {
        let first = ConvNorm::new(parts, &format!("{name}.first"), input, output, kernel, Step::Along);
        let second = ConvNorm::new(parts, &format!("{name}.second"), output, output, kernel, Step::Along);
        let shortcut = shortcut(parts, name, input, output);
        Self { first, second: Second::Normed(second), shortcut }
    }

    /// A last block, which gives the logits itself: its second convolution stands alone.
    pub fn last(parts: &mut Parts, name: &str, input: i64, classes: i64, kernel: [i64; 3]) -> Self {
        let first = ConvNorm::new(parts, &format!("{name}.first"), input, classes, kernel, Step::Along);
        let second = Conv::new(parts, &format!("{name}.second"), classes, classes, kernel);
        let shortcut = shortcut(parts, name, input, classes);
        Self { first, second: Second::Bare(second), shortcut }
    }

    pub fn norms(&self) -> impl Iterator<Item = &ConvNorm> {
        let second = match &self.second {
            Second::Normed(second) => Some(second),
            Second::Bare(_) => None,
        };
        std::iter::once(&self.first).chain(second)
    }

    pub fn forward(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        let first = self.first.forward(weights, x, mode)?;
        let both = match &self.second {
            Second::Normed(second) => second.forward(weights, &first, mode)?,
            Second::Bare(second) => second.forward(weights, &first)?,
        };
        match &self.shortcut {
            Shortcut::None => Ok(both),
            Shortcut::Itself => Ok(both.f_add(x)?),
            Shortcut::Across(conv) => Ok(both.f_add(&conv.forward(weights, x)?)?),
        }
    }
}

fn shortcut(parts: &mut Parts, name: &str, input: i64, output: i64) -> Shortcut {
    match parts.residual {
        false => Shortcut::None,
        true if input == output => Shortcut::Itself,
        true => Shortcut::Across(Conv::new(parts, &format!("{name}.shortcut"), input, output, [1; 3])),
    }
}

fn conv(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: [i64; 3],
    padding: [i64; 3],
) -> Result<Tensor, NetworkError> {
    x.f_conv3d(weight, bias, stride, padding, [1; 3], 1).doing("convolution")
}

/// The padding that keeps a grid under an odd kernel.
fn same(kernel: [i64; 3]) -> [i64; 3] {
    kernel.map(|k| k / 2)
}

pub(in crate::networks) fn shape(output: i64, input: i64, [d, h, w]: [i64; 3]) -> [i64; 5] {
    [output, input, d, h, w]
}

/// PyTorch's default: uniform within 1 / sqrt(inputs of one output).
pub(in crate::networks) fn fan(input: i64, kernel: [i64; 3]) -> Init {
    Init::Uniform(1.0 / ((input * kernel.iter().product::<i64>()) as f64).sqrt())
}
