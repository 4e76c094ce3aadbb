//! VGG-16 without its last two pools and its head: thirteen convolutions, by torchvision's names.

use tch::Tensor;

use super::layers::{Conv, fan_out};
use crate::networks::NetworkError;
use crate::networks::tensors::weights::{Init, Layout, Weights};

/// The convolutions: the place of each in torchvision's list, the factor by which its channels exceed the
/// width, and whether a pool follows.
const LAYERS: [(usize, i64, bool); 13] = [
    (0, 1, false),
    (2, 1, true),
    (5, 2, false),
    (7, 2, true),
    (10, 4, false),
    (12, 4, false),
    (14, 4, true),
    (17, 8, false),
    (19, 8, false),
    (21, 8, false),
    (24, 8, false),
    (26, 8, false),
    (28, 8, false),
];

/// VGG-16, whose features have an eighth of the image's resolution.
pub(super) struct Vgg {
    convolutions: Vec<(Conv, bool)>,
    /// Channels of its features.
    pub channels: i64,
}

impl Vgg {
    pub fn new(layout: &mut Layout, name: &str, input: i64, width: i64) -> Self {
        let (mut before, mut convolutions) = (input, Vec::with_capacity(LAYERS.len()));
        for (place, wider, pools) in LAYERS {
            let output = width * wider;
            let name = format!("{name}.features.{place}");
            let bias = Some(Init::Constant(0.0));
            let conv = Conv::new(layout, &name, [before, output, 3, 1], fan_out(output, 3), bias);
            convolutions.push((conv, pools));
            before = output;
        }
        Self { convolutions, channels: before }
    }

    /// The features of images.
    pub fn forward(&self, weights: &Weights, x: &Tensor) -> Result<Tensor, NetworkError> {
        let mut x = x.shallow_clone();
        for (conv, pools) in &self.convolutions {
            x = conv.forward(weights, &x)?.f_relu()?;
            if *pools {
                x = x.f_max_pool2d([2; 2], [2; 2], [0; 2], [1; 2], false)?;
            }
        }
        Ok(x)
    }
}
