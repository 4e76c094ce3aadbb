//! `cargo +nightly fuzz run images`: what is done with the bytes stands beside the tests of the connectors.

#![no_main]

#[path = "../../connectors/tests/fuzzed/images.rs"]
mod images;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| images::feed(bytes));
