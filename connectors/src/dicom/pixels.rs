//! Pixels to scans: decode, unpack, rescale.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::codec;
use super::header::Head;
use super::image::{self, Image, Stored};
use super::instance::PixelFormat;
use crate::{Geometry, Reject, Scan};

/// Decodes slices and rescales them to f32, in parallel. What the pixels mean (bits, rescale, transfer
/// syntax) is read from the files themselves.
///
/// # Errors
/// A [`Reject`] that names what is wrong with a slice that cannot be decoded: `UNREADABLE`,
/// `TRUNCATED`, `DECODE_FAILED`, `CHANGED`, …
pub fn load_scan(geometry: &Geometry, slices: &[(PathBuf, u32)]) -> Result<Scan, Reject> {
    let changed = |what: String| Reject::new("CHANGED", what, "the files changed meanwhile: run again");
    let [depth, rows, columns] = geometry.size;
    if depth != slices.len() || rows == 0 || columns == 0 {
        return Err(changed(format!("{depth} slices expected, {} given", slices.len())));
    }
    // Each file is read once, whatever the number of its frames.
    let mut files: BTreeMap<&Path, Vec<(u32, &mut [f32])>> = BTreeMap::new();
    let count = geometry.voxels();
    let mut voxels: Vec<f32> = Vec::new();
    voxels.try_reserve_exact(count).map_err(|_| {
        Reject::new("OUT_OF_MEMORY", format!("no room for {count} voxels"), "give the run more memory")
    })?;
    voxels.resize(count, 0.0);
    for ((path, frame), slice) in slices.iter().zip(voxels.chunks_exact_mut(rows * columns)) {
        files.entry(path).or_default().push((*frame, slice));
    }
    let size = [rows, columns];
    files.into_par_iter().try_for_each(|(path, wanted)| fill(path, wanted, size))?;
    Scan::new(geometry.clone(), voxels).map_err(|error| changed(error.to_string()))
}

/// Fills the slices that one file holds.
fn fill(path: &Path, wanted: Vec<(u32, &mut [f32])>, size: [usize; 2]) -> Result<(), Reject> {
    with_image(path, size, |image| {
        wanted
            .into_par_iter()
            .try_for_each(|(frame, slice)| image.decode(frame as usize, slice).map_err(|e| failed(frame, &e)))
    })
}

/// The refusal of a frame that cannot be decoded.
pub(super) fn failed(frame: u32, message: &str) -> Reject {
    Reject::new("DECODE_FAILED", format!("frame {frame}: {message}"), "the file may be damaged")
}

/// Reads a file whose record was judged before, and checks that it still holds what was judged.
pub(super) fn with_image<T>(
    path: &Path,
    size: [usize; 2],
    using: impl FnOnce(&Image<'_>) -> Result<T, Reject>,
) -> Result<T, Reject> {
    let bytes = crate::container::read(path)
        .map_err(|error| Reject::new("UNREADABLE", error.to_string(), "check the file's permissions"))?;
    let head = Head::find(&bytes).map_err(|code| {
        Reject::new(code, "a DICOM image expected", "the file changed meanwhile: run again")
    })?;
    let dataset = head.dataset();
    let Some(image) = image::read(&head, &dataset) else {
        return Err(Reject::new(
            "NOT_AN_IMAGE",
            "the file holds no image",
            "it changed meanwhile: run again",
        ));
    };
    if let Some(code) = &image.instance.refusal {
        return Err(Reject::new(code, "a slice cannot be used", "see what `inspect` says of the file"));
    }
    let found = image.instance.pixels.frame_size;
    if found.map(|n| n as usize) != size {
        let message = format!("slices of {size:?} expected, {found:?} found");
        return Err(Reject::new("MIXED_MATRIX", message, "the file changed meanwhile: run again"));
    }
    using(&image)
}

impl Image<'_> {
    /// Decodes one frame, a tile of a mosaic included, and rescales it.
    fn decode(&self, frame: usize, slice: &mut [f32]) -> Result<(), String> {
        let decoded = self.frame(frame)?;
        let unpack = decoded.unpack();
        for (row, line) in slice.chunks_exact_mut(decoded.columns.max(1)).enumerate() {
            unpack.fill_line(decoded.start(row), line, |value| value as f32).ok_or(SHORT)?;
        }
        Ok(())
    }

    /// One frame, a tile of a mosaic included, as stored.
    pub(super) fn frame(&self, frame: usize) -> Result<StoredFrame<'_>, String> {
        let format = &self.instance.pixels;
        let place = self.instance.frames.get(frame).ok_or("no such frame")?;
        let [rows, columns] = format.frame_size.map(|n| n as usize);
        let stride = format.columns as usize;
        let mosaic = format.frame_size != [format.rows, format.columns];
        let samples = self.samples(if mosaic { 0 } else { frame })?;
        let across = (stride / columns.max(1)).max(1);
        let first = if mosaic { frame / across * rows * stride + frame % across * columns } else { 0 };
        let rescale = place.rescale.map(|number| number.0);
        Ok(StoredFrame { format, samples, first, stride, rows, columns, rescale })
    }

    /// The samples of one stored frame.
    fn samples(&self, frame: usize) -> Result<Samples<'_>, String> {
        let format = &self.instance.pixels;
        let allocated = usize::from(format.bits_allocated / 8);
        match &self.stored {
            Stored::Missing => Err("no pixel data".to_owned()),
            Stored::Native { bytes, big_endian } => {
                let length = format.rows as usize * format.columns as usize * allocated;
                let start = frame.checked_mul(length).ok_or("no such frame")?;
                let bytes =
                    bytes.get(start..start.saturating_add(length)).ok_or("the pixel data end early")?;
                Ok(Samples { bytes: Cow::Borrowed(bytes), width: allocated, big_endian: *big_endian })
            }
            Stored::Fragments { offsets, fragments, .. } => {
                let frames = format.stored_frames as usize;
                let stream = codec::frame_bytes(frame, frames, offsets, fragments).ok_or_else(|| {
                    format!("{} fragments cannot be told into {frames} frames", fragments.len())
                })?;
                let (bytes, width) = codec::decode(format, &stream)?;
                Ok(Samples { bytes: Cow::Owned(bytes), width, big_endian: false })
            }
        }
    }
}

const SHORT: &str = "the frame is shorter than its size";

/// One frame as stored: its samples, and where its lines lie among them.
pub(super) struct StoredFrame<'a> {
    format: &'a PixelFormat,
    samples: Samples<'a>,
    /// The first sample, and how many lie from one line to the next.
    first: usize,
    stride: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    rescale: [f64; 2],
}

impl StoredFrame<'_> {
    fn start(&self, row: usize) -> usize {
        self.first + row * self.stride
    }

    fn unpack(&self) -> Unpack<'_> {
        let [slope, intercept] = self.rescale;
        Unpack::new(self.format, &self.samples, slope, intercept)
    }

    /// Calls for each line with its values after rescale, and with its samples as stored: little endian,
    /// BitsAllocated wide.
    pub(super) fn lines(&self, mut line: impl FnMut(&[f64], &[u8])) -> Result<(), String> {
        let unpack = self.unpack();
        let (width, wide) = (self.samples.width, usize::from(self.format.bits_allocated / 8));
        let (mut values, mut stored) = (vec![0.0; self.columns], Vec::new());
        for row in 0..self.rows {
            let start = self.start(row);
            unpack.fill_line(start, &mut values, |value| value).ok_or(SHORT)?;
            let bytes = self.samples.bytes.get(start * width..(start + self.columns) * width);
            stored.clear();
            self.put_little(bytes.ok_or(SHORT)?, width, wide, &mut stored);
            line(&values, &stored);
        }
        Ok(())
    }

    fn put_little(&self, bytes: &[u8], width: usize, wide: usize, out: &mut Vec<u8>) {
        if width == wide && !self.samples.big_endian {
            return out.extend_from_slice(bytes);
        }
        for sample in bytes.chunks_exact(width.max(1)) {
            let from = out.len();
            out.extend_from_slice(sample);
            if self.samples.big_endian {
                out.get_mut(from..).unwrap_or_default().reverse();
            }
            // A codec may give narrower samples than the file declares.
            let negative = self.format.signed && out.last().is_some_and(|byte| byte & 0x80 != 0);
            out.resize(from + wide.max(width), if negative { 0xFF } else { 0 });
        }
    }
}

/// Stored samples of one frame.
struct Samples<'a> {
    bytes: Cow<'a, [u8]>,
    width: usize,
    big_endian: bool,
}

/// How a stored sample becomes a value: BitsStored ending at HighBit, the rest masked away.
struct Unpack<'a> {
    samples: &'a Samples<'a>,
    float: bool,
    signed: bool,
    shift: u32,
    bits: u32,
    slope: f64,
    intercept: f64,
}

impl<'a> Unpack<'a> {
    fn new(format: &PixelFormat, samples: &'a Samples<'a>, slope: f64, intercept: f64) -> Self {
        let bits = u32::from(format.bits_stored.clamp(1, 32));
        let shift = (u32::from(format.high_bit) + 1).saturating_sub(bits).min(31);
        Self { samples, float: format.float, signed: format.signed, shift, bits, slope, intercept }
    }

    /// Fills a line from the samples at `start` on; `None` when they do not reach that far.
    fn fill_line<T>(&self, start: usize, line: &mut [T], to: impl Fn(f64) -> T) -> Option<()> {
        let width = self.samples.width;
        let from = start.checked_mul(width)?;
        let bytes = self.samples.bytes.get(from..from.checked_add(line.len().checked_mul(width)?)?)?;
        let to = |sample: f64| to(sample * self.slope + self.intercept);
        match (width, self.float) {
            (4, true) => self.convert(bytes, line, |b: [u8; 4]| to(f32::from_le_bytes(b).into())),
            (8, true) => self.convert(bytes, line, |b: [u8; 8]| to(f64::from_le_bytes(b))),
            (1, false) => self.convert(bytes, line, |[b]: [u8; 1]| to(self.integer(b.into()))),
            (2, false) => {
                self.convert(bytes, line, |b: [u8; 2]| to(self.integer(u16::from_le_bytes(b).into())));
            }
            (4, false) => self.convert(bytes, line, |b: [u8; 4]| to(self.integer(u32::from_le_bytes(b)))),
            _ => return None,
        }
        Some(())
    }

    fn integer(&self, raw: u32) -> f64 {
        let unused = 32 - self.bits;
        let bits = (raw >> self.shift) << unused;
        if self.signed { f64::from((bits as i32) >> unused) } else { f64::from(bits >> unused) }
    }

    fn convert<T, const N: usize>(&self, bytes: &[u8], line: &mut [T], read: impl Fn([u8; N]) -> T) {
        let big_endian = self.samples.big_endian;
        for (&chunk, value) in bytes.as_chunks::<N>().0.iter().zip(line) {
            let mut chunk = chunk;
            if big_endian {
                chunk.reverse();
            }
            *value = read(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(format: &PixelFormat, bytes: &[u8], big_endian: bool) -> Vec<f32> {
        let width = usize::from(format.bits_allocated / 8);
        let samples = Samples { bytes: Cow::Borrowed(bytes), width, big_endian };
        let mut line = vec![0.0; bytes.len() / width];
        Unpack::new(format, &samples, 1.0, 0.0).fill_line(0, &mut line, |value| value as f32).unwrap();
        line
    }

    fn format(allocated: u16, stored: u16, high_bit: u16, signed: bool) -> PixelFormat {
        PixelFormat {
            bits_allocated: allocated,
            bits_stored: stored,
            high_bit,
            signed,
            ..PixelFormat::default()
        }
    }

    #[test]
    fn bits_are_masked_shifted_and_sign_extended() {
        assert_eq!(values(&format(16, 12, 11, true), &[0xFF, 0x0F, 0x00, 0xF8], false), [-1.0, -2048.0]);
        assert_eq!(values(&format(16, 12, 11, false), &[0xFF, 0xFF], false), [4095.0]);
        assert_eq!(values(&format(16, 12, 15, false), &[0x50, 0x00], false), [5.0]);
        assert_eq!(values(&format(16, 16, 15, false), &[0x01, 0x02], true), [258.0]);
        assert_eq!(values(&format(8, 8, 7, true), &[0x80], false), [-128.0]);
        assert_eq!(values(&format(32, 32, 31, true), &[0xFE, 0xFF, 0xFF, 0xFF], false), [-2.0]);
    }

    #[test]
    fn floats_are_taken_as_they_are() {
        let format = PixelFormat { float: true, ..format(32, 32, 31, false) };
        assert_eq!(values(&format, &1.5f32.to_le_bytes(), false), [1.5]);
    }

    #[test]
    fn a_short_frame_is_none() {
        let samples = Samples { bytes: Cow::Borrowed(&[0; 4]), width: 2, big_endian: false };
        let format = format(16, 16, 15, false);
        assert!(
            Unpack::new(&format, &samples, 1.0, 0.0).fill_line(1, &mut [0.0; 2], |value| value).is_none()
        );
    }
}
