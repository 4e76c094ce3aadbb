//! What there is on an image: boxes, their classes, and masks where these are learned.

use super::boxes::{Box2, scaled};
use crate::networks::sample::PlaneMask;

/// Places of a mask along each axis.
pub(super) const SIDE: usize = 28;

/// What there is on an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::networks) struct Truth {
    /// The boxes of things.
    pub boxes: Vec<Box2>,
    /// The classes of the boxes, from 1 on.
    pub classes: Vec<i64>,
    /// The masks of the boxes, where masks are learned.
    pub masks: Vec<TruthMask>,
}

impl Truth {
    /// Returns the truth of an image `[H, W]` that is shown in another size.
    pub fn scaled(&self, from: [i64; 2], to: [i64; 2]) -> Self {
        let boxes = self.boxes.iter().map(|bounds| scaled(*bounds, from, to)).collect();
        let masks = self.masks.iter().map(|mask| mask.shown(to)).collect();
        Self { boxes, classes: self.classes.clone(), masks }
    }
}

/// The mask of a thing on an image in the size in which it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::networks) struct TruthMask {
    /// The thing's pixels where it was drawn.
    cut: PlaneMask,
    /// The size `[H, W]` of the image where it was drawn, and as it is shown.
    sizes: [[i64; 2]; 2],
}

impl TruthMask {
    /// The pixels of a thing on an image `[H, W]`.
    pub fn new(cut: PlaneMask, image: [i64; 2]) -> Self {
        Self { cut, sizes: [image; 2] }
    }

    /// Returns the same mask for the image in another size: a pixel is the nearest one.
    pub fn shown(&self, to: [i64; 2]) -> Self {
        Self { cut: self.cut.clone(), sizes: [self.sizes[0], to] }
    }

    /// Returns where a pixel of the shown image lies among those of the image where it was drawn, along an
    /// axis.
    fn drawn(&self, axis: usize, place: usize) -> usize {
        let [from, to] = self.sizes.map(|size| size[axis]);
        let factor = from as f32 / to.max(1) as f32;
        ((place as f32 * factor) as usize).min(usize::try_from(from - 1).unwrap_or(0))
    }

    /// The share of the thing in each of 28x28 places of a region: an average of as many samples as there are pixels.
    ///
    /// A sample is interpolated along both axes, so that what a place has of each row and of each column is told apart.
    pub fn in_region(&self, region: Box2) -> Vec<f64> {
        let [x1, y1, x2, y2] = region;
        let size = self.sizes[1].map(|length| usize::try_from(length).unwrap_or(0));
        let (rows, columns) = (shares(y1, y2, size[0]), shares(x1, x2, size[1]));
        let across: Vec<usize> = (0..size[1]).map(|column| self.drawn(1, column)).collect();
        let mut plane = Vec::with_capacity(SIDE * SIDE);
        for row_shares in &rows {
            // What each column has of the rows of this place.
            let mut summed = vec![0.0; size[1]];
            for (row, share) in row_shares {
                let row = self.drawn(0, *row);
                if !self.cut.has_row(row) {
                    continue;
                }
                for (sum, column) in summed.iter_mut().zip(&across) {
                    *sum += share * f64::from(u8::from(self.cut.holds([row, *column])));
                }
            }
            for column_shares in &columns {
                plane.push(column_shares.iter().map(|(column, share)| share * summed[*column]).sum());
            }
        }
        plane
    }
}

/// Returns, for each place of a region along an axis of so many pixels, the pixels that it is an average of,
/// with their shares.
fn shares(start: f64, end: f64, length: usize) -> Vec<Vec<(usize, f64)>> {
    let bin = (end - start).max(1.0) / SIDE as f64;
    let samples = bin.ceil().max(1.0) as usize;
    let of_bin = |place: usize| {
        let mut pixels: Vec<(usize, f64)> = Vec::new();
        let share = 1.0 / samples as f64;
        for sample in 0..samples {
            let at = start + place as f64 * bin + (sample as f64 + 0.5) * bin / samples as f64;
            if length == 0 || !(-1.0..=length as f64).contains(&at) {
                continue;
            }
            let at = at.clamp(0.0, length as f64 - 1.0);
            let (below, part) = (at.floor() as usize, at - at.floor());
            let above = (below + 1).min(length - 1);
            for (pixel, weight) in [(below, 1.0 - part), (above, part)] {
                match pixels.iter_mut().find(|(known, _)| *known == pixel) {
                    Some((_, sum)) => *sum += weight * share,
                    None => pixels.push((pixel, weight * share)),
                }
            }
        }
        pixels
    };
    (0..SIDE).map(of_bin).collect()
}
