//! Anchors with what is said of them, to regions that are worth a look.

use super::boxes::{Box2, Coder, clip, highest, is_large, suppress_in_groups};
use crate::networks::NetworkError;

/// Overlap by which a proposal is one that is there already.
const MOST_OVERLAP: f64 = 0.7;

/// The anchors of all levels of an image.
pub(super) struct Anchors {
    /// The boxes of the anchors, level after level.
    pub boxes: Vec<Box2>,
    /// The number of anchors of each level.
    pub counts: Vec<usize>,
}

/// How many regions there may be, and how small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The most regions of each level that are looked at.
    pub before: usize,
    /// The most regions in all.
    pub most: usize,
    /// The shortest side of a box: boxes with a shorter one are left out.
    pub side: f64,
}

/// The regions of one image, the likeliest first.
///
/// # Errors
/// [`NetworkError::Shape`] where there are not as many numbers as anchors.
pub(super) fn proposals(
    anchors: &Anchors,
    objectness: &[f64],
    offsets: &[[f64; 4]],
    image: [f64; 2],
    Limits { before, most, side }: Limits,
) -> Result<Vec<Box2>, NetworkError> {
    let count = anchors.boxes.len();
    if objectness.len() != count || offsets.len() != count {
        return Err(NetworkError::Shape {
            what: "what is said of anchors".to_owned(),
            expected: format!("{count} numbers"),
            found: format!("{} and {}", objectness.len(), offsets.len()),
        });
    }
    let (mut boxes, mut scores, mut levels) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = 0;
    for (level, count) in anchors.counts.iter().enumerate() {
        for place in highest(&objectness[first..first + count], before) {
            let place = first + place;
            let bounds = clip(Coder::RPN.decode(anchors.boxes[place], offsets[place]), image);
            if is_large(bounds, side) {
                boxes.push(bounds);
                scores.push(1.0 / (1.0 + (-objectness[place]).exp()));
                levels.push(level);
            }
        }
        first += count;
    }
    let mut kept = suppress_in_groups(&boxes, &scores, &levels, MOST_OVERLAP);
    kept.truncate(most);
    Ok(kept.into_iter().map(|place| boxes[place]).collect())
}
