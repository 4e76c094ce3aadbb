//! What reads a pyramid: the network that proposes regions, and the head that names them.

use tch::Tensor;

use super::layers::{Conv, Linear};
use crate::networks::NetworkError;
use crate::networks::tensors::weights::{Init, Layout, Weights};

/// Places of a region along each axis, as the head sees it.
pub(super) const BINS: usize = 7;

/// The standard deviation of first weights.
const SMALL: f64 = 0.01;

/// Proposes regions: for each anchor of each place whether there is a thing, and where.
pub(super) struct Proposer {
    at_a_place: i64,
    conv: Conv,
    objectness: Conv,
    offsets: Conv,
}

/// What the proposer says of all anchors of images.
pub(super) struct Proposed {
    /// The logits that an anchor holds a thing, `[N, anchors]`, level after level.
    pub objectness: Tensor,
    /// The offsets of boxes from their anchors, `[N, anchors, 4]`.
    pub offsets: Tensor,
    /// The size `[H, W]` of each level.
    pub levels: Vec<[i64; 2]>,
}

impl Proposer {
    /// Makes a proposer on features of so many channels, with so many of its own, for so many anchors at a
    /// place.
    pub fn new(layout: &mut Layout, name: &str, [input, width, at_a_place]: [i64; 3]) -> Self {
        let (init, bias) = (Init::Normal(SMALL), Some(Init::Constant(0.0)));
        let mut conv = |part: &str, shape| Conv::new(layout, &format!("{name}.{part}"), shape, init, bias);
        Self {
            at_a_place,
            conv: conv("conv.0.0", [input, width, 3, 1]),
            objectness: conv("cls_logits", [width, at_a_place, 1, 1]),
            offsets: conv("bbox_pred", [width, at_a_place * 4, 1, 1]),
        }
    }

    pub fn forward(&self, weights: &Weights, levels: &[Tensor]) -> Result<Proposed, NetworkError> {
        let (mut objectness, mut offsets, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        for level in levels {
            let hidden = self.conv.forward(weights, level)?.f_relu()?;
            let size = level.size();
            let (images, rows, columns) = (size[0], size[2], size[3]);
            let logits = self.objectness.forward(weights, &hidden)?;
            objectness.push(logits.f_permute([0, 2, 3, 1])?.f_reshape([images, -1])?);
            let codes = self.offsets.forward(weights, &hidden)?;
            let codes =
                codes.f_view([images, self.at_a_place, 4, rows, columns])?.f_permute([0, 3, 4, 1, 2])?;
            offsets.push(codes.f_reshape([images, -1, 4])?);
            sizes.push([rows, columns]);
        }
        let (objectness, offsets) = (Tensor::f_cat(&objectness, 1)?, Tensor::f_cat(&offsets, 1)?);
        Ok(Proposed { objectness, offsets, levels: sizes })
    }
}

/// Names regions, and mends their boxes for each class.
pub(super) struct Head {
    layers: [Linear; 2],
    classes: Linear,
    offsets: Linear,
}

/// What the head says of regions.
pub(super) struct Named {
    /// The logits of classes, `[R, classes]`.
    pub classes: Tensor,
    /// The offsets of boxes from their regions, `[R, classes * 4]`.
    pub offsets: Tensor,
}

impl Head {
    pub fn new(layout: &mut Layout, name: &str, [width, hidden, classes]: [i64; 3]) -> Self {
        let bins = (BINS * BINS) as i64;
        let named = |part: &str| format!("{name}.{part}");
        let layers = [
            Linear::new(layout, &named("box_head.fc6"), [width * bins, hidden]),
            Linear::new(layout, &named("box_head.fc7"), [hidden, hidden]),
        ];
        let classes_of = Linear::new(layout, &named("box_predictor.cls_score"), [hidden, classes]);
        let offsets = Linear::new(layout, &named("box_predictor.bbox_pred"), [hidden, classes * 4]);
        Self { layers, classes: classes_of, offsets }
    }

    /// Computes what the head says of regions `[R, C, 7, 7]`.
    pub fn forward(&self, weights: &Weights, regions: &Tensor) -> Result<Named, NetworkError> {
        let mut x = regions.f_flatten(1, -1)?;
        for layer in &self.layers {
            x = layer.forward(weights, &x)?.f_relu()?;
        }
        Ok(Named { classes: self.classes.forward(weights, &x)?, offsets: self.offsets.forward(weights, &x)? })
    }
}
