//! What a model says about itself, in the header of its file: all that an inference elsewhere needs.

use std::collections::BTreeMap;
use std::io::Read;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tomoflow_connectors::Digest;

use super::tensors::file;
use super::{Activation, Figure, InputView, NetworkConfig, NetworkError};

/// A model card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The architecture.
    pub network: NetworkConfig,
    /// How a volume is shown to the network.
    pub view: InputView,
    /// The names of the labels, from label 1 on.
    pub label_names: Vec<String>,
    /// Where the model comes from. Cards of earlier models do not say it.
    #[serde(default, flatten)]
    pub origin: Origin,
    /// The figures of its training.
    #[serde(default)]
    pub figures: Vec<Figure>,
}

impl ModelCard {
    /// The card in the header of a safetensors file; the weights after it are not read.
    ///
    /// # Errors
    /// [`NetworkError::File`] for bytes that are no such file or have no card, or cannot be read.
    pub fn read(bytes: impl Read) -> Result<Self, NetworkError> {
        file::header(bytes, "model")?.ok_or_else(|| NetworkError::File {
            file: "model".to_owned(),
            message: "a model card expected in the header, none found".to_owned(),
            hint: "only models that tomoflow trained have one".to_owned(),
        })
    }
}

/// What a model was trained on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// What was done to scans as they were assembled, in this order; none when the card does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preparation: Option<Vec<Step>>,
    /// The cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// The labels that things are made of, for each class of a network that gives boxes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub things: Vec<Vec<String>>,
    /// The names of the channels of its scans, in their order; none of scans of one channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// What the numbers of the network's last layer are.
    #[serde(default, skip_serializing_if = "Activation::is_default")]
    pub activation: Activation,
    /// The labels within each label that holds others, where it was learned as such.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub regions: BTreeMap<String, Vec<String>>,
    /// The content of the model or file that its training began with; none of one that began with numbers of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Digest>,
}

impl Origin {
    /// Returns the number of channels that the model's scans have, at least 1.
    pub fn channel_count(&self) -> usize {
        self.channels.len().max(1)
    }
}

/// One operator of a preparation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The operator's type, as in a pipeline file.
    #[serde(rename = "type")]
    pub operator: String,
    /// The version of its code.
    pub version: u32,
    /// Those of the operator's fields that results depend on.
    pub settings: Map<String, Value>,
}

/// The cases of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// The digest of the prepared voxels and labels of all cases, in their parts.
    pub digest: Digest,
    /// The number of cases to learn from.
    pub train: usize,
    /// The number of cases by which the best epoch was chosen.
    pub validation: usize,
    /// The number of cases to learn from that nobody has drawn.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unlabelled: usize,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cards_of_earlier_models_say_nothing_of_their_origin() {
        let network =
            json!({ "type": "unet", "in_channels": 1, "classes": 2, "levels": [], "attention": "off" });
        let mut card = json!({ "network": network, "view": { "type": "patch", "size": [4, 4, 4] }, "label_names": ["a"] });
        let read = |card: &Value| serde_json::from_value::<ModelCard>(card.clone()).unwrap();
        assert_eq!(read(&card).origin, Origin::default());
        assert_eq!(read(&card).origin.channel_count(), 1);
        card["preparation"] = json!([{ "type": "zscore", "version": 1, "settings": { "above": 0.0 } }]);
        card["channels"] = json!(["t1", "flair"]);
        card["data"] = json!({ "digest": Digest::of(b"a"), "train": 3, "validation": 1 });
        let read = read(&card);
        let found = serde_json::to_value(&read).unwrap();
        assert_eq!((&found["channels"], read.origin.channel_count()), (&card["channels"], 2));
        assert_eq!((&found["preparation"], &found["data"]), (&card["preparation"], &card["data"]));
        assert_eq!(read.origin.preparation.unwrap()[0].settings["above"], json!(0.0));
    }
}
