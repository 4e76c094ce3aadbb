//! Every file of the fuzzers' corpora through what the fuzzers do with it, so that what they once found stays
//! mended where no fuzzer runs.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

/// Feeds a corpus, and says how many files it has.
fn feed(name: &str, with: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.par_iter().for_each(|file| {
        let bytes = std::fs::read(file).unwrap();
        let outcome = std::panic::catch_unwind(|| with(&bytes));
        assert!(outcome.is_ok(), "{} broke it", file.display());
    });
    files.len()
}

#[test]
fn headers() {
    assert!(feed("record", crate::fuzzed::record::feed) > 10);
}

#[test]
fn outlines() {
    assert!(feed("rtstruct", crate::fuzzed::rtstruct::feed) > 1);
}

#[test]
fn segments() {
    assert!(feed("dicom_seg", crate::fuzzed::dicom_seg::feed) > 10);
}

#[test]
fn volumes() {
    assert!(feed("images", crate::fuzzed::images::feed) > 10);
}
