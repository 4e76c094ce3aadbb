//! The items that say what each segment is.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::{put_code, put_items, put_word};
use crate::dicom::write::put;
use crate::dicom_seg::describe::{Algorithm, Code, Encoding, SegmentText};

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

pub(super) fn put_segments(object: &mut InMemDicomObject, segments: &[SegmentText], encoding: Encoding) {
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
