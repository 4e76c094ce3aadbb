//! Volumetric attention (Wang et al. 2019): an image's features weighed by those of other places of the volume.

use tch::{Kind, Tensor};

use super::config::{Scale, VolumetricAttention};
use super::layers::fan;
use super::numbers;
use crate::networks::NetworkError;
use crate::networks::tensors::scalar::times;
use crate::networks::tensors::weights::{Init, Layout, Parameter, Weights};

/// The kernel of the convolution over the greatest and the mean of all channels.
const KERNEL: i64 = 7;

/// One level's module: first channels are weighed, then pixels.
pub(super) struct Attention {
    channel: Option<[Parameter; 3]>,
    spatial: Option<[Parameter; 3]>,
    scale: Scale,
}

/// What an image of a volume lends to others: all that is needed of it once it is not looked at itself.
pub(super) struct Keys {
    /// The keys for the weights of channels, `[M, hidden]`.
    channel: Option<Tensor>,
    /// The keys for the weights of pixels, `[M, H * W]`.
    spatial: Option<Tensor>,
}

impl Keys {
    /// Joins the keys of several images, one after another.
    pub fn together(all: &[&Self]) -> Result<Self, NetworkError> {
        let part = |of: fn(&Self) -> Option<&Tensor>| -> Result<Option<Tensor>, NetworkError> {
            let parts: Option<Vec<&Tensor>> = all.iter().map(|keys| of(keys)).collect();
            parts.filter(|parts| !parts.is_empty()).map(|parts| Ok(Tensor::f_cat(&parts, 0)?)).transpose()
        };
        Ok(Self {
            channel: part(|keys| keys.channel.as_ref())?,
            spatial: part(|keys| keys.spatial.as_ref())?,
        })
    }

    /// Returns the keys of one image among several.
    pub fn of(&self, image: i64) -> Result<Self, NetworkError> {
        let part = |all: &Option<Tensor>| -> Result<Option<Tensor>, NetworkError> {
            all.as_ref().map(|all| Ok(all.f_narrow(0, image, 1)?.f_contiguous()?)).transpose()
        };
        Ok(Self { channel: part(&self.channel)?, spatial: part(&self.spatial)? })
    }
}

/// Features that were weighed.
pub(super) struct Attended {
    /// The features, `[B, C, H, W]`.
    pub features: Tensor,
    /// How evenly the images of the bag took part, 0 to 1: the entropy of their weights over its greatest, a mean over
    /// all bags; of channels and of pixels, where these are weighed.
    pub spread: [Option<f64>; 2],
}

impl Attention {
    pub fn new(layout: &mut Layout, name: &str, channels: i64, wanted: &VolumetricAttention) -> Self {
        let hidden = (channels / wanted.reduction).max(1);
        let channel = wanted.channel.then(|| {
            let mut layer = |part: &str, [output, input]: [i64; 2]| {
                layout.parameter(format!("{name}.channel.{part}.weight"), &[output, input], fan(input))
            };
            let squeeze = layer("squeeze", [hidden, channels]);
            [squeeze, layer("embed", [hidden, hidden]), layer("excite", [channels, hidden])]
        });
        let spatial = wanted.spatial.then(|| {
            let shape = [1, 2, KERNEL, KERNEL];
            let embed =
                layout.parameter(format!("{name}.spatial.embed.weight"), &shape, fan(2 * KERNEL * KERNEL));
            let mut number = |part: &str, value| {
                layout.parameter(format!("{name}.spatial.excite.{part}"), &[1], Init::Constant(value))
            };
            [embed, number("weight", 1.0), number("bias", 0.0)]
        });
        Self { channel, spatial, scale: wanted.scale }
    }

    /// Returns what images `[M, C, H, W]` lend.
    pub fn keys(&self, weights: &Weights, images: &Tensor) -> Result<Keys, NetworkError> {
        let channel = self.channel.map(|[squeeze, embed, _]| -> Result<Tensor, NetworkError> {
            let pooled = images.f_mean_dim([2, 3].as_slice(), false, None::<Kind>)?;
            let hidden = pooled.f_linear(weights.get(squeeze), None::<&Tensor>)?.f_relu()?;
            Ok(hidden.f_linear(weights.get(embed), None::<&Tensor>)?)
        });
        let spatial = self.spatial.map(|[embed, ..]| embedded(images, weights.get(embed)));
        Ok(Keys { channel: channel.transpose()?, spatial: spatial.transpose()? })
    }

    /// The images of the middle `[B, C, H, W]`, weighed by the keys of `B` bags, bag after bag.
    pub fn attend(&self, weights: &Weights, middle: &Tensor, keys: &Keys) -> Result<Attended, NetworkError> {
        let size = middle.size();
        let (bags, channels, height, width) = (size[0], size[1], size[2], size[3]);
        let mut features = middle.shallow_clone();
        let mut spread = [None, None];
        if let (Some([_, _, excite]), Some(keys)) = (self.channel, &keys.channel) {
            let length = keys.size()[1];
            let keys = keys.f_view([bags, -1, length])?;
            let images = keys.size()[1];
            let query = keys.f_narrow(1, images / 2, 1)?;
            let (sum, even) = weighed(&query, &keys, 1.0)?;
            let share = sum.f_relu()?.f_linear(weights.get(excite), None::<&Tensor>)?.f_sigmoid()?;
            features = features.f_mul(&share.f_view([bags, channels, 1, 1])?)?;
            spread[0] = Some(even);
        }
        if let (Some([embed, weight, bias]), Some(keys)) = (self.spatial, &keys.spatial) {
            let keys = keys.f_view([bags, -1, height * width])?;
            let query = embedded(&features, weights.get(embed))?.f_view([bags, 1, height * width])?;
            let area = match self.scale {
                Scale::Area => (height * width) as f64,
                Scale::Literal => 1.0,
            };
            let (sum, even) = weighed(&query, &keys, area)?;
            let excited = sum.f_relu()?.f_mul(weights.get(weight))?.f_add(weights.get(bias))?;
            features = features.f_mul(&excited.f_sigmoid()?.f_view([bags, 1, height, width])?)?;
            spread[1] = Some(even);
        }
        Ok(Attended { features, spread })
    }
}

/// Returns one number a pixel, from the greatest and the mean of all channels: `[M, H * W]`.
fn embedded(images: &Tensor, weight: &Tensor) -> Result<Tensor, NetworkError> {
    let greatest = images.f_amax([1].as_slice(), true)?;
    let mean = images.f_mean_dim([1].as_slice(), true, None::<Kind>)?;
    let both = Tensor::f_cat(&[greatest, mean], 1)?;
    let map = both.f_conv2d(weight, None::<&Tensor>, [1; 2], [KERNEL / 2; 2], [1; 2], 1)?;
    Ok(map.f_flatten(1, -1)?)
}

/// The mean of keys `[B, N, L]` by how like the query `[B, 1, L]` each is, `[B, L]`, and the spread of the weights.
fn weighed(query: &Tensor, keys: &Tensor, divisor: f64) -> Result<(Tensor, f64), NetworkError> {
    let logits =
        times(&query.f_mul(keys)?.f_sum_dim_intlist([2].as_slice(), false, None::<Kind>)?, 1.0 / divisor)?;
    let share = logits.f_softmax(1, None::<Kind>)?;
    let sum = share.f_unsqueeze(2)?.f_mul(keys)?.f_sum_dim_intlist([1].as_slice(), false, None::<Kind>)?;
    Ok((sum, evenness(&share)?))
}

/// The entropy of weights `[B, N]` over its greatest, a mean over all bags; 1 of a single image.
fn evenness(share: &Tensor) -> Result<f64, NetworkError> {
    let images = usize::try_from(share.size()[1]).unwrap_or(1).max(1);
    let numbers = numbers::of(share)?;
    if images == 1 || numbers.is_empty() {
        return Ok(1.0);
    }
    let of_bag = |bag: &[f64]| bag.iter().map(|p| if *p > 0.0 { -p * p.ln() } else { 0.0 }).sum::<f64>();
    let bags: Vec<f64> = numbers.chunks_exact(images).map(of_bag).collect();
    Ok(bags.iter().sum::<f64>() / (bags.len() as f64 * (images as f64).ln()))
}

#[cfg(test)]
mod tests;
