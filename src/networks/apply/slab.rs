//! The logits of windows, blended in a slab that is as deep as a window.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use tomoflow_connectors::pages;

use super::walk::{AHEAD, ROWS, Walk};
use super::window::Weights;
use crate::networks::NetworkError;

/// Voxels that are decided side by side.
const LANES: usize = 16;

/// The logits of windows as they lie in memory: `[N, C, D, H, W]`, voxels of a row side by side.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a> {
    /// The numbers.
    pub numbers: &'a [f32],
    /// Numbers from one to the next along `[N, C, D, H]`.
    pub strides: [usize; 4],
}

impl Logits<'_> {
    /// The first `width` numbers of a row.
    pub(in crate::networks) fn row(&self, place: [usize; 4], width: usize) -> &[f32] {
        let start: usize = place.iter().zip(self.strides).map(|(n, stride)| n * stride).sum();
        self.numbers.get(start..start + width).unwrap_or_default()
    }
}

/// The weighted logits of the planes that windows still reach.
///
/// A plane lies at its number modulo the window's depth, `[D, H, C, W]`: the classes of a row lie side by side,
/// where they are added to and decided together.
#[derive(Debug)]
pub struct Slab {
    walk: Walk,
    weights: Weights,
    classes: usize,
    /// The number of sums a voxel: classes, what else comes with them, and perhaps the weights themselves.
    channels: usize,
    weighed: bool,
    sums: Vec<f32>,
}

impl Slab {
    /// An empty slab. It takes `classes * depth of a window * height * width` numbers of 4 bytes.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when there is not enough memory.
    pub fn new(walk: Walk, weights: Weights, classes: usize) -> Result<Self, NetworkError> {
        Self::with_channels(walk, weights, classes, classes, false)
    }

    /// The same, of logits whose channels `0..classes` are the classes. The weights are summed as well, in a last
    /// channel of their own: by them a sum becomes a mean.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn weighed(
        walk: Walk,
        weights: Weights,
        classes: usize,
        channels: usize,
    ) -> Result<Self, NetworkError> {
        Self::with_channels(walk, weights, classes, channels.saturating_add(1), true)
    }

    fn with_channels(
        walk: Walk,
        weights: Weights,
        classes: usize,
        channels: usize,
        weighed: bool,
    ) -> Result<Self, NetworkError> {
        let [_, height, width] = walk.padded();
        let refused = || NetworkError::Torch {
            doing: "memory for a slab".to_owned(),
            message: format!(
                "not enough memory for {channels} classes of {} planes of {height} x {width}",
                walk.window()[0]
            ),
        };
        let lengths = [channels, walk.window()[0], height, width];
        let count = lengths.iter().try_fold(1usize, |all, &n| all.checked_mul(n)).ok_or_else(refused)?;
        let mut sums = Vec::new();
        sums.try_reserve_exact(count).map_err(|_| refused())?;
        pages::large(sums.spare_capacity_mut());
        sums.resize(count, 0.0);
        Ok(Self { walk, weights, classes, channels, weighed, sums })
    }

    /// Adds the logits of the windows at `places` of the slab at the padded plane `d`.
    pub fn add(&mut self, d: usize, places: &[[usize; 2]], logits: Logits<'_>) {
        let [_, height, width] = self.walk.padded();
        let [depth, _, columns] = self.walk.window();
        let adding = Adding {
            places,
            logits,
            weights: &self.weights,
            row: self.channels * width,
            width,
            last: self.weighed.then(|| self.channels - 1),
        };
        let planes = self.sums.par_chunks_exact_mut((height * adding.row).max(1)).enumerate();
        planes.for_each(|(slot, plane)| {
            // The plane of the window that lies in this slot.
            let of_window = (slot + depth - d % depth) % depth;
            let bands = plane.par_chunks_mut((ROWS * adding.row).max(1)).enumerate();
            bands.for_each_init(
                || vec![0f32; columns],
                |weights, (band, sums)| adding.add(of_window, band * ROWS, sums, weights),
            );
        });
    }

    /// The sums of one channel in one row of a padded plane that windows still reach.
    pub fn sums(&self, plane: usize, channel: usize, row: usize) -> &[f32] {
        let [_, height, width] = self.walk.padded();
        let slot = plane % self.walk.window()[0];
        let start = ((slot * height + row) * self.channels + channel) * width;
        self.sums.get(start..start + width).unwrap_or_default()
    }

    /// Appends the class of each voxel of padded planes, and empties them for planes to come. All classes of a
    /// voxel share their weights, so that the largest sum is the largest mean. Of equal ones the first is
    /// taken.
    ///
    /// # Errors
    /// [`NetworkError::Logits`] for NaN or an infinity within the volume.
    pub fn decide(
        &mut self,
        planes: std::ops::Range<usize>,
        decided: &mut Vec<u16>,
    ) -> Result<(), NetworkError> {
        let (width, left) = (self.walk.padded()[2], self.walk.before()[2]);
        let classes = self.classes * width;
        self.decide_by(planes, decided, |sums, target| {
            decide_row(sums.get(..classes).unwrap_or_default(), width, left, target)
        })
    }

    /// The same of labels with a logit each, of a slab that is [weighed](Self::weighed): a bit for each whose mean is
    /// above its threshold, the first label's the lowest.
    ///
    /// # Errors
    /// As for [`decide`](Self::decide).
    pub fn decide_heads(
        &mut self,
        planes: std::ops::Range<usize>,
        thresholds: &[f32],
        decided: &mut Vec<u16>,
    ) -> Result<(), NetworkError> {
        let (width, left) = (self.walk.padded()[2], self.walk.before()[2]);
        let (heads, last) = (self.classes, (self.channels - 1) * width);
        self.decide_by(planes, decided, |sums, target| {
            let inside = left..left + target.len();
            let Some(weights) = sums.get(last..).and_then(|row| row.get(inside.clone())) else { return true };
            target.fill(0);
            let mut odd = 0f32;
            for (head, sums) in sums.chunks_exact(width).take(heads).enumerate() {
                let threshold = thresholds.get(head).copied().unwrap_or(0.0);
                let Some(sums) = sums.get(inside.clone()) else { return true };
                for ((target, sum), weight) in target.iter_mut().zip(sums).zip(weights) {
                    *target |= u16::from(*sum > threshold * weight) << head;
                    odd += sum * 0.0;
                }
            }
            odd == 0.0
        })
    }

    /// Appends what `decide` makes of each row, of its sums and of the room for it; it says whether all are finite.
    fn decide_by(
        &mut self,
        planes: std::ops::Range<usize>,
        decided: &mut Vec<u16>,
        decide: impl Fn(&[f32], &mut [u16]) -> bool + Sync,
    ) -> Result<(), NetworkError> {
        let [size, before] = [self.walk.size(), self.walk.before()];
        let [_, height, width] = self.walk.padded();
        let row = self.channels * width;
        for plane in planes {
            let slot = plane % self.walk.window()[0];
            let Some(sums) = self.sums.get_mut(slot * height * row..(slot + 1) * height * row) else {
                return Ok(());
            };
            if plane.checked_sub(before[0]).is_none_or(|plane| plane >= size[0]) {
                sums.fill(0.0);
                continue;
            }
            let start = decided.len();
            decided.resize(start + size[1] * size[2], 0);
            let (above, rest) = sums.split_at_mut(before[1] * row);
            let (inside, below) = rest.split_at_mut(size[1] * row);
            above.fill(0.0);
            below.fill(0.0);
            let targets = decided[start..].par_chunks_exact_mut(size[2].max(1));
            let rows = inside.par_chunks_exact_mut(row.max(1)).zip(targets).with_min_len(ROWS);
            let finite = AtomicBool::new(true);
            rows.for_each(|(sums, target)| {
                if !decide(sums, target) {
                    finite.store(false, Ordering::Relaxed);
                }
                sums.fill(0.0);
            });
            if !finite.into_inner() {
                return Err(NetworkError::Logits { slice: plane - before[0] });
            }
        }
        Ok(())
    }
}

/// Windows whose logits are added.
struct Adding<'a> {
    places: &'a [[usize; 2]],
    logits: Logits<'a>,
    weights: &'a Weights,
    /// Sums in a row of all channels, and in a row of one.
    row: usize,
    width: usize,
    /// The channel of the weights themselves.
    last: Option<usize>,
}

impl Adding<'_> {
    /// Adds what a plane of the windows holds for some rows, of which `top` is the first.
    fn add(&self, plane: usize, top: usize, band: &mut [f32], row_weights: &mut [f32]) {
        let [_, rows, columns] = self.weights.window();
        for h in 0..band.len() / self.row {
            let mut weighed = None;
            for (n, &[first, left]) in self.places.iter().enumerate() {
                let Some(row) = (top + h).checked_sub(first).filter(|&row| row < rows) else { continue };
                if weighed != Some(row) {
                    self.weights.row(plane, row, row_weights);
                    weighed = Some(row);
                }
                for c in 0..self.row / self.width {
                    let start = h * self.row + c * self.width + left;
                    let ahead = start + AHEAD * self.row;
                    pages::prefetch(band.get(ahead..ahead + columns).unwrap_or_default());
                    let Some(sums) = band.get_mut(start..start + columns) else { continue };
                    if self.last == Some(c) {
                        sums.iter_mut().zip(&*row_weights).for_each(|(sum, weight)| *sum += weight);
                        continue;
                    }
                    let logits = self.logits.row([n, c, plane, row], columns);
                    for ((sum, weight), logit) in sums.iter_mut().zip(&*row_weights).zip(logits) {
                        *sum += weight * logit;
                    }
                }
            }
        }
    }
}

/// The class with the largest sum of each voxel of a row, the sums `[C, W]` from column `left` on; whether all of
/// these are finite.
fn decide_row(sums: &[f32], width: usize, left: usize, target: &mut [u16]) -> bool {
    // 0 as long as every sum is finite, NaN from then on.
    let mut odd = [0f32; LANES];
    for (index, target) in target.chunks_mut(LANES).enumerate() {
        let (mut best, mut class) = ([0f32; LANES], [0u32; LANES]);
        let start = left + index * LANES;
        for (c, sums) in sums.chunks_exact(width).enumerate() {
            let Some(sums) = sums.get(start..start + target.len()) else { return true };
            match <&[f32; LANES]>::try_from(sums) {
                Ok(sums) => take_larger(sums, c as u32, &mut best, &mut class, &mut odd),
                Err(_) => {
                    let mut padded = [0f32; LANES];
                    padded[..sums.len()].copy_from_slice(sums);
                    take_larger(&padded, c as u32, &mut best, &mut class, &mut odd);
                }
            }
        }
        target.iter_mut().zip(class).for_each(|(target, class)| *target = class as u16);
    }
    odd.iter().all(|odd| *odd == 0.0)
}

fn take_larger(
    sums: &[f32; LANES],
    c: u32,
    best: &mut [f32; LANES],
    class: &mut [u32; LANES],
    odd: &mut [f32; LANES],
) {
    for lane in 0..LANES {
        let larger = (sums[lane] > best[lane]) | (c == 0);
        best[lane] = if larger { sums[lane] } else { best[lane] };
        class[lane] = if larger { c } else { class[lane] };
        odd[lane] += sums[lane] * 0.0;
    }
}

#[cfg(test)]
mod tests;
