//! A residual U-Net with summed skips and heads on coarser levels: "deeply supervised" (DSResUNet).

use tch::Tensor;

use super::config::{Level, UnetConfig};
use super::unet::{UnetOutput, crop, pad_to, spatial};
use crate::networks::NetworkError;
use crate::networks::blocks::convolution::Step;
use crate::networks::blocks::mode::Mode;
use crate::networks::blocks::norm::{Norm, NormKind};
use crate::networks::blocks::unit::Convolution;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::weights::{Layout, Weights};

/// A residual U-Net without its numbers: maximum pooling down, deconvolution up, what skips a level added to what comes up,
/// and on each level twice norm, ReLU and convolution, to which the level's input is added. Heads on coarser levels give
/// logits of their own, by a deconvolution to the input's grid, for training alone.
///
/// # Source
/// The comparison of Nie et al., MICCAI 2018, after Yu et al., AAAI 2017, of which widths (32, 64, 128, 256) and the
/// heads' weights (0.4, 0.2) are defaults of ours.
pub struct Residual {
    config: UnetConfig,
    layout: Layout,
    stem: Convolution,
    encoder: Vec<Block>,
    decoder: Vec<(Convolution, Block)>,
    head: (Option<Norm>, Convolution),
    /// The heads of coarser levels, from the finest of these on.
    heads: Vec<Convolution>,
}

/// A block of norm, ReLU and convolution, twice, and a shortcut.
struct Block {
    layers: [(Option<Norm>, Convolution); 2],
    shortcut: Option<Convolution>,
}

impl Block {
    fn new(
        layout: &mut Layout,
        name: &str,
        [input, output]: [i64; 2],
        kernel: [i64; 3],
        norm: NormKind,
    ) -> Self {
        let mut layer = |place: usize, from: i64| {
            let name = format!("{name}.{place}");
            let norm = Norm::new(layout, &format!("{name}.norm"), from, norm);
            (norm, Convolution::new(layout, &name, [from, output], kernel, Step::Along))
        };
        let layers = [layer(0, input), layer(1, output)];
        let across = |layout: &mut Layout| {
            Convolution::new(layout, &format!("{name}.shortcut"), [input, output], [1; 3], Step::Along)
        };
        Self { layers, shortcut: (input != output).then(|| across(layout)) }
    }

    fn forward(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        let mut features = x.shallow_clone();
        for (norm, convolution) in &self.layers {
            features = convolution.forward(weights, &activated(norm.as_ref(), weights, &features, mode)?)?;
        }
        match &self.shortcut {
            Some(across) => Ok(features.f_add(&across.forward(weights, x)?)?),
            None => Ok(features.f_add(x)?),
        }
    }
}

fn activated(norm: Option<&Norm>, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
    let normal = norm.map_or_else(|| Ok(x.shallow_clone()), |norm| norm.forward(weights, x, mode))?;
    normal.f_relu().doing("activation")
}

impl Residual {
    /// The network of a configuration.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where no network can be built from it.
    pub fn new(config: &UnetConfig) -> Result<Self, NetworkError> {
        config.check()?;
        let mut layout = Layout::default();
        let (norm, classes) = (config.units.norm, config.classes);
        let levels = &config.levels;
        let first = levels.first().map_or(1, |level| level.channels);
        let kernel = levels.first().map_or([1; 3], |level| level.kernel);
        let stem = Convolution::new(&mut layout, "stem", [config.in_channels, first], kernel, Step::Along);
        let (mut encoder, mut decoder, mut input) = (Vec::new(), Vec::new(), first);
        for (index, Level { channels, kernel, .. }) in levels.iter().enumerate() {
            let name = format!("encoder.{index}");
            encoder.push(Block::new(&mut layout, &name, [input, *channels], *kernel, norm));
            input = *channels;
        }
        for (index, pair) in levels.windows(2).enumerate() {
            let [Level { channels, kernel, pool }, below] = pair else { continue };
            let name = format!("decoder.{index}");
            let (up, both) = (format!("{name}.up"), [below.channels, *channels]);
            let up = Convolution::new(&mut layout, &up, both, *pool, Step::Up(*pool));
            decoder.push((up, Block::new(&mut layout, &name, [*channels; 2], *kernel, norm)));
        }
        let last = Norm::new(&mut layout, "head.norm", first, norm);
        let head = (last, Convolution::new(&mut layout, "head", [first, classes], [1; 3], Step::Along));
        let (mut heads, mut scale) = (Vec::new(), [1; 3]);
        for (index, pair) in levels.windows(2).enumerate().take(config.units.heads.len()) {
            let [above, Level { channels, .. }] = pair else { continue };
            scale = std::array::from_fn(|axis| scale[axis] * above.pool[axis]);
            let name = format!("heads.{index}");
            heads.push(Convolution::new(&mut layout, &name, [*channels, classes], scale, Step::Up(scale)));
        }
        Ok(Self { config: config.clone(), layout, stem, encoder, decoder, head, heads })
    }

    /// The tensors that it needs.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the weights of the losses of the heads on coarser levels, from the finest on.
    pub fn weights_of_heads(&self) -> &[f64] {
        &self.config.units.heads
    }

    /// Logits of `[N, C, D, H, W]`, and in training those of the heads on coarser levels.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for another number of axes or channels, or an empty axis.
    pub fn forward(&self, weights: &Weights, input: &Tensor, mode: Mode) -> Result<UnetOutput, NetworkError> {
        self.with_features(weights, input, mode).map(|(output, _)| output)
    }

    /// The same, and the features of the finest level on the way up, before the last norm: on the input's grid.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn with_features(
        &self,
        weights: &Weights,
        input: &Tensor,
        mode: Mode,
    ) -> Result<(UnetOutput, Tensor), NetworkError> {
        let size = spatial(input, self.config.in_channels)?;
        let mut x = self.stem.forward(weights, &pad_to(input, self.config.multiple())?)?;
        let mut skips = Vec::with_capacity(self.encoder.len());
        for (index, block) in self.encoder.iter().enumerate() {
            if let Some(above) = index.checked_sub(1).and_then(|above| self.config.levels.get(above)) {
                let pool = above.pool;
                x = x.f_max_pool3d(pool, pool, [0; 3], [1; 3], false).doing("pooling")?;
            }
            x = block.forward(weights, &x, mode)?;
            skips.push(x.shallow_clone());
        }
        skips.pop();
        let mut auxiliary = Vec::new();
        let deepest = self.decoder.len();
        for (index, ((up, block), skip)) in self.decoder.iter().zip(&skips).enumerate().rev() {
            // The level below, now that it is done: its head stands at the place above it.
            if let (Some(head), Mode::Train { .. }) = (self.heads.get(index), mode)
                && index + 1 < deepest
            {
                auxiliary.push(crop(head.forward(weights, &x)?, size)?);
            }
            x = block.forward(weights, &up.forward(weights, &x)?.f_add(skip)?, mode)?;
        }
        auxiliary.reverse();
        let (norm, point) = &self.head;
        let logits = point.forward(weights, &activated(norm.as_ref(), weights, &x, mode)?)?;
        let output = UnetOutput { logits: crop(logits, size)?, attention: Vec::new(), auxiliary };
        Ok((output, crop(x, size)?))
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::super::config::{NetworkConfig, NetworkSettings};
    use super::*;
    use crate::networks::{Device, set_threads};

    fn network(norm: &str, heads: Option<[f64; 2]>) -> Residual {
        let mut settings = serde_json::json!({
            "type": "unet", "dims": "3d", "levels": 4, "channels": [2, 3, 4, 5], "attention": "off",
            "variant": "residual", "norm": norm,
        });
        if let Some(heads) = heads {
            settings["heads"] = serde_json::json!(heads);
        }
        let settings: NetworkSettings = serde_json::from_value(settings).unwrap();
        let NetworkConfig::Unet(config) = settings.resolve(2, 3).unwrap() else { panic!("a U-Net") };
        Residual::new(&config).unwrap()
    }

    #[test]
    fn heads_are_there_in_training_and_every_number_learns() {
        set_threads(1);
        for norm in ["batch", "group", "none"] {
            let residual = network(norm, None);
            assert_eq!(residual.weights_of_heads(), [0.4, 0.2]);
            let weights = Weights::seeded(residual.layout(), 1, Kind::Float, Device::CPU).unwrap();
            let numbers: Vec<f32> = (0..2 * 9 * 8 * 10).map(|i| (i * 37 % 97) as f32 / 97.0).collect();
            let input = Tensor::from_slice(&numbers).view([1, 2, 9, 8, 10]);
            let found = residual.forward(&weights, &input, Mode::Train { momentum: 0.1, draw: 1 }).unwrap();
            assert_eq!(found.auxiliary.len(), 2);
            let all: Vec<&Tensor> = found.auxiliary.iter().chain([&found.logits]).collect();
            let mut loss = Tensor::zeros([], (Kind::Float, tch::Device::Cpu));
            for logits in all {
                assert_eq!(logits.size(), [1, 3, 9, 8, 10]);
                loss += (logits * logits).mean(Kind::Float);
            }
            let gradients = Tensor::f_run_backward(&[&loss], &weights.values(), false, false).unwrap();
            for (gradient, (name, _)) in gradients.iter().zip(weights.named()) {
                let off = f64::try_from(gradient.abs().max()).unwrap();
                assert!(off.is_finite() && (off > 0.0 || norm != "none"), "{norm}: {name}");
            }
            let answer = residual.forward(&weights, &input, Mode::Infer).unwrap();
            assert!(answer.auxiliary.is_empty());
        }
    }
}
