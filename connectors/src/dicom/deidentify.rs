//! Removal of identity from objects that tomoflow writes, by the basic application confidentiality profile of
//! PS3.15 (table E.1-1).
//!
//! Every attribute that a SEG or an RTSTRUCT of ours holds has its action below; one that has none is left out, so that
//! an attribute which comes later cannot leave unseen. Of pixels nothing is said: nobody has looked at them.

use dicom_core::value::{DataSetSequence, PrimitiveValue, Value};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::write::put;

/// The way in which identity is taken out of an object.
pub struct Deidentify<'a> {
    /// The text in the place of the patient's name and number.
    pub patient: String,
    /// The function that gives a UID in the place of another: always the same one.
    pub uid: &'a (dyn Fn(&str) -> String + Sync),
    /// The name of whoever applied the profile.
    pub by: String,
}

/// The action on an attribute: the letters of table E.1-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// K, or not in the table: the attribute says nothing of a person and stays.
    Keep,
    /// X: the attribute goes.
    Remove,
    /// Z: the attribute stays, with nothing in it.
    Empty,
    /// D, Z/D or X/Z/D where the object must have a value: the attribute gets one that says nothing.
    Dummy(&'static str),
    /// Z, with the pseudonym as a value.
    Patient,
    /// U: the attribute gets another UID, the same in all objects.
    Uid,
}

use Action::{Dummy, Empty, Keep, Patient, Remove, Uid};

/// Attributes that say something of a person or a visit, with what becomes of them.
const ACTIONS: &[(Tag, Action)] = &[
    (tags::PATIENT_ID, Patient),
    (tags::PATIENT_NAME, Patient),
    (tags::PATIENT_BIRTH_DATE, Empty),
    (tags::PATIENT_SEX, Empty),
    (tags::PATIENT_AGE, Remove),
    (tags::STUDY_ID, Empty),
    (tags::ACCESSION_NUMBER, Empty),
    (tags::STUDY_DATE, Empty),
    (tags::STUDY_TIME, Empty),
    (tags::STUDY_DESCRIPTION, Remove),
    (tags::REFERRING_PHYSICIAN_NAME, Empty),
    (tags::SERIES_DATE, Remove),
    (tags::SERIES_TIME, Remove),
    (tags::SERIES_DESCRIPTION, Remove),
    (tags::CONTENT_CREATOR_NAME, Empty),
    (tags::CONTENT_DESCRIPTION, Empty),
    // A segmentation must have a date and a time of its content.
    (tags::CONTENT_DATE, Dummy("20000101")),
    (tags::CONTENT_TIME, Dummy("000000")),
    (tags::DEVICE_SERIAL_NUMBER, Dummy("0")),
    (tags::STRUCTURE_SET_LABEL, Dummy("tomoflow")),
    (tags::STRUCTURE_SET_DATE, Empty),
    (tags::STRUCTURE_SET_TIME, Empty),
    (tags::ROI_INTERPRETER, Empty),
    (tags::STUDY_INSTANCE_UID, Uid),
    (tags::SERIES_INSTANCE_UID, Uid),
    (tags::SOP_INSTANCE_UID, Uid),
    (tags::FRAME_OF_REFERENCE_UID, Uid),
    (tags::REFERENCED_FRAME_OF_REFERENCE_UID, Uid),
    (tags::REFERENCED_SOP_INSTANCE_UID, Uid),
    (tags::DIMENSION_ORGANIZATION_UID, Uid),
    // Nobody has looked whether a scan's pixels hold text that a mask traces.
    (tags::BURNED_IN_ANNOTATION, Remove),
];

/// Attributes that stay as they are. Names of segments and structures are those of the pipeline's file, never the
/// archive's: they stand in the place of whatever was drawn there.
const KEPT: &[Tag] = &[
    tags::SPECIFIC_CHARACTER_SET,
    tags::POSITION_REFERENCE_INDICATOR,
    tags::SOP_CLASS_UID,
    tags::MODALITY,
    tags::IMAGE_TYPE,
    tags::INSTANCE_NUMBER,
    tags::SERIES_NUMBER,
    tags::CONTENT_LABEL,
    tags::MANUFACTURER,
    tags::MANUFACTURER_MODEL_NAME,
    tags::SOFTWARE_VERSIONS,
    tags::SEGMENTATION_TYPE,
    tags::SEGMENTS_OVERLAP,
    tags::LOSSY_IMAGE_COMPRESSION,
    tags::PIXEL_PADDING_VALUE,
    tags::SAMPLES_PER_PIXEL,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::NUMBER_OF_FRAMES,
    tags::SEGMENT_SEQUENCE,
    tags::SEGMENT_NUMBER,
    tags::SEGMENT_LABEL,
    tags::SEGMENT_ALGORITHM_TYPE,
    tags::SEGMENT_ALGORITHM_NAME,
    tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE,
    tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE,
    tags::ANATOMIC_REGION_SEQUENCE,
    tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE,
    tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE,
    tags::ALGORITHM_FAMILY_CODE_SEQUENCE,
    tags::ALGORITHM_NAME,
    tags::ALGORITHM_VERSION,
    tags::CODE_VALUE,
    tags::CODING_SCHEME_DESIGNATOR,
    tags::CODE_MEANING,
    tags::REFERENCED_SERIES_SEQUENCE,
    tags::REFERENCED_INSTANCE_SEQUENCE,
    tags::REFERENCED_SOP_CLASS_UID,
    tags::REFERENCED_SEGMENT_NUMBER,
    tags::REFERENCED_FRAME_NUMBER,
    tags::DIMENSION_ORGANIZATION_SEQUENCE,
    tags::DIMENSION_INDEX_SEQUENCE,
    tags::DIMENSION_INDEX_POINTER,
    tags::FUNCTIONAL_GROUP_POINTER,
    tags::DIMENSION_DESCRIPTION_LABEL,
    tags::DIMENSION_INDEX_VALUES,
    tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
    tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
    tags::PLANE_ORIENTATION_SEQUENCE,
    tags::PLANE_POSITION_SEQUENCE,
    tags::PIXEL_MEASURES_SEQUENCE,
    tags::FRAME_CONTENT_SEQUENCE,
    tags::SEGMENT_IDENTIFICATION_SEQUENCE,
    tags::DERIVATION_IMAGE_SEQUENCE,
    tags::DERIVATION_CODE_SEQUENCE,
    tags::SOURCE_IMAGE_SEQUENCE,
    tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE,
    tags::SPATIAL_LOCATIONS_PRESERVED,
    tags::IMAGE_ORIENTATION_PATIENT,
    tags::IMAGE_POSITION_PATIENT,
    tags::SLICE_THICKNESS,
    tags::SPACING_BETWEEN_SLICES,
    tags::PIXEL_SPACING,
    tags::PIXEL_DATA,
    tags::APPROVAL_STATUS,
    tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE,
    tags::RT_REFERENCED_STUDY_SEQUENCE,
    tags::RT_REFERENCED_SERIES_SEQUENCE,
    tags::CONTOUR_IMAGE_SEQUENCE,
    tags::STRUCTURE_SET_ROI_SEQUENCE,
    tags::ROI_CONTOUR_SEQUENCE,
    tags::RTROI_OBSERVATIONS_SEQUENCE,
    tags::ROI_NUMBER,
    tags::ROI_NAME,
    tags::ROI_GENERATION_ALGORITHM,
    tags::ROI_DISPLAY_COLOR,
    tags::CONTOUR_SEQUENCE,
    tags::REFERENCED_ROI_NUMBER,
    tags::OBSERVATION_NUMBER,
    tags::RTROI_INTERPRETED_TYPE,
    tags::CONTOUR_GEOMETRIC_TYPE,
    tags::NUMBER_OF_CONTOUR_POINTS,
    tags::CONTOUR_DATA,
];

impl Deidentify<'_> {
    /// The object without identity, and with the attributes that say so.
    pub(crate) fn apply(&self, object: InMemDicomObject) -> InMemDicomObject {
        let mut object = self.cleaned(object);
        put(&mut object, tags::PATIENT_IDENTITY_REMOVED, VR::CS, "YES");
        let method = "PS3.15 basic application confidentiality profile; pixels not looked at";
        put(&mut object, tags::DEIDENTIFICATION_METHOD, VR::LO, format!("{}\\{method}", self.by));
        put(&mut object, tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, VR::CS, "REMOVED");
        let mut code = InMemDicomObject::new_empty();
        put(&mut code, tags::CODE_VALUE, VR::SH, "113100");
        put(&mut code, tags::CODING_SCHEME_DESIGNATOR, VR::SH, "DCM");
        put(&mut code, tags::CODE_MEANING, VR::LO, "Basic Application Confidentiality Profile");
        let codes = DataSetSequence::from(vec![code]);
        object.put(DataElement::new(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE, VR::SQ, codes));
        object
    }

    fn cleaned(&self, object: InMemDicomObject) -> InMemDicomObject {
        let mut clean = InMemDicomObject::new_empty();
        for element in object {
            let (tag, vr) = (element.header().tag, element.vr());
            let action = match ACTIONS.iter().find(|(of, _)| *of == tag) {
                Some((_, action)) => *action,
                None if KEPT.contains(&tag) => Keep,
                None => Remove,
            };
            match action {
                Remove => {}
                Keep => match element.into_value() {
                    Value::Sequence(items) => {
                        let items: Vec<_> =
                            items.into_items().into_iter().map(|item| self.cleaned(item)).collect();
                        clean.put(DataElement::new(tag, vr, DataSetSequence::from(items)));
                    }
                    Value::Primitive(value) => _ = clean.put(DataElement::new(tag, vr, value)),
                    // None of the objects that tomoflow writes here is compressed.
                    Value::PixelSequence(_) => {}
                },
                Empty => _ = clean.put(DataElement::new(tag, vr, PrimitiveValue::Empty)),
                Dummy(value) => put(&mut clean, tag, vr, value),
                Patient => put(&mut clean, tag, vr, &self.patient),
                Uid => {
                    let uid = element.to_str().map(|uid| uid.trim_end_matches(['\0', ' ']).to_owned());
                    put(&mut clean, tag, vr, (self.uid)(&uid.unwrap_or_default()));
                }
            }
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_has_one_action() {
        let mut all: Vec<Tag> = ACTIONS.iter().map(|(tag, _)| *tag).chain(KEPT.iter().copied()).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn what_is_not_listed_goes_and_what_lies_deep_is_cleaned() {
        let mut inner = InMemDicomObject::new_empty();
        put(&mut inner, tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, "1.2.3");
        put(&mut inner, tags::OPERATORS_NAME, VR::PN, "DOE^JANE");
        let mut object = InMemDicomObject::new_empty();
        put(&mut object, tags::PATIENT_NAME, VR::PN, "DOE^JANE");
        put(&mut object, tags::PATIENT_COMMENTS, VR::LT, "DOE");
        put(&mut object, tags::PATIENT_AGE, VR::AS, "057Y");
        put(&mut object, tags::STUDY_DATE, VR::DA, "20200101");
        put(&mut object, Tag(0x0009, 0x1001), VR::LO, "DOE");
        object.put(DataElement::new(tags::SOURCE_IMAGE_SEQUENCE, VR::SQ, DataSetSequence::from(vec![inner])));
        let uid = |uid: &str| format!("2.25.{}", uid.len());
        let clean =
            Deidentify { patient: "ab12".to_owned(), uid: &uid, by: "tomoflow".to_owned() }.apply(object);
        let text = |tag| clean.element(tag).unwrap().to_str().unwrap().into_owned();
        assert_eq!((text(tags::PATIENT_NAME), text(tags::STUDY_DATE)), ("ab12".to_owned(), String::new()));
        assert!(clean.element(tags::PATIENT_AGE).is_err() && clean.element(tags::PATIENT_COMMENTS).is_err());
        assert!(clean.element(Tag(0x0009, 0x1001)).is_err());
        let inner = &clean.element(tags::SOURCE_IMAGE_SEQUENCE).unwrap().items().unwrap()[0];
        assert_eq!(inner.element(tags::REFERENCED_SOP_INSTANCE_UID).unwrap().to_str().unwrap(), "2.25.5");
        assert!(inner.element(tags::OPERATORS_NAME).is_err());
        assert_eq!(text(tags::PATIENT_IDENTITY_REMOVED), "YES");
        let code = &clean.element(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE).unwrap().items().unwrap()[0];
        assert_eq!(code.element(tags::CODE_VALUE).unwrap().to_str().unwrap(), "113100");
    }
}
