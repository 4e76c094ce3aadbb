//! A network that gives logits for every voxel, whoever brings it.

use tch::{Kind, Tensor};

use super::Architecture;
use super::config::{NetworkConfig, OwnConfig, Supervision, Variant};
use super::residual::Residual;
use super::unet::{Unet, UnetOutput};
use super::vnet::Vnet;
use crate::networks::NetworkError;
use crate::networks::blocks::mode::Mode;
use crate::networks::extensions::Extensions;
use crate::networks::tensors::weights::{Layout, Weights};

/// A network of a card.
pub(in crate::networks) enum Dense {
    Unet(Box<Unet>),
    Vnet(Box<Vnet>),
    Residual(Box<Residual>),
    Own(Box<dyn Architecture>, OwnConfig),
}

impl Dense {
    pub fn new(config: &NetworkConfig, extensions: &Extensions) -> Result<Self, NetworkError> {
        Ok(match config {
            NetworkConfig::Unet(config) if config.variant == Variant::Vnet => {
                Self::Vnet(Box::new(Vnet::new(config)?))
            }
            NetworkConfig::Unet(config) if config.variant == Variant::Residual => {
                Self::Residual(Box::new(Residual::new(config)?))
            }
            NetworkConfig::Unet(config) => Self::Unet(Box::new(Unet::new(config)?)),
            NetworkConfig::Rcnn(_) => {
                return Err(NetworkError::Config {
                    field: "network".to_owned(),
                    message:
                        "a network with a class for each voxel expected, `rcnn` gives boxes: use `detect`"
                            .to_owned(),
                });
            }
            NetworkConfig::Own(config) => Self::Own(extensions.network(config)?, config.clone()),
        })
    }

    /// The tensors that it needs.
    pub fn layout(&self) -> &Layout {
        match self {
            Self::Unet(unet) => unet.layout(),
            Self::Vnet(vnet) => vnet.layout(),
            Self::Residual(residual) => residual.layout(),
            Self::Own(network, _) => network.layout(),
        }
    }

    /// Logits on the input's grid, and attention maps where there are such.
    pub fn forward(&self, weights: &Weights, input: &Tensor, mode: Mode) -> Result<UnetOutput, NetworkError> {
        let (network, config) = match self {
            Self::Unet(unet) => return unet.forward(weights, input, mode),
            Self::Residual(residual) => return residual.forward(weights, input, mode),
            Self::Vnet(vnet) => {
                let logits = vnet.forward(weights, input, mode)?;
                return Ok(UnetOutput { logits, attention: Vec::new(), auxiliary: Vec::new() });
            }
            Self::Own(network, config) => (network, config),
        };
        let mut expected = input.size();
        if let Some(channels) = expected.get_mut(1) {
            *channels = config.classes as i64;
        }
        let logits = network.forward(weights, input, mode)?;
        if logits.size() != expected {
            return Err(NetworkError::Shape {
                what: format!("the logits of `{}`", config.name),
                expected: format!("{expected:?}"),
                found: format!("{:?}", logits.size()),
            });
        }
        Ok(UnetOutput { logits, attention: Vec::new(), auxiliary: Vec::new() })
    }

    /// Logits, and the features of the finest level that they are made from, on the input's grid.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for a network whose features nobody asks for.
    pub fn with_features(
        &self,
        weights: &Weights,
        input: &Tensor,
        mode: Mode,
    ) -> Result<(UnetOutput, Tensor), NetworkError> {
        match self {
            Self::Residual(residual) => residual.with_features(weights, input, mode),
            Self::Vnet(vnet) => {
                let (logits, features) = vnet.with_features(weights, input, mode)?;
                Ok((UnetOutput { logits, attention: Vec::new(), auxiliary: Vec::new() }, features))
            }
            Self::Unet(_) | Self::Own(..) => Err(NetworkError::Config {
                field: "strategy".to_owned(),
                message: "a network of `variant` \"vnet\" or \"residual\" expected, whose features are told"
                    .to_owned(),
            }),
        }
    }

    /// Logits where channels on the way down are left out, so large a share of them; which ones follows from a number.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for a network that has no such form.
    pub fn with_channels_dropped(
        &self,
        weights: &Weights,
        input: &Tensor,
        mode: Mode,
        dropped: (f64, u64),
    ) -> Result<Tensor, NetworkError> {
        match self {
            Self::Vnet(vnet) => vnet.with_channels_dropped(weights, input, mode, dropped),
            _ => Err(NetworkError::Config {
                field: "strategy".to_owned(),
                message: "a network of `variant` \"vnet\" expected, whose channels can be left out"
                    .to_owned(),
            }),
        }
    }

    /// Whether channels on its way down can be left out.
    pub fn drops_channels(&self) -> bool {
        matches!(self, Self::Vnet(_))
    }

    /// Whether it tells the features that logits are made from.
    pub fn tells_features(&self) -> bool {
        matches!(self, Self::Residual(_) | Self::Vnet(_))
    }

    /// Returns how attention maps are supervised, and the network whose grids they have, where they are
    /// supervised.
    pub fn supervision(&self) -> Option<(&Unet, Supervision)> {
        match self {
            Self::Unet(unet) => Some((unet, unet.supervision()?)),
            Self::Vnet(_) | Self::Residual(_) | Self::Own(..) => None,
        }
    }

    /// Returns the weights of the losses of heads on coarser levels, where the network has such.
    pub fn heads(&self) -> &[f64] {
        match self {
            Self::Residual(residual) => residual.weights_of_heads(),
            Self::Unet(_) | Self::Vnet(_) | Self::Own(..) => &[],
        }
    }

    /// Whether it has an attention map.
    pub fn attends(&self) -> bool {
        match self {
            Self::Unet(unet) => !unet.attention_scales().is_empty(),
            Self::Vnet(_) | Self::Residual(_) | Self::Own(..) => false,
        }
    }

    /// Weights for inference, and what layers are asked for with them.
    pub fn ready(&self, weights: Weights) -> Result<(Weights, Mode), NetworkError> {
        match self {
            Self::Unet(unet) => Ok((unet.folded(&weights, Kind::Float)?, Mode::Folded)),
            // Nobody knows what could be folded in a network of another kind.
            Self::Vnet(_) | Self::Residual(_) | Self::Own(..) => Ok((weights, Mode::Infer)),
        }
    }

    /// Returns the same weights in fewer bits.
    pub fn halved(&self, ready: &Weights) -> Result<Weights, NetworkError> {
        match self {
            Self::Unet(_) => ready.to_kind(Kind::BFloat16),
            // These are rounded as in training: the running statistics of their norms keep all bits.
            Self::Vnet(_) | Self::Residual(_) | Self::Own(..) => ready.rounded(Kind::BFloat16),
        }
    }
}
