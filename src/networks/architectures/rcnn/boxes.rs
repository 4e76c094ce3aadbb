//! Boxes on a plane: overlap, their code against anchors, suppression, matching and sampling. Plain numbers, no tensors.

/// A box `[x1, y1, x2, y2]`: edges, in pixels of the image; the first pixel begins at 0.
pub type Box2 = [f64; 4];

/// The greatest logarithm of a scale that a code is followed to: ln(1000 / 16).
const MOST_SCALE: f64 = 4.135_166_556_742_356;

/// The area; negative or 0 of a box that ends before it begins.
fn area([x1, y1, x2, y2]: Box2) -> f64 {
    (x2 - x1) * (y2 - y1)
}

/// Intersection over union; NaN of two boxes without an area.
pub fn iou(a: Box2, b: Box2) -> f64 {
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let shared = width * height;
    shared / (area(a) + area(b) - shared)
}

/// The part of a box that lies in an image `[H, W]`.
pub fn clip(bounds: Box2, [height, width]: [f64; 2]) -> Box2 {
    let [x1, y1, x2, y2] = bounds;
    [x1.clamp(0.0, width), y1.clamp(0.0, height), x2.clamp(0.0, width), y2.clamp(0.0, height)]
}

/// A box of an image `[H, W]` on the same image in another size.
pub fn scaled(bounds: Box2, from: [i64; 2], to: [i64; 2]) -> Box2 {
    if from == to {
        return bounds;
    }
    let [y, x] = [0, 1].map(|axis| to[axis] as f64 / from[axis] as f64);
    let [x1, y1, x2, y2] = bounds;
    [x1 * x, y1 * y, x2 * x, y2 * y]
}

/// Whether both sides are at least so long; a box with a NaN is not.
pub fn is_large(bounds: Box2, least: f64) -> bool {
    let [x1, y1, x2, y2] = bounds;
    x2 - x1 >= least && y2 - y1 >= least
}

/// How boxes are written as offsets from others: the factor of each number.
#[derive(Clone, Copy, Debug)]
pub struct Coder(pub [f64; 4]);

impl Coder {
    /// The factors for proposals against anchors.
    pub const RPN: Self = Self([1.0; 4]);
    /// The factors for boxes against proposals.
    pub const HEAD: Self = Self([10.0, 10.0, 5.0, 5.0]);

    /// Returns `[dx, dy, dw, dh]` of a box as seen from another.
    pub fn encode(self, from: Box2, bounds: Box2) -> [f64; 4] {
        let Self([wx, wy, ww, wh]) = self;
        let (width, height) = (from[2] - from[0], from[3] - from[1]);
        let centre = [from[0] + 0.5 * width, from[1] + 0.5 * height];
        let (own_width, own_height) = (bounds[2] - bounds[0], bounds[3] - bounds[1]);
        let own_centre = [bounds[0] + 0.5 * own_width, bounds[1] + 0.5 * own_height];
        [
            wx * (own_centre[0] - centre[0]) / width,
            wy * (own_centre[1] - centre[1]) / height,
            ww * (own_width / width).ln(),
            wh * (own_height / height).ln(),
        ]
    }

    /// The box of a code; a scale is followed to 1000/16 at most.
    pub fn decode(self, from: Box2, code: [f64; 4]) -> Box2 {
        let Self([wx, wy, ww, wh]) = self;
        let (width, height) = (from[2] - from[0], from[3] - from[1]);
        let centre = [from[0] + 0.5 * width, from[1] + 0.5 * height];
        let x = code[0] / wx * width + centre[0];
        let y = code[1] / wy * height + centre[1];
        // `min` of a NaN is the other number: a code that is none must stay one.
        let followed = |d: f64| if d > MOST_SCALE { MOST_SCALE } else { d };
        let half_width = 0.5 * (followed(code[2] / ww).exp() * width);
        let half_height = 0.5 * (followed(code[3] / wh).exp() * height);
        [x - half_width, y - half_height, x + half_width, y + half_height]
    }
}

/// The places of `boxes` by score, the highest first; equal scores in their order, a NaN last.
pub fn ranked(scores: &[f64]) -> Vec<usize> {
    let value = |place: &usize| match scores[*place] {
        score if score.is_nan() => f64::NEG_INFINITY,
        score => score,
    };
    let mut places: Vec<usize> = (0..scores.len()).collect();
    places.sort_by(|a, b| value(b).total_cmp(&value(a)));
    places
}

/// The places of the `most` highest scores, the highest first; equal scores in their order.
pub fn highest(scores: &[f64], most: usize) -> Vec<usize> {
    let mut places = ranked(scores);
    places.truncate(most);
    places
}

/// Non-maximum suppression: from the highest score on, a box goes that overlaps one which stays by more than `most`.
/// The places of those that stay, the highest score first.
pub fn suppress(boxes: &[Box2], scores: &[f64], most: f64) -> Vec<usize> {
    let order = ranked(scores);
    let mut kept: Vec<usize> = Vec::new();
    // Kept boxes side by side: the loop below is the whole cost.
    let mut bounds: Vec<Box2> = Vec::new();
    let mut areas: Vec<f64> = Vec::new();
    for place in order {
        let bounds_here = boxes[place];
        let own = area(bounds_here);
        let suppressed = bounds.iter().zip(&areas).any(|(other, other_area)| {
            let width = (other[2].min(bounds_here[2]) - other[0].max(bounds_here[0])).max(0.0);
            let height = (other[3].min(bounds_here[3]) - other[1].max(bounds_here[1])).max(0.0);
            let shared = width * height;
            shared / (other_area + own - shared) > most
        });
        if !suppressed {
            kept.push(place);
            bounds.push(bounds_here);
            areas.push(own);
        }
    }
    kept
}

/// The same, group by group: boxes of different groups leave each other alone. The places of those that stay, the
/// highest score first, equal ones in their order.
pub fn suppress_in_groups(boxes: &[Box2], scores: &[f64], groups: &[usize], most: f64) -> Vec<usize> {
    let mut stays = vec![false; boxes.len()];
    let mut known: Vec<usize> = groups.to_vec();
    known.sort_unstable();
    known.dedup();
    for group in known {
        let places: Vec<usize> = (0..boxes.len()).filter(|place| groups[*place] == group).collect();
        let own: Vec<Box2> = places.iter().map(|place| boxes[*place]).collect();
        let own_scores: Vec<f64> = places.iter().map(|place| scores[*place]).collect();
        suppress(&own, &own_scores, most).into_iter().for_each(|kept| stays[places[kept]] = true);
    }
    ranked(scores).into_iter().filter(|place| stays[*place]).collect()
}

/// What a box is matched with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// A thing of the truth.
    Thing(usize),
    /// No thing: the box is background.
    Nothing,
    /// Neither a thing nor background: the box is left out.
    Between,
}

/// Matches boxes with the truth: with what it overlaps most, where by `high` or more; background is what overlaps
/// nothing by `low` or more. With `low_quality` the boxes that overlap a thing more than all others do are matched
/// as well, each with what it overlaps most; a thing that no box overlaps has none.
pub fn matched(truth: &[Box2], boxes: &[Box2], [low, high]: [f64; 2], low_quality: bool) -> Vec<Match> {
    if truth.is_empty() {
        return vec![Match::Nothing; boxes.len()];
    }
    let mut best_of_thing = vec![f64::NEG_INFINITY; truth.len()];
    let mut nearest = Vec::with_capacity(boxes.len());
    for bounds in boxes {
        let mut best = (0, f64::NEG_INFINITY);
        for (place, (thing, highest)) in truth.iter().zip(&mut best_of_thing).enumerate() {
            let overlap = iou(*thing, *bounds);
            if overlap > best.1 {
                best = (place, overlap);
            }
            *highest = highest.max(overlap);
        }
        nearest.push(best);
    }
    let judge = |(bounds, (thing, overlap)): (&Box2, (usize, f64))| {
        // Computed a second time: all overlaps of all boxes would be gigabytes of a slice with many things.
        let tied = || {
            let mut things = truth.iter().zip(&best_of_thing);
            things.any(|(thing, best)| *best > 0.0 && iou(*thing, *bounds) == *best)
        };
        if overlap >= high || (low_quality && tied()) {
            Match::Thing(thing)
        } else if overlap < low || overlap.is_nan() {
            Match::Nothing
        } else {
            Match::Between
        }
    };
    boxes.iter().zip(nearest).map(judge).collect()
}

/// The numbers that a draw depends on, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// The seed of the training.
    pub seed: u64,
    /// The number of batches since the training began.
    pub batch: u64,
    /// The image in its batch.
    pub image: u64,
    /// What is drawn: two kinds of draws for one image are not the same.
    pub what: u64,
}

impl Draw {
    /// A number of a place, as good as random.
    fn of(&self, place: usize) -> u64 {
        let Self { seed, batch, image, what } = *self;
        [batch, image, what, place as u64].into_iter().fold(mixed(seed), |hash, part| mixed(hash ^ part))
    }

    /// Takes so many of these places at most, those of the smallest numbers; ascending.
    fn take(&self, mut places: Vec<usize>, most: usize) -> Vec<usize> {
        if places.len() > most {
            places.sort_by_key(|place| (self.of(*place), *place));
            places.truncate(most);
            places.sort_unstable();
        }
        places
    }
}

/// SplitMix64's step.
fn mixed(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The places that a loss is taken of: `count` in all, of which the share `positive` at most are matched with a thing;
/// background fills up. Both ascending: those of things, those of background.
pub fn sampled(matches: &[Match], count: usize, positive: f64, draw: Draw) -> [Vec<usize>; 2] {
    let such = |wanted: fn(&Match) -> bool| -> Vec<usize> {
        (0..matches.len()).filter(|place| wanted(&matches[*place])).collect()
    };
    let things = such(|found| matches!(found, Match::Thing(_)));
    let nothing = such(|found| *found == Match::Nothing);
    let things = draw.take(things, (count as f64 * positive) as usize);
    let rest = count - things.len().min(count);
    [things, Draw { what: draw.what + 1, ..draw }.take(nothing, rest)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_and_code_by_hand() {
        let (a, b) = ([0.0, 0.0, 4.0, 2.0], [2.0, 0.0, 6.0, 2.0]);
        assert_eq!(iou(a, b), 4.0 / 12.0);
        assert_eq!(clip([-3.0, 1.0, 9.0, 7.0], [5.0, 8.0]), [0.0, 1.0, 8.0, 5.0]);
        let code = Coder::HEAD.encode(a, b);
        assert_eq!(code, [5.0, 0.0, 0.0, 0.0]);
        assert_eq!(Coder::HEAD.decode(a, code), b);
        let far = Coder::RPN.decode(a, [0.0, 0.0, 99.0, f64::NAN]);
        assert!((far[2] - far[0] - 250.0).abs() < 1e-9 && far[1].is_nan());
        assert!(!is_large(far, 1.0) && is_large(a, 2.0));
    }

    #[test]
    fn equal_overlap_is_kept_and_ties_stand_in_their_order() {
        let boxes = [[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 2.0, 2.0]];
        assert_eq!(suppress(&boxes, &[0.5, 0.5, 0.5], 0.5), [0, 1]);
        assert_eq!(suppress(&boxes, &[0.1, 0.5, f64::NAN], 0.49), [1]);
        assert_eq!(suppress_in_groups(&boxes, &[0.1, 0.5, 0.2], &[7, 7, 3], 0.4), [1, 2]);
        assert_eq!(suppress(&[], &[], 0.5), [0_usize; 0]);
    }

    #[test]
    fn what_overlaps_a_thing_most_is_matched_however_little() {
        let truth = [[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]];
        let boxes =
            [[0.0, 0.0, 10.0, 9.0], [0.0, 0.0, 10.0, 5.0], [28.0, 0.0, 38.0, 10.0], [40.0, 40.0, 50.0, 50.0]];
        let found = |low_quality| matched(&truth, &boxes, [0.3, 0.7], low_quality);
        let plain = [Match::Thing(0), Match::Between, Match::Nothing, Match::Nothing];
        assert_eq!(found(false), plain);
        assert_eq!(found(true)[2], Match::Thing(1));
        assert_eq!(matched(&[], &boxes, [0.3, 0.7], true), [Match::Nothing; 4]);
    }

    #[test]
    fn a_thing_that_no_box_overlaps_takes_none() {
        let boxes = [[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]];
        let outside = [90.0, 90.0, 95.0, 95.0];
        let found = |truth: &[Box2]| matched(truth, &boxes, [0.3, 0.7], true);
        assert_eq!(found(&[outside]), [Match::Nothing; 2]);
        assert_eq!(found(&[outside, [20.0, 0.0, 22.0, 10.0]]), [Match::Nothing, Match::Thing(1)]);
    }

    #[test]
    fn draws_depend_on_their_place_alone() {
        let mut matches = vec![Match::Nothing; 400];
        (0..90).for_each(|place| matches[place * 3] = Match::Thing(0));
        let draw = |batch| sampled(&matches, 100, 0.5, Draw { seed: 1, batch, image: 0, what: 0 });
        let [things, nothing] = draw(4);
        assert_eq!((things.len(), nothing.len()), (50, 50));
        assert!(things.is_sorted() && nothing.is_sorted());
        assert_eq!(draw(4), [things.clone(), nothing]);
        assert_ne!(draw(5)[0], things);
        let all = sampled(&matches, 1_000_000, 0.5, Draw { seed: 1, batch: 0, image: 0, what: 0 });
        assert_eq!((all[0].len(), all[1].len()), (90, 310));
    }
}
