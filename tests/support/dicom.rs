//! DICOM files, changed where a test wants them otherwise.

use std::path::Path;

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_object::{InMemDicomObject, open_file};

pub const SOP_UID: Tag = Tag(0x0008, 0x0018);
/// ReferencedFrameOfReferenceSequence: what outlines say that they were drawn on.
pub const FRAMES: Tag = Tag(0x3006, 0x0010);

/// A value as text, without padding.
pub fn text(object: &InMemDicomObject, tag: Tag) -> String {
    object.element(tag).unwrap().to_str().unwrap().trim_end_matches(['\0', ' ']).to_owned()
}

pub fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: &str) {
    object.put(DataElement::new(tag, vr, value));
}

/// Changes each item of a sequence, if it is there.
pub fn each(object: &mut InMemDicomObject, tag: Tag, change: &mut dyn FnMut(&mut InMemDicomObject)) {
    let Ok(element) = object.element(tag) else { return };
    let mut items = element.items().unwrap().to_vec();
    items.iter_mut().for_each(&mut *change);
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// Writes a changed copy of a file; it may be the file itself.
pub fn copied(from: &Path, to: &Path, change: impl FnOnce(&mut InMemDicomObject)) {
    let mut object = open_file(from).unwrap();
    change(&mut object);
    let uid = text(&object, SOP_UID);
    object.meta_mut().media_storage_sop_instance_uid = uid;
    object.write_to_file(to).unwrap();
}

/// Writes a slice of a series of labels (OT) beside the series of a slice, with these values in the place of its own.
pub fn painted(from: &Path, to: &Path, values: impl Iterator<Item = u16>) {
    let pixels: Vec<u8> = values.flat_map(u16::to_le_bytes).collect();
    copied(from, to, |object| {
        for tag in [SOP_UID, Tag(0x0020, 0x000E)] {
            let uid = format!("{}.8", text(object, tag));
            put(object, tag, VR::UI, &uid);
        }
        put(object, Tag(0x0008, 0x0060), VR::CS, "OT");
        object.put(DataElement::new(Tag(0x7FE0, 0x0010), VR::OW, PrimitiveValue::U8(pixels.into())));
    });
}
