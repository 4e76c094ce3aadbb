//! The record that an index keeps of one SEG file.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::grid;
use super::object::{Object, SegmentationType};
use crate::dicom::header::image::Stored;
use crate::dicom::{Dataset, Frame, Head};
use crate::digest::Parts;
use crate::rtstruct::{Form, Instances, OutlinePart, Outlines, moment};
use crate::{Digest, Reject};

/// The record that an index keeps of a SEG file's bytes; `None` when they are none that can be read.
pub fn record(bytes: &[u8]) -> Option<Outlines> {
    let head = Head::find(bytes, |code| Reject::new(code, "", "")).ok()?;
    outlines(&head, &head.dataset().ok()?)
}

/// The record that an index keeps of a SEG's data set.
pub(crate) fn outlines(head: &Head<'_>, dataset: &Dataset<'_>) -> Option<Outlines> {
    let object = Object::new(head, dataset).ok()?;
    let text = |tag: Tag| dataset.text_or_empty(tag);
    let referenced_series = referenced_series(dataset);
    let digest = digest(&object, &referenced_series);
    let characters = dataset.character_set();
    let frame = text(tags::FRAME_OF_REFERENCE_UID);
    Some(Outlines {
        form: Form::Voxels,
        sop_uid: text(tags::SOP_INSTANCE_UID),
        patient_id: dataset.decoded_text(tags::PATIENT_ID, characters.as_ref()).unwrap_or_default(),
        referenced_series,
        date_time: moment(&text(tags::CONTENT_DATE), &text(tags::CONTENT_TIME)),
        digest,
        parts: parts(&object, !frame.is_empty()),
        instances: instances(&object),
        structures: object.segments.into_iter().map(|(_, name)| name).collect(),
        frames: Some(frame).filter(|frame| !frame.is_empty()).into_iter().collect(),
    })
}

/// Each segment, with how many frames it has. In a label map each frame may be of all, and is counted for each.
fn parts(object: &Object<'_, '_>, has_frame: bool) -> Vec<OutlinePart> {
    let frames = object.frame_segments();
    let mut drawn: BTreeMap<u16, u32> = BTreeMap::new();
    for number in frames.iter().flatten() {
        *drawn.entry(*number).or_default() += 1;
    }
    let part = |(number, _): &(u16, String)| OutlinePart {
        number: i64::from(*number),
        frame: has_frame.then_some(0),
        drawn: match object.kind {
            SegmentationType::LabelMap => frames.len() as u32,
            _ => drawn.get(number).copied().unwrap_or_default(),
        },
    };
    object.segments.iter().map(part).collect()
}

/// The images that frames were made from, or else those that the file refers to.
fn instances(object: &Object<'_, '_>) -> Instances {
    let uid = |item: &Dataset<'_>| item.text_or_empty(tags::REFERENCED_SOP_INSTANCE_UID);
    let sources: Vec<String> = object.sources().flatten().map(&uid).collect();
    let named = Instances::of(sources.iter().map(String::as_str));
    if named.count() > 0 {
        return named;
    }
    let series = object.dataset.items(tags::REFERENCED_SERIES_SEQUENCE).iter();
    let images = series.flat_map(|series| series.items(tags::REFERENCED_INSTANCE_SEQUENCE));
    let uids: Vec<String> = images.map(uid).collect();
    Instances::of(uids.iter().map(String::as_str))
}

/// The series of the same study that the file refers to, and those of others.
fn referenced_series(dataset: &Dataset<'_>) -> Vec<String> {
    let others = dataset.items(tags::STUDIES_CONTAINING_OTHER_REFERENCED_INSTANCES_SEQUENCE);
    let series = std::iter::once(dataset).chain(others);
    let series = series.flat_map(|study| study.items(tags::REFERENCED_SERIES_SEQUENCE));
    let uids: BTreeSet<_> = series.filter_map(|item| item.text(tags::SERIES_INSTANCE_UID)).collect();
    uids.into_iter().map(Cow::into_owned).collect()
}

/// The digest of what would be drawn.
fn digest(object: &Object<'_, '_>, referenced_series: &[String]) -> Digest {
    let mut parts = Parts::default();
    let mut part = |bytes: &[u8]| parts.add(bytes);
    for uid in referenced_series {
        part(uid.as_bytes());
    }
    for (number, name) in &object.segments {
        part(&number.to_le_bytes());
        part(name.as_bytes());
    }
    let format = &object.image.instance.pixels;
    let most = object.dataset.number(tags::MAXIMUM_FRACTIONAL_VALUE);
    let facts = (format.rows, format.columns, format.bits_allocated, most.map(f64::to_bits), object.padding);
    part(format!("{:?} {facts:?} {}", object.kind, format.transfer_syntax).as_bytes());
    // Frames that make no sense are refused later; until then their pixels alone count.
    let frames = object.frames().unwrap_or_default();
    for (frame, segment) in frames.iter().zip(object.frame_segments()) {
        part(&place(frame));
        part(&segment.unwrap_or_default().to_le_bytes());
    }
    // These frames were once drawn otherwise under the same content: their digest must be another.
    let size = [format.rows as usize, format.columns as usize];
    if grid::place(&frames, size, object.sourced()).is_ok_and(|placed| placed.anew) {
        part(b"as thick as it says");
        // Where frames say no distance, how thick they are decides how many were left out.
        if frames.iter().all(|frame| frame.gap_mm.is_none()) {
            let thickness = frames.iter().find_map(|frame| frame.thickness_mm);
            part(&thickness.map_or(0.0, |thickness| thickness.0).to_le_bytes());
        }
    }
    match &object.image.stored {
        Stored::Missing | Stored::Decoded { .. } => {}
        Stored::Native { bytes, .. } => part(bytes),
        Stored::Fragments { fragments, .. } => fragments.iter().for_each(|fragment| part(fragment)),
    }
    parts.digest()
}

fn place(frame: &Frame) -> Vec<u8> {
    let position = frame.position_mm.iter().flatten();
    let orientation = frame.orientation.iter().flatten();
    let lengths = frame.spacing_mm.iter().flatten().chain(&frame.gap_mm);
    position.chain(orientation).chain(lengths).flat_map(|number| number.0.to_le_bytes()).collect()
}
