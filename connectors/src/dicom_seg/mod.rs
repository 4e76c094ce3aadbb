//! DICOM SEG: segments read as records and masks, drawn on a grid, and written.

mod bits;
mod describe;
mod draw;
mod gaps;
mod grid;
mod object;
mod read;
mod record;
mod source;
mod write;

pub use crate::dicom::write::WriteError;
pub use describe::{Algorithm, Code, Encoding, SegmentText, SegmentationHeader, Source};
pub use read::{Segment, Segmentation, read, read_with_threshold};
pub(crate) use record::outlines;
pub use record::record;
pub use source::study_of;
pub use write::{write, write_as, write_overlapping};
