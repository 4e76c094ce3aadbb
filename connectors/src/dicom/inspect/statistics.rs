//! The figures that decoding gives of a volume, slice by slice: no more than a few of them are held at once.

use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::super::pixels::{failed, with_image};
use crate::Reject;
use crate::dicom::header::image::Image;

/// The bytes of pixels that are decoded at once.
const WINDOW: usize = 32 << 20;

/// Figures over the voxels of a volume, without those that only pad it (PixelPaddingValue).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// The smallest value, after each slice's rescale.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The mean of the values.
    pub mean: f64,
    /// The number of voxels of padding, which the figures above leave out.
    #[serde(skip_serializing_if = "is_none")]
    pub padding: usize,
    /// The SHA-256 of the samples as stored and decoded: little endian, BitsAllocated wide, slice after
    /// slice.
    pub sha256_stored: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks it")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// Decodes a volume of slices with `size` rows and columns: files and frames, in order.
///
/// # Errors
/// What a pipeline would refuse the volume for: a slice that cannot be decoded, or changed meanwhile.
pub fn statistics(slices: &[(PathBuf, u32)], size: [usize; 2]) -> Result<Statistics, Reject> {
    let mut sums = Sums::default();
    // A voxel mostly takes two bytes.
    let window = (WINDOW / (size[0].saturating_mul(size[1]).saturating_mul(2)).max(1)).max(1);
    if slices.windows(2).all(|pair| matches!(pair, [a, b] if a.0 != b.0)) {
        for slices in slices.chunks(window) {
            let decoded: Vec<Decoded> = slices
                .par_iter()
                .map(|(path, frame)| with_image(path, size, |image| decode(image, *frame)))
                .collect::<Result<_, _>>()?;
            sums.add(decoded);
        }
        return Ok(sums.statistics());
    }
    // A file is read once for all frames of it that follow each other.
    for run in slices.chunk_by(|a, b| a.0 == b.0) {
        let Some((path, _)) = run.first() else { continue };
        with_image(path, size, |image| {
            for frames in run.chunks(window) {
                let decoded = frames.par_iter().map(|(_, frame)| decode(image, *frame));
                sums.add(decoded.collect::<Result<_, _>>()?);
            }
            Ok(())
        })?;
    }
    Ok(sums.statistics())
}

/// One decoded slice.
struct Decoded {
    stored: Vec<u8>,
    min: f64,
    max: f64,
    sum: f64,
    count: usize,
    padding: usize,
}

fn decode(image: &Image<'_>, frame: u32) -> Result<Decoded, Reject> {
    let mut decoded = Decoded {
        stored: Vec::new(),
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        sum: 0.0,
        count: 0,
        padding: 0,
    };
    let told = |message: String| failed(frame, &message);
    let found = image.frame(frame as usize).map_err(told)?;
    let padding = image.padding(frame as usize);
    let line = |values: &[f64], stored: &[u8]| {
        decoded.stored.extend_from_slice(stored);
        decoded.count += values.len();
        for &value in values {
            if padding.is_some_and(|[lowest, highest]| lowest <= value && value <= highest) {
                decoded.padding += 1;
                continue;
            }
            decoded.min = decoded.min.min(value);
            decoded.max = decoded.max.max(value);
            decoded.sum += value;
        }
    };
    found.lines(line).map_err(told)?;
    Ok(decoded)
}

/// The sums over the slices so far, taken in their order, so that threads change nothing.
struct Sums {
    hasher: Sha256,
    min: f64,
    max: f64,
    sum: f64,
    count: usize,
    padding: usize,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            hasher: Sha256::new(),
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: 0.0,
            count: 0,
            padding: 0,
        }
    }
}

impl Sums {
    fn add(&mut self, slices: Vec<Decoded>) {
        for slice in slices {
            self.hasher.update(&slice.stored);
            self.min = self.min.min(slice.min);
            self.max = self.max.max(slice.max);
            self.sum += slice.sum;
            self.count += slice.count - slice.padding;
            self.padding += slice.padding;
        }
    }

    fn statistics(self) -> Statistics {
        let digest = self.hasher.finalize();
        Statistics {
            min: self.min,
            max: self.max,
            mean: self.sum / self.count as f64,
            padding: self.padding,
            sha256_stored: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}
