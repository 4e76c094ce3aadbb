//! Masks from a network's probabilities and the scan's intensities: a dense conditional random field.

use std::ops::Range;

use serde::Deserialize;
use tomoflow_connectors::LabelMap;

use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Field, FieldKind, FieldProblem, Kind, Output, Port, Section, Spec,
};
use crate::operators::value::{Case, Failure};
use crate::voxels::mean_field::{self, Pairwise};
use crate::voxels::planes::{STEPS, UNKNOWN};

/// The least probability: half a step of what is stored. What a network is sure of can still be outvoted.
const LEAST: f64 = 0.5 / STEPS as f64;

const LENGTH: FieldKind = FieldKind::Number { min: 1e-3, max: 1000.0, unit: "mm" };
const WEIGHT: FieldKind = FieldKind::Number { min: 0.0, max: 1000.0, unit: "" };

/// The declaration of the type `crf`.
pub static SPEC: Spec = Spec {
    name: "crf",
    section: Section::Operators,
    summary: "Masks from a network's probabilities, mended by the scan's intensities: a dense conditional random field.",
    doc: "Takes what an `infer` with `keep = [\"probabilities\"]` kept beside its masks, and the scan, on whose grid as it \
          comes here it works: probabilities are brought there by linear interpolation, and the mask goes back to the \
          scan's original grid. Two voxels of unequal labels cost\n\n\
          `appearance · exp(−|Δx|² / 2 appearance_mm² − |ΔI|² / 2 contrast²) + smoothness · exp(−|Δx|² / 2 smoothness_mm²)`\n\n\
          with `|Δx|` in mm and `|ΔI|` in the scan's units, over all of its channels: intensities are those after \
          `zscore` by default. Labels are those that are most likely after `iterations` rounds of mean field, of equally \
          likely ones the lower. All neighbours of at most `reach` voxels along each axis are asked and none beyond \
          (\"truncated\"); there is no approximation else. A label does not grow farther than `reach` voxels beyond where \
          the network gave it, or any other, a probability. Probabilities are stored in steps of 1/254, and none counts \
          as less than half a step.\n\n\
          Sums are over neighbours, and not divided by their number, so that smaller voxels ask more of them.\n\n\
          Source: Krähenbühl and Koltun, NeurIPS 2011, arXiv 1210.5644; between a network's rounds of learning from its own \
          masks: Bai et al., MICCAI 2017.",
    version: 1,
    inputs: &[
        Port { name: "masks", accepts: &[Kind::Masks], many: false },
        Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false },
    ],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[
        Field::semantic("appearance", WEIGHT, "5.0", "The weight of neighbours of like intensity."),
        Field::semantic("appearance_mm", LENGTH, "10.0", "How far such neighbours are asked."),
        Field::semantic(
            "contrast",
            FieldKind::Number { min: 1e-6, max: 1e6, unit: "" },
            "0.5",
            "The difference of intensities that tells neighbours apart.",
        ),
        Field::semantic("smoothness", WEIGHT, "3.0", "The weight of neighbours whatever their intensity."),
        Field::semantic("smoothness_mm", LENGTH, "3.0", "How far such neighbours are asked."),
        Field::semantic(
            "iterations",
            FieldKind::Integer { min: 1, max: 100 },
            "5",
            "The number of rounds in which voxels hear their neighbours.",
        ),
        Field::semantic(
            "reach",
            FieldKind::Integer { min: 1, max: 20 },
            "5",
            "The greatest distance of neighbours that are asked, in voxels along each axis.",
        ),
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

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

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    crate::operators::read_config(config).map(Stage::Crf)
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
        // The inner voxels are those whose labels may change, the outer ones these with all their neighbours.
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

/// Returns the probabilities of the background and of each label; none is 0, and their sum is 1.
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
        // The sums are made in steps, so that what is equally likely is so to the last bit.
        let labels: u32 = shares.iter().map(|map| u32::from(map[voxel])).sum();
        let each = std::iter::once(u32::from(STEPS).saturating_sub(labels));
        let each = each.chain(shares.iter().map(|map| u32::from(map[voxel])));
        let each = each.map(|steps| (f64::from(steps) / f64::from(STEPS)).max(LEAST));
        let sum: f64 = each.clone().sum();
        classes.iter_mut().zip(each).for_each(|(class, share)| class.push(share / sum));
    }
    Ok(classes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tomoflow_connectors::{Geometry, Scan};

    use super::*;

    fn crf(changes: serde_json::Value) -> Crf {
        let mut config = json!({
            "appearance": 5.0, "appearance_mm": 10.0, "contrast": 0.5, "smoothness": 0.0, "smoothness_mm": 3.0,
            "iterations": 5, "reach": 3,
        });
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let Ok(Stage::Crf(crf)) = build(config.as_object().unwrap()) else { panic!("an operator") };
        crf
    }

    fn case(geometry: &Geometry, voxels: Vec<f32>) -> Case {
        let scan = Arc::new(Scan::new(geometry.clone(), voxels).unwrap());
        Case {
            channels: None,
            scan,
            labels: None,
            original: Arc::new(geometry.clone()),
            label_names: Arc::from([]),
            padding: None,
        }
    }

    #[test]
    fn a_ragged_mask_takes_the_shape_of_what_is_bright() {
        // A bright block; the network is sure of half of it, and of a bit beyond it.
        let geometry = Geometry::axis_aligned([1, 12, 20], [1.0; 3]);
        let inside = |i: usize| (3..9).contains(&(i / 20)) && (4..14).contains(&(i % 20));
        let voxels: Vec<f32> = (0..240).map(|i| if inside(i) { 2.0 } else { 0.0 }).collect();
        let guess = |i: usize| match (i / 20, i % 20) {
            (3..9, 4..11) => 240,
            (6, 14..16) => 180,
            (_, 11..14) if inside(i) => 90,
            _ => 0,
        };
        let shares = vec![(0..240).map(guess).collect::<Vec<u8>>()];
        let found = crf(json!({})).refine(&case(&geometry, voxels), &shares).unwrap();
        let expected: Vec<u16> = (0..240).map(|i| u16::from(inside(i))).collect();
        assert_eq!(found.voxels(), expected);
    }

    #[test]
    fn without_weights_it_is_what_the_network_says_and_ties_go_to_the_lower_label() {
        let geometry = Geometry::axis_aligned([1, 1, 5], [1.0; 3]);
        let none = crf(json!({ "appearance": 0.0, "smoothness": 0.0 }));
        let shares = vec![vec![0, 127, 100, 0, 84], vec![0, 0, 100, 254, 85]];
        let found = none.refine(&case(&geometry, vec![0.0; 5]), &shares).unwrap();
        // 84, 85 and the background's 85 of 254.
        assert_eq!(found.voxels(), [0, 0, 1, 2, 0]);
    }

    #[test]
    fn nothing_found_stays_nothing_and_labels_grow_no_farther_than_they_reach() {
        let geometry = Geometry::axis_aligned([1, 1, 12], [1.0; 3]);
        let flat = case(&geometry, vec![1.0; 12]);
        let found = crf(json!({})).refine(&flat, &[vec![0; 12]]).unwrap();
        assert!(found.voxels().iter().all(|label| *label == 0));
        let mut shares = vec![0; 12];
        shares[..3].fill(254);
        let strong = crf(json!({ "appearance": 1000.0, "reach": 2, "iterations": 20 }));
        let found = strong.refine(&flat, &[shares]).unwrap();
        assert!(found.voxels()[5..].iter().all(|label| *label == 0), "{:?}", found.voxels());
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let geometry = Geometry::axis_aligned([1, 1, 3], [1.0; 3]);
        let code = |voxels: [f32; 3], shares: &[u8]| {
            crf(json!({})).refine(&case(&geometry, voxels.to_vec()), &[shares.to_vec()]).unwrap_err().code
        };
        assert_eq!(code([0.0, f32::NAN, 1.0], &[0, 9, 9]), "NOT_FINITE");
        assert_eq!(code([0.0; 3], &[0, UNKNOWN, 9]), "NOT_FINITE");
        assert_eq!(code([0.0; 3], &[0, 9]), "BAD_GRID");
    }
}
