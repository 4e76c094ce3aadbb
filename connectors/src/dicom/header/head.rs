//! A file's head: the place where the data set begins, and the way it is written.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, Read};

use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::transfer_syntax::{Codec, TransferSyntaxIndex};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::dataset::{Dataset, vr_of};
use super::parse::{Encoding, parse, parse_meta};
use crate::Reject;
use crate::reading::{self, Room};

/// The head of a file, known before its data set is parsed.
pub(crate) struct Head<'a> {
    /// The data set's bytes, inflated when they were deflated.
    body: Cow<'a, [u8]>,
    /// The place in the file where the data set's bytes begin.
    pub(crate) start: usize,
    pub(crate) encoding: Encoding,
    /// TransferSyntaxUID, as the file says or as its bytes show.
    pub(crate) transfer_syntax: Cow<'a, str>,
    /// Whether preamble and magic number are there.
    pub(crate) magic: bool,
    /// MediaStorageSOPClassUID.
    pub(crate) media_class: Option<Cow<'a, str>>,
    /// Whether a deflated data set breaks off.
    cut: bool,
    /// The room for what was inflated.
    _room: Option<Room>,
    /// The room for the elements.
    parsed: Cell<Option<Room>>,
}

/// The reason why there is no head.
#[derive(Debug)]
pub(crate) enum NoHead {
    /// The code of a file without a data set: `EMPTY_FILE`, `NOT_DICOM`, `NO_DATASET`, `TRUNCATED`.
    Code(&'static str),
    /// The file's beginning is not enough to tell.
    Unknown,
    /// A deflated data set found no room.
    Unread(io::Error),
}

/// The number of bytes of the longest head of an element, with room to spare.
pub(crate) const ELEMENT_HEAD: usize = 16;

/// The explicit big-endian transfer syntax: retired, and still in archives.
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
/// The most bytes that one deflated byte comes to: no compressor packs tighter than about a thousand to one.
const MAX_INFLATION: u64 = 1100;
/// The size in bytes that no data set exceeds: the standard's lengths end there.
const MAX_INFLATED: u64 = 1 << 32;
/// The number of bytes that room is made for first, and the most that room is made for at a time.
const FIRST_PIECE: usize = 64 << 10;
const LAST_PIECE: usize = 64 << 20;

impl<'a> Head<'a> {
    /// Finds the data set.
    ///
    /// # Errors
    /// What `refused` makes of the code of a file without one (`EMPTY_FILE`, `NOT_DICOM`, `NO_DATASET`, `TRUNCATED`),
    /// and `OVER_BUDGET`.
    pub(crate) fn find(
        bytes: &'a [u8],
        refused: impl FnOnce(&'static str) -> Reject,
    ) -> Result<Self, Reject> {
        Self::find_in(bytes, bytes.len() as u64).map_err(|error| match error {
            NoHead::Code(code) => refused(code),
            NoHead::Unknown => refused("NO_DATASET"),
            NoHead::Unread(error) => reading::refused(&error),
        })
    }

    /// The head that [`Head::find`] gives of a file of `length` bytes whose beginning is known.
    pub(crate) fn find_in(bytes: &'a [u8], length: u64) -> Result<Self, NoHead> {
        if bytes.is_empty() {
            return Err(NoHead::Code("EMPTY_FILE"));
        }
        let whole = bytes.len() as u64 >= length;
        let magic = bytes.get(128..132) == Some(b"DICM");
        let before = if magic { 132 } else { 0 };
        let (meta, meta_length) = parse_meta(bytes.get(before..).unwrap_or_default());
        let start = before + meta_length;
        let rest = bytes.get(start..).unwrap_or_default();
        let declared = meta.text(tags::TRANSFER_SYNTAX_UID);
        let deflated = declared.as_deref() == Some(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN);
        if !whole && (deflated || rest.len() < ELEMENT_HEAD) {
            return Err(NoHead::Unknown);
        }
        let missing = NoHead::Code(if magic { "NO_DATASET" } else { "NOT_DICOM" });
        if whole && broken_off(&meta, meta_length, magic, rest) {
            return Err(NoHead::Code("TRUNCATED"));
        }
        if rest.is_empty() {
            return Err(missing);
        }
        let (body, cut, room) = match deflated {
            true => inflate(rest).map_err(NoHead::Unread)?,
            false => (Cow::Borrowed(rest), false, None),
        };
        let body_length = if whole { body.len() as u64 } else { length.saturating_sub(start as u64) };
        // The data set is deflated, as the meta group says, and hardly a byte came of it.
        let missing = if deflated && body.len() < 8 { NoHead::Code("TRUNCATED") } else { missing };
        let encoding = sniff(&body, magic || meta_length > 0, body_length).ok_or(missing)?;
        let transfer_syntax = declared.unwrap_or_else(|| {
            let uid = match encoding {
                Encoding::IMPLICIT => uids::IMPLICIT_VR_LITTLE_ENDIAN,
                Encoding::BIG => BIG_ENDIAN,
                _ => uids::EXPLICIT_VR_LITTLE_ENDIAN,
            };
            uid.into()
        });
        let media_class = meta.text(tags::MEDIA_STORAGE_SOP_CLASS_UID);
        Ok(Self {
            body,
            start,
            encoding,
            transfer_syntax,
            magic,
            media_class,
            cut,
            _room: room,
            parsed: Cell::default(),
        })
    }

    /// Whether the data set's bytes are those of the file.
    pub(crate) fn plain(&self) -> bool {
        matches!(self.body, Cow::Borrowed(_))
    }

    /// Parses the data set, whose elements take room as long as this lives.
    ///
    /// # Errors
    /// Fails when there is no room.
    pub(crate) fn dataset(&self) -> io::Result<Dataset<'_>> {
        let (mut dataset, bytes) = parse(&self.body, self.encoding)?;
        let mut room = Room::none();
        room.grow(bytes)?;
        self.parsed.set(Some(room));
        dataset.cut |= self.cut;
        Ok(dataset)
    }
}

/// Whether a file ends within its meta group, or behind it though something was to follow.
fn broken_off(meta: &Dataset<'_>, length: usize, magic: bool, rest: &[u8]) -> bool {
    let named = [tags::MEDIA_STORAGE_SOP_CLASS_UID, tags::TRANSFER_SYNTAX_UID];
    let named = named.iter().any(|&tag| meta.text(tag).is_some());
    let declared = meta.count(tags::FILE_META_INFORMATION_GROUP_LENGTH);
    // The element of the group's length itself takes twelve bytes.
    let short = declared.is_some_and(|declared| (length as u64) < u64::from(declared) + 12);
    match rest.len() {
        0 => meta.cut && magic || short || named,
        // The rest is shorter than an element's head.
        1..8 => magic,
        8..ELEMENT_HEAD => meta.cut && (magic || named),
        _ => false,
    }
}

/// The way a data set is written, from its first bytes: what the meta group says is often wrong.
fn sniff(bytes: &[u8], trusted: bool, length_of_all: u64) -> Option<Encoding> {
    let head = <[u8; 8]>::try_from(bytes.get(..8)?).ok()?;
    let [a, b, c, d, e, f, ..] = head;
    let letters = VR::from_binary([e, f]).is_some();
    let little = Tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    let big = Tag(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let plausible = |tag: Tag| match trusted {
        true => tag.0 != 0 && tag.0 <= 0x0100,
        false => tag.0 == 0x0008 && vr_of(tag) != VR::UN,
    };
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if letters && plausible(little) {
        Some(Encoding::EXPLICIT)
    } else if letters && plausible(big) {
        Some(Encoding::BIG)
    } else if plausible(little) && (trusted || u64::from(length) <= length_of_all) {
        Some(Encoding::IMPLICIT)
    } else {
        // Private groups or group lengths come first: the letters of the representation are trusted.
        (trusted && letters).then_some(Encoding::EXPLICIT)
    }
}

/// Inflates a deflated data set: its content, whether it breaks off, and the room that it takes, which grows
/// as the content comes.
fn inflate(bytes: &[u8]) -> io::Result<(Cow<'_, [u8]>, bool, Option<Room>)> {
    let syntax = TransferSyntaxRegistry.get(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN);
    let (mut inflated, mut cut) = (Vec::new(), false);
    let mut room = Room::none();
    if let Some(Codec::Dataset(Some(adapter))) = syntax.map(|syntax| syntax.codec()) {
        let limit = (bytes.len() as u64).saturating_mul(MAX_INFLATION).min(MAX_INFLATED);
        let mut reader = adapter.adapt_reader(Box::new(bytes)).take(limit);
        loop {
            // Room is made for as much again as has come: it is never more than twice of what is needed.
            let step = inflated.len().clamp(FIRST_PIECE, LAST_PIECE);
            room.grow(step as u64)?;
            inflated.try_reserve_exact(step).map_err(|_| io::ErrorKind::OutOfMemory)?;
            let before = inflated.len();
            // A damaged stream leaves what could be read.
            let read = reader.by_ref().take(step as u64).read_to_end(&mut inflated);
            if let Err(error) = read {
                tracing::debug!(%error, "a deflated data set is damaged");
                cut = true;
                break;
            }
            if inflated.len() - before < step {
                break;
            }
        }
    }
    Ok((Cow::Owned(inflated), cut, Some(room)))
}
