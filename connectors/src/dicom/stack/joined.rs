//! Series that an export gave each slice are joined, where somebody says that it did.

use std::collections::{BTreeMap, BTreeSet};

use crate::Digest;
use crate::dicom::header::image::surrogate;
use crate::dicom::header::instance::Instance;

/// The tags that slices of one scan have in common, whatever series each is in. Numbers are no such: each slice may
/// have one of its own.
const COMMON: [&str; 4] = ["Modality", "SeriesDescription", "ProtocolName", "SequenceName"];

/// What an instance has in common with the others of its scan, as a SeriesInstanceUID that none of them has; `None` for
/// one that holds several frames, or names no study: it keeps its own.
///
/// Orientation, matrix and frame of reference are left to [`assemble`](super::assemble()), which allows for what decimal
/// strings leave of them.
pub fn joined_series(instance: &Instance) -> Option<String> {
    let [_] = instance.frames.as_slice() else { return None };
    let tag = |keyword: &str| instance.tags.get(keyword).map_or("", String::as_str);
    let identity = [&instance.study_uid, &instance.patient_id, &instance.sop_class].map(String::as_str);
    let parts = std::iter::once("series per slice").chain(identity).chain(COMMON.map(tag));
    (!instance.study_uid.is_empty()).then(|| surrogate(&Digest::of_parts(parts.map(str::as_bytes))))
}

/// The instances of one [`joined_series`], by their indices, in groups that are assembled each on its own: those of a
/// series with several slices, and of the others those of one SeriesNumber. Slices that have a number each are one group.
pub fn scans_of_joined(instances: &[&Instance]) -> Vec<Vec<usize>> {
    // A copy of a file is no second slice.
    let mut slices: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for instance in instances {
        slices.entry(own_series(instance)).or_default().insert(&instance.sop_uid);
    }
    let alone =
        |instance: &Instance| slices.get(own_series(instance)).is_some_and(|slices| slices.len() == 1);
    let mut numbered: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for instance in instances.iter().filter(|instance| alone(instance)) {
        numbered.entry(number(instance)).or_default().insert(own_series(instance));
    }
    let shared = |number: &&str| numbered.get(number).is_some_and(|series| series.len() > 1);
    let mut groups: BTreeMap<(bool, &str), Vec<usize>> = BTreeMap::new();
    for (index, instance) in instances.iter().enumerate() {
        let key = match alone(instance) {
            true => (false, Some(number(instance)).filter(shared).unwrap_or_default()),
            false => (true, own_series(instance)),
        };
        groups.entry(key).or_default().push(index);
    }
    groups.into_values().collect()
}

/// The SeriesInstanceUID that an instance's file has.
fn own_series(instance: &Instance) -> &str {
    instance.tags.get("SeriesInstanceUID").map_or("", String::as_str)
}

fn number(instance: &Instance) -> &str {
    instance.tags.get("SeriesNumber").map_or("", String::as_str)
}
