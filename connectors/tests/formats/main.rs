//! What files hold: read as they are, refused by name, written for others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by its panic"
)]

#[path = "../files/mod.rs"]
mod files;
#[path = "../fuzzed/mod.rs"]
mod fuzzed;
#[path = "../jpeg/mod.rs"]
mod jpeg;
#[path = "../volumes/mod.rs"]
mod volumes;

mod assembly;
mod between;
mod broken_off;
mod codecs;
mod conformance;
mod containers;
mod copies;
mod corpus;
mod dicom_seg;
mod dicom_seg_codecs;
mod dicom_seg_real;
mod drifting;
mod headers;
mod image_files;
mod inspect;
mod inspect_images;
mod interleaved;
mod joined;
mod lossless;
mod metaimage;
mod nifti;
mod nrrd;
mod others;
mod padding;
mod records;
mod rtstruct;
mod sarcoma;
mod short;
