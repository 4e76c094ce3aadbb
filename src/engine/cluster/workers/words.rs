//! What a run and its workers say to each other, in the frames of all links.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::Digest;

use super::super::Agreement;
use super::super::packed::Packed;
use super::sight::{Answer, Question};
use crate::executor::Training;
use crate::executor::work::Action;
use crate::operators::cases::rule::Settled;
use crate::store::Recorded;

/// How every conversation with a worker begins.
pub const MAGIC: [u8; 8] = *b"tomowork";

/// Raised whenever what is said changes.
pub const PROTOCOL: u32 = 1;

/// The greatest length of a worker's first message, in bytes; it is the same in every version.
pub const LONGEST_HELLO: u64 = 4096;

/// What a worker says first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The fixed bytes [`MAGIC`].
    pub magic: [u8; 8],
    /// The version of the conversation, [`PROTOCOL`].
    pub protocol: u32,
    /// The version of tomoflow.
    pub version: String,
}

impl Hello {
    /// Makes what this program says.
    pub fn new() -> Self {
        Self { magic: MAGIC, protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// What a run answers: what there is to do, or why not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Offered {
    /// It does not work with this one.
    Refused(String),
    /// The pipeline.
    Pipeline(Box<Offer>),
}

/// All that a worker needs to know of a pipeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The pipeline as one text, which means the same in any folder.
    pub text: String,
    /// The path of its file for the run.
    pub file: PathBuf,
    /// The folder of its results for the run.
    pub out: PathBuf,
    /// What is to be done, so that a difference can be named.
    pub agreement: Agreement,
    /// What rules over the archive are settled on, by stage.
    pub settled: Vec<(usize, Settled)>,
    /// The pipeline's device and memory, for workers that are told no others.
    pub device: String,
    pub memory_bytes: u64,
    /// What the worker is asked to look at.
    pub sight: Question,
    /// The interval at which a worker says that it is there, in milliseconds.
    pub beat_ms: u64,
}

/// What a worker answers to the offer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Joining {
    /// It would do something else.
    Refuses(String),
    /// The worker takes part.
    Joins(Box<Join>),
}

/// Who takes part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Join {
    /// What it is called.
    pub name: String,
    /// The number of threads of its pool.
    pub threads: u32,
    /// Bytes that its actions may hold at once.
    pub memory_bytes: u64,
    /// Its device: `cpu` or `cuda:N`.
    pub device: String,
    /// The digest of what it would do.
    pub plan: Digest,
    /// What it sees.
    pub sight: Answer,
}

/// How the meeting ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Welcomed {
    /// It does not work with this one.
    Refused(String),
    /// Actions will come. One that does not see the run's files asks for those that it needs.
    Welcome {
        /// Whether it sees them.
        sees: bool,
    },
}

/// A file that an action needs, or leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum What {
    /// An artifact.
    Artifact(Digest),
    /// A source's file, by its place in what the action is packed with.
    File(u32),
}

/// Bytes on their way; as one run of them, and not one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Run;
        impl serde::de::Visitor<'_> for Run {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Run)
    }
}

/// A piece of a file, the last one marked; pieces of one file come in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The lease that it is for.
    pub lease: u64,
    /// The file that the bytes belong to.
    pub what: What,
    /// The bytes.
    pub bytes: Bytes,
    /// Whether there are no more.
    pub last: bool,
}

/// No piece is longer.
pub const PIECE: usize = 1 << 20;

/// The pieces of a file.
pub fn pieces(lease: u64, what: What, bytes: &[u8]) -> impl Iterator<Item = Piece> {
    let count = bytes.len().div_ceil(PIECE).max(1);
    (0..count).map(move |at| {
        let part = bytes.get(at * PIECE..bytes.len().min((at + 1) * PIECE)).unwrap_or_default();
        Piece { lease, what, bytes: Bytes(part.to_vec()), last: at + 1 == count }
    })
}

/// What a run says then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// An action to do, under this lease, with all that is needed to find its files.
    Job(u64, Box<(Action, Packed)>),
    /// What was given under this lease is no longer wanted, or another has it.
    Cancel(u64),
    /// The run is there.
    Beat,
    /// A piece of what was asked for.
    Piece(Piece),
    /// What was asked for is not to be had: its lease, a name, what was found, and a remedy.
    Missing(u64, Box<[String; 3]>),
    /// The pipeline is another one now: join again.
    Again,
    /// There is no more.
    End,
}

/// What a worker says then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// What was given under this lease has ended.
    Finished(u64, Box<Recorded>),
    /// The worker is there.
    Beat(Pulse),
    /// It needs these for what was given under this lease.
    Want(u64, Vec<What>),
    /// A piece of what it made.
    Piece(Piece),
    /// It was told to stop: it brings to an end what it is at, and takes no more.
    Leaving,
}

/// How a worker is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pulse {
    /// Bytes that its actions hold.
    pub held_bytes: u64,
    /// Bytes of source files that it has read.
    pub read_bytes: u64,
    /// Its trainings, by stage.
    pub trainings: BTreeMap<String, Training>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_in_pieces_and_is_whole_again() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let all: Vec<Piece> = pieces(7, What::File(3), &bytes).collect();
            let last: Vec<bool> = all.iter().map(|piece| piece.last).collect();
            assert_eq!(last.iter().filter(|last| **last).count(), 1);
            assert!(last[last.len() - 1]);
            let heard = all.iter().map(|piece| -> Piece {
                let said = postcard::to_stdvec(piece).unwrap();
                assert!(said.len() <= piece.bytes.0.len() + 32, "bytes are one run");
                postcard::from_bytes(&said).unwrap()
            });
            let whole: Vec<u8> = heard.flat_map(|piece| piece.bytes.0).collect();
            assert!(whole == bytes, "{length}");
        }
    }
}
