//! `cargo +nightly fuzz run rtstruct`: what is done with the bytes stands beside the tests of the connectors.

#![no_main]

#[path = "../../connectors/tests/fuzzed/rtstruct.rs"]
mod rtstruct;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rtstruct::feed(bytes));
