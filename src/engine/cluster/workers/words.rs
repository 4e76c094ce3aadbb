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

/// What a worker says first is no longer; it is in every version the same.
pub const LONGEST_HELLO: u64 = 4096;

/// What a worker says first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// tomoflow's version.
    pub version: String,
}

impl Hello {
    /// What this program says.
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
    /// Where its file lies for the run.
    pub file: PathBuf,
    /// Where its results lie for the run.
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
    /// How often a worker says that it is there.
    pub beat_ms: u64,
}

/// What a worker answers to the offer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Joining {
    /// It would do something else.
    Refuses(String),
    /// It takes part.
    Joins(Box<Join>),
}

/// Who takes part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Join {
    /// What it is called.
    pub name: String,
    /// Threads of its pool.
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
    /// Actions will come.
    Welcome,
}

/// What a run says then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// To do, under this lease, with all that is needed to find its files.
    Job(u64, Box<(Action, Packed)>),
    /// What was given under this lease is no longer wanted, or another has it.
    Cancel(u64),
    /// The run is there.
    Beat,
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
    /// It is there.
    Beat(Pulse),
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
