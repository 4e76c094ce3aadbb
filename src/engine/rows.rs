//! What enters the control plane, and what leaves it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::dicom::Instance;
use tomoflow_connectors::rtstruct::Outlines;
use tomoflow_connectors::{Digest, Reject};

use crate::executor::work::{Action, CaseRow, SeriesRow};
use crate::store::{Outcome, Pin};

/// One change of what is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// An instance that a source keeps.
    Instance(u16, Arc<Instance>),
    /// Outlines that a source found.
    Outlines(u16, Arc<Outlines>),
    /// What a wanted action led to.
    Outcome(Digest, Outcome),
    /// The model that a training stage keeps.
    Pin(u16, Pin),
    /// The content of the model file that a stage names.
    ModelFile(u16, Digest),
}

/// One thing that follows from all that is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Output {
    /// An action is wanted.
    Wanted(Action),
    /// Rows belong in a table.
    Desired(Desired),
}

/// Where a result comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Provenance {
    /// The stage, by name.
    pub stage: Arc<str>,
    /// The action's key.
    pub action: Digest,
    /// The model's content, when one took part.
    pub model: Option<Digest>,
}

/// Rows that belong in a table: enough to make them, not the rows themselves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Desired {
    /// A row of `cases`.
    Case(CaseRow),
    /// A row of `rejects`.
    Reject {
        /// The case; none for a training.
        case: Option<String>,
        /// The stage, by name.
        stage: Arc<str>,
        /// Why.
        reject: Reject,
    },
    /// Rows of `masks`.
    Masks {
        /// The scan.
        series: Arc<SeriesRow>,
        /// The mask.
        mask: Digest,
        /// Where it comes from.
        from: Provenance,
    },
    /// Rows of `metrics`.
    Metrics {
        /// The scan.
        series: Arc<SeriesRow>,
        /// The figures.
        metrics: Digest,
        /// `train`, `validation`, `test`, or `new` for a case that the model's dataset did not hold.
        split: String,
        /// Where they come from.
        from: Provenance,
    },
    /// Rows of `training`.
    Training {
        /// The figures.
        figures: Digest,
        /// Where they come from; `model` is set.
        from: Provenance,
    },
}

/// What a model was trained on: a case's part of the split.
pub type Parts = Arc<BTreeMap<String, String>>;

/// A model that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelRow {
    /// Its content.
    pub model: Digest,
    /// What it was trained on; empty for a file.
    pub parts: Parts,
}

/// A mask that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MaskRow {
    /// The scan.
    pub series: Arc<SeriesRow>,
    /// The mask.
    pub mask: Digest,
    /// The model that took part.
    pub model: Option<ModelRow>,
    /// Where it comes from.
    pub from: Provenance,
}
