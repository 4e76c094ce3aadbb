//! What a network is made of, as values: a variant is a configuration, never a type of its own.

use serde::{Deserialize, Serialize};

use super::NetworkError;

/// Whether the decoder weighs its features by attention maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// No maps.
    Off,
    /// Maps that the segmentation loss alone shapes.
    Unsupervised,
    /// Maps that are also compared with the foreground at their resolution.
    Supervised,
}

/// How levels are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// Max-pooling down, deconvolution up.
    #[default]
    Paper,
}

/// Which levels see across slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dims {
    /// None: every level works in-plane.
    #[serde(rename = "2d")]
    Two,
    /// All but the first two.
    #[serde(rename = "2.5d")]
    TwoAndHalf,
    /// All.
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

/// One level of a U-Net.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Feature channels.
    pub channels: i64,
    /// Of its convolutions, `[D, H, W]`, odd.
    pub kernel: [i64; 3],
    /// From this level to the next, `[D, H, W]`; the last level's is not used.
    pub pool: [i64; 3],
}

/// A U-Net, complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnetConfig {
    /// Channels of the input.
    pub in_channels: i64,
    /// Classes that come out, background included.
    pub classes: i64,
    /// From full resolution down.
    pub levels: Vec<Level>,
    /// On the features of each decoder level.
    pub attention: Attention,
    /// How levels are joined.
    #[serde(default)]
    pub variant: Variant,
}

impl UnetConfig {
    /// Refuses what no network can be built from.
    ///
    /// # Errors
    /// [`NetworkError::Config`] that names the field.
    pub fn check(&self) -> Result<(), NetworkError> {
        let refuse = |field: String, message: String| Err(NetworkError::Config { field, message });
        let within = |value: i64| (1..=1 << 16).contains(&value);
        if !within(self.in_channels) {
            return refuse("in_channels".into(), format!("1 to 65536 expected, {} found", self.in_channels));
        }
        if !(2..=1 << 16).contains(&self.classes) {
            return refuse("classes".into(), format!("2 to 65536 expected, {} found", self.classes));
        }
        if !(1..=8).contains(&self.levels.len()) {
            return refuse("levels".into(), format!("1 to 8 expected, {} found", self.levels.len()));
        }
        for (index, level) in self.levels.iter().enumerate() {
            if !(1..=4096).contains(&level.channels) {
                let message = format!("1 to 4096 expected, {} found", level.channels);
                return refuse(format!("levels[{index}].channels"), message);
            }
            if level.kernel.iter().any(|&k| !(1..=15).contains(&k) || k % 2 == 0) {
                let message = format!("odd lengths up to 15 expected, {:?} found", level.kernel);
                return refuse(format!("levels[{index}].kernel"), message);
            }
            if level.pool.iter().any(|&p| !(1..=8).contains(&p)) {
                return refuse(
                    format!("levels[{index}].pool"),
                    format!("1 to 8 expected, {:?} found", level.pool),
                );
            }
        }
        Ok(())
    }

    /// What the input's `[D, H, W]` are padded to a multiple of.
    pub fn multiple(&self) -> [i64; 3] {
        let pools = self.levels.len().saturating_sub(1);
        self.levels
            .iter()
            .take(pools)
            .fold([1; 3], |all, level| std::array::from_fn(|i| all[i] * level.pool[i]))
    }
}

/// Channels of each level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Channels {
    /// Level `l` has `base * l`.
    Base(i64),
    /// One number for each level.
    Each(Vec<i64>),
}

/// A U-Net as a pipeline declares it: channels in and classes out follow from the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnetSettings {
    /// Which levels see across slices.
    pub dims: Dims,
    /// How many.
    pub levels: usize,
    /// Their widths.
    pub channels: Channels,
    /// On the features of each decoder level.
    pub attention: Attention,
    /// How levels are joined.
    #[serde(default)]
    pub variant: Variant,
}

impl UnetSettings {
    /// The network for these channels in and classes out.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where the fields do not go together.
    pub fn resolve(&self, in_channels: usize, classes: usize) -> Result<UnetConfig, NetworkError> {
        let channels: Vec<i64> = match &self.channels {
            Channels::Base(base) => {
                (1..=self.levels.min(64) as i64).map(|l| base.saturating_mul(l)).collect()
            }
            Channels::Each(each) => each.clone(),
        };
        if channels.len() != self.levels {
            let message =
                format!("{} numbers expected, one for each level, {} found", self.levels, channels.len());
            return Err(NetworkError::Config { field: "channels".to_owned(), message });
        }
        let level = |(index, &channels)| {
            let (kernel, pool) = self.dims.kernel_and_pool(index);
            Level { channels, kernel, pool }
        };
        let config = UnetConfig {
            in_channels: i64::try_from(in_channels).unwrap_or(i64::MAX),
            classes: i64::try_from(classes).unwrap_or(i64::MAX),
            levels: channels.iter().enumerate().map(level).collect(),
            attention: self.attention,
            variant: self.variant,
        };
        config.check()?;
        Ok(config)
    }
}

/// An architecture as a pipeline declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NetworkSettings {
    /// A U-Net.
    Unet(UnetSettings),
}

impl NetworkSettings {
    /// The network for these channels in and classes out.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where the fields do not go together.
    pub fn resolve(&self, in_channels: usize, classes: usize) -> Result<NetworkConfig, NetworkError> {
        match self {
            Self::Unet(settings) => Ok(NetworkConfig::Unet(settings.resolve(in_channels, classes)?)),
        }
    }
}

/// An architecture, complete: what a model card holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NetworkConfig {
    /// A U-Net.
    Unet(UnetConfig),
}

impl NetworkConfig {
    /// Classes that come out, background included.
    pub fn classes(&self) -> usize {
        match self {
            Self::Unet(config) => usize::try_from(config.classes).unwrap_or(0),
        }
    }

    /// Channels of the input.
    pub fn in_channels(&self) -> usize {
        match self {
            Self::Unet(config) => usize::try_from(config.in_channels).unwrap_or(0),
        }
    }
}

/// What training minimises.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LossConfig {
    /// Soft Dice over all classes.
    Dice,
    /// Soft Dice whose voxels count more the more wrong they are.
    HardnessDice {
        /// 0 is plain Dice; the paper takes 0.6.
        lambda: f64,
    },
}

impl LossConfig {
    /// The weight of hardness, 0 for plain Dice.
    pub fn lambda(self) -> f64 {
        match self {
            Self::Dice => 0.0,
            Self::HardnessDice { lambda } => lambda,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dims: Dims, levels: usize, channels: Channels) -> UnetSettings {
        UnetSettings { dims, levels, channels, attention: Attention::Supervised, variant: Variant::Paper }
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
    }
}
