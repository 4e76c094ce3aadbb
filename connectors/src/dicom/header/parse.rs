//! Parsing of bytes to a data set: explicit and implicit, little and big endian, sequences, fragments.

use std::cell::Cell;
use std::io;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::dataset::{Dataset, Element, Fragments, Value, vr_of};
use crate::reading;

/// The way a data set is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) explicit: bool,
    pub(crate) big_endian: bool,
}

impl Encoding {
    pub(crate) const IMPLICIT: Self = Self { explicit: false, big_endian: false };
    pub(crate) const EXPLICIT: Self = Self { explicit: true, big_endian: false };
    pub(crate) const BIG: Self = Self { explicit: true, big_endian: true };
}

pub(crate) const UNDEFINED: u32 = u32::MAX;
/// The greatest depth of sequences: real files nest five deep, and a damaged one must not exhaust the stack.
const MAX_DEPTH: u32 = 16;

/// The bytes that an element or an item takes in memory, with what is made of it. The shortest take eight
/// bytes of a file.
const PIECE: u64 = 128;

thread_local! {
    /// The number of elements and items that the data set at hand may still have.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// Counts an element or an item; returns whether there may be more.
fn counted() -> bool {
    LEFT.set(LEFT.get().saturating_sub(1));
    LEFT.get() > 0
}

/// Parses as far as the bytes make sense, and says what the elements take in memory beside the bytes.
///
/// # Errors
/// [`reading::is_over`] for elements that take more than reading may hold.
pub(crate) fn parse(bytes: &[u8], encoding: Encoding) -> io::Result<(Dataset<'_>, u64)> {
    let most = reading::allowed() / PIECE;
    LEFT.set(most);
    let dataset = Reader::new(bytes, encoding).dataset(0, false);
    let left = LEFT.replace(u64::MAX);
    if left == 0 { Err(reading::over()) } else { Ok((dataset, (most - left) * PIECE)) }
}

/// Parses the file meta group, which is explicit little endian whatever follows, and says where it ends.
pub(crate) fn parse_meta(bytes: &[u8]) -> (Dataset<'_>, usize) {
    let mut reader = Reader::new(bytes, Encoding::EXPLICIT);
    let mut meta = Dataset::default();
    while reader.peek_group() == Some(0x0002) {
        let Some(element) = reader.element(0, &mut meta.cut) else { break };
        meta.push(element);
    }
    (meta, reader.at)
}

/// The representation that two letters name: as [`VR::from_binary`], quicker for those that come often.
pub(super) fn vr_from(letters: &[u8; 2]) -> Option<VR> {
    Some(match letters {
        b"UI" => VR::UI,
        b"DS" => VR::DS,
        b"CS" => VR::CS,
        b"LO" => VR::LO,
        b"IS" => VR::IS,
        b"US" => VR::US,
        b"SH" => VR::SH,
        b"DA" => VR::DA,
        b"TM" => VR::TM,
        b"PN" => VR::PN,
        b"SQ" => VR::SQ,
        b"OW" => VR::OW,
        b"OB" => VR::OB,
        b"UN" => VR::UN,
        b"FD" => VR::FD,
        b"UL" => VR::UL,
        _ => return VR::from_binary(*letters),
    })
}

/// Whether a length of 32 bits follows the representation, after two bytes that mean nothing.
fn has_long_length(vr: VR) -> bool {
    matches!(
        vr,
        VR::OB
            | VR::OD
            | VR::OF
            | VR::OL
            | VR::OV
            | VR::OW
            | VR::SQ
            | VR::SV
            | VR::UC
            | VR::UN
            | VR::UR
            | VR::UT
            | VR::UV
    )
}

pub(crate) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(crate) at: usize,
    pub(super) encoding: Encoding,
}

pub(crate) struct Header {
    pub(crate) tag: Tag,
    pub(crate) vr: VR,
    pub(crate) length: u32,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], encoding: Encoding) -> Self {
        Self { bytes, at: 0, encoding }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        let bytes = <[u8; 2]>::try_from(self.take(2)?).ok()?;
        Some(if self.encoding.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = <[u8; 4]>::try_from(self.take(4)?).ok()?;
        Some(if self.encoding.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    pub(super) fn peek_group(&self) -> Option<u16> {
        let mut ahead = Reader { bytes: self.bytes, at: self.at, encoding: self.encoding };
        ahead.u16()
    }

    /// The next element's head; `None`, and nothing taken, where the bytes end before.
    pub(crate) fn header(&mut self) -> Option<Header> {
        let at = self.at;
        let found = self.short_header().or_else(|| self.any_header());
        if found.is_none() {
            self.at = at;
        }
        found
    }

    /// Reads a head of eight bytes of explicit little endian, as most heads are.
    fn short_header(&mut self) -> Option<Header> {
        let &[a, b, c, d, e, f, g, h] = self.rest().first_chunk::<8>()?;
        if self.encoding != Encoding::EXPLICIT {
            return None;
        }
        let (tag, vr) = (Tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])), vr_from(&[e, f])?);
        if tag.0 == 0xFFFE || has_long_length(vr) {
            return None;
        }
        self.at += 8;
        Some(Header { tag, vr, length: u16::from_le_bytes([g, h]).into() })
    }

    fn any_header(&mut self) -> Option<Header> {
        let tag = Tag(self.u16()?, self.u16()?);
        if tag.0 == 0xFFFE {
            return Some(Header { tag, vr: VR::UN, length: self.u32()? });
        }
        let letters = self.rest().first_chunk::<2>();
        // Some writers slip implicit elements into an explicit data set: no VR letters, then.
        let vr = letters.filter(|_| self.encoding.explicit).and_then(vr_from);
        let Some(vr) = vr else {
            return Some(Header { tag, vr: vr_of(tag), length: self.u32()? });
        };
        self.at += 2;
        let length = if has_long_length(vr) {
            self.take(2)?;
            self.u32()?
        } else {
            self.u16()?.into()
        };
        Some(Header { tag, vr, length })
    }

    /// Reads elements up to the end of the bytes, or of the item when it has no length of its own.
    fn dataset(&mut self, depth: u32, in_item: bool) -> Dataset<'a> {
        let mut dataset = Dataset { big_endian: self.encoding.big_endian, ..Dataset::default() };
        while self.at < self.bytes.len() {
            if in_item && self.peek_group() == Some(0xFFFE) {
                return dataset;
            }
            match self.element(depth, &mut dataset.cut) {
                Some(element) => dataset.push(element),
                None => break,
            }
            if !counted() {
                break;
            }
        }
        dataset.cut |= in_item;
        dataset
    }

    /// Reads one element; `None` where the bytes end or make no sense.
    fn element(&mut self, depth: u32, cut: &mut bool) -> Option<Element<'a>> {
        let Some(Header { tag, vr, length }) = self.header() else {
            *cut |= self.rest().iter().any(|&byte| byte != 0);
            return None;
        };
        if tag.0 == 0xFFFE || (tag.0 == 0 && tag.1 == 0 && length == 0) {
            return None;
        }
        if length == UNDEFINED {
            if tag == tags::PIXEL_DATA {
                return Some(Element { tag, vr, value: self.fragments() });
            }
            let items = self.open_sequence(vr, depth, cut)?;
            return Some(Element { tag, vr: VR::SQ, value: Value::Items(items) });
        }
        let Some(bytes) = self.take(length as usize) else {
            *cut = true;
            let rest = self.rest();
            self.at = self.bytes.len();
            // The part that is there of cut pixel data is still worth hashing.
            return (tag == tags::PIXEL_DATA).then_some(Element { tag, vr, value: Value::Bytes(rest) });
        };
        Some(Element { tag, vr, value: self.value(tag, vr, bytes, depth) })
    }

    /// Reads the items of a sequence that ends with a delimiter.
    pub(crate) fn open_sequence(&mut self, vr: VR, depth: u32, cut: &mut bool) -> Option<Vec<Dataset<'a>>> {
        let encoding = if vr == VR::UN { self.inside_unknown() } else { self.encoding };
        let mut inner = Reader { bytes: self.bytes, at: self.at, encoding };
        let items = inner.items(depth, true, cut)?;
        self.at = inner.at;
        Some(items)
    }

    /// Reads a value of known length; sequences are parsed when they parse, and stay bytes when not.
    pub(crate) fn value(&self, tag: Tag, vr: VR, bytes: &'a [u8], depth: u32) -> Value<'a> {
        let encoding = match vr {
            VR::SQ => self.encoding,
            VR::UN if vr_of(tag) == VR::SQ => {
                Reader { bytes, at: 0, encoding: self.encoding }.inside_unknown()
            }
            _ => return Value::Bytes(bytes),
        };
        let mut inner = Reader { bytes, at: 0, encoding };
        let mut cut = false;
        inner.items(depth, false, &mut cut).map_or(Value::Bytes(bytes), Value::Items)
    }

    fn items(&mut self, depth: u32, delimited: bool, cut: &mut bool) -> Option<Vec<Dataset<'a>>> {
        if depth >= MAX_DEPTH {
            *cut = true;
            return None;
        }
        let mut items = Vec::new();
        while self.at < self.bytes.len() && counted() {
            let Some(Header { tag, length, .. }) = self.header() else {
                *cut = true;
                return None;
            };
            match tag.1 {
                0xE0DD if tag.0 == 0xFFFE => return Some(items),
                0xE000 if tag.0 == 0xFFFE => {}
                _ => {
                    *cut = true;
                    return None;
                }
            }
            if length == UNDEFINED {
                let item = self.dataset(depth + 1, true);
                if item.cut {
                    *cut = true;
                }
                items.push(item);
                // The item ends with a delimiter of its own.
                self.take(8);
            } else {
                let Some(bytes) = self.take(length as usize) else {
                    *cut = true;
                    return None;
                };
                let mut inner = Reader { bytes, at: 0, encoding: self.encoding };
                items.push(inner.dataset(depth + 1, false));
            }
        }
        *cut |= delimited;
        Some(items)
    }

    fn fragments(&mut self) -> Value<'a> {
        let mut found = Vec::new();
        let mut cut = true;
        while let Some(Header { tag, length, .. }) = self.header() {
            if tag == Tag(0xFFFE, 0xE0DD) {
                cut = false;
                break;
            }
            if tag != Tag(0xFFFE, 0xE000) {
                break;
            }
            let Some(fragment) = self.take(length as usize) else {
                found.push(self.rest());
                self.at = self.bytes.len();
                break;
            };
            found.push(fragment);
            if !counted() {
                break;
            }
        }
        let (table, fragments) = found.split_first().map(|(t, f)| (*t, f.to_vec())).unwrap_or_default();
        Value::Fragments(Box::new(Fragments { table, fragments, cut }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8], encoding: Encoding) -> Dataset<'_> {
        super::parse(bytes, encoding).unwrap().0
    }

    fn implicit(tag: (u16, u16), length: u32, value: &[u8]) -> Vec<u8> {
        let head = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
        [head, length.to_le_bytes().to_vec(), value.to_vec()].concat()
    }

    const SEQUENCE: (u16, u16) = (0x3006, 0x0039);
    const NUMBER: Tag = tags::REFERENCED_ROI_NUMBER;

    #[test]
    fn sequences_with_and_without_length_are_the_same() {
        let inner = implicit((NUMBER.0, NUMBER.1), 2, b"7 ");
        let item = implicit((0xFFFE, 0xE000), inner.len() as u32, &inner);
        let counted = implicit(SEQUENCE, item.len() as u32, &item);
        let open_item = [
            implicit((0xFFFE, 0xE000), UNDEFINED, &inner),
            implicit((0xFFFE, 0xE00D), 0, b""),
            implicit((0xFFFE, 0xE0DD), 0, b""),
        ];
        let open = implicit(SEQUENCE, UNDEFINED, &open_item.concat());
        for bytes in [counted, open] {
            let bytes = [bytes, implicit((0x4008, 0x0040), 2, b"ok")].concat();
            let dataset = parse(&bytes, Encoding::IMPLICIT);
            assert!(!dataset.cut);
            let items = dataset.items(tags::ROI_CONTOUR_SEQUENCE);
            assert_eq!(items.iter().map(|item| item.number(NUMBER)).collect::<Vec<_>>(), [Some(7.0)]);
            assert_eq!(dataset.elements.len(), 2);
        }
    }

    #[test]
    fn an_explicit_sequence_of_unknown_representation_is_implicit_inside() {
        let inner = implicit((NUMBER.0, NUMBER.1), 2, b"7 ");
        let item = implicit((0xFFFE, 0xE000), inner.len() as u32, &inner);
        let length = (item.len() as u32).to_le_bytes();
        let head = [0x06, 0x30, 0x39, 0x00, b'U', b'N', 0, 0];
        let bytes = [&head[..], &length, &item].concat();
        let dataset = parse(&bytes, Encoding::EXPLICIT);
        assert_eq!(dataset.items(tags::ROI_CONTOUR_SEQUENCE)[0].count(NUMBER), Some(7));
    }

    #[test]
    fn endless_nesting_is_cut_off() {
        let level = [implicit(SEQUENCE, UNDEFINED, b""), implicit((0xFFFE, 0xE000), UNDEFINED, b"")].concat();
        assert!(parse(&level.repeat(100_000), Encoding::IMPLICIT).cut);
    }

    #[test]
    fn a_value_past_the_end_is_seen() {
        let dataset = implicit((0x0010, 0x0020), 200, b"P1");
        assert!(parse(&dataset, Encoding::IMPLICIT).cut);
        let whole = implicit((0x0010, 0x0020), 2, b"P1");
        assert!(!parse(&whole, Encoding::IMPLICIT).cut);
    }

    #[test]
    fn elements_are_counted() {
        let bytes = implicit((0x0010, 0x0020), 0, b"").repeat(7);
        let (dataset, room) = super::parse(&bytes, Encoding::IMPLICIT).unwrap();
        assert_eq!((dataset.elements.len(), room), (7, 7 * PIECE));
    }
}
