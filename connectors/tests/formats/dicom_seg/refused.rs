//! What breaks the standard, and what cannot be written: refused by name.

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_object::{InMemDicomObject, open_file};
use tomoflow_connectors::dicom_seg::{Encoding, SegmentText, SegmentationHeader, read, write};

use super::{changed, small, texts, written};
use crate::volumes::seg::header;

#[test]
fn what_breaks_the_standard_is_refused_by_name() {
    let code = |change: &dyn Fn(&mut Vec<InMemDicomObject>, &mut Vec<u8>)| {
        let (_folder, path) = written(&small(), Encoding::Binary);
        changed(&path, change);
        read(&path).map(|_| ()).unwrap_err().code
    };
    assert_eq!(code(&|groups, _| groups.truncate(2)), "BAD_SEGMENTATION");
    assert_eq!(code(&|_, pixels| pixels.truncate(2)), "TRUNCATED");
    assert_eq!(code(&|groups, _| groups[1] = groups[2].clone()), "DUPLICATE_POSITION_AMBIGUOUS");
    let without = |tag| {
        move |groups: &mut Vec<InMemDicomObject>, _: &mut Vec<u8>| {
            groups[0].remove_element(tag);
        }
    };
    assert_eq!(code(&without(tags::PLANE_POSITION_SEQUENCE)), "BAD_GEOMETRY");
    assert_eq!(code(&without(tags::SEGMENT_IDENTIFICATION_SEQUENCE)), "BAD_SEGMENTATION");
    let (folder, path) = written(&small(), Encoding::Binary);
    let text = folder.path().join("a.txt");
    std::fs::write(&text, "text").unwrap();
    assert_eq!(read(&text).unwrap_err().code, "NOT_A_SEGMENTATION");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read(&path).unwrap_err().code, "UNREADABLE");
}

#[test]
fn segments_that_share_a_number_are_named() {
    let (_folder, path) = written(&small(), Encoding::Binary);
    let mut object = open_file(&path).unwrap();
    let mut segments = object.element(tags::SEGMENT_SEQUENCE).unwrap().items().unwrap().to_vec();
    segments[1].put(DataElement::new(tags::SEGMENT_NUMBER, VR::US, PrimitiveValue::from(1u16)));
    object.put(DataElement::new(tags::SEGMENT_SEQUENCE, VR::SQ, DataSetSequence::from(segments)));
    object.write_to_file(&path).unwrap();
    let reject = read(&path).unwrap_err();
    assert_eq!(reject.code, "BAD_SEGMENTATION");
    assert!(reject.message.contains("number 1 of `label 1` and `label 2`"), "{}", reject.message);
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg.dcm");
    let message = |header: &SegmentationHeader, texts: &[SegmentText]| {
        let error = write(&path, header, &small(), texts, Encoding::Binary).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    let all = texts(&small());
    assert!(message(&header(2), &all).contains("3 slices"));
    assert!(message(&header(3), &all[..1]).contains("none for 2"));
    assert!(message(&header(3), &[all[0].clone(), all[0].clone()]).contains("1 found again"));
}
