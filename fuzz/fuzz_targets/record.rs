//! `cargo +nightly fuzz run record`: what is done with the bytes stands beside the tests of the connectors.

#![no_main]

#[path = "../../connectors/tests/fuzzed/record.rs"]
mod record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| record::feed(bytes));
