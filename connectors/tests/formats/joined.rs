//! Slices with a series each: what they are joined by, and what stays apart.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::files::SliceFile;
use tomoflow_connectors::dicom::inspect::{Finding, InspectEvent, InspectOptions, inspect};
use tomoflow_connectors::dicom::{Instance, Record, joined_series, read_record, scans_of_joined};

type Tag = (u16, u16);
const DESCRIPTION: Tag = (0x0008, 0x103E);
const PATIENT: Tag = (0x0010, 0x0020);
const STUDY: Tag = (0x0020, 0x000D);
const SERIES: Tag = (0x0020, 0x000E);
const NUMBER: Tag = (0x0020, 0x0011);

/// Slice `number` of a series of its own, with other values.
fn slice(number: u16, others: &[(Tag, &[u8; 2], &str)]) -> Instance {
    let mut file = SliceFile::new(number);
    file.set(SERIES, b"UI", format!("1.2.3.4.{number}").into_bytes());
    for (tag, vr, value) in others {
        file.set(*tag, vr, value.as_bytes().to_vec());
    }
    let folder = tempfile::tempdir().unwrap();
    match read_record(&file.write(folder.path(), "slice.dcm")).unwrap() {
        Record::Instance(instance) => instance,
        other => panic!("{other:?}"),
    }
}

#[test]
fn slices_are_joined_by_what_their_scan_has_in_common() {
    let plain = joined_series(&slice(0, &[])).unwrap();
    assert_ne!(plain, slice(0, &[]).series_uid);
    // Numbers, places and frames of reference may differ from slice to slice.
    let frame = (0x0020, 0x0052);
    for others in [[(NUMBER, b"IS", "12")], [(frame, b"UI", "1.9.3")]] {
        assert_eq!(joined_series(&slice(1, &others)).unwrap(), plain);
    }
    for others in [[(DESCRIPTION, b"LO", "ax T2")], [(PATIENT, b"LO", "P2")], [(STUDY, b"UI", "1.2.9")]] {
        assert_ne!(joined_series(&slice(1, &others)).unwrap(), plain);
    }
    // Nothing says which study it is of.
    assert_eq!(joined_series(&slice(0, &[(STUDY, b"UI", "")])), None);
}

/// The slices of each group.
fn groups(instances: &[Instance]) -> BTreeSet<Vec<usize>> {
    scans_of_joined(&instances.iter().collect::<Vec<_>>()).into_iter().collect()
}

#[test]
fn a_number_that_slices_share_and_a_series_of_several_are_scans_of_their_own() {
    let numbered = |number: u16, series: &str| slice(number, &[(NUMBER, b"IS", series)]);
    // Each slice has the number of none, one number holds for all, or two do.
    let each: Vec<Instance> = (0..4).map(|k| numbered(k, &format!("{}", k + 1))).collect();
    assert_eq!(groups(&each), [vec![0, 1, 2, 3]].into());
    let one: Vec<Instance> = (0..4).map(|k| numbered(k, "7")).collect();
    assert_eq!(groups(&one), [vec![0, 1, 2, 3]].into());
    let two: Vec<Instance> = (0..6).map(|k| numbered(k, ["2", "5"][usize::from(k % 2)])).collect();
    assert_eq!(groups(&two), [vec![0, 2, 4], vec![1, 3, 5]].into());
    // One scan has a number for each slice, and another one number.
    let both: Vec<Instance> = (0..3).map(|k| numbered(k, &format!("{}", k + 1))).collect();
    let both = [both, (3..6).map(|k| numbered(k, "9")).collect()].concat();
    assert_eq!(groups(&both), [vec![0, 1, 2], vec![3, 4, 5]].into());
    // A series of several slices is what it was; a copy of a slice makes none of it.
    let own: Vec<Instance> = (0..3).map(|k| slice(k, &[(SERIES, b"UI", "1.2.3.5")])).collect();
    let own = [own, (3..6).map(|k| slice(k, &[])).collect(), vec![slice(5, &[])]].concat();
    assert_eq!(groups(&own), [vec![0, 1, 2], vec![3, 4, 5, 6]].into());
}

#[test]
fn inspect_notes_series_of_one_slice_that_are_a_stack() {
    let folder = tempfile::tempdir().unwrap();
    let write = |number: u16, series: &str| {
        let mut file = SliceFile::new(number);
        file.set(SERIES, b"UI", series.as_bytes().to_vec());
        file.write(folder.path(), &format!("{number}.dcm"));
    };
    let found = || {
        let mut notes = Vec::new();
        inspect(&[folder.path().to_owned()], InspectOptions::default(), &mut |event| {
            if let InspectEvent::Found(Finding::Volume(volume)) = event {
                notes.push((
                    volume.shape[0],
                    volume.notes.iter().any(|note| note.contains("series_per_slice")),
                ));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        notes
    };
    // Two series of one slice may be anything.
    (0..2).for_each(|number| write(number, &format!("1.2.3.4.{number}")));
    assert_eq!(found(), [(1, false); 2]);
    (2..5).for_each(|number| write(number, &format!("1.2.3.4.{number}")));
    assert_eq!(found(), [(1, true); 5]);
    // One series is none of them.
    (0..5).for_each(|number| write(number, "1.2.3.4"));
    assert_eq!(found(), [(5, false)]);
}
