//! DICOM SEG: what is written comes back, on its own grid and on others; what breaks the standard is refused.

mod grids;
mod refused;
mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::volumes::seg::header;
use crate::volumes::{Axes, label_maps};
use dicom_core::value::{DataSetSequence, PixelFragmentSequence, PrimitiveValue};
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_object::{InMemDicomObject, open_file};
use proptest::prelude::*;
use tomoflow_connectors::dicom_seg::{
    Algorithm, Code, Encoding, SegmentText, Segmentation, read, read_with_threshold, record, write,
    write_overlapping,
};
use tomoflow_connectors::rtstruct::{Instances, OutlinePart};
use tomoflow_connectors::{Geometry, LabelMap, VoxelIndex};

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
        (kept.referenced_series.clone(), kept.date_time.as_str()),
        (vec!["2.25.102".into()], "20260103121314")
    );
    assert_eq!(kept.structures, ["label 1", "label 2"]);
    let parts = |number, drawn| OutlinePart { number, frame: Some(0), drawn };
    assert_eq!((&kept.parts[..], kept.frame_of(1)), (&[parts(1, 1), parts(2, 2)][..], "2.25.101"));
    assert_eq!(kept.instances, Instances::of(["2.25.9.0", "2.25.9.2"]));
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

/// A frame as one RLE segment of literal runs.
fn rle(frame: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = [1u32, 64].iter().chain(&[0; 14]).flat_map(|word| word.to_le_bytes()).collect();
    for run in frame.chunks(128) {
        bytes.push(run.len() as u8 - 1);
        bytes.extend(run);
    }
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

#[test]
fn compressed_frames_are_read() {
    let (_folder, path) = written(&small(), Encoding::LabelMap);
    let seg = read(&path).unwrap();
    let mut object = open_file(&path).unwrap();
    let pixels = object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
    let fragments: Vec<Vec<u8>> = pixels[..12].chunks(6).map(rle).collect();
    let fragments = PixelFragmentSequence::new_fragments(fragments);
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
    object.meta_mut().set_transfer_syntax(&dicom_transfer_syntax_registry::entries::RLE_LOSSLESS);
    object.write_to_file(&path).unwrap();
    assert_eq!(read(&path).unwrap(), seg);
    object
        .meta_mut()
        .set_transfer_syntax(&dicom_transfer_syntax_registry::entries::MPEG2_MAIN_PROFILE_MAIN_LEVEL);
    object.write_to_file(&path).unwrap();
    assert_eq!(read(&path).unwrap_err().code, "UNSUPPORTED_TRANSFER_SYNTAX");
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

/// The labels by the nearest voxel as it is defined, one voxel after the other.
fn nearest(seg: &Segmentation, grid: &Geometry) -> Vec<u16> {
    let own = seg.geometry();
    let mut labels = vec![0u16; own.voxels()];
    for segment in seg.segments() {
        let mask = seg.mask(segment).unwrap();
        let drawn = labels.iter_mut().zip(mask.voxels()).filter(|(_, set)| **set == 1);
        drawn.for_each(|(label, _)| *label = label_of(&segment.name).unwrap());
    }
    let [_, rows, columns] = grid.size;
    let label = |index: usize| {
        let place = [index / (rows * columns), index / columns % rows, index % columns];
        let point = grid.to_patient(VoxelIndex(place.map(|x| x as f64)));
        let at = own.to_voxel(point).unwrap().0.map(|x| (x + 0.5).floor());
        let inside = (0..3).all(|axis| (0.0..own.size[axis] as f64).contains(&at[axis]));
        let [k, j, i] = at.map(|x| x as usize);
        if inside { labels[(k * own.size[1] + j) * own.size[2] + i] } else { 0 }
    };
    (0..grid.voxels()).map(label).collect()
}

#[test]
fn segments_that_share_voxels_come_back_as_they_were() {
    // The sets are of voxels of the first label alone, of both, and of the second alone.
    let sets = [vec![1], vec![1, 2], vec![2]];
    let values = [1, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3];
    let values = LabelMap::new(small().geometry().clone(), values.to_vec()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg.dcm");
    write_overlapping(&path, &header(3), (&values, &sets), &texts(&small()), None).unwrap();
    let seg = read(&path).unwrap();
    let masks: Vec<Vec<u16>> =
        seg.segments().iter().map(|segment| seg.mask(segment).unwrap().voxels().to_vec()).collect();
    let of = |label: u16| -> Vec<u16> {
        let holds =
            |value: &u16| value.checked_sub(1).is_some_and(|place| sets[usize::from(place)].contains(&label));
        values.voxels().iter().map(|value| u16::from(holds(value))).collect()
    };
    assert_eq!(masks, [of(1), of(2)]);
    // Values without a set, and labels without a segment, are no masks.
    for wrong in [&sets[..2], &[vec![1], vec![3], vec![2]][..]] {
        assert!(write_overlapping(&path, &header(3), (&values, wrong), &texts(&small()), None).is_err());
    }
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
    let colour = |item: &InMemDicomObject| {
        let value = item.element(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE).unwrap();
        value.to_multi_int::<u16>().unwrap()
    };
    assert_eq!(colour(&items[0]), [0, 32_896, 32_896]);
    assert_ne!(colour(&items[1]), colour(&items[2]));
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

    #[test]
    fn drawing_is_the_nearest_voxel_on_any_grid(
        labels in label_maps(Axes::Tilted, 400),
        size in proptest::array::uniform3(1usize..8),
        moved in proptest::array::uniform3(-3i32..3),
        off in proptest::array::uniform3(-0.2f64..0.2),
        scale in prop_oneof![Just(1.0), 0.4f64..2.0],
    ) {
        let (_folder, path) = written(&labels, Encoding::Binary);
        let seg = read(&path).unwrap();
        let own = seg.geometry();
        let start = [0, 1, 2].map(|axis| f64::from(moved[axis]) + off[axis]);
        let grid = Geometry {
            size,
            origin_mm: own.to_patient(VoxelIndex(start)).0,
            steps_mm: own.steps_mm.map(|step| step.map(|x| x * scale)),
        };
        let expected = nearest(&seg, &grid);
        match seg.draw(label_of, &grid) {
            Ok(drawn) => prop_assert_eq!(drawn.voxels(), expected),
            Err(reject) => {
                prop_assert_eq!(reject.code, "OFF_GRID");
                prop_assert!(expected.iter().all(|&label| label == 0));
            }
        }
    }
}

#[test]
fn fractions_that_are_all_below_the_threshold_are_counted() {
    let (_folder, path) = written(&small(), Encoding::Binary);
    let mut object = open_file(&path).unwrap();
    for (tag, bits) in [(tags::BITS_ALLOCATED, 8), (tags::BITS_STORED, 8), (tags::HIGH_BIT, 7)] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(bits as u16)));
    }
    object.put(DataElement::new(tags::SEGMENTATION_TYPE, VR::CS, PrimitiveValue::from("FRACTIONAL")));
    object.put(DataElement::new(tags::MAXIMUM_FRACTIONAL_VALUE, VR::US, PrimitiveValue::from(255u16)));
    // A frame of the first segment, and two of the second.
    let frames: [[u8; 6]; 3] = [[100, 99, 0, 0, 0, 0], [0, 0, 0, 0, 0, 200], [200, 0, 0, 0, 0, 10]];
    let pixels = PrimitiveValue::U8(frames.concat().into());
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, pixels));
    object.write_to_file(&path).unwrap();
    let found = |threshold: f64| -> Vec<(u64, usize)> {
        let seg = read_with_threshold(&path, threshold).unwrap();
        seg.segments().iter().map(|segment| (segment.voxels(), segment.faint)).collect()
    };
    assert_eq!(found(0.5), [(0, 2), (2, 0)]);
    assert_eq!(found(0.39), [(1, 0), (2, 0)]);
    assert_eq!(found(0.0), [(2, 0), (3, 0)]);
}

#[test]
fn a_segmentation_in_a_container_is_read_where_it_lies() {
    let (folder, path) = written(&small(), Encoding::Binary);
    let bytes = std::fs::read(&path).unwrap();
    let archive = folder.path().join("study.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&archive).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, "P1/seg.dcm", bytes.as_slice()).unwrap();
    tar.finish().unwrap();
    assert_eq!(read(&archive.join("P1/seg.dcm")).unwrap(), read(&path).unwrap());
}
