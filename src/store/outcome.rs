//! What an action led to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Digest, Real, Reject};

use crate::metrics::State;

/// One figure of one label, as a row: it is small, so the control plane can hold it and sum it up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FigureRow {
    /// Which label, by name.
    pub label: Arc<str>,
    /// The metric's name.
    pub metric: Arc<str>,
    /// The figure; `None` where it is not defined (`state` says why).
    pub value: Option<Real>,
    /// `1`, `mm`, …
    pub unit: Arc<str>,
    /// Which masks are empty, or what else there is to say.
    pub state: State,
}

/// What an action led to. A failure is data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It left an artifact.
    Ok {
        /// The artifact.
        artifact: Digest,
        /// A second one, about how it came to be (a training's figures, the maps of an inference).
        detail: Option<Digest>,
        /// What an evaluation found: the same figures as in its artifact. Shared, since every stage of
        /// the control plane keeps outcomes by key; empty for all other work.
        figures: Arc<[FigureRow]>,
        /// What of the labels that took part was left out, by name: they count, and this is told of them.
        notes: Arc<[Reject]>,
    },
    /// It gave nothing, and will not until its input or its code changes.
    Failed {
        /// The name of the failure.
        code: String,
        /// What was expected and found.
        message: String,
        /// A remedy.
        hint: String,
        /// Whether it will be so the next time too: a full disk or a file that could not be read says
        /// nothing about the action, and is not kept in the cache.
        lasting: bool,
        /// How often it was tried.
        attempts: u32,
    },
}

/// Failures that may be gone at the next try.
const TRANSIENT: &[&str] = &[
    "CANCELLED",
    "CHANGED",
    "DAMAGED_ARTIFACT",
    "DEVICE",
    "FILE_VANISHED",
    "IO",
    "NO_ATTENTION",
    "OUT_OF_MEMORY",
    "OVER_BUDGET",
    "PANIC",
    "STORE",
    "UNREADABLE",
    "WORKERS_LOST",
];

impl Outcome {
    /// A failure of this name.
    pub fn failed(reject: Reject) -> Self {
        let lasting = !TRANSIENT.contains(&reject.code.as_str());
        Self::Failed { code: reject.code, message: reject.message, hint: reject.hint, lasting, attempts: 1 }
    }

    /// Whether the cache may keep it.
    pub fn lasts(&self) -> bool {
        !matches!(self, Self::Failed { lasting: false, .. })
    }
}

/// An outcome as the cache keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: f64,
}
