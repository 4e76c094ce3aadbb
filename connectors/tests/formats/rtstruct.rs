//! RTSTRUCT files as other programs write them: numbers used twice, types of their own, frames and images named.

use std::path::{Path, PathBuf};

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{InMemDicomObject, open_file};
use tomoflow_connectors::Geometry;
use tomoflow_connectors::dicom::{Record, read_record};
use tomoflow_connectors::rtstruct::write::{Contour, StructureSetHeader, write_structures};
use tomoflow_connectors::rtstruct::{Instances, Outlines, Shared, rasterise, read_structures};

type Change = fn(&mut Vec<InMemDicomObject>);

/// A square of `side` voxels from (1, 1) on slice `slice`, whose image is `2.25.9.slice`.
fn square(side: f64, slice: u32) -> Contour {
    let end = 0.5 + side;
    let corners = [[0.5, 0.5], [end, 0.5], [end, end], [0.5, end]];
    Contour {
        points_mm: corners.map(|[x, y]| [x, y, 2.0 * f64::from(slice)]).to_vec(),
        sop_instance_uid: format!("2.25.9.{slice}"),
    }
}

/// `a` is of 2 × 2 voxels on slices 0 and 1, `b` of 4 × 4 on slice 1.
fn written(changes: &[(Tag, Change)]) -> (tempfile::TempDir, PathBuf) {
    let study = crate::volumes::seg::header(0).study;
    let header = StructureSetHeader {
        study,
        series_uid: "2.25.300".to_owned(),
        sop_instance_uid: "2.25.301".to_owned(),
        label: "set".to_owned(),
        date: "20260103".to_owned(),
        time: "121314".to_owned(),
        manufacturer: "tomoflow".to_owned(),
        referenced_series_uid: "2.25.102".to_owned(),
        referenced_sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        referenced_instances: (0..3).map(|slice| format!("2.25.9.{slice}")).collect(),
    };
    let structures =
        [("a".to_owned(), vec![square(2.0, 0), square(2.0, 1)]), ("b".to_owned(), vec![square(4.0, 1)])];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.dcm");
    write_structures(&path, &header, &structures).unwrap();
    let mut object = open_file(&path).unwrap();
    for (tag, change) in changes {
        edit(&mut object, *tag, *change);
    }
    object.write_to_file(&path).unwrap();
    (folder, path)
}

fn edit(object: &mut InMemDicomObject, tag: Tag, change: impl FnOnce(&mut Vec<InMemDicomObject>)) {
    let mut items = object.element(tag).unwrap().items().unwrap().to_vec();
    change(&mut items);
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, text: &str) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
}

fn outlines(path: &Path) -> Outlines {
    match read_record(path).unwrap() {
        Record::Outlines(outlines) => outlines,
        other => panic!("outlines expected, {other:?} found"),
    }
}

/// Voxels of structures of a name, or the code of their refusal.
fn voxels(path: &Path, name: &str) -> Result<usize, String> {
    let grid = Geometry::axis_aligned([3, 8, 8], [2.0, 1.0, 1.0]);
    let set = read_structures(path).unwrap();
    let drawn = rasterise(&set, &|found| (found == name).then_some(1), &grid);
    let drawn = drawn.map_err(|reject| reject.code)?;
    Ok(drawn.labels.voxels().iter().filter(|&&label| label == 1).count())
}

/// Gives all structures the number of the first.
fn one_number(tag: Tag, items: &mut [InMemDicomObject]) {
    items.iter_mut().for_each(|item| put(item, tag, VR::IS, "1"));
}

const NAMES_ALIKE: (Tag, Change) =
    (tags::STRUCTURE_SET_ROI_SEQUENCE, |items| one_number(tags::ROI_NUMBER, items));
const GROUPS_ALIKE: (Tag, Change) =
    (tags::ROI_CONTOUR_SEQUENCE, |items| one_number(tags::REFERENCED_ROI_NUMBER, items));

#[test]
fn contours_of_one_number_go_to_their_structures_in_order_and_are_told() {
    let (_folder, path) = written(&[NAMES_ALIKE, GROUPS_ALIKE]);
    assert_eq!([voxels(&path, "a"), voxels(&path, "b")], [Ok(8), Ok(16)]);
    let set = read_structures(&path).unwrap();
    assert!(set.structures.iter().all(|one| one.shared == Shared::InOrder));
    let grid = Geometry::axis_aligned([3, 8, 8], [2.0, 1.0, 1.0]);
    let told = rasterise(&set, &|_| Some(1), &grid).unwrap().told();
    assert_eq!(told.iter().map(|told| told.code.as_str()).collect::<Vec<_>>(), ["ROI_NUMBER_REPEATED"; 2]);
}

#[test]
fn contours_that_may_be_either_structures_are_refused_and_never_mixed() {
    let (_folder, path) = written(&[
        NAMES_ALIKE,
        GROUPS_ALIKE,
        (tags::ROI_CONTOUR_SEQUENCE, |items| {
            items.pop();
        }),
    ]);
    let repeated = || Err("ROI_NUMBER_REPEATED".to_owned());
    assert_eq!([voxels(&path, "a"), voxels(&path, "b")], [repeated(), repeated()]);
    // What was drawn before under the same content was a mixture of structures.
    let (_folder, plain) = written(&[]);
    assert_ne!(outlines(&path).digest, outlines(&plain).digest);
    // Two groups of one structure are its own.
    let (_folder, path) = written(&[GROUPS_ALIKE]);
    assert_eq!([voxels(&path, "a"), voxels(&path, "b")], [Ok(4 + 12), Ok(0)]);
}

#[test]
fn contours_of_a_number_without_a_structure_are_counted() {
    let (_folder, path) = written(&[(tags::ROI_CONTOUR_SEQUENCE, |items| {
        put(&mut items[1], tags::REFERENCED_ROI_NUMBER, VR::IS, "7");
    })]);
    assert_eq!(read_structures(&path).unwrap().nameless, 1);
    assert_eq!([voxels(&path, "a"), voxels(&path, "b")], [Ok(8), Ok(0)]);
    // Contours of no number are counted too, even beside a structure of none.
    let (_folder, path) = written(&[
        (tags::STRUCTURE_SET_ROI_SEQUENCE, |items| put(&mut items[1], tags::ROI_NUMBER, VR::IS, "")),
        (tags::ROI_CONTOUR_SEQUENCE, |items| put(&mut items[1], tags::REFERENCED_ROI_NUMBER, VR::IS, "x")),
    ]);
    assert_eq!(read_structures(&path).unwrap().nameless, 1);
    // Numbers below zero are numbers.
    let (_folder, path) = written(&[
        (tags::STRUCTURE_SET_ROI_SEQUENCE, |items| put(&mut items[1], tags::ROI_NUMBER, VR::IS, "-3")),
        (tags::ROI_CONTOUR_SEQUENCE, |items| {
            put(&mut items[1], tags::REFERENCED_ROI_NUMBER, VR::IS, "-3");
        }),
    ]);
    assert_eq!([voxels(&path, "a"), voxels(&path, "b")], [Ok(8), Ok(16)]);
}

#[test]
fn contours_that_no_structure_has_and_a_missing_list_are_told_by_name() {
    let told = |path: &Path| read_structures(path).unwrap().lost().map(|lost| lost.code);
    let (_folder, plain) = written(&[]);
    assert_eq!(told(&plain), None);
    let (_folder, stray) = written(&[(tags::ROI_CONTOUR_SEQUENCE, |items| {
        put(&mut items[0], tags::REFERENCED_ROI_NUMBER, VR::IS, "9");
    })]);
    assert_eq!(told(&stray).as_deref(), Some("CONTOUR_NAMELESS"));
    let lost = read_structures(&stray).unwrap().lost().unwrap();
    assert!(lost.message.contains("2 have a ReferencedROINumber"), "{lost}");
    let mut object = open_file(&plain).unwrap();
    object.remove_element(tags::ROI_CONTOUR_SEQUENCE);
    let bare = plain.with_extension("bare.dcm");
    object.write_to_file(&bare).unwrap();
    assert_eq!(told(&bare).as_deref(), Some("CONTOURS_MISSING"));
    // A list without an item is one: its structures are empty.
    let (_folder, empty) = written(&[(tags::ROI_CONTOUR_SEQUENCE, Vec::clear)]);
    assert_eq!(told(&empty), None);
    assert_ne!(outlines(&bare).digest, outlines(&empty).digest);
}

/// Gives the second contour of the first structure another type.
fn kind(items: &mut [InMemDicomObject], kind: &str) {
    edit(&mut items[0], tags::CONTOUR_SEQUENCE, |contours| {
        put(&mut contours[1], tags::CONTOUR_GEOMETRIC_TYPE, VR::CS, kind);
    });
}

#[test]
fn contours_between_drawn_ones_are_drawn_and_unknown_types_told() {
    let (_folder, path) =
        written(&[(tags::ROI_CONTOUR_SEQUENCE, |items| kind(items, "INTERPOLATED_PLANAR"))]);
    assert_eq!(voxels(&path, "a"), Ok(8));
    let (_folder, path) = written(&[(tags::ROI_CONTOUR_SEQUENCE, |items| kind(items, "SPLINE"))]);
    assert_eq!(voxels(&path, "a"), Ok(4));
    let grid = Geometry::axis_aligned([3, 8, 8], [2.0, 1.0, 1.0]);
    let told = rasterise(&read_structures(&path).unwrap(), &|_| Some(1), &grid).unwrap().told();
    assert_eq!((told.len(), told[0].code.as_str()), (1, "CONTOUR_TYPE"));
    assert!(told[0].message.contains("SPLINE found; 1 of 2 contours"), "{}", told[0].message);
}

#[test]
fn open_contours_beside_drawn_ones_are_told_and_alone_they_are_no_empty_structure() {
    let grid = Geometry::axis_aligned([3, 8, 8], [2.0, 1.0, 1.0]);
    let drawn = |path: &Path| {
        let set = read_structures(path).unwrap();
        rasterise(&set, &|name| (name == "a").then_some(1), &grid).unwrap()
    };
    for open in ["OPEN_PLANAR", "POINT"] {
        let change: Change = match open {
            "POINT" => |items| kind(items, "POINT"),
            _ => |items| kind(items, "OPEN_PLANAR"),
        };
        let (_folder, path) = written(&[(tags::ROI_CONTOUR_SEQUENCE, change)]);
        let drawn = drawn(&path);
        let told: Vec<String> = drawn.told().into_iter().map(|told| told.code).collect();
        assert_eq!((told, drawn.nothing()), (vec!["CONTOUR_WITHOUT_AREA".to_owned()], None), "{open}");
    }
    let alone: Change = |items| {
        edit(&mut items[0], tags::CONTOUR_SEQUENCE, |contours| {
            for contour in contours {
                put(contour, tags::CONTOUR_GEOMETRIC_TYPE, VR::CS, "OPEN_PLANAR");
            }
        });
    };
    let (_folder, path) = written(&[(tags::ROI_CONTOUR_SEQUENCE, alone)]);
    assert_eq!(drawn(&path).nothing().unwrap().code, "CONTOUR_WITHOUT_AREA");
    // Nobody who asks for another structure hears of it.
    let set = read_structures(&path).unwrap();
    let other = rasterise(&set, &|name| (name == "b").then_some(1), &grid).unwrap();
    assert!(other.told().is_empty() && other.nothing().is_none());
}

#[test]
fn the_record_tells_frames_and_images() {
    let other: (Tag, Change) = (tags::STRUCTURE_SET_ROI_SEQUENCE, |items| {
        put(&mut items[1], tags::REFERENCED_FRAME_OF_REFERENCE_UID, VR::UI, "2.25.55");
    });
    // A frame that the file lists nowhere is none.
    let kept = outlines(&written(&[other]).1);
    assert_eq!((kept.frames.len(), kept.frame_of(0), kept.frame_of(1)), (1, "2.25.101", ""));
    let listed: (Tag, Change) = (tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE, |items| {
        let mut second = items[0].clone();
        put(&mut second, tags::FRAME_OF_REFERENCE_UID, VR::UI, "2.25.55");
        items.push(second);
    });
    let (_folder, path) = written(&[other, listed]);
    let kept = outlines(&path);
    assert_eq!(kept.frames, ["2.25.101", "2.25.55"]);
    assert_eq!([kept.frame_of(0), kept.frame_of(1), kept.frame_of(2)], ["2.25.101", "2.25.55", ""]);
    assert_eq!(kept.parts.iter().map(|part| (part.number, part.drawn)).collect::<Vec<_>>(), [(1, 2), (2, 1)]);
    let marks = |slices: std::ops::Range<u32>| {
        slices.map(|slice| Instances::mark(&format!("2.25.9.{slice}"))).collect::<Vec<_>>()
    };
    assert_eq!(
        (kept.instances.count(), kept.instances.share_of(|mark| marks(0..2).contains(&mark))),
        (2, Some(1.0))
    );
    assert_eq!(kept.instances.share_of(|mark| marks(1..9).contains(&mark)), Some(0.5));
    // A frame changes nothing that is drawn.
    assert_eq!(kept.digest, outlines(&written(&[]).1).digest);
}

#[test]
fn contours_that_name_no_image_leave_the_list_of_the_file() {
    let nameless = |items: &mut Vec<InMemDicomObject>| {
        for item in items {
            edit(item, tags::CONTOUR_SEQUENCE, |contours| {
                for contour in contours {
                    contour.remove_element(tags::CONTOUR_IMAGE_SEQUENCE);
                }
            });
        }
    };
    let (_folder, path) = written(&[
        (tags::ROI_CONTOUR_SEQUENCE, nameless),
        (tags::STRUCTURE_SET_ROI_SEQUENCE, |items| {
            for item in items {
                item.remove_element(tags::REFERENCED_FRAME_OF_REFERENCE_UID);
            }
        }),
    ]);
    let kept = outlines(&path);
    assert_eq!(kept.instances.count(), 3);
    // The only frame that the file refers to is that of structures that name none.
    assert_eq!(kept.frame_of(1), "2.25.101");
}
