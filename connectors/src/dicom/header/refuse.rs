//! The reasons, by name, why pixels cannot become a volume, as far as they show in one file.

use dicom_core::dictionary::UidDictionary;
use dicom_dictionary_std::sop_class::StandardSopClassDictionary;
use dicom_dictionary_std::{tags, uids};

use super::dataset::Dataset;
use super::instance::PixelFormat;
use super::layout::Layout;
use crate::dicom::codecs::codec;
use crate::dicom::codecs::lut::ModalityLut;

const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";
/// The classes of radiographs, mammograms, angiograms and fluoroscopy: sums along the beam.
const PROJECTIONS: &[&str] = &[
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.12.1",
    "1.2.840.10008.5.1.4.1.1.12.2",
    "1.2.840.10008.5.1.4.1.1.12.3",
];

/// The most frames without functional groups of their own: what is kept of each takes far more memory than a
/// few pixels, which may be packed besides.
const MOST_UNDESCRIBED: u32 = 1 << 16;

/// The codes that set an instance apart from the stacks of its series: it was never part of a volume.
pub(crate) const ASIDE: &[&str] = &["COLOUR", "SECONDARY_CAPTURE", "PROJECTION", "LOCALIZER"];

/// Whether the standard counts objects of the class among the images.
pub(crate) fn is_image(sop_class: &str) -> bool {
    let named = StandardSopClassDictionary.by_uid(sop_class);
    !not_an_image(sop_class) && named.is_some_and(|class| class.name.contains("Image Storage"))
}

/// Whether the object is a segmentation: segments, or a label map.
pub(crate) fn is_segmentation(sop_class: &str) -> bool {
    [uids::SEGMENTATION_STORAGE, uids::LABEL_MAP_SEGMENTATION_STORAGE].contains(&sop_class)
}

/// Whether objects of the class hold no image of their own kind: segmentations, doses, maps of other objects.
pub(crate) fn not_an_image(sop_class: &str) -> bool {
    sop_class.starts_with("1.2.840.10008.5.1.4.1.1.66")
        || sop_class.starts_with("1.2.840.10008.5.1.4.1.1.481")
}

/// The refusal for what the image shows.
pub(crate) fn on_content(
    dataset: &Dataset<'_>,
    sop_class: &str,
    image_type: &str,
    pixels: &PixelFormat,
) -> Option<&'static str> {
    let is_or_under = |class: &str| {
        sop_class.strip_prefix(class).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let has = |word: &str| image_type.split('\\').any(|value| value.trim() == word);
    if pixels.samples != 1 || !["MONOCHROME1", "MONOCHROME2", ""].contains(&pixels.photometric.as_str()) {
        Some("COLOUR")
    } else if is_or_under(SECONDARY_CAPTURE) {
        Some("SECONDARY_CAPTURE")
    } else if PROJECTIONS.iter().any(|class| is_or_under(class)) || has("PROJECTION IMAGE") {
        Some("PROJECTION")
    } else if has("LOCALIZER") {
        Some("LOCALIZER")
    } else if let Some(lut) = ModalityLut::read(dataset, pixels.signed)
        && (lut.is_none() || pixels.float)
    {
        Some("MODALITY_LUT")
    } else {
        None
    }
}

/// The refusal for how the pixels are stored, or not.
pub(crate) fn on_storage(
    dataset: &Dataset<'_>,
    pixels: &PixelFormat,
    layout: Layout,
) -> Option<&'static str> {
    if layout == Layout::Missing {
        // A header without a size ends early, possibly between two elements.
        let sized = [tags::ROWS, tags::COLUMNS].iter().all(|&tag| dataset.get(tag).is_some());
        return Some(if dataset.cut || !sized { "TRUNCATED" } else { "NO_PIXEL_DATA" });
    }
    let bits = pixels.bits_allocated;
    let sound = match pixels.float {
        true => [32, 64].contains(&bits),
        false => {
            [8, 16, 32].contains(&bits)
                && (1..=bits).contains(&pixels.bits_stored)
                && pixels.high_bit < bits
                && pixels.high_bit + 1 >= pixels.bits_stored
        }
    };
    let side = 1..=u32::from(u16::MAX);
    if !sound || !side.contains(&pixels.rows) || !side.contains(&pixels.columns) || pixels.stored_frames == 0
    {
        return Some("UNSUPPORTED_PIXEL_FORMAT");
    }
    let described = dataset.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).len();
    if described > pixels.stored_frames as usize {
        // A volume of fewer frames would be called whole.
        return Some("FRAME_COUNT");
    }
    let undescribed = pixels.stored_frames > MOST_UNDESCRIBED && pixels.stored_frames as usize > described;
    match on_layout(pixels, layout) {
        None | Some("UNSUPPORTED_TRANSFER_SYNTAX") if undescribed => Some("IMPLAUSIBLE_SIZE"),
        found => found,
    }
}

fn on_layout(pixels: &PixelFormat, layout: Layout) -> Option<&'static str> {
    let frame_bytes =
        u64::from(pixels.rows) * u64::from(pixels.columns) * u64::from(pixels.bits_allocated / 8);
    match layout {
        Layout::Missing => None,
        Layout::Native { length } => {
            let needed = frame_bytes.checked_mul(pixels.stored_frames.into());
            needed.is_none_or(|needed| needed > length).then_some("TRUNCATED")
        }
        Layout::Fragments { count, length, cut } => {
            if cut || count < u64::from(pixels.stored_frames) {
                Some("TRUNCATED")
            } else if !codec::supported(pixels) {
                Some("UNSUPPORTED_TRANSFER_SYNTAX")
            } else if codec::implausible(frame_bytes, pixels.stored_frames, length) {
                Some("IMPLAUSIBLE_SIZE")
            } else {
                None
            }
        }
    }
}

/// Whether the object is an RTSTRUCT.
pub(crate) fn is_structure_set(sop_class: &str) -> bool {
    sop_class == uids::RT_STRUCTURE_SET_STORAGE
}
