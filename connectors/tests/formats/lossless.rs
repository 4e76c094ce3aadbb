//! Lossless JPEG: what an encoder writes by the standard comes out as it went in, whatever it chose.

use std::path::Path;

use crate::files::SliceFile;
use crate::jpeg::{Writing, encode};
use proptest::prelude::*;
use tomoflow_connectors::Geometry;
use tomoflow_connectors::dicom::load_scan;

const ANY: &str = "1.2.840.10008.1.2.4.57";
const FIRST_ORDER: &str = "1.2.840.10008.1.2.4.70";

/// Writes a file whose only frame is the stream.
fn write(path: &Path, stream: &[u8], [rows, columns]: [usize; 2], bits: u8, transfer_syntax: &str) {
    let word = |value: u16| value.to_le_bytes().to_vec();
    let mut file = SliceFile::new(1);
    file.set((0x0028, 0x0010), b"US", word(rows as u16))
        .set((0x0028, 0x0011), b"US", word(columns as u16))
        .set((0x0028, 0x0100), b"US", word(if bits > 8 { 16 } else { 8 }))
        .set((0x0028, 0x0101), b"US", word(bits.into()))
        .set((0x0028, 0x0102), b"US", word(u16::from(bits) - 1));
    let mut stream = stream.to_vec();
    stream.resize(stream.len().next_multiple_of(2), 0);
    std::fs::write(path, file.in_fragments(&stream, transfer_syntax)).unwrap();
}

/// The frame's voxels.
fn decode(path: &Path, [rows, columns]: [usize; 2]) -> Result<Vec<u16>, String> {
    let geometry = Geometry::axis_aligned([1, rows, columns], [1.0; 3]);
    let scan = load_scan(&geometry, &[(path.to_owned(), 0)]).map_err(|reject| reject.to_string())?;
    Ok(scan.voxels().iter().map(|&voxel| voxel as u16).collect())
}

fn writings() -> impl Strategy<Value = Writing> {
    (2u8..=16, 1u8..=7, 0usize..5, any::<bool>()).prop_flat_map(
        |(precision, predictor, lines, long_codes)| {
            // Mostly nothing is left out, and never all.
            prop_oneof![3 => Just(0), 1 => 0..precision].prop_map(move |left_out| Writing {
                precision,
                predictor,
                left_out,
                lines,
                long_codes,
            })
        },
    )
}

/// Noise over all that the precision allows, and edges from nothing to everything.
fn samples(size: [usize; 2], precision: u8, seed: u64) -> Vec<u16> {
    let largest = ((1u32 << precision) - 1) as u16;
    let mut state = seed | 1;
    (0..size[0] * size[1])
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = (state >> 48) as u16 & largest;
            match state >> 40 & 7 {
                0 => 0,
                1 => largest,
                2..=4 => (largest / 2) ^ (noise & 3),
                _ => noise,
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, ..ProptestConfig::default() })]

    #[test]
    fn samples_come_out_as_they_went_in(
        writing in writings(),
        rows in 1usize..24,
        columns in 1usize..24,
        seed in any::<u64>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.dcm");
        let size = [rows, columns];
        let wanted = samples(size, writing.precision, seed);
        write(&path, &encode(&wanted, size, writing), size, writing.precision, ANY);
        let wanted: Vec<u16> =
            wanted.iter().map(|sample| sample >> writing.left_out << writing.left_out).collect();
        prop_assert_eq!(decode(&path, size).unwrap(), wanted);
    }

    #[test]
    fn damaged_streams_never_panic(writing in writings(), at in 0usize..2000, with in any::<u8>(), kind in 0..3) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.dcm");
        let size = [13, 17];
        let mut stream = encode(&samples(size, writing.precision, 7), size, writing);
        let at = at % stream.len();
        match kind {
            0 => stream[at] = with,
            1 => stream.truncate(at),
            _ => stream[at..].fill(with),
        }
        write(&path, &stream, size, writing.precision, ANY);
        // Decoded to something else or refused: both are answers.
        drop(decode(&path, size));
    }
}

const PLAIN: Writing = Writing { precision: 12, predictor: 1, left_out: 0, lines: 0, long_codes: false };

#[test]
fn every_predictor_and_precision_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.dcm");
    let size = [11, 9];
    for precision in 2..=16 {
        for predictor in 1..=7 {
            for lines in [0, 1, 3, 11, 40] {
                let writing = Writing { precision, predictor, lines, ..PLAIN };
                let wanted = samples(size, precision, 3);
                write(&path, &encode(&wanted, size, writing), size, precision, FIRST_ORDER);
                assert_eq!(decode(&path, size).unwrap(), wanted, "{writing:?}");
            }
        }
    }
}

#[test]
fn a_lost_or_moved_restart_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.dcm");
    let size = [12, 9];
    let wanted = samples(size, 12, 5);
    let stream = encode(&wanted, size, Writing { lines: 4, ..PLAIN });
    let marker = |number: u8| stream.windows(2).position(|pair| pair == [0xFF, 0xD0 + number]).unwrap();
    let (first, second) = (marker(0), marker(1));
    let lost = [&stream[..first], &stream[second..]].concat();
    let moved = [&stream[..first], &stream[second..second + 2], &stream[first + 2..]].concat();
    let none = [&stream[..first], &stream[first + 2..]].concat();
    let early = [&stream[..first - 20], &stream[first..]].concat();
    let cut = stream[..second - 4].to_vec();
    for stream in [lost, moved, none, early, cut] {
        write(&path, &stream, size, 12, FIRST_ORDER);
        assert!(decode(&path, size).unwrap_err().starts_with("DECODE_FAILED"));
    }
    // Bytes of ones may come before a marker.
    let filled = [&stream[..first], &[0xFF, 0xFF], &stream[first..]].concat();
    write(&path, &filled, size, 12, FIRST_ORDER);
    assert_eq!(decode(&path, size).unwrap(), wanted);
    // No encoder restarts within a line: where prediction begins anew is not said then.
    let mut within = stream.clone();
    let interval = within.windows(4).position(|four| four == [0xFF, 0xDD, 0, 4]).unwrap();
    within[interval + 5] -= 1;
    write(&path, &within, size, 12, FIRST_ORDER);
    assert!(decode(&path, size).unwrap_err().contains("whole lines"));
}
