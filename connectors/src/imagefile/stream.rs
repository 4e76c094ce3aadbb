//! A file's bytes, unpacked as they are read, with a bound on how many there can be.

use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::bufread::ZlibDecoder;

use super::gzip::{self, Gzip};
use crate::reading::{self, Held};
use crate::{Reject, container};

/// The most bytes that a deflated byte comes to: no deflate stream unpacks to more than 1032 times its size.
const MAX_INFLATION: u64 = 1032;
/// The most bytes after the voxels that are read for the sake of the checksum at the end.
const TAIL: u64 = 1 << 20;

/// The way bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Bytes that are not packed at all.
    Raw,
    /// Bytes packed as gzip or zlib, whichever they begin as.
    Deflated,
}

/// The bytes of a file from some place on.
pub(crate) struct Stream {
    reader: Box<dyn Read>,
    packed: bool,
    /// The most bytes that may still come.
    left: u64,
}

impl Stream {
    /// Opens a file; gzip is known by its first bytes.
    pub(crate) fn open(path: &Path) -> Result<Self, Reject> {
        let (file, length) = open(path)?;
        let mut reader = BufReader::new(file);
        let packed = reader.fill_buf().map_err(|error| unreadable(&error))?.starts_with(&gzip::MAGIC);
        Self::over(reader, length, if packed { Packing::Deflated } else { Packing::Raw })
    }

    /// Opens a file from `offset` on.
    pub(crate) fn open_at(path: &Path, offset: u64, packing: Packing) -> Result<Self, Reject> {
        let (mut file, length) = open(path)?;
        let length = length.checked_sub(offset).ok_or_else(|| truncated(offset, length))?;
        file.seek(SeekFrom::Start(offset)).map_err(|error| unreadable(&error))?;
        Self::over(BufReader::new(file), length, packing)
    }

    /// Opens the last `count` bytes of a file.
    pub(crate) fn open_tail(path: &Path, count: u64) -> Result<Self, Reject> {
        let (_, length) = open(path)?;
        let offset = length.checked_sub(count).ok_or_else(|| truncated(count, length))?;
        Self::open_at(path, offset, Packing::Raw)
    }

    /// A stream of bytes that are in memory already.
    pub(crate) fn of(bytes: Held) -> Self {
        let left = bytes.len() as u64;
        Self { reader: Box::new(Cursor::new(bytes)), packed: false, left }
    }

    fn over(mut reader: BufReader<Box<dyn Bytes>>, length: u64, packing: Packing) -> Result<Self, Reject> {
        if packing == Packing::Raw {
            return Ok(Self { reader: Box::new(reader), packed: false, left: length });
        }
        let gzip = reader.fill_buf().map_err(|error| unreadable(&error))?.starts_with(&gzip::MAGIC);
        let reader: Box<dyn Read> =
            if gzip { Box::new(Gzip::new(reader)) } else { Box::new(ZlibDecoder::new(reader)) };
        Ok(Self { reader, packed: true, left: length.saturating_mul(MAX_INFLATION) })
    }

    pub(crate) fn packed(&self) -> bool {
        self.packed
    }

    /// Refuses a size that cannot be there.
    pub(crate) fn must_hold(&self, needed: u64) -> Result<(), Reject> {
        match needed <= self.left {
            true => Ok(()),
            false if self.packed => Err(implausible(needed, self.left)),
            false => Err(truncated(needed, self.left)),
        }
    }

    /// Refuses a size that a deflated file of `length` bytes cannot unpack to.
    pub(super) fn can_unpack(needed: u64, length: u64) -> Result<(), Reject> {
        let most = length.saturating_mul(MAX_INFLATION);
        if needed <= most { Ok(()) } else { Err(implausible(needed, most)) }
    }

    /// Passes over bytes.
    pub(crate) fn skip(&mut self, count: u64) -> Result<(), Reject> {
        self.must_hold(count)?;
        let skipped = io::copy(&mut self.by_ref().take(count), &mut io::sink());
        match skipped.map_err(|error| Self::broken(&error))? {
            found if found < count => Err(truncated(count, found)),
            _ => Ok(()),
        }
    }

    /// Reads the first bytes, fewer when the file is shorter.
    pub(crate) fn head(&mut self, count: usize) -> Result<Vec<u8>, Reject> {
        let mut head = Vec::new();
        let read = self.by_ref().take(count as u64).read_to_end(&mut head);
        read.map_err(|error| Self::broken(&error))?;
        Ok(head)
    }

    /// Reads on to the end of what is packed, where its checksum is.
    pub(crate) fn finish(mut self) -> Result<(), Reject> {
        if self.packed {
            let tail = io::copy(&mut self.by_ref().take(TAIL), &mut io::sink());
            tail.map_err(|error| Self::broken(&error))?;
        }
        Ok(())
    }

    /// The refusal of bytes that cannot be read or unpacked.
    pub(crate) fn broken(error: &io::Error) -> Reject {
        match error.kind() {
            ErrorKind::UnexpectedEof => {
                let message = "the file ends before its last voxel";
                Reject::new("TRUNCATED", message, "the copy broke off: fetch the file again")
            }
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                Reject::new("DECODE_FAILED", error.to_string(), "the file may be damaged")
            }
            _ => unreadable(error),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// The bytes of a file, or of a member of a container.
pub(super) trait Bytes: Read + Seek {}
impl<T: Read + Seek> Bytes for T {}

/// Opens a file, and says how long it is. A member of a container is unpacked in memory.
pub(super) fn open(path: &Path) -> Result<(Box<dyn Bytes>, u64), Reject> {
    match reading::open(path) {
        Ok((file, facts)) => Ok((Box::new(file), facts.len())),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let bytes = container::hold(path).map_err(|error| unreadable(&error))?;
            let length = bytes.len() as u64;
            Ok((Box::new(Cursor::new(bytes)), length))
        }
        Err(error) => Err(unreadable(&error)),
    }
}

fn implausible(needed: u64, most: u64) -> Reject {
    let message = format!("{needed} bytes declared, where at most {most} can be packed");
    let hint = "the header is damaged, or the file is a fraction of itself";
    Reject::new("IMPLAUSIBLE_SIZE", message, hint)
}

fn truncated(needed: u64, found: u64) -> Reject {
    let message = format!("{needed} bytes declared, {found} found");
    Reject::new("TRUNCATED", message, "the copy broke off: fetch the file again")
}

fn unreadable(error: &io::Error) -> Reject {
    reading::refused(error)
}
