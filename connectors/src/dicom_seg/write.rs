//! Writing of label maps to SEG files: BINARY or LABELMAP, explicit VR little endian, empty frames left out.

use std::path::Path;

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use super::describe::{Algorithm, Code, Encoding, SegmentText, SegmentationHeader};
use crate::dicom::deidentify::Deidentify;
use crate::dicom::write::{WriteError, decimal, put, put_study, write_object};
use crate::geometry::{VoxelIndex, cross, dot, norm};
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

/// The content of voxels: a label each, or a set of labels each.
struct Held<'a> {
    labels: &'a LabelMap,
    sets: Option<&'a [Vec<u16>]>,
}

impl Held<'_> {
    /// The labels of a value.
    fn of<'v>(&'v self, value: &'v u16) -> &'v [u16] {
        match self.sets {
            _ if *value == 0 => &[],
            None => std::slice::from_ref(value),
            Some(sets) => sets.get(usize::from(*value) - 1).map_or(&[], Vec::as_slice),
        }
    }

    /// The labels of a slice, without background.
    fn distinct(&self, slice: usize) -> Vec<u16> {
        let values = distinct(self.labels.slice(slice));
        let mut found: Vec<u16> = values.iter().flat_map(|value| self.of(value)).copied().collect();
        if self.sets.is_some() {
            found.sort_unstable();
            found.dedup();
        }
        found
    }
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

/// Red, green, blue, yellow, violet and cyan in CIELab, for viewers to tell segments apart.
const COLOURS: [[u16; 3]; 6] = [
    [36_072, 48_104, 45_369],
    [42_204, 19_569, 43_406],
    [34_595, 33_948, 17_582],
    [53_990, 32_423, 51_640],
    [33_125, 47_206, 20_558],
    [48_906, 22_692, 29_840],
];
const BLACK: [u16; 3] = [0, 32_896, 32_896];

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

/// One frame that is to be written: a slice, and in BINARY the segment.
struct Planned {
    slice: usize,
    /// The slice's rank among those that have a frame, from 1.
    rank: u32,
    /// The segment's number and label.
    segment: Option<(u16, u16)>,
}

fn frames(held: &Held<'_>, segments: &[SegmentText], encoding: Encoding) -> Vec<Planned> {
    let depth = held.labels.size()[0];
    let mut present: Vec<Vec<u16>> = (0..depth).map(|slice| held.distinct(slice)).collect();
    if present.iter().all(Vec::is_empty) {
        // An object must have frames.
        let first: Vec<u16> = segments.iter().take(1).map(|segment| segment.label).collect();
        present.fill(first);
    }
    let occupied: Vec<usize> = (0..depth).filter(|&slice| !present[slice].is_empty()).collect();
    let ranked = || (1..).zip(&occupied);
    match encoding {
        Encoding::LabelMap => ranked().map(|(rank, &slice)| Planned { slice, rank, segment: None }).collect(),
        Encoding::Binary => (1..)
            .zip(segments)
            .flat_map(|(number, segment)| {
                let present = &present;
                let here = ranked().filter(move |(_, slice)| present[**slice].contains(&segment.label));
                let segment = Some((number, segment.label));
                here.map(move |(rank, &slice)| Planned { slice, rank, segment })
            })
            .collect(),
    }
}

/// The labels of a slice, without background.
fn distinct(slice: &[u16]) -> Vec<u16> {
    let mut found = Vec::new();
    let mut last = 0;
    for &label in slice {
        if label != last && label != 0 && !found.contains(&label) {
            found.push(label);
        }
        last = label;
    }
    found
}

/// The pixels of all frames; bits run on from one frame to the next.
fn pixels(held: &Held<'_>, frames: &[Planned], bits: u16) -> Vec<u8> {
    let labels = held.labels;
    let area = labels.size()[1] * labels.size()[2];
    let mut bytes = vec![0u8; (area * frames.len() * usize::from(bits)).div_ceil(8).next_multiple_of(2)];
    for (index, frame) in frames.iter().enumerate() {
        for (pixel, &label) in labels.slice(frame.slice).iter().enumerate() {
            let at = index * area + pixel;
            match frame.segment {
                Some((_, wanted)) if held.sets.is_none() && label == wanted => bytes[at / 8] |= 1 << (at % 8),
                Some((_, wanted)) if held.sets.is_some() && held.of(&label).contains(&wanted) => {
                    bytes[at / 8] |= 1 << (at % 8);
                }
                Some(_) => {}
                None if bits == 8 => bytes[at] = label as u8,
                None => bytes[2 * at..2 * at + 2].copy_from_slice(&label.to_le_bytes()),
            }
        }
    }
    bytes
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

fn put_segments(object: &mut InMemDicomObject, segments: &[SegmentText], encoding: Encoding) {
    let numbered = (1..).zip(segments).zip(COLOURS.into_iter().cycle());
    let numbered = numbered.map(|((number, segment), colour)| match encoding {
        Encoding::Binary => segment_item(number, segment, colour),
        Encoding::LabelMap => segment_item(segment.label, segment, colour),
    });
    let background = Code::new("125040", "DCM", "Background");
    let background = SegmentText {
        label: 0,
        name: "Background".to_owned(),
        category: background.clone(),
        property: background,
        region: None,
        algorithm: Algorithm::Manual,
    };
    let background = (encoding == Encoding::LabelMap).then(|| segment_item(0, &background, BLACK));
    put_items(object, tags::SEGMENT_SEQUENCE, background.into_iter().chain(numbered).collect());
}

fn segment_item(number: u16, segment: &SegmentText, colour: [u16; 3]) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    put_word(&mut item, tags::SEGMENT_NUMBER, number);
    put(&mut item, tags::SEGMENT_LABEL, VR::LO, &segment.name);
    put_code(&mut item, tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, &segment.category);
    put_code(&mut item, tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, &segment.property);
    if let Some(region) = &segment.region {
        put_code(&mut item, tags::ANATOMIC_REGION_SEQUENCE, region);
    }
    let (kind, program) = match &segment.algorithm {
        Algorithm::Manual => ("MANUAL", None),
        Algorithm::SemiAutomatic { name, version } => ("SEMIAUTOMATIC", Some((name, version))),
        Algorithm::Automatic { name, version } => ("AUTOMATIC", Some((name, version))),
    };
    put(&mut item, tags::SEGMENT_ALGORITHM_TYPE, VR::CS, kind);
    let colour = PrimitiveValue::U16(colour.into_iter().collect());
    item.put(DataElement::new(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, VR::US, colour));
    if let Some((name, version)) = program {
        put(&mut item, tags::SEGMENT_ALGORITHM_NAME, VR::LO, name);
        let mut algorithm = InMemDicomObject::new_empty();
        let family = Code::new("123110", "DCM", "Artificial Intelligence");
        put_code(&mut algorithm, tags::ALGORITHM_FAMILY_CODE_SEQUENCE, &family);
        put(&mut algorithm, tags::ALGORITHM_NAME, VR::LO, name);
        put(&mut algorithm, tags::ALGORITHM_VERSION, VR::LO, version);
        put_items(&mut item, tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE, vec![algorithm]);
    }
    item
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

fn decimals(values: &[f64]) -> String {
    values.iter().map(|&value| decimal(value)).collect::<Vec<_>>().join("\\")
}

/// The groups that all frames share: orientation, spacing and thickness.
fn shared(geometry: &Geometry) -> InMemDicomObject {
    let [step, down, across] = geometry.steps_mm;
    let unit = |v: [f64; 3]| v.map(|x| x / norm(v).max(f64::MIN_POSITIVE));
    let gap = dot(unit(cross(across, down)), step).abs();
    let mut orientation = InMemDicomObject::new_empty();
    let cosines = [unit(across), unit(down)].concat();
    put(&mut orientation, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, decimals(&cosines));
    let mut measures = InMemDicomObject::new_empty();
    put(&mut measures, tags::SLICE_THICKNESS, VR::DS, decimal(gap));
    put(&mut measures, tags::SPACING_BETWEEN_SLICES, VR::DS, decimal(gap));
    put(&mut measures, tags::PIXEL_SPACING, VR::DS, decimals(&[norm(down), norm(across)]));
    let mut groups = InMemDicomObject::new_empty();
    put_items(&mut groups, tags::PLANE_ORIENTATION_SEQUENCE, vec![orientation]);
    put_items(&mut groups, tags::PIXEL_MEASURES_SEQUENCE, vec![measures]);
    groups
}

fn per_frame(header: &SegmentationHeader, geometry: &Geometry, frames: &[Planned]) -> Vec<InMemDicomObject> {
    frames.iter().map(|frame| frame_item(header, geometry, frame)).collect()
}

fn frame_item(header: &SegmentationHeader, geometry: &Geometry, frame: &Planned) -> InMemDicomObject {
    let mut groups = InMemDicomObject::new_empty();
    let number = frame.segment.map(|(number, _)| number);
    let mut content = InMemDicomObject::new_empty();
    let indices = number.map(u32::from).into_iter().chain([frame.rank]);
    let indices = PrimitiveValue::U32(indices.collect());
    content.put(DataElement::new(tags::DIMENSION_INDEX_VALUES, VR::UL, indices));
    put_items(&mut groups, tags::FRAME_CONTENT_SEQUENCE, vec![content]);

    let place = geometry.to_patient(VoxelIndex([frame.slice as f64, 0.0, 0.0])).0;
    let mut position = InMemDicomObject::new_empty();
    put(&mut position, tags::IMAGE_POSITION_PATIENT, VR::DS, decimals(&place));
    put_items(&mut groups, tags::PLANE_POSITION_SEQUENCE, vec![position]);

    if let Some(number) = number {
        let mut identification = InMemDicomObject::new_empty();
        put_word(&mut identification, tags::REFERENCED_SEGMENT_NUMBER, number);
        put_items(&mut groups, tags::SEGMENT_IDENTIFICATION_SEQUENCE, vec![identification]);
    }
    if let Some(Some(source)) = header.sources.get(frame.slice) {
        let mut image = image_reference(&header.referenced_sop_class_uid, &source.sop_instance_uid);
        if let Some(frame) = source.frame {
            put(&mut image, tags::REFERENCED_FRAME_NUMBER, VR::IS, frame.to_string());
        }
        put(&mut image, tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES");
        let purpose = Code::new("121322", "DCM", "Source image for image processing operation");
        put_code(&mut image, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &purpose);
        let mut derivation = InMemDicomObject::new_empty();
        put_items(&mut derivation, tags::SOURCE_IMAGE_SEQUENCE, vec![image]);
        let segmented = Code::new("113076", "DCM", "Segmentation");
        put_code(&mut derivation, tags::DERIVATION_CODE_SEQUENCE, &segmented);
        put_items(&mut groups, tags::DERIVATION_IMAGE_SEQUENCE, vec![derivation]);
    }
    groups
}
