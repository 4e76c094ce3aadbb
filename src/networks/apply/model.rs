//! A trained network, ready for whole volumes.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{CModule, IValue, Kind, TchError, Tensor};

use super::maps::MapKinds;
use crate::networks::architectures::dense::Dense;
use crate::networks::blocks::mode::Mode;
use crate::networks::tensors::error::first_line;
use crate::networks::tensors::weights::Weights;
use crate::networks::{Activation, Blend, Convention, Device, InputView, NetworkError};

mod canvas;
#[cfg(test)]
mod channels;
mod flips;
mod heads;
mod host;
mod maps;
mod reading;
mod segment;

pub use maps::Segmented;
pub use segment::Volume;

/// The number of bits that features and weights have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    Float32,
    /// 16 bits, of which 8 are the exponent's.
    Bfloat16,
}

impl Precision {
    pub(in crate::networks) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a volume is walked through.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferOptions {
    /// The share of a window that its neighbour covers again, 0 to below 1.
    pub overlap: f64,
    /// Windows or slices in one pass.
    pub batch: usize,
    /// The program whose placement and Gaussian windows are followed.
    #[serde(default)]
    pub convention: Convention,
    /// How windows that overlap are weighed.
    #[serde(default)]
    pub blend: Blend,
    /// Axes `[D, H, W]` that the input is mirrored along as well: the logits are the mean over all combinations.
    #[serde(default)]
    pub flips: [bool; 3],
    /// The number of bits that features and weights have.
    #[serde(default)]
    pub precision: Precision,
    /// Which maps are made beside the classes.
    #[serde(default)]
    pub keep: MapKinds,
}

impl Default for InferOptions {
    fn default() -> Self {
        Self {
            overlap: 0.25,
            batch: 4,
            convention: Convention::Monai,
            blend: Blend::Gaussian,
            flips: [false; 3],
            precision: Precision::Float32,
            keep: MapKinds::default(),
        }
    }
}

enum Network {
    Ours(Box<Ready>),
    Script(CModule),
}

/// A network with its weights for inference.
struct Ready {
    network: Dense,
    weights: Weights,
    mode: Mode,
    /// The same weights in 16 bits, once they were asked for.
    half: OnceCell<Weights>,
}

impl Ready {
    fn network(network: Dense, weights: Weights) -> Result<Network, NetworkError> {
        let (weights, mode) = network.ready(weights)?;
        Ok(Network::Ours(Box::new(Self { network, weights, mode, half: OnceCell::new() })))
    }

    /// Logits in 32 bits; with attention its map is one more channel behind the classes.
    fn logits(&self, input: &Tensor, options: &InferOptions) -> Result<Tensor, NetworkError> {
        let output = match options.precision {
            Precision::Float32 => self.network.forward(&self.weights, input, self.mode)?,
            Precision::Bfloat16 => {
                if self.half.get().is_none() {
                    let _ = self.half.set(self.network.halved(&self.weights)?);
                }
                let Some(half) = self.half.get() else { return Err(no_logits("no weights")) };
                let input = input.f_to_kind(Kind::BFloat16)?;
                self.network.forward(half, &input, self.mode)?
            }
        };
        let logits = output.logits.f_to_kind(Kind::Float)?;
        match output.attention.first() {
            _ if !options.keep.attention => Ok(logits),
            Some(finest) => crate::networks::architectures::unet::beside(&logits, finest),
            None => Err(maps::without_attention()),
        }
    }
}

/// A network with its weights on a device, or several whose logits are averaged. It can be sent to another
/// thread, but not shared.
pub struct Model {
    networks: Vec<Network>,
    view: InputView,
    label_names: Vec<String>,
    /// The names of the channels of scans, none of scans of one channel; not known of TorchScript.
    channel_names: Option<Vec<String>>,
    /// What logits are of.
    activation: Activation,
    /// The logits above which a voxel is inside, for labels with a head each; 0 where it is not said.
    thresholds: Vec<f32>,
    /// The labels within each label that holds others, where the card says so.
    regions: BTreeMap<String, Vec<String>>,
    device: Device,
}

impl Model {
    /// Makes a model that decides on a class for each voxel.
    fn of(
        networks: Vec<Network>,
        view: InputView,
        label_names: Vec<String>,
        channel_names: Option<Vec<String>>,
        device: Device,
    ) -> Self {
        let (activation, thresholds, regions) = (Activation::Softmax, Vec::new(), BTreeMap::new());
        Self { networks, view, label_names, channel_names, activation, thresholds, regions, device }
    }

    /// Returns the same model for scans whose channels are these.
    #[must_use]
    pub fn of_channels(self, names: Vec<String>) -> Self {
        Self { channel_names: Some(names), ..self }
    }

    /// Several models as one, whose logits are the mean of theirs: as nnU-Net averages over folds, before any
    /// softmax.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for no models, and for models that differ in how a volume is shown to them, in
    /// their labels or in their device.
    pub fn ensemble(models: impl IntoIterator<Item = Self>) -> Result<Self, NetworkError> {
        let mut models = models.into_iter();
        let differs = |what: &str, expected: String, found: String| {
            let what = format!("an ensemble's {what}");
            Err(NetworkError::Shape { what, expected, found })
        };
        let Some(mut whole) = models.next() else {
            return differs("models", "at least one".to_owned(), "none".to_owned());
        };
        for model in models {
            if model.view != whole.view {
                return differs("view", format!("{:?}", whole.view), format!("{:?}", model.view));
            }
            if model.label_names != whole.label_names {
                let names = |model: &Self| format!("{:?}", model.label_names);
                return differs("labels", names(&whole), names(&model));
            }
            if model.activation != whole.activation {
                let word = |model: &Self| format!("{:?}", model.activation).to_lowercase();
                return differs("activation", word(&whole), word(&model));
            }
            if model.regions != whole.regions {
                return differs("regions", format!("{:?}", whole.regions), format!("{:?}", model.regions));
            }
            if model.channel_names != whole.channel_names {
                let names = |model: &Self| match &model.channel_names {
                    Some(names) => format!("{names:?}"),
                    None => "those of a TorchScript network".to_owned(),
                };
                // A network of another program does not say which channels it takes.
                if whole.channel_names.is_some() && model.channel_names.is_some() {
                    return differs("channels", names(&whole), names(&model));
                }
                whole.channel_names = whole.channel_names.or(model.channel_names);
            }
            if model.device != whole.device {
                return differs("device", whole.device.to_string(), model.device.to_string());
            }
            whole.networks.extend(model.networks);
        }
        Ok(whole)
    }

    /// Returns how a volume is shown to the model.
    pub fn view(&self) -> &InputView {
        &self.view
    }

    /// The names of the labels, from label 1 on.
    pub fn label_names(&self) -> &[String] {
        &self.label_names
    }

    /// The names of the channels of the scans that it takes, none of scans of one channel; `None` where it does not say.
    pub fn channel_names(&self) -> Option<&[String]> {
        self.channel_names.as_deref()
    }

    /// Returns the number of the logits' channels.
    fn classes(&self) -> i64 {
        self.activation.channels(self.label_names.len()) as i64
    }

    /// Logits `[N, classes, D, H, W]` of `[N, C, D, H, W]` by one of the networks, and its attention map behind them
    /// where that is to be kept.
    fn logits_of(
        &self,
        network: &Network,
        input: &Tensor,
        options: &InferOptions,
    ) -> Result<Tensor, NetworkError> {
        let module = match (network, options.precision) {
            (Network::Ours(network), _) => return network.logits(input, options),
            (Network::Script(_), _) if options.keep.attention => return Err(maps::without_attention()),
            (Network::Script(module), Precision::Float32) => module,
            (Network::Script(_), Precision::Bfloat16) => {
                let message = "a TorchScript network runs in the precision that it was saved in".to_owned();
                return Err(NetworkError::Config { field: "precision".to_owned(), message });
            }
        };
        let flat = !matches!(self.view, InputView::Patch { .. });
        let shown = if flat { input.f_squeeze_dim(2)? } else { input.shallow_clone() };
        let mut expected = shown.size();
        if let Some(channels) = expected.get_mut(1) {
            *channels = self.classes();
        }
        let given = shown.size();
        let answer = module.forward_is(&[IValue::Tensor(shown)]).map_err(|error| refused(&error, &given))?;
        let logits = match answer {
            IValue::Tensor(logits) => logits,
            IValue::Tuple(parts) => match parts.into_iter().next() {
                Some(IValue::Tensor(logits)) => logits,
                _ => return Err(no_logits("a tuple that does not begin with a tensor")),
            },
            _ => return Err(no_logits("neither a tensor nor a tuple")),
        };
        if logits.size() != expected {
            return Err(NetworkError::Shape {
                what: "the TorchScript network's logits".to_owned(),
                expected: format!("{expected:?}"),
                found: format!("{:?}", logits.size()),
            });
        }
        let logits = logits.f_to_kind(Kind::Float)?;
        Ok(if flat { logits.f_unsqueeze(2)? } else { logits })
    }
}

/// Why a TorchScript network gives nothing for an input of this shape.
fn refused(error: &TchError, given: &[i64]) -> NetworkError {
    let refused = NetworkError::Torch { doing: "TorchScript network".to_owned(), message: first_line(error) };
    let text = error.to_string();
    let of_device = refused.is_out_of_memory() || text.contains("CUDA");
    // What was wrong stands behind where in the script it was.
    let why = text.lines().find_map(|line| line.trim().strip_prefix("RuntimeError: "));
    match why {
        Some(why) if !of_device => NetworkError::Shape {
            what: "the TorchScript network's input".to_owned(),
            expected: "one that it takes".to_owned(),
            found: format!("{given:?}, which it refuses: {}", why.trim()),
        },
        _ => refused,
    }
}

fn no_logits(found: &str) -> NetworkError {
    NetworkError::Shape {
        what: "the TorchScript network's answer".to_owned(),
        expected: "logits".to_owned(),
        found: found.to_owned(),
    }
}
