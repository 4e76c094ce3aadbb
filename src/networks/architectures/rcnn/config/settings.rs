//! A detector as a pipeline declares it.

use serde::{Deserialize, Serialize};

use super::{Backbone, HeadKind, ImageScale, LEVELS, Norm, RcnnConfig, VolumetricAttention};
use crate::networks::{InputView, NetworkError};

/// A detector as a pipeline declares it: what comes in and out follows from the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RcnnSettings {
    /// The backbone.
    pub backbone: Backbone,
    /// The channels of the backbone's first stage.
    pub width: i64,
    /// The norm behind the backbone's convolutions.
    pub norm: Norm,
    /// The channels of the pyramid.
    pub pyramid: i64,
    /// Numbers of the head's two layers.
    pub hidden: i64,
    /// The sizes of anchors, in pixels.
    pub anchors: [f64; LEVELS + 1],
    /// Anchors of an image that a step takes its losses of.
    pub anchor_samples: usize,
    /// Regions of an image that a step takes its losses of.
    pub region_samples: usize,
    /// Proposals of an image in training and afterwards.
    pub proposals: [usize; 2],
    /// The beta of the head's smooth L1 loss.
    pub beta: f64,
    /// Attention to the rest of the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<VolumetricAttention>,
    /// The size in which images are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<ImageScale>,
    /// Whether each thing is given a mask beside its box.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "std::ops::Not::not")]
    pub masks: bool,
    /// Channels of the head for masks; 256 when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_channels: Option<i64>,
    /// What tells the classes and boxes of regions.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "HeadKind::is_fc")]
    pub head: HeadKind,
    /// Whether the 3x3 convolutions of all but the first stage are deformable.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "std::ops::Not::not")]
    pub deformable: bool,
}

/// A field that a pipeline leaves out comes as nothing.
fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// Channels of the head for masks (He et al. 2017).
const MASK_CHANNELS: i64 = 256;

impl Default for RcnnSettings {
    fn default() -> Self {
        Self {
            backbone: Backbone::Resnet50,
            width: 64,
            norm: Norm::Group,
            pyramid: 256,
            hidden: 1024,
            anchors: [32.0, 64.0, 128.0, 256.0, 512.0],
            anchor_samples: 256,
            region_samples: 512,
            proposals: [2000, 1000],
            beta: 1.0 / 9.0,
            attention: None,
            scale: None,
            masks: false,
            mask_channels: None,
            head: HeadKind::Fc,
            deformable: false,
        }
    }
}

impl RcnnSettings {
    /// The network for a view and classes out.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for a view that shows no slices, and for fields that do not go together.
    pub fn resolve(&self, view: &InputView, classes: usize) -> Result<RcnnConfig, NetworkError> {
        let (stacks, slices) = match *view {
            InputView::Stack { slices, .. } => (1, slices),
            InputView::Bag { stacks, slices, .. } => (stacks, slices),
            InputView::Patch { .. } => {
                let message = "`rcnn` looks at slices: samples of `stack` or `bag` expected, patches found";
                return Err(NetworkError::Config {
                    field: "network".to_owned(),
                    message: message.to_owned(),
                });
            }
        };
        let Self { backbone, width, norm, pyramid, hidden, anchors, .. } = *self;
        let Self {
            anchor_samples,
            region_samples,
            proposals,
            beta,
            attention,
            scale,
            masks,
            mask_channels,
            head,
            deformable,
            ..
        } = *self;
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let config = RcnnConfig {
            slices: whole(slices),
            stacks: whole(stacks),
            classes: whole(classes),
            backbone,
            width,
            norm,
            pyramid,
            hidden,
            anchors,
            anchor_samples,
            region_samples,
            proposals,
            beta,
            attention,
            scale,
            mask_channels: masks.then_some(mask_channels.unwrap_or(MASK_CHANNELS)),
            head,
            deformable,
        };
        if mask_channels.is_some() && !masks {
            let message = "`masks = true` expected beside it, no masks asked for";
            return Err(NetworkError::Config {
                field: "mask_channels".to_owned(),
                message: message.to_owned(),
            });
        }
        config.check()?;
        if config.attention.is_some() && config.stacks == 1 && matches!(view, InputView::Stack { .. }) {
            let message = "attention to the rest of the volume needs a bag of stacks, single stacks found";
            return Err(NetworkError::Config { field: "attention".to_owned(), message: message.to_owned() });
        }
        Ok(config)
    }
}
