//! DICOM: files to records, records to geometry, pixels to scans.

pub mod assemble;
mod between;
pub(crate) mod codec;
mod dataset;
mod found;
pub(crate) mod frames;
mod gaps;
mod header;
mod hints;
pub(crate) mod image;
pub mod inspect;
pub mod instance;
mod jpeg;
mod jpeg12;
mod jpeg2000;
mod jpegls;
mod keywords;
mod lut;
mod mosaic;
mod parse;
mod peek;
pub mod pixels;
pub mod record;
mod refuse;
mod rle;
mod scan;
mod short;
mod slices;
mod split;
mod unpack;
pub mod walk;
pub mod write;

pub(crate) use dataset::{Dataset, decimal_strings};
pub(crate) use header::Head;

pub use assemble::{Assembled, Part, SliceRef, assemble, assemble_with};
pub use between::load_scan_between;
pub use found::{FileStat, Found};
pub use gaps::{OnGap, OnUneven, Rules, says_between};
pub use instance::{Frame, Instance, PixelFormat, Tags};
pub use keywords::{MoreTags, can_be_kept};
pub use peek::HeaderReader;
pub use pixels::load_scan;
pub use record::{READING, Record, read_record, read_record_with};
pub use short::{ShortError, Unfit, load_short};
pub use walk::{Unseen, Walk, WalkError, walk};

/// The tags whose values every instance's record keeps, so that a source can filter on them.
pub const FILTER_KEYWORDS: &[&str] = &[
    "BodyPartExamined",
    "ImageType",
    "Manufacturer",
    "ManufacturerModelName",
    "Modality",
    "PatientID",
    "ProtocolName",
    "SequenceName",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "StudyDate",
    "StudyDescription",
    "StudyInstanceUID",
];
