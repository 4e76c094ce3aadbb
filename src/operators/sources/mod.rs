//! Files to scans and labels: which they claim, and whose they are.

pub mod deeplesion;
pub mod dicom;
pub mod dicom_seg;
pub mod drawn;
pub mod images;
pub mod label_images;
pub mod listed;
pub mod merged;
pub mod names;
pub mod nested;
pub mod overlaps;
pub mod patterns;
pub mod rtstruct;
