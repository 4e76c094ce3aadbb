//! Labels belong to what they were drawn on: images, series, frame of reference; and to nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, Tag, VR};
use tomoflow::connectors::{Geometry, LabelMap, nifti};
use tomoflow::engine::Options;

use crate::support::dicom::{FRAMES, SOP_UID, copied, each, put, text};
use crate::support::text::Rewrite as _;
use crate::support::{THRESHOLD, TRAINED, Workplace, assert_same, ran};

const TEMPORAL_POSITION: Tag = Tag(0x0020, 0x0100);
const ROI_CONTOURS: Tag = Tag(0x3006, 0x0039);
const CONTOURS: Tag = Tag(0x3006, 0x0040);
const CONTOUR_IMAGES: Tag = Tag(0x3006, 0x0016);
const IMAGE: Tag = Tag(0x0008, 0x1155);
const ROI_REFERRED_TO: Tag = Tag(0x3006, 0x0084);
const SET_ROIS: Tag = Tag(0x3006, 0x0020);
const ROI_FRAME: Tag = Tag(0x3006, 0x0024);

/// Slices, and the file of outlines.
fn parts(place: &Workplace) -> (Vec<PathBuf>, PathBuf) {
    let mut files = place.files_of(0);
    let outlines = files.pop().unwrap();
    (files, outlines)
}

/// Makes the series one of two phases at the same positions; gives the images of the second, by those of the first.
fn two_phases(place: &Workplace) -> BTreeMap<String, String> {
    let mut images = BTreeMap::new();
    for slice in parts(place).0 {
        let second = slice.with_extension("second.dcm");
        copied(&slice, &second, |object| {
            let first = text(object, SOP_UID);
            images.insert(first.clone(), format!("{first}.2"));
            put(object, SOP_UID, VR::UI, &format!("{first}.2"));
            put(object, TEMPORAL_POSITION, VR::IS, "2");
        });
        copied(&slice, &slice, |object| put(object, TEMPORAL_POSITION, VR::IS, "1"));
    }
    images
}

/// Outlines that name other images, or none.
fn renamed(from: &Path, to: &Path, sop: &str, image: impl Fn(&str) -> Option<String>) {
    copied(from, to, |object| {
        let renamed = format!("{}{sop}", text(object, SOP_UID));
        put(object, SOP_UID, VR::UI, &renamed);
        each(object, ROI_CONTOURS, &mut |roi| {
            each(roi, CONTOURS, &mut |contour| {
                let mut known = true;
                each(contour, CONTOUR_IMAGES, &mut |reference| match image(&text(reference, IMAGE)) {
                    Some(uid) => put(reference, IMAGE, VR::UI, &uid),
                    None => known = false,
                });
                if !known {
                    contour.remove_element(CONTOUR_IMAGES);
                }
            });
        });
    });
}

/// `key`, or `key#part`, with whether it is labelled.
fn labelled(place: &Workplace) -> BTreeMap<bool, usize> {
    let mut counts = BTreeMap::new();
    for row in &place.tables()["cases"] {
        *counts.entry(row.contains(r#""labelled":true"#)).or_default() += 1;
    }
    counts
}

fn codes(place: &Workplace) -> Vec<String> {
    let rows = &place.tables()["rejects"];
    let code = |row: &String| row.split(r#""code":""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
    rows.iter().map(code).collect()
}

#[test]
fn outlines_of_one_phase_label_no_other() {
    let place = Workplace::new(1);
    let (_, outlines) = parts(&place);
    let images = two_phases(&place);
    let summary = place.run();
    assert_eq!((ran(&summary, "scores"), summary.accepted), (1, 2), "{summary}");
    assert_eq!(labelled(&place), [(false, 1), (true, 1)].into());
    assert_eq!(codes(&place), ["DRAWN_ELSEWHERE"]);

    // Another file for the second phase: each has its own, and neither is one of several.
    renamed(&outlines, &outlines.with_extension("second.dcm"), ".2", |uid| images.get(uid).cloned());
    assert_eq!(ran(&place.run(), "scores"), 1);
    assert_eq!(labelled(&place), [(true, 2)].into());
    assert!(codes(&place).is_empty(), "{:?}", place.tables()["rejects"]);
    assert_same(&place.tables(), &place.anew(), "two files for two phases");
}

#[test]
fn outlines_that_name_no_image_are_those_of_neither_phase() {
    let place = Workplace::new(1);
    let (_, outlines) = parts(&place);
    two_phases(&place);
    renamed(&outlines, &outlines, "", |_| None);
    copied(&outlines, &outlines, |object| {
        each(object, FRAMES, &mut |frame| {
            each(frame, Tag(0x3006, 0x0012), &mut |study| {
                each(study, Tag(0x3006, 0x0014), &mut |series| {
                    series.remove_element(CONTOUR_IMAGES);
                });
            });
        });
    });
    place.run();
    assert_eq!(labelled(&place), [(false, 2)].into());
    assert_eq!(codes(&place), ["LABELS_AMBIGUOUS"; 2]);
}

#[test]
fn outlines_without_a_series_have_their_frame_of_reference() {
    let place = Workplace::new(2);
    let (_, outlines) = parts(&place);
    copied(&outlines, &outlines, |object| {
        object.remove_element(FRAMES);
    });
    let summary = place.run();
    assert_eq!((ran(&summary, "scores"), summary.accepted), (2, 2), "{summary}");
    assert_eq!(labelled(&place), [(true, 2)].into());

    // In another frame of reference they are nobody's.
    copied(&outlines, &outlines, |object| {
        each(object, SET_ROIS, &mut |roi| put(roi, ROI_FRAME, VR::UI, "2.25.9999"));
    });
    place.run();
    assert_eq!(labelled(&place), [(false, 1), (true, 1)].into());
    assert_same(&place.tables(), &place.anew(), "another frame");
}

#[test]
fn a_structure_in_another_frame_of_reference_is_not_drawn() {
    let place = Workplace::new(1);
    let (_, outlines) = parts(&place);
    place.run();
    let volume = |place: &Workplace| place.metrics().iter().filter(|row| row.metric == "dice").count();
    assert_eq!(volume(&place), 1);
    // The images that its contours name are gone from the archive, so that nothing else says whose it is.
    renamed(&outlines, &outlines, "", |uid| Some(format!("{uid}.9")));
    copied(&outlines, &outlines, |object| {
        each(object, SET_ROIS, &mut |roi| put(roi, ROI_FRAME, VR::UI, "2.25.9999"));
    });
    place.run();
    // A frame of reference that the file lists nowhere is what an export left of one, and sets nothing apart.
    assert_eq!((labelled(&place), volume(&place)), ([(true, 1)].into(), 1));
    copied(&outlines, &outlines, |object| {
        let mut frames = object.element(FRAMES).unwrap().items().unwrap().to_vec();
        let mut other = frames[0].clone();
        put(&mut other, Tag(0x0020, 0x0052), VR::UI, "2.25.9999");
        frames.push(other);
        object.put(DataElement::new(FRAMES, VR::SQ, DataSetSequence::from(frames)));
    });
    place.run();
    assert_eq!((labelled(&place), volume(&place)), ([(false, 1)].into(), 0));
    assert_eq!(codes(&place), ["DRAWN_ELSEWHERE"]);
}

#[test]
fn a_label_map_named_after_a_series_of_two_phases_is_that_of_neither() {
    let mut place = Workplace::new(1);
    two_phases(&place);
    place.text = place.text.rewrite(
        "type = \"rtstruct\"\npath = \"archive\"\nstructures = { tumour = [\"TV\"] }",
        "type = \"label_images\"\npath = \"maps\"\nfiles = \"{case}.nii\"\nlabels = { tumour = [1] }",
    );
    let series = place.phantom_series(0);
    // Nothing in a place of its own, which fits every grid.
    let map = LabelMap::new(Geometry::axis_aligned([1, 1, 1], [1.0; 3]), vec![0]).unwrap();
    std::fs::create_dir_all(place.path().join("maps")).unwrap();
    let write = |name: String| nifti::write_labels(&place.path().join("maps").join(name), &map).unwrap();
    let row_of = |code: &str| codes(&place).iter().filter(|found| *found == code).count();
    write(format!("{series}.nii"));
    place.run();
    assert_eq!((labelled(&place), row_of("LABELS_AMBIGUOUS")), ([(false, 2)].into(), 2));
    // The second phase has a file of its own name, so that the other one is the first's.
    write(format!("{series}#1.nii"));
    place.run();
    assert_eq!((labelled(&place), row_of("LABELS_AMBIGUOUS")), ([(true, 2)].into(), 0));
    assert_eq!(row_of("LABEL_OF_NO_SCAN"), 0);
    assert_same(&place.tables(), &place.anew(), "a file for each phase");
    write(format!("{series}#2.nii"));
    place.run();
    assert_eq!((labelled(&place), row_of("LABEL_OF_NO_SCAN")), ([(true, 2)].into(), 1));
}

/// How many cases have a Dice coefficient.
fn scored(place: &Workplace) -> usize {
    place.metrics().iter().filter(|row| row.metric == "dice" && row.value.is_some()).count()
}

#[test]
fn contours_of_no_structure_are_no_empty_truth() {
    let place = Workplace::new(2);
    let (_, outlines) = parts(&place);
    place.run();
    assert_eq!((scored(&place), codes(&place).len()), (2, 0));
    copied(&outlines, &outlines, |object| {
        each(object, ROI_CONTOURS, &mut |roi| put(roi, ROI_REFERRED_TO, VR::IS, "77"));
    });
    place.run();
    assert_eq!(scored(&place), 1);
    let found = codes(&place);
    assert!(!found.is_empty() && found.iter().all(|code| code == "CONTOUR_NAMELESS"), "{found:?}");
    // A file without any list of contours.
    copied(&outlines, &outlines, |object| {
        object.remove_element(ROI_CONTOURS);
    });
    place.run();
    assert_eq!(scored(&place), 1);
    let found = codes(&place);
    assert!(!found.is_empty() && found.iter().all(|code| code == "CONTOURS_MISSING"), "{found:?}");
}

#[test]
fn a_label_that_a_file_lacks_is_neither_scored_nor_trained_on() {
    let mut place = Workplace::trained();
    // Scored by a threshold, whatever comes of the training.
    place.text = format!("{THRESHOLD}{TRAINED}");
    let asked = r#"{ tumour = ["TV"] }"#;
    let row_of = |place: &Workplace, code: &str| codes(place).iter().filter(|found| *found == code).count();
    place.run();
    let before = place.metrics().len();
    let text = place.text.clone();
    place.text = text.rewrite(asked, r#"{ tumour = ["TV"], cyst = ["cyst"] }"#);
    place.run_with(&Options { accept_empty: true, ..Options::default() });
    let cases = place.tables()["cases"].len();
    assert_eq!(labelled(&place), [(true, cases)].into());
    assert_eq!([row_of(&place, "NO_STRUCTURE"), row_of(&place, "PARTLY_LABELLED")], [cases; 2]);
    let metrics = place.metrics();
    let of = |label: &str| metrics.iter().filter(|row| row.label == label).collect::<Vec<_>>();
    assert!(of("tumour").iter().all(|row| row.value.is_some()) && !of("tumour").is_empty(), "{metrics:?}");
    assert!(of("cyst").iter().all(|row| row.value.is_none() && row.state == "not_in_truth"), "{metrics:?}");
    assert!(place.tables()["training"].is_empty(), "nothing to train on");

    // Where it is said that what is not there is empty, it is.
    place.text = text.rewrite(asked, "{ tumour = [\"TV\"], cyst = [\"cyst\"] }\nabsent = \"empty\"");
    place.run();
    assert!(place.metrics().iter().any(|row| row.label == "cyst"));
    assert_eq!([row_of(&place, "NO_STRUCTURE"), row_of(&place, "PARTLY_LABELLED")], [0, 0]);
    assert!(!place.tables()["training"].is_empty() && before > 0);
}
