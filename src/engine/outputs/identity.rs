//! Pseudonyms: identifiers as a keyed hash, unless the pipeline asks for them as they are.

use crate::executor::work::series_of;
use crate::pipeline::Identifiers;

/// How identifiers stand in tables.
#[derive(Clone, Debug)]
pub struct Identity {
    key: [u8; 32],
    mode: Identifiers,
}

impl Identity {
    /// Identifiers by the store's secret key.
    pub fn new(key: [u8; 32], mode: Identifiers) -> Self {
        Self { key, mode }
    }

    /// An identifier as tables show it: itself, or 16 hexadecimal digits of a keyed hash. An empty one
    /// stays empty.
    pub fn show(&self, identifier: &str) -> String {
        match self.mode {
            Identifiers::Clear => identifier.to_owned(),
            Identifiers::Pseudonymous if identifier.is_empty() => String::new(),
            Identifiers::Pseudonymous => {
                blake3::keyed_hash(&self.key, identifier.as_bytes()).to_hex()[..16].to_owned()
            }
        }
    }

    /// Whether a user means this case: by its key or its series, as they are or as tables show them.
    pub fn means(&self, asked: &str, case: &str) -> bool {
        [case, series_of(case)].iter().any(|name| *name == asked || self.show(name) == asked)
    }

    /// Changes when identifiers would stand otherwise, so that rows are written anew.
    pub fn digest(&self) -> [u8; 32] {
        match self.mode {
            Identifiers::Clear => [0; 32],
            Identifiers::Pseudonymous => *blake3::keyed_hash(&self.key, b"identity").as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudonyms_depend_on_the_key_alone() {
        let show = |key, mode| Identity::new([key; 32], mode).show("1.2.3");
        assert_eq!(show(1, Identifiers::Pseudonymous), show(1, Identifiers::Pseudonymous));
        assert_ne!(show(1, Identifiers::Pseudonymous), show(2, Identifiers::Pseudonymous));
        assert_eq!(show(1, Identifiers::Pseudonymous).len(), 16);
        assert_eq!(show(1, Identifiers::Clear), "1.2.3");
    }
}
