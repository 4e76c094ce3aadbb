//! The modality look-up table: values for stored samples, where a slope and an intercept do not do.

use dicom_dictionary_std::tags;

use crate::dicom::header::dataset::Dataset;

/// The content of ModalityLUTSequence.
pub(crate) struct ModalityLut {
    /// The sample that the first entry is for; samples below it take the first entry too.
    first: i64,
    /// The values for samples from `first` on, one at least; samples above the last take the last.
    entries: Vec<u16>,
}

impl ModalityLut {
    /// The table of a data set. `Some(None)` when there is one that makes no sense.
    pub(crate) fn read(dataset: &Dataset<'_>, signed: bool) -> Option<Option<Self>> {
        dataset.get(tags::MODALITY_LUT_SEQUENCE)?;
        let item = dataset.items(tags::MODALITY_LUT_SEQUENCE).first();
        Some(item.and_then(|item| Self::of_item(item, signed)))
    }

    fn of_item(item: &Dataset<'_>, signed: bool) -> Option<Self> {
        let word = |&[a, b]: &[u8; 2]| match item.big_endian {
            true => u16::from_be_bytes([a, b]),
            false => u16::from_le_bytes([a, b]),
        };
        // The representation of the first sample follows PixelRepresentation, whatever the file says it is.
        let &[count, first, bits] =
            item.bytes(tags::LUT_DESCRIPTOR)?.as_chunks::<2>().0.first_chunk::<3>()?;
        let count = match word(&count) {
            0 => 1 << 16,
            count => usize::from(count),
        };
        let first = if signed { i64::from(word(&first) as i16) } else { i64::from(word(&first)) };
        let data = item.bytes(tags::LUT_DATA)?;
        let words = data.as_chunks::<2>().0;
        // Entries of eight bits lie close together, or each in a word.
        let entries: Vec<u16> = match words.get(..count) {
            Some(words) => words.iter().map(word).collect(),
            None if word(&bits) <= 8 => data.get(..count)?.iter().map(|&byte| byte.into()).collect(),
            None => return None,
        };
        Some(Self { first, entries })
    }

    /// The value that a sample stands for.
    pub(crate) fn value(&self, sample: i64) -> f64 {
        let last = self.entries.len().saturating_sub(1) as i64;
        let index = sample.saturating_sub(self.first).clamp(0, last) as usize;
        self.entries.get(index).copied().unwrap_or_default().into()
    }

    /// The lowest and the highest value.
    pub(crate) fn range(&self) -> [f64; 2] {
        let ends = [self.entries.iter().min(), self.entries.iter().max()];
        ends.map(|entry| entry.copied().unwrap_or_default().into())
    }

    /// The bytes of everything that values depend on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let entries = self.entries.iter().flat_map(|entry| entry.to_le_bytes());
        self.first.to_le_bytes().into_iter().chain(entries).collect()
    }
}
