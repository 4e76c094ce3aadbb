//! Writing of label maps to SEG files: BINARY or LABELMAP, explicit VR little endian, empty frames left out.

mod frames;
mod groups;
mod segments;

use std::path::Path;

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use self::frames::{Held, frames, pixels};
use self::groups::{per_frame, shared};
use self::segments::put_segments;
use super::describe::{Code, Encoding, SegmentText, SegmentationHeader};
use crate::dicom::deidentify::Deidentify;
use crate::dicom::write::{WriteError, put, put_study, write_object};
use crate::imagefile::unfit;
use crate::{Digest, Geometry, LabelMap};

/// Writes a label map as one SEG, a segment for each of `segments`.
///
/// Frames refer to the images of `header.sources`. A slice without any voxel of a segment has no frame;
/// only a label map without any voxel keeps the frames of its first segment.
///
/// # Errors
/// [`WriteError`] when the file cannot be written, when a label has no segment, or when the sources are
/// not as many as slices.
pub fn write(
    path: &Path,
    header: &SegmentationHeader,
    labels: &LabelMap,
    segments: &[SegmentText],
    encoding: Encoding,
) -> Result<(), WriteError> {
    write_as(path, header, labels, segments, encoding, None)
}

/// Writes a label map as [`write()`], without identity where that is asked for.
///
/// # Errors
/// The errors of [`write()`].
pub fn write_as(
    path: &Path,
    header: &SegmentationHeader,
    labels: &LabelMap,
    segments: &[SegmentText],
    encoding: Encoding,
    deidentify: Option<&Deidentify<'_>>,
) -> Result<(), WriteError> {
    let held = Held { labels, sets: None };
    put_all(path, header, &held, segments, encoding, deidentify)
}

/// Writes segments that may overlap, as BINARY: a voxel of value `n`, from 1 on, is of all labels of the set `n - 1`.
///
/// # Errors
/// The errors of [`write()`].
pub fn write_overlapping(
    path: &Path,
    header: &SegmentationHeader,
    (values, sets): (&LabelMap, &[Vec<u16>]),
    segments: &[SegmentText],
    deidentify: Option<&Deidentify<'_>>,
) -> Result<(), WriteError> {
    let held = Held { labels: values, sets: Some(sets) };
    put_all(path, header, &held, segments, Encoding::Binary, deidentify)
}

fn put_all(
    path: &Path,
    header: &SegmentationHeader,
    held: &Held<'_>,
    segments: &[SegmentText],
    encoding: Encoding,
    deidentify: Option<&Deidentify<'_>>,
) -> Result<(), WriteError> {
    let labels = held.labels;
    check(header, held, segments).map_err(|message| unfit(path, message))?;
    let frames = frames(held, segments, encoding);
    let bits = match encoding {
        Encoding::Binary => 1,
        Encoding::LabelMap if segments.iter().all(|segment| segment.label <= 255) => 8,
        Encoding::LabelMap => 16,
    };
    let mut object = InMemDicomObject::new_empty();
    put_study(&mut object, &header.study);
    // Names of segments may be in any script.
    put(&mut object, tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
    put_header(&mut object, header, encoding);
    put_format(&mut object, labels.geometry(), frames.len(), bits);
    put_segments(&mut object, segments, encoding);
    put_references(&mut object, header);
    put_dimensions(&mut object, header, encoding);
    put_items(&mut object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared(labels.geometry())]);
    let groups = per_frame(header, labels.geometry(), &frames);
    put_items(&mut object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, groups);
    let bytes = pixels(held, &frames, bits);
    if u32::try_from(bytes.len()).is_err() {
        return Err(unfit(path, format!("at most 4 GiB of pixels expected, {} bytes found", bytes.len())));
    }
    let vr = if bits == 16 { VR::OW } else { VR::OB };
    object.put(DataElement::new(tags::PIXEL_DATA, vr, PrimitiveValue::U8(bytes.into())));
    if let Some(deidentify) = deidentify {
        object = deidentify.apply(object);
    }
    write_object(path, object, uids::EXPLICIT_VR_LITTLE_ENDIAN)
}

/// The refusal of what cannot be written.
fn check(header: &SegmentationHeader, held: &Held<'_>, segments: &[SegmentText]) -> Result<(), String> {
    let labels = held.labels;
    let [depth, rows, columns] = labels.size();
    if header.sources.len() != depth {
        return Err(format!("a source for each of {depth} slices expected, {} found", header.sources.len()));
    }
    if depth == 0 || [rows, columns].iter().any(|&n| n == 0 || n > usize::from(u16::MAX)) {
        return Err(format!("slices of 1 to 65,535 rows and columns expected, {:?} found", labels.size()));
    }
    let mut known = vec![false; usize::from(u16::MAX) + 1];
    for segment in segments {
        let known = known.get_mut(usize::from(segment.label));
        if segment.label == 0 || known.is_none_or(|known| std::mem::replace(known, true)) {
            return Err(format!("labels from 1 on, each once, expected, {} found again", segment.label));
        }
    }
    if segments.is_empty() {
        return Err("at least one segment expected, none found".to_owned());
    }
    let is_known = |label: &u16| known.get(usize::from(*label)).is_some_and(|known| *known);
    let unknown =
        |value: &&u16| **value != 0 && (held.of(value).is_empty() || !held.of(value).iter().all(is_known));
    match labels.voxels().iter().find(unknown) {
        Some(label) => Err(format!("a segment for each label expected, none for {label} found")),
        None => Ok(()),
    }
}

fn put_items(object: &mut InMemDicomObject, tag: Tag, items: Vec<InMemDicomObject>) {
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

fn put_word(object: &mut InMemDicomObject, tag: Tag, value: u16) {
    object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
}

fn put_code(object: &mut InMemDicomObject, tag: Tag, code: &Code) {
    let mut item = InMemDicomObject::new_empty();
    put(&mut item, tags::CODE_VALUE, VR::SH, &code.value);
    put(&mut item, tags::CODING_SCHEME_DESIGNATOR, VR::SH, &code.scheme);
    put(&mut item, tags::CODE_MEANING, VR::LO, &code.meaning);
    put_items(object, tag, vec![item]);
}

fn put_header(object: &mut InMemDicomObject, header: &SegmentationHeader, encoding: Encoding) {
    let (class, kind) = match encoding {
        Encoding::Binary => (uids::SEGMENTATION_STORAGE, "BINARY"),
        Encoding::LabelMap => (uids::LABEL_MAP_SEGMENTATION_STORAGE, "LABELMAP"),
    };
    let texts: [(Tag, VR, &str); 22] = [
        (tags::SOP_CLASS_UID, VR::UI, class),
        (tags::SOP_INSTANCE_UID, VR::UI, &header.sop_instance_uid),
        (tags::MODALITY, VR::CS, "SEG"),
        (tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY"),
        (tags::SERIES_INSTANCE_UID, VR::UI, &header.series_uid),
        (tags::SERIES_DATE, VR::DA, &header.date),
        (tags::SERIES_TIME, VR::TM, &header.time),
        (tags::SERIES_DESCRIPTION, VR::LO, &header.series_description),
        (tags::INSTANCE_NUMBER, VR::IS, "1"),
        (tags::CONTENT_DATE, VR::DA, &header.date),
        (tags::CONTENT_TIME, VR::TM, &header.time),
        (tags::CONTENT_LABEL, VR::CS, &header.content_label),
        (tags::CONTENT_DESCRIPTION, VR::LO, &header.series_description),
        (tags::CONTENT_CREATOR_NAME, VR::PN, ""),
        (tags::MANUFACTURER, VR::LO, &header.manufacturer),
        (tags::MANUFACTURER_MODEL_NAME, VR::LO, &header.model),
        (tags::DEVICE_SERIAL_NUMBER, VR::LO, &header.serial_number),
        (tags::SOFTWARE_VERSIONS, VR::LO, &header.software),
        (tags::SEGMENTATION_TYPE, VR::CS, kind),
        (tags::SEGMENTS_OVERLAP, VR::CS, "NO"),
        (tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00"),
        (tags::BURNED_IN_ANNOTATION, VR::CS, "NO"),
    ];
    for (tag, vr, value) in texts {
        put(object, tag, vr, value);
    }
    put(object, tags::SERIES_NUMBER, VR::IS, header.series_number.to_string());
    if encoding == Encoding::LabelMap {
        put_word(object, tags::PIXEL_PADDING_VALUE, 0);
    }
}

fn put_format(object: &mut InMemDicomObject, geometry: &Geometry, frames: usize, bits: u16) {
    let [_, rows, columns] = geometry.size;
    let words = [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows as u16),
        (tags::COLUMNS, columns as u16),
        (tags::BITS_ALLOCATED, bits),
        (tags::BITS_STORED, bits),
        (tags::HIGH_BIT, bits - 1),
        (tags::PIXEL_REPRESENTATION, 0),
    ];
    for (tag, value) in words {
        put_word(object, tag, value);
    }
    put(object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    put(object, tags::NUMBER_OF_FRAMES, VR::IS, frames.to_string());
}

fn image_reference(class_uid: &str, instance_uid: &str) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    put(&mut item, tags::REFERENCED_SOP_CLASS_UID, VR::UI, class_uid);
    put(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, instance_uid);
    item
}

fn put_references(object: &mut InMemDicomObject, header: &SegmentationHeader) {
    let mut instances: Vec<&str> =
        header.sources.iter().flatten().map(|source| source.sop_instance_uid.as_str()).collect();
    instances.dedup();
    let instances = instances.into_iter().map(|uid| image_reference(&header.referenced_sop_class_uid, uid));
    let mut series = InMemDicomObject::new_empty();
    put(&mut series, tags::SERIES_INSTANCE_UID, VR::UI, &header.referenced_series_uid);
    put_items(&mut series, tags::REFERENCED_INSTANCE_SEQUENCE, instances.collect());
    put_items(object, tags::REFERENCED_SERIES_SEQUENCE, vec![series]);
}

fn put_dimensions(object: &mut InMemDicomObject, header: &SegmentationHeader, encoding: Encoding) {
    // The UID is the object's own, and the same for the same object.
    let digest = Digest::of_parts([b"dimensions".as_slice(), header.sop_instance_uid.as_bytes()]);
    let number = digest.0.iter().take(16).fold(0u128, |number, &byte| number << 8 | u128::from(byte));
    let uid = format!("2.25.{number}");
    let mut organisation = InMemDicomObject::new_empty();
    put(&mut organisation, tags::DIMENSION_ORGANIZATION_UID, VR::UI, &uid);
    put_items(object, tags::DIMENSION_ORGANIZATION_SEQUENCE, vec![organisation]);
    let by_segment =
        [(tags::REFERENCED_SEGMENT_NUMBER, tags::SEGMENT_IDENTIFICATION_SEQUENCE, "Segment Number")];
    let by_place = (tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE, "Image Position");
    let by_segment = by_segment.into_iter().filter(|_| encoding == Encoding::Binary);
    let index = |(element, group, label): (Tag, Tag, &str)| {
        let mut item = InMemDicomObject::new_empty();
        put(&mut item, tags::DIMENSION_ORGANIZATION_UID, VR::UI, &uid);
        for (tag, pointer) in
            [(tags::DIMENSION_INDEX_POINTER, element), (tags::FUNCTIONAL_GROUP_POINTER, group)]
        {
            item.put(DataElement::new(tag, VR::AT, PrimitiveValue::Tags([pointer].into_iter().collect())));
        }
        put(&mut item, tags::DIMENSION_DESCRIPTION_LABEL, VR::LO, label);
        item
    };
    put_items(object, tags::DIMENSION_INDEX_SEQUENCE, by_segment.chain([by_place]).map(index).collect());
}
