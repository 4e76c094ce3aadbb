//! A file's record from its header alone: pixels stay where they are, and so do long values nobody asks for.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dicom_core::Tag;
use rustix::fs::{Mode, OFlags};

use super::dataset::{Dataset, Element, Value};
use super::head::{ELEMENT_HEAD, Head, NoHead};
use super::image::{self, Recent};
use super::keywords::MoreTags;
use super::parse::Encoding;
use super::record::{ObjectKind, Record, kind, no_dicom, record_of};
use super::scanner::{Ended, Scan};
use crate::container;
use crate::reading::{self, Room};

/// The number of bytes that most headers fit into.
const FIRST: usize = 8 << 10;
/// The number of bytes of which the first read takes a multiple.
const STEP: usize = 1 << 8;
/// The most bytes that are read first, however long the header before was.
const LONG: usize = 128 << 10;
/// The most bytes behind the pixels that are scanned: mostly there is nothing, or padding.
const TAIL: u64 = 64 << 10;
/// The number of header bytes beyond which a file is read as a whole.
const MOST: usize = 256 << 20;

/// Reads headers, one after the other, into memory that it keeps.
///
/// It keeps the last file's folder open, too, and reads from there even if another folder takes its name: a walk
/// wants a new reader.
///
/// # Examples
/// ```
/// use tomoflow_connectors::dicom::{HeaderReader, Record};
///
/// # fn main() -> std::io::Result<()> {
/// let folder = tempfile::tempdir()?;
/// let file = folder.path().join("notes.txt");
/// std::fs::write(&file, "no image")?;
/// let code = "NOT_DICOM".to_owned();
/// assert_eq!(HeaderReader::default().read(&file)?, Record::Skip { code });
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HeaderReader {
    head: Vec<u8>,
    tail: Vec<u8>,
    room: Dataset<'static>,
    recent: Recent,
    /// The number of bytes that the last header took: those of a series are about as long as each other.
    first: usize,
    folder: Option<Folder>,
}

impl Default for HeaderReader {
    fn default() -> Self {
        Self {
            head: Vec::new(),
            tail: Vec::new(),
            room: Dataset::default(),
            recent: Recent::default(),
            first: FIRST,
            folder: None,
        }
    }
}

/// An open folder, whose files are found without a look at the folders above.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    open: OwnedFd,
}

/// The reason why the whole file has to be read.
#[derive(Debug)]
enum Stop {
    NeedsAll,
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl HeaderReader {
    /// The record of a file as [`read_record`](crate::dicom::read_record) gives it, without the digests: these are zero, unless the
    /// file had to be read as a whole to know the rest (outlines, deflated or without SOPInstanceUID). Files of
    /// other formats have no such header: they are `NOT_DICOM`.
    ///
    /// # Errors
    /// Only the system's errors (no permission, vanished). What is wrong inside the file is a record.
    pub fn read(&mut self, path: &Path) -> io::Result<Record> {
        self.read_sized(path).map(|(record, _)| record)
    }

    /// Reads a record as [`HeaderReader::read`], with the number of the file's bytes.
    ///
    /// # Errors
    /// The errors of [`HeaderReader::read`].
    pub fn read_sized(&mut self, path: &Path) -> io::Result<(Record, u64)> {
        match self.peek(path) {
            Ok(read) => Ok(read),
            Err(Stop::NeedsAll) => {
                // A file that is no DICOM shows this at its beginning, also in a container.
                let decides = |head: &[u8], length| Some((no_dicom(head, length)?, length));
                match container::hold_unless(path, decides)? {
                    Ok(read) => Ok(read),
                    Err(bytes) => {
                        let length = bytes.len() as u64;
                        Ok((record_of(&bytes, path, &MoreTags::default())?, length))
                    }
                }
            }
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn peek(&mut self, path: &Path) -> Result<(Record, u64), Stop> {
        let file = match self.open(path) {
            // The file lies in a container, whose members are read whole.
            Err(error) if error.kind() == ErrorKind::NotADirectory => return Err(Stop::NeedsAll),
            file => file?,
        };
        reading::ordinary(&file)?;
        let first = self.first;
        // Large memory is given back with the file; what is small is kept for the next one.
        self.head.truncate(LONG);
        self.head.shrink_to(LONG);
        let mut room = Room::none();
        let mut known = grow(&file, &mut self.head, 0, first)?;
        // A file that ends within the first read needs no second question.
        let length = if known < first { known as u64 } else { (&file).seek(SeekFrom::End(0))? };
        if length < known as u64 {
            return Err(Stop::NeedsAll);
        }
        loop {
            let source = Source { file: &file, length, path };
            let head = self.head.get(..known).unwrap_or_default();
            match source.record(head, &mut self.tail, &mut self.room, &mut self.recent)? {
                Ok((record, header)) => {
                    self.first = header.next_multiple_of(STEP).min(LONG);
                    return Ok((record, length));
                }
                Err(needed) if needed <= MOST => {
                    let wanted = needed.max(known * 2).min(length.try_into().unwrap_or(usize::MAX));
                    let before = known;
                    room.grow((wanted - before) as u64)?;
                    known = grow(&file, &mut self.head, before, wanted)?;
                    if known == before {
                        return Err(Stop::NeedsAll);
                    }
                }
                Err(_) => return Err(Stop::NeedsAll),
            }
        }
    }

    /// Opens a file beside the one before, or by its whole path.
    fn open(&mut self, path: &Path) -> io::Result<File> {
        let bytes = path.as_os_str().as_bytes();
        let Some(slash) = bytes.iter().rposition(|&byte| byte == b'/').filter(|&at| at + 1 < bytes.len())
        else {
            return Ok(reading::open(path)?.0);
        };
        let (above, name) = bytes.split_at(slash + 1);
        let folder = match &mut self.folder {
            Some(folder) if folder.path.as_os_str().as_bytes() == above => folder,
            folder => {
                let above = Path::new(OsStr::from_bytes(above));
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let open = rustix::fs::open(above, flags, Mode::empty())?;
                folder.insert(Folder { path: above.to_owned(), open })
            }
        };
        // The file is opened without blocking: a FIFO is not waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(rustix::fs::openat(&folder.open, OsStr::from_bytes(name), flags, Mode::empty())?.into())
    }
}

/// Reads on behind the `known` bytes, until `wanted` are there or the file ends; returns how many are known
/// then.
fn grow(file: &File, bytes: &mut Vec<u8>, mut known: usize, wanted: usize) -> io::Result<usize> {
    if bytes.len() < wanted {
        bytes.resize(wanted, 0);
    }
    while let Some(room) = bytes.get_mut(known..wanted).filter(|room| !room.is_empty()) {
        match file.read_at(room, known as u64) {
            Ok(0) => break,
            Ok(read) => known += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(known)
}

/// A file whose beginning is known.
struct Source<'f> {
    file: &'f File,
    length: u64,
    path: &'f Path,
}

/// The outcome of a look at a beginning: something, or the number of bytes of the file that it takes.
type OrMore<T> = Result<T, usize>;

impl Source<'_> {
    /// The record of a file, and the number of bytes that it took.
    fn record(
        &self,
        known: &[u8],
        tail: &mut Vec<u8>,
        room: &mut Dataset<'static>,
        recent: &mut Recent,
    ) -> Result<OrMore<(Record, usize)>, Stop> {
        let skip = |code: &str| Record::Skip { code: code.to_owned() };
        let head = match Head::find_in(known, self.length) {
            Ok(head) if head.plain() => head,
            Err(NoHead::Code(code)) => return Ok(Ok((skip(code), FIRST))),
            Err(NoHead::Unknown) if known.len() < FIRST => return Ok(Err(FIRST)),
            Ok(_) | Err(NoHead::Unknown | NoHead::Unread(_)) => return Err(Stop::NeedsAll),
        };
        let start = head.start;
        let body = known.get(start..).unwrap_or_default();
        let length = usize::try_from(self.length).map_err(|_| Stop::NeedsAll)?.saturating_sub(start);
        let mut dataset = std::mem::take(room).reuse();
        let scan = Scan { bytes: body, length, encoding: head.encoding };
        let (any, ended) = scan.run(&mut dataset);
        let header = ended.pixels(&dataset).map_or(FIRST, |at| start + at + ELEMENT_HEAD);
        let behind = match ended {
            Ended::AtEnd => length,
            Ended::Short(needed) => return Ok(Err(start.saturating_add(needed))),
            Ended::BehindPixels(at) => at,
            Ended::AtFragments(at, vr) => {
                let (value, end) = self.fragments(start, at, head.encoding)?;
                dataset.push(Element { tag: dicom_dictionary_std::tags::PIXEL_DATA, vr, value });
                end
            }
        };
        self.scan_tail(start, behind, tail, head.encoding, &mut dataset)?;
        let record = match kind(&head, &dataset, !any) {
            ObjectKind::Skip(code) => skip(code),
            ObjectKind::Outlines | ObjectKind::Segments => return Err(Stop::NeedsAll),
            ObjectKind::Image => match image::instance(&head, &dataset, recent) {
                // The surrogate of a SOPInstanceUID comes from the digest.
                Some(instance) if instance.sop_uid.is_empty() => return Err(Stop::NeedsAll),
                Some(mut instance) => {
                    image::surrogates(&mut instance, self.path);
                    Record::Instance(instance)
                }
                None => skip(image::absent(&head, &dataset)),
            },
        };
        *room = dataset.reuse();
        Ok(Ok((record, header)))
    }

    /// Scans what lies behind the pixels.
    fn scan_tail<'a>(
        &self,
        start: usize,
        behind: usize,
        tail: &'a mut Vec<u8>,
        encoding: Encoding,
        dataset: &mut Dataset<'a>,
    ) -> Result<(), Stop> {
        let from = (start + behind) as u64;
        let length = self.length.saturating_sub(from);
        if length == 0 {
            return Ok(());
        }
        if length > TAIL {
            return Err(Stop::NeedsAll);
        }
        tail.resize(length as usize, 0);
        self.file.read_exact_at(tail, from).map_err(|_| Stop::NeedsAll)?;
        let tail: &'a [u8] = tail;
        match (Scan { bytes: tail, length: tail.len(), encoding }.run(dataset)).1 {
            Ended::AtEnd => Ok(()),
            _ => Err(Stop::NeedsAll),
        }
    }

    /// Walks along fragments by their heads; returns what there is, and where the next element begins.
    fn fragments(
        &self,
        start: usize,
        at: usize,
        encoding: Encoding,
    ) -> Result<(Value<'static>, usize), Stop> {
        let end = usize::try_from(self.length).map_err(|_| Stop::NeedsAll)?.saturating_sub(start);
        let (mut at, mut found) = (at, 0u32);
        // The first item is the table of offsets, and no fragment.
        let (mut bytes, mut cut) = (0u64, true);
        while end.saturating_sub(at) >= 8 {
            let mut item = [0; 8];
            self.file.read_exact_at(&mut item, (start + at) as u64).map_err(|_| Stop::NeedsAll)?;
            let (tag, length) = item_head(item, encoding.big_endian);
            at += 8;
            match tag {
                Tag(0xFFFE, 0xE0DD) => {
                    cut = false;
                    break;
                }
                Tag(0xFFFE, 0xE000) => {}
                // Another element follows without a delimiter.
                _ => return Err(Stop::NeedsAll),
            }
            let stored = (length as usize).min(end - at);
            bytes += if found > 0 { stored as u64 } else { 0 };
            found = found.saturating_add(1);
            at += stored;
            if stored < length as usize {
                break;
            }
        }
        // A rest that is too short for a head is damage, and holds nothing.
        let end = if cut { end } else { at };
        Ok((Value::UnreadFragments { count: found.saturating_sub(1), length: bytes, cut }, end))
    }
}

fn item_head([a, b, c, d, e, f, g, h]: [u8; 8], big_endian: bool) -> (Tag, u32) {
    if big_endian {
        let tag = Tag(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        return (tag, u32::from_be_bytes([e, f, g, h]));
    }
    let tag = Tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    (tag, u32::from_le_bytes([e, f, g, h]))
}
