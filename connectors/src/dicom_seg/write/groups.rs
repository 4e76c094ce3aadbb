//! The functional groups: what all frames share, and what each has of its own.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::frames::Planned;
use super::{image_reference, put_code, put_items, put_word};
use crate::Geometry;
use crate::dicom::write::{decimal, put};
use crate::dicom_seg::describe::{Code, SegmentationHeader};
use crate::geometry::{VoxelIndex, cross, dot, norm};

fn decimals(values: &[f64]) -> String {
    values.iter().map(|&value| decimal(value)).collect::<Vec<_>>().join("\\")
}

/// The groups that all frames share: orientation, spacing and thickness.
pub(super) fn shared(geometry: &Geometry) -> InMemDicomObject {
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

pub(super) fn per_frame(
    header: &SegmentationHeader,
    geometry: &Geometry,
    frames: &[Planned],
) -> Vec<InMemDicomObject> {
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
