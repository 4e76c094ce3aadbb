//! What the control plane asks for: actions, and the small ordered rows that they are made of.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::rtstruct::Outlines;
use tomoflow_connectors::{Digest, Reject};

pub use tomoflow_connectors::geometry::Grid;

use crate::pipeline::StageId;

mod beside;
mod members;
mod series;

pub use beside::{Beside, Other};
pub use members::{Member, parts_of, seen_by};
pub use series::{ScanForm, SeriesRow, SliceList, SliceRow, series_of};

/// Outlines, and where the index holds them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OutlinesRow {
    /// The record in the index.
    pub record: Digest,
    /// What they refer to.
    pub outlines: Outlines,
}

/// What a series was judged to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// A scan, or a part of a split series.
    Accepted(Arc<SeriesRow>),
    /// The case's key, and why it is none.
    Rejected(String, Reject),
}

impl Verdict {
    /// The scan, of a series that was accepted.
    pub fn accepted(&self) -> Option<&Arc<SeriesRow>> {
        match self {
            Self::Accepted(row) => Some(row),
            Self::Rejected(..) => None,
        }
    }
}

/// The outlines that refer to a scan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LabelRow {
    /// The stage that reads them.
    pub source: StageId,
    /// Their record in the index.
    pub record: Digest,
    /// Content, the structures asked for, the grid they are drawn on, and the code that draws.
    pub digest: Digest,
    /// Whether images that are not the scan's are another scan's, and what was drawn on these is left out.
    pub apart: bool,
    /// The labels that nothing of the file is asked for: they are unknown, and not empty. Ascending.
    pub absent: Arc<[u16]>,
}

/// A scan, and its labels when it has any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BoundCase {
    /// The scan.
    pub series: Arc<SeriesRow>,
    /// Its labels.
    pub labels: Option<LabelRow>,
    /// The scans of its other channels, where it has some from other series or files.
    pub beside: Option<Arc<Beside>>,
}

impl BoundCase {
    /// Whether it has labels, and lacks some of those that are asked for: these are unknown, and not empty.
    pub fn is_partly_labelled(&self) -> bool {
        self.labels.as_ref().is_some_and(|labels| !labels.absent.is_empty())
    }
}

/// What is to be done. What enters it are fields that any role of stage has; which operator of that role does it,
/// the stage says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Work {
    /// Assemble, label, and transform a case, for training.
    Prepare(BoundCase),
    /// Count the intensities of a case, for numbers over the archive.
    Measure(BoundCase),
    /// Train a model on prepared cases.
    Train {
        /// The cases.
        members: Arc<Vec<Member>>,
        /// The content of the model, or of the file, that it begins with; none where with numbers of its own.
        start: Arc<[Digest]>,
    },
    /// Applies a stage to a case.
    Apply {
        /// The case; its labels only where they take part.
        case: BoundCase,
        /// The artifacts that it starts from, in the order of the stage's inputs; none when it starts from the scan.
        artifacts: Arc<[Digest]>,
        /// The models' contents, in the order in which they run: artifacts, or the files that the stage names
        /// as one; none when no network takes part.
        models: Arc<[Digest]>,
    },
    /// Take the volume of a case's labels, by which a split may be stratified.
    Volume(BoundCase),
    /// Mend what a network said of a case by its intensities.
    Refine {
        /// The case; its labels only where they take part.
        case: BoundCase,
        /// The network's maps of it.
        maps: Digest,
    },
}

impl Work {
    /// Applies a stage to a scan.
    pub fn on_scan(case: BoundCase) -> Self {
        Self::with_models(case, Arc::default())
    }

    /// Applies a network, or several that are an ensemble, to a scan.
    pub fn with_models(case: BoundCase, models: Arc<[Digest]>) -> Self {
        Self::Apply { case, artifacts: Arc::default(), models }
    }

    /// Applies a stage to artifacts that were made of a scan, at least one.
    pub fn on_artifacts(series: Arc<SeriesRow>, artifacts: impl Into<Arc<[Digest]>>) -> Self {
        let case = BoundCase::of(series);
        Self::Apply { case, artifacts: artifacts.into(), models: Arc::default() }
    }

    /// Compares an artifact that was made of a scan with what the scan's labels say.
    pub fn against_labels(case: BoundCase, artifact: Digest) -> Self {
        Self::Apply { case, artifacts: [artifact].into(), models: Arc::default() }
    }

    /// Whether a network takes part.
    pub fn needs_device(&self) -> bool {
        self.members().is_some() || !self.models().is_empty()
    }

    /// The case that it is about, with the labels that take part; none for a training.
    pub fn case(&self) -> Option<&BoundCase> {
        match self {
            Self::Prepare(case)
            | Self::Measure(case)
            | Self::Volume(case)
            | Self::Apply { case, .. }
            | Self::Refine { case, .. } => Some(case),
            Self::Train { .. } => None,
        }
    }

    /// The scan that it is about; none for a training.
    pub fn series(&self) -> Option<&Arc<SeriesRow>> {
        self.case().map(|case| &case.series)
    }

    /// The labels that take part.
    pub fn labels(&self) -> Option<&LabelRow> {
        self.case()?.labels.as_ref()
    }

    /// The artifacts that it starts from; none when it starts from a scan or from labels, or is a training.
    pub fn artifacts(&self) -> &[Digest] {
        match self {
            Self::Apply { artifacts, .. } => artifacts,
            Self::Refine { maps, .. } => std::slice::from_ref(maps),
            _ => &[],
        }
    }

    /// The models that take part: of a training the one that it begins with.
    pub fn models(&self) -> &[Digest] {
        match self {
            Self::Apply { models, .. } => models,
            Self::Train { start, .. } => start,
            _ => &[],
        }
    }

    /// The dataset of a training.
    pub fn members(&self) -> Option<&[Member]> {
        match self {
            Self::Train { members, .. } => Some(members),
            _ => None,
        }
    }

    /// Whether the voxels of the scan take part, and not only what was made of them, or its labels.
    pub fn reads_scan(&self) -> bool {
        match self {
            Self::Prepare(_) | Self::Measure(_) | Self::Refine { .. } => true,
            Self::Apply { artifacts, .. } => artifacts.is_empty(),
            Self::Train { .. } | Self::Volume(_) => false,
        }
    }

    /// Whether a case is prepared: for a training, or for later actions on it.
    pub fn prepares(&self) -> bool {
        matches!(self, Self::Prepare(_))
    }

    /// Whether intensities are counted.
    pub fn measures(&self) -> bool {
        matches!(self, Self::Measure(_))
    }
}

/// One unit of heavy work: a fused chain of operators from one materialised artifact to the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Action {
    /// What its result depends on, and nothing else.
    pub key: Digest,
    /// The stage that asks for it, by its place in the plan.
    pub stage: StageId,
    /// The work.
    pub work: Work,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_work_says_what_enters_it() {
        let series = Arc::new(SeriesRow::sample(
            "1.2",
            &tomoflow_connectors::Geometry::axis_aligned([1; 3], [1.0; 3]),
        ));
        let (mask, model) = (Digest::of(b"mask"), Digest::of(b"model"));
        let (record, digest) = (Digest::default(), Digest::default());
        let labels =
            LabelRow { source: StageId::default(), record, digest, apart: false, absent: Arc::default() };
        let case = BoundCase { labels: Some(labels), ..BoundCase::of(series.clone()) };
        let scan = BoundCase::of(series.clone());
        // The expected rows say: artifacts, models, labels, the scan's voxels, a device.
        let enters = |work: &Work| {
            let counts = (work.artifacts().len(), work.models().len());
            (counts, work.labels().is_some(), work.reads_scan(), work.needs_device())
        };
        let expected = [
            (Work::Prepare(case.clone()), ((0, 0), true, true, false)),
            (Work::Measure(scan.clone()), ((0, 0), false, true, false)),
            (Work::Volume(case.clone()), ((0, 0), true, false, false)),
            (Work::Train { members: Arc::default(), start: Arc::default() }, ((0, 0), false, false, true)),
            (Work::Train { members: Arc::default(), start: [model].into() }, ((0, 1), false, false, true)),
            (Work::on_scan(scan.clone()), ((0, 0), false, true, false)),
            (Work::with_models(scan.clone(), [model, model].into()), ((0, 2), false, true, true)),
            (Work::on_artifacts(series.clone(), [mask, mask]), ((2, 0), false, false, false)),
            (Work::against_labels(case, mask), ((1, 0), true, false, false)),
            (Work::Refine { case: scan, maps: mask }, ((1, 0), false, true, false)),
        ];
        for (work, expected) in expected {
            assert_eq!(enters(&work), expected, "{work:?}");
            assert_eq!(work.series().is_some(), work.members().is_none());
            assert!(work.series().is_none_or(|found| *found == series));
        }
    }
}
