//! What enters the control plane, and what leaves it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Digest, Real, Reject};

use crate::executor::work::{Action, BoundCase, OutlinesRow, SeriesRow, Verdict};
use crate::metrics::Bootstrap;
use crate::operators::models::train::Part;
use crate::pipeline::StageId;
use crate::store::{FigureRow, Outcome, Pin};

/// One change of what is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// What a stage judged a series, or a part of one, to be.
    Series(StageId, Verdict),
    /// Outlines that a source found.
    Outlines(StageId, Arc<OutlinesRow>),
    /// The images of a scan that labels may be told apart by, of a stage that makes scans.
    Images(StageId, Arc<ImagesRow>),
    /// What a wanted action led to.
    Outcome(Digest, Outcome),
    /// The model that a training stage keeps, and the content of the one that its training began with.
    Pin(StageId, Pin, Option<Digest>),
    /// The content of the model file that a stage names.
    ModelFile(StageId, Digest),
    /// What the files of a source were found to lack, or to be without use for.
    Remark(StageId, Remark),
}

/// What is told of a source beside its cases: nothing was refused, and nothing failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Remark {
    /// The case, where one is meant.
    pub case: Option<String>,
    /// The outlines that it is about, where more than a name may bind them: it does not hold once a case has them.
    pub labels: Option<Digest>,
    /// What was expected, and what there is.
    pub reject: Reject,
}

/// The codes of remarks: their rows are of no case that was rejected.
const REMARKS: [&str; 8] = [
    OF_NO_SCAN,
    AS_SCAN,
    NO_LABEL_FILE,
    UNREADABLE,
    FILE_DAMAGED,
    "FILE_MISSING",
    "OUTSIDE_PATH",
    "NO_FILE_FITS",
];

/// The code of labels that belong to no scan.
pub const OF_NO_SCAN: &str = "LABEL_OF_NO_SCAN";

/// The code of a series of labels that a source of scans takes for a scan.
pub const AS_SCAN: &str = "LABELS_AS_SCAN";

/// The code of scans whose slices have a series each: the note of those that a source joins, the refusal of others.
pub const JOINED: &str = "SERIES_PER_SLICE";

/// The code of a case that has no file for one of its labels.
pub const NO_LABEL_FILE: &str = "NO_LABEL_FILE";

/// The code of a file, a folder or an archive of files below a source that could not be looked at.
pub const UNREADABLE: &str = "UNREADABLE";

/// The code of a file that was DICOM, as its name, its beginning or the files beside it say, and is damaged.
pub const FILE_DAMAGED: &str = "FILE_DAMAGED";

/// Whether a code is that of a remark, and not of a case that was refused or failed.
pub fn is_remark(code: &str) -> bool {
    REMARKS.contains(&code)
}

/// The images of a scan: only of scans whose labels may be another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImagesRow {
    /// The scan's key.
    pub key: Arc<str>,
    /// The marks of its SOPInstanceUIDs, ascending.
    pub marks: Arc<[u64]>,
}

/// One thing that follows from all that is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Conclusion {
    /// An action is wanted.
    Wanted(Arc<Action>),
    /// What an action led to counts, if it was done before; nobody wants it done.
    Recalled(Arc<Action>),
    /// Rows belong in a table.
    Desired(Arc<Desired>),
    /// What a case came to for the rule of a stage, by its place in the plan: an artifact.
    Measured(StageId, Digest),
}

impl Conclusion {
    /// Rows that belong in a table.
    pub fn desired(rows: Desired) -> Self {
        Self::Desired(Arc::new(rows))
    }
}

/// Rows that belong in tables, with how often each was asked for.
pub type DesiredRows = BTreeMap<Arc<Desired>, isize>;

/// The origin of a result.
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
    Case(BoundCase),
    /// A row of `rejects`.
    Reject {
        /// The case; none for a training.
        case: Option<String>,
        /// The stage, by name.
        stage: Arc<str>,
        /// The reason.
        reject: Reject,
        /// How often it was tried; 0 for what is told of a case that was not refused.
        attempts: u32,
    },
    /// Rows of `masks`.
    Masks {
        /// The scan that the mask is of.
        series: Arc<SeriesRow>,
        /// The mask.
        mask: Digest,
        /// The origin of the mask.
        from: Provenance,
    },
    /// Rows of `metrics`.
    Metrics {
        /// The scan.
        series: Arc<SeriesRow>,
        /// The figures.
        figures: Arc<[FigureRow]>,
        /// `train`, `validation`, `test`, or `new` for a case that the model's dataset did not hold.
        split: String,
        /// The origin of the figures.
        from: Provenance,
    },
    /// Rows of `training`.
    Training {
        /// The figures.
        figures: Digest,
        /// The origin of the figures; `model` is set.
        from: Provenance,
    },
    /// A row of `summary`.
    Summary {
        /// The group of the figures.
        group: Arc<Group>,
        /// What they come to.
        sums: Sums,
    },
    /// Rows of `detections`.
    Detections {
        /// The scan.
        series: Arc<SeriesRow>,
        /// The boxes.
        found: Digest,
        /// The origin of the boxes.
        from: Provenance,
    },
    /// Rows of `summary` over the images of all cases of a group together.
    Pooled {
        /// The cases that enter, of which label; any metric of the stage.
        group: Arc<Group>,
        /// The stage's settings.
        by: Digest,
        /// What each case adds, ascending.
        pools: Arc<[Digest]>,
    },
}

/// What the cases of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GroupedBy {
    /// The model that was judged, or that there was none.
    Model,
    /// The part of the model's split.
    Split,
    /// The manufacturer of the scanner.
    Vendor,
}

impl GroupedBy {
    /// The word in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Split => "split",
            Self::Vendor => "vendor",
        }
    }
}

/// Figures that may be summed up: of one stage, model, label, metric and unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Group {
    /// The stage that made them, by name.
    pub stage: Arc<str>,
    /// The model that was judged.
    pub model: Option<Digest>,
    /// The label's name.
    pub label: Arc<str>,
    /// The metric's name.
    pub metric: Arc<str>,
    /// The figures' unit.
    pub unit: Arc<str>,
    /// What its cases have in common.
    pub grouped_by: GroupedBy,
    /// The one that they have in common; empty where there is none.
    pub name: Arc<str>,
}

/// What the figures of a group come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sums {
    /// The number of all figures.
    pub figures: u64,
    /// The figures with a value: whatever their state, they and no others enter what follows.
    pub count: u64,
    /// The mean of the values.
    pub mean: Option<Real>,
    /// The median of the values.
    pub median: Option<Real>,
    /// The sample standard deviation of the values; none of one value.
    pub sd: Option<Real>,
    /// The smallest.
    pub min: Option<Real>,
    /// The greatest.
    pub max: Option<Real>,
    /// Figures where neither mask held the label.
    pub both_empty: u64,
    /// Figures where the reference did not.
    pub empty_reference: u64,
    /// Figures where the prediction did not: a missed structure.
    pub empty_prediction: u64,
    /// Figures of a state that is none of these, nor `ok`.
    pub other_states: u64,
    /// What an interval of the mean is made from, when one is asked for.
    pub resampled: Option<Resampled>,
}

/// What an interval of a mean is made from. It is made where the row is: drawing takes too long for the dataflow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resampled {
    /// The way of drawing.
    pub by: Bootstrap,
    /// The figures that have a value, ascending.
    pub figures: Arc<[Real]>,
}

impl Resampled {
    /// The ends of the interval of a group's mean; the name of the stage takes no part.
    pub fn interval(&self, group: &Group) -> Option<[Real; 2]> {
        let nameless = Group { stage: "".into(), ..group.clone() };
        let name = postcard::to_stdvec(&nameless).unwrap_or_default();
        let found = self.by.interval(&name, self.figures.iter().map(|figure| figure.0))?;
        Some(found.map(Real::new))
    }
}

/// What a model was trained on: a case's part of the split.
pub type Parts = Arc<BTreeMap<String, Part>>;

/// A model that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelRow {
    /// The model's content.
    pub model: Digest,
    /// What it was trained on; empty for a file.
    pub parts: Parts,
}

/// The side of a model's split on which a case stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stands {
    /// The case stands in a part of the model's dataset.
    In(Part),
    /// It came after the training.
    New,
}

impl Stands {
    /// Returns where a case stands for a model; `None` for a model of which nothing is known.
    pub fn of(case: &str, parts: &Parts) -> Option<Self> {
        match parts.get(case) {
            Some(part) => Some(Self::In(*part)),
            None => (!parts.is_empty()).then_some(Self::New),
        }
    }

    /// The word in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::In(part) => part.name(),
            Self::New => "new",
        }
    }
}

/// The model that made a mask, and where the case stands for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Used {
    /// Its content; for an ensemble, a digest that names all of its models.
    pub model: Digest,
    /// The side of its model's split on which the case stands.
    pub stands: Option<Stands>,
}

/// A mask that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MadeMask {
    /// The scan.
    pub series: Arc<SeriesRow>,
    /// The mask.
    pub mask: Digest,
    /// The model that took part.
    pub model: Option<Used>,
    /// The origin of the mask.
    pub from: Provenance,
}
