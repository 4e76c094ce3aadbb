//! How sure a network was, and where it looked: maps made plane by plane from blended logits.

use std::io;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use crate::voxels::planes::{Planes, STEPS, UNKNOWN, pack, share, stored};

/// Which maps are made beside the classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MapKinds {
    /// The softmax of the blended logits, one map for each class but the background.
    pub probabilities: bool,
    /// The entropy of this softmax, as a share of the largest there can be: ln(classes).
    pub entropy: bool,
    /// The network's own attention map, the finest.
    pub attention: bool,
}

impl MapKinds {
    /// Whether there is any.
    pub fn any(self) -> bool {
        self.probabilities || self.entropy || self.attention
    }

    /// Returns the kinds of either.
    pub fn union(self, other: Self) -> Self {
        Self {
            probabilities: self.probabilities || other.probabilities,
            entropy: self.entropy || other.entropy,
            attention: self.attention || other.attention,
        }
    }

    /// Whether all of `other` are among them.
    pub fn cover(self, other: Self) -> bool {
        self.union(other) == self
    }
}

/// The maps of one volume, on the network's grid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maps {
    /// The maps of the classes from 1 on; empty when they were not asked for.
    pub probabilities: Vec<Planes>,
    /// The entropy of the softmax.
    pub entropy: Option<Planes>,
    /// The attention map that the network itself gives.
    pub attention: Option<Planes>,
}

/// Makes maps of planes that come one after the other, and holds them packed: never a float for each class and
/// voxel of a volume.
#[derive(Debug)]
pub struct MapMaker {
    kinds: MapKinds,
    classes: usize,
    /// Whether each label has a head of its own, and the background none.
    heads: bool,
    size: [usize; 2],
    /// The maps that are being made, in the order of [`shares`].
    maps: Vec<Planes>,
}

impl MapMaker {
    /// Makes maps of planes `[H, W]` of a volume `[D, H, W]` with so many classes, background included.
    pub fn new(kinds: MapKinds, classes: usize, size: [usize; 3]) -> Self {
        let size = [size[1], size[2]];
        let count = count(kinds, classes);
        Self { kinds, classes, heads: false, size, maps: vec![Planes::new(size); count] }
    }

    /// Returns the same maker for logits that each label has by itself: a label's probability is the sigmoid
    /// of its own, and the entropy is the mean of what is uncertain of each.
    #[must_use]
    pub fn of_heads(self) -> Self {
        Self { heads: true, ..self }
    }

    /// Takes the next plane: `row` gives the `W` numbers of a channel's row. Channels are the sums of weighed logits
    /// for each class, then those of attention when it is asked for, then those of the weights.
    ///
    /// # Errors
    /// When zstd refuses, which would be for want of memory.
    pub fn take<'a>(&mut self, row: impl Fn(usize, usize) -> &'a [f32] + Sync) -> io::Result<()> {
        let ([height, width], count) = (self.size, self.maps.len());
        if count == 0 || width == 0 {
            return Ok(());
        }
        let logits = self.classes - usize::from(self.heads);
        let channels = logits + usize::from(self.kinds.attention) + 1;
        let mut bytes = vec![0u8; height * count * width];
        bytes.par_chunks_exact_mut(count * width).enumerate().for_each_init(
            || vec![0f32; (count + self.classes) * width],
            |scratch, (h, bytes)| {
                let (found, exponentials) = scratch.split_at_mut(count * width);
                let rows: Vec<&[f32]> = (0..channels).map(|channel| row(channel, h)).collect();
                match self.heads {
                    true => shares_of_heads(self.kinds, &rows, found),
                    false => shares(self.kinds, &rows, exponentials, found),
                }
                bytes.iter_mut().zip(&*found).for_each(|(byte, share)| *byte = stored(*share));
            },
        );
        let packed: io::Result<Vec<Vec<u8>>> = (0..count)
            .into_par_iter()
            .map(|map| {
                let rows = bytes.chunks_exact(count * width).flat_map(|row| &row[map * width..][..width]);
                pack(rows.copied().collect(), width)
            })
            .collect();
        self.maps.iter_mut().zip(packed?).for_each(|(map, packed)| map.push(packed));
        Ok(())
    }

    /// Returns all of the maps.
    pub fn finish(self) -> Maps {
        let mut maps = self.maps.into_iter();
        let labels = if self.kinds.probabilities { self.classes.saturating_sub(1) } else { 0 };
        Maps {
            probabilities: maps.by_ref().take(labels).collect(),
            entropy: if self.kinds.entropy { maps.next() } else { None },
            attention: if self.kinds.attention { maps.next() } else { None },
        }
    }
}

fn count(kinds: MapKinds, classes: usize) -> usize {
    let labels = if kinds.probabilities { classes.saturating_sub(1) } else { 0 };
    labels + usize::from(kinds.entropy) + usize::from(kinds.attention)
}

/// The shares of one row of `W` voxels: for each class but the background its probability, then the entropy, then
/// attention, those of `kinds`.
///
/// `rows` are the sums of weighed logits for each class, of weighed attention if it is of `kinds`, and of the
/// weights. With the blended logits l = sum / weight: p = softmax(l), and the entropy is −Σ p ln p / ln(classes), so
/// that 0 is certainty and 1 all classes alike. Where a logit is NaN, or the largest one is infinite, nothing is known
/// and both are NaN. `exponentials` is room for `classes * W` numbers.
///
/// # Source
/// Blending before the softmax: MONAI's `sliding_window_inference` with the softmax as its post-processing, and nnU-Net's
/// `predict_sliding_window_return_logits` with `apply_inference_nonlin`.
fn shares(kinds: MapKinds, rows: &[&[f32]], exponentials: &mut [f32], found: &mut [f32]) {
    let Some((weights, rows)) = rows.split_last() else { return };
    let (attention, logits) = match rows.split_last() {
        Some((attention, logits)) if kinds.attention => (Some(attention), logits),
        _ => (None, rows),
    };
    let (width, classes) = (weights.len(), logits.len());
    let room = exponentials.len() == classes * width && found.len() == count(kinds, classes) * width;
    if !room || rows.iter().any(|row| row.len() != width) {
        return;
    }
    let labels = if kinds.probabilities { classes.saturating_sub(1) } else { 0 };
    for w in 0..width {
        let weight = weights[w];
        if let Some(attention) = attention {
            found[(labels + usize::from(kinds.entropy)) * width + w] = attention[w] / weight;
        }
        let largest = logits.iter().fold(f32::NEG_INFINITY, |largest, row| row[w].max(largest)) / weight;
        let (mut sum, mut weighed) = (0f32, 0f32);
        for (row, place) in logits.iter().zip(exponentials.chunks_exact_mut(width)) {
            let below = row[w] / weight - largest;
            // One of two classes is the largest: half of all exponentials need not be made.
            let exponential = if below == 0.0 { 1.0 } else { below.exp() };
            place[w] = exponential;
            sum += exponential;
            // A class that is out of the question adds nothing: 0 · −∞ is nothing.
            weighed += if exponential > 0.0 || below.is_nan() { exponential * below } else { 0.0 };
        }
        for (label, place) in exponentials.chunks_exact(width).skip(1).take(labels).enumerate() {
            found[label * width + w] = place[w] / sum;
        }
        if kinds.entropy {
            // −Σ p ln p with ln p = below − ln(sum).
            found[labels * width + w] = (sum.ln() - weighed / sum) / (classes as f32).ln();
        }
    }
}

/// Computes the same as [`shares`], from sums of weighed logits for each label: p = 1 / (1 + exp(−l)), and
/// the entropy is the mean over labels of −(p ln p + (1 − p) ln(1 − p)) / ln 2.
fn shares_of_heads(kinds: MapKinds, rows: &[&[f32]], found: &mut [f32]) {
    let Some((weights, rows)) = rows.split_last() else { return };
    let (attention, logits) = match rows.split_last() {
        Some((attention, logits)) if kinds.attention => (Some(attention), logits),
        _ => (None, rows),
    };
    let width = weights.len();
    let labels = if kinds.probabilities { logits.len() } else { 0 };
    for w in 0..width {
        let weight = weights[w];
        if let Some(attention) = attention {
            found[(labels + usize::from(kinds.entropy)) * width + w] = attention[w] / weight;
        }
        let mut uncertain = 0f32;
        for (label, row) in logits.iter().enumerate() {
            let p = 1.0 / (1.0 + (-row[w] / weight).exp());
            if label < labels {
                found[label * width + w] = p;
            }
            let part = |p: f32| if p > 0.0 || p.is_nan() { -p * p.ln() } else { 0.0 };
            uncertain += part(p) + part(1.0 - p);
        }
        if kinds.entropy {
            found[labels * width + w] = uncertain / std::f32::consts::LN_2 / logits.len().max(1) as f32;
        }
    }
}

#[cfg(test)]
mod tests;
