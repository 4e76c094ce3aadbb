//! DICOM SEG: real objects against what is known of them, and what is written comes back.

mod volumes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_object::{InMemDicomObject, open_file};
use proptest::prelude::*;
use serde_json::Value;
use tomoflow_connectors::dicom::write::Study;
use tomoflow_connectors::dicom_seg::{
    Algorithm, Code, Encoding, SegmentText, Segmentation, SegmentationHeader, Source, read,
    read_with_threshold, record, write,
};
use tomoflow_connectors::{Geometry, LabelMap, nrrd};
use volumes::{Axes, apart_mm, label_maps};

fn samples() -> Option<PathBuf> {
    let folder = std::env::var_os("TOMOFLOW_DICOM_SAMPLES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/dicom"), PathBuf::from);
    if folder.join("expected.json").is_file() {
        return Some(folder);
    }
    println!("skipped: no samples at {}; set TOMOFLOW_DICOM_SAMPLES", folder.display());
    None
}

/// The samples' SEG files, each with what is known of it.
fn cases(folder: &Path) -> Vec<(PathBuf, Value)> {
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    for case in all["cases"].as_array().unwrap() {
        for (file, expected) in case["seg"].as_object().into_iter().flatten() {
            let path = folder.join(case["dir"].as_str().unwrap()).join(file);
            found.push((path, expected.clone()));
        }
    }
    found
}

/// The affine of a volume whose slices descend, turned to ascending ones.
fn ascending(volume: &Value) -> Geometry {
    let at = |row: usize, column: usize| {
        volume["affine_lps_highdicom_index_order_kji"][row][column].as_f64().unwrap()
    };
    let size: Vec<usize> =
        volume["shape_kji"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let column = |column: usize| [0, 1, 2].map(|row| at(row, column));
    let [down, last] = [column(0), column(3)];
    Geometry {
        size: [size[0], size[1], size[2]],
        origin_mm: [0, 1, 2].map(|i| last[i] + down[i] * (size[0] - 1) as f64),
        steps_mm: [down.map(|x| -x), column(1), column(2)],
    }
}

#[test]
fn real_objects_have_the_segments_voxels_and_grid_they_should() {
    let Some(folder) = samples() else { return };
    let cases = cases(&folder);
    assert!(cases.len() >= 5, "only {} objects", cases.len());
    for (path, expected) in cases {
        let seg = read_with_threshold(&path, f64::MIN_POSITIVE).unwrap();
        let name = path.display();
        let volume = &expected["highdicom_volume"];
        assert!(apart_mm(seg.geometry(), &ascending(volume)) < 1e-3, "{name}: {:?}", seg.geometry());
        let [named] = seg.segments() else { panic!("{name}: {} segments", seg.segments().len()) };
        let labels = expected["segments"].as_array().unwrap();
        assert_eq!(Some(named.name.as_str()), labels.last().unwrap()["label"].as_str(), "{name}");
        for frame in expected["frames_list"].as_array().unwrap() {
            let z = frame["ipp"][2].as_f64().unwrap();
            let slice = ((z - seg.geometry().origin_mm[2]) / seg.geometry().steps_mm[0][2]).round() as usize;
            let area = named.slices.get(&slice).map(|runs| runs.area());
            assert_eq!(area, frame["nonzero"].as_u64(), "{name}: slice {slice}");
        }
        let total = volume["segment_voxels"].as_array().unwrap().last().unwrap().as_u64();
        assert_eq!(Some(named.voxels()), total, "{name}");
        let kept = record(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(Value::from(kept.referenced_series), expected["referenced_series"], "{name}");
        assert_eq!(kept.segments, [named.name.clone()], "{name}");
    }
}

#[test]
fn drawn_on_the_grid_of_a_reference_they_are_the_reference() {
    let Some(folder) = samples() else { return };
    let mut checked = 0;
    for (path, expected) in cases(&folder) {
        for reference in expected["reference_nrrd"].as_array().into_iter().flatten() {
            let file = path.parent().unwrap().join("ref").join(reference["file"].as_str().unwrap());
            let truth = nrrd::read_labels(&file).unwrap();
            let drawn = read(&path).unwrap().draw(|name| (name == "Liver").then_some(1), truth.geometry());
            // The reference of the sparse one holds its padding too.
            let truth: Vec<u16> = truth.voxels().iter().map(|&label| u16::from(label == 1)).collect();
            assert_eq!(drawn.unwrap().voxels(), truth, "{}", path.display());
            checked += 1;
        }
    }
    assert_eq!(checked, 3);
}

#[test]
fn fractions_count_from_the_threshold_on() {
    let Some(folder) = samples() else { return };
    let path = folder.join("seg_highdicom_ct/seg_image_ct_true_fractional.dcm");
    let voxels = |threshold| read_with_threshold(&path, threshold).unwrap().segments()[0].voxels();
    // As pydicom reads them: voxels at or over the threshold of the 255 that are one.
    let expected = [(0.1, 661), (0.25, 661), (0.5, 638), (0.51, 0)];
    for (threshold, count) in expected {
        assert_eq!(voxels(threshold), count, "{threshold}");
    }
    assert_eq!(read(&path).unwrap().segments()[0].voxels(), expected[2].1);
}

fn header(depth: usize) -> SegmentationHeader {
    let study = Study {
        patient_id: "P1".to_owned(),
        patient_name: "Phantom^One".to_owned(),
        birth_date: "19700101".to_owned(),
        sex: "O".to_owned(),
        age: "055Y".to_owned(),
        uid: "2.25.100".to_owned(),
        id: "1".to_owned(),
        accession_number: "A1".to_owned(),
        date: "20260102".to_owned(),
        time: "101112".to_owned(),
        description: "phantom".to_owned(),
        frame_of_reference_uid: "2.25.101".to_owned(),
    };
    SegmentationHeader {
        study,
        series_uid: "2.25.200".to_owned(),
        series_number: 300,
        series_description: "masks".to_owned(),
        sop_instance_uid: "2.25.201".to_owned(),
        content_label: "MASKS".to_owned(),
        date: "20260103".to_owned(),
        time: "121314".to_owned(),
        manufacturer: "tomoflow".to_owned(),
        model: "tomoflow".to_owned(),
        serial_number: "1".to_owned(),
        software: "0.1.0".to_owned(),
        referenced_series_uid: "2.25.102".to_owned(),
        referenced_sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        sources: (0..depth)
            .map(|slice| Source { sop_instance_uid: format!("2.25.1000{slice}"), frame: None })
            .collect(),
    }
}

/// A segment for each label of a map, and one for a label that it has not.
fn texts(labels: &LabelMap) -> Vec<SegmentText> {
    let mut found: Vec<u16> = labels.voxels().iter().copied().filter(|&label| label > 0).collect();
    found.push(1);
    found.sort_unstable();
    found.dedup();
    let algorithm = Algorithm::Automatic { name: "net".to_owned(), version: "1".to_owned() };
    found.iter().map(|label| SegmentText::new(*label, &format!("label {label}"), algorithm.clone())).collect()
}

fn label_of(name: &str) -> Option<u16> {
    name.strip_prefix("label ")?.parse().ok()
}

fn written(labels: &LabelMap, encoding: Encoding) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg.dcm");
    write(&path, &header(labels.size()[0]), labels, &texts(labels), encoding).unwrap();
    (folder, path)
}

/// Three slices of 2 × 3, of which the middle one is empty.
fn small() -> LabelMap {
    let geometry = Geometry::axis_aligned([3, 2, 3], [2.5, 0.5, 0.5]);
    LabelMap::new(geometry, vec![1, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2]).unwrap()
}

#[test]
fn binary_frames_are_packed_across_bytes_and_empty_ones_left_out() {
    let (_folder, path) = written(&small(), Encoding::Binary);
    let object = open_file(&path).unwrap();
    let integer = |tag| object.element(tag).unwrap().to_int::<u32>().unwrap();
    assert_eq!((integer(tags::NUMBER_OF_FRAMES), integer(tags::BITS_ALLOCATED)), (3, 1));
    // Frames of six bits: 110000, 000001 and 100001, the lowest bit first, in 18 of 32 bits.
    let bytes = object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
    assert_eq!(bytes, [0b0000_0011, 0b0001_1000, 0b0000_0010, 0]);
    let seg = read(&path).unwrap();
    assert_eq!(seg.geometry(), small().geometry());
    assert_eq!(seg.segments().iter().map(|s| s.voxels()).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(seg.segments()[1].slices.keys().copied().collect::<Vec<_>>(), [0, 2]);
    let mask = seg.mask(&seg.segments()[1]).unwrap();
    let truth: Vec<u16> = small().voxels().iter().map(|&label| u16::from(label == 2)).collect();
    assert_eq!(mask.voxels(), truth);
}

#[test]
fn the_record_tells_what_was_drawn_and_on_what() {
    let (_folder, path) = written(&small(), Encoding::Binary);
    let bytes = std::fs::read(&path).unwrap();
    let kept = record(&bytes).unwrap();
    assert_eq!((kept.sop_uid.as_str(), kept.patient_id.as_str()), ("2.25.201", "P1"));
    assert_eq!(
        (kept.referenced_series, kept.date_time.as_str()),
        (vec!["2.25.102".into()], "20260103121314")
    );
    assert_eq!(kept.segments, ["label 1", "label 2"]);
    assert!(record(b"no DICOM at all").is_none());
    let mut other = bytes.clone();
    let end = other.len() - 4;
    other[end] ^= 1;
    assert_ne!(record(&other).unwrap().digest, kept.digest);
    let mut renamed = bytes;
    let name = renamed.windows(11).position(|window| window == b"Phantom^One").unwrap();
    renamed[name] = b'p';
    assert_eq!(record(&renamed).unwrap().digest, kept.digest);
}

/// Rewrites an object's per-frame groups and pixels.
fn changed(path: &Path, change: impl FnOnce(&mut Vec<InMemDicomObject>, &mut Vec<u8>)) {
    let mut object = open_file(path).unwrap();
    let tag = tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE;
    let mut groups = object.element(tag).unwrap().items().unwrap().to_vec();
    let mut pixels = object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
    change(&mut groups, &mut pixels);
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(groups)));
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(pixels.into())));
    object.write_to_file(path).unwrap();
}

#[test]
fn the_order_of_frames_says_nothing() {
    let (_folder, path) = written(&small(), Encoding::LabelMap);
    let seg = read(&path).unwrap();
    changed(&path, |groups, pixels| {
        groups.reverse();
        pixels[..12].rotate_left(6);
    });
    assert_eq!(read(&path).unwrap(), seg);
    // Without their groups turned, the pixels of the outer slices have changed places.
    changed(&path, |_, pixels| pixels[..12].rotate_left(6));
    assert_ne!(read(&path).unwrap(), seg);
}

#[test]
fn where_segments_overlap_the_higher_label_wins() {
    let (_folder, path) = written(&small(), Encoding::Binary);
    // The first segment takes the whole of the first slice.
    changed(&path, |_, pixels| pixels[0] |= 0b0011_1111);
    let seg = read(&path).unwrap();
    assert_eq!(seg.segments().iter().map(|s| s.voxels()).collect::<Vec<_>>(), [6, 3]);
    let first = |labels: [u16; 2]| {
        let label_of = |name: &str| Some(if name == "label 1" { labels[0] } else { labels[1] });
        seg.draw(label_of, small().geometry()).unwrap().slice(0).to_vec()
    };
    assert_eq!(first([1, 2]), [1, 1, 1, 1, 1, 2]);
    assert_eq!(first([2, 1]), [2; 6]);
}

#[test]
fn another_grid_takes_the_nearest_voxel() {
    let (_folder, path) = written(&small(), Encoding::Binary);
    let seg = read(&path).unwrap();
    // Twice as fine across, one slice more below, and the slices in falling order.
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

#[test]
fn names_in_any_script_and_codes_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg.dcm");
    let mut texts = texts(&small());
    texts[0].name = "Größe 脑".to_owned();
    texts[1].property = Code::new("126949007", "SCT", "Schwannoma");
    texts[1].algorithm = Algorithm::Manual;
    write(&path, &header(3), &small(), &texts, Encoding::LabelMap).unwrap();
    assert_eq!(read(&path).unwrap().segments()[0].name, "Größe 脑");
    let object = open_file(&path).unwrap();
    let items = object.element(tags::SEGMENT_SEQUENCE).unwrap().items().unwrap();
    let text = |item: &InMemDicomObject, tag| item.element(tag).unwrap().to_str().unwrap().into_owned();
    let property = items[2].element(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE).unwrap().items().unwrap();
    assert_eq!(text(&property[0], tags::CODE_VALUE), "126949007");
    let kinds: Vec<_> = items.iter().map(|item| text(item, tags::SEGMENT_ALGORITHM_TYPE)).collect();
    assert_eq!(kinds, ["MANUAL", "AUTOMATIC", "MANUAL"]);
}

fn comes_back(labels: &LabelMap, encoding: Encoding) -> Result<Segmentation, TestCaseError> {
    let (_folder, path) = written(labels, encoding);
    let seg = read(&path).map_err(|reject| TestCaseError::fail(reject.to_string()))?;
    let drawn = seg.draw(label_of, labels.geometry()).unwrap();
    prop_assert_eq!(drawn.voxels(), labels.voxels());
    let counted: BTreeMap<u16, u64> =
        labels.voxels().iter().filter(|&&label| label > 0).fold(BTreeMap::new(), |mut counted, &label| {
            *counted.entry(label).or_default() += 1;
            counted
        });
    for segment in seg.segments() {
        let label = label_of(&segment.name).unwrap();
        prop_assert_eq!(segment.voxels(), counted.get(&label).copied().unwrap_or(0));
    }
    Ok(seg)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn masks_come_back_as_bits(labels in label_maps(Axes::Tilted, 400)) {
        comes_back(&labels, Encoding::Binary)?;
    }

    #[test]
    fn masks_come_back_as_labels(labels in label_maps(Axes::Tilted, u16::MAX)) {
        comes_back(&labels, Encoding::LabelMap)?;
    }
}
