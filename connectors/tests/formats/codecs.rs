//! Compressed frames against their reference decoders: golden streams (`data/make.py`), and real files.

use std::path::{Path, PathBuf};

use crate::files::{SliceFile, samples};
use tomoflow_connectors::Geometry;
use tomoflow_connectors::dicom::inspect::statistics;
use tomoflow_connectors::dicom::{HeaderReader, Record, load_scan, read_record, walk};

const SIZE: [usize; 2] = [37, 53];

fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

/// A file whose only frame is a compressed stream.
fn file(stream: &[u8], transfer_syntax: &str, bits: u16) -> Vec<u8> {
    let word = |value: u16| value.to_le_bytes().to_vec();
    let mut file = SliceFile::new(1);
    file.set((0x0028, 0x0010), b"US", word(SIZE[0] as u16))
        .set((0x0028, 0x0011), b"US", word(SIZE[1] as u16))
        .set((0x0028, 0x0100), b"US", word(if bits > 8 { 16 } else { 8 }))
        .set((0x0028, 0x0101), b"US", word(bits))
        .set((0x0028, 0x0102), b"US", word(bits - 1));
    let mut stream = stream.to_vec();
    stream.resize(stream.len().next_multiple_of(2), 0);
    file.in_fragments(&stream, transfer_syntax)
}

/// The voxels of a file of one frame.
fn decode(path: &Path, [rows, columns]: [usize; 2]) -> Result<Vec<f32>, String> {
    let geometry = Geometry::axis_aligned([1, rows, columns], [1.0; 3]);
    let scan = load_scan(&geometry, &[(path.to_owned(), 0)]).map_err(|reject| reject.to_string())?;
    Ok(scan.voxels().to_vec())
}

#[test]
fn golden_streams_decode_to_their_samples() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.dcm");
    let cases = [
        ("jpegls", "1.2.840.10008.1.2.4.80", &[8, 12, 16][..], 0.0),
        ("jpegls_near", "1.2.840.10008.1.2.4.81", &[8, 16], 0.0),
        ("jpegls_restart", "1.2.840.10008.1.2.4.80", &[8, 16], 0.0),
        ("jpeg2000", "1.2.840.10008.1.2.4.90", &[8, 12, 16], 0.0),
        ("jpeg2000_signed", "1.2.840.10008.1.2.4.90", &[16], 0.0),
        ("htj2k", "1.2.840.10008.1.2.4.201", &[8, 12, 16], 0.0),
        ("htj2k_signed", "1.2.840.10008.1.2.4.202", &[16], 0.0),
        ("jpegxl", "1.2.840.10008.1.2.4.110", &[8, 12, 16], 0.0),
        // Decoders may round the wavelet and the cosine transform differently.
        ("jpeg2000_lossy", "1.2.840.10008.1.2.4.91", &[16], 2.0),
        ("jpeg", "1.2.840.10008.1.2.4.51", &[12], 1.0),
        ("jpeg_restart", "1.2.840.10008.1.2.4.50", &[8], 2.0),
    ];
    let mut checked = 0;
    for (name, transfer_syntax, depths, tolerance) in cases {
        for &bits in depths {
            let stream = data(&format!("{name}_{bits}.stream"));
            std::fs::write(&path, file(&stream, transfer_syntax, bits)).unwrap();
            let wanted = data(&format!("{name}_{bits}.samples"));
            let wanted = wanted.as_chunks::<2>().0.iter().map(|&word| f32::from(u16::from_le_bytes(word)));
            let found = decode(&path, SIZE).unwrap_or_else(|error| panic!("{name}_{bits}: {error}"));
            let apart = found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart <= tolerance, "{name}_{bits}: {apart} apart");
            checked += 1;
        }
    }
    assert_eq!(checked, 21);
}

#[test]
fn jpeg_2000_without_length_or_end_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.dcm");
    let decoded = |stream: &[u8]| {
        std::fs::write(&path, file(stream, "1.2.840.10008.1.2.4.90", 16)).unwrap();
        decode(&path, SIZE)
    };
    for name in ["jpeg2000_16", "htj2k_16"] {
        let whole = data(&format!("{name}.stream"));
        let wanted = decoded(&whole).unwrap();
        let unended = whole.strip_suffix(&[0xFF, 0xD9]).unwrap();
        let part = whole.windows(4).position(|four| four == [0xFF, 0x90, 0, 10]).unwrap();
        let mut open = whole.clone();
        open[part + 6..part + 10].fill(0);
        for stream in [unended, &open] {
            assert!(decoded(stream).unwrap() == wanted, "{name}");
        }
        // The stream does not tell then whether it is all there.
        let cut = open.strip_suffix(&[0xFF, 0xD9]).unwrap();
        for stream in [cut, &unended[..unended.len() - 1]] {
            assert!(decoded(stream).unwrap_err().contains("ends early"), "{name}");
        }
    }
}

#[test]
fn damaged_streams_are_refused_and_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.dcm");
    let syntaxes = [
        ("jpegls_8", "1.2.840.10008.1.2.4.80", 8),
        ("jpegls_near_16", "1.2.840.10008.1.2.4.81", 16),
        ("jpegls_restart_16", "1.2.840.10008.1.2.4.80", 16),
        ("jpeg_12", "1.2.840.10008.1.2.4.51", 12),
        ("jpeg_restart_8", "1.2.840.10008.1.2.4.50", 8),
        ("jpegxl_8", "1.2.840.10008.1.2.4.110", 8),
        ("jpeg2000_16", "1.2.840.10008.1.2.4.90", 16),
        ("htj2k_8", "1.2.840.10008.1.2.4.203", 8),
    ];
    for (name, transfer_syntax, bits) in syntaxes {
        let stream = data(&format!("{name}.stream"));
        for step in 0..60 {
            let mut broken = stream.clone();
            let at = step * stream.len() / 60;
            match step % 3 {
                0 => broken.truncate(at),
                1 => broken[at] ^= 0xFF,
                _ => broken[at..].fill(0xFF),
            }
            std::fs::write(&path, file(&broken, transfer_syntax, bits)).unwrap();
            // The stream may be decoded to something else, or refused: both are answers.
            drop(decode(&path, SIZE));
        }
        std::fs::write(&path, file(&stream[..stream.len() / 2], transfer_syntax, bits)).unwrap();
        if !name.starts_with("jpegxl") {
            assert!(decode(&path, SIZE).unwrap_err().starts_with("DECODE_FAILED"), "{name}");
        }
    }
}

#[test]
fn samples_that_are_missing_are_never_filled_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.dcm");
    let cases = [
        ("jpeg_restart_8", "1.2.840.10008.1.2.4.50", 8),
        ("jpeg_12", "1.2.840.10008.1.2.4.51", 12),
        ("jpegls_restart_8", "1.2.840.10008.1.2.4.80", 8),
        ("jpegls_8", "1.2.840.10008.1.2.4.80", 8),
    ];
    let refused = |stream: &[u8], transfer_syntax, bits| {
        std::fs::write(&path, file(stream, transfer_syntax, bits)).unwrap();
        decode(&path, SIZE).unwrap_err().starts_with("DECODE_FAILED")
    };
    for (name, transfer_syntax, bits) in cases {
        let stream = data(&format!("{name}.stream"));
        let cut = &stream[..stream.len() * 4 / 5];
        // An end is an end of the stream, not of the picture.
        let ended = [cut, &[0xFF, 0xD9]].concat();
        assert!(refused(cut, transfer_syntax, bits) && refused(&ended, transfer_syntax, bits), "{name}");
        let marker = |number: u8| stream.windows(2).position(|pair| pair == [0xFF, 0xD0 + number]);
        if let (true, Some(first), Some(second)) = (name.contains("restart"), marker(0), marker(1)) {
            let lost = [&stream[..first], &stream[second..]].concat();
            let swapped = [&stream[..first], &[0xFF, 0xD5], &stream[first + 2..]].concat();
            assert!(
                refused(&lost, transfer_syntax, bits) && refused(&swapped, transfer_syntax, bits),
                "{name}"
            );
        }
    }
    // The last interval alone is cut, where no marker is missed.
    let open = data("jpeg_restart_8.stream");
    let interval = open.windows(4).position(|four| four == [0xFF, 0xDD, 0, 4]).unwrap();
    let cut = [&open[..interval], &open[interval + 6..open.len() / 2]].concat();
    let first = cut.windows(2).position(|pair| pair == [0xFF, 0xD0]).unwrap();
    let ended = [&cut[..first], &[0xFF, 0xD9]].concat();
    assert!(refused(&ended, "1.2.840.10008.1.2.4.50", 8));
}

#[test]
fn what_has_no_decoder_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.dcm");
    // The syntaxes are MPEG-4, a lossless JPEG in 32 bits, and somebody's own.
    for transfer_syntax in ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.95", "1.2.3.4"] {
        std::fs::write(&path, file(b"stream", transfer_syntax, 8)).unwrap();
        for record in [read_record(&path).unwrap(), HeaderReader::default().read(&path).unwrap()] {
            let Record::Instance(instance) = record else { panic!("an instance expected") };
            assert_eq!(instance.refusal.as_deref(), Some("UNSUPPORTED_TRANSFER_SYNTAX"));
        }
    }
}

/// A real file, with its class changed to one that is no secondary capture.
fn as_mr(path: &Path, folder: &Path) -> PathBuf {
    let mut bytes = std::fs::read(path).unwrap();
    for at in 0..bytes.len() - 26 {
        if bytes[at..].starts_with(b"1.2.840.10008.5.1.4.1.1.7\0") {
            bytes[at + 24] = b'4';
        }
    }
    let copy = folder.join("copy.dcm");
    std::fs::write(&copy, bytes).unwrap();
    copy
}

#[test]
fn real_files_decode_to_their_samples() {
    let Some(root) = samples() else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = walk(&root).unwrap();
    let find = |name: &str| &files.iter().find(|file| file.path.ends_with(name)).unwrap().path;
    let lossless = [
        (
            "MR_small_jpeg_ls_lossless.dcm",
            [64, 64],
            "88617aaa46138fb1b6e2a951e762d962382354d69f47f8c04d4abff2f6a6a63e",
        ),
        ("JLSL_16_15_1_1F.dcm", [128, 128], ""),
    ];
    for (name, size, digest) in lossless {
        let copy = as_mr(find(name), folder.path());
        let found = statistics(&[(copy, 0)], size).unwrap();
        if digest.is_empty() {
            // The samples have fifteen bits with a sign.
            assert_eq!((found.min, found.max), (-16384.0, 16383.0));
            assert!((found.mean - -4_043.623_962).abs() < 1e-3);
        } else {
            assert_eq!(found.sha256_stored, digest);
        }
    }
    let extended = as_mr(find("JPGExtended.dcm"), folder.path());
    let found = statistics(&[(extended, 0)], [1024, 256]).unwrap();
    assert!((found.mean - 14.383_038).abs() < 0.05, "{found:?}");
    assert!(found.min == 0.0 && (found.max - 264.0).abs() <= 2.0, "{found:?}");
}
