//! Synthetic archives with truth: DICOM series and outlines as a hospital exports them.

pub mod collection;
mod hard;
mod head;
mod identity;
pub mod liver;
mod noise;
mod scanner;
mod tumour;
pub mod vs;
