//! Small files that claim gigabytes, one for every reader: refused by name, without room for what they claim.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::files::{SliceFile, element};
use tomoflow_connectors::dicom::{HeaderReader, Record, load_scan, read_record};
use tomoflow_connectors::dicom_seg::{self, Algorithm, Encoding, SegmentText};
use tomoflow_connectors::rtstruct::read_structures;
use tomoflow_connectors::{Geometry, LabelMap, container, metaimage, nifti, nrrd};

/// The bytes that reading a few kilobytes may ask for at once.
const LARGE: usize = 8 << 20;
const GIGABYTES: u32 = 0xFFFF_FFF0;

const ROWS: (u16, u16) = (0x0028, 0x0010);
const COLUMNS: (u16, u16) = (0x0028, 0x0011);
const FRAMES: (u16, u16) = (0x0028, 0x0008);
const SIDE: [u8; 2] = [0xFF, 0xFF];

/// A reader, and the code of its refusal.
type Reader = fn(&Path) -> String;

/// One lie: what it is, the file, and the code by which the reader must refuse it.
#[derive(Clone)]
struct Lie {
    what: &'static str,
    name: &'static str,
    bytes: Vec<u8>,
    read: Reader,
    code: &'static str,
}

#[test]
fn a_lie_of_gigabytes_is_refused_by_name_and_takes_no_room() {
    let _alone = crate::noting::alone();
    let folder = tempfile::tempdir().unwrap();
    let lies = [images(), compressed(), deflated(), outlines(), segments(), volumes(), containers()].concat();
    assert_eq!(lies.len(), 32);
    for Lie { what, name, bytes, read, code } in lies {
        assert!(bytes.len() < 4096, "{what}: {} bytes", bytes.len());
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        crate::noting::begin();
        let found = read(&path);
        let largest = crate::noting::largest();
        assert_eq!(found, code, "{what}");
        assert!(largest < LARGE, "{what}: {largest} bytes at once");
        std::fs::remove_file(&path).unwrap();
    }
}

/// The refusal in an image's record, whichever way it is read.
fn image(path: &Path) -> String {
    let refusal = |record: Record| match record {
        Record::Instance(instance) => instance.refusal.unwrap_or_default(),
        Record::Skip { code } => code,
        Record::Outlines(_) => "outlines".to_owned(),
        Record::Image(_) | Record::Read { .. } => "another format".to_owned(),
    };
    let whole = refusal(read_record(path).unwrap());
    assert_eq!(refusal(HeaderReader::default().read(path).unwrap()), whole);
    whole
}

/// The refusal of an image's pixels.
fn pixels(path: &Path) -> String {
    let geometry = Geometry::axis_aligned([1, 4, 4], [1.0; 3]);
    load_scan(&geometry, &[(path.to_owned(), 0)]).map_or_else(|reject| reject.code, |_| "read".to_owned())
}

fn lie(what: &'static str, bytes: Vec<u8>, read: Reader, code: &'static str) -> Lie {
    Lie { what, name: "file", bytes, read, code }
}

/// The tag, representation and value of an element.
type Element<'e> = ((u16, u16), &'e [u8; 2], &'e [u8]);

/// A slice with some elements replaced.
fn slice(elements: &[Element<'_>]) -> SliceFile {
    let mut file = SliceFile::new(1);
    for (tag, vr, value) in elements {
        file.set(*tag, vr, value.to_vec());
    }
    file
}

/// The file with another length for its last element, the pixel data of `value` bytes.
fn with_length(mut bytes: Vec<u8>, value: usize, length: u32) -> Vec<u8> {
    let at = bytes.len() - value - 4;
    bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    bytes
}

fn images() -> Vec<Lie> {
    let large = slice(&[(ROWS, b"US", &SIDE), (COLUMNS, b"US", &SIDE)]).bytes();
    let many = slice(&[(FRAMES, b"IS", b"2147483647")]).bytes();
    let both =
        slice(&[(ROWS, b"US", &SIDE), (COLUMNS, b"US", &SIDE), (FRAMES, b"IS", b"2147483647")]).bytes();
    let long = with_length(slice(&[]).bytes(), 32, GIGABYTES);
    let mut name = slice(&[]).bytes();
    name.extend([0xE1, 0x7F, 0x10, 0x00, b'U', b'T', 0, 0]);
    name.extend(GIGABYTES.to_le_bytes());
    vec![
        lie("a side", large.clone(), image, "TRUNCATED"),
        lie("a side, decoded", large, pixels, "TRUNCATED"),
        lie("frames", many, image, "TRUNCATED"),
        lie("frames of a side", both, image, "TRUNCATED"),
        lie("long pixel data", long, image, ""),
        lie("a long element behind", name, image, ""),
    ]
}

/// A slice in fragments: an empty table of offsets, and one of these bytes.
fn fragmented(transfer_syntax: &str, bits: u8, file: &SliceFile, stream: &[u8]) -> Vec<u8> {
    let mut file = file.clone();
    file.set((0x0028, 0x0100), b"US", vec![bits, 0]).set((0x0028, 0x0101), b"US", vec![bits, 0]).set(
        (0x0028, 0x0102),
        b"US",
        vec![bits - 1, 0],
    );
    file.in_fragments(stream, transfer_syntax)
}

fn stream(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::read(folder.join(name)).unwrap()
}

/// Streams of 37 × 53 samples, where the file says 4 × 4; the last ones claim another size themselves.
fn compressed() -> Vec<Lie> {
    const RLE: &str = "1.2.840.10008.1.2.5";
    const JPEG_12: &str = "1.2.840.10008.1.2.4.51";
    const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
    const JPEG_2000: &str = "1.2.840.10008.1.2.4.201";
    const JPEG_XL: &str = "1.2.840.10008.1.2.4.110";
    let large = slice(&[(ROWS, b"US", &SIDE), (COLUMNS, b"US", &SIDE)]);
    let many = slice(&[(FRAMES, b"IS", b"2147483647")]);
    let mut long = fragmented(RLE, 8, &slice(&[]), &[0; 80]);
    let at = long.len() - 8 - 80 - 4;
    long[at..at + 4].copy_from_slice(&GIGABYTES.to_le_bytes());
    // The size stands in the marker segment that begins so.
    let sized = |name: &str, marker: &[u8], at: usize| {
        let mut stream = stream(name);
        let start = stream.windows(marker.len()).position(|run| run == marker).unwrap() + marker.len();
        let width = if marker == [0xFF, 0x51] { 4 } else { 2 };
        for side in [at, at + width] {
            stream[start + side + width - 2..start + side + width].fill(0xFF);
        }
        stream
    };
    let of = |transfer_syntax, bits, stream: &[u8]| fragmented(transfer_syntax, bits, &slice(&[]), stream);
    let refused = "DECODE_FAILED";
    vec![
        lie("RLE of a side", fragmented(RLE, 8, &large, &[0; 80]), image, "IMPLAUSIBLE_SIZE"),
        lie("RLE of many frames", fragmented(RLE, 8, &many, &[0; 80]), image, "TRUNCATED"),
        lie("a long fragment", long, image, "TRUNCATED"),
        lie("JPEG", of(JPEG_12, 16, &sized("jpeg_12.stream", &[0xFF, 0xC1], 3)), pixels, refused),
        lie("JPEG-LS", of(JPEG_LS, 8, &sized("jpegls_8.stream", &[0xFF, 0xF7], 3)), pixels, refused),
        lie("JPEG 2000", of(JPEG_2000, 8, &sized("htj2k_8.stream", &[0xFF, 0x51], 4)), pixels, refused),
        lie("JPEG XL", of(JPEG_XL, 8, &stream("jpegxl_8.stream")), pixels, refused),
    ]
}

/// A slice of which nearly nothing is stored: its data set packed, as its transfer syntax says.
fn deflated() -> Vec<Lie> {
    let pack = |file: &SliceFile, behind: &[u8]| {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&file.dataset()).unwrap();
        encoder.write_all(behind).unwrap();
        let mut bytes = [vec![0; 128], b"DICM".to_vec()].concat();
        bytes.extend(element((0x0002, 0x0010), b"UI", b"1.2.840.10008.1.2.1.99"));
        bytes.extend(encoder.finish().unwrap());
        bytes
    };
    let large = slice(&[(ROWS, b"US", &SIDE), (COLUMNS, b"US", &SIDE)]);
    let one = [1, 0];
    let count = 2_000_000;
    let dots = slice(&[
        (FRAMES, b"IS", count.to_string().as_bytes()),
        (ROWS, b"US", &one),
        (COLUMNS, b"US", &one),
        ((0x0028, 0x0100), b"US", &[8, 0]),
        ((0x0028, 0x0101), b"US", &[8, 0]),
        ((0x0028, 0x0102), b"US", &[7, 0]),
        ((0x7FE0, 0x0010), b"OW", &vec![0; count]),
    ]);
    vec![
        lie("packed frames of one pixel", pack(&dots, &[]), image, "IMPLAUSIBLE_SIZE"),
        lie("a packed side", pack(&large, &[]), image, "TRUNCATED"),
        lie("a packed bomb", pack(&large, &vec![0; 2 << 20]), image, "TRUNCATED"),
    ]
}

fn outlines() -> Vec<Lie> {
    let read: Reader = |path| read_structures(path).map_or_else(|reject| reject.code, |_| "read".to_owned());
    let mut bytes = [vec![0; 128], b"DICM".to_vec()].concat();
    bytes.extend(element((0x0002, 0x0010), b"UI", b"1.2.840.10008.1.2.1"));
    bytes.extend(element((0x0008, 0x0016), b"UI", b"1.2.840.10008.5.1.4.1.1.481.3"));
    bytes.extend(element((0x3006, 0x0020), b"SQ", b""));
    let mut sequence = bytes.clone();
    sequence.extend([0x06, 0x30, 0x39, 0x00, b'S', b'Q', 0, 0]);
    sequence.extend(GIGABYTES.to_le_bytes());
    let mut item = bytes;
    item.extend([0x06, 0x30, 0x39, 0x00, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    item.extend([0xFE, 0xFF, 0x00, 0xE0]);
    item.extend(GIGABYTES.to_le_bytes());
    vec![lie("a long sequence", sequence, read, "TRUNCATED"), lie("a long item", item, read, "TRUNCATED")]
}

fn segments() -> Vec<Lie> {
    let read: Reader = |path| dicom_seg::read(path).map_or_else(|reject| reject.code, |_| "read".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg.dcm");
    let labels = LabelMap::new(Geometry::axis_aligned([3, 2, 3], [2000.0, 2.0, 2.0]), vec![1; 18]).unwrap();
    let text = SegmentText::new(1, "one", Algorithm::Manual);
    let written = |encoding| {
        dicom_seg::write(
            &path,
            &crate::volumes::seg::header(3),
            &labels,
            std::slice::from_ref(&text),
            encoding,
        )
        .unwrap();
        std::fs::read(&path).unwrap()
    };
    let replaced = |mut bytes: Vec<u8>, from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|run| run == from).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let side = |bytes: Vec<u8>| {
        let rows = replaced(bytes, b"\x28\0\x10\0US\x02\0\x02\0", b"\x28\0\x10\0US\x02\0\xFF\xFF");
        replaced(rows, b"\x28\0\x11\0US\x02\0\x03\0", b"\x28\0\x11\0US\x02\0\xFF\xFF")
    };
    let far = replaced(written(Encoding::Binary), b"0\\0\\4000", b"0\\0\\4e09");
    vec![
        lie("bits of a side", side(written(Encoding::Binary)), read, "TRUNCATED"),
        lie("labels of a side", side(written(Encoding::LabelMap)), read, "TRUNCATED"),
        lie("a slice far away", far, read, "IMPLAUSIBLE_SIZE"),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The answer of a reader of volumes, as a scan and as a label map.
fn either<A, B>(
    path: &Path,
    scan: impl Fn(&Path) -> Result<A, tomoflow_connectors::Reject>,
    labels: impl Fn(&Path) -> Result<B, tomoflow_connectors::Reject>,
) -> String {
    let code = scan(path).err().map_or_else(|| "read".to_owned(), |reject| reject.code);
    assert_eq!(labels(path).err().map(|reject| reject.code).as_ref(), Some(&code));
    code
}

fn volumes() -> Vec<Lie> {
    let read_nifti: Reader = |path| either(path, nifti::read_scan, nifti::read_labels);
    let read_metaimage: Reader = |path| either(path, metaimage::read_scan, metaimage::read_labels);
    let read_nrrd: Reader = |path| either(path, nrrd::read_scan, nrrd::read_labels);
    let mut header = vec![0; 352];
    header[..4].copy_from_slice(&348i32.to_le_bytes());
    for (at, n) in [3i16, 2000, 2000, 1000, 1, 1, 1, 1].iter().enumerate() {
        header[40 + 2 * at..42 + 2 * at].copy_from_slice(&n.to_le_bytes());
    }
    header[70..72].copy_from_slice(&2i16.to_le_bytes());
    for axis in 0..8 {
        header[76 + 4 * axis..80 + 4 * axis].copy_from_slice(&1f32.to_le_bytes());
    }
    header[344..348].copy_from_slice(b"n+1\0");
    let mut far = header.clone();
    far[108..112].copy_from_slice(&1e9f32.to_le_bytes());
    let meta = |packed: &str, voxels: &[u8]| {
        let text = format!(
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = {packed}\nDimSize = 2000 2000 1000\n\
             ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
        );
        [text.as_bytes(), voxels].concat()
    };
    let nrrd = |encoding: &str, voxels: &[u8]| {
        let text =
            format!("NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2000 2000 1000\nencoding: {encoding}\n\n");
        [text.as_bytes(), voxels].concat()
    };
    let named = |lie: Lie, name| Lie { name, ..lie };
    let packed = gzip(&[0; 600]);
    let implausible = "IMPLAUSIBLE_SIZE";
    vec![
        lie("NIfTI", header.clone(), read_nifti, "TRUNCATED"),
        lie("NIfTI, far away", far.clone(), read_nifti, "TRUNCATED"),
        named(lie("packed NIfTI", gzip(&header), read_nifti, implausible), "a.nii.gz"),
        named(lie("packed NIfTI, far away", gzip(&far), read_nifti, implausible), "b.nii.gz"),
        lie("MetaImage", meta("False", &[0; 600]), read_metaimage, "TRUNCATED"),
        lie("packed MetaImage", meta("True", &packed), read_metaimage, implausible),
        lie("NRRD", nrrd("raw", &[0; 600]), read_nrrd, "TRUNCATED"),
        lie("packed NRRD", nrrd("gzip", &packed), read_nrrd, implausible),
    ]
}

/// The outcome of reading the first member of a container.
fn member(path: &Path) -> String {
    let first: std::io::Result<PathBuf> = container::members(path).map(|all| all[0].path.clone());
    match first.and_then(|first| container::read(&first)) {
        Ok(_) => "read".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn containers() -> Vec<Lie> {
    let mut header = tar::Header::new_gnu();
    header.set_path("a").unwrap();
    header.set_size(u64::from(GIGABYTES));
    header.set_cksum();
    let tar = [header.as_bytes().as_slice(), &[0; 1024]].concat();
    let zipped = |method| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.start_file("a", zip::write::SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(&[7; 100]).unwrap();
        let mut bytes = zip.finish().unwrap().into_inner();
        let central = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        for at in [22, central + 24] {
            bytes[at..at + 4].copy_from_slice(&GIGABYTES.to_le_bytes());
        }
        bytes
    };
    let named = |lie: Lie, name| Lie { name, ..lie };
    vec![
        named(lie("tar", tar, member, "InvalidData"), "a.tar"),
        named(lie("zip", zipped(zip::CompressionMethod::Deflated), member, "InvalidData"), "a.zip"),
        named(lie("stored zip", zipped(zip::CompressionMethod::Stored), member, "InvalidData"), "b.zip"),
    ]
}
