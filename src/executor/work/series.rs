//! One scan as a row: its series, the list of its slices, and where these lie in their files.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::dicom::{padding_values, says_between};
use tomoflow_connectors::geometry::Grid;
use tomoflow_connectors::planes::{Plane, planes};
use tomoflow_connectors::{Digest, Real};

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

#[cfg(test)]
impl SeriesRow {
    /// A scan of tests, on a grid.
    pub fn sample(key: &str, grid: &tomoflow_connectors::Geometry) -> Self {
        Self {
            key: key.into(),
            part: 0,
            form: ScanForm::Instances,
            study_uid: "study".into(),
            patient: "p".into(),
            modality: "MR".into(),
            manufacturer: "".into(),
            model_name: "".into(),
            description: "".into(),
            frame_of_reference: "".into(),
            grid: Grid::from(grid),
            list: Digest::default(),
            notes: Vec::new(),
            digest: Digest::default(),
        }
    }
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
}
