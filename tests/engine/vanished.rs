//! Outlines that undo one another: their truth is empty, and a row says so.

use std::fs;

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};

use crate::support::Workplace;
use crate::support::dicom::{copied, each, put, text};

/// ROIContourSequence, ContourSequence, NumberOfContourPoints, ContourData.
const CONTOURS: [Tag; 4] =
    [Tag(0x3006, 0x0039), Tag(0x3006, 0x0040), Tag(0x3006, 0x0046), Tag(0x3006, 0x0050)];

#[test]
fn contours_that_go_round_twice_are_told_as_they_leave_an_empty_truth() {
    let place = Workplace::new(1);
    let outlines = place.files_of(0).pop().unwrap();
    let before = fs::read(&outlines).unwrap();
    copied(&outlines, &outlines, |object| {
        each(object, CONTOURS[0], &mut |structure| {
            each(structure, CONTOURS[1], &mut |contour| {
                let once = text(contour, CONTOURS[3]);
                let corners = once.split('\\').count() / 3;
                put(contour, CONTOURS[2], VR::IS, &(2 * corners).to_string());
                let twice = PrimitiveValue::from(format!("{once}\\{once}"));
                contour.put(DataElement::new(CONTOURS[3], VR::DS, twice));
            });
        });
    });
    let summary = place.run();
    assert_eq!((summary.accepted, summary.rejected), (1, 0), "{summary}");
    assert_eq!(summary.remarked.get("LABEL_VANISHED"), Some(&1), "{summary}");
    assert!(summary.to_string().contains("contours holds the centre of one"), "{summary}");
    fs::write(&outlines, before).unwrap();
    assert!(place.run().remarked.is_empty());
}
