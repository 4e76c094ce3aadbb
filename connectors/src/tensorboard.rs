//! Figures as TensorBoard reads them: an event file of scalars.
//!
//! A file is a row of records (length, checksum, bytes, checksum; little-endian, CRC-32C, masked) and each
//! record a protobuf `Event`, of which only the few fields that scalars need are written.

mod sums;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub use sums::Sums;

/// The reflected polynomial of CRC-32C (Castagnoli).
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

/// Goes on with a checksum that began as `!0` and ends inverted.
fn go_on(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc: u32, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ TABLE[usize::from(low ^ byte)]
    })
}

fn crc32c(bytes: &[u8]) -> u32 {
    !go_on(!0, bytes)
}

/// A checksum as records carry it: a plain checksum of bytes that hold checksums would be weak.
fn mask(crc: u32) -> [u8; 4] {
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn masked(bytes: &[u8]) -> [u8; 4] {
    mask(crc32c(bytes))
}

fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), bytes, &masked(bytes)].concat()
}

/// The fields of one protobuf message.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.0.push(low & 0x7f);
            }
            self.0.push(low | 0x80);
        }
    }

    fn tag(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    fn number(mut self, field: u64, value: u64) -> Self {
        self.tag(field, 0);
        self.varint(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        self.tag(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, value: f32) -> Self {
        self.tag(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.tag(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }
}

/// An `Event`: `wall_time` (1), `step` (2), and what happened.
fn event(at: SystemTime, step: u64) -> Message {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    Message::default().double(1, seconds).number(2, step)
}

/// One process's figures of one training.
#[derive(Debug)]
pub struct EventFile {
    file: File,
}

impl EventFile {
    /// A new file in `folder`, which is made where it is not there. Figures of earlier files that stand at
    /// `first_step` or later are left out by TensorBoard: a training that goes on from a checkpoint comes by
    /// some steps twice.
    ///
    /// # Errors
    /// Fails when the folder or the file cannot be written.
    pub fn begin(folder: &Path, at: SystemTime, first_step: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let process = std::process::id();
        // TensorBoard reads files in the order of their names.
        let name = |number: u32| format!("events.out.tfevents.{seconds:010}.tomoflow.{process}.{number:04}");
        let mut number = 0;
        let file = loop {
            match OpenOptions::new().write(true).create_new(true).open(folder.join(name(number))) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 9999 => number += 1,
                opened => break opened?,
            }
        };
        let mut file = Self { file };
        // The record holds `file_version` (3).
        file.write(&event(at, 0).bytes(3, b"brain.Event:2"))?;
        // The record holds `session_log` (7) with `status` (1) = START (1).
        file.write(&event(at, first_step).bytes(7, &Message::default().number(1, 1).0))?;
        Ok(file)
    }

    /// Adds one figure.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn scalar(&mut self, at: SystemTime, step: u64, tag: &str, value: f64) -> io::Result<()> {
        // The record holds `Summary.Value` with `tag` (1) and `simple_value` (2), in `Summary.value` (1), in
        // `Event.summary` (5).
        let value = Message::default().bytes(1, tag.as_bytes()).float(2, value as f32);
        self.write(&event(at, step).bytes(5, &Message::default().bytes(1, &value.0).0))
    }

    fn write(&mut self, event: &Message) -> io::Result<()> {
        // Each record is one write, so that a reader sees whole ones.
        self.file.write_all(&record(&event.0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The records of a file, checked.
    fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(bytes[8..12], masked(&bytes[..8]));
            let body = &bytes[12..12 + length];
            assert_eq!(bytes[12 + length..16 + length], masked(body));
            found.push(body.to_vec());
            bytes = &bytes[16 + length..];
        }
        found
    }

    #[test]
    fn checksums_of_the_standard() {
        // The value is that of RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn a_file_is_a_version_a_start_and_figures() {
        let folder = tempfile::tempdir().unwrap();
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        let mut file = EventFile::begin(folder.path(), at, 300).unwrap();
        file.scalar(at, 300, "train/loss", 0.25).unwrap();
        let entry = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
        assert!(entry.file_name().to_str().unwrap().starts_with("events.out.tfevents.0000000001.tomoflow."));
        let found = records(&fs::read(entry.path()).unwrap());
        let time = [&[0x09][..], &1.5f64.to_le_bytes()].concat();
        let version = [&time, &[0x10, 0][..], &[0x1a, 13], b"brain.Event:2"].concat();
        // The number 300 is 0b10_0101100: seven bits at a time, the lowest first.
        let start = [&time, &[0x10, 0xac, 0x02][..], &[0x3a, 2, 0x08, 1]].concat();
        let value = [&[0x0a, 10][..], b"train/loss", &[0x15], &0.25f32.to_le_bytes()].concat();
        let scalar = [&time, &[0x10, 0xac, 0x02][..], &[0x2a, 19, 0x0a, 17], &value].concat();
        assert_eq!(found, [version, start, scalar]);
        // Another file is begun beside it within the same second.
        EventFile::begin(folder.path(), at, 0).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), b"").unwrap();
        assert!(EventFile::begin(&folder.path().join("file/board"), UNIX_EPOCH, 0).is_err());
    }
}
