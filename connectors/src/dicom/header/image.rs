//! A data set that holds an image: its instance, and its pixels as stored.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use super::dataset::{Dataset, Fragments, Value};
use super::head::Head;
use super::instance::{Instance, PixelFormat, Tags};
use super::layout::Layout;
use super::{charset, concatenation, frames, refuse};
use crate::dicom::FILTER_KEYWORDS;
use crate::dicom::codecs::lut::ModalityLut;
use crate::dicom::mosaic;
use crate::dicom::padding::PADDED;
use crate::real::rescales;
use crate::{Digest, Real};

/// Pixels as they lie in the file.
#[derive(Clone, Debug)]
pub(crate) enum Stored<'a> {
    /// No pixels at all.
    Missing,
    /// Uncompressed pixels, one frame after the other.
    Native { bytes: &'a [u8], big_endian: bool },
    /// Compressed fragments, with the offset tables.
    Fragments { offsets: Vec<u64>, fragments: Vec<&'a [u8]>, cut: bool },
    /// One decoded frame of which the image's frames are tiles: little-endian samples of so many bytes each.
    Decoded { bytes: Vec<u8>, width: usize },
}

/// An instance, and its pixels.
pub(crate) struct Image<'a> {
    pub(crate) instance: Instance,
    pub(crate) stored: Stored<'a>,
    pub(crate) lut: Option<ModalityLut>,
    /// The lowest and the highest sample that stand for no value, as stored.
    pub(crate) padding: Option<[f64; 2]>,
}

/// What is kept of the image before: in a series most is the same from file to file.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// The bytes of the values as they stand in the file, and a place for those of the next.
    raw: [Vec<u8>; 2],
    tags: Arc<Tags>,
    frame: frames::Recent,
}

static FILTER_TAGS: LazyLock<Vec<(&'static str, Tag)>> = LazyLock::new(|| {
    let tag = |&keyword| Some((keyword, StandardDataDictionary.by_name(keyword)?.tag()));
    FILTER_KEYWORDS.iter().filter_map(tag).collect()
});

/// Reads an image, without digests; `None` when the data set holds none.
pub(crate) fn read<'a>(head: &Head<'_>, dataset: &Dataset<'a>) -> Option<Image<'a>> {
    let instance = instance(head, dataset, &mut Recent::default())?;
    let lut = ModalityLut::read(dataset, instance.pixels.signed).flatten();
    let padding = padding(dataset, &instance.pixels);
    Some(Image { instance, stored: stored(dataset), lut, padding })
}

/// The lowest and the highest sample of padding: PixelPaddingValue, with PixelPaddingRangeLimit where there
/// is one.
fn padding(dataset: &Dataset<'_>, pixels: &PixelFormat) -> Option<[f64; 2]> {
    if pixels.float {
        let tags = [tags::FLOAT_PIXEL_PADDING_VALUE, tags::DOUBLE_FLOAT_PIXEL_PADDING_VALUE];
        let limits = [tags::FLOAT_PIXEL_PADDING_RANGE_LIMIT, tags::DOUBLE_FLOAT_PIXEL_PADDING_RANGE_LIMIT];
        let number = |tags: [Tag; 2]| tags.into_iter().find_map(|tag| dataset.number(tag));
        return number(tags).map(|value| [value, number(limits).unwrap_or(value)]);
    }
    // The representation of the value follows PixelRepresentation, whatever the file says it is.
    let sample = |tag: Tag| {
        let &pair = dataset.bytes(tag)?.first_chunk::<2>()?;
        let word = if dataset.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) };
        Some(if pixels.signed { f64::from(word as i16) } else { f64::from(word) })
    };
    let value = sample(tags::PIXEL_PADDING_VALUE)?;
    let limit = sample(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(value);
    Some([value.min(limit), value.max(limit)])
}

/// The code of a data set in which [`instance`] finds no image: it may have been one until it was cut.
pub(crate) fn absent(head: &Head<'_>, dataset: &Dataset<'_>) -> &'static str {
    let class = sop_class(head, dataset);
    // Each object has a class, and images have pixels: the file may also end between two elements.
    let unfinished = refuse::is_image(&class) || (class.is_empty() && head.magic);
    let bare = layout(dataset) == Layout::Missing;
    if dataset.cut || (unfinished && bare) { "TRUNCATED" } else { "NOT_AN_IMAGE" }
}

/// The rows and columns; zeros for an image of some series that has none: its stack lacks a slice.
fn matrix(head: &Head<'_>, dataset: &Dataset<'_>) -> Option<[u32; 2]> {
    if let (Some(rows), Some(columns)) = (dataset.count(tags::ROWS), dataset.count(tags::COLUMNS)) {
        return Some([rows, columns]);
    }
    let known =
        refuse::is_image(&sop_class(head, dataset)) && dataset.text(tags::SERIES_INSTANCE_UID).is_some();
    known.then_some([0, 0])
}

/// The instance that a data set holds, without digests and surrogates.
pub(crate) fn instance(head: &Head<'_>, dataset: &Dataset<'_>, recent: &mut Recent) -> Option<Instance> {
    let [rows, columns] = matrix(head, dataset)?;
    let text = |tag| dataset.text_or_empty(tag);
    let mut pixels = format(dataset, &head.transfer_syntax, rows, columns);
    let tags = recent.tags_of(dataset);
    let mut instance = Instance {
        series_uid: text(tags::SERIES_INSTANCE_UID),
        study_uid: text(tags::STUDY_INSTANCE_UID),
        sop_uid: text(tags::SOP_INSTANCE_UID),
        patient_id: tags.get("PatientID").cloned().unwrap_or_default(),
        tags,
        sop_class: sop_class(head, dataset).into_owned(),
        frame_of_reference: text(tags::FRAME_OF_REFERENCE_UID),
        ..Instance::default()
    };
    let image_type = dataset.text(tags::IMAGE_TYPE).unwrap_or_default();
    let refusal = refuse::on_content(dataset, &instance.sop_class, &image_type, &pixels)
        .or_else(|| refuse::on_storage(dataset, &pixels, layout(dataset)));
    // A count of frames is believed only once the pixels are known to be there.
    let counted = matches!(refusal, None | Some("UNSUPPORTED_TRANSFER_SYNTAX"));
    instance.frames = match if counted { pixels.stored_frames } else { 1 } {
        1 if !frames::has_groups(dataset) => vec![recent.frame.read(dataset)],
        count => frames::read(dataset, count),
    };
    let mut unfolding = None;
    if let ([whole], true) = (instance.frames.as_slice(), mosaic::is_mosaic(&image_type)) {
        match mosaic::unfold(dataset, whole, &mut pixels) {
            Ok(tiles) => {
                instance.frames = tiles;
                instance.notes.push("MOSAIC".to_owned());
            }
            Err(code) => unfolding = Some(code),
        }
    }
    let table = dataset.get(tags::MODALITY_LUT_SEQUENCE).is_some();
    // A slope of zero makes all voxels alike, unless a table takes its place; so do those whose values no float holds.
    let largest = match pixels.bits_allocated {
        bits @ ..=32 => f64::from(u32::from(bits)).exp2(),
        _ => 1.0,
    };
    let sound = |[slope, intercept]: [Real; 2]| {
        rescales(slope.0, intercept.0, largest) || (table && slope.0 == 0.0 && intercept.0.is_finite())
    };
    let unscaled = (!instance.frames.iter().all(|frame| sound(frame.rescale))).then_some("BAD_RESCALE");
    if frames::rescale_is_empty(dataset) {
        instance.notes.push("RESCALE_EMPTY: taken for a slope of 1 and an intercept of 0".to_owned());
    }
    if let Some([low, high]) = padding(dataset, &pixels) {
        let to = if low == high { String::new() } else { format!(" to {high}") };
        instance.notes.push(match table {
            false => format!("{PADDED}: {low}{to}"),
            // A look-up table makes other values of the padding, and may make them of other samples as well.
            true => format!("PADDING_UNUSED: {low}{to}, which a look-up table changes"),
        });
    }
    instance.refusal = refusal.or(unfolding).or(unscaled).map(str::to_owned);
    instance.pixels = pixels;
    if dataset.text(tags::SPECIFIC_CHARACTER_SET).is_some_and(|names| !charset::is_known(&names)) {
        instance.notes.push("UNKNOWN_CHARACTER_SET".to_owned());
    }
    if !head.magic {
        instance.notes.push("NO_PREAMBLE".to_owned());
    }
    let counts = [tags::IN_CONCATENATION_NUMBER, tags::IN_CONCATENATION_TOTAL_NUMBER];
    if let [Some(number @ 1..), Some(total @ 2..)] = counts.map(|tag| dataset.count(tag)) {
        instance.notes.push(concatenation::part(number, total, &text(tags::CONCATENATION_UID)));
    }
    Some(instance)
}

impl Image<'_> {
    /// Fills in the digests, and surrogates for identifiers that are empty.
    pub(crate) fn seal(mut self, path: &Path) -> Instance {
        let mut hasher = blake3::Hasher::new();
        match &self.stored {
            // Records are made of what is stored.
            Stored::Missing | Stored::Decoded { .. } => {}
            Stored::Native { bytes, .. } => {
                hasher.update(bytes);
            }
            Stored::Fragments { fragments, .. } => {
                for fragment in fragments {
                    hasher.update(&(fragment.len() as u64).to_le_bytes());
                    hasher.update(fragment);
                }
            }
        }
        if let Some(lut) = &self.lut {
            hasher.update(&lut.bytes());
        }
        let instance = &mut self.instance;
        instance.pixel_digest = Digest(*hasher.finalize().as_bytes());
        let rescales: Vec<_> = instance.frames.iter().map(|frame| frame.rescale).collect();
        let decoded = serde_json::to_vec(&(&instance.pixels, rescales)).unwrap_or_default();
        instance.content = Digest::of_parts([instance.pixel_digest.0.as_slice(), &decoded]);
        let notes = std::mem::take(&mut instance.notes);
        // A record of plain values always serialises.
        let content = serde_json::to_vec(&instance).unwrap_or_default();
        instance.digest = Digest::of(&content);
        instance.notes = notes;
        surrogates(instance, path);
        self.instance
    }
}

/// The SOPClassUID of the data set or else of the file; empty where neither has one.
pub(crate) fn sop_class<'d>(head: &'d Head<'_>, dataset: &'d Dataset<'_>) -> Cow<'d, str> {
    dataset.text(tags::SOP_CLASS_UID).or_else(|| head.media_class.clone()).unwrap_or_default()
}

/// Sets identifiers that an instance lacks: the series' comes from what its slices share, the folder
/// included.
pub(crate) fn surrogates(instance: &mut Instance, path: &Path) {
    if !instance.series_uid.is_empty() && !instance.sop_uid.is_empty() {
        return;
    }
    instance.notes.push("EMPTY_UID".to_owned());
    if instance.series_uid.is_empty() {
        let folder = path.parent().unwrap_or(Path::new("")).to_string_lossy();
        let number = instance.tags.get("SeriesNumber").cloned().unwrap_or_default();
        let orientation = instance.frames.first().and_then(|frame| frame.orientation);
        // The cosines are rounded, so that the jitter of decimal strings does not tear a series apart.
        let orientation = orientation.map(|o| o.map(|cosine| (cosine.0 * 100.0).round() as i64));
        let matrix = (instance.pixels.rows, instance.pixels.columns);
        let rest = format!("{number}\n{}\n{orientation:?}\n{matrix:?}", instance.frame_of_reference);
        instance.series_uid = surrogate(&Digest::of_parts([folder.as_bytes(), rest.as_bytes()]));
    }
    if instance.sop_uid.is_empty() {
        instance.sop_uid = surrogate(&instance.digest);
    }
}

/// A digest as a UID of the root for numbers without registration.
pub(crate) fn surrogate(digest: &Digest) -> String {
    let number = digest.0.iter().take(16).fold(0u128, |number, &byte| number << 8 | u128::from(byte));
    format!("2.25.{number}")
}

impl Recent {
    fn tags_of(&mut self, dataset: &Dataset<'_>) -> Arc<Tags> {
        let [before, raw] = &mut self.raw;
        raw.clear();
        dataset.spell(FILTER_TAGS.iter().map(|&(_, tag)| tag).chain([tags::SPECIFIC_CHARACTER_SET]), raw);
        if before != raw {
            std::mem::swap(before, raw);
            self.tags = Arc::new(filter_tags(dataset));
        }
        Arc::clone(&self.tags)
    }
}

fn filter_tags(dataset: &Dataset<'_>) -> Tags {
    let characters = dataset.character_set();
    let value = |&(keyword, tag): &(&'static str, Tag)| {
        Some((keyword.into(), dataset.decoded_text(tag, characters.as_ref())?))
    };
    let mut found = Vec::with_capacity(FILTER_TAGS.len());
    found.extend(FILTER_TAGS.iter().filter_map(value));
    Tags::from_iter(found)
}

fn format(dataset: &Dataset<'_>, transfer_syntax: &str, rows: u32, columns: u32) -> PixelFormat {
    let small = |tag| dataset.count(tag).and_then(|count| u16::try_from(count).ok());
    // There may be a sequence under a damaged tag, which is no pixels.
    let holds = |tag| dataset.get(tag).is_some_and(|element| !matches!(element.value, Value::Items(_)));
    let (float, double) = (holds(tags::FLOAT_PIXEL_DATA), holds(tags::DOUBLE_FLOAT_PIXEL_DATA));
    let bits_allocated = small(tags::BITS_ALLOCATED).unwrap_or(0);
    let bits_stored = small(tags::BITS_STORED).unwrap_or(bits_allocated);
    let declared =
        dataset.get(tags::NUMBER_OF_FRAMES).filter(|_| dataset.text(tags::NUMBER_OF_FRAMES).is_some());
    PixelFormat {
        transfer_syntax: transfer_syntax.to_owned(),
        rows,
        columns,
        bits_allocated,
        bits_stored,
        high_bit: small(tags::HIGH_BIT).unwrap_or(bits_stored.saturating_sub(1)),
        signed: small(tags::PIXEL_REPRESENTATION) == Some(1),
        samples: small(tags::SAMPLES_PER_PIXEL).unwrap_or(1),
        photometric: dataset.text_or_empty(tags::PHOTOMETRIC_INTERPRETATION),
        float: float || double,
        stored_frames: declared.map_or(1, |_| dataset.count(tags::NUMBER_OF_FRAMES).unwrap_or(0)),
        frame_size: [rows, columns],
    }
}

/// The tags that may hold pixels; the first that is there counts.
pub(crate) const PIXELS: [Tag; 3] = [tags::PIXEL_DATA, tags::FLOAT_PIXEL_DATA, tags::DOUBLE_FLOAT_PIXEL_DATA];

fn layout(dataset: &Dataset<'_>) -> Layout {
    match PIXELS.iter().find_map(|&tag| dataset.get(tag)).map(|element| &element.value) {
        Some(Value::Bytes(bytes)) => Layout::Native { length: bytes.len() as u64 },
        Some(&Value::Unread(length)) => Layout::Native { length },
        Some(Value::Fragments(found)) => Layout::Fragments {
            count: found.fragments.len() as u64,
            length: found.fragments.iter().map(|fragment| fragment.len() as u64).sum(),
            cut: found.cut,
        },
        Some(&Value::UnreadFragments { count, length, cut }) => {
            Layout::Fragments { count: count.into(), length, cut }
        }
        Some(Value::Items(_)) | None => Layout::Missing,
    }
}

fn stored<'a>(dataset: &Dataset<'a>) -> Stored<'a> {
    match PIXELS.iter().find_map(|&tag| dataset.get(tag)).map(|element| &element.value) {
        Some(Value::Bytes(bytes)) => Stored::Native { bytes, big_endian: dataset.big_endian },
        Some(Value::Fragments(found)) => {
            let Fragments { table, fragments, cut } = found.as_ref();
            let extended = dataset.bytes(tags::EXTENDED_OFFSET_TABLE).unwrap_or_default();
            let extended = extended.as_chunks::<8>().0.iter().map(|&b| u64::from_le_bytes(b));
            let basic = table.as_chunks::<4>().0.iter().map(|&b| u64::from(u32::from_le_bytes(b)));
            let mut offsets: Vec<u64> = extended.collect();
            if offsets.is_empty() {
                offsets.extend(basic);
            }
            Stored::Fragments { offsets, fragments: fragments.clone(), cut: *cut }
        }
        _ => Stored::Missing,
    }
}
