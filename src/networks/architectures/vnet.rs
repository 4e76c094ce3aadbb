//! V-Net: residual levels of one to three convolutions, strided convolutions down and up (Milletari et al., 2016).

use tch::{Kind, Tensor};

use super::Architecture;
use super::config::{Head, UnetConfig};
use super::unet::{crop, pad_to, spatial};
use crate::networks::NetworkError;
use crate::networks::blocks::convolution::Step;
use crate::networks::blocks::dropout::draw;
use crate::networks::blocks::mode::Mode;
use crate::networks::blocks::unit::{Convolution, Unit};
use crate::networks::tensors::weights::{Layout, Weights};

/// A V-Net without its numbers.
///
/// | network | `levels` | kernel | `convolutions` | `norm` | `head` | classes | parameters |
/// | --- | --- | --- | --- | --- | --- | --- | --- |
/// | VNet, as drawn | 5 | 5 | 1, 2, 3, 3, 3 | none | level | 2 | 65179800 and 3458 slopes |
/// | VNet, as released | 5 | 5 | 1, 1, 2, 3, 3 | none | level | 2 | 61979512 and 3170 slopes |
/// | SVNet | 4 | 3 | 1, 2, 3, 3 | batch | point | 4 | 3489332, 3484724 of convolutions |
///
/// Channels are 16, 32, 64, … Each level adds its input to what its last convolution gives, before that is activated; the
/// first one's input is spread over its channels (the mean of several). The way up has as many convolutions as the way
/// down has at the same level, of twice its channels.
///
/// # Source
/// Milletari et al., 3DV 2016, arXiv 1606.04797; the shallower one: Nie et al., MICCAI 2018
pub struct Vnet {
    config: UnetConfig,
    layout: Layout,
    encoder: Vec<Residual>,
    down: Vec<Unit>,
    up: Vec<Unit>,
    decoder: Vec<Residual>,
    head: (Option<Unit>, Convolution),
}

/// The convolutions of a level.
struct Residual(Vec<Unit>);

impl Residual {
    fn new(
        layout: &mut Layout,
        name: &str,
        config: &UnetConfig,
        index: usize,
        [input, output]: [i64; 2],
    ) -> Self {
        let kernel = config.levels[index].kernel;
        let unit = |place: i64| {
            let from = if place == 0 { input } else { output };
            let name = format!("{name}.{place}");
            Unit::new(layout, &name, [from, output], kernel, Step::Along, config.units.norm)
        };
        let count = config.units.convolutions.get(index).copied().unwrap_or(1);
        Self((0..count).map(unit).collect())
    }

    fn forward(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        let Some((last, before)) = self.0.split_last() else { return Ok(x.shallow_clone()) };
        let mut features = x.shallow_clone();
        for unit in before {
            features = unit.forward(weights, &features, mode)?;
        }
        last.with_sum(weights, &features, x, mode)
    }

    /// Computes the features from an input whose channels are not those of the level.
    fn first(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        let Some((last, before)) = self.0.split_last() else { return Ok(x.shallow_clone()) };
        let spread = x.f_mean_dim([1i64].as_slice(), true, None::<Kind>)?;
        let mut features = x.shallow_clone();
        for unit in before {
            features = unit.forward(weights, &features, mode)?;
        }
        last.with_sum(weights, &features, &spread, mode)
    }
}

impl Vnet {
    /// The network of a configuration.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where no network can be built from it.
    pub fn new(config: &UnetConfig) -> Result<Self, NetworkError> {
        config.check()?;
        let mut layout = Layout::default();
        let norm = config.units.norm;
        let (mut encoder, mut down, mut up, mut decoder) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, level) in config.levels.iter().enumerate() {
            let channels = [if index == 0 { config.in_channels } else { level.channels }, level.channels];
            encoder.push(Residual::new(&mut layout, &format!("encoder.{index}"), config, index, channels));
            if let Some(below) = config.levels.get(index + 1) {
                let (name, pool) = (format!("encoder.{index}.down"), level.pool);
                let channels = [level.channels, below.channels];
                down.push(Unit::new(&mut layout, &name, channels, pool, Step::Down(pool), norm));
            }
        }
        // What comes up has the channels that it has at the end of its own level.
        let mut deep = config.levels.last().map_or(1, |level| level.channels);
        for (index, level) in config.levels.iter().enumerate().rev().skip(1) {
            let (name, pool) = (format!("decoder.{index}"), level.pool);
            let channels = [deep, level.channels];
            up.push(Unit::new(&mut layout, &format!("{name}.up"), channels, pool, Step::Up(pool), norm));
            deep = 2 * level.channels;
            decoder.push(Residual::new(&mut layout, &name, config, index, [deep; 2]));
        }
        let classes = config.classes;
        let kernel = config.levels.first().map_or([1; 3], |level| level.kernel);
        let mut point = |input| Convolution::new(&mut layout, "head", [input, classes], [1; 3], Step::Along);
        let head = match config.units.head {
            Head::Point => (None, point(deep)),
            Head::Level => {
                let last = point(classes);
                let channels = [deep, classes];
                (Some(Unit::new(&mut layout, "head.level", channels, kernel, Step::Along, norm)), last)
            }
        };
        Ok(Self { config: config.clone(), layout, encoder, down, up, decoder, head })
    }
}

impl Vnet {
    /// Logits, and the features of the finest level on the way up, which they are made from: both on the input's grid.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for another number of axes or channels, or an empty axis.
    pub(in crate::networks) fn with_features(
        &self,
        weights: &Weights,
        input: &Tensor,
        mode: Mode,
    ) -> Result<(Tensor, Tensor), NetworkError> {
        self.passed(weights, input, mode, None)
    }

    /// Logits where so large a share of the channels of each level on the way down is left out, and the others make up for it;
    /// which ones follows from `key`.
    ///
    /// # Errors
    /// As [`with_features`](Self::with_features).
    pub(in crate::networks) fn with_channels_dropped(
        &self,
        weights: &Weights,
        input: &Tensor,
        mode: Mode,
        dropped: (f64, u64),
    ) -> Result<Tensor, NetworkError> {
        self.passed(weights, input, mode, Some(dropped)).map(|(logits, _)| logits)
    }

    fn passed(
        &self,
        weights: &Weights,
        input: &Tensor,
        mode: Mode,
        dropped: Option<(f64, u64)>,
    ) -> Result<(Tensor, Tensor), NetworkError> {
        let size = spatial(input, self.config.in_channels)?;
        let mut x = pad_to(input, self.config.multiple())?;
        let mut skips = Vec::with_capacity(self.encoder.len());
        for (index, level) in self.encoder.iter().enumerate() {
            x = match index.checked_sub(1).and_then(|above| self.down.get(above)) {
                None => level.first(weights, &x, mode)?,
                Some(down) => level.forward(weights, &down.forward(weights, &x, mode)?, mode)?,
            };
            skips.push(x.shallow_clone());
        }
        if let Some((rate, key)) = dropped {
            for (level, skip) in (0..).zip(&mut skips) {
                *skip = without_channels(skip, rate, draw(key, level))?;
            }
            x = skips.last().map_or(x, Tensor::shallow_clone);
        }
        skips.pop();
        for ((up, level), skip) in self.up.iter().zip(&self.decoder).zip(skips.iter().rev()) {
            let both = Tensor::f_cat(&[skip, &up.forward(weights, &x, mode)?], 1)?;
            x = level.forward(weights, &both, mode)?;
        }
        let features = x.shallow_clone();
        let (level, point) = &self.head;
        if let Some(level) = level {
            x = level.forward(weights, &x, mode)?;
        }
        Ok((crop(point.forward(weights, &x)?, size)?, crop(features, size)?))
    }
}

/// Returns `[N, C, …]` with a share of the channels of each sample left out.
fn without_channels(x: &Tensor, rate: f64, key: u64) -> Result<Tensor, NetworkError> {
    let (samples, channels) = match x.size()[..] {
        [samples, channels, ..] => (samples, channels),
        _ => return Ok(x.shallow_clone()),
    };
    let kept = |place: i64| (draw(key, place as u64) >> 11) as f64 / (1u64 << 53) as f64 >= rate;
    let factor = |place: i64| if kept(place) { 1.0 / (1.0 - rate) } else { 0.0 };
    let factors: Vec<f64> = (0..samples * channels).map(factor).collect();
    let factors = Tensor::f_from_slice(&factors)?.f_view([samples, channels, 1, 1, 1])?;
    Ok(x.f_mul(&factors.f_to_kind(x.kind())?.f_to_device(x.device())?)?)
}

impl Architecture for Vnet {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn forward(&self, weights: &Weights, input: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        self.with_features(weights, input, mode).map(|(logits, _)| logits)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{NetworkConfig, NetworkSettings};
    use super::*;
    use crate::networks::{Device, set_threads};

    fn config(settings: serde_json::Value, classes: usize) -> UnetConfig {
        let mut all = serde_json::json!({
            "type": "unet", "dims": "3d", "attention": "off", "variant": "vnet",
        });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let settings: NetworkSettings = serde_json::from_value(all).unwrap();
        let NetworkConfig::Unet(config) = settings.resolve(1, classes).unwrap() else { panic!("a U-Net") };
        config
    }

    /// Numbers of convolutions, and of all else that is trained.
    fn counts(config: &UnetConfig) -> (i64, i64) {
        let vnet = Vnet::new(config).unwrap();
        let weights = Weights::seeded(vnet.layout(), 1, Kind::Float, Device::CPU).unwrap();
        let numbers = |convolution: bool| -> i64 {
            let trained = |name: &str| !name.ends_with("norm.mean") && !name.ends_with("norm.variance");
            let of = |name: &str| !name.contains("norm") && !name.contains("slope");
            let these = weights.named().filter(|(name, _)| trained(name) && of(name) == convolution);
            these.map(|(_, tensor)| tensor.numel() as i64).sum()
        };
        assert_eq!(numbers(true) + numbers(false), vnet.layout().parameter_count());
        (numbers(true), numbers(false))
    }

    #[test]
    fn as_many_parameters_as_published() {
        let shallow = [16, 32, 64, 128];
        let svnet = config(serde_json::json!({ "levels": 4, "channels": shallow }), 4);
        assert_eq!(counts(&svnet), (3_484_724, 4608));
        let bare = config(serde_json::json!({ "levels": 4, "channels": shallow, "norm": "none" }), 4);
        assert_eq!(counts(&bare), (3_484_724, 1536));
        let wide = config(serde_json::json!({ "levels": 4, "channels": shallow, "kernel": 5 }), 4);
        assert_eq!(counts(&wide), (15_428_180, 4608));
        let deep = serde_json::json!({
            "levels": 5, "channels": [16, 32, 64, 128, 256], "kernel": 5, "norm": "none", "head": "level",
        });
        assert_eq!(counts(&config(deep.clone(), 2)), (65_179_800, 3458));
        let mut released = deep;
        released["convolutions"] = serde_json::json!([1, 1, 2, 3, 3]);
        assert_eq!(counts(&config(released, 2)), (61_979_512, 3170));
    }

    #[test]
    fn any_size_goes_through_with_every_norm_and_head() {
        set_threads(1);
        for norm in ["batch", "group", "none"] {
            for head in ["point", "level"] {
                let settings = serde_json::json!({ "levels": 3, "channels": 2, "norm": norm, "head": head });
                let vnet = Vnet::new(&config(settings, 3)).unwrap();
                let weights = Weights::seeded(vnet.layout(), 1, Kind::Float, Device::CPU).unwrap();
                for size in [[1, 1, 1], [1, 9, 6], [4, 8, 12]] {
                    let [d, h, w] = size;
                    let input = Tensor::ones([1, 1, d, h, w], (Kind::Float, tch::Device::Cpu));
                    for mode in [Mode::Infer, Mode::Train { momentum: 0.1, draw: 1 }] {
                        let logits = vnet.forward(&weights, &input, mode).unwrap();
                        assert_eq!(logits.size(), [1, 3, d, h, w]);
                        assert!(bool::try_from(logits.isfinite().all()).unwrap(), "{norm} {size:?}");
                    }
                }
            }
        }
    }
}
