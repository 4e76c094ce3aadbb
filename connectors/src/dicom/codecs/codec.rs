//! Compressed frames: which fragments make one, and what decodes it.

use std::borrow::Cow;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dicom_dictionary_std::uids;
use dicom_encoding::adapters::{PixelDataObject, RawPixelData};
use dicom_encoding::transfer_syntax::{Codec, TransferSyntaxIndex};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use flate2::read::DeflateDecoder;
use jxl_oxide::{AllocTracker, JxlImage};

use super::jpeg::{segments, word};
use crate::dicom::header::instance::PixelFormat;

/// The greatest ratio of a frame's size to its stored bytes: a blank frame compresses well, but not without
/// bound.
const MAX_RATIO: u64 = 20_000;
/// The size in bytes below which a frame is never implausible.
const SMALL: u64 = 1 << 20;

/// Whether a frame stored like this can be decoded.
pub(crate) fn supported(pixels: &PixelFormat) -> bool {
    match Family::of(&pixels.transfer_syntax) {
        Some(Family::Rle) => !pixels.float,
        Some(_) => pixels.bits_allocated <= 16 && !pixels.float,
        None => false,
    }
}

/// Whether a frame stored like this, of one bit a pixel, can be decoded.
pub(crate) fn supports_bits(pixels: &PixelFormat) -> bool {
    matches!(Family::of(&pixels.transfer_syntax), Some(Family::Jpeg2000 | Family::Deflated))
}

/// Whether the frames claim to be far larger than compression explains.
pub(crate) fn implausible(frame_bytes: u64, frames: u32, stored_bytes: u64) -> bool {
    frame_bytes > SMALL && frame_bytes.saturating_mul(frames.into()) > stored_bytes.saturating_mul(MAX_RATIO)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Rle,
    Jpeg,
    /// JPEG 2000, high throughput included.
    Jpeg2000,
    JpegLs,
    JpegXl,
    /// Frames that are each deflated by themselves.
    Deflated,
}

/// The transfer syntax Deflated Image Frame Compression.
const DEFLATED_FRAMES: &str = "1.2.840.10008.1.2.8.1";

impl Family {
    fn of(transfer_syntax: &str) -> Option<Self> {
        match transfer_syntax {
            uids::RLE_LOSSLESS => Some(Self::Rle),
            uids::JPEG_BASELINE8_BIT
            | uids::JPEG_EXTENDED12_BIT
            | uids::JPEG_LOSSLESS
            | uids::JPEG_LOSSLESS_SV1 => Some(Self::Jpeg),
            uids::JPEG2000_LOSSLESS
            | uids::JPEG2000
            | uids::HTJ2K_LOSSLESS
            | uids::HTJ2K_LOSSLESS_RPCL
            | uids::HTJ2K => Some(Self::Jpeg2000),
            uids::JPEGLS_LOSSLESS | uids::JPEGLS_NEAR_LOSSLESS => Some(Self::JpegLs),
            uids::JPEGXL_LOSSLESS | uids::JPEGXLJPEG_RECOMPRESSION | uids::JPEGXL => Some(Self::JpegXl),
            DEFLATED_FRAMES => Some(Self::Deflated),
            _ => None,
        }
    }
}

/// The bytes of one frame: its fragments, one after the other.
pub(crate) fn frame_bytes<'a>(
    frame: usize,
    frames: usize,
    offsets: &[u64],
    fragments: &[&'a [u8]],
) -> Option<Cow<'a, [u8]>> {
    if fragments.len() == frames {
        return fragments.get(frame).map(|&fragment| Cow::Borrowed(fragment));
    }
    let starts = if frames == 1 {
        vec![0]
    } else if offsets.len() == frames {
        starts_by_offset(offsets, fragments)?
    } else {
        starts_by_marker(fragments)
    };
    if starts.len() != frames {
        return None;
    }
    let end = starts.get(frame + 1).copied().unwrap_or(fragments.len());
    Some(Cow::Owned(fragments.get(*starts.get(frame)?..end)?.concat()))
}

/// The first fragment of each frame, by the offset table, which counts the 8 bytes before each fragment.
fn starts_by_offset(offsets: &[u64], fragments: &[&[u8]]) -> Option<Vec<usize>> {
    let mut at = 0u64;
    let mut places = Vec::with_capacity(fragments.len());
    for fragment in fragments {
        places.push(at);
        at += 8 + fragment.len() as u64;
    }
    offsets.iter().map(|offset| places.binary_search(offset).ok()).collect()
}

/// The first fragment of each frame, by the marker with which a JPEG or JPEG 2000 stream begins.
fn starts_by_marker(fragments: &[&[u8]]) -> Vec<usize> {
    let begins = |fragment: &[u8]| {
        fragment.starts_with(&[0xFF, 0xD8, 0xFF]) || fragment.starts_with(&[0xFF, 0x4F, 0xFF, 0x51])
    };
    fragments.iter().enumerate().filter(|(_, fragment)| begins(fragment)).map(|(index, _)| index).collect()
}

/// Decodes one frame to little-endian samples, and says how many bytes each takes.
///
/// # Errors
/// A description of what was wrong.
pub(crate) fn decode(pixels: &PixelFormat, frame: &[u8]) -> Result<(Vec<u8>, usize), String> {
    let area = pixels.rows as usize * pixels.columns as usize;
    let allocated = usize::from(pixels.bits_allocated / 8);
    let sample_bytes = match Family::of(&pixels.transfer_syntax) {
        Some(Family::Rle) => return Ok((super::rle::decode(frame, area, allocated)?, allocated)),
        // The decoder writes by the stream's own size and precision: they must be those that room is made
        // for.
        Some(Family::Jpeg) => match jpeg_size(frame) {
            Some((process, size)) => {
                check(size, pixels)?;
                let wide = [pixels.rows as usize, pixels.columns as usize];
                // The stream's own process counts, whatever the file says that it should be.
                match process {
                    LOSSLESS => {
                        let width = if size.precision > 8 { 2 } else { 1 };
                        return Ok(little(&super::lossless::decode(frame, wide)?, width));
                    }
                    _ if size.precision == 12 => {
                        return Ok(little(&super::jpeg12::decode(frame, wide)?, allocated));
                    }
                    0xC0 | 0xC1 => super::jpeg12::complete(frame)?,
                    _ => {}
                }
                1
            }
            None => return Err("a JPEG stream without a frame header".to_owned()),
        },
        Some(Family::Jpeg2000) => {
            let Some(found) = super::jpeg2000::size(frame) else {
                return Err("a JPEG 2000 stream without a size marker".to_owned());
            };
            let super::jpeg2000::Size { rows, columns, components, precision, subsampled, .. } = found;
            check(StreamSize { rows, columns, components, precision, subsampled }, pixels)?;
            return Ok(little(&super::jpeg2000::decode(frame)?, allocated));
        }
        Some(Family::JpegLs) => {
            let Some(found) = super::jpegls::frame(frame) else {
                return Err("a JPEG-LS stream without a frame header".to_owned());
            };
            let super::jpegls::Frame { rows, columns, components, precision, .. } = found;
            check(StreamSize { rows, columns, components, precision, subsampled: false }, pixels)?;
            return Ok(little(&super::jpegls::decode(frame)?, allocated));
        }
        Some(Family::Deflated) => return Ok((inflate(frame, area * allocated)?, allocated)),
        Some(Family::JpegXl) => return Ok(little(&jpeg_xl(pixels, frame)?, allocated)),
        None => return Err(format!("no decoder for transfer syntax {}", pixels.transfer_syntax)),
    };
    let Some(syntax) = TransferSyntaxRegistry.get(&pixels.transfer_syntax) else {
        return Err(format!("no decoder for transfer syntax {}", pixels.transfer_syntax));
    };
    let Codec::EncapsulatedPixelData(Some(reader), _) = syntax.codec() else {
        return Err(format!("no decoder for transfer syntax {}", pixels.transfer_syntax));
    };
    let source = OneFrame { pixels, frame, bits: sample_bytes as u16 * 8 };
    let mut decoded = Vec::new();
    // The decoders are not ours, and a damaged stream may trip them.
    let outcome = catch_unwind(AssertUnwindSafe(|| reader.decode_frame(&source, 0, &mut decoded)));
    match outcome {
        Ok(Ok(())) if decoded.len() == area * sample_bytes => Ok((decoded, sample_bytes)),
        Ok(Ok(())) => Err(format!("{} bytes expected, {} decoded", area * sample_bytes, decoded.len())),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the decoder gave up".to_owned()),
    }
}

/// Decodes one frame of one bit a pixel: whether each is set.
///
/// # Errors
/// A description of what was wrong.
pub(crate) fn decode_bits(pixels: &PixelFormat, frame: &[u8]) -> Result<Vec<u16>, String> {
    let area = pixels.rows as usize * pixels.columns as usize;
    if Family::of(&pixels.transfer_syntax) == Some(Family::Deflated) {
        let packed = inflate(frame, area.div_ceil(8))?;
        let bit = |at: usize| packed.get(at / 8).map_or(0, |byte| u16::from(byte >> (at % 8) & 1));
        return Ok((0..area).map(bit).collect());
    }
    let bytes = PixelFormat { bits_allocated: 8, ..pixels.clone() };
    let (values, _) = decode(&bytes, frame)?;
    Ok(values.into_iter().map(u16::from).collect())
}

/// Inflates a frame to exactly as many bytes as it must hold; one more pads it to an even length.
fn inflate(frame: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let (mut bytes, most) = (Vec::new(), length as u64 + 2);
    let read = DeflateDecoder::new(frame).take(most).read_to_end(&mut bytes);
    read.map_err(|error| format!("a deflated frame is damaged: {error}"))?;
    if bytes.len() < length || bytes.len() > length.next_multiple_of(2) {
        return Err(format!("{length} bytes expected in a deflated frame, {} found", bytes.len()));
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// The samples as bytes, as wide as a sample is in the file, and that width.
fn little(samples: &[u16], width: usize) -> (Vec<u8>, usize) {
    match width {
        1 => (samples.iter().map(|&sample| sample as u8).collect(), 1),
        _ => (samples.iter().flat_map(|sample| sample.to_le_bytes()).collect(), 2),
    }
}

/// Decodes a JPEG XL stream, whose decoder gives fractions of the largest value.
fn jpeg_xl(pixels: &PixelFormat, frame: &[u8]) -> Result<Vec<u16>, String> {
    let area = pixels.rows as usize * pixels.columns as usize;
    let decode = || {
        // The size that the stream claims for itself must not take more memory than its frame explains.
        let tracker = AllocTracker::with_limit(area.saturating_mul(64).saturating_add(64 << 20));
        let image = JxlImage::builder().alloc_tracker(tracker).read(frame).map_err(|e| e.to_string())?;
        let depth = image.image_header().metadata.bit_depth.bits_per_sample();
        let size = StreamSize {
            rows: image.height(),
            columns: image.width(),
            components: image.pixel_format().channels() as u16,
            precision: depth.min(255) as u8,
            subsampled: false,
        };
        check(size, pixels)?;
        let rendered = image.render_frame(0).map_err(|e| e.to_string())?;
        let mut fractions = vec![0f32; area];
        let count = rendered.stream().write_to_buffer(&mut fractions);
        if count != area {
            return Err(format!("{area} samples expected, {count} decoded"));
        }
        let largest = f64::from((1u32 << depth) - 1);
        Ok(fractions.iter().map(|&value| (f64::from(value) * largest).round() as u16).collect())
    };
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err("the decoder gave up".to_owned()))
}

/// The size that a compressed stream declares for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StreamSize {
    rows: u32,
    columns: u32,
    components: u16,
    precision: u8,
    subsampled: bool,
}

fn check(size: StreamSize, pixels: &PixelFormat) -> Result<(), String> {
    let fits = (size.rows, size.columns) == (pixels.rows, pixels.columns)
        && size.components == 1
        && !size.subsampled
        && u16::from(size.precision) <= pixels.bits_allocated;
    fits.then_some(()).ok_or_else(|| {
        format!(
            "{} × {} samples of {} bits at most expected, the compressed stream has {} × {} × {} of {}",
            pixels.rows,
            pixels.columns,
            pixels.bits_allocated,
            size.rows,
            size.columns,
            size.components,
            size.precision
        )
    })
}

/// The marker of a frame of lossless samples.
const LOSSLESS: u8 = 0xC3;

/// The start-of-frame segment of a JPEG stream: its marker, which names the process, and the size that it
/// declares.
fn jpeg_size(stream: &[u8]) -> Option<(u8, StreamSize)> {
    let is_frame = |marker: u8| (0xC0..=0xCF).contains(&marker) && ![0xC4, 0xC8, 0xCC].contains(&marker);
    let segment = segments(stream).find(|segment| is_frame(segment.marker))?;
    let frame = segment.from;
    let size = StreamSize {
        precision: *frame.first()?,
        rows: word(frame, 1)?.into(),
        columns: word(frame, 3)?.into(),
        components: u16::from(*frame.get(5)?),
        subsampled: false,
    };
    Some((segment.marker, size))
}

/// One frame as the decoders want to see it: an image of one frame in one fragment.
struct OneFrame<'a> {
    pixels: &'a PixelFormat,
    frame: &'a [u8],
    bits: u16,
}

impl PixelDataObject for OneFrame<'_> {
    fn transfer_syntax_uid(&self) -> &str {
        &self.pixels.transfer_syntax
    }

    fn rows(&self) -> Option<u16> {
        u16::try_from(self.pixels.rows).ok()
    }

    fn cols(&self) -> Option<u16> {
        u16::try_from(self.pixels.columns).ok()
    }

    fn samples_per_pixel(&self) -> Option<u16> {
        Some(1)
    }

    fn bits_allocated(&self) -> Option<u16> {
        Some(self.bits)
    }

    fn bits_stored(&self) -> Option<u16> {
        Some(self.pixels.bits_stored.min(self.bits))
    }

    fn photometric_interpretation(&self) -> Option<&str> {
        Some(&self.pixels.photometric)
    }

    fn number_of_frames(&self) -> Option<u32> {
        Some(1)
    }

    fn number_of_fragments(&self) -> Option<u32> {
        Some(1)
    }

    fn fragment(&self, fragment: usize) -> Option<Cow<'_, [u8]>> {
        (fragment == 0).then_some(Cow::Borrowed(self.frame))
    }

    fn offset_table(&self) -> Option<Cow<'_, [u32]>> {
        Some(Cow::Borrowed(&[0]))
    }

    fn raw_pixel_data(&self) -> Option<RawPixelData> {
        Some(RawPixelData { fragments: vec![self.frame.to_vec()].into(), offset_table: vec![0].into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_by_offset_and_by_marker() {
        let soi: &[u8] = &[0xFF, 0xD8, 0xFF, 1];
        let fragments = [soi, &[2, 2], soi, &[3, 3]];
        let frame = |offsets: &[u64], index| frame_bytes(index, 2, offsets, &fragments).unwrap().into_owned();
        assert_eq!(frame(&[0, 22], 1), [0xFF, 0xD8, 0xFF, 1, 3, 3]);
        assert_eq!(frame(&[], 0), [0xFF, 0xD8, 0xFF, 1, 2, 2]);
        assert!(frame_bytes(0, 3, &[], &fragments).is_none());
        assert!(frame_bytes(0, 2, &[0, 5], &fragments).is_none());
    }

    #[test]
    fn sizes_of_streams_are_read_before_they_are_trusted() {
        let jpeg = [0xFF, 0xD8, 0xFF, 0xE0, 0, 2, 0xFF, 0xC3, 0, 11, 12, 0, 5, 0, 7, 1, 0, 0, 0];
        let (process, size) = jpeg_size(&jpeg).unwrap();
        assert_eq!(process, LOSSLESS);
        assert_eq!((size.rows, size.columns, size.components, size.precision), (5, 7, 1, 12));
        assert!(jpeg_size(&jpeg[..12]).is_none());
    }
}
