//! The elements of a data set that a record needs, from its beginning alone: everything else is stepped over.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::dataset::{Dataset, Element, Value};
use super::head::ELEMENT_HEAD;
use super::image::PIXELS;
use super::parse::{Encoding, Header, Reader, UNDEFINED};
use crate::dicom::mosaic::{self, CSA_IMAGE_HEADER};

/// The tags that a record is made of, but for pixels and the CSA header; sorted.
const WANTED: [Tag; 49] = [
    tags::DIRECTORY_RECORD_SEQUENCE,
    tags::SPECIFIC_CHARACTER_SET,
    tags::IMAGE_TYPE,
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::STUDY_DATE,
    tags::ACQUISITION_TIME,
    tags::MODALITY,
    tags::MANUFACTURER,
    tags::STUDY_DESCRIPTION,
    tags::SERIES_DESCRIPTION,
    tags::MANUFACTURER_MODEL_NAME,
    tags::PATIENT_ID,
    tags::BODY_PART_EXAMINED,
    tags::SEQUENCE_NAME,
    tags::SLICE_THICKNESS,
    tags::ECHO_TIME,
    tags::SPACING_BETWEEN_SLICES,
    tags::PROTOCOL_NAME,
    tags::TRIGGER_TIME,
    tags::DIFFUSION_B_VALUE,
    tags::DIFFUSION_GRADIENT_ORIENTATION,
    tags::STUDY_INSTANCE_UID,
    tags::SERIES_INSTANCE_UID,
    tags::SERIES_NUMBER,
    tags::ACQUISITION_NUMBER,
    tags::INSTANCE_NUMBER,
    tags::IMAGE_POSITION_PATIENT,
    tags::IMAGE_ORIENTATION_PATIENT,
    tags::FRAME_OF_REFERENCE_UID,
    tags::TEMPORAL_POSITION_IDENTIFIER,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::PIXEL_SPACING,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::PIXEL_PADDING_VALUE,
    tags::FLOAT_PIXEL_PADDING_VALUE,
    tags::DOUBLE_FLOAT_PIXEL_PADDING_VALUE,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::MODALITY_LUT_SEQUENCE,
    tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
    tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
];

/// The place where a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The end of the data set, or the place where it makes no sense.
    AtEnd,
    /// The end of what is known: at least so many bytes must be.
    Short(usize),
    /// The place behind pixel data that were stepped over, where the known bytes end.
    BehindPixels(usize),
    /// The first fragment of encapsulated pixel data, with their representation.
    AtFragments(usize, VR),
}

impl Ended {
    /// The place where the pixels begin, as far as there are some behind what is known.
    pub(crate) fn pixels(self, dataset: &Dataset<'_>) -> Option<usize> {
        match (self, &dataset.elements.last()?.value) {
            (Self::BehindPixels(end), &Value::Unread(length)) => end.checked_sub(length.try_into().ok()?),
            (Self::AtFragments(at, _), _) => Some(at),
            _ => None,
        }
    }
}

/// A data set of `length` bytes, of which the first are known.
pub(crate) struct Scan<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) length: usize,
    pub(crate) encoding: Encoding,
}

impl<'a> Scan<'a> {
    /// Adds the wanted elements to `dataset`; returns first whether there were elements at all.
    ///
    /// It must come to what [`parse`](super::parse::parse) finds in all of the bytes.
    pub(crate) fn run(&self, dataset: &mut Dataset<'a>) -> (bool, Ended) {
        dataset.big_endian = self.encoding.big_endian;
        let (mut at, mut any) = (0usize, false);
        let mut list = List::default();
        while at < self.length {
            // An element's head may be cut off near the end of what is known.
            if self.bytes.len() < self.length && at + ELEMENT_HEAD > self.bytes.len() {
                return (any, Ended::Short(at + ELEMENT_HEAD));
            }
            let mut reader = Reader::new(self.bytes, self.encoding);
            reader.at = at;
            let Some(Header { tag, vr, length }) = reader.header() else {
                dataset.cut |= reader.rest().iter().any(|&byte| byte != 0);
                break;
            };
            if tag.0 == 0xFFFE || (tag == Tag(0, 0) && length == 0) {
                break;
            }
            if length == UNDEFINED {
                if tag == tags::PIXEL_DATA {
                    return (true, Ended::AtFragments(reader.at, vr));
                }
                match self.open_sequence(&mut reader, tag, vr, dataset) {
                    Step::On => {}
                    Step::Over => break,
                    Step::Short(needed) => return (any, Ended::Short(needed)),
                }
                (at, any) = (reader.at, true);
                continue;
            }
            let end = reader.at.checked_add(length as usize).filter(|&end| end <= self.length);
            let Some(end) = end else {
                dataset.cut = true;
                if tag == tags::PIXEL_DATA {
                    let value = Value::Unread((self.length - reader.at) as u64);
                    dataset.push(Element { tag, vr, value });
                    any = true;
                }
                break;
            };
            any = true;
            if PIXELS.contains(&tag) && vr != VR::SQ {
                dataset.push(Element { tag, vr, value: Value::Unread(length.into()) });
                if end > self.bytes.len() {
                    return (any, Ended::BehindPixels(end));
                }
            } else if list.wants(tag, dataset) {
                let Some(bytes) = self.bytes.get(reader.at..end) else {
                    return (any, Ended::Short(end.saturating_add(ELEMENT_HEAD)));
                };
                dataset.push(Element { tag, vr, value: reader.value(tag, vr, bytes, 0) });
            }
            at = end;
        }
        (any, Ended::AtEnd)
    }

    /// Steps over a sequence that ends with a delimiter, and keeps it when it is wanted.
    fn open_sequence(&self, reader: &mut Reader<'a>, tag: Tag, vr: VR, dataset: &mut Dataset<'a>) -> Step {
        let mut cut = false;
        let items = reader.open_sequence(vr, 0, &mut cut);
        let known = self.bytes.len() >= self.length;
        // What is wrong with a sequence may only be that the rest of it is not known yet.
        if !known && (items.is_none() || cut || reader.at + ELEMENT_HEAD > self.bytes.len()) {
            return Step::Short(self.bytes.len().saturating_mul(4));
        }
        dataset.cut |= cut;
        let Some(items) = items else { return Step::Over };
        if List::default().wants(tag, dataset) {
            dataset.push(Element { tag, vr: VR::SQ, value: Value::Items(items) });
        }
        Step::On
    }
}

enum Step {
    On,
    Over,
    Short(usize),
}

/// A finger on the list of wanted tags, since both that and the file are sorted.
#[derive(Default)]
struct List {
    next: usize,
}

impl List {
    /// Whether a record needs an element of the root.
    fn wants(&mut self, tag: Tag, dataset: &Dataset<'_>) -> bool {
        if tag == CSA_IMAGE_HEADER {
            // The CSA header takes tens of kilobytes, and tells of mosaics alone.
            let kind = dataset.text(tags::IMAGE_TYPE);
            return kind.is_none_or(|kind| mosaic::is_mosaic(&kind));
        }
        let before = self.next.checked_sub(1).and_then(|last| WANTED.get(last));
        if before.is_some_and(|&before| before >= tag) {
            self.next = 0;
        }
        while let Some(&wanted) = WANTED.get(self.next).filter(|&&wanted| wanted <= tag) {
            self.next += 1;
            if wanted == tag {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::dataset::vr_of;
    use super::*;

    #[test]
    fn wanted_tags_are_sorted() {
        assert!(WANTED.is_sorted());
        assert!(WANTED.iter().all(|&tag| vr_of(tag) != VR::UN));
    }
}
