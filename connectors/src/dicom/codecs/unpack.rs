//! Stored samples to values: the bits that count, their sign, then rescale or look-up table.

use std::borrow::Cow;

use dicom_dictionary_std::uids;

use super::lut::ModalityLut;
use crate::dicom::header::instance::PixelFormat;

const SHORT: &str = "the frame is shorter than its size";

/// The stored samples of one frame.
pub(crate) struct Samples<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    pub(crate) width: usize,
    pub(crate) big_endian: bool,
}

/// One frame as stored: its samples, and the places of its lines among them.
pub(crate) struct StoredFrame<'a> {
    pub(crate) format: &'a PixelFormat,
    pub(crate) samples: Samples<'a>,
    /// The first sample, and the number of samples from one line to the next.
    pub(crate) first: usize,
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) rescale: [f64; 2],
    /// The look-up table that takes the place of the rescale.
    pub(crate) lut: Option<&'a ModalityLut>,
}

impl StoredFrame<'_> {
    fn start(&self, row: usize) -> usize {
        self.first + row * self.stride
    }

    fn unpack(&self) -> Unpack<'_> {
        Unpack::new(self.format, &self.samples, self.rescale, self.lut)
    }

    /// Fills a slice with its values.
    pub(crate) fn fill<T>(&self, slice: &mut [T], to: impl Fn(f64) -> T + Copy) -> Result<(), String> {
        let unpack = self.unpack();
        if self.columns == self.stride {
            return unpack.fill(self.first, slice, to).ok_or_else(|| SHORT.to_owned());
        }
        for (row, line) in slice.chunks_exact_mut(self.columns.max(1)).enumerate() {
            unpack.fill(self.start(row), line, to).ok_or(SHORT)?;
        }
        Ok(())
    }

    /// Calls for each line with its values after rescale, and with its samples as stored: little endian,
    /// BitsAllocated wide.
    pub(crate) fn lines(&self, mut line: impl FnMut(&[f64], &[u8])) -> Result<(), String> {
        let unpack = self.unpack();
        let (width, wide) = (self.samples.width, usize::from(self.format.bits_allocated / 8));
        let (mut values, mut stored) = (vec![0.0; self.columns], Vec::new());
        for row in 0..self.rows {
            let start = self.start(row);
            unpack.fill(start, &mut values, |value| value).ok_or(SHORT)?;
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

/// Whether the values of a frame may differ from those that were acquired: JPEG but for process 14, JPEG-LS and JPEG
/// 2000 with losses, high throughput and JPEG XL alike.
fn is_lossy(format: &PixelFormat) -> bool {
    const LOSSY: [&str; 7] = [
        uids::JPEG_BASELINE8_BIT,
        uids::JPEG_EXTENDED12_BIT,
        uids::JPEGLS_NEAR_LOSSLESS,
        uids::JPEG2000,
        uids::JPEG2000MC,
        uids::HTJ2K,
        uids::JPEGXL,
    ];
    LOSSY.contains(&format.transfer_syntax.as_str())
}

/// The way from a stored sample to a value: BitsStored ending at HighBit, the rest masked away.
struct Unpack<'a> {
    samples: &'a Samples<'a>,
    float: bool,
    signed: bool,
    shift: u32,
    bits: u32,
    slope: f64,
    intercept: f64,
    lut: Option<&'a ModalityLut>,
}

impl<'a> Unpack<'a> {
    fn new(
        format: &PixelFormat,
        samples: &'a Samples<'a>,
        [slope, intercept]: [f64; 2],
        lut: Option<&'a ModalityLut>,
    ) -> Self {
        let bits = match is_lossy(format) {
            // A lossy codec may give samples a little above the greatest that BitsStored hold: nothing is
            // masked away.
            true if !format.signed && format.high_bit + 1 == format.bits_stored => 32,
            _ => u32::from(format.bits_stored.clamp(1, 32)),
        };
        let shift = (u32::from(format.high_bit) + 1).saturating_sub(bits).min(31);
        Self { samples, float: format.float, signed: format.signed, shift, bits, slope, intercept, lut }
    }

    /// Fills values from the samples at `start` on; `None` when they do not reach that far.
    fn fill<T>(&self, start: usize, values: &mut [T], to: impl Fn(f64) -> T + Copy) -> Option<()> {
        let width = self.samples.width;
        let from = start.checked_mul(width)?;
        let bytes = self.samples.bytes.get(from..from.checked_add(values.len().checked_mul(width)?)?)?;
        let rescaled = |sample: f64| to(sample * self.slope + self.intercept);
        match (width, self.float) {
            (4, true) => self.convert(bytes, values, |b| rescaled(f32::from_le_bytes(b).into())),
            (8, true) => self.convert(bytes, values, |b| rescaled(f64::from_le_bytes(b))),
            (1, false) => self.integers(bytes, values, |[byte]: [u8; 1]| byte.into(), to),
            (2, false) => self.integers(bytes, values, |b| u16::from_le_bytes(b).into(), to),
            (4, false) => self.integers(bytes, values, u32::from_le_bytes, to),
            _ => return None,
        }
        Some(())
    }

    /// Unpacks integers in one loop for each kind of sample, without a choice inside, so that it runs on
    /// vectors.
    fn integers<T, const N: usize>(
        &self,
        bytes: &[u8],
        values: &mut [T],
        raw: impl Fn([u8; N]) -> u32 + Copy,
        to: impl Fn(f64) -> T + Copy,
    ) {
        let (shift, unused) = (self.shift, 32 - self.bits);
        let (slope, intercept) = (self.slope, self.intercept);
        let signed = move |b: [u8; N]| (((raw(b) >> shift) << unused) as i32) >> unused;
        let unsigned = move |b: [u8; N]| ((raw(b) >> shift) << unused) >> unused;
        let rescaled = move |sample: f64| to(sample * slope + intercept);
        match (self.lut, self.signed) {
            (Some(lut), true) => self.convert(bytes, values, |b| to(lut.value(signed(b).into()))),
            (Some(lut), false) => self.convert(bytes, values, |b| to(lut.value(unsigned(b).into()))),
            (None, true) => self.convert(bytes, values, |b| rescaled(signed(b).into())),
            // No sample below 32 bits is negative as a signed number either, and signed numbers convert
            // faster.
            (None, false) if self.bits < 32 => {
                self.convert(bytes, values, |b| rescaled((unsigned(b) as i32).into()));
            }
            (None, false) => self.convert(bytes, values, |b| rescaled(unsigned(b).into())),
        }
    }

    fn convert<T, const N: usize>(&self, bytes: &[u8], values: &mut [T], read: impl Fn([u8; N]) -> T) {
        let pairs = bytes.as_chunks::<N>().0.iter().zip(values);
        if self.samples.big_endian {
            for (&chunk, value) in pairs {
                let mut chunk = chunk;
                chunk.reverse();
                *value = read(chunk);
            }
        } else {
            for (&chunk, value) in pairs {
                *value = read(chunk);
            }
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
        Unpack::new(format, &samples, [1.0, 0.0], None).fill(0, &mut line, |value| value as f32).unwrap();
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

    /// A lossy codec overshoots at edges: 4100 where 4095 is the greatest.
    #[test]
    fn what_a_lossy_codec_gives_does_not_wrap_around() {
        let lossy = |uid: &str| PixelFormat { transfer_syntax: uid.to_owned(), ..format(16, 12, 11, false) };
        assert_eq!(values(&lossy(uids::JPEG2000), &[0x04, 0x10], false), [4100.0]);
        assert_eq!(values(&lossy(uids::JPEG2000_LOSSLESS), &[0x04, 0x10], false), [4.0]);
    }

    #[test]
    fn bits_are_masked_shifted_and_sign_extended() {
        assert_eq!(values(&format(16, 12, 11, true), &[0xFF, 0x0F, 0x00, 0xF8], false), [-1.0, -2048.0]);
        assert_eq!(values(&format(16, 12, 11, false), &[0xFF, 0xFF], false), [4095.0]);
        assert_eq!(values(&format(16, 12, 15, false), &[0x50, 0x00], false), [5.0]);
        assert_eq!(values(&format(16, 16, 15, false), &[0x01, 0x02], true), [258.0]);
        assert_eq!(values(&format(8, 8, 7, true), &[0x80], false), [-128.0]);
        assert_eq!(values(&format(32, 32, 31, true), &[0xFE, 0xFF, 0xFF, 0xFF], false), [-2.0]);
        assert_eq!(values(&format(32, 32, 31, false), &[0, 0, 0, 0x80], false), [2_147_483_648.0]);
        assert_eq!(values(&format(32, 31, 30, false), &[1, 0, 0, 0x80], false), [1.0]);
        assert_eq!(values(&format(32, 20, 23, true), &[0xFF, 0xF0, 0xFF, 0xFF], false), [-241.0]);
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
            Unpack::new(&format, &samples, [1.0, 0.0], None).fill(1, &mut [0.0; 2], |value| value).is_none()
        );
    }
}
