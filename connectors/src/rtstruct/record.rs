//! The record that the index keeps of a file of labels.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use dicom_dictionary_std::tags;
use serde::{Deserialize, Serialize};

use super::instances::Instances;
use super::kind::ContourKind;
use super::read::{Contour, Shared, Structure, StructureSet, structures};
use crate::Digest;
use crate::dicom::Dataset;
use crate::digest::Parts;

/// The form in which labels lie in their file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Form {
    /// Contours (RTSTRUCT).
    #[default]
    Contours,
    /// Voxels (DICOM SEG).
    Voxels,
}

/// The record that the index keeps of one file of labels: an RTSTRUCT, or a DICOM SEG.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Outlines {
    /// The form in which the labels are drawn.
    pub form: Form,
    /// SOPInstanceUID.
    pub sop_uid: String,
    /// PatientID, or empty.
    pub patient_id: String,
    /// The SeriesInstanceUIDs that the labels were drawn on, sorted.
    pub referenced_series: Vec<String>,
    /// The names of its structures (ROIs) or segments, in the file's order.
    pub structures: Vec<String>,
    /// The date and time of its content, so that the newest of several can be told.
    pub date_time: String,
    /// The digest of contours or voxels, names and references.
    pub digest: Digest,
    /// The frames of reference that the file refers to, sorted.
    pub frames: Vec<String>,
    /// The parts, one for each of `structures`, in their order; none in files that say nothing of them.
    pub parts: Vec<OutlinePart>,
    /// The images that the contours or frames name; when they name none, those that the file says it was
    /// drawn on.
    pub instances: Instances,
}

/// The record that an index keeps of one structure or segment, beside its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OutlinePart {
    /// ROINumber or SegmentNumber.
    pub number: i64,
    /// The place in `frames` of the frame of reference that the part lies in.
    pub frame: Option<u16>,
    /// The number of the part's contours or frames; a part of none is there and empty.
    pub drawn: u32,
}

impl Outlines {
    /// The frame of reference of a structure or segment by its place, from 0 on; empty when it names none.
    pub fn frame_of(&self, place: usize) -> &str {
        let frame = self.parts.get(place).and_then(|part| part.frame);
        frame.and_then(|frame| self.frames.get(usize::from(frame))).map_or("", String::as_str)
    }

    /// Whether a structure or segment lies in another frame of reference than this one, where both are known.
    pub fn leaves(&self, frame: &str) -> bool {
        let other = |place| !self.frame_of(place).is_empty() && self.frame_of(place) != frame;
        !frame.is_empty() && (0..self.parts.len()).any(other)
    }

    /// Whether each structure or segment lies in this frame of reference or names none, where the file's
    /// structures lie in several; nothing where all lie in one.
    pub fn frames_beside(&self, frame: &str) -> impl Iterator<Item = bool> {
        let named: BTreeSet<&str> = (0..self.parts.len()).map(|place| self.frame_of(place)).collect();
        let parts = if named.len() > 1 { self.parts.len() } else { 0 };
        (0..parts).map(move |place| ["", frame].contains(&self.frame_of(place)))
    }
}

/// The record that the index keeps of a data set.
pub(crate) fn outlines(dataset: &Dataset<'_>) -> Outlines {
    let text = |tag| dataset.text_or_empty(tag);
    let set = structures(dataset);
    let referenced_series = referenced_series(dataset);
    let digest = digest(&set, &referenced_series);
    let frames = frames(dataset, &set);
    Outlines {
        form: Form::Contours,
        sop_uid: text(tags::SOP_INSTANCE_UID),
        patient_id: dataset
            .decoded_text(tags::PATIENT_ID, dataset.character_set().as_ref())
            .unwrap_or_default(),
        referenced_series,
        date_time: moment(&text(tags::STRUCTURE_SET_DATE), &text(tags::STRUCTURE_SET_TIME)),
        digest,
        parts: set.structures.iter().map(|structure| part(structure, &frames)).collect(),
        instances: instances(dataset, &set),
        structures: set.structures.into_iter().map(|structure| structure.name).collect(),
        frames,
    }
}

/// A date and a time as a text that sorts by them: one without a date comes before all that have one. Dates and times
/// with dots, dashes or colons, as earlier editions of the standard had them, are the same as without.
pub(crate) fn moment(date: &str, time: &str) -> String {
    let digits = |text: &str| text.chars().filter(|letter| !".-:".contains(*letter)).collect::<String>();
    let fraction = time.find('.').map_or("", |at| &time[at..]);
    let time = time.strip_suffix(fraction).unwrap_or(time);
    format!("{:0>8}{}{fraction}", digits(date), digits(time))
}

fn part(structure: &Structure, frames: &[String]) -> OutlinePart {
    let frame = frames.binary_search(&structure.frame_of_reference).ok();
    OutlinePart {
        number: structure.number,
        frame: frame.and_then(|frame| u16::try_from(frame).ok()),
        drawn: structure.contours.len() as u32,
    }
}

/// The frames of reference of structures and of series; sorted, each once.
fn frames(dataset: &Dataset<'_>, set: &StructureSet) -> Vec<String> {
    let referenced = dataset.items(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE).iter();
    let referenced = referenced.map(|frame| frame.text_or_empty(tags::FRAME_OF_REFERENCE_UID));
    let own = set.structures.iter().map(|structure| structure.frame_of_reference.clone());
    let frames: BTreeSet<String> = referenced.chain(own).filter(|uid| !uid.is_empty()).collect();
    frames.into_iter().collect()
}

/// The images that contours name, or else those that the file says that they were drawn on.
fn instances(dataset: &Dataset<'_>, set: &StructureSet) -> Instances {
    let contours = set.structures.iter().flat_map(|structure| &structure.contours);
    let named = Instances::of(contours.map(|contour| contour.sop_uid.as_str()));
    if named.count() > 0 {
        return named;
    }
    let images = series(dataset).flat_map(|series| series.items(tags::CONTOUR_IMAGE_SEQUENCE));
    let uids: Vec<String> =
        images.map(|image| image.text_or_empty(tags::REFERENCED_SOP_INSTANCE_UID)).collect();
    Instances::of(uids.iter().map(String::as_str))
}

/// The series that the file refers to.
fn series<'d, 'a>(dataset: &'d Dataset<'a>) -> impl Iterator<Item = &'d Dataset<'a>> {
    let frames = dataset.items(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE).iter();
    let studies = frames.flat_map(|frame| frame.items(tags::RT_REFERENCED_STUDY_SEQUENCE));
    studies.flat_map(|study| study.items(tags::RT_REFERENCED_SERIES_SEQUENCE))
}

fn referenced_series(dataset: &Dataset<'_>) -> Vec<String> {
    let uids: BTreeSet<_> = series(dataset).filter_map(|item| item.text(tags::SERIES_INSTANCE_UID)).collect();
    uids.into_iter().map(Cow::into_owned).collect()
}

/// The digest of what would be drawn.
fn digest(set: &StructureSet, referenced_series: &[String]) -> Digest {
    let mut parts = Parts::default();
    let mut part = |bytes: &[u8]| parts.add(bytes);
    for uid in referenced_series {
        part(uid.as_bytes());
    }
    // A missing list of contours is told of, and was an empty structure once.
    if set.unlisted {
        part(b"unlisted");
    }
    if set.nameless > 0 {
        part(b"nameless");
        part(&set.nameless.to_le_bytes());
    }
    for structure in &set.structures {
        part(structure.name.as_bytes());
        match structure.shared {
            Shared::No => {}
            // Such a number is told of.
            Shared::InOrder => part(b"in order"),
            // The structure was drawn once with contours of others.
            Shared::Ambiguous => part(b"ambiguous"),
        }
        // Unknown types are told of by their words.
        for (kind, count) in &structure.unknown_types {
            part(kind.as_bytes());
            part(&count.to_le_bytes());
        }
        // Outlines that nobody closed were once left out without a word. Points and specks change nothing.
        let open = |one: &Contour| one.kind == ContourKind::Open && one.points.len() > 2;
        if structure.contours.iter().any(open) {
            part(b"open");
        }
        let mut seen = HashSet::new();
        for contour in &structure.contours {
            let points = contour.corner_bytes();
            if !points.is_empty() && !seen.insert(Digest::of(&points)) {
                // A repeated contour once undid the first.
                part(b"once");
            }
            part(&[u8::from(contour.kind == ContourKind::Closed)]);
            part(contour.sop_uid.as_bytes());
            part(&points);
        }
    }
    parts.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_sort_by_date_and_then_by_time() {
        let sorted = [
            moment("", ""),
            moment("", "230000"),
            moment("20200105", "235959.9"),
            moment("2020.01.06", "08:00:00"),
            moment("20200106", "080000.5"),
            moment("20210101", ""),
        ];
        assert!(sorted.is_sorted(), "{sorted:?}");
        // The text is as earlier versions kept it.
        assert_eq!(moment("20200105", "120000.25"), "20200105120000.25");
        assert_eq!(moment("2020.01.05", "12:00:00"), moment("20200105", "120000"));
    }
}
