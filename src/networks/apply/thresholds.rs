//! The probabilities from which on a voxel is inside of a label that has a head of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::networks::{Activation, NetworkError};

/// The probability above which a voxel is inside: for all labels, or by name, 0.5 for those that are not named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Thresholds {
    /// One probability for all labels.
    One(f64),
    /// Probabilities by the names of labels.
    Named(BTreeMap<String, f64>),
}

impl Default for Thresholds {
    fn default() -> Self {
        Self::One(0.5)
    }
}

impl Thresholds {
    /// The logit of each label's.
    pub(super) fn logits(&self, activation: Activation, labels: &[String]) -> Result<Vec<f32>, NetworkError> {
        let refuse = |message: String| Err(NetworkError::Config { field: "threshold".to_owned(), message });
        if *self == Self::default() {
            return Ok(Vec::new());
        }
        if !activation.overlaps() {
            let message = "a model with a head for each label (`activation = \"sigmoid\"`) expected, one with a class \
                           for each voxel found";
            return refuse(message.to_owned());
        }
        if let Self::Named(named) = self
            && let Some(name) = named.keys().find(|name| !labels.contains(name))
        {
            return refuse(format!("one of the labels {} expected, `{name}` found", labels.join(", ")));
        }
        let of = |name: &String| match self {
            Self::One(threshold) => *threshold,
            Self::Named(named) => named.get(name).copied().unwrap_or(0.5),
        };
        let all: Vec<f64> = labels.iter().map(of).collect();
        if let Some(odd) = all.iter().find(|threshold| !(**threshold > 0.0 && **threshold < 1.0)) {
            return refuse(format!("a probability between 0 and 1 expected, {odd} found"));
        }
        Ok(all.iter().map(|p| (p / (1.0 - p)).ln() as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_those_of_labels_with_heads() {
        let labels = ["a", "b"].map(str::to_owned);
        let logits = |thresholds: Thresholds| thresholds.logits(Activation::Sigmoid, &labels);
        assert!(logits(Thresholds::default()).unwrap().is_empty());
        let both = logits(Thresholds::One(0.75)).unwrap();
        assert!(both.len() == 2 && both.iter().all(|logit| (logit - 3f32.ln()).abs() < 1e-6));
        let named = |name: &str, p| Thresholds::Named([(name.to_owned(), p)].into_iter().collect());
        let of_b = logits(named("b", 0.25)).unwrap();
        assert!(of_b[0] == 0.0 && (of_b[1] + 3f32.ln()).abs() < 1e-6, "{of_b:?}");
        assert!(logits(named("c", 0.25)).unwrap_err().to_string().contains("a, b expected, `c`"));
        assert!(logits(Thresholds::One(1.0)).is_err());
        assert!(Thresholds::One(0.4).logits(Activation::Softmax, &labels).is_err());
        assert!(Thresholds::default().logits(Activation::Softmax, &labels).is_ok());
    }
}
