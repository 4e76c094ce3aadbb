//! The files that may be opened, and how much of what is read may be in memory at once, all readers together.
//!
//! Only ordinary files are opened: a FIFO, a socket or a device may never answer, or never end. Whoever reads a file
//! as a whole, or unpacks one, takes [`room`] for its bytes first. A file that needs more than there is at all is an
//! error by name ([`is_over`]), before a byte of it is read.

mod budget;

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

pub(crate) use self::budget::alone;
pub use self::budget::{Allowed, Room, allow, allowed, held, room, urgently};
use crate::Reject;

/// The code of the refusal of what needs more room than `memory` gives.
pub const OVER: &str = "OVER_BUDGET";
/// The code of the error of what found no room at the moment.
const BUSY: &str = "READING_BUSY";
/// The share of what reading may hold that a table of files or parts may have, one in so many bytes: its rows
/// take many times their bytes.
const TABLES: u64 = 32;
/// The step in bytes in which room is made as bytes come.
const STEP: usize = 1 << 20;

/// The bytes of a file, with the room that they take.
#[derive(Debug)]
pub struct Held {
    bytes: Vec<u8>,
    _room: Room,
}

impl Held {
    /// Bytes for which room was taken.
    pub(crate) fn new(bytes: Vec<u8>, room: Room) -> Self {
        Self { bytes, _room: room }
    }

    /// The bytes alone; their room counts as free.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl std::ops::Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads the whole of an ordinary file.
///
/// # Errors
/// The errors of [`open`] and [`room`].
///
/// # Examples
/// ```
/// use tomoflow_connectors::reading;
///
/// # fn main() -> std::io::Result<()> {
/// let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(file.path(), "case,part")?;
/// assert_eq!(&*reading::whole(file.path())?, b"case,part");
/// assert!(reading::whole(std::path::Path::new("/dev/zero")).is_err());
/// # Ok(())
/// # }
/// ```
pub fn whole(path: &Path) -> io::Result<Held> {
    let (file, facts) = open(path)?;
    let room = room(facts.len())?;
    let mut bytes = Vec::new();
    read_known(&file, facts.len(), &mut bytes)?;
    Ok(Held::new(bytes, room))
}

/// Reads a table of text, which is held as rows afterwards.
///
/// # Errors
/// The errors of [`whole`], and [`is_over`] for a table of which rows would fill all that reading may hold.
pub fn table(path: &Path) -> io::Result<Held> {
    let most = allowed() / TABLES;
    match open(path)?.1.len() > most {
        true => Err(over_all(most)),
        false => whole(path),
    }
}

/// Opens an ordinary file.
///
/// # Errors
/// The system's errors; `InvalidInput` for a FIFO, a socket or a device, which is never waited for.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let mut options = File::options();
    // Without this flag the opening of a FIFO waits for somebody who writes.
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let facts = ordinary(&file)?;
    Ok((file, facts))
}

/// The beginning of an ordinary file, of so many bytes at most.
///
/// # Errors
/// As [`open`], and the system's errors while it is read.
pub fn beginning(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (file, _) = open(path)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The metadata of an open file, when it is an ordinary one.
///
/// # Errors
/// `InvalidInput` when it is none.
pub(crate) fn ordinary(file: &File) -> io::Result<Metadata> {
    let facts = file.metadata()?;
    if facts.is_file() {
        return Ok(facts);
    }
    let kind = facts.file_type();
    let found = match () {
        () if kind.is_dir() => return Err(ErrorKind::IsADirectory.into()),
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::new(ErrorKind::InvalidInput, format!("an ordinary file expected, {found} found")))
}

/// Reads so many bytes at the end of a buffer, fewer where the file ends before.
pub(crate) fn read_known(file: &File, length: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let length_here = usize::try_from(length).map_err(|_| ErrorKind::OutOfMemory)?;
    bytes.try_reserve_exact(length_here).map_err(|_| ErrorKind::OutOfMemory)?;
    file.take(length).read_to_end(bytes).map(drop)
}

/// Reads what a stream gives, at most `most` bytes, making room for no more than has come.
pub(crate) fn read_coming(stream: &mut dyn Read, most: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let before = bytes.len();
    loop {
        let known = bytes.len() - before;
        let step = known.max(STEP).min(most - known);
        if step == 0 {
            return Ok(());
        }
        bytes.try_reserve_exact(step).map_err(|_| ErrorKind::OutOfMemory)?;
        if (&mut *stream).take(step as u64).read_to_end(bytes)? < step {
            return Ok(());
        }
    }
}

fn busy() -> io::Error {
    io::Error::new(ErrorKind::ResourceBusy, "no room to read a file at the moment")
}

/// The error of what needs more than is allowed at all.
pub(crate) fn over() -> io::Error {
    over_all(allowed())
}

fn over_all(allowed: u64) -> io::Error {
    let mebibytes = allowed >> 20;
    let allowed = if mebibytes > 0 { format!("{mebibytes} MiB") } else { format!("{allowed} bytes") };
    let message = format!(
        "more than {allowed} of a file would be held in memory, which is all that `memory` of `[pipeline]` allows: raise it"
    );
    io::Error::new(ErrorKind::FileTooLarge, message)
}

/// Whether a file needs more room than is allowed at all.
pub fn is_over(error: &io::Error) -> bool {
    error.kind() == ErrorKind::FileTooLarge
}

/// Whether a refusal says that there was no room at the moment.
pub(crate) fn is_busy_reject(reject: &Reject) -> bool {
    reject.code == BUSY
}

/// Whether there was no room at the moment, on a thread that must not wait: read alone, it will be there.
pub fn is_busy(error: &io::Error) -> bool {
    error.kind() == ErrorKind::ResourceBusy
}

/// The refusal of a file that cannot be read.
pub fn refused(error: &io::Error) -> Reject {
    match error.kind() {
        ErrorKind::FileTooLarge => {
            Reject::new(OVER, error.to_string(), "raise `memory` of `[pipeline]`, or take the file away")
        }
        ErrorKind::ResourceBusy => Reject::new(BUSY, error.to_string(), "run again"),
        _ => Reject::new("UNREADABLE", error.to_string(), "check that the file exists, and its permissions"),
    }
}

/// The error that a refusal stands for, where it says nothing of the file itself: it must not be kept.
pub(crate) fn passing(reject: &Reject) -> Option<io::Error> {
    match reject.code.as_str() {
        OVER => Some(io::Error::new(ErrorKind::FileTooLarge, reject.message.clone())),
        BUSY => Some(busy()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // This is one test, since what is allowed is one figure for the process.
    #[test]
    fn room_is_taken_given_back_and_refused() {
        let _all = allow(u64::MAX / 2);
        let before = held();
        let first = room(10).unwrap();
        assert!(held() >= before + 10);
        drop(first);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let most = room(u64::MAX / 2 - 1).unwrap();
        // Nobody waits in the pool; outside of it whoever holds room goes on.
        assert!(is_busy(&pool.install(|| room(2).map(drop)).unwrap_err()));
        assert!(pool.install(|| urgently(|| room(2).map(drop))).is_ok());
        assert!(room(2).is_ok());
        let waiting = std::thread::spawn(|| room(2).map(drop).is_ok());
        drop(most);
        assert!(waiting.join().unwrap());
        let error = room(u64::MAX).unwrap_err();
        assert!(is_over(&error) && error.to_string().contains("raise it"), "{error}");
        let reject = refused(&error);
        assert_eq!(reject.code, OVER);
        assert!(is_over(&passing(&reject).unwrap()));
        let mut growing = room(1).unwrap();
        growing.grow(1).unwrap();
        assert!(is_over(&growing.grow(u64::MAX / 2).unwrap_err()));
    }

    #[test]
    fn only_ordinary_files_are_opened_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        for (path, found) in [(fifo.as_path(), "a FIFO"), (Path::new("/dev/zero"), "a device")] {
            let error = open(path).unwrap_err();
            assert_eq!(error.to_string(), format!("an ordinary file expected, {found} found"));
        }
        let socket = folder.path().join("socket");
        let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(open(&socket).is_err());
        assert_eq!(open(folder.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
    }

    #[test]
    fn what_comes_is_bounded() {
        let mut bytes = vec![9];
        read_coming(&mut io::repeat(7), 3 << 20, &mut bytes).unwrap();
        assert_eq!((bytes.len(), bytes.capacity() <= (3 << 20) + 1 + STEP), ((3 << 20) + 1, true));
        bytes.clear();
        read_coming(&mut [1, 2].as_slice(), 9, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2]);
    }
}
