//! Files to scans and labels: which they claim, and whose they are.

pub mod crossing;
pub mod deeplesion;
pub mod dicom;
pub mod dicom_labels;
pub mod dicom_seg;
pub mod drawn;
pub mod ignore;
pub mod images;
pub mod label_images;
pub mod listed;
pub mod merged;
pub mod names;
pub mod nested;
pub mod overlaps;
pub mod patterns;
pub mod rtstruct;

use super::registry::Entry;

/// The types of this room.
pub const ENTRIES: &[Entry] = &[
    dicom::ENTRY,
    rtstruct::ENTRY,
    dicom_seg::ENTRY,
    dicom_labels::ENTRY,
    images::ENTRY,
    label_images::ENTRY,
    deeplesion::ENTRY,
    deeplesion::BOXES_ENTRY,
];
