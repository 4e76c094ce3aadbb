//! Boxes with scores against the boxes of the truth: sensitivity at false positives an image, and average precision.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// Where DeepLesion's tables read the sensitivity: false positives an image.
pub const FALSE_POSITIVES: [f64; 6] = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0];

/// Recalls at which COCO reads the precision, beside 0: hundredths.
const STEPS: u64 = 100;

/// A box in two or three dimensions.
///
/// # Units
/// mm, or any other: only ratios of areas or volumes are made of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds<const N: usize> {
    /// The coordinate at which it begins along each axis.
    pub low: [f64; N],
    /// The coordinate at which it ends along each axis.
    pub high: [f64; N],
}

impl<const N: usize> Bounds<N> {
    /// The area or volume; 0 of a box that ends before it begins.
    pub fn volume(&self) -> f64 {
        self.low.iter().zip(&self.high).map(|(low, high)| (high - low).max(0.0)).product()
    }

    /// Intersection over union, 0 to 1; 0 of two boxes without a volume, and of one with a NaN.
    pub fn iou(&self, other: &Self) -> f64 {
        let both = Self {
            low: std::array::from_fn(|axis| self.low[axis].max(other.low[axis])),
            high: std::array::from_fn(|axis| self.high[axis].min(other.high[axis])),
        };
        let shared = both.volume();
        let union = self.volume() + other.volume() - shared;
        let share = shared / union;
        if share.is_finite() && self.is_number() && other.is_number() { share } else { 0.0 }
    }

    fn is_number(&self) -> bool {
        self.low.iter().chain(&self.high).all(|end| !end.is_nan())
    }
}

/// A box that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored<const N: usize> {
    /// The box that was found.
    pub bounds: Bounds<N>,
    /// How sure the detector is; a NaN is less sure than any number.
    pub score: f64,
}

/// One image or scan: what was found and what is there. Either may be empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found<const N: usize> {
    /// What was found.
    pub predicted: Vec<Scored<N>>,
    /// What is there.
    pub reference: Vec<Bounds<N>>,
}

impl<const N: usize> Found<N> {
    /// The boxes found, the surest first; equal scores as they stand.
    fn ranked(&self) -> Vec<Scored<N>> {
        let mut ranked = self.predicted.clone();
        for found in &mut ranked {
            found.score = if found.score.is_nan() { f64::NEG_INFINITY } else { found.score + 0.0 };
        }
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        ranked
    }
}

/// The share of lesions found at each number of false positives an image, 0 to 1 (FROC).
///
/// A box hits every lesion that it overlaps with `least_iou` or more. One that overlaps none is a false positive, one
/// whose lesions are already hit is neither (Yan et al. 2018, DeepLesion). Read is the largest sensitivity of any
/// threshold of the score that leaves at most so many false positives an image: nothing between two thresholds is
/// interpolated, and boxes of one score come together, so that the order of images and boxes takes no part.
///
/// Images without lesions count among the images. `None` when there is no lesion in any.
///
/// # Source
/// Yan et al., DeepLesion, J Med Imaging 5(3), 2018.
pub fn sensitivities<const N: usize>(
    images: &[Found<N>],
    least_iou: f64,
    false_positives: &[f64],
) -> Option<Vec<f64>> {
    Steps::of(images, least_iou).sensitivities(false_positives)
}

/// The average precision, 0 to 1: the mean of the precision at the recalls 0, 0.01 … 1, where the precision at a
/// recall is the best at that or any higher one, and 0 where that recall is not reached (COCO). With a `least_iou` of
/// 0.5 it is AP50.
///
/// Image by image, from the surest on, a box takes the lesion that it overlaps most, with `least_iou` or more, among
/// those that none took before it; of two that it overlaps alike the later one. A box that takes none is a false
/// positive. Boxes of one score in several images come together, so that the order of images takes no part; within an
/// image they stand as given. There is no limit to the boxes of an image, where COCO has 100.
///
/// Boxes in images without lesions are false positives. `None` when there is no lesion in any image.
///
/// # Source
/// Lin et al., Microsoft COCO, 2014; pycocotools.
pub fn average_precision<const N: usize>(images: &[Found<N>], least_iou: f64) -> Option<f64> {
    Steps::of(images, least_iou).average_precision()
}

/// What the boxes of images come to, one by one: enough for figures over these images and any others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steps {
    images: u64,
    lesions: u64,
    /// The steps that [`sensitivities`] reads.
    hitting: Vec<Step>,
    /// The steps that [`average_precision`] reads.
    taking: Vec<Step>,
}

impl Steps {
    /// The steps of some images.
    pub fn of<const N: usize>(images: &[Found<N>], least_iou: f64) -> Self {
        let mut steps = Self { images: images.len() as u64, ..Self::default() };
        for image in images {
            steps.lesions += image.reference.len() as u64;
            let ranked = image.ranked();
            let (mut hit, mut taken) =
                (vec![false; image.reference.len()], vec![false; image.reference.len()]);
            for found in &ranked {
                // One that adds nothing moves no figure: most boxes of a detector are of lesions that are hit already.
                let step = hits(found, &image.reference, &mut hit, least_iou);
                steps.hitting.extend((step.hits > 0 || step.misses > 0).then_some(step));
                steps.taking.push(takes(found, &image.reference, &mut taken, least_iou));
            }
        }
        steps
    }

    /// Adds those of other images.
    pub fn add(&mut self, more: Self) {
        self.images += more.images;
        self.lesions += more.lesions;
        self.hitting.extend(more.hitting);
        self.taking.extend(more.taking);
    }

    /// The sensitivities, as [`sensitivities`] gives them.
    pub fn sensitivities(&self, false_positives: &[f64]) -> Option<Vec<f64>> {
        let lesions = Some(self.lesions).filter(|lesions| *lesions > 0)?;
        let curve = curve(&self.hitting);
        let read = |rate: &f64| {
            // Divided, so that 29 in 100 images are 0.29: multiplied they are a hair more.
            let within = curve.iter().filter(|(_, misses)| *misses as f64 / self.images as f64 <= *rate);
            within.map(|(hits, _)| *hits).max().unwrap_or(0) as f64 / lesions as f64
        };
        Some(false_positives.iter().map(read).collect())
    }

    /// The average precision, as [`average_precision`] gives it.
    pub fn average_precision(&self) -> Option<f64> {
        let lesions = Some(self.lesions).filter(|lesions| *lesions > 0)?;
        let curve = curve(&self.taking);
        // The best precision at a point of the curve or at any later one.
        let mut best: Vec<f64> =
            curve.iter().map(|(hits, misses)| *hits as f64 / (hits + misses) as f64).collect();
        let mut highest = 0.0_f64;
        for precision in best.iter_mut().rev() {
            highest = highest.max(*precision);
            *precision = highest;
        }
        let mut place = 0;
        let precisions = (0..=STEPS).map(|step| {
            // Whole numbers are compared: a recall of 0.3 is reached by 3 of 10, whatever the last bit of 0.3 says.
            while curve.get(place).is_some_and(|(hits, _)| hits * STEPS < step * lesions) {
                place += 1;
            }
            best.get(place).copied().unwrap_or(0.0)
        });
        Some(precisions.sum::<f64>() / (STEPS + 1) as f64)
    }
}

/// A box hits all that it overlaps.
fn hits<const N: usize>(found: &Scored<N>, lesions: &[Bounds<N>], hit: &mut [bool], least_iou: f64) -> Step {
    let (mut overlaps, mut new) = (false, 0);
    for (hit, lesion) in hit.iter_mut().zip(lesions) {
        if is_found(found.bounds.iou(lesion), least_iou) {
            overlaps = true;
            new += u64::from(!*hit);
            *hit = true;
        }
    }
    Step { score: found.score, hits: new, misses: u64::from(!overlaps) }
}

/// A box takes what it overlaps most, of what none took before it.
fn takes<const N: usize>(
    found: &Scored<N>,
    lesions: &[Bounds<N>],
    taken: &mut [bool],
    least_iou: f64,
) -> Step {
    let overlaps = lesions.iter().map(|lesion| found.bounds.iou(lesion)).enumerate();
    let free = overlaps.filter(|(place, iou)| !taken[*place] && is_found(*iou, least_iou));
    let best = free.max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((place, _)) = best {
        taken[place] = true;
    }
    Step { score: found.score, hits: u64::from(best.is_some()), misses: u64::from(best.is_none()) }
}

/// What one box adds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Step {
    score: f64,
    hits: u64,
    misses: u64,
}

/// Hits and false positives down to each score, from the highest on.
fn curve(steps: &[Step]) -> Vec<(u64, u64)> {
    let mut steps = steps.to_vec();
    steps.sort_by(|a, b| b.score.total_cmp(&a.score));
    let (mut hits, mut misses) = (0, 0);
    let of_score = |together: &[Step]| {
        hits += together.iter().map(|step| step.hits).sum::<u64>();
        misses += together.iter().map(|step| step.misses).sum::<u64>();
        (hits, misses)
    };
    steps.chunk_by(|a, b| a.score == b.score).map(of_score).collect()
}

/// Boxes that share nothing have not met, whatever little is asked for.
fn is_found(iou: f64, least_iou: f64) -> bool {
    iou > 0.0 && iou >= least_iou
}
