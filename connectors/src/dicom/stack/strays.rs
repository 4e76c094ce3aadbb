//! Slices of one stack that an export gave a series each.

use std::collections::BTreeSet;

use super::assemble::{StackPart, assemble};
use crate::Digest;
use crate::dicom::header::image::surrogate;
use crate::dicom::header::instance::Instance;

/// The fewest slices that are gathered: two slices of series of their own may be anything.
const LEAST: usize = 3;
/// The note of a scan that was gathered.
const NOTE: &str = "SERIES_PER_SLICE";

/// What instances of one stack have in common, whatever series they are in, as a SeriesInstanceUID that none of
/// them has; `None` for those that say too little, or hold several frames.
///
/// It is for instances that are the only one of their series.
pub fn stray_series(instance: &Instance) -> Option<String> {
    let [frame] = instance.frames.as_slice() else { return None };
    let tag = |keyword: &str| instance.tags.get(keyword).map_or("", String::as_str);
    let complete = !instance.study_uid.is_empty()
        && !tag("SeriesNumber").is_empty()
        && frame.position_mm.is_some()
        && frame.order.contains_key("InstanceNumber");
    // The cosines are rounded, so that the jitter of decimal strings does not tear a stack apart.
    let orientation = frame.orientation?.map(|cosine| (cosine.0 * 100.0).round() as i64);
    let spacing = frame.spacing_mm?.map(|length| (length.0 * 1e3).round() as i64);
    let tags = ["Modality", "SeriesNumber", "SeriesDescription", "ProtocolName", "SequenceName"].map(tag);
    let rest = format!("{orientation:?} {spacing:?} {:?}", instance.pixels.frame_size);
    // The frame of reference is left out: what replaces one identifier replaces others.
    let identity = [&instance.study_uid, &instance.patient_id, &instance.sop_class];
    let parts = identity.map(String::as_str).into_iter().chain(tags).chain([rest.as_str()]);
    complete.then(|| surrogate(&Digest::of_parts(parts.map(str::as_bytes))))
}

/// The one scan that instances of one [`stray_series`] are, each the only one of its series; `None` when they are
/// fewer than three, share an InstanceNumber, or are no even stack of all of them: then each stays what it is.
///
/// The scan has the note `SERIES_PER_SLICE`.
pub fn gather(instances: &[&Instance]) -> Option<StackPart> {
    let number = |instance: &&Instance| instance.frames.first()?.order.get("InstanceNumber").cloned();
    let numbers: BTreeSet<String> = instances.iter().filter_map(number).collect();
    let series: BTreeSet<&str> = instances.iter().map(|instance| instance.series_uid.as_str()).collect();
    let alike = instances.iter().map(|instance| stray_series(instance)).collect::<Option<BTreeSet<_>>>()?;
    let apart = numbers.len() == instances.len() && series.len() == instances.len();
    if instances.len() < LEAST || !apart || alike.len() != 1 {
        return None;
    }
    let mut parts = assemble(instances);
    let mut part = parts.pop().filter(|_| parts.is_empty())?;
    let assembled = part.verdict.as_mut().ok().filter(|found| found.slices.len() == instances.len())?;
    assembled.notes.push(format!("{NOTE}: {} series of one slice are one scan", instances.len()));
    Some(part)
}
