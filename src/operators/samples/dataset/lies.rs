//! How the voxels of a case lie: in memory, or where they are read from by place when a sample asks for them.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use super::classes::{Classes, Counting};
use crate::networks::sample::around;
use crate::operators::value::Failure;

/// The voxels of one case, which lie somewhere else than in memory.
pub trait ByPlace: Debug + Send + Sync {
    /// Intensities from number `first` on, of all channels one behind the other.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn intensities(&self, first: usize, into: &mut [f32]) -> Result<(), String>;

    /// Classes from number `first` on.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn classes(&self, first: usize, into: &mut [u8]) -> Result<(), String>;
}

/// The place where voxels are.
#[derive(Clone, Debug)]
pub(super) enum Voxels {
    /// In memory: intensities `[C, D, H, W]` and classes `[D, H, W]`.
    Held(Arc<[f32]>, Arc<[u8]>),
    /// Elsewhere, with what was counted of them while they were looked at.
    ByPlace(Arc<dyn ByPlace>, Classes),
}

impl Voxels {
    /// Intensities from number `first` on; nothing is copied that is in memory.
    pub fn intensities(&self, first: usize, count: usize) -> Result<Cow<'_, [f32]>, String> {
        match self {
            Self::Held(scan, _) => {
                scan.get(first..).and_then(|rest| rest.get(..count)).map(Cow::Borrowed).ok_or_else(beyond)
            }
            Self::ByPlace(place, _) => {
                let mut values = vec![0.0; count];
                place.intensities(first, &mut values)?;
                Ok(Cow::Owned(values))
            }
        }
    }

    /// Classes from number `first` on.
    pub fn classes(&self, first: usize, count: usize) -> Result<Cow<'_, [u8]>, String> {
        match self {
            Self::Held(_, labels) => {
                labels.get(first..).and_then(|rest| rest.get(..count)).map(Cow::Borrowed).ok_or_else(beyond)
            }
            Self::ByPlace(place, _) => {
                let mut values = vec![0; count];
                place.classes(first, &mut values)?;
                Ok(Cow::Owned(values))
            }
        }
    }
}

fn beyond() -> String {
    "voxels within the case expected, some beyond it asked for".to_owned()
}

/// What is known of a case before a sample is cut from it.
pub(super) struct Known {
    /// The least intensity of each channel.
    pub least: Vec<f32>,
    /// The number of foreground voxels in all slices up to and with each.
    pub foreground: Vec<u64>,
    pub classes: Classes,
}

/// A case that is looked at once, byte by byte as it lies in its artifact, and of which no voxel is kept.
pub struct Gathering {
    area: usize,
    depth: usize,
    /// Slices that are still to come: of intensities, then of classes.
    slices: [usize; 2],
    least: Vec<f32>,
    foreground: Vec<u64>,
    counting: Counting,
    /// Bytes of a slice that is not whole yet.
    begun: Vec<u8>,
}

impl Gathering {
    /// A case `[D, H, W]` of so many channels, whose classes follow where anybody has drawn it.
    ///
    /// # Errors
    /// `GRID_MISMATCH` for a size without voxels.
    pub fn new(size: [usize; 3], channels: usize, drawn: bool) -> Result<Self, Failure> {
        let [depth, height, width] = size;
        let area = height.checked_mul(width).filter(|area| *area > 0 && area.checked_mul(4).is_some());
        let slices = depth.checked_mul(channels).filter(|slices| *slices > 0);
        let (Some(area), Some(slices)) = (area, slices) else {
            return Err(Failure::new(
                "GRID_MISMATCH",
                format!("a grid with voxels expected, {size:?} found"),
                "",
            ));
        };
        Ok(Self {
            area,
            depth,
            slices: [slices, if drawn { depth } else { 0 }],
            least: Vec::new(),
            foreground: Vec::new(),
            counting: Counting::new(),
            begun: Vec::new(),
        })
    }

    /// Looks at the next bytes.
    pub fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.slices != [0, 0] {
            let wanted = if self.slices[0] > 0 { self.area * 4 } else { self.area };
            let (now, rest) = bytes.split_at(bytes.len().min(wanted.saturating_sub(self.begun.len())));
            bytes = rest;
            self.begun.extend_from_slice(now);
            if self.begun.len() == wanted {
                let slice = std::mem::take(&mut self.begun);
                self.slice(&slice);
                // The room is used again.
                self.begun = slice;
                self.begun.clear();
            }
        }
    }

    fn slice(&mut self, bytes: &[u8]) {
        if let Some(left) = self.slices[0].checked_sub(1) {
            self.slices[0] = left;
            let values: Vec<f32> =
                bytes.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
            // Channel by channel, from the first slice on: those to come say which it is.
            self.least.push(lowest(&values));
            return;
        }
        self.slices[1] = self.slices[1].saturating_sub(1);
        let number = self.foreground.len();
        self.counting.add(number, bytes);
        let before = self.foreground.last().copied().unwrap_or(0);
        self.foreground.push(before + bytes.iter().map(|&label| u64::from(label != 0)).sum::<u64>());
    }

    /// Returns what was found, once all bytes have come.
    pub(super) fn done(self, drawn: bool) -> Option<Known> {
        if self.slices != [0, 0] {
            return None;
        }
        let Self { depth, area, least, mut foreground, mut counting, .. } = self;
        // The lowest of the slices' lowest is the whole channel's lowest.
        let least = least.chunks_exact(depth).map(around).collect();
        if !drawn {
            foreground = vec![0; depth];
            let nothing = vec![0; area];
            (0..depth).for_each(|slice| counting.add(slice, &nothing));
        }
        Some(Known { least, foreground, classes: counting.done() })
    }
}

/// The lowest finite intensity of a slice; one that is none where there is no such.
fn lowest(values: &[f32]) -> f32 {
    values.iter().copied().filter(|value| value.is_finite()).fold(f32::INFINITY, f32::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_any_pieces_come_to_what_the_whole_does() {
        let size = [3, 2, 4];
        let scan: Vec<f32> = (0..48).map(|i| ((i * 29) % 47) as f32 - 5.0).collect();
        let labels: Vec<u8> = (0..24).map(|i| [0, 0, 2, 2, 0, 7][i % 6]).collect();
        let bytes: Vec<u8> =
            scan.iter().flat_map(|value| value.to_le_bytes()).chain(labels.iter().copied()).collect();
        for piece in [1, 3, 7, 32, 1000] {
            let mut gathering = Gathering::new(size, 2, true).unwrap();
            bytes.chunks(piece).for_each(|piece| gathering.take(piece));
            let known = gathering.done(true).unwrap();
            assert_eq!(known.least, [around(&scan[..24]), around(&scan[24..])]);
            let foreground =
                |slices: usize| labels[..slices * 8].iter().filter(|label| **label > 0).count() as u64;
            assert_eq!(known.foreground, [foreground(1), foreground(2), foreground(3)]);
            let classes: Vec<u8> = known.classes.0.iter().map(|class| class.label).collect();
            assert_eq!(classes, [0, 2, 7]);
        }
        let mut short = Gathering::new(size, 2, true).unwrap();
        short.take(&bytes[..bytes.len() - 1]);
        assert!(short.done(true).is_none());
        let mut undrawn = Gathering::new(size, 2, false).unwrap();
        undrawn.take(&bytes[..48 * 4]);
        let known = undrawn.done(false).unwrap();
        assert_eq!((known.foreground, known.classes.0.len()), (vec![0; 3], 1));
        assert!(Gathering::new([1, 0, 2], 1, true).is_err());
        assert!(Gathering::new([usize::MAX, 2, 2], 2, true).is_err());
    }
}
