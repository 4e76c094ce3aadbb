//! What the control plane asks for: actions, and the small ordered rows that they are made of.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::dicom::{padding_values, says_between};
use tomoflow_connectors::planes::{Plane, planes};
use tomoflow_connectors::rtstruct::Outlines;
use tomoflow_connectors::{Digest, Real, Reject};

pub use tomoflow_connectors::geometry::Grid;

use crate::operators::models::train::Part;
use crate::pipeline::StageId;

mod beside;

pub use beside::{Beside, Other};

/// Where one slice of a scan comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SliceRow {
    /// The instance's record in the index.
    pub record: Digest,
    /// What decoding it depends on.
    pub content: Digest,
    /// The number of its frame.
    pub frame: u32,
    /// Its SOPInstanceUID; of another format's file, its name below the source's folder.
    pub sop_uid: String,
}

/// How a scan lies in its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ScanForm {
    /// The scan lies in DICOM instances.
    #[default]
    Instances,
    /// The scan lies in one file of another format.
    Volume,
    /// The scan lies in slices of DeepLesion.
    Slices,
}

/// The slices of a scan, ascending, and where they lie when planes of its grid lie between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceList {
    /// The slices.
    pub slices: Vec<SliceRow>,
    /// The place of each slice, in planes; empty when each plane is a slice.
    pub heights: Vec<Real>,
}

impl SliceList {
    /// Writes the list as it lies in the index: of a scan without planes between slices the slices alone.
    pub fn encode(&self) -> Vec<u8> {
        // Rows of plain values always serialise.
        let mut bytes = postcard::to_stdvec(&self.slices).unwrap_or_default();
        if !self.heights.is_empty() {
            bytes.extend(postcard::to_stdvec(&self.heights).unwrap_or_default());
        }
        bytes
    }

    /// Reads what [`SliceList::encode`] gave.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn decode(bytes: &[u8]) -> postcard::Result<Self> {
        let (slices, rest) = postcard::take_from_bytes(bytes)?;
        let heights = if rest.is_empty() { Vec::new() } else { postcard::from_bytes(rest)? };
        Ok(Self { slices, heights })
    }

    /// Returns where slices lie, in planes.
    pub fn heights(&self) -> Vec<f64> {
        self.heights.iter().map(|height| height.0).collect()
    }

    /// The slice on each of `depth` planes; none on a plane between slices.
    pub fn on_planes(&self, depth: usize) -> Vec<Option<&SliceRow>> {
        let planes = planes(depth, &self.heights()).unwrap_or_default();
        let of = |plane| match plane {
            Plane::Slice(index) => self.slices.get(index),
            Plane::Between { .. } => None,
        };
        planes.into_iter().map(of).collect()
    }
}

/// One accepted scan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesRow {
    /// The case's key: the SeriesInstanceUID, with `#part` for a later part of a split series.
    pub key: Arc<str>,
    /// The number of the part of a split series; 0 for the first, and for a whole one.
    pub part: u32,
    /// The form in which it lies in its files.
    pub form: ScanForm,
    /// The StudyInstanceUID.
    pub study_uid: Arc<str>,
    /// PatientID; the study where it is empty.
    pub patient: Arc<str>,
    /// The modality.
    pub modality: Arc<str>,
    /// The manufacturer.
    pub manufacturer: Arc<str>,
    /// The ManufacturerModelName.
    pub model_name: Arc<str>,
    /// The SeriesDescription.
    pub description: Arc<str>,
    /// FrameOfReferenceUID; empty where slices say none, or several.
    pub frame_of_reference: Arc<str>,
    /// The scan's grid.
    pub grid: Grid,
    /// The list of its slices ([`SliceList`]): it lies in the index, not in memory.
    pub list: Digest,
    /// What was noticed and accepted.
    pub notes: Vec<String>,
    /// The digest of all that its voxels depend on: the content of all slices, in order, the grid, and where
    /// slices lie on it when planes lie between them. It holds no identifier.
    pub digest: Digest,
}

/// The beginning of a note that tells scans of one name apart.
const SAME_NAME: &str = "SAME_NAME: this one is of the source `";

impl SeriesRow {
    /// Returns the SeriesInstanceUID.
    pub fn series_uid(&self) -> &str {
        if self.part == 0 { &self.key } else { self.key.rsplit_once('#').map_or(&self.key, |(uid, _)| uid) }
    }

    /// Returns what this scan alone is called among those of its series: `#1` after the series' name is the
    /// second one, `#0` the first. Returns `None` for what is no series.
    pub fn own_name(&self) -> Option<String> {
        (self.form == ScanForm::Instances).then(|| format!("{}#{}", self.series_uid(), self.part))
    }

    /// The series under which the index holds its records: files that are no instances are of none.
    pub fn held_under(&self) -> &str {
        if self.form == ScanForm::Instances { self.series_uid() } else { "" }
    }

    /// Whether planes of the grid lie between slices, so that labels depend on where these lie.
    pub fn has_planes_between(&self) -> bool {
        self.notes.iter().any(|note| says_between(note))
    }

    /// Whether its files say which values only pad it.
    pub fn is_padded(&self) -> bool {
        self.notes.iter().any(|note| padding_values(note).is_some())
    }

    /// The values that its files say pad it, where the index knows them.
    pub fn padding(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().filter_map(|note| padding_values(note)).filter(|values| !values.is_empty())
    }

    /// Returns what tables show of it, or of what was made of it: rows are named by this, and by nothing else
    /// of a series.
    pub fn shown(&self) -> impl Serialize + '_ {
        let texts = (&self.study_uid, &self.patient, &self.modality, &self.manufacturer, &self.model_name);
        (
            (&self.key, self.part, self.form, texts, &self.description),
            (&self.grid, self.list, &self.notes, self.digest),
        )
    }

    /// The note of a scan of `source` where `others` have a scan of the same name.
    pub fn same_name(source: &str, others: &[String]) -> String {
        let others: Vec<String> = others.iter().map(|other| format!("`{other}`")).collect();
        let has = if others.len() == 1 { "has" } else { "have" };
        format!("{SAME_NAME}{source}`; {} {has} another of this name", others.join(", "))
    }

    /// Returns what tells the scan from others of the same name: its source. Empty where it is the only one.
    pub fn apart(&self) -> &str {
        let note = self.notes.iter().find_map(|note| note.strip_prefix(SAME_NAME));
        note.and_then(|note| note.split('`').next()).unwrap_or_default()
    }

    /// The case's key, and what tells it from others of the same name.
    pub fn counted_as(&self) -> String {
        match self.apart() {
            "" => self.key.to_string(),
            apart => format!("{}\0{apart}", self.key),
        }
    }

    /// The texts that many scans have in common.
    pub fn shared(&mut self) -> [&mut Arc<str>; 7] {
        [
            &mut self.study_uid,
            &mut self.patient,
            &mut self.modality,
            &mut self.manufacturer,
            &mut self.model_name,
            &mut self.description,
            &mut self.frame_of_reference,
        ]
    }
}

/// The series of a case's key, which names the part of a split one.
pub fn series_of(key: &str) -> &str {
    key.split_once('#').map_or(key, |(series, _)| series)
}

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

/// One case of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The case.
    pub case: String,
    /// The part of the split in which it stands.
    pub part: Part,
    /// Its prepared voxels; none for a case to test on, or one that could not be prepared.
    pub prepared: Option<Digest>,
}

impl Member {
    /// Returns what datasets are ordered by: a training's key is made from their members as they stand.
    pub fn place(&self) -> impl Ord + '_ {
        (&self.case, self.part.name(), self.prepared)
    }
}

/// Returns which case stands in which part; one that could not be prepared stands in none.
pub fn parts_of(members: &[Member]) -> impl Iterator<Item = (String, Part)> {
    let stands = |member: &&Member| member.prepared.is_some() || member.part == Part::Test;
    members.iter().filter(stands).map(|member| (member.case.clone(), member.part))
}

/// Returns the parts as [`parts_of`] does, with cases that stand in none: all that a training has seen.
pub fn seen_by(members: &[Member]) -> impl Iterator<Item = (String, Option<Part>)> {
    let mut stands: std::collections::BTreeMap<String, Part> = parts_of(members).collect();
    members.iter().map(move |member| (member.case.clone(), stands.remove(&member.case)))
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

    fn list(heights: &[f64]) -> SliceList {
        let slice = |number: usize| SliceRow {
            record: Digest::of(&[number as u8]),
            content: Digest::default(),
            frame: 0,
            sop_uid: format!("1.{number}"),
        };
        SliceList {
            slices: (0..3).map(slice).collect(),
            heights: heights.iter().copied().map(Real::new).collect(),
        }
    }

    #[test]
    fn a_list_of_slices_is_read_as_it_was_written() {
        for heights in [&[][..], &[0.0, 1.0, 3.0]] {
            let list = list(heights);
            assert_eq!(SliceList::decode(&list.encode()).unwrap(), list);
        }
        // A list without planes between slices is the slices alone.
        assert_eq!(list(&[]).encode(), postcard::to_stdvec(&list(&[]).slices).unwrap());
        let bytes = list(&[0.0, 1.0, 3.0]).encode();
        assert!(
            (1..bytes.len())
                .all(|end| SliceList::decode(&bytes[..end]).is_err() || end == list(&[]).encode().len())
        );
    }

    /// The store keeps datasets, and a training's key is made from their members in order.
    #[test]
    fn a_member_is_written_with_the_word_of_its_part() {
        let digest = Some(Digest::of(b"voxels"));
        let mut members: Vec<Member> = Part::ALL
            .map(|part| Member {
                case: "1.2".to_owned(),
                part,
                prepared: digest.filter(|_| part != Part::Test),
            })
            .into();
        members.sort_by(|a, b| a.place().cmp(&b.place()));
        let before = [("1.2", "test", None), ("1.2", "train", digest), ("1.2", "validation", digest)];
        let bytes = postcard::to_stdvec(before.as_slice()).unwrap();
        assert_eq!(postcard::to_stdvec(&members).unwrap(), bytes);
        assert_eq!(postcard::from_bytes::<Vec<Member>>(&bytes).unwrap(), members);
        assert!(before.is_sorted());
    }

    #[test]
    fn planes_name_their_slices() {
        let names = |heights: &[f64], depth| -> Vec<String> {
            let list = list(heights);
            let planes = list.on_planes(depth).into_iter();
            planes.map(|slice| slice.map_or(String::new(), |slice| slice.sop_uid.clone())).collect()
        };
        assert_eq!(names(&[], 3), ["1.0", "1.1", "1.2"]);
        assert_eq!(names(&[0.0, 1.0, 3.0], 4), ["1.0", "1.1", "", "1.2"]);
        assert_eq!(names(&[0.0, 1.5, 2.5], 3), ["1.0", "", ""]);
    }

    #[test]
    fn every_kind_of_work_says_what_enters_it() {
        let series = Arc::new(SeriesRow {
            key: "1.2".into(),
            part: 0,
            form: ScanForm::Instances,
            study_uid: "1".into(),
            patient: "p".into(),
            modality: "MR".into(),
            manufacturer: "".into(),
            model_name: "".into(),
            description: "".into(),
            frame_of_reference: "".into(),
            grid: Grid::from(&tomoflow_connectors::Geometry::axis_aligned([1; 3], [1.0; 3])),
            list: Digest::default(),
            notes: Vec::new(),
            digest: Digest::default(),
        });
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
