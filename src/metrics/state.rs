//! Why a figure is as it is, by a word that tables and the store hold.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::Emptiness;

/// The state of a figure: which of its masks are empty, or what else there is to say of it. It is written as its word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State(Says);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Says {
    Empty(Emptiness),
    NotInMask,
    NotInTruth,
    /// A word of a comparison that is not tomoflow's. Thin, since every figure in memory has a state.
    Other(Arc<String>),
}

impl State {
    /// Both masks hold voxels.
    pub const OK: Self = Self(Says::Empty(Emptiness::Ok));
    /// A label of the truth that the mask does not have: nobody looked for it.
    pub const NOT_IN_MASK: Self = Self(Says::NotInMask);
    /// A label of the mask that nobody drew in this case.
    pub const NOT_IN_TRUTH: Self = Self(Says::NotInTruth);

    /// The state of this word, whatever it is.
    pub fn named(name: &str) -> Self {
        let known = Emptiness::named(name).map(Self::from);
        let others = [Self::NOT_IN_MASK, Self::NOT_IN_TRUTH];
        let known = known.or_else(|| others.into_iter().find(|state| state.name() == name));
        known.unwrap_or_else(|| Self(Says::Other(Arc::new(name.to_owned()))))
    }

    /// The word in tables.
    pub fn name(&self) -> &str {
        match &self.0 {
            Says::Empty(emptiness) => emptiness.name(),
            Says::NotInMask => "not_in_mask",
            Says::NotInTruth => "not_in_truth",
            Says::Other(name) => name,
        }
    }

    /// Which masks are empty, where that is what it says.
    pub fn emptiness(&self) -> Option<Emptiness> {
        match self.0 {
            Says::Empty(emptiness) => Some(emptiness),
            _ => None,
        }
    }
}

impl From<Emptiness> for State {
    fn from(emptiness: Emptiness) -> Self {
        Self(Says::Empty(emptiness))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// States stand in the order of their words, as rows of the tables do.
impl Ord for State {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl PartialOrd for State {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;

        impl Visitor<'_> for Word {
            type Value = State;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the state of a figure")
            }

            fn visit_str<E>(self, name: &str) -> Result<State, E> {
                Ok(State::named(name))
            }
        }
        deserializer.deserialize_str(Word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 8] = [
        "ok",
        "both_empty",
        "empty_reference",
        "empty_prediction",
        "not_in_mask",
        "not_in_truth",
        "of another crate",
        "",
    ];

    /// Outcomes in the store hold the word, and always did.
    #[test]
    fn a_state_is_written_as_its_word() {
        for word in WORDS {
            let (bytes, state) = (postcard::to_stdvec(word).unwrap(), State::named(word));
            assert_eq!(postcard::to_stdvec(&state).unwrap(), bytes);
            assert_eq!(postcard::from_bytes::<State>(&bytes).unwrap(), state);
            let text = serde_json::to_string(word).unwrap();
            assert_eq!(serde_json::to_string(&state).unwrap(), text);
            assert_eq!(serde_json::from_str::<State>(&text).unwrap().name(), word);
        }
    }

    #[test]
    fn states_stand_in_the_order_of_their_words() {
        for a in WORDS {
            for b in WORDS {
                assert_eq!(State::named(a).cmp(&State::named(b)), a.cmp(b));
            }
        }
        assert_eq!(State::named("ok"), State::OK);
        assert_eq!(State::OK.emptiness(), Some(Emptiness::Ok));
        assert_eq!(State::named("not_in_truth").emptiness(), None);
        assert!(size_of::<State>() <= size_of::<Arc<str>>());
    }
}
