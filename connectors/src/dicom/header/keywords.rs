//! Tags by keyword: those that every record keeps, and those that a pipeline filters on beside them.

use std::sync::Arc;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

use super::dataset::{Dataset, vr_of};
use super::instance::Tags;
use super::{READING, image};
use crate::Digest;
use crate::dicom::FILTER_KEYWORDS;

/// Tags whose values a record keeps beside those of [`FILTER_KEYWORDS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoreTags(Vec<(String, Tag)>);

impl MoreTags {
    /// The tags of these keywords, as far as they are not kept anyhow. A keyword that the standard does not
    /// know, or whose value is no text or number, is left out ([`can_be_kept`]).
    pub fn new<'a>(keywords: impl IntoIterator<Item = &'a str>) -> Self {
        let mut more: Vec<(String, Tag)> = keywords
            .into_iter()
            .filter(|keyword| !FILTER_KEYWORDS.contains(keyword))
            .filter_map(|keyword| Some((keyword.to_owned(), tag_of(keyword)?)))
            .collect();
        more.sort();
        more.dedup();
        Self(more)
    }

    /// A number for how files are read with these tags: [`READING`] itself without any.
    pub fn reading(&self) -> u64 {
        if self.0.is_empty() {
            return READING;
        }
        let reading = READING.to_le_bytes();
        let keywords = self.0.iter().map(|(keyword, _)| keyword.as_bytes());
        let digest = Digest::of_parts(std::iter::once(reading.as_slice()).chain(keywords));
        digest.0.first_chunk::<8>().map_or(READING, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Adds the values of these tags in a data set: numbers as text, several with backslashes between them.
    pub(crate) fn add(&self, dataset: &Dataset<'_>, tags: &mut Arc<Tags>) {
        if self.0.is_empty() {
            return;
        }
        let characters = dataset.character_set();
        let values = self.0.iter().filter_map(|(keyword, tag)| {
            let value = match vr_of(*tag) {
                VR::US | VR::SS | VR::UL | VR::SL | VR::FL | VR::FD | VR::UV | VR::SV => {
                    let numbers = dataset.numbers(*tag).into_iter().map(|number| number.to_string());
                    Some(numbers.collect::<Vec<_>>().join("\\")).filter(|text| !text.is_empty())
                }
                _ => dataset.decoded_text(*tag, characters.as_ref()),
            };
            Some((keyword.clone().into(), value?))
        });
        Arc::make_mut(tags).extend(values);
    }
}

/// Whether a keyword is one of the standard, of a tag at the top of a data set that holds a text or numbers.
pub fn can_be_kept(keyword: &str) -> bool {
    tag_of(keyword).is_some()
}

fn tag_of(keyword: &str) -> Option<Tag> {
    let tag = StandardDataDictionary.by_name(keyword)?.tag();
    let bulk =
        matches!(vr_of(tag), VR::SQ | VR::OB | VR::OW | VR::OF | VR::OD | VR::OL | VR::OV | VR::UN | VR::AT);
    // The meta group is about the file, and not about the image.
    (!bulk && tag.0 > 0x0002 && !image::PIXELS.contains(&tag)).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_the_standards() {
        for keyword in ["SliceThickness", "EchoTime", "Rows", "PatientSex", "Modality"] {
            assert!(can_be_kept(keyword), "{keyword}");
        }
        for keyword in ["SliceThicknes", "", "PixelData", "ReferencedSeriesSequence", "TransferSyntaxUID"] {
            assert!(!can_be_kept(keyword), "{keyword}");
        }
    }

    #[test]
    fn what_is_kept_anyhow_changes_nothing() {
        assert_eq!(MoreTags::new(["Modality"]), MoreTags::default());
        assert_eq!(MoreTags::default().reading(), READING);
        let more = MoreTags::new(["EchoTime", "Rows", "EchoTime"]);
        assert_eq!(more, MoreTags::new(["Rows", "EchoTime"]));
        assert_ne!(more.reading(), READING);
        assert_ne!(more.reading(), MoreTags::new(["Rows"]).reading());
    }
}
