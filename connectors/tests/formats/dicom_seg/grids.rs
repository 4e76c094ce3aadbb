//! Segmentations drawn on other grids than their own, and the slices that frames cover.

use std::path::Path;

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_object::{InMemDicomObject, open_file};
use tomoflow_connectors::dicom_seg::{Encoding, read, record};
use tomoflow_connectors::{Geometry, LabelMap};

use super::{label_of, small, written};

#[test]
fn another_grid_takes_the_nearest_voxel() {
    let (_folder, path) = written(&small(), Encoding::Binary);
    let seg = read(&path).unwrap();
    // The grid is twice as fine across, with one slice more below, and the slices in falling order.
    let fine = Geometry {
        size: [4, 2, 6],
        origin_mm: [-0.125, 0.0, 5.0],
        steps_mm: [[0.0, 0.0, -2.5], [0.0, 0.5, 0.0], [0.25, 0.0, 0.0]],
    };
    let drawn = seg.draw(label_of, &fine).unwrap();
    assert_eq!(drawn.slice(0), [2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2]);
    assert_eq!(drawn.slice(1), [0; 12]);
    assert_eq!(drawn.slice(2), [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 2, 2]);
    assert_eq!(drawn.slice(3), [0; 12]);
    let only = seg.draw(|name| (name == "label 2").then_some(9), small().geometry()).unwrap();
    assert_eq!(only.slice(0), [0, 0, 0, 0, 0, 9]);
}

#[test]
fn a_grid_elsewhere_is_refused_unless_nothing_was_drawn() {
    let (_folder, path) = written(&small(), Encoding::Binary);
    let seg = read(&path).unwrap();
    let elsewhere = Geometry { origin_mm: [0.0, 0.0, 900.0], ..small().geometry().clone() };
    assert_eq!(seg.draw(label_of, &elsewhere).unwrap_err().code, "OFF_GRID");
    assert!(seg.draw(|_| None, &elsewhere).unwrap().voxels().iter().all(|&label| label == 0));
}

/// Changes the only item of the shared groups' pixel measures.
fn measures(path: &Path, change: impl FnOnce(&mut InMemDicomObject)) {
    let mut object = open_file(path).unwrap();
    let mut shared =
        object.element(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).unwrap().items().unwrap()[0].clone();
    let mut item = shared.element(tags::PIXEL_MEASURES_SEQUENCE).unwrap().items().unwrap()[0].clone();
    change(&mut item);
    let sequence = |item| DataSetSequence::from(vec![item]);
    shared.put(DataElement::new(tags::PIXEL_MEASURES_SEQUENCE, VR::SQ, sequence(item)));
    object.put(DataElement::new(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, VR::SQ, sequence(shared)));
    object.write_to_file(path).unwrap();
}

fn thickness(item: &mut InMemDicomObject, text: &str) {
    item.remove_element(tags::SPACING_BETWEEN_SLICES);
    item.put(DataElement::new(tags::SLICE_THICKNESS, VR::DS, PrimitiveValue::from(text)));
}

#[test]
fn a_segment_that_no_voxel_of_a_scan_meets_is_told_beside_another() {
    // A voxel of label 2 in the slice between those of the scan, and label 1 in all.
    let fine = Geometry::axis_aligned([5, 2, 3], [1.0, 0.5, 0.5]);
    let mut labels = LabelMap::zeros(fine);
    (0..5).for_each(|slice| labels.voxels_mut()[6 * slice + 1] = 1);
    labels.voxels_mut()[6 + 4] = 2;
    let (_folder, path) = written(&labels, Encoding::Binary);
    let coarse = Geometry::axis_aligned([2, 2, 3], [4.0, 0.5, 0.5]);
    let (drawn, beside, _) = read(&path).unwrap().draw_telling(label_of, &coarse, &[]).unwrap();
    assert_eq!(drawn.voxels(), [0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(beside.vanished, [(2, 1)]);
    assert_eq!(beside.lost(&|label| format!("label {label}"))[0].code, "LABEL_VANISHED");
}

/// Twelve slices of 2 × 3, 1 mm apart, of which some are labelled.
fn labelled(slices: &[usize]) -> LabelMap {
    let mut labels = LabelMap::zeros(Geometry::axis_aligned([12, 2, 3], [1.0, 0.5, 0.5]));
    slices.iter().for_each(|slice| labels.voxels_mut()[6 * slice + 1] = 1);
    labels
}

#[test]
fn frames_that_are_left_out_between_others_are_empty_without_a_spacing() {
    for slices in [&[1, 4, 7, 10][..], &[2, 7], &[5]] {
        let labels = labelled(slices);
        for text in ["1", "4", "0.7", "2.5"] {
            let (_folder, path) = written(&labels, Encoding::Binary);
            measures(&path, |item| thickness(item, text));
            let drawn = read(&path).unwrap().draw(label_of, labels.geometry()).unwrap();
            assert_eq!(drawn, labels, "slices {slices:?} of {text} mm");
        }
    }
}

#[test]
fn frames_as_thick_as_they_say_cover_thinner_slices() {
    let thick = LabelMap::new(Geometry::axis_aligned([2, 2, 3], [3.0, 0.5, 0.5]), vec![1; 12]).unwrap();
    let (_folder, path) = written(&thick, Encoding::Binary);
    let fine = Geometry::axis_aligned([4, 2, 3], [1.0, 0.5, 0.5]);
    let voxels = |path: &Path| read(path).unwrap().draw(label_of, &fine).unwrap().into_voxels();
    assert_eq!(voxels(&path), [1; 24]);
    // Touching frames say by their thickness alone what they cover.
    measures(&path, |item| thickness(item, "3"));
    assert_eq!(voxels(&path), [1; 24]);
}

#[test]
fn what_is_drawn_otherwise_than_once_has_another_digest_and_nothing_else() {
    let kept = |slices: &[usize], text: &str| {
        let (_folder, path) = written(&labelled(slices), Encoding::Binary);
        measures(&path, |item| thickness(item, text));
        record(&std::fs::read(&path).unwrap()).unwrap().digest
    };
    // The thickness itself was never part of it.
    assert_eq!(kept(&[3, 4, 5], "1"), kept(&[3, 4, 5], "1.01"));
    assert_ne!(kept(&[3, 6], "1"), kept(&[3, 6], "3"));
}
