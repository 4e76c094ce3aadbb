//! Sequences of unknown representation, whose items are written as the standard has it, or as all around
//! them.

use dicom_core::Tag;

use super::parse::{Encoding, Header, Reader, UNDEFINED, vr_from};

impl<'a> Reader<'a> {
    /// The way the items ahead are written in a sequence of unknown representation: implicit, by the
    /// standard, and by some writers as everything around it.
    pub(super) fn inside_unknown(&self) -> Encoding {
        let explicit = self.encoding.explicit && self.first_item_is_explicit().unwrap_or(false);
        if explicit { self.encoding } else { Encoding::IMPLICIT }
    }

    /// Whether the first element of the items ahead makes sense with a representation of its own: what follows it then
    /// is an element like it, or the end of the item. `None` where the bytes end before.
    fn first_item_is_explicit(&self) -> Option<bool> {
        let mut ahead = Reader { bytes: self.bytes, at: self.at, encoding: self.encoding };
        let end = loop {
            let Header { tag, length, .. } = ahead.header()?;
            match tag {
                Tag(0xFFFE, 0xE000) if length == UNDEFINED && ahead.peek_group()? == 0xFFFE => {}
                Tag(0xFFFE, 0xE000) if length == UNDEFINED => break None,
                Tag(0xFFFE, 0xE000) if length == 0 => {}
                Tag(0xFFFE, 0xE000) => break Some(ahead.at.checked_add(length as usize)?),
                // An empty item ends here.
                Tag(0xFFFE, 0xE00D) => {}
                _ => return Some(false),
            }
        };
        let (first, letters) = ahead.tag_and_letters()?;
        if vr_from(letters).is_none() {
            return Some(false);
        }
        let Header { length, .. } = ahead.header()?;
        if length == UNDEFINED {
            return Some(ahead.peek_group()? == 0xFFFE);
        }
        ahead.at = ahead.at.checked_add(length as usize)?;
        if let Some(end) = end.filter(|&end| ahead.at >= end) {
            return Some(ahead.at == end);
        }
        let (next, letters) = ahead.tag_and_letters()?;
        Some(next.0 == 0xFFFE || (next > first && vr_from(letters).is_some()))
    }

    /// The tag ahead, and what follows it.
    fn tag_and_letters(&self) -> Option<(Tag, &'a [u8; 2])> {
        let mut ahead = Reader { bytes: self.bytes, at: self.at, encoding: self.encoding };
        let tag = Tag(ahead.u16()?, ahead.u16()?);
        Some((tag, ahead.rest().first_chunk::<2>()?))
    }
}

#[cfg(test)]
mod tests {
    use dicom_dictionary_std::tags;

    use super::super::parse::parse;
    use super::*;

    const SEQUENCE: (u16, u16) = (0x3006, 0x0039);
    const NUMBER: Tag = tags::REFERENCED_ROI_NUMBER;

    fn implicit(tag: (u16, u16), length: u32, value: &[u8]) -> Vec<u8> {
        let head = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
        [head, length.to_le_bytes().to_vec(), value.to_vec()].concat()
    }

    #[test]
    fn sequences_of_unknown_representation_are_read_however_their_items_are_written() {
        let explicit = |tag: Tag, vr: &[u8; 2], value: &[u8]| {
            let head = [tag.0.to_le_bytes(), tag.1.to_le_bytes(), *vr, (value.len() as u16).to_le_bytes()];
            [head.concat(), value.to_vec()].concat()
        };
        let pair = |first: &[u8]| {
            [
                [explicit(tags::CODE_VALUE, b"SH", first), explicit(NUMBER, b"IS", b"7 ")].concat(),
                [
                    implicit((0x0008, 0x0100), first.len() as u32, first),
                    implicit((NUMBER.0, NUMBER.1), 2, b"7 "),
                ]
                .concat(),
            ]
        };
        // An implicit value may be as long as letters are; an explicit one may be empty.
        let long = vec![b'x'; usize::from(u16::from_le_bytes(*b"SH"))];
        let insides =
            [pair(b"L-80A4A "), pair(b""), [pair(&long)[1].clone(), explicit(NUMBER, b"IS", b"7 ")]];
        // The sequences are a standard one, and a private one, which is known for one by its undefined length
        // alone.
        for (inside, tag) in
            insides.iter().flatten().flat_map(|inside| [(inside, SEQUENCE), (inside, (0x3007, 0x1001))])
        {
            for (open_sequence, open_item, empty) in (0..8).map(|k| (k & 1 > 0, k & 2 > 0, k & 4 > 0)) {
                let mut items = if empty { implicit((0xFFFE, 0xE000), 0, b"") } else { Vec::new() };
                items.extend(match open_item {
                    true => {
                        [implicit((0xFFFE, 0xE000), UNDEFINED, inside), implicit((0xFFFE, 0xE00D), 0, b"")]
                            .concat()
                    }
                    false => implicit((0xFFFE, 0xE000), inside.len() as u32, inside),
                });
                let length = if open_sequence { UNDEFINED } else { items.len() as u32 };
                let mut bytes = implicit(tag, 0, b"");
                bytes.splice(4.., [*b"UN\0\0", length.to_le_bytes()].concat());
                bytes.extend(items);
                bytes.extend(if open_sequence { implicit((0xFFFE, 0xE0DD), 0, b"") } else { Vec::new() });
                bytes.extend(explicit(Tag(0x4008, 0x0040), b"SH", b"ok"));
                let dataset = parse(&bytes, Encoding::EXPLICIT).unwrap().0;
                assert_eq!((dataset.cut, dataset.elements.len()), (false, 2));
                if tag == SEQUENCE || open_sequence {
                    let item = dataset.items(Tag(tag.0, tag.1)).last().unwrap();
                    assert_eq!(item.count(NUMBER), Some(7));
                }
            }
        }
    }
}
