//! A file's record from its header alone: pixels stay where they are, and so do long values nobody asks for.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use dicom_core::Tag;

use super::dataset::{Dataset, Element, Value};
use super::header::{Head, NoHead};
use super::image;
use super::keywords::MoreTags;
use super::parse::Encoding;
use super::record::{Kind, Record, kind, read_dicom};
use super::scan::{Ended, Scan};
use super::walk::FileStat;

/// What most headers fit into.
const FIRST: usize = 8 << 10;
/// What lies behind the pixels is mostly nothing, or padding.
const TAIL: u64 = 64 << 10;
/// Beyond this a file is read as a whole.
const MOST: usize = 256 << 20;

/// Reads headers, one after the other, into memory that it keeps.
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
#[derive(Debug, Default)]
pub struct HeaderReader {
    head: Vec<u8>,
    tail: Vec<u8>,
    room: Dataset<'static>,
}

/// Why the whole file has to be read.
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
    /// The record of a file as [`read_record`](super::read_record) gives it, without the digests: these are zero, unless the
    /// file had to be read as a whole to know the rest (outlines, deflated or without SOPInstanceUID). Files of
    /// other formats have no such header: they are `NOT_DICOM`.
    ///
    /// # Errors
    /// Only what the system says (no permission, vanished). What is wrong inside the file is a record.
    pub fn read(&mut self, path: &Path) -> io::Result<Record> {
        self.read_of_length(path, None)
    }

    /// As [`HeaderReader::read`], of a file whose length a walk has told.
    ///
    /// # Errors
    /// As there.
    pub fn read_walked(&mut self, file: &FileStat) -> io::Result<Record> {
        self.read_of_length(&file.path, Some(file.size))
    }

    pub(super) fn read_of_length(&mut self, path: &Path, length: Option<u64>) -> io::Result<Record> {
        match self.peek(path, length) {
            Ok(record) => Ok(record),
            Err(Stop::NeedsAll) => read_dicom(path, &MoreTags::default()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn peek(&mut self, path: &Path, length: Option<u64>) -> Result<Record, Stop> {
        let file = match File::open(path) {
            // In a container: its members are read whole.
            Err(error) if error.kind() == ErrorKind::NotADirectory => return Err(Stop::NeedsAll),
            file => file?,
        };
        let mut known = grow(&file, &mut self.head, 0, FIRST)?;
        // A file that ends within the first read needs no second question.
        let length = match length {
            _ if known < FIRST => known as u64,
            Some(length) => length,
            None => file.metadata()?.len(),
        };
        if length < known as u64 {
            return Err(Stop::NeedsAll);
        }
        loop {
            let source = Source { file: &file, length, path };
            let head = self.head.get(..known).unwrap_or_default();
            match source.record(head, &mut self.tail, &mut self.room)? {
                Ok(record) => return Ok(record),
                Err(needed) if needed <= MOST => {
                    let wanted = needed.max(known * 2).min(length.try_into().unwrap_or(usize::MAX));
                    let before = known;
                    known = grow(&file, &mut self.head, before, wanted)?;
                    if known == before {
                        return Err(Stop::NeedsAll);
                    }
                }
                Err(_) => return Err(Stop::NeedsAll),
            }
        }
    }
}

/// Reads on behind the `known` bytes, until `wanted` are there or the file ends; how many are known then.
fn grow(file: &File, bytes: &mut Vec<u8>, mut known: usize, wanted: usize) -> io::Result<usize> {
    if bytes.len() < wanted {
        bytes.resize(wanted, 0);
    }
    while let Some(room) = bytes.get_mut(known..wanted).filter(|room| !room.is_empty()) {
        match file.read_at(room, known as u64) {
            Ok(0) => break,
            Ok(read) => known += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(known)
}

/// A file of which the beginning is known.
struct Source<'f> {
    file: &'f File,
    length: u64,
    path: &'f Path,
}

/// Outcome of a look at a beginning: something, or how many bytes of the file it takes.
type OrMore<T> = Result<T, usize>;

impl Source<'_> {
    fn record(
        &self,
        known: &[u8],
        tail: &mut Vec<u8>,
        room: &mut Dataset<'static>,
    ) -> Result<OrMore<Record>, Stop> {
        let skip = |code: &str| Record::Skip { code: code.to_owned() };
        let head = match Head::find_in(known, self.length) {
            Ok(head) if head.plain() => head,
            Err(NoHead::Code(code)) => return Ok(Ok(skip(code))),
            Ok(_) | Err(NoHead::Unknown) => return Err(Stop::NeedsAll),
        };
        let start = head.start;
        let body = known.get(start..).unwrap_or_default();
        let length = usize::try_from(self.length).map_err(|_| Stop::NeedsAll)?.saturating_sub(start);
        let mut dataset = std::mem::take(room).reuse();
        let scan = Scan { bytes: body, length, encoding: head.encoding };
        let (any, ended) = scan.run(&mut dataset);
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
            Kind::Skip(code) => skip(code),
            Kind::Outlines | Kind::Segments => return Err(Stop::NeedsAll),
            Kind::Image => match image::instance(&head, &dataset) {
                // Its surrogate comes from the digest.
                Some(instance) if instance.sop_uid.is_empty() => return Err(Stop::NeedsAll),
                Some(mut instance) => {
                    image::surrogates(&mut instance, self.path);
                    Record::Instance(instance)
                }
                None => skip("NOT_AN_IMAGE"),
            },
        };
        *room = dataset.reuse();
        Ok(Ok(record))
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

    /// Walks along fragments by their heads; what there is, and where the next element begins.
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
                // Something else follows without a delimiter.
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
