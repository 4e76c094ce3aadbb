//! One configurable U-Net for two, two and a half and three dimensions, with or without attention maps.

use tch::Tensor;

use super::NetworkError;
use super::config::{Attention, Level, UnetConfig};
use super::error::Doing;
use super::weights::{Buffer, Init, Layout, Parameter, Weights};

const EPSILON: f64 = 1e-5;
const PRELU_SLOPE: f64 = 0.25;

/// Whose statistics batch norms use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// The batch's, which also enter their own with this weight.
    Train {
        /// 0 to 1; PyTorch's default is 0.1.
        momentum: f64,
    },
    /// Their own.
    Infer,
}

/// What a U-Net gives.
pub struct Output {
    /// `[N, classes, D, H, W]`, on the input's grid.
    pub logits: Tensor,
    /// `[N, 1, …]` for each decoder level from the finest down, on the padded grid of that level; empty
    /// without attention.
    pub attention: Vec<Tensor>,
}

/// Convolution, batch norm, PReLU.
struct ConvNorm {
    padding: [i64; 3],
    weight: Parameter,
    scale: Parameter,
    shift: Parameter,
    slope: Parameter,
    mean: Buffer,
    variance: Buffer,
}

impl ConvNorm {
    // No bias: the norm would take it away again.
    fn new(layout: &mut Layout, name: &str, input: i64, level: &Level) -> Self {
        let channels = [level.channels];
        let mut parameter =
            |part: &str, shape: &[i64], init| layout.parameter(format!("{name}.{part}"), shape, init);
        let weight =
            parameter("weight", &shape(level.channels, input, level.kernel), fan(input, level.kernel));
        let scale = parameter("norm.weight", &channels, Init::Constant(1.0));
        let shift = parameter("norm.bias", &channels, Init::Constant(0.0));
        let slope = parameter("slope", &[1], Init::Constant(PRELU_SLOPE));
        let mean = layout.buffer(format!("{name}.norm.mean"), &channels, Init::Constant(0.0));
        let variance = layout.buffer(format!("{name}.norm.variance"), &channels, Init::Constant(1.0));
        Self { padding: level.kernel.map(|k| k / 2), weight, scale, shift, slope, mean, variance }
    }

    fn forward(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        let x = conv(x, weights.get(self.weight), None, self.padding)?;
        // One number a channel has no variance: the running statistics would turn to NaN.
        let numbers: i64 = x.size().iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, n)| n).product();
        let (training, momentum) = match mode {
            Mode::Train { momentum } => (numbers > 1, momentum),
            Mode::Infer => (false, 0.0),
        };
        let normal = x.f_batch_norm(
            Some(weights.get(self.scale)),
            Some(weights.get(self.shift)),
            Some(weights.buffer(self.mean)),
            Some(weights.buffer(self.variance)),
            training,
            momentum,
            EPSILON,
            true,
        )?;
        Ok(normal.f_prelu(weights.get(self.slope))?)
    }
}

/// Two of convolution, batch norm, PReLU.
struct Block([ConvNorm; 2]);

impl Block {
    fn new(layout: &mut Layout, name: &str, input: i64, level: &Level) -> Self {
        let first = ConvNorm::new(layout, &format!("{name}.first"), input, level);
        let second = ConvNorm::new(layout, &format!("{name}.second"), level.channels, level);
        Self([first, second])
    }

    fn forward(&self, weights: &Weights, x: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        let [first, second] = &self.0;
        second.forward(weights, &first.forward(weights, x, mode)?, mode)
    }
}

/// A convolution with a bias and nothing after it.
struct Conv {
    padding: [i64; 3],
    weight: Parameter,
    bias: Parameter,
}

impl Conv {
    fn new(layout: &mut Layout, name: &str, input: i64, output: i64, kernel: [i64; 3]) -> Self {
        let init = fan(input, kernel);
        let weight = layout.parameter(format!("{name}.weight"), &shape(output, input, kernel), init);
        let bias = layout.parameter(format!("{name}.bias"), &[output], init);
        Self { padding: kernel.map(|k| k / 2), weight, bias }
    }

    fn forward(&self, weights: &Weights, x: &Tensor) -> Result<Tensor, NetworkError> {
        conv(x, weights.get(self.weight), Some(weights.get(self.bias)), self.padding)
    }
}

/// The paper's attention: a map between 0 and 1 from the features themselves, which it then weighs.
struct AttentionMap {
    first: Conv,
    second: Conv,
}

impl AttentionMap {
    fn new(layout: &mut Layout, name: &str, channels: i64, kernel: [i64; 3]) -> Self {
        let half = (channels / 2).max(1);
        Self {
            first: Conv::new(layout, &format!("{name}.first"), channels, half, kernel),
            second: Conv::new(layout, &format!("{name}.second"), half, 1, kernel),
        }
    }

    /// The weighed features `x * map + x`, and the map.
    fn forward(&self, weights: &Weights, x: &Tensor) -> Result<(Tensor, Tensor), NetworkError> {
        let hidden = self.first.forward(weights, x)?.f_relu()?;
        let map = self.second.forward(weights, &hidden)?.f_sigmoid()?;
        Ok((x.f_mul(&map)?.f_add(x)?, map))
    }
}

/// From one level up to the next finer one.
struct Decoder {
    pool: [i64; 3],
    up_weight: Parameter,
    up_bias: Parameter,
    attention: Option<AttentionMap>,
    block: Block,
}

impl Decoder {
    fn new(layout: &mut Layout, index: usize, config: &UnetConfig, level: &Level, below: &Level) -> Self {
        let name = format!("decoder.{index}");
        // As in PyTorch, the fan of a deconvolution counts its output channels.
        let init = fan(level.channels, level.pool);
        let up_shape = shape(below.channels, level.channels, level.pool);
        let up_weight = layout.parameter(format!("{name}.up.weight"), &up_shape, init);
        let up_bias = layout.parameter(format!("{name}.up.bias"), &[level.channels], init);
        let both = 2 * level.channels;
        let attention = (config.attention != Attention::Off)
            .then(|| AttentionMap::new(layout, &format!("{name}.attention"), both, level.kernel));
        let block = Block::new(layout, &name, both, level);
        Self { pool: level.pool, up_weight, up_bias, attention, block }
    }

    fn forward(
        &self,
        weights: &Weights,
        below: &Tensor,
        skip: &Tensor,
        mode: Mode,
    ) -> Result<(Tensor, Option<Tensor>), NetworkError> {
        let bias = Some(weights.get(self.up_bias));
        let up = below
            .f_conv_transpose3d(weights.get(self.up_weight), bias, self.pool, [0; 3], [0; 3], 1, [1; 3])
            .doing("deconvolution")?;
        let both = Tensor::f_cat(&[skip, &up], 1)?;
        let Some(attention) = &self.attention else {
            return Ok((self.block.forward(weights, &both, mode)?, None));
        };
        let (weighed, map) = attention.forward(weights, &both)?;
        Ok((self.block.forward(weights, &weighed, mode)?, Some(map)))
    }
}

/// A U-Net without its numbers.
pub struct Unet {
    config: UnetConfig,
    layout: Layout,
    encoder: Vec<Block>,
    decoder: Vec<Decoder>,
    head: Conv,
}

impl Unet {
    /// The network of a configuration.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where no network can be built from it.
    pub fn new(config: &UnetConfig) -> Result<Self, NetworkError> {
        config.check()?;
        let mut layout = Layout::default();
        let mut input = config.in_channels;
        let mut encoder = Vec::new();
        for (index, level) in config.levels.iter().enumerate() {
            encoder.push(Block::new(&mut layout, &format!("encoder.{index}"), input, level));
            input = level.channels;
        }
        let decoder = config.levels.windows(2).enumerate().filter_map(|(index, pair)| match pair {
            [level, below] => Some(Decoder::new(&mut layout, index, config, level, below)),
            _ => None,
        });
        let decoder = decoder.collect();
        let finest = config.levels.first().map_or(1, |level| level.channels);
        let head = Conv::new(&mut layout, "head", finest, config.classes, [1; 3]);
        Ok(Self { config: config.clone(), layout, encoder, decoder, head })
    }

    /// The tensors that it needs.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether attention maps are compared with the foreground.
    pub fn supervises(&self) -> bool {
        self.config.attention == Attention::Supervised
    }

    /// Logits of `[N, C, D, H, W]`. Sizes that the pools do not divide are padded by repeating the far
    /// faces, and cut back.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for another number of axes or channels, or an empty axis.
    pub fn forward(&self, weights: &Weights, input: &Tensor, mode: Mode) -> Result<Output, NetworkError> {
        let size = self.spatial(input)?;
        let mut x = self.pad(input)?;
        let mut skips = Vec::with_capacity(self.encoder.len());
        for (index, block) in self.encoder.iter().enumerate() {
            if let Some(above) = index.checked_sub(1).and_then(|above| self.config.levels.get(above)) {
                x = x.f_max_pool3d(above.pool, above.pool, [0; 3], [1; 3], false).doing("pooling")?;
            }
            x = block.forward(weights, &x, mode)?;
            skips.push(x.shallow_clone());
        }
        skips.pop();
        let mut attention = Vec::new();
        for (decoder, skip) in self.decoder.iter().zip(&skips).rev() {
            let (features, map) = decoder.forward(weights, &x, skip, mode)?;
            x = features;
            attention.extend(map);
        }
        attention.reverse();
        let logits = self.head.forward(weights, &x)?;
        Ok(Output { logits: crop(logits, size)?, attention })
    }

    /// The foreground `[N, 1, D, H, W]` at the resolution of each attention map, averaged over its voxels.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when libtorch refuses.
    pub fn attention_targets(&self, foreground: &Tensor) -> Result<Vec<Tensor>, NetworkError> {
        let padded = self.pad(foreground)?;
        let mut scale = [1i64; 3];
        let mut targets = Vec::with_capacity(self.decoder.len());
        for decoder in &self.decoder {
            targets.push(padded.f_avg_pool3d(scale, scale, [0; 3], false, true, None)?);
            scale = std::array::from_fn(|i| scale[i] * decoder.pool[i]);
        }
        Ok(targets)
    }

    fn spatial(&self, input: &Tensor) -> Result<[i64; 3], NetworkError> {
        match input.size()[..] {
            [_, channels, d, h, w] if channels == self.config.in_channels && d.min(h).min(w) > 0 => {
                Ok([d, h, w])
            }
            _ => Err(NetworkError::Shape {
                what: "the network's input".to_owned(),
                expected: format!("[N, {}, D, H, W]", self.config.in_channels),
                found: format!("{:?}", input.size()),
            }),
        }
    }

    fn pad(&self, x: &Tensor) -> Result<Tensor, NetworkError> {
        let multiple = self.config.multiple();
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
}

fn crop(x: Tensor, [d, h, w]: [i64; 3]) -> Result<Tensor, NetworkError> {
    Ok(x.f_narrow(2, 0, d)?.f_narrow(3, 0, h)?.f_narrow(4, 0, w)?)
}

fn conv(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    padding: [i64; 3],
) -> Result<Tensor, NetworkError> {
    x.f_conv3d(weight, bias, [1; 3], padding, [1; 3], 1).doing("convolution")
}

fn shape(output: i64, input: i64, [d, h, w]: [i64; 3]) -> [i64; 5] {
    [output, input, d, h, w]
}

/// PyTorch's default: uniform within 1 / sqrt(inputs of one output).
fn fan(input: i64, kernel: [i64; 3]) -> Init {
    Init::Uniform(1.0 / ((input * kernel.iter().product::<i64>()) as f64).sqrt())
}
