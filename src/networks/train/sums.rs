//! What an epoch's figures are made from: sums by name, which a checkpoint holds to the bit.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Sums over an epoch by name, in the order in which they were asked for: of numbers, whose bits are kept, and counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::networks) struct Sums(Vec<(String, u64)>);

impl Sums {
    /// Sums of nothing by these names.
    pub fn of(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| (name, 0)).collect())
    }

    /// Takes over what a checkpoint has by these names, and behind them what else it has.
    pub fn filled(mut self, found: Self) -> Self {
        for (name, value) in found.0 {
            *self.place(&name) = value;
        }
        self
    }

    /// Adds to a sum of numbers.
    pub fn add(&mut self, name: &str, value: f64) {
        let place = self.place(name);
        *place = (f64::from_bits(*place) + value).to_bits();
    }

    /// Counts one more.
    pub fn count(&mut self, name: &str) {
        *self.place(name) += 1;
    }

    /// A sum of numbers.
    pub fn number(&self, name: &str) -> f64 {
        f64::from_bits(self.counted(name))
    }

    /// A count; 0 for what was never counted.
    pub fn counted(&self, name: &str) -> u64 {
        self.0.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }

    fn place(&mut self, name: &str) -> &mut u64 {
        let index = self.0.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.0.push((name.to_owned(), 0));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }
}

impl Serialize for Sums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Sums {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Sums;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sums by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sums, A::Error> {
                let mut sums = Sums::default();
                while let Some(entry) = map.next_entry()? {
                    sums.0.push(entry);
                }
                Ok(sums)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_bit_for_bit_and_in_their_order() {
        let values = [0.1 + 0.2, f64::NAN, f64::NEG_INFINITY, f64::MIN_POSITIVE / 3.0];
        for value in values {
            let mut sums = Sums::of(["loss", "gradient_norm", "steps"].map(str::to_owned));
            sums.add("loss", value);
            sums.add("gradient_norm", -value);
            sums.count("steps");
            sums.count("steps");
            let text = serde_json::to_string(&sums).unwrap();
            let again: Sums = serde_json::from_str(&text).unwrap();
            assert_eq!(again, sums);
            assert!(again.number("loss").to_bits() == value.to_bits() || value.is_nan());
            // The sign of what is no number is nobody's.
            assert!(value.is_nan() || again.number("gradient_norm").to_bits() == (-value).to_bits());
            assert_eq!(again.counted("steps"), 2);
        }
    }

    /// Sums are written as checkpoints had them before losses had names.
    #[test]
    fn they_are_written_as_ever() {
        let mut sums = Sums::of(["loss", "attention", "gradient_norm", "steps"].map(str::to_owned));
        sums.add("loss", 1.0);
        sums.count("steps");
        let text = r#"{"loss":4607182418800017408,"attention":0,"gradient_norm":0,"steps":1}"#;
        assert_eq!(serde_json::to_string(&sums).unwrap(), text);
        // What an older checkpoint lacks is nothing yet; what came beside it stays behind.
        let early = serde_json::from_str(r#"{"loss":4607182418800017408,"steps":1}"#).unwrap();
        let named = || Sums::of(["loss", "attention", "gradient_norm", "steps"].map(str::to_owned));
        assert_eq!(named().filled(early), sums);
        let mut more = sums.clone();
        more.count("without.loss");
        assert_eq!(named().filled(more.clone()), more);
    }
}
