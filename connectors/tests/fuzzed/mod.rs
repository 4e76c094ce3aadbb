//! What is done with the bytes of a file of a corpus: the bodies of the fuzzers in `fuzz/`, which ordinary tests
//! run too.

pub mod dicom_seg;
pub mod images;
pub mod record;
pub mod rtstruct;
