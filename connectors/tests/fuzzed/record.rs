//! Header scanner and whole reading of any bytes: neither panics, both come to the same, and what they accept
//! is decoded or refused.

use std::path::Path;

use tomoflow_connectors::Digest;
use tomoflow_connectors::dicom::{HeaderReader, Instance, Record, assemble, load_scan, read_record};

/// The transfer syntaxes whose decoders stand any bytes. A panic of the others, which is caught where they
/// are called, would end the fuzzer.
const OURS: [&str; 13] = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
];
/// The number of voxels that are decoded at most: time goes into headers.
const VOXELS: usize = 1 << 20;

/// Feeds the bytes of one file.
pub fn feed(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut reader = HeaderReader::default();
    let header = reader.read(file.path()).unwrap();
    // What a reader takes over from the file before changes nothing.
    assert_eq!(reader.read(file.path()).unwrap(), header);
    let whole = read_record(file.path()).unwrap();
    match (header, whole) {
        (Record::Instance(header), Record::Instance(whole)) => {
            decode(&whole, file.path());
            let nothing = Digest::default();
            let whole = match header.digest == nothing {
                true => Instance { digest: nothing, pixel_digest: nothing, content: nothing, ..whole },
                false => whole,
            };
            assert_eq!(header, whole);
        }
        // Of a file that is no image and is cut off as well, a header says the first and a whole reading the second.
        (Record::Skip { code: header }, Record::Skip { code: whole })
            if header == "NOT_AN_IMAGE" && whole == "TRUNCATED" => {}
        (header, whole) => assert_eq!(header, whole),
    }
}

fn decode(instance: &Instance, path: &Path) {
    if !OURS.contains(&instance.pixels.transfer_syntax.as_str()) {
        return;
    }
    for part in assemble(&[instance]) {
        let Ok(assembled) = part.verdict else { continue };
        if assembled.geometry.voxels() <= VOXELS {
            let slices: Vec<_> =
                assembled.slices.iter().map(|slice| (path.to_owned(), slice.frame)).collect();
            // A refusal is as good as an answer here.
            drop(load_scan(&assembled.geometry, &slices));
        }
    }
}
