//! A parsed data set: elements by tag, with their values still as bytes of the file.

use std::borrow::Cow;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

use super::charset::CharacterSet;

/// The elements of a data set, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dataset<'a> {
    pub(crate) elements: Vec<Element<'a>>,
    /// Whether each tag is above the one before it, as the standard has it.
    pub(crate) ascending: bool,
    pub(crate) big_endian: bool,
    /// Whether the file ended inside an element.
    pub(crate) cut: bool,
}

/// One element.
#[derive(Clone, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) tag: Tag,
    pub(crate) vr: VR,
    pub(crate) value: Value<'a>,
}

/// What an element holds.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    /// The bytes of a value that is no sequence.
    Bytes(&'a [u8]),
    /// The items of a sequence.
    Items(Vec<Dataset<'a>>),
    /// Encapsulated pixel data.
    Fragments(Box<Fragments<'a>>),
    /// Pixel data that were left in the file: their bytes.
    Unread(u64),
    /// Encapsulated pixel data that were left in the file: how many fragments, and the bytes in them.
    UnreadFragments { count: u32, length: u64, cut: bool },
}

/// Encapsulated pixel data: the basic offset table, then the fragments; `cut` when the end is missing.
#[derive(Clone, Debug)]
pub(crate) struct Fragments<'a> {
    pub(crate) table: &'a [u8],
    pub(crate) fragments: Vec<&'a [u8]>,
    pub(crate) cut: bool,
}

/// The dictionary's value representation of a tag; `UN` for one it does not know.
pub(crate) fn vr_of(tag: Tag) -> VR {
    if tag.1 == 0 {
        return VR::UL;
    }
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

impl<'a> Dataset<'a> {
    pub(crate) fn get(&self, tag: Tag) -> Option<&Element<'a>> {
        if self.ascending {
            let index = self.elements.binary_search_by_key(&tag, |element| element.tag).ok()?;
            return self.elements.get(index);
        }
        self.elements.iter().find(|element| element.tag == tag)
    }

    /// An empty data set in the memory of this one.
    pub(crate) fn reuse<'b>(self) -> Dataset<'b> {
        let Self { mut elements, .. } = self;
        elements.clear();
        // Nothing is left to map: collecting only takes the room over.
        let empty = elements.into_iter().map_while(|_| None);
        Dataset { elements: empty.collect(), ..Dataset::default() }
    }

    /// Adds the next element of the file.
    pub(crate) fn push(&mut self, element: Element<'a>) {
        let last = self.elements.last().map(|last| last.tag);
        self.ascending = last.is_none_or(|last| self.ascending && last < element.tag);
        self.elements.push(element);
    }

    /// Adds the bytes that values depend on to `raw`: the same bytes mean the same values.
    pub(crate) fn spell(&self, tags: impl IntoIterator<Item = Tag>, raw: &mut Vec<u8>) {
        raw.push(u8::from(self.big_endian));
        for element in tags.into_iter().map(|tag| self.get(tag)) {
            // An absent value is another than an empty one.
            let bytes = element.and_then(|element| match element.value {
                Value::Bytes(bytes) => Some((element.vr, bytes)),
                _ => None,
            });
            let length = bytes.map_or(u32::MAX, |(_, bytes)| bytes.len() as u32);
            raw.extend_from_slice(&length.to_le_bytes());
            if let Some((vr, bytes)) = bytes {
                raw.push(vr as u8);
                raw.extend_from_slice(bytes);
            }
        }
    }

    pub(crate) fn bytes(&self, tag: Tag) -> Option<&'a [u8]> {
        match self.get(tag)?.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A sequence's items; none when it is absent.
    pub(crate) fn items(&self, tag: Tag) -> &[Dataset<'a>] {
        match self.get(tag).map(|element| &element.value) {
            Some(Value::Items(items)) => items,
            _ => &[],
        }
    }

    /// The text of an identifier or code, without padding; `None` when absent or empty.
    pub(crate) fn text(&self, tag: Tag) -> Option<Cow<'a, str>> {
        let bytes = trim_ascii(self.bytes(tag)?);
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text.trim_matches(padding)),
            Err(_) => Cow::Owned(String::from_utf8_lossy(bytes).trim_matches(padding).to_owned()),
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// The text of [`Dataset::text`] as a string of its own; empty when absent.
    pub(crate) fn text_or_empty(&self, tag: Tag) -> String {
        self.text(tag).unwrap_or_default().into_owned()
    }

    /// The text of an element for people, decoded by the character set of the data set around it, or its own.
    pub(crate) fn decoded_text(&self, tag: Tag, characters: Option<&CharacterSet>) -> Option<String> {
        let bytes = self.bytes(tag)?;
        let plain = || self.text(tag).map(Cow::into_owned);
        if characters.is_none_or(|set| set.same_in_ascii(bytes)) && bytes.is_ascii() && !bytes.contains(&0x1B)
        {
            return plain();
        }
        let own = self.character_set();
        let Some(set) = own.as_ref().or(characters) else { return plain() };
        match (vr_of(tag), set.decode(bytes, vr_of(tag))) {
            (VR::LO | VR::SH | VR::PN | VR::LT | VR::ST | VR::UT | VR::UC, Some(text)) => {
                let text = text.trim_matches(padding);
                (!text.is_empty()).then(|| text.to_owned())
            }
            _ => plain(),
        }
    }

    /// The character sets that SpecificCharacterSet names; `None` for the default, and for what nobody knows.
    pub(crate) fn character_set(&self) -> Option<CharacterSet> {
        CharacterSet::of(&self.text(dicom_dictionary_std::tags::SPECIFIC_CHARACTER_SET)?)
    }

    /// All numbers of an element, text or binary; empty when absent or not numbers.
    ///
    /// The dictionary's representation rules when the file says `UN`.
    pub(crate) fn numbers(&self, tag: Tag) -> Vec<f64> {
        let Some(element) = self.get(tag) else { return Vec::new() };
        let Value::Bytes(bytes) = element.value else { return Vec::new() };
        let vr = if element.vr == VR::UN { vr_of(tag) } else { element.vr };
        let big = self.big_endian && element.vr != VR::UN;
        match vr {
            VR::US | VR::OW => binary(bytes, big, |b: [u8; 2]| u16::from_le_bytes(b).into()),
            VR::SS => binary(bytes, big, |b: [u8; 2]| i16::from_le_bytes(b).into()),
            VR::UL | VR::OL => binary(bytes, big, |b: [u8; 4]| u32::from_le_bytes(b).into()),
            VR::SL => binary(bytes, big, |b: [u8; 4]| i32::from_le_bytes(b).into()),
            VR::FL | VR::OF => binary(bytes, big, |b: [u8; 4]| f32::from_le_bytes(b).into()),
            VR::FD | VR::OD => binary(bytes, big, f64::from_le_bytes),
            VR::UV | VR::OV => binary(bytes, big, |b: [u8; 8]| u64::from_le_bytes(b) as f64),
            VR::SQ => Vec::new(),
            _ => decimal_strings(bytes),
        }
    }

    pub(crate) fn number(&self, tag: Tag) -> Option<f64> {
        match self.get(tag)? {
            // The two representations that come most often are read without a list of one.
            Element { vr: VR::US, value: Value::Bytes(bytes), .. } => {
                let &pair = bytes.first_chunk::<2>()?;
                let number =
                    if self.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) };
                Some(number.into())
            }
            Element { vr: VR::DS | VR::IS, value: Value::Bytes(bytes), .. } if !bytes.contains(&b'\\') => {
                decimal(std::str::from_utf8(trim_ascii(bytes)).ok()?)
            }
            _ => self.numbers(tag).first().copied(),
        }
    }

    /// The whole number of an element, where it is not negative.
    pub(crate) fn count(&self, tag: Tag) -> Option<u32> {
        let number = self.number(tag)?;
        (number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number)).then_some(number as u32)
    }

    /// The numbers of an element, if they are exactly `N` finite ones.
    pub(crate) fn vector<const N: usize>(&self, tag: Tag) -> Option<[f64; N]> {
        if let Element { vr: VR::DS, value: Value::Bytes(bytes), .. } = self.get(tag)? {
            let mut parts = std::str::from_utf8(trim_ascii(bytes)).ok()?.split('\\');
            let mut vector = [0.0; N];
            for place in &mut vector {
                *place = decimal(parts.next()?)?;
            }
            return parts.next().is_none().then_some(vector);
        }
        <[f64; N]>::try_from(self.numbers(tag)).ok().filter(|v| v.iter().all(|x| x.is_finite()))
    }
}

/// The bytes without the padding of ASCII at both ends.
pub(crate) fn trim_ascii(mut bytes: &[u8]) -> &[u8] {
    while let [0 | b' ' | b'\t'..=b'\r', rest @ ..] | [rest @ .., 0 | b' ' | b'\t'..=b'\r'] = bytes {
        bytes = rest;
    }
    bytes
}

fn binary<const N: usize>(bytes: &[u8], big_endian: bool, read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let (chunks, _) = bytes.as_chunks::<N>();
    let number = |&chunk: &[u8; N]| {
        let mut chunk = chunk;
        if big_endian {
            chunk.reverse();
        }
        read(chunk)
    };
    chunks.iter().map(number).collect()
}

/// The numbers of a text, separated by backslashes; empty when one of them is none.
pub(crate) fn decimal_strings(bytes: &[u8]) -> Vec<f64> {
    let Ok(text) = std::str::from_utf8(trim_ascii(bytes)) else { return Vec::new() };
    if text.trim_matches(padding).is_empty() {
        return Vec::new();
    }
    text.split('\\').map(decimal).collect::<Option<_>>().unwrap_or_default()
}

fn padding(c: char) -> bool {
    c == '\0' || c.is_whitespace()
}

/// The number of one decimal string, when it is finite.
fn decimal(text: &str) -> Option<f64> {
    text.trim_matches(padding).parse().ok().filter(|number: &f64| number.is_finite())
}
