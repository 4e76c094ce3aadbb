//! What a detector is made of, as values: a row of a paper's table is a configuration, never a type of its own.

mod settings;

use serde::{Deserialize, Serialize};

pub use self::settings::RcnnSettings;
use crate::networks::NetworkError;

/// Levels of the pyramid with a module of their own: P2 to P5.
pub const LEVELS: usize = 4;

/// Residual networks by their depth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backbone {
    /// ResNet-18: 18 convolutions, in basic blocks.
    Resnet18,
    /// ResNet-34: 34 convolutions, in basic blocks.
    Resnet34,
    /// ResNet-50: 50 convolutions, in bottlenecks.
    #[default]
    Resnet50,
    /// ResNet-101: 101 convolutions, in bottlenecks.
    Resnet101,
    /// ResNet-152: 152 convolutions, in bottlenecks.
    Resnet152,
    /// VGG-16, without a pyramid: features of an eighth of the image's resolution.
    Vgg16,
}

impl Backbone {
    /// Returns the number of blocks of each stage.
    pub fn blocks(self) -> [usize; LEVELS] {
        match self {
            Self::Resnet18 => [2, 2, 2, 2],
            Self::Resnet34 | Self::Resnet50 => [3, 4, 6, 3],
            Self::Resnet101 => [3, 4, 23, 3],
            Self::Resnet152 => [3, 8, 36, 3],
            Self::Vgg16 => [0; LEVELS],
        }
    }

    /// Whether its features are one map, and no pyramid.
    pub fn is_plain(self) -> bool {
        self == Self::Vgg16
    }

    /// Whether its blocks are bottlenecks, which give four times as many channels as they compute in.
    pub fn is_bottleneck(self) -> bool {
        matches!(self, Self::Resnet50 | Self::Resnet101 | Self::Resnet152)
    }
}

/// What tells the classes and boxes of regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// Layers of numbers over a region's features.
    #[default]
    Fc,
    /// Maps of which each channel is for one place of a region (R-FCN).
    Rfcn,
    /// The same maps of all images of a bag, and a layer of numbers (3DCE).
    Context,
}

impl HeadKind {
    fn is_fc(&self) -> bool {
        *self == Self::Fc
    }
}

/// What stands behind the backbone's convolutions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Batch norm whose numbers are all fixed: for weights of somebody else's.
    Frozen,
    /// Batch norm.
    Batch,
    /// Group norm: an image's features depend on no other image.
    #[default]
    Group,
}

/// The place where a network attends to the rest of the volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// On the pyramid: proposals and heads see what came of it.
    #[default]
    Rpn,
    /// On the features of each region, before the head.
    Rcnn,
}

/// How large the logits of spatial attention are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Divided by the number of pixels.
    #[default]
    Area,
    /// The logits as the paper writes them: sums over all pixels, by which one slice soon takes all the
    /// weight.
    Literal,
}

/// Volumetric attention (Wang et al. 2019).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumetricAttention {
    /// The place where the network attends.
    pub at: At,
    /// Whether channels are weighed.
    pub channel: bool,
    /// Whether pixels are weighed.
    pub spatial: bool,
    /// The logits of the spatial part.
    pub scale: Scale,
    /// The factor by which the channel part's hidden layer is narrower than the pyramid.
    pub reduction: i64,
}

/// The size in which images are shown to a network: as large as leaves the shorter side `shorter` pixels long at most,
/// and the longer one `longer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageScale {
    /// The most pixels of the shorter side.
    pub shorter: i64,
    /// The most pixels of the longer side.
    pub longer: i64,
}

impl ImageScale {
    /// The size of an image `[H, W]` as it is shown, by torchvision's arithmetic.
    pub fn shown(self, [height, width]: [i64; 2]) -> [i64; 2] {
        let least = self.shorter as f32 / height.min(width).max(1) as f32;
        let most = self.longer as f32 / height.max(width).max(1) as f32;
        let factor = f64::from(least.min(most));
        [height, width].map(|length| ((length as f64 * factor).floor() as i64).max(1))
    }
}

/// A detector, complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RcnnConfig {
    /// Slices of one image: its channels.
    pub slices: i64,
    /// Images of a bag, the one to look at in the middle; 1 without a bag.
    pub stacks: i64,
    /// Classes that come out, background included.
    pub classes: i64,
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
    /// The sizes of anchors, in pixels: one for each of P2 to P6.
    pub anchors: [f64; LEVELS + 1],
    /// Anchors of an image that a step takes its losses of.
    pub anchor_samples: usize,
    /// Regions of an image that a step takes its losses of.
    pub region_samples: usize,
    /// Proposals of an image in training and afterwards, of each level and in all.
    pub proposals: [usize; 2],
    /// The share of the smooth L1 loss of the head that is a parabola.
    pub beta: f64,
    /// Attention to the rest of the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<VolumetricAttention>,
    /// The size in which images are shown; as they come without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<ImageScale>,
    /// Channels of the head that gives each thing a mask; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_channels: Option<i64>,
    /// What tells the classes and boxes of regions.
    #[serde(default, skip_serializing_if = "HeadKind::is_fc")]
    pub head: HeadKind,
    /// Whether the 3x3 convolutions of all but the first stage are deformable.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deformable: bool,
}

impl RcnnConfig {
    /// Refuses what no network can be built from.
    ///
    /// # Errors
    /// [`NetworkError::Config`] that names the field.
    pub fn check(&self) -> Result<(), NetworkError> {
        let refuse =
            |field: &str, message: String| Err(NetworkError::Config { field: field.to_owned(), message });
        for (field, found, most) in [
            ("slices", self.slices, 255),
            ("stacks", self.stacks, 255),
            ("width", self.width, 1024),
            ("pyramid", self.pyramid, 4096),
            ("hidden", self.hidden, 1 << 16),
        ] {
            if !(1..=most).contains(&found) {
                return refuse(field, format!("1 to {most} expected, {found} found"));
            }
        }
        if let Some(found) = self.mask_channels.filter(|found| !(1..=4096).contains(found)) {
            return refuse("mask_channels", format!("1 to 4096 expected, {found} found"));
        }
        if !(2..=256).contains(&self.classes) {
            return refuse("classes", format!("2 to 256 expected, {} found", self.classes));
        }
        if !self.anchors.iter().all(|size| (1.0..=4096.0).contains(size)) {
            return refuse("anchors", format!("sizes from 1 to 4096 expected, {:?} found", self.anchors));
        }
        if self.stacks % 2 == 0 {
            return refuse("stacks", format!("an odd number expected, {} found", self.stacks));
        }
        let counts = [self.anchor_samples, self.region_samples, self.proposals[0], self.proposals[1]];
        if counts.contains(&0) {
            return refuse("proposals", format!("at least 1 of each expected, {counts:?} found"));
        }
        if let Some(ImageScale { shorter, longer }) = self.scale
            && !(1..=8192).contains(&shorter.min(longer))
        {
            return refuse("scale", format!("lengths from 1 to 8192 expected, {shorter} and {longer} found"));
        }
        if !(self.beta > 0.0 && self.beta.is_finite()) {
            return refuse("beta", format!("a positive number expected, {} found", self.beta));
        }
        if let Some((field, message)) = self.apart() {
            return refuse(field, message.to_owned());
        }
        match self.attention {
            Some(VolumetricAttention { channel: false, spatial: false, .. }) => {
                refuse("attention", "`channel`, `spatial` or both expected, neither found".to_owned())
            }
            Some(VolumetricAttention { reduction, .. }) if !(1..=4096).contains(&reduction) => {
                refuse("attention.reduction", format!("1 to 4096 expected, {reduction} found"))
            }
            _ => Ok(()),
        }
    }
}

impl RcnnConfig {
    /// Returns a field that does not go together with others, and why.
    fn apart(&self) -> Option<(&'static str, &'static str)> {
        let plain = self.backbone.is_plain();
        match () {
            () if plain && self.attention.is_some() => {
                Some(("attention", "`vgg16` has no pyramid to attend on: a residual network expected"))
            }
            () if plain && self.mask_channels.is_some() => {
                Some(("masks", "`vgg16` has no pyramid to read masks from: a residual network expected"))
            }
            () if plain && self.deformable => {
                Some(("deformable", "`vgg16` is never deformable: a residual network expected"))
            }
            () if !plain && self.head != HeadKind::Fc => {
                Some(("head", "`rfcn` and `context` read one map: `backbone = \"vgg16\"` expected"))
            }
            () => None,
        }
    }
}
