//! The place of each frame: from functional groups for each frame, then shared ones, then the root.

use std::borrow::Cow;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::dataset::{Dataset, trim_ascii};
use super::instance::{Frame, Tags};
use crate::Real;

/// The frames of an image; an ordinary image has one.
pub(crate) fn read(root: &Dataset<'_>, count: u32) -> Vec<Frame> {
    let per_frame = root.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    let shared = root.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
    let root_order = root_order(root);
    let groups = |index| Groups { frame: per_frame.get(index), shared, root, single: count == 1 };
    match count {
        0 => Vec::new(),
        1 => vec![groups(0).frame(root_order)],
        _ => (0..count as usize).map(|index| groups(index).frame(root_order.clone())).collect(),
    }
}

/// Whether frames are described by functional groups.
pub(crate) fn has_groups(root: &Dataset<'_>) -> bool {
    let sequences = [tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE];
    sequences.iter().any(|&sequence| !root.items(sequence).is_empty())
}

/// Whether a slope or an intercept is there and has no value, which the standard does not allow.
pub(crate) fn rescale_is_empty(root: &Dataset<'_>) -> bool {
    let sequences = [tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE];
    let groups = sequences.iter().flat_map(|&sequence| root.items(sequence));
    let items = groups.flat_map(|group| group.items(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE));
    items.chain([root]).any(|item| {
        let empty = |tag| item.bytes(tag).is_some_and(|bytes| trim_ascii(bytes).is_empty());
        empty(tags::RESCALE_SLOPE) || empty(tags::RESCALE_INTERCEPT)
    })
}

/// What is kept of the frame of the image before.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// The bytes of the [`STEADY`] values that the frame was made from, and a place for those of the next.
    raw: [Vec<u8>; 2],
    frame: Frame,
}

/// The tags of a frame's values that slices of a series mostly share.
const STEADY: [Tag; 6] = [
    tags::IMAGE_ORIENTATION_PATIENT,
    tags::PIXEL_SPACING,
    tags::SPACING_BETWEEN_SLICES,
    tags::SLICE_THICKNESS,
    tags::RESCALE_SLOPE,
    tags::RESCALE_INTERCEPT,
];

impl Recent {
    /// The frame that [`read`] gives of an image of one frame without functional groups.
    pub(crate) fn read(&mut self, root: &Dataset<'_>) -> Frame {
        let [before, raw] = &mut self.raw;
        raw.clear();
        let orders = ROOT_ORDER.iter().map(|&(_, tag)| tag);
        root.spell(STEADY.into_iter().chain(orders.filter(|tag| !PASSING.contains(tag))), raw);
        if before != raw {
            std::mem::swap(before, raw);
            let groups = Groups { frame: None, shared: None, root, single: true };
            self.frame = groups.frame(root_order(root));
            return self.frame.clone();
        }
        let mut frame = self.frame.clone();
        frame.position_mm = reals(root.vector(tags::IMAGE_POSITION_PATIENT));
        for (keyword, tag) in ROOT_ORDER.into_iter().filter(|(_, tag)| PASSING.contains(tag)) {
            match value(root, tag) {
                Some(text) => drop(frame.order.insert(keyword.into(), text)),
                None => drop(frame.order.remove(keyword)),
            }
        }
        frame
    }
}

struct Groups<'d, 'a> {
    frame: Option<&'d Dataset<'a>>,
    shared: Option<&'d Dataset<'a>>,
    root: &'d Dataset<'a>,
    single: bool,
}

impl<'d, 'a> Groups<'d, 'a> {
    /// The first item of a functional group that has the wanted element.
    fn group(&self, sequence: Tag, wanted: Tag) -> Option<&'d Dataset<'a>> {
        [self.frame, self.shared]
            .into_iter()
            .flatten()
            .filter_map(|groups| groups.items(sequence).first())
            .find(|item| item.get(wanted).is_some())
    }

    /// The item of [`Groups::group`], or else the root, which speaks for all frames alike.
    fn group_or_root(&self, sequence: Tag, wanted: Tag) -> &'d Dataset<'a> {
        self.group(sequence, wanted).unwrap_or(self.root)
    }

    fn frame(&self, mut order: Tags) -> Frame {
        let position = self.group(tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT);
        // One position at the root cannot hold for several frames.
        let position = position.or(self.single.then_some(self.root));
        let plane = self.group_or_root(tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT);
        let measures = |wanted| self.group_or_root(tags::PIXEL_MEASURES_SEQUENCE, wanted);
        let values = |wanted| self.group_or_root(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, wanted);
        let length = |wanted| measures(wanted).number(wanted).filter(|v| v.is_finite()).map(Real::new);
        // A value that is there and makes no sense must not become the default: the image is refused.
        let rescale = |wanted, default| {
            let item = values(wanted);
            let absent = item.bytes(wanted).is_none_or(|bytes| trim_ascii(bytes).is_empty());
            Real::new(if absent { default } else { item.number(wanted).unwrap_or(f64::NAN) })
        };
        if self.frame.is_some() || self.shared.is_some() {
            self.order(&mut order);
        }
        Frame {
            position_mm: position.and_then(|item| reals(item.vector(tags::IMAGE_POSITION_PATIENT))),
            orientation: reals(plane.vector(tags::IMAGE_ORIENTATION_PATIENT)),
            spacing_mm: reals(measures(tags::PIXEL_SPACING).vector(tags::PIXEL_SPACING)),
            gap_mm: length(tags::SPACING_BETWEEN_SLICES),
            thickness_mm: length(tags::SLICE_THICKNESS),
            rescale: [rescale(tags::RESCALE_SLOPE, 1.0), rescale(tags::RESCALE_INTERCEPT, 0.0)],
            order,
        }
    }

    /// Adds what sets this frame apart from others at the same place.
    fn order(&self, order: &mut Tags) {
        let content = tags::FRAME_CONTENT_SEQUENCE;
        let mut put = |keyword: &'static str, sequence: Tag, wanted: Tag| {
            if let Some(text) = self.group(sequence, wanted).and_then(|item| value(item, wanted)) {
                order.insert(keyword.into(), text);
            }
        };
        put("StackID", content, tags::STACK_ID);
        put("TemporalPosition", content, tags::TEMPORAL_POSITION_INDEX);
        put("AcquisitionNumber", content, tags::FRAME_ACQUISITION_NUMBER);
        put("ImageType", tags::MR_IMAGE_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE);
        put("ImageType", tags::CT_IMAGE_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE);
        put("EchoTime", tags::MR_ECHO_SEQUENCE, tags::EFFECTIVE_ECHO_TIME);
        put("DiffusionBValue", tags::MR_DIFFUSION_SEQUENCE, tags::DIFFUSION_B_VALUE);
        put("TriggerTime", tags::CARDIAC_SYNCHRONIZATION_SEQUENCE, tags::NOMINAL_CARDIAC_TRIGGER_DELAY_TIME);
        let gradient = self
            .group(tags::MR_DIFFUSION_SEQUENCE, tags::DIFFUSION_GRADIENT_DIRECTION_SEQUENCE)
            .and_then(|item| item.items(tags::DIFFUSION_GRADIENT_DIRECTION_SEQUENCE).first())
            .and_then(|item| value(item, tags::DIFFUSION_GRADIENT_ORIENTATION));
        if let Some(gradient) = gradient {
            order.insert("DiffusionGradient".into(), gradient);
        }
        let indices = self.group(content, tags::DIMENSION_INDEX_VALUES);
        let indices = indices.map(|item| item.numbers(tags::DIMENSION_INDEX_VALUES)).unwrap_or_default();
        for (number, index) in indices.iter().enumerate() {
            order.insert(format!("DimensionIndex{}", number + 1).into(), index.to_string());
        }
    }
}

/// The attributes at the root that set slices of one place apart.
const ROOT_ORDER: [(&str, Tag); 10] = [
    ("SeriesNumber", tags::SERIES_NUMBER),
    ("ImageType", tags::IMAGE_TYPE),
    ("EchoTime", tags::ECHO_TIME),
    ("DiffusionBValue", tags::DIFFUSION_B_VALUE),
    ("DiffusionGradient", tags::DIFFUSION_GRADIENT_ORIENTATION),
    ("TemporalPosition", tags::TEMPORAL_POSITION_IDENTIFIER),
    ("TriggerTime", tags::TRIGGER_TIME),
    ("AcquisitionNumber", tags::ACQUISITION_NUMBER),
    ("AcquisitionTime", tags::ACQUISITION_TIME),
    ("InstanceNumber", tags::INSTANCE_NUMBER),
];

/// The tags among them that change from slice to slice.
const PASSING: [Tag; 3] = [tags::TRIGGER_TIME, tags::ACQUISITION_TIME, tags::INSTANCE_NUMBER];

fn root_order(root: &Dataset<'_>) -> Tags {
    ROOT_ORDER.into_iter().filter_map(|(keyword, tag)| Some((keyword.into(), value(root, tag)?))).collect()
}

/// The value of an element as text; numbers in one spelling, so that `12` and `12.0` are the same.
fn value(item: &Dataset<'_>, tag: Tag) -> Option<String> {
    if let (Some(bytes), true) = (item.bytes(tag), tag != tags::ACQUISITION_TIME) {
        let digits = trim_ascii(bytes);
        // Most values are short counts, spelt as they would be spelt again.
        if (1..=9).contains(&digits.len())
            && digits.iter().all(u8::is_ascii_digit)
            && (digits.first() != Some(&b'0') || digits.len() == 1)
            && item.get(tag).is_some_and(|element| [VR::IS, VR::DS].contains(&element.vr))
        {
            return String::from_utf8(digits.to_vec()).ok();
        }
    }
    let numbers =
        if tag == tags::ACQUISITION_TIME || tag == tags::IMAGE_TYPE { Vec::new() } else { item.numbers(tag) };
    if numbers.is_empty() {
        return item.text(tag).map(Cow::into_owned);
    }
    if let [number] = numbers[..] {
        return Some(number.to_string());
    }
    Some(numbers.iter().map(f64::to_string).collect::<Vec<_>>().join("\\"))
}

fn reals<const N: usize>(numbers: Option<[f64; N]>) -> Option<[Real; N]> {
    numbers.map(|numbers| numbers.map(Real::new))
}
