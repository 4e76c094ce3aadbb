//! The images that frames name as their sources.

use dicom_dictionary_std::tags;
use dicom_object::{InMemDicomObject, open_file};
use tomoflow_connectors::dicom_seg::{Encoding, SegmentationHeader, Source, read, write};

use super::{small, texts};
use crate::volumes::seg::header;

#[test]
fn a_frame_between_images_names_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg.dcm");
    let mut header = header(3);
    header.sources[0] = None;
    write(&path, &header, &small(), &texts(&small()), Encoding::LabelMap).unwrap();
    let object = open_file(&path).unwrap();
    let items = |object: &InMemDicomObject, tag| object.element(tag).unwrap().items().unwrap().to_vec();
    let series = items(&object, tags::REFERENCED_SERIES_SEQUENCE);
    assert_eq!(items(&series[0], tags::REFERENCED_INSTANCE_SEQUENCE).len(), 2);
    let groups = items(&object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    let named = groups.iter().map(|groups| groups.element(tags::DERIVATION_IMAGE_SEQUENCE).is_ok());
    assert_eq!(named.collect::<Vec<_>>(), [false, true]);
    assert_eq!(read(&path).unwrap().draw(|_| Some(1), small().geometry()).unwrap().size(), small().size());
}

#[test]
fn frames_of_an_enhanced_image_are_named_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg.dcm");
    let source = |slice: u32| Some(Source { sop_instance_uid: "2.25.7".to_owned(), frame: Some(3 - slice) });
    let header = SegmentationHeader { sources: (0..3).map(source).collect(), ..header(3) };
    write(&path, &header, &small(), &texts(&small()), Encoding::LabelMap).unwrap();
    let object = open_file(&path).unwrap();
    let items = |object: &InMemDicomObject, tag| object.element(tag).unwrap().items().unwrap().to_vec();
    let series = items(&object, tags::REFERENCED_SERIES_SEQUENCE);
    assert_eq!(items(&series[0], tags::REFERENCED_INSTANCE_SEQUENCE).len(), 1);
    let numbers = items(&object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).into_iter().map(|groups| {
        let derivation = items(&groups, tags::DERIVATION_IMAGE_SEQUENCE);
        let image = items(&derivation[0], tags::SOURCE_IMAGE_SEQUENCE);
        image[0].element(tags::REFERENCED_FRAME_NUMBER).unwrap().to_int::<u32>().unwrap()
    });
    assert_eq!(numbers.collect::<Vec<_>>(), [3, 1]);
}
