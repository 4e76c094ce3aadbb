//! The boxes that are found from what a head says of regions.

use super::boxes::{Box2, Coder, clip, is_large, suppress_in_groups};
use crate::networks::sample::PlaneMask;

/// Boxes of which a side is shorter are none.
const LEAST_SIDE: f64 = 1e-2;

/// Which boxes are told of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FindOptions {
    /// The least score.
    pub score: f64,
    /// The overlap above which the less sure of two boxes of a class goes.
    pub overlap: f64,
    /// The most boxes of an image; 0 for all.
    pub most: usize,
}

impl Default for FindOptions {
    fn default() -> Self {
        Self { score: 0.05, overlap: 0.5, most: 100 }
    }
}

/// A box that was found on an image.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundBox {
    /// The class of the thing, from 1 on.
    pub class: u8,
    /// The score, 0 to 1.
    pub score: f64,
    /// The box `[x1, y1, x2, y2]`, in pixels' edges.
    pub bounds: Box2,
    /// The thing's pixels on the image, where the network gives masks.
    pub mask: Option<PlaneMask>,
}

/// The boxes of one image `[H, W]`, the surest first: of each region one for each class but background.
pub(super) fn found(
    regions: &[Box2],
    logits: &[f64],
    codes: &[[f64; 4]],
    classes: usize,
    image: [f64; 2],
    (options, coder): (&FindOptions, Coder),
) -> Vec<FoundBox> {
    let mut all = Vec::new();
    for ((region, logits), codes) in
        regions.iter().zip(logits.chunks_exact(classes)).zip(codes.chunks_exact(classes))
    {
        let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shares: Vec<f64> = logits.iter().map(|logit| (logit - greatest).exp()).collect();
        let sum: f64 = shares.iter().sum();
        for (class, (share, code)) in shares.iter().zip(codes).enumerate().skip(1) {
            let (score, bounds) = (share / sum, clip(coder.decode(*region, *code), image));
            if score > options.score && is_large(bounds, LEAST_SIDE) {
                all.push(FoundBox { class: class as u8, score, bounds, mask: None });
            }
        }
    }
    let boxes: Vec<Box2> = all.iter().map(|found| found.bounds).collect();
    let scores: Vec<f64> = all.iter().map(|found| found.score).collect();
    let groups: Vec<usize> = all.iter().map(|found| usize::from(found.class)).collect();
    let mut kept = suppress_in_groups(&boxes, &scores, &groups, options.overlap);
    if options.most > 0 {
        kept.truncate(options.most);
    }
    kept.into_iter().map(|place| all[place].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_a_region_is_a_box_of_its_own() {
        let regions = [[0.0, 0.0, 10.0, 10.0], [0.0, 1.0, 10.0, 11.0], [40.0, 0.0, 50.0, 20.0]];
        let logits = [0.0, 2.0, 1.0, 0.0, 1.0, -9.0, 3.0, -4.0, 3.0];
        let found =
            found(&regions, &logits, &[[0.0; 4]; 9], 3, [16.0, 48.0], (&FindOptions::default(), Coder::HEAD));
        let classes: Vec<u8> = found.iter().map(|found| found.class).collect();
        // The second region's box of class 1 overlaps the first's, whose score is less: e^2 / (1 + e + e^2) = 0.665.
        assert_eq!(classes, [1, 2, 2]);
        assert_eq!(found[0].bounds, [0.0, 1.0, 10.0, 11.0]);
        assert_eq!(found[1].bounds, [40.0, 0.0, 48.0, 16.0]);
        assert!((found[0].score - 1.0 / (1.0 + (-1f64).exp() + (-10f64).exp())).abs() < 1e-12);
    }
}
