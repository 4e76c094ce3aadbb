//! What was written reads back, and damage is named.

use super::*;
use crate::operators::samples::things::Things;
use crate::operators::value::DetectedBox;

fn grid() -> Geometry {
    Geometry::axis_aligned([2, 2, 3], [1.5, 0.4, 0.4])
}

#[test]
fn boxes_read_back_with_their_masks_and_without() {
    let on = |slice| DetectedBox { slice, class: 1, score: 0.5, low: [0.0, 1.0], high: [2.0, 2.5] };
    let things = Things::of_labels(&["a".to_owned()], &[]);
    let plain = Detections { size: [2, 2, 3], things, boxes: vec![on(0), on(1)], masks: None };
    let bytes = encode_found(&plain).unwrap();
    // The bytes are as they were before there were masks.
    assert_eq!(bytes, encode(&plain).unwrap());
    assert_eq!(decode_found(&bytes).unwrap(), plain);
    let masks = Some(vec![RunLength(vec![1, 2]), RunLength(vec![])]);
    let masked = Detections { masks, ..plain.clone() };
    let bytes = encode_found(&masked).unwrap();
    assert_eq!(decode_found(&bytes).unwrap(), masked);
    let nothing = Detections { boxes: Vec::new(), masks: Some(Vec::new()), ..plain.clone() };
    assert_eq!(decode_found(&encode_found(&nothing).unwrap()).unwrap(), nothing);
    let short = Detections { masks: Some(vec![RunLength(vec![1, 2])]), ..plain };
    assert_eq!(decode_found(&encode_found(&short).unwrap()).unwrap_err().code, "DAMAGED_ARTIFACT");
    assert_eq!(decode_found(&bytes[..bytes.len() - 1]).unwrap_err().code, "DAMAGED_ARTIFACT");
    assert_eq!(decode_found(&bytes[..3]).unwrap_err().code, "DAMAGED_ARTIFACT");
}

#[test]
fn a_mask_reads_back() {
    let labels = LabelMap::new(grid(), vec![0, 1, 1, 0, 2, 0, 0, 0, 0, 0, 0, 1]).unwrap();
    let mask = Mask { labels: Arc::new(labels), label_names: ["a".to_owned(), "b".to_owned()].into() };
    let artifact = MaskArtifact::of(&mask);
    assert_eq!(artifact.on(&grid()).unwrap().labels, mask.labels);
    let other = Geometry::axis_aligned([2, 3, 2], [1.0; 3]);
    assert_eq!(artifact.on(&other).unwrap_err().code, "DAMAGED_ARTIFACT");
}

#[test]
fn a_prepared_case_reads_back_and_damage_is_named() {
    let scan = Scan::new(grid(), (0..12).map(|i| i as f32 * 0.5).collect()).unwrap();
    let labels = LabelMap::new(grid(), vec![1; 12]).unwrap();
    let case = Case {
        channels: None,
        scan: Arc::new(scan),
        labels: Some(Arc::new(labels)),
        original: Arc::new(grid()),
        label_names: ["tumour".to_owned()].into(),
        padding: None,
    };
    let bytes = PreparedArtifact::encode(&case, None).unwrap();
    let back = PreparedArtifact::decode(&bytes).unwrap();
    assert_eq!(&back.scan[..], case.scan.voxels());
    assert_eq!(back.geometry, grid());
    for end in 0..bytes.len() {
        assert_eq!(PreparedArtifact::decode(&bytes[..end]).unwrap_err().code, "DAMAGED_ARTIFACT");
    }
    let partly =
        PreparedArtifact::decode(&PreparedArtifact::encode_partly(&case, None, &[1]).unwrap()).unwrap();
    assert_eq!(partly, PreparedArtifact { unknown: vec![1], ..back });
    let other = Case { scan: Arc::new(Scan::new(grid(), vec![7.0; 12]).unwrap()), ..case.clone() };
    let names: Arc<[String]> = ["a".to_owned(), "b".to_owned()].into();
    let both = Case::of_channels(vec![case.clone(), other], names.clone()).unwrap();
    let boxes = [CaseBox { label: 1, slice: 1, low: [0.5, 1.0], high: [1.5, 2.25] }];
    for (case, channels) in [(&case, 0), (&both, 2)] {
        let bytes = PreparedArtifact::encode(case, Some(&boxes)).unwrap();
        let back = PreparedArtifact::decode(&bytes).unwrap();
        assert_eq!((back.boxes.as_deref(), back.channels.len()), (Some(&boxes[..]), channels));
    }
    let bytes = PreparedArtifact::encode(&both, None).unwrap();
    let back = PreparedArtifact::decode(&bytes).unwrap();
    assert_eq!((back.scan.len(), &back.channels[..]), (24, &names[..]));
    assert_eq!(back.labels.as_ref().map(|labels| labels.len()), Some(12));
    let again = back.unlabelled(Arc::new(grid())).unwrap();
    assert!(again.scans().eq(both.scans()) && again.channel_names() == &names[..]);
    for end in 0..bytes.len() {
        assert_eq!(PreparedArtifact::decode(&bytes[..end]).unwrap_err().code, "DAMAGED_ARTIFACT");
    }
}
