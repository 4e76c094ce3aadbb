//! Pseudonyms: identifiers as a keyed hash, unless the pipeline asks for them as they are.

use crate::executor::work::series_of;
use crate::pipeline::{Identifiers, Settings};

/// How identifiers stand in tables.
#[derive(Clone, Debug)]
pub struct Identity {
    key: [u8; 32],
    mode: Identifiers,
    free_text: bool,
}

impl Identity {
    /// Identifiers by the store's secret key.
    pub fn new(key: [u8; 32], mode: Identifiers) -> Self {
        Self { key, mode, free_text: true }
    }

    /// Returns what a pipeline's tables show.
    pub fn of(key: [u8; 32], settings: &Settings) -> Self {
        Self { key, mode: settings.identifiers, free_text: settings.free_text }
    }

    /// Returns the identity for what leaves: never an identifier as it is.
    pub fn hidden(&self) -> Self {
        Self { mode: Identifiers::Pseudonymous, ..self.clone() }
    }

    /// Whether identifiers are shown as they are.
    pub fn is_clear(&self) -> bool {
        self.mode == Identifiers::Clear
    }

    /// Returns text that people typed, if it is shown at all.
    pub fn text<'a>(&self, text: &'a str) -> &'a str {
        if self.free_text { text } else { "" }
    }

    /// Whether text that people typed is shown.
    pub fn shows_text(&self) -> bool {
        self.free_text
    }

    /// A UID in the place of another: the same one always, which only who has the key finds again.
    pub fn uid(&self, uid: &str) -> String {
        if uid.is_empty() {
            return String::new();
        }
        let hash = blake3::keyed_hash(&self.key, &[b"uid ".as_slice(), uid.as_bytes()].concat());
        let mut number = [0; 16];
        number.copy_from_slice(&hash.as_bytes()[..16]);
        format!("2.25.{}", u128::from_be_bytes(number))
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
        let text: &[u8] = if self.free_text { b"identity" } else { b"identity without free text" };
        match self.mode {
            Identifiers::Clear if self.free_text => [0; 32],
            Identifiers::Clear => *blake3::hash(text).as_bytes(),
            Identifiers::Pseudonymous => *blake3::keyed_hash(&self.key, text).as_bytes(),
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

    #[test]
    fn a_uid_in_the_place_of_another_is_one() {
        let uid = |key, uid: &str| Identity::new([key; 32], Identifiers::Clear).uid(uid);
        assert_eq!(uid(1, "1.2.3"), uid(1, "1.2.3"));
        assert!(uid(1, "1.2.3") != uid(2, "1.2.3") && uid(1, "1.2.3") != uid(1, "1.2.4"));
        let one = uid(1, "1.2.3");
        assert!(one.starts_with("2.25.") && one.len() <= 64 && !one[5..].starts_with('0'), "{one}");
        assert_eq!(uid(1, ""), "");
    }

    #[test]
    fn rows_are_others_without_free_text() {
        for mode in [Identifiers::Clear, Identifiers::Pseudonymous] {
            let with = Identity::new([1; 32], mode);
            let without = Identity { free_text: false, ..with.clone() };
            assert_ne!(with.digest(), without.digest());
            assert_eq!((with.text("DOE"), without.text("DOE")), ("DOE", ""));
        }
    }
}
