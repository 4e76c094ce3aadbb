//! The field over one case's probabilities and intensities.

use std::ops::Range;

use serde::Deserialize;
use tomoflow_connectors::LabelMap;

use crate::operators::value::{Case, Failure};
use crate::voxels::mean_field::{self, Pairwise};
use crate::voxels::planes::{STEPS, UNKNOWN};

/// The least probability: half a step of what is stored. What a network is sure of can still be outvoted.
const LEAST: f64 = 0.5 / STEPS as f64;

/// A conditional random field.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Crf {
    appearance: f64,
    appearance_mm: f64,
    contrast: f64,
    smoothness: f64,
    smoothness_mm: f64,
    iterations: usize,
    reach: usize,
}

impl Crf {
    /// Labels on the case's grid, from the probability of each label there, a byte a voxel: shares in steps of 1/254.
    ///
    /// # Errors
    /// `BAD_GRID` where a map does not fill the case's grid, `NOT_FINITE` for intensities or probabilities that are no
    /// numbers.
    pub fn refine(&self, case: &Case, shares: &[Vec<u8>]) -> Result<LabelMap, Failure> {
        let geometry = case.scan.geometry();
        let (size, mut labels) = (geometry.size, LabelMap::zeros(geometry.clone()));
        if shares.iter().any(|map| map.len() != geometry.voxels()) {
            let message = format!("maps of {} voxels expected, others found", geometry.voxels());
            return Err(Failure::new("BAD_GRID", message, "please report this"));
        }
        let Some(found) = about(size, shares) else { return Ok(labels) };
        // Whose labels may change, and these with all their neighbours.
        let inner: [Range<usize>; 3] =
            std::array::from_fn(|axis| wider(&found[axis], self.reach, size[axis]));
        let outer: [Range<usize>; 3] =
            std::array::from_fn(|axis| wider(&inner[axis], self.reach, size[axis]));
        let field = mean_field::Field {
            size: outer.clone().map(|range| range.len()),
            spacing_mm: geometry.spacing_mm(),
            intensities: case
                .scans()
                .map(|scan| intensities(scan.voxels(), size, &outer))
                .collect::<Result<_, _>>()?,
            probabilities: probabilities(shares, size, &outer)?,
        };
        let within: [Range<usize>; 3] = std::array::from_fn(|axis| {
            inner[axis].start - outer[axis].start..inner[axis].end - outer[axis].start
        });
        let known = self.pairwise().mean_field(&field, &within, self.iterations);
        let voxels = labels.voxels_mut();
        for (place, voxel) in places(size, &outer).enumerate() {
            voxels[voxel] = most_likely(&known, place);
        }
        Ok(labels)
    }

    fn pairwise(&self) -> Pairwise {
        let Self { appearance, appearance_mm, contrast, smoothness, smoothness_mm, reach, .. } = *self;
        Pairwise { appearance, appearance_mm, contrast, smoothness, smoothness_mm, reach }
    }
}

/// The most likely class of a voxel; the lower of equally likely ones.
fn most_likely(known: &[Vec<f64>], place: usize) -> u16 {
    let (mut label, mut most) = (0, f64::NEG_INFINITY);
    for (class, known) in known.iter().enumerate() {
        if known[place] > most {
            (label, most) = (class as u16, known[place]);
        }
    }
    label
}

/// The box about all voxels of which a label has a probability; none where there are none.
fn about([depth, height, width]: [usize; 3], shares: &[Vec<u8>]) -> Option<[Range<usize>; 3]> {
    let mut found: Option<[Range<usize>; 3]> = None;
    let mut add = |place: [usize; 3]| match &mut found {
        None => found = Some(place.map(|at| at..at + 1)),
        Some(about) => {
            for (range, at) in about.iter_mut().zip(place) {
                *range = range.start.min(at)..range.end.max(at + 1);
            }
        }
    };
    for d in 0..depth {
        for h in 0..height {
            let row = (d * height + h) * width;
            for map in shares {
                let row = &map[row..row + width];
                let first = row.iter().position(|share| *share > 0);
                let last = row.iter().rposition(|share| *share > 0);
                [first, last].into_iter().flatten().for_each(|w| add([d, h, w]));
            }
        }
    }
    found
}

fn wider(range: &Range<usize>, by: usize, most: usize) -> Range<usize> {
    range.start.saturating_sub(by)..(range.end + by).min(most)
}

/// The voxels of a box, the last axis fastest.
fn places(
    [_, height, width]: [usize; 3],
    [depths, heights, widths]: &[Range<usize>; 3],
) -> impl Iterator<Item = usize> {
    let (heights, widths) = (heights.clone(), widths.clone());
    depths.clone().flat_map(move |d| {
        let widths = widths.clone();
        heights.clone().flat_map(move |h| widths.clone().map(move |w| (d * height + h) * width + w))
    })
}

fn intensities(voxels: &[f32], size: [usize; 3], within: &[Range<usize>; 3]) -> Result<Vec<f64>, Failure> {
    let values: Vec<f64> = places(size, within).map(|voxel| f64::from(voxels[voxel])).collect();
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(crate::voxels::values::not_finite()),
    }
}

/// Of the background and of each label; none is 0, and all are 1.
fn probabilities(
    shares: &[Vec<u8>],
    size: [usize; 3],
    within: &[Range<usize>; 3],
) -> Result<Vec<Vec<f64>>, Failure> {
    let count = within.iter().map(Range::len).product();
    let mut classes = vec![Vec::with_capacity(count); shares.len() + 1];
    for voxel in places(size, within) {
        if shares.iter().any(|map| map[voxel] == UNKNOWN) {
            let message = "a probability expected, a voxel of which nothing is known found";
            return Err(Failure::new("NOT_FINITE", message, "the network gave what is no number there"));
        }
        // In steps, so that what is equally likely is so to the last bit.
        let labels: u32 = shares.iter().map(|map| u32::from(map[voxel])).sum();
        let each = std::iter::once(u32::from(STEPS).saturating_sub(labels));
        let each = each.chain(shares.iter().map(|map| u32::from(map[voxel])));
        let each = each.map(|steps| (f64::from(steps) / f64::from(STEPS)).max(LEAST));
        let sum: f64 = each.clone().sum();
        classes.iter_mut().zip(each).for_each(|(class, share)| class.push(share / sum));
    }
    Ok(classes)
}
