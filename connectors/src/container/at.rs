//! A place in a container, from which a reader of its own reads on.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads a file from a place of its own, so that several threads read one container at once.
#[derive(Clone)]
pub(super) struct At {
    pub(super) file: Arc<File>,
    pub(super) at: u64,
    pub(super) length: u64,
    /// The bytes that may still be read, by all who read the container: while members are listed, not more
    /// than a list may have.
    pub(super) left: Arc<AtomicU64>,
}

impl At {
    /// Reads a file from a place on, as much as there is.
    pub(super) fn of(file: &Arc<File>, at: u64) -> Self {
        Self { file: file.clone(), at, length: u64::MAX, left: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// The number of bytes that may still be read.
    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left();
        if left == 0 {
            return Err(too_long());
        }
        let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.file.read_at(buffer.get_mut(..count).unwrap_or_default(), self.at)?;
        if left != u64::MAX {
            self.left.store(left - read as u64, Ordering::Relaxed);
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for At {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// The error of a container with more members than may be listed.
pub(super) fn too_long() -> io::Error {
    let message =
        "a list of members so long that `memory` of `[pipeline]` does not allow to hold it: raise it";
    io::Error::new(ErrorKind::FileTooLarge, message)
}
