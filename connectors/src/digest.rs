//! The content address of everything that tomoflow keeps: a BLAKE3 hash.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A BLAKE3 hash of 32 bytes, shown as 64 hexadecimal digits.
///
/// # Examples
/// ```
/// use tomoflow_connectors::Digest;
/// let digest = Digest::of(b"slice");
/// assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of one run of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of all that a stream gives, of which nothing is kept.
    ///
    /// # Errors
    /// The stream's errors.
    pub fn of_stream(stream: impl Read) -> io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(stream)?;
        Ok(Self(*hasher.finalize().as_bytes()))
    }

    /// The digest of several parts, each preceded by its length, so that no two lists collide.
    ///
    /// # Examples
    /// ```
    /// use tomoflow_connectors::Digest;
    /// assert_ne!(Digest::of_parts([b"ab".as_slice(), b"c"]), Digest::of_parts([b"a".as_slice(), b"bc"]));
    /// ```
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut all = Parts::default();
        parts.into_iter().for_each(|part| all.add(part));
        all.digest()
    }

    /// The first twelve hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

/// The digest of one run of bytes that come piece by piece.
#[derive(Default)]
pub struct Hashing(blake3::Hasher);

impl Hashing {
    /// Adds the next piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all that has come.
    pub fn digest(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// A digest of parts that come one after the other: [`Digest::of_parts`] for those that do not lie in a list.
#[derive(Default)]
pub(crate) struct Parts(blake3::Hasher);

impl Parts {
    pub(crate) fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    pub(crate) fn digest(self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// A text that is not a digest: 64 hexadecimal digits were expected.
#[derive(Debug, thiserror::Error)]
#[error("a digest has 64 hexadecimal digits, found `{0}`")]
pub struct NotADigest(String);

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(text)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| NotADigest(text.to_owned()))
    }
}
