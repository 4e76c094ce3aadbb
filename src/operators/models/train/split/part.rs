//! The sides of a split, and their words.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The side of the split on which a patient stands. It is written as its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The patient is trained on.
    Train,
    /// The patient is learned from, without labels.
    Unlabelled,
    /// The patient chooses the best epoch.
    Validation,
    /// The patient is never seen by training.
    Test,
}

/// The word for cases without labels.
const UNLABELLED: &str = "unlabelled";

impl Part {
    /// The parts of labelled cases, from the one that training sees most of.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The word in tables and datasets.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Unlabelled => UNLABELLED,
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// The part of this word.
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            UNLABELLED => Some(Self::Unlabelled),
            name => Self::ALL.into_iter().find(|part| part.name() == name),
        }
    }
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::of_name(&name)
            .ok_or_else(|| D::Error::custom(format!("a part of a split expected, `{name}` found")))
    }
}
