//! Heads that read maps in which each channel is for one place of a region: R-FCN (Dai et al. 2016), and 3DCE (Yan et al. 2018),
//! which reads those of the images around as well.

use tch::{Kind, Tensor};

use super::align;
use super::boxes::Box2;
use super::config::HeadKind;
use super::heads::{BINS, Named};
use super::layers::{Conv, Linear, fan};
use crate::networks::NetworkError;
use crate::networks::tensors::weights::{Init, Layout, Weights};

/// Channels of an image that 3DCE reads of each place.
const OF_CONTEXT: i64 = 10;

/// A head on maps.
pub(super) enum Positions {
    /// A head for which what is said of a region is the mean of what its places say.
    Rfcn { conv: Conv, classes: Conv, offsets: Conv },
    /// A head for which what a region's places show in all images goes through layers of numbers.
    Context { conv: Conv, layer: Linear, classes: Linear, offsets: Linear },
}

impl Positions {
    /// Makes a head on features of so many channels, of `images` images for `Context`; none for a kind that
    /// reads regions.
    pub fn new(
        layout: &mut Layout,
        name: &str,
        kind: HeadKind,
        [channels, hidden, classes, images]: [i64; 4],
    ) -> Option<Self> {
        let places = (BINS * BINS) as i64;
        let named = |part: &str| format!("{name}.{part}");
        let nothing = Some(Init::Constant(0.0));
        let mut conv = |part: &str, [input, output]: [i64; 2]| {
            Conv::new(layout, &named(part), [input, output, 1, 1], fan(input), nothing)
        };
        match kind {
            HeadKind::Fc => None,
            HeadKind::Rfcn => Some(Self::Rfcn {
                conv: conv("box_head.conv", [channels, channels]),
                classes: conv("box_predictor.cls_score", [channels, places * classes]),
                offsets: conv("box_predictor.bbox_pred", [channels, places * classes * 4]),
            }),
            HeadKind::Context => {
                let conv = conv("box_head.conv", [channels, places * OF_CONTEXT]);
                let layer =
                    Linear::new(layout, &named("box_head.fc6"), [places * OF_CONTEXT * images, hidden]);
                let classes_of = Linear::new(layout, &named("box_predictor.cls_score"), [hidden, classes]);
                let offsets = Linear::new(layout, &named("box_predictor.bbox_pred"), [hidden, classes * 4]);
                Some(Self::Context { conv, layer, classes: classes_of, offsets })
            }
        }
    }

    /// Returns what is said of the regions of each image, whose features are `[B, C, H, W]`, those of the
    /// images of its bag `[B * images, C, H, W]`; `image` is the size that regions lie in.
    pub fn forward(
        &self,
        weights: &Weights,
        [own, around]: [&Tensor; 2],
        boxes: &[Vec<Box2>],
        image: [i64; 2],
    ) -> Result<Named, NetworkError> {
        match self {
            Self::Rfcn { conv, classes, offsets } => {
                let x = conv.forward(weights, own)?.f_relu()?;
                let mean = |maps: Tensor| -> Result<Tensor, NetworkError> {
                    let places = pooled(&maps, boxes, image)?;
                    Ok(places.f_mean_dim([2, 3].as_slice(), false, None::<Kind>)?)
                };
                Ok(Named {
                    classes: mean(classes.forward(weights, &x)?)?,
                    offsets: mean(offsets.forward(weights, &x)?)?,
                })
            }
            Self::Context { conv, layer, classes, offsets } => {
                let size = own.size();
                // Image by image side by side.
                let maps = conv.forward(weights, around)?.f_reshape([size[0], -1, size[2], size[3]])?;
                let places = pooled(&maps, boxes, image)?;
                let x = layer.forward(weights, &places.f_flatten(1, -1)?)?.f_relu()?;
                Ok(Named { classes: classes.forward(weights, &x)?, offsets: offsets.forward(weights, &x)? })
            }
        }
    }
}

/// The places of the regions of all images, those of the first image first: `[R, C, 7, 7]`.
fn pooled(maps: &Tensor, boxes: &[Vec<Box2>], image: [i64; 2]) -> Result<Tensor, NetworkError> {
    let size = maps.size();
    let scale = 2f64.powf((size[2] as f64 / image[0] as f64).log2().round());
    let mut parts = Vec::new();
    for (number, own) in boxes.iter().enumerate().filter(|(_, own)| !own.is_empty()) {
        parts.push(align::positions(&maps.f_narrow(0, number as i64, 1)?, own, scale, BINS)?);
    }
    if parts.is_empty() {
        let bins = BINS as i64;
        return Ok(Tensor::f_zeros([0, size[1] / (bins * bins), bins, bins], (maps.kind(), maps.device()))?);
    }
    Ok(Tensor::f_cat(&parts, 0)?)
}
