//! Files that break off: whatever the place, they are named for it, and no stack goes on without them as if it were
//! whole.

use std::path::Path;

use crate::files::{SliceFile, element};
use tomoflow_connectors::dicom::{HeaderReader, Instance, Record, assemble, read_record};

const IMPLICIT: &str = "1.2.840.10008.1.2";

/// A sequence with an item, both of undefined length or both counted.
fn sequence(open: bool, inside: &[u8]) -> Vec<u8> {
    let item = |tag: [u8; 4], length: u32| [&tag[..], &length.to_le_bytes()].concat();
    if open {
        let ends = [item([0xFE, 0xFF, 0x0D, 0xE0], 0), item([0xFE, 0xFF, 0xDD, 0xE0], 0)].concat();
        return [item([0xFE, 0xFF, 0x00, 0xE0], u32::MAX), inside.to_vec(), ends].concat();
    }
    [item([0xFE, 0xFF, 0x00, 0xE0], inside.len() as u32), inside.to_vec()].concat()
}

/// A whole file with a complete meta group, sequences of both kinds, and pixels.
fn whole(number: u16) -> Vec<u8> {
    let inside = element((0x0008, 0x0100), b"SH", b"T-D1100");
    let mut file = SliceFile::new(number);
    file.set((0x0008, 0x1140), b"SQ", sequence(false, &inside)).set(
        (0x0008, 0x2218),
        b"SQ",
        sequence(true, &inside),
    );
    let mut dataset = file.dataset();
    let open = dataset.windows(6).position(|run| run == [0x08, 0, 0x18, 0x22, b'S', b'Q']).unwrap();
    dataset[open + 8..open + 12].fill(0xFF);
    with_meta(&dataset, "1.2.840.10008.1.2.1")
}

/// Preamble, magic and meta group before a data set.
fn with_meta(dataset: &[u8], transfer_syntax: &str) -> Vec<u8> {
    let meta = [
        element((0x0002, 0x0001), b"OB", &[0, 1]),
        element((0x0002, 0x0002), b"UI", b"1.2.840.10008.5.1.4.1.1.2"),
        element((0x0002, 0x0003), b"UI", b"1.2.3.1"),
        element((0x0002, 0x0010), b"UI", transfer_syntax.as_bytes()),
    ]
    .concat();
    let length = element((0x0002, 0x0000), b"UL", &(meta.len() as u32).to_le_bytes());
    [&[0; 128][..], b"DICM", &length, &meta, dataset].concat()
}

/// The same elements, in implicit representation.
fn implicit(number: u16) -> Vec<u8> {
    let explicit = SliceFile::new(number).dataset();
    let (mut at, mut dataset) = (0, Vec::new());
    while at < explicit.len() {
        let long = [&b"OW"[..], b"OB", b"SQ"].contains(&&explicit[at + 4..at + 6]);
        let (length, head) = match long {
            true => (u32::from_le_bytes(explicit[at + 8..at + 12].try_into().unwrap()), 12),
            false => (u16::from_le_bytes(explicit[at + 6..at + 8].try_into().unwrap()).into(), 8),
        };
        dataset.extend(&explicit[at..at + 4]);
        dataset.extend(length.to_le_bytes());
        dataset.extend(&explicit[at + head..at + head + length as usize]);
        at += head + length as usize;
    }
    with_meta(&dataset, IMPLICIT)
}

fn deflated(number: u16) -> Vec<u8> {
    use std::io::Write;
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(&SliceFile::new(number).dataset()).unwrap();
    with_meta(&packer.finish().unwrap(), "1.2.840.10008.1.2.1.99")
}

fn rle(number: u16) -> Vec<u8> {
    let mut file = SliceFile::new(number);
    let bytes = file.in_fragments(&[2; 80], "1.2.840.10008.1.2.5");
    let dataset = bytes.windows(8).position(|run| run == [8, 0, 8, 0, b'C', b'S', 22, 0]).unwrap();
    with_meta(&bytes[dataset..], "1.2.840.10008.1.2.5")
}

/// The record of a file of these bytes, by its header and as a whole.
fn record(path: &Path, bytes: &[u8]) -> Record {
    std::fs::write(path, bytes).unwrap();
    let (header, whole) = (HeaderReader::default().read(path).unwrap(), read_record(path).unwrap());
    match (&header, &whole) {
        (Record::Instance(header), Record::Instance(whole)) => assert_eq!(header.refusal, whole.refusal),
        _ => assert_eq!(header, whole),
    }
    whole
}

fn instance(record: Record) -> Instance {
    let Record::Instance(instance) = record else { panic!("an instance expected, {record:?} found") };
    instance
}

#[test]
fn a_cut_at_any_byte_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.dcm");
    let others: Vec<Instance> = (2..9).map(|number| instance(record(&path, &whole(number)))).collect();
    for (kind, bytes) in
        [("explicit", whole(1)), ("implicit", implicit(1)), ("deflated", deflated(1)), ("rle", rle(1))]
    {
        let complete = instance(record(&path, &bytes));
        assert_eq!((&complete.refusal, kind), (&None, kind));
        for at in 0..bytes.len() {
            let place = format!("{kind}, {at} of {} bytes", bytes.len());
            let code = match record(&path, &bytes[..at]) {
                Record::Skip { code } => code,
                // The end of a deflated stream may go without a voxel.
                Record::Instance(cut) if cut == complete && kind == "deflated" => continue,
                Record::Instance(cut) => {
                    let code = cut.refusal.clone().unwrap_or_else(|| panic!("{place}: accepted"));
                    // The others of its series are no whole stack without it.
                    let series: Vec<&Instance> = others.iter().chain([&cut]).collect();
                    assert!(assemble(&series).iter().all(|part| part.verdict.is_err()), "{place}");
                    code
                }
                other => panic!("{place}: {other:?}"),
            };
            let wanted: &[&str] = match at {
                0 => &["EMPTY_FILE"],
                1..132 => &["NOT_DICOM"],
                132 => &["NO_DATASET"],
                // A header may end where its pixels were to begin.
                _ => &["TRUNCATED", "NO_PIXEL_DATA"],
            };
            assert!(wanted.contains(&code.as_str()), "{place}: {code}");
        }
    }
}

#[test]
fn a_header_without_a_size_leaves_a_hole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.dcm");
    let unsized_image = |with: &[u8]| {
        let bytes = whole(1);
        let at = bytes.windows(6).position(|run| run == [0x28, 0, 0x10, 0, b'U', b'S']).unwrap();
        [&bytes[..at], &bytes[at + 20..], with].concat()
    };
    // Rows and columns were taken out, pixels are there.
    let found = instance(record(&path, &unsized_image(&[])));
    assert_eq!(found.refusal.as_deref(), Some("UNSUPPORTED_PIXEL_FORMAT"));
}

#[test]
fn what_is_no_image_stays_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.dcm");
    // The classes are of a report and a spectrum, both whole.
    for class in ["1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.4.2"] {
        let head = [
            element((0x0008, 0x0016), b"UI", class.as_bytes()),
            element((0x0008, 0x0018), b"UI", b"1.2.3.1"),
            element((0x0020, 0x000E), b"UI", b"1.2.3.4"),
        ];
        let code = "NOT_AN_IMAGE".to_owned();
        assert_eq!(record(&path, &with_meta(&head.concat(), "1.2.840.10008.1.2.1")), Record::Skip { code });
    }
}

#[test]
fn a_concatenation_without_all_its_files_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.dcm");
    let part = |number: u16, total: u16| {
        let mut file = SliceFile::new(number);
        file.set((0x0020, 0x9161), b"UI", b"1.2.77".to_vec())
            .set((0x0020, 0x9162), b"US", number.to_le_bytes().to_vec())
            .set((0x0020, 0x9163), b"US", total.to_le_bytes().to_vec());
        instance(record(&path, &with_meta(&file.dataset(), "1.2.840.10008.1.2.1")))
    };
    let notes = |parts: &[Instance]| {
        let parts: Vec<&Instance> = parts.iter().collect();
        assemble(&parts).remove(0).verdict.unwrap().notes
    };
    let all: Vec<Instance> = (1..=4).map(|number| part(number, 4)).collect();
    assert_eq!(notes(&all), [""; 0]);
    let incomplete = "CONCATENATION_INCOMPLETE: 1 of 4 files of a multi-frame image are missing";
    assert_eq!(notes(&all[..3]), [incomplete]);
    assert_eq!(notes(&all[1..]), [incomplete]);
    // A file that is there twice stands for no other.
    let twice: Vec<Instance> = all[..3].iter().chain(&all[..1]).cloned().collect();
    assert!(notes(&twice).contains(&incomplete.to_owned()), "{:?}", notes(&twice));
    // A single file says no more than that it is one.
    assert_eq!(notes(&[part(1, 1), part(2, 1)]), [""; 0]);
}
