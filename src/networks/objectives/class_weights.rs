//! How much labels count in a loss.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::networks::NetworkError;

/// The name of the background among labels.
const BACKGROUND: &str = "background";

/// The weight of each class in the loss, the background first; none where all count alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassWeights(Vec<f64>);

/// The weights of classes that all count alike.
pub static ALIKE: ClassWeights = ClassWeights(Vec::new());

impl ClassWeights {
    /// Weights by name, 1 for those that are not named. Heads and regions have no background.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for names that no label has, and where nothing would count.
    pub fn new(
        named: &BTreeMap<String, f64>,
        labels: &[String],
        background: bool,
    ) -> Result<Self, NetworkError> {
        if named.is_empty() {
            return Ok(Self::default());
        }
        let refuse =
            |message: String| Err(NetworkError::Config { field: "class_weights".to_owned(), message });
        let known = |name: &String| labels.contains(name) || (background && name == BACKGROUND);
        if let Some(name) = named.keys().find(|name| !known(name)) {
            let first = if background { "background, " } else { "" };
            return refuse(format!("one of {first}{} expected, `{name}` found", labels.join(", ")));
        }
        let weight = |name: &str| named.get(name).copied().unwrap_or(1.0);
        let first = if background { weight(BACKGROUND) } else { 0.0 };
        let weights: Vec<f64> =
            std::iter::once(first).chain(labels.iter().map(|name| weight(name))).collect();
        if !weights.iter().any(|weight| *weight > 0.0) {
            return refuse("at least one weight above 0 expected, none found".to_owned());
        }
        Ok(Self(weights))
    }

    /// Returns the weight of a label, from 1 on.
    pub(super) fn of(&self, label: usize) -> f64 {
        self.0.get(label).copied().unwrap_or(1.0)
    }

    /// Returns the weights of some classes as a tensor beside another one; none where all count alike.
    pub(super) fn tensor(&self, classes: &[i64], like: &Tensor) -> Result<Option<Tensor>, NetworkError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let weights: Vec<f64> =
            classes.iter().map(|class| self.of(usize::try_from(*class).unwrap_or(usize::MAX))).collect();
        let weights = Tensor::f_from_slice(&weights)?.f_to_kind(Kind::Float)?.f_to_device(like.device())?;
        Ok(Some(weights))
    }

    /// Whether all count alike.
    pub(super) fn are_alike(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_have_the_names_of_labels() {
        let labels = ["liver", "lesion"].map(str::to_owned);
        let named = |pairs: &[(&str, f64)]| {
            pairs.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect::<BTreeMap<_, _>>()
        };
        assert!(ClassWeights::new(&named(&[]), &labels, true).unwrap().are_alike());
        let weights = ClassWeights::new(&named(&[("lesion", 4.0), ("background", 0.5)]), &labels, true);
        assert_eq!(weights.unwrap(), ClassWeights(vec![0.5, 1.0, 4.0]));
        let message = |pairs: &[(&str, f64)], background| {
            ClassWeights::new(&named(pairs), &labels, background).unwrap_err().to_string()
        };
        assert!(message(&[("lesoin", 4.0)], true).contains("background, liver, lesion expected, `lesoin`"));
        assert!(message(&[("background", 4.0)], false).contains("one of liver, lesion expected"));
        assert!(message(&[("liver", 0.0), ("lesion", 0.0)], false).contains("above 0"));
    }
}
