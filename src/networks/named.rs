//! What a pipeline or a card says of a network or a loss that tomoflow does not bring.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A name and what is set beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Named {
    /// The name that it is registered by.
    #[serde(rename = "type")]
    pub name: String,
    /// The fields of the network or loss itself, defaults included.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}
