//! Series of images that are labels, and the scans that they may be of.

use std::sync::Arc;

use tomoflow_connectors::dicom::MadeFrom;

use crate::executor::work::SeriesRow;

/// The beginnings of notes of what a series of labels was made from.
const IMAGE: &str = "MADE_FROM_IMAGE: ";
const SERIES: &str = "MADE_FROM_SERIES: ";

/// What a series of labels was made from, as notes of its row.
pub(super) fn notes_of(from: &MadeFrom) -> impl Iterator<Item = String> {
    let series = from.series.iter().map(|uid| format!("{SERIES}{uid}"));
    series.chain(from.images.iter().map(|uid| format!("{IMAGE}{uid}")))
}

/// The images that a series of labels says it was made from, by their SOPInstanceUIDs.
pub(super) fn images(labels: &SeriesRow) -> impl Iterator<Item = &str> {
    labels.notes.iter().filter_map(|note| note.strip_prefix(IMAGE))
}

/// The series that a series of labels says it was made from, by their SeriesInstanceUIDs.
pub(super) fn series(labels: &SeriesRow) -> impl Iterator<Item = &str> {
    labels.notes.iter().filter_map(|note| note.strip_prefix(SERIES))
}

/// Returns what labels and scan must have in common to be compared by where they lie: a frame of reference, or where places
/// are `trusted` a study; `None` where a series says none.
pub(super) fn place(series: &SeriesRow, trusted: bool) -> Option<Arc<str>> {
    let place = if trusted { &series.study_uid } else { &series.frame_of_reference };
    (!place.is_empty()).then(|| place.clone())
}

/// Whether labels may be a scan's: of another series, and of the same patient, where both say.
pub(super) fn may_be_of(labels: &SeriesRow, scan: &SeriesRow) -> bool {
    // A series without a patient has its study's name instead.
    let unnamed = |series: &SeriesRow| series.patient == series.study_uid;
    let same = labels.patient == scan.patient || unnamed(labels) || unnamed(scan);
    same && labels.series_uid() != scan.series_uid()
}
