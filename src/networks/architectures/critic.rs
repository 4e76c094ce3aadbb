//! Critics: networks that tell outlines from what a segmentation makes of a scan (Nie et al., MICCAI 2018). They are
//! trained beside a segmentation, and written into no model.

use tch::Tensor;

use super::unet::{crop, pad_to, spatial};
use crate::networks::NetworkError;
use crate::networks::blocks::convolution::Step;
use crate::networks::blocks::mode::Mode;
use crate::networks::blocks::norm::Norm;
use crate::networks::blocks::unit::Convolution;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::weights::{Init, Layout, Parameter, Weights};

/// The slope of a leaky ReLU below zero.
const LEAK: f64 = 0.2;
/// What the first layer behind the convolutions has, of a critic whose first convolution has 32 channels.
const HIDDEN: i64 = 32;

/// A critic without its numbers. Its features have 32 bits whatever the segmentation's have.
///
/// | critic | `width` | classes | window | parameters |
/// | --- | --- | --- | --- | --- |
/// | fully convolutional | 32 | 4 | any | 5509665, 5509217 without norms |
/// | convolutional | 32 | 4 | 16x64x64 | 3845185 |
///
/// # Source
/// Nie et al., MICCAI 2018. The released code of the first (ginobilinie/asdnet) pads by two and drops the last voxel,
/// which shifts maps by one, and leaves its deepest level without an effect; here maps lie where the input lies, and the
/// deepest level takes part.
pub(in crate::networks) enum Critic {
    /// A critic that gives one logit a voxel.
    Voxels(Fcn),
    /// A critic that gives one logit a sample.
    Samples(Cnn),
}

impl Critic {
    /// Makes a critic of so many classes that says something of each voxel.
    pub fn of_voxels(classes: i64, width: i64) -> Self {
        Self::Voxels(Fcn::new(classes, width))
    }

    /// Makes a critic of so many classes, for windows `[D, H, W]` of one size, that says something of each
    /// sample.
    pub fn of_samples(classes: i64, width: i64, window: [i64; 3]) -> Self {
        Self::Samples(Cnn::new(classes, width, window))
    }

    pub fn layout(&self) -> &Layout {
        match self {
            Self::Voxels(fcn) => &fcn.layout,
            Self::Samples(cnn) => &cnn.layout,
        }
    }

    /// Logits of probabilities `[N, C, D, H, W]`: `[N, 1, D, H, W]`, or `[N, 1]`. Positive ones say "an outline".
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for another number of axes or classes, or another window.
    pub fn forward(&self, weights: &Weights, probabilities: &Tensor) -> Result<Tensor, NetworkError> {
        match self {
            Self::Voxels(fcn) => fcn.forward(weights, probabilities),
            Self::Samples(cnn) => cnn.forward(weights, probabilities),
        }
    }
}

/// Three levels down and up again, what comes up added to what went down.
pub(in crate::networks) struct Fcn {
    layout: Layout,
    classes: i64,
    down: Vec<Convolution>,
    up: Vec<(Convolution, Norm)>,
    head: Convolution,
}

impl Fcn {
    fn new(classes: i64, width: i64) -> Self {
        let mut layout = Layout::default();
        let mut down = vec![Convolution::new(&mut layout, "down.0", [classes, width], [3; 3], Step::Along)];
        let channels = [width, 2 * width, 4 * width, 8 * width];
        for (index, pair) in channels.windows(2).enumerate() {
            let (name, halved) = (format!("down.{}", index + 1), Step::Down([2; 3]));
            down.push(Convolution::new(&mut layout, &name, [pair[0], pair[1]], [4; 3], halved));
        }
        let mut up = Vec::new();
        for (index, pair) in channels.windows(2).enumerate().rev() {
            let (name, doubled) = (format!("up.{index}"), Step::Up([2; 3]));
            let convolution = Convolution::new(&mut layout, &name, [pair[1], pair[0]], [4; 3], doubled);
            up.push((convolution, Norm::of_this_batch(&mut layout, &format!("{name}.norm"), pair[0])));
        }
        let head = Convolution::new(&mut layout, "head", [width, 1], [1; 3], Step::Along);
        Self { layout, classes, down, up, head }
    }

    fn forward(&self, weights: &Weights, probabilities: &Tensor) -> Result<Tensor, NetworkError> {
        let size = spatial(probabilities, self.classes)?;
        let mut x = pad_to(probabilities, [8; 3])?;
        let mut skips = Vec::with_capacity(self.down.len());
        for convolution in &self.down {
            x = leaky(&convolution.whole(weights, &x)?)?;
            skips.push(x.shallow_clone());
        }
        skips.pop();
        // A norm of this batch sees it in training as at any other time.
        let mode = Mode::Infer;
        for ((convolution, norm), skip) in self.up.iter().zip(skips.iter().rev()) {
            let come = norm.forward(weights, &convolution.whole(weights, &x)?, mode)?.f_relu()?;
            x = come.f_add(skip)?.f_relu()?;
        }
        crop(self.head.whole(weights, &x)?, size)
    }
}

/// Returns `x` above zero, a fifth of it below: both keep their gradient.
fn leaky(x: &Tensor) -> Result<Tensor, NetworkError> {
    let slope = Tensor::f_from_slice(&[LEAK])?.f_to_kind(x.kind())?.f_to_device(x.device())?;
    x.f_prelu(&slope).doing("critic")
}

/// Eight convolutions, and two layers of what they come to.
pub(in crate::networks) struct Cnn {
    layout: Layout,
    classes: i64,
    window: [i64; 3],
    convolutions: Vec<Convolution>,
    dense: [(Parameter, Parameter); 2],
}

impl Cnn {
    fn new(classes: i64, width: i64, window: [i64; 3]) -> Self {
        let mut layout = Layout::default();
        let widths = [1, 1, 2, 2, 4, 4, 4, 4].map(|times| times * width);
        let (mut input, mut map, mut convolutions) = (classes, window, Vec::new());
        for (index, output) in widths.into_iter().enumerate() {
            // Every second one halves its grid; an odd kernel lies about each second voxel.
            let step = if index % 2 == 1 { Step::Down([2; 3]) } else { Step::Along };
            let name = format!("convolution.{index}");
            convolutions.push(Convolution::new(&mut layout, &name, [input, output], [3; 3], step));
            if index % 2 == 1 {
                map = map.map(|length| (length - 1) / 2 + 1);
            }
            input = output;
        }
        let flat = input * map.iter().product::<i64>();
        let mut dense = |name: &str, input: i64, output: i64| {
            let bound = (6.0 / (input + output) as f64).sqrt();
            let weight = layout.parameter(format!("{name}.weight"), &[output, input], Init::Uniform(bound));
            (weight, layout.parameter(format!("{name}.bias"), &[output], Init::Constant(0.0)))
        };
        let hidden = HIDDEN * width;
        let dense = [dense("dense.0", flat, hidden), dense("dense.1", hidden, 1)];
        Self { layout, classes, window, convolutions, dense }
    }

    fn forward(&self, weights: &Weights, probabilities: &Tensor) -> Result<Tensor, NetworkError> {
        let size = spatial(probabilities, self.classes)?;
        if size != self.window {
            return Err(NetworkError::Shape {
                what: "a window for the critic".to_owned(),
                expected: format!("{:?}", self.window),
                found: format!("{size:?}"),
            });
        }
        let mut x = probabilities.shallow_clone();
        for convolution in &self.convolutions {
            x = convolution.whole(weights, &x)?.f_elu()?;
        }
        let layer = |x: &Tensor, (weight, bias): (Parameter, Parameter)| {
            x.f_linear(weights.whole(weight), Some(weights.whole(bias))).doing("critic")
        };
        let [hidden, last] = self.dense;
        layer(&layer(&x.f_flatten(1, -1)?, hidden)?.f_elu()?, last)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::networks::{Device, set_threads};

    #[test]
    fn as_many_parameters_as_published() {
        assert_eq!(Critic::of_voxels(4, 32).layout().parameter_count(), 5_509_665);
        assert_eq!(Critic::of_samples(4, 32, [16, 64, 64]).layout().parameter_count(), 3_845_185);
        let critic = Critic::of_voxels(4, 32);
        let weights = Weights::seeded(critic.layout(), 1, Kind::Float, Device::CPU).unwrap();
        let norms: usize =
            weights.named().filter(|(name, _)| name.contains("norm")).map(|(_, tensor)| tensor.numel()).sum();
        assert_eq!(norms, 448);
    }

    #[test]
    fn each_voxel_or_each_sample_has_a_logit() {
        set_threads(1);
        for size in [[1, 1, 1], [1, 9, 6], [8, 12, 16]] {
            let [d, h, w] = size;
            let x = Tensor::ones([2, 3, d, h, w], (Kind::Float, tch::Device::Cpu)) / 3.0;
            for (critic, shape) in
                [(Critic::of_voxels(3, 2), vec![2, 1, d, h, w]), (Critic::of_samples(3, 2, size), vec![2, 1])]
            {
                let weights = Weights::seeded(critic.layout(), 1, Kind::Float, Device::CPU).unwrap();
                let logits = critic.forward(&weights, &x).unwrap();
                assert_eq!(logits.size(), shape);
                assert!(bool::try_from(logits.isfinite().all()).unwrap());
            }
        }
        let critic = Critic::of_samples(3, 2, [8, 8, 8]);
        let weights = Weights::seeded(critic.layout(), 1, Kind::Float, Device::CPU).unwrap();
        let other = Tensor::ones([2, 3, 8, 8, 9], (Kind::Float, tch::Device::Cpu));
        assert!(matches!(critic.forward(&weights, &other), Err(NetworkError::Shape { .. })));
    }

    /// What the released code gets wrong: the deepest level must have a say.
    #[test]
    fn every_layer_has_a_gradient() {
        set_threads(1);
        let critic = Critic::of_voxels(2, 2);
        let weights = Weights::seeded(critic.layout(), 3, Kind::Float, Device::CPU).unwrap();
        let x = Tensor::from_slice(&(0..1024).map(|i| (i % 7) as f32 / 7.0).collect::<Vec<_>>());
        let logits = critic.forward(&weights, &x.view([1, 2, 8, 8, 8])).unwrap();
        let values = weights.values();
        let loss = (&logits * &logits).sum(Kind::Float);
        for (gradient, (name, _)) in
            Tensor::f_run_backward(&[&loss], &values, false, false).unwrap().iter().zip(weights.named())
        {
            // A norm takes the bias before it away.
            let away = name.starts_with("up") && name.ends_with("bias") && !name.contains("norm");
            assert!(away || f64::try_from(gradient.abs().max()).unwrap() > 0.0, "{name}");
        }
    }
}
