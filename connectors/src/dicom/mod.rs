//! DICOM: the way from files to records, from records to geometry, and from pixels to scans.

pub(crate) mod codecs;
pub mod deidentify;
mod found;
pub mod header;
pub mod inspect;
mod made_from;
mod mosaic;
mod padding;
pub mod pixels;
mod short;
pub mod stack;
pub mod walk;
pub mod write;

pub(crate) use header::{Dataset, Head, decimal_strings};

pub use found::{FileStat, Found};
pub use header::{
    Frame, HeaderReader, Instance, MoreTags, PixelFormat, READING, Record, Tags, can_be_kept, read_record,
    read_record_with,
};
pub use made_from::{MadeFrom, made_from};
pub use padding::{PADDED, padding_of, padding_values};
pub use pixels::{load_scan, same_values};
pub use short::{ShortError, Unfit, load_short};
pub use stack::{
    Assembled, OnGap, OnUneven, Rules, SliceRef, StackPart, assemble, assemble_asking, assemble_comparing,
    assemble_with, gather, joined_series, load_scan_between, says_between, scans_of_joined, stray_series,
};
pub use walk::{
    Few, LeftOut, Named, Names, PassedOver, Unseen, Walk, WalkError, is_passed_over, is_remnant, walk,
};

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
