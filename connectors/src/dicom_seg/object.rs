//! The common source of the record and the masks: a SEG's data set, its segments and its frames.

use dicom_dictionary_std::{tags, uids};

use crate::Reject;
use crate::dicom::header::{frames, image};
use crate::dicom::{Dataset, Frame, Head};

/// SegmentationType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentationType {
    Binary,
    Fractional,
    LabelMap,
}

/// The parts of a SEG.
pub(super) struct Object<'d, 'a> {
    pub(super) dataset: &'d Dataset<'a>,
    pub(super) image: image::Image<'a>,
    pub(super) kind: SegmentationType,
    /// The numbers and labels of the segments, in the file's order; a label map's background is not among
    /// them.
    pub(super) segments: Vec<(u16, String)>,
    /// The value of a label map's pixels that belong to nothing, beside 0.
    pub(super) padding: Option<u16>,
}

/// Whether a SOP class is one of the two for segmentations by voxels.
pub(super) fn is_segmentation(sop_class: &str) -> bool {
    [uids::SEGMENTATION_STORAGE, uids::LABEL_MAP_SEGMENTATION_STORAGE].contains(&sop_class)
}

pub(super) fn bad(message: impl Into<String>) -> Reject {
    Reject::new("BAD_SEGMENTATION", message, "the object breaks the standard: export it again")
}

impl<'d, 'a> Object<'d, 'a> {
    pub(super) fn new(head: &Head<'_>, dataset: &'d Dataset<'a>) -> Result<Self, Reject> {
        let not = |found: &str| {
            let message = format!("a DICOM SEG expected, {found} found");
            Reject::new("NOT_A_SEGMENTATION", message, "is this another kind of object?")
        };
        let class = dataset.text(tags::SOP_CLASS_UID).or_else(|| head.media_class.clone());
        if !class.is_some_and(|class| is_segmentation(&class)) {
            return Err(not("another SOP class"));
        }
        let image = image::read(head, dataset).ok_or_else(|| not("an object without pixels"))?;
        let kind = match dataset.text(tags::SEGMENTATION_TYPE).as_deref() {
            Some("BINARY") => SegmentationType::Binary,
            Some("FRACTIONAL") => SegmentationType::Fractional,
            Some("LABELMAP") => SegmentationType::LabelMap,
            other => return Err(bad(format!("a known SegmentationType expected, {other:?} found"))),
        };
        let padding = dataset.number(tags::PIXEL_PADDING_VALUE).map(|value| value as u16);
        let characters = dataset.character_set();
        let mut segments = Vec::new();
        for item in dataset.items(tags::SEGMENT_SEQUENCE) {
            let number = item.count(tags::SEGMENT_NUMBER).and_then(|number| u16::try_from(number).ok());
            let number = number.ok_or_else(|| bad("a SegmentNumber expected, none found"))?;
            let background = kind == SegmentationType::LabelMap && (number == 0 || Some(number) == padding);
            if !background {
                let label = item.decoded_text(tags::SEGMENT_LABEL, characters.as_ref());
                segments.push((number, label.unwrap_or_default()));
            }
        }
        Ok(Self { dataset, image, kind, segments, padding })
    }

    fn per_frame(&self) -> &'d [Dataset<'a>] {
        self.dataset.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
    }

    /// The images that each frame was made from.
    pub(super) fn sources(&self) -> impl Iterator<Item = impl Iterator<Item = &'d Dataset<'a>>> {
        self.per_frame().iter().map(|frame| {
            let derived = frame.items(tags::DERIVATION_IMAGE_SEQUENCE).iter();
            derived.flat_map(|item| item.items(tags::SOURCE_IMAGE_SEQUENCE))
        })
    }

    /// Whether each frame names the one image that it was made from.
    pub(super) fn sourced(&self) -> bool {
        let named = |item: &Dataset<'_>| item.text(tags::REFERENCED_SOP_INSTANCE_UID).is_some();
        !self.per_frame().is_empty()
            && self.sources().all(|images| images.filter(|item| named(item)).count() == 1)
    }

    /// The place of each frame.
    pub(super) fn frames(&self) -> Result<Vec<Frame>, Reject> {
        let declared = self.image.instance.pixels.stored_frames;
        let found = self.per_frame().len();
        if declared as usize != found || found == 0 {
            return Err(bad(format!("{declared} frames declared, {found} described")));
        }
        Ok(frames::read(self.dataset, declared))
    }

    /// The segment that each frame belongs to; none in a label map.
    pub(super) fn frame_segments(&self) -> Vec<Option<u16>> {
        let shared = self.dataset.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
        let number = |group: &Dataset<'_>| {
            let item = group.items(tags::SEGMENT_IDENTIFICATION_SEQUENCE).first()?;
            item.count(tags::REFERENCED_SEGMENT_NUMBER).and_then(|number| u16::try_from(number).ok())
        };
        let common = shared.and_then(number);
        self.per_frame().iter().map(|frame| number(frame).or(common)).collect()
    }
}
