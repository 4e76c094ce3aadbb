//! Headers read alone come to the same records as whole files, over real files, made ones and broken ones.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::files::{SliceFile, element, samples};
use proptest::prelude::*;
use tomoflow_connectors::Digest;
use tomoflow_connectors::dicom::{HeaderReader, Instance, Record, read_record, walk};

/// A record of the header alone and one of the whole file, made comparable.
fn both(reader: &mut HeaderReader, path: &Path) -> (Record, Record) {
    let (header, whole) = (reader.read(path).unwrap(), read_record(path).unwrap());
    match (header, whole) {
        (Record::Instance(header), Record::Instance(whole)) if header.digest == Digest::default() => {
            let nothing = Digest::default();
            assert_eq!([header.pixel_digest, header.content], [nothing; 2]);
            let whole = Instance { digest: nothing, pixel_digest: nothing, content: nothing, ..whole };
            (Record::Instance(header), Record::Instance(whole))
        }
        // Other formats have no DICOM header.
        (header, Record::Image(_)) => {
            assert_eq!(header, Record::Skip { code: "NOT_DICOM".to_owned() });
            (header.clone(), header)
        }
        other => other,
    }
}

fn is_header_alone(record: &Record) -> bool {
    matches!(record, Record::Instance(instance) if instance.digest == Digest::default())
}

fn written(folder: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("file.dcm");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn every_sample_gives_the_same_record() {
    let Some(folder) = samples() else { return };
    let mut reader = HeaderReader::default();
    let (mut alone, mut all) = (0, 0);
    for file in walk(&folder).unwrap() {
        let (header, whole) = both(&mut reader, &file.path);
        assert_eq!(header, whole, "{}", file.path.display());
        all += usize::from(matches!(whole, Record::Instance(_)));
        alone += usize::from(is_header_alone(&header));
    }
    // Only deflated files, and those without a SOPInstanceUID, are read as a whole.
    assert!(alone * 100 >= all * 95, "{alone} of {all} instances were read by their header alone");
}

#[test]
fn a_reader_goes_from_folder_to_folder_and_from_long_headers_to_short_ones() {
    let root = tempfile::tempdir().unwrap();
    let mut reader = HeaderReader::default();
    for (number, private) in [0, 300, 5_000, 40_000, 300_000, 0, 70_000].into_iter().enumerate() {
        let folder = root.path().join(format!("{}", number % 3));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, body) in [("a", private), ("b", private), ("c", private / 7)] {
            // The private element lies behind the elements that a record needs, and before the pixels.
            let mut file = SliceFile::new(3);
            file.set((0x0029, 0x1010), b"OB", vec![1; body]);
            file.set((0x0020, 0x000D), b"UI", format!("1.2.{number}").into_bytes());
            let path = folder.join(name);
            std::fs::write(&path, file.bytes()).unwrap();
            let (header, whole) = both(&mut reader, &path);
            assert_eq!(header, whole, "{number}{name}");
            assert!(is_header_alone(&header), "{number}{name}");
            assert_eq!(reader.read_sized(&path).unwrap().1, std::fs::metadata(&path).unwrap().len());
        }
    }
    let code = "NOT_DICOM".to_owned();
    let notes = root.path().join("notes.txt");
    std::fs::write(&notes, "no image").unwrap();
    assert_eq!(reader.read_sized(&notes).unwrap(), (Record::Skip { code }, 8));
    assert!(reader.read(&root.path().join("absent/file")).is_err());
}

#[test]
fn what_the_file_before_had_is_not_taken_for_what_another_has() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = HeaderReader::default();
    // Values that slices share, and values that change, come, go and come back; in either representation.
    for (number, (slope, echo, instance, time)) in [
        ("1", "80", Some("1"), Some("101500.5")),
        ("1", "80", Some("2"), Some("101501.5")),
        ("1", "80", None, None),
        ("1", "80", Some("4"), None),
        ("2", "80", Some("4"), None),
        ("2", "80.0", Some("04"), Some("1")),
        ("", "90", Some("5"), Some("1")),
        ("x", "90", Some("5"), Some("1")),
        ("1", "80", Some("1"), Some("101500.5")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut file = SliceFile::new(3);
        file.set((0x0028, 0x1053), b"DS", slope.into()).set((0x0018, 0x0081), b"DS", echo.into());
        file.set((0x0020, 0x0032), b"DS", format!("0\\0\\{number}").into_bytes());
        file.set((0x0008, 0x103E), b"LO", format!("part {}", number / 3).into_bytes());
        for (tag, vr, value) in [((0x0020, 0x0013), b"IS", instance), ((0x0008, 0x0032), b"TM", time)] {
            if let Some(value) = value {
                file.set(tag, vr, value.into());
            }
        }
        let path = written(&folder, &file.bytes());
        let (header, whole) = both(&mut reader, &path);
        assert_eq!(header, whole, "{number}");
        assert!(is_header_alone(&header), "{number}");
    }
}

/// The tag, representation and value of an element.
type Element = ((u16, u16), &'static [u8; 2], Vec<u8>);

/// A file with one more element.
fn with(tag: (u16, u16), vr: &'static [u8; 2], value: Vec<u8>) -> Vec<u8> {
    let mut file = SliceFile::new(3);
    file.set(tag, vr, value);
    file.bytes()
}

fn item(length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[0xFE, 0xFF, 0x00, 0xE0], &length.to_le_bytes()[..], bytes].concat()
}

const ITEM_ENDS: [u8; 8] = [0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0];
const SEQUENCE_ENDS: [u8; 8] = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];

/// Encapsulated pixel data of several fragments, in a file that says so.
fn encapsulated() -> Vec<u8> {
    let mut bytes = SliceFile::new(1).bytes();
    let length = bytes.len() - 4 - 32;
    bytes.truncate(length);
    bytes.extend([0xFF; 4]);
    bytes.extend(item(0, b""));
    bytes.extend(item(20_000, &[7; 20_000]));
    bytes.extend(item(6, b"second"));
    bytes.extend(SEQUENCE_ENDS);
    let syntax = element((0x0002, 0x0010), b"UI", b"1.2.840.10008.1.2.5");
    let plain = element((0x0002, 0x0010), b"UI", b"1.2.840.10008.1.2.1");
    let at = bytes.windows(plain.len()).position(|run| run == plain).unwrap();
    bytes.splice(at..at + plain.len(), syntax);
    bytes
}

/// Frames with a place each, more than a first read holds; sequences end with delimiters, or have lengths.
fn multi_frame(counted: bool) -> Vec<u8> {
    let frames = 200u16;
    let sequence = |tag, inner: Vec<u8>| {
        if counted {
            return element(tag, b"SQ", &item(inner.len() as u32, &inner));
        }
        let mut bytes = element(tag, b"SQ", b"");
        let length = bytes.len() - 4;
        bytes[length..].fill(0xFF);
        [bytes, item(u32::MAX, &inner), ITEM_ENDS.to_vec(), SEQUENCE_ENDS.to_vec()].concat()
    };
    let groups: Vec<u8> = (0..frames)
        .flat_map(|frame| {
            let position = element((0x0020, 0x0032), b"DS", format!("0\\0\\{frame}").as_bytes());
            let group = sequence((0x0020, 0x9113), position);
            item(group.len() as u32, &group)
        })
        .collect();
    let mut file = SliceFile::new(0);
    file.set((0x0028, 0x0008), b"IS", frames.to_string().into_bytes())
        .set((0x0018, 0x9999), b"OB", vec![1; 30])
        .set((0x5200, 0x9230), b"SQ", groups)
        .set((0x7FE0, 0x0010), b"OW", vec![5; 32 * usize::from(frames)]);
    let mut bytes = file.bytes();
    // A private sequence without a length before everything that matters.
    let at = bytes.windows(4).position(|run| run == [0x18, 0, 0x99, 0x99]).unwrap();
    bytes.splice(at..at, sequence((0x0018, 0x9998), element((0x0008, 0x0060), b"CS", b"XX")));
    bytes
}

/// Files whose headers are laid out in every way that a scan has to step over.
fn made() -> Vec<Vec<u8>> {
    let big = vec![0x41; 100_000];
    let mut behind = SliceFile::new(2).bytes();
    behind.extend(element((0xFFFC, 0xFFFC), b"OB", &[0; 12_000]));
    let mut scattered = SliceFile::new(2).bytes();
    scattered.extend(element((0x0020, 0x0011), b"IS", b"9"));
    scattered.extend(element((0x0008, 0x0060), b"CS", b"MR"));
    let elements: [Element; 8] = [
        ((0x0029, 0x1010), b"OB", big.clone()),
        ((0x0009, 0x1010), b"UN", big.clone()),
        ((0x7FE0, 0x0010), b"OW", big.clone()),
        ((0x0008, 0x0008), b"UN", b"ORIGINAL\\PRIMARY\\M\\MOSAIC".to_vec()),
        ((0x0008, 0x0018), b"UI", Vec::new()),
        ((0x0020, 0x000E), b"UI", Vec::new()),
        ((0x7FE0, 0x0008), b"OF", vec![0; 64]),
        ((0x0028, 0x3000), b"SQ", item(0, b"")),
    ];
    let mut made: Vec<Vec<u8>> = elements.map(|(tag, vr, value)| with(tag, vr, value)).to_vec();
    let mut tall = SliceFile::new(1);
    tall.set((0x0028, 0x0010), b"US", 100u16.to_le_bytes().to_vec())
        .set((0x0028, 0x0011), b"US", 100u16.to_le_bytes().to_vec())
        .set((0x7FE0, 0x0010), b"OW", vec![3; 20_000]);
    made.extend([behind, scattered, encapsulated(), multi_frame(true), multi_frame(false), tall.bytes()]);
    made
}

#[test]
fn made_files_give_the_same_record_cut_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = HeaderReader::default();
    for (number, bytes) in made().into_iter().enumerate() {
        let ends = (0..bytes.len()).step_by(bytes.len() / 97 + 1).chain([bytes.len() - 1, bytes.len()]);
        for end in ends {
            let (header, whole) = both(&mut reader, &written(&folder, &bytes[..end]));
            assert_eq!(header, whole, "file {number}, cut at {end} of {}", bytes.len());
        }
    }
}

#[test]
fn pixels_and_long_values_are_stepped_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = HeaderReader::default();
    let read = |bytes: &[u8], reader: &mut HeaderReader| reader.read(&written(&folder, bytes)).unwrap();
    for (number, bytes) in made().into_iter().enumerate() {
        // The fifth has no SOPInstanceUID.
        assert_eq!(is_header_alone(&read(&bytes, &mut reader)), number != 4, "file {number}");
    }
}

#[test]
fn a_size_that_no_file_has_is_a_reject_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = SliceFile::new(1).bytes();
    let length = bytes.len() - 32;
    bytes[length - 4..length].copy_from_slice(&0xFFFF_FFF0u32.to_le_bytes());
    bytes.resize(1024, 0);
    let mut reader = HeaderReader::default();
    let (header, whole) = both(&mut reader, &written(&folder, &bytes));
    assert_eq!(header, whole);
    let Record::Instance(instance) = header else { panic!("an instance expected") };
    // What is there would do for the four by four pixels.
    assert_eq!(instance.refusal, None);
    let mut lie = SliceFile::new(1);
    lie.set((0x0028, 0x0010), b"US", vec![0xFF; 2]).set((0x0028, 0x0011), b"US", vec![0xFF; 2]);
    let (header, whole) = both(&mut reader, &lie.write(folder.path(), "lie"));
    assert_eq!(header, whole);
    let Record::Instance(instance) = header else { panic!("an instance expected") };
    assert_eq!(instance.refusal.as_deref(), Some("TRUNCATED"));
}

/// Every real file up to a size, and the made ones.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = made();
    let files = samples().map(|folder| walk(&folder).unwrap()).unwrap_or_default();
    let small = files.iter().filter(|file| file.size < 200_000);
    seeds.extend(small.filter_map(|file| std::fs::read(&file.path).ok()));
    seeds
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_seen_alike(
        seed in any::<prop::sample::Index>(),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        removed in prop::option::weighted(0.3, (any::<prop::sample::Index>(), 1usize..40)),
        flips in prop::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(0xFF), Just(0)], 0u8..4), 0..6),
    ) {
        static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(seeds);
        let mut bytes = seed.get(&SEEDS[..]).clone();
        if let Some((at, length)) = removed {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            bytes.drain(at..(at + length).min(bytes.len()));
        }
        for (place, value, where_to) in flips {
            let reach = match where_to {
                0 => bytes.len(),
                1 => bytes.len().min(9000),
                _ => bytes.len().min(1500),
            };
            if reach > 0 {
                bytes[place.index(reach)] = value;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        let folder = tempfile::tempdir().unwrap();
        let (header, whole) = both(&mut HeaderReader::default(), &written(&folder, &bytes));
        prop_assert_eq!(header, whole);
    }
}
