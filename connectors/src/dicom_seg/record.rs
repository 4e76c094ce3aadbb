//! What an index keeps of one SEG file.

use std::borrow::Cow;
use std::collections::BTreeSet;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::object::Object;
use crate::Digest;
use crate::dicom::header::image::Stored;
use crate::dicom::{Dataset, Frame, Head};
use crate::digest::Parts;
use crate::rtstruct::{Form, Outlines};

/// What an index keeps of a SEG file's bytes; `None` when they are none that can be read.
pub fn record(bytes: &[u8]) -> Option<Outlines> {
    let head = Head::find(bytes).ok()?;
    outlines(&head, &head.dataset())
}

/// The same, of a data set.
pub(crate) fn outlines(head: &Head<'_>, dataset: &Dataset<'_>) -> Option<Outlines> {
    let object = Object::new(head, dataset).ok()?;
    let text = |tag: Tag| dataset.text_or_empty(tag);
    let referenced_series = referenced_series(dataset);
    let digest = digest(&object, &referenced_series);
    let characters = dataset.character_set();
    Some(Outlines {
        form: Form::Voxels,
        sop_uid: text(tags::SOP_INSTANCE_UID),
        patient_id: dataset.decoded_text(tags::PATIENT_ID, characters.as_ref()).unwrap_or_default(),
        referenced_series,
        structures: object.segments.into_iter().map(|(_, name)| name).collect(),
        date_time: text(tags::CONTENT_DATE) + &text(tags::CONTENT_TIME),
        digest,
    })
}

/// Series of the same study, and of others.
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
    match &object.image.stored {
        Stored::Missing => {}
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
