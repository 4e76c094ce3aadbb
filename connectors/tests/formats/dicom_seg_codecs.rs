//! SEG objects that are compressed: as a whole, or frame by frame; `data/make.py` made the streams.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::volumes::seg::header;
use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_object::open_file;
use dicom_transfer_syntax_registry::entries;
use flate2::{Compression, write::DeflateEncoder};
use tomoflow_connectors::dicom_seg::{Algorithm, Encoding, SegmentText, read, record, write};
use tomoflow_connectors::{Geometry, LabelMap};

const SIZE: [usize; 3] = [1, 37, 53];

/// The label of each pixel, up to `labels`, as in `data/make.py`.
fn picture(labels: usize) -> LabelMap {
    let label = |at: usize| ((at / SIZE[2] / 5 + at % SIZE[2] / 7) % (labels + 1)) as u16;
    let grid = Geometry::axis_aligned(SIZE, [2.0, 0.5, 0.5]);
    LabelMap::new(grid, (0..SIZE[1] * SIZE[2]).map(label).collect()).unwrap()
}

fn written(folder: &Path, labels: usize, encoding: Encoding) -> PathBuf {
    let path = folder.join("seg.dcm");
    let algorithm = Algorithm::Automatic { name: "net".to_owned(), version: "1".to_owned() };
    let text = |label| SegmentText::new(label, &format!("label {label}"), algorithm.clone());
    let texts: Vec<SegmentText> = (1..=labels as u16).map(text).collect();
    write(&path, &header(1), &picture(labels), &texts, encoding).unwrap();
    path
}

fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    let mut stream = encoder.finish().unwrap();
    stream.resize(stream.len().next_multiple_of(2), 0);
    stream
}

/// The same object with a compressed frame in the place of the one that there is; its transfer syntax is put in as text,
/// as long as JPEG 2000's or shorter.
fn replaced(plain: &Path, stream: Vec<u8>, syntax: &str) -> PathBuf {
    let path = plain.with_file_name("packed.dcm");
    let mut object = open_file(plain).unwrap();
    let fragments = PixelFragmentSequence::new_fragments(vec![stream]);
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
    object.meta_mut().set_transfer_syntax(&entries::JPEG_2000_IMAGE_COMPRESSION_LOSSLESS_ONLY);
    object.write_to_file(&path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let known = b"1.2.840.10008.1.2.4.90";
    let at = bytes.windows(known.len()).position(|run| run == known).unwrap();
    bytes[at..at + known.len()].fill(0);
    bytes[at..at + syntax.len()].copy_from_slice(syntax.as_bytes());
    std::fs::write(&path, bytes).unwrap();
    path
}

const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";
const FRAMES: &str = "1.2.840.10008.1.2.8.1";

#[test]
fn a_deflated_object_is_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for encoding in [Encoding::Binary, Encoding::LabelMap] {
        let path = written(folder.path(), 2, encoding);
        let (seg, kept) = (read(&path).unwrap(), record(&std::fs::read(&path).unwrap()).unwrap());
        let mut object = open_file(&path).unwrap();
        object.meta_mut().set_transfer_syntax(&entries::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN);
        object.write_to_file(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(7).any(|run| run == b"label 1"), "it is not deflated");
        assert_eq!(read(&path).unwrap(), seg);
        let found = record(&bytes).unwrap();
        assert_eq!((found.structures, found.sop_uid), (kept.structures, kept.sop_uid));
        // A stream that breaks off is no smaller segmentation.
        std::fs::write(&path, &bytes[..bytes.len() * 2 / 3]).unwrap();
        assert!(read(&path).is_err());
    }
}

#[test]
fn frames_of_jpeg_2000_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for (labels, encoding, stream) in
        [(2, Encoding::LabelMap, "seg_jpeg2000_8.stream"), (1, Encoding::Binary, "seg_jpeg2000_1.stream")]
    {
        let path = written(folder.path(), labels, encoding);
        let seg = read(&path).unwrap();
        let stream = data(stream);
        let mut even = stream.clone();
        even.resize(stream.len().next_multiple_of(2), 0);
        assert_eq!(read(&replaced(&path, even, JPEG_2000)).unwrap(), seg);
        let half = stream[..stream.len() / 4 * 2].to_vec();
        assert_eq!(read(&replaced(&path, half, JPEG_2000)).unwrap_err().code, "DECODE_FAILED");
    }
}

#[test]
fn frames_that_are_deflated_each_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for (labels, encoding) in [(2, Encoding::LabelMap), (1, Encoding::Binary)] {
        let path = written(folder.path(), labels, encoding);
        let seg = read(&path).unwrap();
        let object = open_file(&path).unwrap();
        let pixels = object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
        let area = SIZE[1] * SIZE[2];
        let length = if labels == 1 { area.div_ceil(8) } else { area };
        assert_eq!(read(&replaced(&path, deflated(&pixels[..length]), FRAMES)).unwrap(), seg);
        // There are fewer pixels than the frame has, and more.
        let long = [&pixels[..length], &[0; 4]].concat();
        for wrong in [&pixels[..length - 1], &long] {
            let packed = replaced(&path, deflated(wrong), FRAMES);
            assert_eq!(read(&packed).unwrap_err().code, "DECODE_FAILED");
        }
    }
}

#[test]
fn bits_that_no_standard_packs_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), 1, Encoding::Binary);
    for syntax in ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80"] {
        let packed = replaced(&path, vec![0; 64], syntax);
        assert_eq!(read(&packed).unwrap_err().code, "UNSUPPORTED_TRANSFER_SYNTAX");
    }
}
