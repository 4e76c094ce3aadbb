//! Reading of SEG files to masks: each frame goes to its segment and to its slice, whatever its place in the
//! file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use dicom_dictionary_std::tags;
use rayon::prelude::*;

use super::bits::{runs_of_bits, runs_of_labels};
use super::grid;
use super::object::{Object, SegmentationType, bad};
use crate::dicom::Head;
use crate::dicom::codecs::codec;
use crate::dicom::header::image::Stored;
use crate::nearest::room;
use crate::{Geometry, LabelMap, Reject, RunLength};

/// Segments on the grid that their frames span.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmentation {
    pub(super) geometry: Geometry,
    pub(super) segments: Vec<Segment>,
    /// Whether frames are no thicker than a slice of what they are drawn on.
    pub(super) thin: bool,
}

/// One segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// SegmentNumber.
    pub number: u16,
    /// SegmentLabel.
    pub name: String,
    /// The segment's pixels by slice; slices without any are left out.
    pub slices: BTreeMap<usize, RunLength>,
    /// The number of voxels of fractions above 0 in a segment that has none of at least the threshold; 0 in
    /// all others.
    pub faint: usize,
}

impl Segment {
    /// The number of voxels in all.
    pub fn voxels(&self) -> u64 {
        self.slices.values().map(RunLength::area).sum()
    }
}

impl Segmentation {
    /// The grid of the frames, slices ascending along its normal; slices without a frame are empty.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The segments, in the file's order. A label map's background is none of them.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The same segments by other names: `name_of` gives each one's, by its place in the file, from 1 on, and its own name.
    #[must_use]
    pub fn renamed(mut self, name_of: impl Fn(usize, &str) -> String) -> Self {
        for (place, segment) in (1..).zip(&mut self.segments) {
            segment.name = name_of(place, &segment.name);
        }
        self
    }

    /// One segment as voxels of 1 on the segmentation's own grid.
    ///
    /// # Errors
    /// A [`Reject`] when there is no room for the grid.
    pub fn mask(&self, segment: &Segment) -> Result<LabelMap, Reject> {
        let mut voxels = room(&self.geometry)?;
        let area = self.geometry.size[1] * self.geometry.size[2];
        for (&slice, runs) in &segment.slices {
            let pixels = voxels.get_mut(slice * area..(slice + 1) * area);
            pixels.and_then(|pixels| runs.decode(pixels, 1)).ok_or_else(|| bad("a run leaves its slice"))?;
        }
        LabelMap::new(self.geometry.clone(), voxels).map_err(|error| bad(error.to_string()))
    }
}

/// Reads a SEG; fractions of a half and more count.
///
/// # Errors
/// A [`Reject`] by name: `UNREADABLE`, `NOT_A_SEGMENTATION`, `BAD_SEGMENTATION`, `BAD_GEOMETRY`,
/// `VARIABLE_SPACING`, `NON_COLLINEAR_POSITIONS`, `DUPLICATE_POSITION_AMBIGUOUS`, `TRUNCATED`,
/// `IMPLAUSIBLE_SIZE`, `UNSUPPORTED_PIXEL_FORMAT`, `UNSUPPORTED_TRANSFER_SYNTAX`, `DECODE_FAILED`.
pub fn read(path: &Path) -> Result<Segmentation, Reject> {
    read_with_threshold(path, 0.5)
}

/// Reads a SEG, where the voxels of a FRACTIONAL one count whose fraction is at least `threshold`.
///
/// # Errors
/// The errors of [`read`].
pub fn read_with_threshold(path: &Path, threshold: f64) -> Result<Segmentation, Reject> {
    let bytes = crate::container::hold(path).map_err(|error| crate::reading::refused(&error))?;
    let head = Head::find(&bytes, |code| {
        Reject::new("NOT_A_SEGMENTATION", format!("a DICOM SEG expected, {code} found"), "name a SEG file")
    })?;
    let dataset = head.dataset().map_err(|error| crate::reading::refused(&error))?;
    let object = Object::new(&head, &dataset)?;
    let frames = object.frames()?;
    let pixels = Pixels::new(&object, threshold)?;
    let format = &object.image.instance.pixels;
    let placed = grid::place(&frames, [format.rows as usize, format.columns as usize], object.sourced())?;
    let numbers = object.frame_segments();
    let found: Vec<Vec<(u16, RunLength)>> = (0..frames.len())
        .into_par_iter()
        .map(|frame| pixels.frame(frame, numbers.get(frame).copied().flatten()))
        .collect::<Result<_, _>>()?;
    let segment = |(number, name): &(u16, String)| {
        (*number, Segment { number: *number, name: name.clone(), slices: BTreeMap::new(), faint: 0 })
    };
    let mut segments: BTreeMap<u16, Segment> = object.segments.iter().map(segment).collect();
    if segments.len() != object.segments.len() {
        return Err(repeated(&object.segments));
    }
    for (runs, slice) in found.into_iter().zip(placed.slices) {
        for (number, runs) in runs {
            let segment = segments.get_mut(&number);
            let segment = segment.ok_or_else(|| bad(format!("segment {number} has pixels and no name")))?;
            if segment.slices.insert(slice, runs).is_some() {
                let message = format!("segment {number} has several frames at one position");
                return Err(Reject::new("DUPLICATE_POSITION_AMBIGUOUS", message, "export one of them"));
            }
        }
    }
    segments.values_mut().for_each(|segment| segment.slices.retain(|_, runs| !runs.0.is_empty()));
    if object.kind == SegmentationType::Fractional {
        pixels.count_faint(&numbers, &mut segments)?;
    }
    let segments = object.segments.iter().filter_map(|(number, _)| segments.remove(number)).collect();
    Ok(Segmentation { geometry: placed.geometry, segments, thin: placed.thin })
}

/// The refusal of segments that share a number.
fn repeated(segments: &[(u16, String)]) -> Reject {
    let mut of_number: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for (number, name) in segments {
        of_number.entry(*number).or_default().push(format!("`{name}`"));
    }
    let shared = of_number.into_iter().filter(|(_, names)| names.len() > 1);
    let shared: Vec<String> =
        shared.map(|(number, names)| format!("number {number} of {}", names.join(" and "))).take(4).collect();
    bad(format!("one segment for each SegmentNumber expected, {} found", shared.join(", ")))
}

/// The stored frames, and what their values mean.
struct Pixels<'o, 'd, 'a> {
    object: &'o Object<'d, 'a>,
    /// The number of pixels of a frame.
    area: usize,
    frames: usize,
    /// The least value of a BINARY or FRACTIONAL frame that counts.
    least: f64,
}

impl<'o, 'd, 'a> Pixels<'o, 'd, 'a> {
    fn new(object: &'o Object<'d, 'a>, threshold: f64) -> Result<Self, Reject> {
        let format = &object.image.instance.pixels;
        let least = match object.kind {
            SegmentationType::Fractional => {
                let most = object.dataset.number(tags::MAXIMUM_FRACTIONAL_VALUE);
                let most = most.filter(|&most| most >= 1.0);
                // A fraction of zero is part of nothing, whatever the threshold.
                (most.ok_or_else(|| bad("a MaximumFractionalValue expected, none found"))? * threshold)
                    .max(f64::MIN_POSITIVE)
            }
            _ => 1.0,
        };
        let bits_fit = match object.kind {
            SegmentationType::Binary => [1, 8].contains(&format.bits_allocated),
            SegmentationType::Fractional | SegmentationType::LabelMap => {
                [8, 16].contains(&format.bits_allocated)
            }
        };
        let side = 1..=u32::from(u16::MAX);
        if !bits_fit
            || format.samples != 1
            || format.float
            || !side.contains(&format.rows)
            || !side.contains(&format.columns)
        {
            let message = format!("frames of 1, 8 or 16 bits expected, {} found", format.bits_allocated);
            return Err(Reject::new("UNSUPPORTED_PIXEL_FORMAT", message, "export the segments as BINARY"));
        }
        let area = format.rows as usize * format.columns as usize;
        let pixels = Self { object, area, frames: format.stored_frames as usize, least };
        pixels.check_stored()?;
        Ok(pixels)
    }

    /// Refuses sizes that the stored bytes cannot be, before anything is made of them.
    fn check_stored(&self) -> Result<(), Reject> {
        let format = &self.object.image.instance.pixels;
        let truncated =
            |message: String| Reject::new("TRUNCATED", message, "the copy broke off: fetch the file again");
        match &self.object.image.stored {
            Stored::Missing | Stored::Decoded { .. } => {
                Err(truncated("frames expected, no pixel data found".to_owned()))
            }
            Stored::Native { bytes, .. } => {
                let bits = (self.area as u64).checked_mul(self.frames as u64);
                let bits = bits.and_then(|bits| bits.checked_mul(format.bits_allocated.into()));
                let found = bytes.len() as u64 * 8;
                match bits.is_some_and(|bits| bits <= found) {
                    true => Ok(()),
                    false => Err(truncated(format!("{bits:?} bits expected, {found} found"))),
                }
            }
            Stored::Fragments { fragments, cut, .. } => {
                let stored: u64 = fragments.iter().map(|fragment| fragment.len() as u64).sum();
                let frame_bytes = (self.area as u64 * u64::from(format.bits_allocated)).div_ceil(8);
                let supported = match format.bits_allocated {
                    1 => codec::supports_bits(format),
                    _ => codec::supported(format),
                };
                if *cut || fragments.len() < self.frames {
                    Err(truncated(format!("{} frames expected, fewer found", self.frames)))
                } else if !supported {
                    let message = format!("no decoder for frames in {}", format.transfer_syntax);
                    let hint = "write it again uncompressed or as RLE";
                    Err(Reject::new("UNSUPPORTED_TRANSFER_SYNTAX", message, hint))
                } else if codec::implausible(frame_bytes, format.stored_frames, stored) {
                    let message = format!("frames of {frame_bytes} bytes in {stored}");
                    Err(Reject::new("IMPLAUSIBLE_SIZE", message, "the header is damaged"))
                } else {
                    Ok(())
                }
            }
        }
    }

    /// The runs of each segment on one frame.
    fn frame(&self, frame: usize, number: Option<u16>) -> Result<Vec<(u16, RunLength)>, Reject> {
        let object = self.object;
        if object.kind == SegmentationType::LabelMap {
            let padding = object.padding;
            let runs = runs_of_labels(self.values(frame)?, |label| label != 0 && Some(label) != padding);
            return Ok(runs.into_iter().collect());
        }
        let number = number.ok_or_else(|| bad(format!("frame {frame} names no segment")))?;
        let runs = match (&object.image.stored, object.image.instance.pixels.bits_allocated) {
            (Stored::Native { bytes, .. }, 1) => runs_of_bits(bytes, frame * self.area, self.area),
            _ => {
                let counts =
                    self.values(frame)?.into_iter().map(|value| u16::from(f64::from(value) >= self.least));
                runs_of_labels(counts, |set| set == 1).remove(&1).unwrap_or_default()
            }
        };
        Ok(vec![(number, runs)])
    }

    /// Counts what lies below the threshold in segments that have nothing else.
    fn count_faint(
        &self,
        numbers: &[Option<u16>],
        segments: &mut BTreeMap<u16, Segment>,
    ) -> Result<(), Reject> {
        for (frame, number) in numbers.iter().enumerate() {
            let segment = number.and_then(|number| segments.get_mut(&number));
            if let Some(segment) = segment.filter(|segment| segment.slices.is_empty()) {
                segment.faint += self.values(frame)?.iter().filter(|value| **value > 0).count();
            }
        }
        Ok(())
    }

    /// The values of a frame: of 8 or 16 bits, or of one bit where it is compressed.
    fn values(&self, frame: usize) -> Result<Vec<u16>, Reject> {
        let format = &self.object.image.instance.pixels;
        let failed = |message: &str| {
            Reject::new("DECODE_FAILED", format!("frame {frame}: {message}"), "the file may be damaged")
        };
        let (bytes, width, big) = match &self.object.image.stored {
            Stored::Native { bytes, big_endian } => {
                let width = usize::from(format.bits_allocated / 8);
                let start = frame * self.area * width;
                let bytes = bytes.get(start..start + self.area * width).ok_or_else(|| failed("cut off"))?;
                (Cow::Borrowed(bytes), width, *big_endian)
            }
            Stored::Fragments { offsets, fragments, .. } => {
                let stream = codec::frame_bytes(frame, self.frames, offsets, fragments);
                let stream = stream.ok_or_else(|| failed("its fragments cannot be told"))?;
                if format.bits_allocated == 1 {
                    return codec::decode_bits(format, &stream).map_err(|message| failed(&message));
                }
                let (bytes, width) = codec::decode(format, &stream).map_err(|message| failed(&message))?;
                (Cow::Owned(bytes), width, false)
            }
            Stored::Missing | Stored::Decoded { .. } => return Err(failed("no pixel data")),
        };
        let values: Vec<u16> = match width {
            1 => bytes.iter().map(|&byte| byte.into()).collect(),
            _ => {
                let read = if big { u16::from_be_bytes } else { u16::from_le_bytes };
                bytes.as_chunks::<2>().0.iter().map(|&pair| read(pair)).collect()
            }
        };
        if values.len() == self.area { Ok(values) } else { Err(failed("another size than declared")) }
    }
}
