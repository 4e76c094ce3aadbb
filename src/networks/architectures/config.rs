//! What a network is made of, as values: a variant is a configuration, never a type of its own.

mod settings;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::rcnn::config::RcnnConfig;
use crate::networks::NetworkError;
pub use crate::networks::blocks::norm::NormKind;
pub use settings::{Channels, Dims, Levels, NetworkSettings, UnetSettings};

/// Whether features are weighed by attention maps, and by which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// No maps.
    #[default]
    Off,
    /// A gate on the encoder's features, opened by those from below (Oktay et al. 2018, "AG").
    Gate,
    /// Maps on the decoder's features that the segmentation loss alone shapes (Wang et al. 2019, "PA").
    Unsupervised,
    /// The same maps, also compared with the foreground at their resolution ("SpvPA").
    Supervised,
}

/// How levels are made and joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// Wang et al. 2019: two convolutions a level, max-pooling down, deconvolution up.
    #[default]
    Paper,
    /// The code its authors published later (KCL-BMEIS/VS_Seg): residual levels, strided convolutions down
    /// and up, dropout, and attention at the bottleneck too.
    VsSeg,
    /// Milletari et al. 2016: residual levels of one to three convolutions, strided convolutions down and up.
    Vnet,
    /// Yu et al. 2017: residual levels with norm and activation first, max-pooling down, deconvolution up, summed
    /// skips, and heads on coarser levels.
    Residual,
}

/// What gives the logits of a `vnet`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// A 1x1x1 convolution.
    #[default]
    Point,
    /// A convolution with the kernel of the finest level, and a 1x1x1 convolution of what it gives.
    Level,
}

/// The convolutions of levels, of variants that let one choose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Units {
    /// The number of convolutions on each level, from full resolution down; on the way up there are as many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub convolutions: Vec<i64>,
    /// The norm of the convolutions.
    #[serde(default, skip_serializing_if = "is_batch")]
    pub norm: NormKind,
    /// What gives the logits.
    #[serde(default, skip_serializing_if = "is_point")]
    pub head: Head,
    /// The weights of the losses of heads on coarser levels, from the finest of these on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<f64>,
}

impl Units {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn is_batch(norm: &NormKind) -> bool {
    *norm == NormKind::default()
}

fn is_point(head: &Head) -> bool {
    *head == Head::default()
}

/// How the foreground comes to the resolution of an attention map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The share of foreground in what a voxel of the map covers: the paper's.
    #[default]
    Average,
    /// Foreground where any of it is: VS_Seg's.
    Maximum,
}

/// The loss by which attention maps are compared with the foreground.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapLoss {
    /// The segmentation's own: the paper's.
    #[default]
    Segmentation,
    /// Soft Dice: VS_Seg's.
    Dice,
}

/// How attention maps are supervised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervision {
    /// How the foreground comes to the resolution of a map.
    pub pooling: Pooling,
    /// The loss by which a map is compared with the foreground.
    pub loss: MapLoss,
}

impl Supervision {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The greatest dropout: more than this leaves too little to learn from.
const MOST_DROPOUT: f64 = 0.9;

/// One level of a U-Net.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Feature channels.
    pub channels: i64,
    /// The kernel of the level's convolutions, `[D, H, W]`, odd.
    pub kernel: [i64; 3],
    /// The pooling from this level to the next, `[D, H, W]`; the last level's is not used.
    pub pool: [i64; 3],
}

/// A U-Net, complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnetConfig {
    /// Channels of the input.
    pub in_channels: i64,
    /// Classes that come out, background included.
    pub classes: i64,
    /// The levels, from full resolution down.
    pub levels: Vec<Level>,
    /// The attention maps on the features of each decoder level.
    pub attention: Attention,
    /// How levels are made and joined.
    #[serde(default)]
    pub variant: Variant,
    /// The share of features that a training step leaves out, after each norm.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropout: f64,
    /// How attention maps are supervised.
    #[serde(default, skip_serializing_if = "Supervision::is_default")]
    pub supervision: Supervision,
    /// The convolutions of levels, of variants that let one choose.
    #[serde(default, skip_serializing_if = "Units::is_default")]
    pub units: Units,
}

// What came later stands in a card only where it says something: cards of earlier models stay as they were.
fn is_zero(value: &f64) -> bool {
    *value == 0.0
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
        if !(1..=1 << 16).contains(&self.classes) {
            return refuse("classes".into(), format!("1 to 65536 expected, {} found", self.classes));
        }
        if !(1..=8).contains(&self.levels.len()) {
            return refuse("levels".into(), format!("1 to 8 expected, {} found", self.levels.len()));
        }
        if self.variant == Variant::VsSeg && self.levels.len() < 2 {
            return refuse("levels".into(), "2 or more levels expected for `vs_seg`, 1 found".to_owned());
        }
        if !(0.0..=MOST_DROPOUT).contains(&self.dropout) {
            return refuse("dropout".into(), format!("0 to {MOST_DROPOUT} expected, {} found", self.dropout));
        }
        self.check_units()?;
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

    /// Refuses what only some variants let one choose.
    fn check_units(&self) -> Result<(), NetworkError> {
        let refuse =
            |field: &str, message: String| Err(NetworkError::Config { field: field.to_owned(), message });
        let Units { convolutions, head, heads, .. } = &self.units;
        if matches!(self.variant, Variant::Paper | Variant::VsSeg) {
            return match self.units.is_default() {
                true => Ok(()),
                false => refuse(
                    "units",
                    "`variant` \"vnet\" or \"residual\" expected beside their fields".to_owned(),
                ),
            };
        }
        if self.attention != Attention::Off {
            return refuse(
                "attention",
                "\"off\" expected for `vnet` and `residual`, which have no attention maps".to_owned(),
            );
        }
        if self.dropout != 0.0 {
            return refuse(
                "dropout",
                format!("0 expected for `vnet` and `residual`, {} found", self.dropout),
            );
        }
        let wanted = self.levels.len();
        if self.variant == Variant::Residual {
            // The deepest level has no head, and the finest one has that of the answer.
            let most = wanted.saturating_sub(2);
            if heads.len() > most {
                return refuse(
                    "heads",
                    format!("at most {most} weights expected for {wanted} levels, {} found", heads.len()),
                );
            }
            if let Some(weight) = heads.iter().find(|weight| !(0.0..=1000.0).contains(*weight)) {
                return refuse("heads", format!("weights of 0 to 1000 expected, {weight} found"));
            }
            return match convolutions.is_empty() && is_point(head) {
                true => Ok(()),
                false => refuse(
                    "convolutions",
                    "`convolutions` and `head` are fields of `vnet`, `residual` found".to_owned(),
                ),
            };
        }
        if !heads.is_empty() {
            return refuse(
                "heads",
                "no weights expected for `vnet`, which has no heads on coarser levels".to_owned(),
            );
        }
        if convolutions.len() != wanted {
            let message =
                format!("{wanted} numbers expected, one for each level, {} found", convolutions.len());
            return refuse("convolutions", message);
        }
        match convolutions.iter().find(|count| !(1..=8).contains(*count)) {
            Some(count) => {
                refuse("convolutions", format!("1 to 8 convolutions on each level expected, {count} found"))
            }
            None => Ok(()),
        }
    }

    /// Returns what the input's `[D, H, W]` are padded to a multiple of.
    pub fn multiple(&self) -> [i64; 3] {
        let pools = self.levels.len().saturating_sub(1);
        self.levels
            .iter()
            .take(pools)
            .fold([1; 3], |all, level| std::array::from_fn(|i| all[i] * level.pool[i]))
    }
}

/// A network of a downstream crate, complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnConfig {
    /// The name that it is registered by.
    #[serde(rename = "type")]
    pub name: String,
    /// Channels of the input.
    pub in_channels: usize,
    /// Classes that come out, background included.
    pub classes: usize,
    /// The architecture's own fields, defaults included.
    pub settings: Map<String, Value>,
}

/// An architecture, complete: what a model card holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NetworkConfig {
    /// A U-Net.
    Unet(UnetConfig),
    /// A detector.
    Rcnn(RcnnConfig),
    /// An architecture of a downstream crate.
    #[serde(untagged)]
    Own(OwnConfig),
}

// This is implemented by hand, so that a card that is wrong is told of in the words of its own network.
impl<'de> Deserialize<'de> for NetworkConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Map::deserialize(deserializer)?;
        let read = |error: serde_json::Error| D::Error::custom(error);
        match table.get("type").and_then(Value::as_str) {
            Some("unet") => {
                table.shift_remove("type");
                serde_json::from_value(Value::Object(table)).map(Self::Unet).map_err(read)
            }
            Some("rcnn") => {
                table.shift_remove("type");
                serde_json::from_value(Value::Object(table)).map(Self::Rcnn).map_err(read)
            }
            Some(_) => serde_json::from_value(Value::Object(table)).map(Self::Own).map_err(read),
            None => Err(D::Error::missing_field("type")),
        }
    }
}

impl NetworkConfig {
    /// Classes that come out, background included.
    pub fn classes(&self) -> usize {
        match self {
            Self::Unet(config) => usize::try_from(config.classes).unwrap_or(0),
            Self::Rcnn(config) => usize::try_from(config.classes).unwrap_or(0),
            Self::Own(config) => config.classes,
        }
    }

    /// Channels of the input.
    pub fn in_channels(&self) -> usize {
        match self {
            Self::Unet(config) => usize::try_from(config.in_channels).unwrap_or(0),
            Self::Rcnn(config) => usize::try_from(config.slices.saturating_mul(config.stacks)).unwrap_or(0),
            Self::Own(config) => config.in_channels,
        }
    }

    /// Whether it gives boxes, and no class of each voxel.
    pub fn gives_boxes(&self) -> bool {
        matches!(self, Self::Rcnn(_))
    }
}
