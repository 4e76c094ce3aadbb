//! One configurable U-Net for two, two and a half and three dimensions, with or without attention maps.

use tch::Tensor;

use super::config::{Attention, Level, Pooling, Supervision, UnetConfig, Variant};
use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::weights::{Layout, Weights};

mod folded;

use crate::networks::blocks::attention::AttentionMap;
use crate::networks::blocks::convolution::{Block, Conv, Parts};
use crate::networks::blocks::joins::{Decoder, Down, Joined, Weighed};
use crate::networks::blocks::mode::Mode;

/// What a U-Net gives.
pub struct UnetOutput {
    /// The logits `[N, classes, D, H, W]`, on the input's grid.
    pub logits: Tensor,
    /// The attention maps `[N, 1, …]`, one for each decoder level from the finest down, and VS_Seg's at the
    /// bottleneck last; empty without attention. Each lies on the padded input's grid, coarser by the
    /// [scale](Unet::attention_scales) at its place.
    pub attention: Vec<Tensor>,
    /// Logits of heads on coarser levels, from the finest of these on, in training; empty where there are none.
    pub auxiliary: Vec<Tensor>,
}

/// A U-Net without its numbers.
///
/// | network | `dims` | `levels` | `attention` | `variant` | parameters |
/// | --- | --- | --- | --- | --- | --- |
/// | 2D U-Net | 2d | 5 | off | paper | 469156 |
/// | 3D U-Net | 3d | 5 | off | paper | 1362884 |
/// | 2.5D U-Net | 2.5d | 5 | off | paper | 1253028 |
/// | 2.5D U-Net + AG | 2.5d | 5 | gate | paper | 1286472 |
/// | 2.5D U-Net + PA | 2.5d | 5 | unsupervised | paper | 1625288 |
/// | 2.5D U-Net + SpvPA | 2.5d | 5 | supervised | paper | 1625288 |
/// | VS_Seg | 2.5d | 5 | supervised | vs_seg | 2052428 |
/// | VS_Seg, six levels | 2.5d | 6 | supervised | vs_seg | 3808547 |
///
/// Channels are 16 times the number of the level; one comes in, and two classes come out.
///
/// # Source
/// `paper`: Wang et al., MICCAI 2019, arXiv 1906.03906. `vs_seg`: `UNet2d5_spvPA` of KCL-BMEIS/VS_Seg, layer
/// by layer: residual units of two convolutions, each with a bias, batch norm, dropout and PReLU;
/// convolutions of the same make down and up again, with the level's kernel and the pool as stride; attention
/// before the deepest unit as well; and a last unit that gives the logits.
pub struct Unet {
    config: UnetConfig,
    layout: Layout,
    encoder: Vec<Block>,
    down: Vec<Down>,
    bottleneck: Option<AttentionMap>,
    decoder: Vec<Decoder>,
    /// VS_Seg's last block gives the logits itself.
    head: Option<Conv>,
}

impl Unet {
    /// The network of a configuration.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where no network can be built from it.
    pub fn new(config: &UnetConfig) -> Result<Self, NetworkError> {
        config.check()?;
        let layout = Layout::default();
        let vs_seg = config.variant == Variant::VsSeg;
        let mut parts = Parts { layout, bias: vs_seg, residual: vs_seg, dropout: config.dropout };
        let (mut encoder, mut down, mut bottleneck) = (Vec::new(), Vec::new(), None);
        let mut input = config.in_channels;
        let deepest = config.levels.len().saturating_sub(1);
        for (index, level) in config.levels.iter().enumerate() {
            if index == deepest && attends_below(config) {
                let name = "bottleneck.attention";
                bottleneck = Some(AttentionMap::new(&mut parts, name, input, level.kernel));
            }
            let name = format!("encoder.{index}");
            encoder.push(Block::new(&mut parts, &name, input, level.channels, level.kernel));
            if index < deepest {
                down.push(down_from(&mut parts, index, level, config.variant));
            }
            input = level.channels;
        }
        let mut decoder = Vec::new();
        for (index, pair) in config.levels.windows(2).enumerate() {
            if let [level, below] = pair {
                let joined = joined(config, index, level, below);
                decoder.push(Decoder::new(&mut parts, &format!("decoder.{index}"), &joined));
            }
        }
        let finest = config.levels.first().map_or(1, |level| level.channels);
        let head = (config.variant == Variant::Paper)
            .then(|| Conv::new(&mut parts, "head", finest, config.classes, [1; 3]));
        Ok(Self { config: config.clone(), layout: parts.layout, encoder, down, bottleneck, decoder, head })
    }

    /// The tensors that it needs.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns how attention maps are compared with the foreground, where they are.
    pub fn supervision(&self) -> Option<Supervision> {
        (self.config.attention == Attention::Supervised).then_some(self.config.supervision)
    }

    /// Logits of `[N, C, D, H, W]`. Sizes that the pools do not divide are padded by repeating the far
    /// faces, and cut back.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for another number of axes or channels, or an empty axis.
    pub fn forward(&self, weights: &Weights, input: &Tensor, mode: Mode) -> Result<UnetOutput, NetworkError> {
        let size = spatial(input, self.config.in_channels)?;
        let mut x = self.pad(input)?;
        let mut skips = Vec::with_capacity(self.encoder.len());
        let mut below = None;
        for (index, block) in self.encoder.iter().enumerate() {
            if let Some(down) = index.checked_sub(1).and_then(|above| self.down.get(above)) {
                x = down.forward(weights, &x, mode)?;
            }
            if let Some(attention) = self.bottleneck.as_ref().filter(|_| index == self.down.len()) {
                let (features, map) = attention.forward(weights, &x)?;
                x = features;
                below = Some(map);
            }
            x = block.forward(weights, &x, mode)?;
            skips.push(x.shallow_clone());
        }
        skips.pop();
        let mut attention = Vec::from_iter(below);
        for (decoder, skip) in self.decoder.iter().zip(&skips).rev() {
            let (features, map) = decoder.forward(weights, &x, skip, mode)?;
            x = features;
            attention.extend(map);
        }
        attention.reverse();
        let logits = match &self.head {
            Some(head) => head.forward(weights, &x)?,
            None => x,
        };
        Ok(UnetOutput { logits: crop(logits, size)?, attention, auxiliary: Vec::new() })
    }

    /// Returns how many voxels `[D, H, W]` of the padded input a voxel of each attention map covers, in their
    /// order.
    pub fn attention_scales(&self) -> Vec<[i64; 3]> {
        let levels = match self.config.attention {
            Attention::Off => 0,
            _ => self.decoder.len() + usize::from(self.bottleneck.is_some()),
        };
        let mut scale = [1i64; 3];
        let mut scales = Vec::with_capacity(levels);
        for level in self.config.levels.iter().take(levels) {
            scales.push(scale);
            scale = std::array::from_fn(|i| scale[i] * level.pool[i]);
        }
        scales
    }

    /// The foreground `[N, 1, D, H, W]` at the resolution of each attention map, pooled over its voxels.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when libtorch refuses.
    pub fn attention_targets(&self, foreground: &Tensor) -> Result<Vec<Tensor>, NetworkError> {
        let padded = self.pad(foreground)?;
        let pool = |scale: [i64; 3]| match self.config.supervision.pooling {
            Pooling::Average => padded.f_avg_pool3d(scale, scale, [0; 3], false, true, None),
            Pooling::Maximum => padded.f_max_pool3d(scale, scale, [0; 3], [1; 3], false),
        };
        self.attention_scales().into_iter().map(|scale| pool(scale).doing("pooling")).collect()
    }

    fn pad(&self, x: &Tensor) -> Result<Tensor, NetworkError> {
        pad_to(x, self.config.multiple())
    }
}

/// The `[D, H, W]` of an input of so many channels.
pub(super) fn spatial(input: &Tensor, channels: i64) -> Result<[i64; 3], NetworkError> {
    match input.size()[..] {
        [_, found, d, h, w] if found == channels && d.min(h).min(w) > 0 => Ok([d, h, w]),
        _ => Err(NetworkError::Shape {
            what: "the network's input".to_owned(),
            expected: format!("[N, {channels}, D, H, W]"),
            found: format!("{:?}", input.size()),
        }),
    }
}

/// The same with the far faces repeated until its lengths are multiples of these.
pub(super) fn pad_to(x: &Tensor, multiple: [i64; 3]) -> Result<Tensor, NetworkError> {
    let size = x.size();
    let missing = |axis: usize| {
        let length = size.get(axis + 2).copied().unwrap_or(1);
        (multiple[axis] - length % multiple[axis]) % multiple[axis]
    };
    let [d, h, w] = std::array::from_fn(missing);
    if [d, h, w] == [0; 3] {
        return Ok(x.shallow_clone());
    }
    x.f_replication_pad3d([0, w, 0, h, 0, d]).doing("padding")
}

/// The way down from a level.
fn down_from(parts: &mut Parts, index: usize, level: &Level, variant: Variant) -> Down {
    match variant {
        Variant::Paper | Variant::Vnet | Variant::Residual => Down::Pool(level.pool),
        Variant::VsSeg => {
            let name = format!("encoder.{index}.down");
            Down::strided(parts, &name, level.channels, level.kernel, level.pool)
        }
    }
}

/// Returns how a level is joined with the one below it.
fn joined(config: &UnetConfig, index: usize, level: &Level, below: &Level) -> Joined {
    let vs_seg = config.variant == Variant::VsSeg;
    let weighed = match config.attention {
        Attention::Off => Weighed::Nothing,
        Attention::Gate => Weighed::Skip,
        Attention::Unsupervised | Attention::Supervised => Weighed::Both,
    };
    Joined {
        channels: level.channels,
        kernel: level.kernel,
        pool: level.pool,
        below: below.channels,
        strided: vs_seg,
        weighed,
        classes: (vs_seg && index == 0).then_some(config.classes),
    }
}

/// Whether the deepest level's features are weighed too, before its block.
fn attends_below(config: &UnetConfig) -> bool {
    config.variant == Variant::VsSeg
        && matches!(config.attention, Attention::Unsupervised | Attention::Supervised)
}

/// The finest attention map behind the logits, as one more channel on their grid.
///
/// # Errors
/// [`NetworkError::Torch`] when libtorch refuses: for a map on another grid.
pub(in crate::networks) fn beside(logits: &Tensor, finest: &Tensor) -> Result<Tensor, NetworkError> {
    let [d, h, w] = std::array::from_fn(|axis| logits.size().get(axis + 2).copied().unwrap_or(0));
    let map = crop(finest.f_to_kind(logits.kind())?, [d, h, w])?;
    Tensor::f_cat(&[logits, &map], 1).doing("attention map")
}

pub(super) fn crop(x: Tensor, [d, h, w]: [i64; 3]) -> Result<Tensor, NetworkError> {
    Ok(x.f_narrow(2, 0, d)?.f_narrow(3, 0, h)?.f_narrow(4, 0, w)?)
}

#[cfg(test)]
mod tests {
    use super::super::config::{Supervision, Units};
    use super::*;
    use crate::networks::{Device, set_threads};
    use tch::Kind;

    fn config(attention: Attention, variant: Variant) -> UnetConfig {
        let level = |channels, depth| Level { channels, kernel: [depth, 3, 3], pool: [depth.min(2), 2, 2] };
        UnetConfig {
            in_channels: 1,
            classes: 3,
            levels: vec![level(2, 1), level(3, 3), level(4, 3)],
            attention,
            variant,
            dropout: 0.1,
            supervision: Supervision::default(),
            units: Units::default(),
        }
    }

    #[test]
    fn one_voxel_and_one_slice_go_through_every_network() {
        // The test runs on one thread, since more would only wait for one another.
        set_threads(1);
        for variant in [Variant::Paper, Variant::VsSeg] {
            for attention in [Attention::Off, Attention::Gate, Attention::Unsupervised, Attention::Supervised]
            {
                let unet = Unet::new(&config(attention, variant)).unwrap();
                let weights = Weights::seeded(unet.layout(), 1, Kind::Float, Device::CPU).unwrap();
                for size in [[1, 1, 1], [1, 9, 6], [3, 1, 1]] {
                    let [d, h, w] = size;
                    let input = Tensor::ones([1, 1, d, h, w], (Kind::Float, tch::Device::Cpu));
                    for mode in [Mode::Infer, Mode::Train { momentum: 0.1, draw: 1 }] {
                        let output = unet.forward(&weights, &input, mode).unwrap();
                        assert_eq!(output.logits.size(), [1, 3, d, h, w]);
                        assert!(bool::try_from(output.logits.isfinite().all()).unwrap());
                        let targets = unet.attention_targets(&input).unwrap();
                        assert_eq!(output.attention.len(), targets.len());
                        for (map, target) in output.attention.iter().zip(&targets) {
                            assert_eq!(map.size(), target.size());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn another_shape_is_refused_by_name() {
        let unet = Unet::new(&config(Attention::Gate, Variant::VsSeg)).unwrap();
        let weights = Weights::seeded(unet.layout(), 1, Kind::Float, Device::CPU).unwrap();
        for shape in [vec![1, 2, 4, 8, 8], vec![1, 4, 8, 8], vec![1, 1, 4, 0, 8]] {
            let input = Tensor::zeros(shape.as_slice(), (Kind::Float, tch::Device::Cpu));
            let error = unet.forward(&weights, &input, Mode::Infer).err().unwrap();
            assert!(matches!(error, NetworkError::Shape { .. }), "{error}");
        }
    }
}
