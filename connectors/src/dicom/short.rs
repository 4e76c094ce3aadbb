//! Scans as integers of 16 bits, where every value that a slice may have is one.

use std::path::PathBuf;

use super::header::image::Image;
use super::pixels::{Voxel, load};
use crate::reading;
use crate::volume::ShortScan;
use crate::{Geometry, Reject};

/// The reason why a scan is no volume of 16-bit integers.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShortError {
    /// A slice may hold values that are no 16-bit integers.
    #[error("16-bit integers expected, frame {frame} may hold others: {why}")]
    Unfit {
        /// The frame of its file, from 0 on.
        frame: u32,
        /// The kind of these values.
        why: Unfit,
    },
    /// A slice cannot be decoded at all.
    #[error(transparent)]
    Reject(#[from] Reject),
}

/// The kind of values that a slice may hold beside integers of 16 bits.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// Floating-point samples.
    #[error("its samples are floating point")]
    Float,
    /// Samples of more than 16 bits.
    #[error("its samples have {0} bits")]
    Bits(u16),
    /// Values between integers.
    #[error("slope {slope} and intercept {intercept} are not both whole")]
    Rescale {
        /// RescaleSlope.
        slope: f64,
        /// RescaleIntercept.
        intercept: f64,
    },
    /// Integers of more bits.
    #[error("its values may lie from {lowest} to {highest}")]
    Range {
        /// The lowest value that its header allows.
        lowest: f64,
        /// The highest value that its header allows.
        highest: f64,
    },
}

/// Loads a scan as [`load_scan`](super::load_scan), in half the memory: for slices whose values are integers
/// of 16 bits, whatever their samples are. Their headers say so before anything is decoded.
///
/// # Errors
/// [`ShortError::Unfit`] when a slice may hold other values; else as `load_scan`.
pub fn load_short(geometry: &Geometry, slices: &[(PathBuf, u32)]) -> Result<ShortScan, ShortError> {
    load(geometry, slices)
}

impl Voxel for i16 {
    type Error = ShortError;

    fn of(value: f64) -> Self {
        value as Self
    }

    fn takes(image: &Image<'_>, frame: u32) -> Result<(), ShortError> {
        let unfit = |why| ShortError::Unfit { frame, why };
        fits(image, frame as usize).map_err(unfit)
    }

    fn is_busy(error: &ShortError) -> bool {
        matches!(error, ShortError::Reject(reject) if reading::is_busy_reject(reject))
    }
}

/// Whether all values of a frame are integers of 16 bits.
fn fits(image: &Image<'_>, frame: usize) -> Result<(), Unfit> {
    let format = &image.instance.pixels;
    if format.float {
        return Err(Unfit::Float);
    }
    // A frame that is not there is refused where it is decoded.
    let rescale = image.instance.frames.get(frame).map(|place| place.rescale.map(|number| number.0));
    let [slope, intercept] = rescale.unwrap_or([1.0, 0.0]);
    let [lowest, highest] = match &image.lut {
        Some(lut) => lut.range(),
        None => {
            // The bits that count are those with which samples are unpacked.
            let bits = format.bits_stored.clamp(1, 32);
            if bits > 16 {
                return Err(Unfit::Bits(bits));
            }
            if slope.fract() != 0.0 || intercept.fract() != 0.0 {
                return Err(Unfit::Rescale { slope, intercept });
            }
            let count = f64::from(1u32 << bits);
            let first = if format.signed { -count / 2.0 } else { 0.0 };
            let ends = [first, first + count - 1.0].map(|sample| sample * slope + intercept);
            [ends[0].min(ends[1]), ends[0].max(ends[1])]
        }
    };
    let kept = f64::from(i16::MIN)..=f64::from(i16::MAX);
    match kept.contains(&lowest) && kept.contains(&highest) {
        true => Ok(()),
        false => Err(Unfit::Range { lowest, highest }),
    }
}
