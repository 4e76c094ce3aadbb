//! The study that a segmentation belongs to, as the scan's own files have it.

use std::path::Path;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use crate::dicom::Head;
use crate::dicom::write::Study;
use crate::{Reject, container, reading};

/// Patient and study of a scan's file, and its SOP class.
///
/// # Errors
/// `UNREADABLE` when the file cannot be read, and the name of what it is when it is no DICOM image.
pub fn study_of(path: &Path) -> Result<(Study, String), Reject> {
    let bytes = container::hold(path).map_err(|error| reading::refused(&error))?;
    let head = Head::find(&bytes, |code| {
        Reject::new(code, "a DICOM image expected", "the file changed meanwhile: run again")
    })?;
    let dataset = head.dataset().map_err(|error| reading::refused(&error))?;
    let characters = dataset.character_set();
    let text = |tag: Tag| dataset.decoded_text(tag, characters.as_ref()).unwrap_or_default();
    let study = Study {
        patient_id: text(tags::PATIENT_ID),
        patient_name: text(tags::PATIENT_NAME),
        birth_date: text(tags::PATIENT_BIRTH_DATE),
        sex: text(tags::PATIENT_SEX),
        age: text(tags::PATIENT_AGE),
        uid: text(tags::STUDY_INSTANCE_UID),
        id: text(tags::STUDY_ID),
        accession_number: text(tags::ACCESSION_NUMBER),
        date: text(tags::STUDY_DATE),
        time: text(tags::STUDY_TIME),
        description: text(tags::STUDY_DESCRIPTION),
        frame_of_reference_uid: text(tags::FRAME_OF_REFERENCE_UID),
    };
    Ok((study, text(tags::SOP_CLASS_UID)))
}
