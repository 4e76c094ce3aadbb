//! Residual networks, by torchvision's names: the stride of a bottleneck stands on its 3x3 convolution.

use tch::Tensor;

use super::config::{Backbone, LEVELS, Norm};
use super::layers::{Conv, Normal, fan_out};
use crate::networks::NetworkError;
use crate::networks::blocks::mode::Mode;
use crate::networks::tensors::weights::{Init, Layout, Weights};

/// Convolution and norm.
struct Step {
    conv: Conv,
    norm: Normal,
    /// What moves the convolution's places, where it is deformable.
    moves: Option<Conv>,
}

impl Step {
    fn new(layout: &mut Layout, [conv, norm]: [&str; 2], shape: [i64; 4], kind: Norm) -> Self {
        let init = fan_out(shape[1], shape[2]);
        let conv = Conv::new(layout, conv, shape, init, None);
        Self { conv, norm: Normal::new(layout, norm, shape[1], kind), moves: None }
    }

    fn forward(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        let x = match &self.moves {
            Some(moves) => self.conv.deformed(weights, x, &moves.forward(weights, x)?)?,
            None => self.conv.forward(weights, x)?,
        };
        self.norm.forward(weights, &x, mode)
    }
}

/// Two or three convolutions around which the input goes.
struct Block {
    steps: Vec<Step>,
    across: Option<Step>,
}

impl Block {
    fn new(
        layout: &mut Layout,
        name: &str,
        backbone: Backbone,
        norm: Norm,
        deformable: bool,
        [input, width, stride]: [i64; 3],
    ) -> Self {
        let (output, shapes) = if backbone.is_bottleneck() {
            let output = width * 4;
            (output, vec![[input, width, 1, 1], [width, width, 3, stride], [width, output, 1, 1]])
        } else {
            (width, vec![[input, width, 3, stride], [width, width, 3, 1]])
        };
        let mut step = |(number, shape): (usize, [i64; 4])| {
            let number = number + 1;
            let conv = format!("{name}.conv{number}");
            let mut step = Step::new(layout, [&conv, &format!("{name}.bn{number}")], shape, norm);
            let [input, _, kernel, stride] = shape;
            if deformable && kernel > 1 {
                // The convolution's places begin unmoved.
                let (nothing, shape) = (Init::Constant(0.0), [input, 2 * kernel * kernel, kernel, stride]);
                step.moves =
                    Some(Conv::new(layout, &format!("{conv}_offset"), shape, nothing, Some(nothing)));
            }
            step
        };
        let steps = shapes.into_iter().enumerate().map(&mut step).collect();
        let across = (stride != 1 || input != output).then(|| {
            let names = [0, 1].map(|place| format!("{name}.downsample.{place}"));
            Step::new(layout, [&names[0], &names[1]], [input, output, 1, stride], norm)
        });
        Self { steps, across }
    }

    fn forward(&self, weights: &Weights, input: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        let mut x = input.shallow_clone();
        for (number, step) in self.steps.iter().enumerate() {
            x = step.forward(weights, &x, mode)?;
            if number + 1 < self.steps.len() {
                x = x.f_relu()?;
            }
        }
        let around = match &self.across {
            Some(step) => step.forward(weights, input, mode)?,
            None => input.shallow_clone(),
        };
        Ok(x.f_add(&around)?.f_relu()?)
    }
}

/// A residual network without its head.
pub(super) struct Resnet {
    stem: Step,
    stages: Vec<Vec<Block>>,
    /// Channels of each stage.
    pub channels: [i64; LEVELS],
}

impl Resnet {
    pub fn new(
        layout: &mut Layout,
        name: &str,
        backbone: Backbone,
        input: i64,
        width: i64,
        (norm, deformable): (Norm, bool),
    ) -> Self {
        let named = |part: &str| format!("{name}.{part}");
        let stem = Step::new(layout, [&named("conv1"), &named("bn1")], [input, width, 7, 2], norm);
        let wider = if backbone.is_bottleneck() { 4 } else { 1 };
        let channels = std::array::from_fn(|stage| (width << stage) * wider);
        let mut before = width;
        let mut stages = Vec::with_capacity(LEVELS);
        for (stage, count) in backbone.blocks().into_iter().enumerate() {
            let mut blocks = Vec::with_capacity(count);
            for place in 0..count {
                let stride = if place == 0 && stage > 0 { 2 } else { 1 };
                let name = named(&format!("layer{}.{place}", stage + 1));
                let deformable = deformable && stage > 0;
                let shape = [before, width << stage, stride];
                blocks.push(Block::new(layout, &name, backbone, norm, deformable, shape));
                before = channels[stage];
            }
            stages.push(blocks);
        }
        Self { stem, stages, channels }
    }

    /// The features of each stage, at a quarter to a 32nd of the input's resolution.
    pub fn forward(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Vec<Tensor>, NetworkError> {
        let stem = self.stem.forward(weights, x, mode)?.f_relu()?;
        let mut x = stem.f_max_pool2d([3; 2], [2; 2], [1; 2], [1; 2], false)?;
        let mut features = Vec::with_capacity(LEVELS);
        for stage in &self.stages {
            for block in stage {
                x = block.forward(weights, &x, mode)?;
            }
            features.push(x.shallow_clone());
        }
        Ok(features)
    }
}
