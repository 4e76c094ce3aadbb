//! Synthetic archives with truth: DICOM series and outlines as a hospital exports them, and scans as research hands them out.

pub mod collection;
mod head;
mod identity;
mod noise;
mod organs;
pub mod pelvis;
mod scanner;
mod tumour;
pub mod vs;
