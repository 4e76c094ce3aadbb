//! Synthetic archives with truth: DICOM series and outlines as a hospital exports them, and scans as research hands them out.

pub mod collection;
mod hard;
mod head;
mod identity;
pub mod liver;
mod noise;
mod organs;
pub mod pelvis;
mod scanner;
mod tumour;
pub mod vs;
