//! A network as a pipeline declares it, before the data say how many channels come in and classes out.

use serde::{Deserialize, Serialize};

use super::super::rcnn::config::RcnnSettings;
use super::{
    Attention, Head, Level, MapLoss, NetworkConfig, NormKind, OwnConfig, Pooling, Supervision, UnetConfig,
    Units, Variant,
};
use crate::networks::named::Named;
use crate::networks::{InputView, NetworkError};

const VS_SEG_DROPOUT: f64 = 0.1;

/// The levels that see across slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dims {
    /// No level: every one works in-plane.
    #[serde(rename = "2d")]
    Two,
    /// All levels but the first two.
    #[serde(rename = "2.5d")]
    TwoAndHalf,
    /// All levels.
    #[serde(rename = "3d")]
    Three,
}

impl Dims {
    /// The kernel of level `index` (from 0) and the pooling below it, `[D, H, W]`.
    fn kernel_and_pool(self, index: usize) -> ([i64; 3], [i64; 3]) {
        match self {
            Self::TwoAndHalf if index >= 2 => ([3, 3, 3], [2, 2, 2]),
            Self::Two | Self::TwoAndHalf => ([1, 3, 3], [1, 2, 2]),
            Self::Three => ([3, 3, 3], [2, 2, 2]),
        }
    }
}

/// The numbers of channels of all levels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Channels {
    /// Level `l` has `base * l`.
    Base(i64),
    /// The number for each level.
    Each(Vec<i64>),
}

/// The levels of a U-Net.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Levels {
    /// A number of levels, which are made by `dims` and `channels`.
    Count(usize),
    /// Each as it says, from full resolution down.
    Each(Vec<Level>),
}

impl From<usize> for Levels {
    fn from(count: usize) -> Self {
        Self::Count(count)
    }
}

/// A U-Net as a pipeline declares it: channels in and classes out follow from the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnetSettings {
    /// Which levels see across slices, where `levels` is their number.
    pub dims: Dims,
    /// The number of levels, or each of them.
    pub levels: Levels,
    /// The widths of the levels, where `levels` is their number.
    pub channels: Channels,
    /// Which features are weighed by maps.
    pub attention: Attention,
    /// How levels are made and joined.
    #[serde(default)]
    pub variant: Variant,
    /// The share of features that a training step leaves out; by the variant where it is left open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// How the foreground comes to a map's resolution; by the variant where it is left open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_pooling: Option<Pooling>,
    /// The loss by which maps are supervised; by the variant where it is left open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_loss: Option<MapLoss>,
    /// The length of kernels along axes that a level sees along, where `levels` is a number; 3 where it is left open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<i64>,
    /// The convolutions of each level of a `vnet`; 1, 2, 3, 3, … where it is left open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convolutions: Option<Vec<i64>>,
    /// The norm of a `vnet`; over the batch where it is left open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<NormKind>,
    /// What gives the logits of a `vnet`; a 1x1x1 convolution where it is left open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// The weights of the heads of a `residual` on coarser levels; 0.4 and 0.2 where they are left open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<Vec<f64>>,
}

/// The heads of `residual` on coarser levels, from the finest of these on.
const HEADS: [f64; 2] = [0.4, 0.2];

impl Default for UnetSettings {
    fn default() -> Self {
        Self {
            dims: Dims::TwoAndHalf,
            levels: Levels::Count(5),
            channels: Channels::Base(16),
            attention: Attention::Off,
            variant: Variant::Paper,
            dropout: None,
            map_pooling: None,
            map_loss: None,
            kernel: None,
            convolutions: None,
            norm: None,
            head: None,
            heads: None,
        }
    }
}

impl UnetSettings {
    /// The network for these channels in and classes out.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where the fields do not go together.
    pub fn resolve(&self, in_channels: usize, classes: usize) -> Result<UnetConfig, NetworkError> {
        let (dropout, supervision) = match self.variant {
            Variant::Paper | Variant::Vnet | Variant::Residual => (0.0, Supervision::default()),
            Variant::VsSeg => {
                (VS_SEG_DROPOUT, Supervision { pooling: Pooling::Maximum, loss: MapLoss::Dice })
            }
        };
        let levels = self.each_level()?;
        let config = UnetConfig {
            in_channels: i64::try_from(in_channels).unwrap_or(i64::MAX),
            classes: i64::try_from(classes).unwrap_or(i64::MAX),
            units: self.units(levels.len())?,
            levels,
            attention: self.attention,
            variant: self.variant,
            dropout: self.dropout.unwrap_or(dropout),
            supervision: Supervision {
                pooling: self.map_pooling.unwrap_or(supervision.pooling),
                loss: self.map_loss.unwrap_or(supervision.loss),
            },
        };
        config.check()?;
        Ok(config)
    }

    fn units(&self, levels: usize) -> Result<Units, NetworkError> {
        let Self { convolutions, norm, head, heads, .. } = self;
        let given = [
            ("convolutions", convolutions.is_some(), &[Variant::Vnet][..]),
            ("norm", norm.is_some(), &[Variant::Vnet, Variant::Residual]),
            ("head", head.is_some(), &[Variant::Vnet]),
            ("heads", heads.is_some(), &[Variant::Residual]),
        ];
        if let Some((field, _, of)) =
            given.iter().find(|(_, given, of)| *given && !of.contains(&self.variant))
        {
            let of: Vec<&str> =
                of.iter().map(|of| if *of == Variant::Vnet { "`vnet`" } else { "`residual`" }).collect();
            let message = format!("`variant` {} expected beside it", of.join(" or "));
            return Err(NetworkError::Config { field: (*field).to_owned(), message });
        }
        let norm = norm.unwrap_or_default();
        Ok(match self.variant {
            Variant::Paper | Variant::VsSeg => Units::default(),
            Variant::Vnet => {
                let counts = || (1..=levels.min(64) as i64).map(|level| level.min(3)).collect();
                let convolutions = convolutions.clone().unwrap_or_else(counts);
                Units { convolutions, norm, head: head.unwrap_or_default(), ..Units::default() }
            }
            Variant::Residual => {
                let known = || HEADS.into_iter().take(levels.saturating_sub(2)).collect();
                Units { norm, heads: heads.clone().unwrap_or_else(known), ..Units::default() }
            }
        })
    }

    fn each_level(&self) -> Result<Vec<Level>, NetworkError> {
        let count = match &self.levels {
            Levels::Each(levels) => return Ok(levels.clone()),
            Levels::Count(count) => *count,
        };
        let channels: Vec<i64> = match &self.channels {
            Channels::Base(base) => (1..=count.min(64) as i64).map(|l| base.saturating_mul(l)).collect(),
            Channels::Each(each) => each.clone(),
        };
        if channels.len() != count {
            let message = format!("{count} numbers expected, one for each level, {} found", channels.len());
            return Err(NetworkError::Config { field: "channels".to_owned(), message });
        }
        let level = |(index, &channels)| {
            let (kernel, pool) = self.dims.kernel_and_pool(index);
            let kernel = kernel.map(|length| if length > 1 { self.kernel.unwrap_or(length) } else { length });
            Level { channels, kernel, pool }
        };
        Ok(channels.iter().enumerate().map(level).collect())
    }
}

/// An architecture as a pipeline declares it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NetworkSettings {
    /// A U-Net.
    Unet(UnetSettings),
    /// A detector.
    Rcnn(RcnnSettings),
    /// An architecture of a downstream crate.
    #[serde(untagged)]
    Own(Named),
}

impl NetworkSettings {
    /// Whether its network has an attention map.
    pub fn attends(&self) -> bool {
        let Self::Unet(settings) = self else { return false };
        let levels = match &settings.levels {
            Levels::Count(count) => *count,
            Levels::Each(levels) => levels.len(),
        };
        settings.attention != Attention::Off && levels > 1
    }

    /// Whether its network gives boxes, and no class of each voxel.
    pub fn gives_boxes(&self) -> bool {
        matches!(self, Self::Rcnn(_))
    }

    /// Whether its boxes come with masks.
    pub fn gives_masks(&self) -> bool {
        matches!(self, Self::Rcnn(RcnnSettings { masks: true, .. }))
    }

    /// Whether a detector can be built for a view of slices, whatever comes out; nothing is said of other networks.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where it cannot.
    pub fn resolve_for(&self, view: &InputView, classes: usize) -> Result<(), NetworkError> {
        match self {
            Self::Rcnn(settings) => settings.resolve(view, classes).map(drop),
            _ => Ok(()),
        }
    }

    /// The network for these channels in and classes out.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where the fields do not go together.
    pub fn resolve(&self, in_channels: usize, classes: usize) -> Result<NetworkConfig, NetworkError> {
        match self {
            Self::Unet(settings) => Ok(NetworkConfig::Unet(settings.resolve(in_channels, classes)?)),
            // The view says which slices make an image; without it they are one.
            Self::Rcnn(settings) => {
                let view = InputView::Bag { stacks: 1, slices: in_channels, gap: 1 };
                Ok(NetworkConfig::Rcnn(settings.resolve(&view, classes)?))
            }
            Self::Own(Named { name, settings }) => {
                let (name, settings) = (name.clone(), settings.clone());
                Ok(NetworkConfig::Own(OwnConfig { name, in_channels, classes, settings }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dims: Dims, levels: usize, channels: Channels) -> UnetSettings {
        let levels = Levels::Count(levels);
        UnetSettings { dims, levels, channels, attention: Attention::Supervised, ..UnetSettings::default() }
    }

    #[test]
    fn the_papers_table() {
        let config = settings(Dims::TwoAndHalf, 5, Channels::Base(16)).resolve(1, 2).unwrap();
        let channels: Vec<_> = config.levels.iter().map(|level| level.channels).collect();
        assert_eq!(channels, [16, 32, 48, 64, 80]);
        let kernels: Vec<_> = config.levels.iter().map(|level| level.kernel[0]).collect();
        assert_eq!(kernels, [1, 1, 3, 3, 3]);
        assert_eq!(config.multiple(), [4, 16, 16]);
        assert_eq!(settings(Dims::Two, 3, Channels::Base(4)).resolve(3, 2).unwrap().multiple(), [1, 4, 4]);
        assert_eq!(
            settings(Dims::Three, 5, Channels::Base(4)).resolve(3, 2).unwrap().multiple(),
            [16, 16, 16]
        );
    }

    #[test]
    fn channels_go_with_levels() {
        let error = settings(Dims::Three, 3, Channels::Each(vec![4, 8])).resolve(1, 2).unwrap_err();
        assert!(error.to_string().contains("3 numbers expected"), "{error}");
        assert!(settings(Dims::Three, 0, Channels::Base(4)).resolve(1, 2).is_err());
        assert!(settings(Dims::Three, 3, Channels::Base(-4)).resolve(1, 2).is_err());
    }

    #[test]
    fn a_card_survives_json() {
        let config = NetworkConfig::Unet(settings(Dims::Two, 2, Channels::Base(4)).resolve(1, 2).unwrap());
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<NetworkConfig>(&text).unwrap(), config);
        assert!(text.starts_with(r#"{"type":"unet""#), "{text}");
        let own = r#"{"type":"mine","in_channels":1,"classes":2,"settings":{"width":4}}"#;
        let config: NetworkConfig = serde_json::from_str(own).unwrap();
        assert!(matches!(config, NetworkConfig::Own(_)));
        assert_eq!(serde_json::to_string(&config).unwrap(), own);
        // The error is in the words of the network that the card is meant for.
        let read = |text: &str| serde_json::from_str::<NetworkConfig>(text).unwrap_err().to_string();
        assert!(read(r#"{"type":"unet","classes":2}"#).contains("in_channels"));
        assert!(read(r#"{"classes":2}"#).contains("`type`"));
    }

    #[test]
    fn what_another_crate_brings_keeps_its_settings() {
        let text = r#"{"type":"mine","width":4,"version":1}"#;
        let settings: NetworkSettings = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&settings).unwrap(), text);
        let config = settings.resolve(3, 2).unwrap();
        assert_eq!((config.in_channels(), config.classes(), settings.attends()), (3, 2, false));
    }

    #[test]
    fn what_is_left_open_follows_from_the_variant() {
        let paper = settings(Dims::TwoAndHalf, 6, Channels::Base(16));
        let vs_seg = UnetSettings { variant: Variant::VsSeg, ..paper.clone() };
        let resolved = paper.resolve(1, 2).unwrap();
        assert_eq!((resolved.dropout, resolved.supervision), (0.0, Supervision::default()));
        let resolved = vs_seg.resolve(1, 2).unwrap();
        let published = Supervision { pooling: Pooling::Maximum, loss: MapLoss::Dice };
        assert_eq!((resolved.dropout, resolved.supervision), (0.1, published));
        let mixed =
            UnetSettings { dropout: Some(0.0), map_pooling: Some(Pooling::Average), ..vs_seg.clone() };
        let resolved = mixed.resolve(1, 2).unwrap();
        assert_eq!(resolved.dropout, 0.0);
        assert_eq!(resolved.supervision, Supervision { pooling: Pooling::Average, loss: MapLoss::Dice });
        assert!(UnetSettings { dropout: Some(1.0), ..paper }.resolve(1, 2).is_err());
        assert!(UnetSettings { dropout: Some(f64::NAN), ..vs_seg.clone() }.resolve(1, 2).is_err());
        assert!(UnetSettings { levels: 1.into(), ..vs_seg }.resolve(1, 2).is_err());
    }

    #[test]
    fn levels_are_a_number_or_tables() {
        let text = r#"{"dims":"2.5d","levels":[{"channels":7,"kernel":[1,5,5],"pool":[1,4,2]},
            {"channels":9,"kernel":[3,1,1],"pool":[1,1,1]}],"channels":16,"attention":"gate"}"#;
        let settings: UnetSettings = serde_json::from_str(text).unwrap();
        let config = settings.resolve(2, 4).unwrap();
        assert_eq!(config.levels[0], Level { channels: 7, kernel: [1, 5, 5], pool: [1, 4, 2] });
        assert_eq!((config.levels.len(), config.multiple()), (2, [1, 4, 2]));
        for (wrong, field) in [("[1,4,5]", "kernel"), ("[0,1,1]", "kernel")] {
            let text = text.replace("[1,5,5]", wrong);
            let error = serde_json::from_str::<UnetSettings>(&text).unwrap().resolve(1, 2).unwrap_err();
            assert!(error.to_string().contains(field), "{error}");
        }
    }

    #[test]
    fn what_came_later_leaves_cards_as_they_were() {
        let early = r#"{"in_channels":1,"classes":2,"levels":[{"channels":4,"kernel":[3,3,3],"pool":[2,2,2]}],"attention":"off","variant":"paper"}"#;
        let config: UnetConfig = serde_json::from_str(early).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), early);
        let early = r#"{"dims":"3d","levels":3,"channels":16,"attention":"off","variant":"paper"}"#;
        let settings: UnetSettings = serde_json::from_str(early).unwrap();
        assert_eq!(serde_json::to_string(&settings).unwrap(), early);
    }
}
