//! The way from pixels to scans: decode, unpack, rescale.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::codecs::codec;
use super::codecs::unpack::{Samples, StoredFrame};
use super::header::Head;
use super::header::image::{self, Image, Stored};
use super::header::instance::Instance;
use crate::{Geometry, Reject, Scan, Volume};
use crate::{container, pages, reading};

/// The most bytes of a thread's memory for files that are kept from one slice to the next.
const KEPT: usize = 4 << 20;

thread_local! {
    static FILE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Decodes slices and rescales them to f32, in parallel. What the pixels mean (bits, rescale, transfer
/// syntax) is read from the files themselves.
///
/// # Errors
/// A [`Reject`] that names what is wrong with a slice that cannot be decoded: `UNREADABLE`,
/// `TRUNCATED`, `DECODE_FAILED`, `CHANGED`, …
pub fn load_scan(geometry: &Geometry, slices: &[(PathBuf, u32)]) -> Result<Scan, Reject> {
    load(geometry, slices)
}

/// Whether all frames of two files decode to the same values, however these are stored; false when one cannot
/// be decoded or is no longer what its record says.
pub fn same_values(a: (&Path, &Instance), b: (&Path, &Instance)) -> bool {
    let size = |instance: &Instance| instance.pixels.frame_size.map(|length| length as usize);
    // This runs on a thread that may not wait: two files are read all the same.
    let compared = reading::urgently(|| {
        with_image(a.0, size(a.1), |first| {
            with_image(b.0, size(b.1), |second| {
                let count = a.1.frames.len();
                let counted = [first, second].iter().all(|image| image.instance.frames.len() == count);
                let same = |frame| Some(values(first, frame)? == values(second, frame)?);
                Ok::<_, Reject>(
                    counted && (0..count).into_par_iter().all(|frame| same(frame).unwrap_or(false)),
                )
            })
        })
    });
    compared.unwrap_or(false)
}

/// The values of a frame, bit by bit, so that a NaN equals itself.
fn values(image: &Image<'_>, frame: usize) -> Option<Vec<u64>> {
    let mut found = Vec::new();
    let stored = image.frame(frame).ok()?;
    stored.lines(|values, _| found.extend(values.iter().map(|value| value.to_bits()))).ok()?;
    Some(found)
}

/// A voxel that a scan's values become.
pub(super) trait Voxel: Copy + Default + Send {
    /// The reason why there is no volume of them.
    type Error: From<Reject> + Send;

    fn of(value: f64) -> Self;

    /// Whether all values that a frame may have can be kept, as its header tells.
    fn takes(image: &Image<'_>, frame: u32) -> Result<(), Self::Error>;

    /// Whether there was no room to read the file at the moment.
    fn is_busy(error: &Self::Error) -> bool;
}

impl Voxel for f32 {
    type Error = Reject;

    fn of(value: f64) -> Self {
        value as Self
    }

    fn takes(_: &Image<'_>, _: u32) -> Result<(), Reject> {
        Ok(())
    }

    fn is_busy(error: &Reject) -> bool {
        reading::is_busy_reject(error)
    }
}

/// Loads slices as a volume, each decoded to where it belongs.
pub(super) fn load<T: Voxel>(geometry: &Geometry, slices: &[(PathBuf, u32)]) -> Result<Volume<T>, T::Error> {
    let [depth, rows, columns] = geometry.size;
    if depth != slices.len() || rows == 0 || columns == 0 {
        return Err(changed(format!("{depth} slices expected, {} given", slices.len())).into());
    }
    let mut voxels = zeros(geometry.voxels())?;
    decode(slices, [rows, columns], &mut voxels).and_then(|()| {
        Volume::new(geometry.clone(), voxels).map_err(|error| changed(error.to_string()).into())
    })
}

/// Decodes slices one behind the other. Each file is read once, whatever the number of its frames.
pub(super) fn decode<T: Voxel>(
    slices: &[(PathBuf, u32)],
    size: [usize; 2],
    voxels: &mut [T],
) -> Result<(), T::Error> {
    let mut files: BTreeMap<&Path, Vec<(u32, &mut [T])>> = BTreeMap::new();
    for ((path, frame), slice) in slices.iter().zip(voxels.chunks_exact_mut(size[0] * size[1])) {
        files.entry(path).or_default().push((*frame, slice));
    }
    let filled = files.into_par_iter().map(|(path, mut wanted)| match fill(path, &mut wanted, size) {
        Ok(()) => Ok(None),
        Err(error) if T::is_busy(&error) => Ok(Some((path, wanted))),
        Err(error) => Err(error),
    });
    let later: Vec<_> = filled.collect::<Result<_, _>>()?;
    // A file that found no room beside others is read alone.
    later
        .into_iter()
        .flatten()
        .try_for_each(|(path, mut wanted)| reading::alone(|| fill(path, &mut wanted, size)))
}

pub(super) fn changed(what: String) -> Reject {
    Reject::new("CHANGED", what, "the files changed meanwhile: run again")
}

/// Zeros that take up memory where they are first written, which the threads do side by side.
pub(super) fn zeros<T: Voxel>(count: usize) -> Result<Vec<T>, Reject> {
    // Room is asked for first, since `vec!` ends the process where there is none.
    Vec::<T>::new().try_reserve_exact(count).map_err(|_| {
        Reject::new("OUT_OF_MEMORY", format!("no room for {count} voxels"), "give the run more memory")
    })?;
    let mut zeros = vec![T::default(); count];
    pages::large(&mut zeros);
    Ok(zeros)
}

/// Fills the slices that one file holds.
fn fill<T: Voxel>(path: &Path, wanted: &mut [(u32, &mut [T])], size: [usize; 2]) -> Result<(), T::Error> {
    with_image(path, size, |image| {
        wanted.iter().try_for_each(|(frame, _)| T::takes(image, *frame))?;
        wanted.into_par_iter().try_for_each(|(frame, slice)| {
            image.decode(*frame as usize, slice).map_err(|message| failed(*frame, &message).into())
        })
    })
}

/// The refusal of a frame that cannot be decoded.
pub(super) fn failed(frame: u32, message: &str) -> Reject {
    Reject::new("DECODE_FAILED", format!("frame {frame}: {message}"), "the file may be damaged")
}

/// Reads a file whose record was judged before, and checks that it still holds what was judged.
pub(super) fn with_image<T, E: From<Reject>>(
    path: &Path,
    size: [usize; 2],
    using: impl FnOnce(&Image<'_>) -> Result<T, E>,
) -> Result<T, E> {
    // The memory is taken, not borrowed: a thread that waits for frames may begin with another file
    // meanwhile.
    let mut bytes = FILE.take();
    bytes.clear();
    let read = container::read_into(path, &mut bytes);
    let outcome = match &read {
        Ok(_room) => in_bytes(&bytes, size, using),
        Err(error) => Err(reading::refused(error).into()),
    };
    if bytes.capacity() <= KEPT {
        FILE.set(bytes);
    }
    outcome
}

fn in_bytes<T, E: From<Reject>>(
    bytes: &[u8],
    size: [usize; 2],
    using: impl FnOnce(&Image<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let head = Head::find(bytes, |code| {
        Reject::new(code, "a DICOM image expected", "the file changed meanwhile: run again")
    })?;
    let dataset = head.dataset().map_err(|error| reading::refused(&error))?;
    let Some(mut image) = image::read(&head, &dataset) else {
        return Err(Reject::new(
            "NOT_AN_IMAGE",
            "the file holds no image",
            "it changed meanwhile: run again",
        )
        .into());
    };
    if let Some(code) = &image.instance.refusal {
        let reject = Reject::new(code, "a slice cannot be used", "see what `inspect` says of the file");
        return Err(reject.into());
    }
    let found = image.instance.pixels.frame_size;
    if found.map(|n| n as usize) != size {
        let message = format!("slices of {size:?} expected, {found:?} found");
        return Err(Reject::new("MIXED_MATRIX", message, "the file changed meanwhile: run again").into());
    }
    image.unfold_once();
    using(&image)
}

impl Image<'_> {
    /// Whether frames are tiles of one that is stored.
    fn is_mosaic(&self) -> bool {
        let format = &self.instance.pixels;
        format.frame_size != [format.rows, format.columns]
    }

    /// Decodes a compressed mosaic once, for all of its tiles. A mosaic that cannot be decoded is left as it
    /// is: its tiles say why.
    fn unfold_once(&mut self) {
        if !self.is_mosaic() || !matches!(self.stored, Stored::Fragments { .. }) {
            return;
        }
        let decoded = self.samples(0).ok().map(|samples| (samples.bytes.into_owned(), samples.width));
        if let Some((bytes, width)) = decoded {
            self.stored = Stored::Decoded { bytes, width };
        }
    }

    /// Decodes one frame, a tile of a mosaic included, and rescales it.
    fn decode<T: Voxel>(&self, frame: usize, slice: &mut [T]) -> Result<(), String> {
        self.frame(frame)?.fill(slice, T::of)
    }

    /// The lowest and the highest value of a frame that padding becomes; `None` where nothing says what
    /// padding is, or a table makes other values of it.
    pub(super) fn padding(&self, frame: usize) -> Option<[f64; 2]> {
        let [slope, intercept] = self.instance.frames.get(frame)?.rescale.map(|number| number.0);
        let ends = self.padding.filter(|_| self.lut.is_none())?.map(|sample| sample * slope + intercept);
        Some([ends[0].min(ends[1]), ends[0].max(ends[1])])
    }

    /// One frame, a tile of a mosaic included, as stored.
    pub(super) fn frame(&self, frame: usize) -> Result<StoredFrame<'_>, String> {
        let format = &self.instance.pixels;
        let place = self.instance.frames.get(frame).ok_or("no such frame")?;
        let [rows, columns] = format.frame_size.map(|n| n as usize);
        let stride = format.columns as usize;
        let mosaic = self.is_mosaic();
        let samples = self.samples(if mosaic { 0 } else { frame })?;
        let across = (stride / columns.max(1)).max(1);
        let first = if mosaic { frame / across * rows * stride + frame % across * columns } else { 0 };
        let rescale = place.rescale.map(|number| number.0);
        let lut = self.lut.as_ref();
        Ok(StoredFrame { format, samples, first, stride, rows, columns, rescale, lut })
    }

    /// The samples of one stored frame.
    fn samples(&self, frame: usize) -> Result<Samples<'_>, String> {
        let format = &self.instance.pixels;
        let allocated = usize::from(format.bits_allocated / 8);
        match &self.stored {
            Stored::Missing => Err("no pixel data".to_owned()),
            Stored::Decoded { bytes, width } => {
                Ok(Samples { bytes: Cow::Borrowed(bytes), width: *width, big_endian: false })
            }
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

#[cfg(test)]
mod tests;
