//! `cargo +nightly fuzz run dicom_seg`: what is done with the bytes stands beside the tests of the connectors.

#![no_main]

#[path = "../../connectors/tests/fuzzed/dicom_seg.rs"]
mod dicom_seg;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dicom_seg::feed(bytes));
