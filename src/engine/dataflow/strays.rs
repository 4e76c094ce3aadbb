//! Scans of one slice that are a stack together: an export gave each slice a series of its own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::geometry::{cross, dot, norm};
use tomoflow_connectors::{Geometry, Reject};

use super::super::rows::JOINED;
use super::Rows;
use crate::executor::work::{ScanForm, SeriesRow, Verdict};

/// The least number of slices of a stack: two series of one slice may be anything.
const LEAST: usize = 3;
/// The least number of places of a stack that has a gap.
const LEAST_WITH_GAP: usize = 4;
/// The distance that slices of a stack may lie beside one another, and the unevenness of their gaps, in mm.
const JITTER_MM: f64 = 0.1;

/// What slices of one stack have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Alike {
    texts: [Arc<str>; 4],
    size: [usize; 2],
    /// The ways along rows and columns, in hundredths of a mm.
    steps: [[i64; 3]; 2],
}

/// Refuses accepted scans of one slice that are an even stack together, be it with slices missing or several at each
/// place, by name; all others stay what they are.
///
/// Their voxels could be read, and would be a volume of no depth each: whoever trains on them, or measures volumes,
/// gets wrong numbers.
pub(super) fn refuse_stacks(verdicts: Rows<'_, Verdict>) -> Rows<'_, Verdict> {
    let rest = verdicts.clone().filter(|verdict| alike(verdict).is_none());
    let single = verdicts.flat_map(|verdict| alike(&verdict).map(|alike| (alike, verdict)));
    let judged = single.reduce(|_, verdicts, output| {
        let rows = verdicts.iter().filter_map(|(verdict, _)| verdict.accepted());
        let grids: Vec<Geometry> = rows.map(|row| Geometry::from(&row.grid)).collect();
        let stack = stack_of(&grids);
        for (verdict, count) in verdicts {
            let refused = |row: &Arc<SeriesRow>, stack: &str| {
                Verdict::Rejected(row.key.to_string(), refusal(grids.len(), stack))
            };
            let verdict = match (verdict.accepted(), &stack) {
                (Some(row), Some(stack)) => refused(row, stack),
                _ => (*verdict).clone(),
            };
            output.push((verdict, *count));
        }
    });
    rest.concat(judged.map(|(_, verdict)| verdict))
}

fn refusal(slices: usize, stack: &str) -> Reject {
    let message = format!("a series for each scan expected, {slices} series of one slice are {stack}");
    let hint = "an export gave each slice a SeriesInstanceUID of its own: `series_per_slice = true` at the source joins \
                them by what else they have in common";
    Reject::new(JOINED, message, hint)
}

/// Returns what a scan of one slice has in common with others of its stack; `None` for every other verdict.
fn alike(verdict: &Verdict) -> Option<Alike> {
    let row = verdict.accepted().filter(|row| row.form == ScanForm::Instances && row.part == 0)?;
    let grid = Geometry::from(&row.grid);
    let [1, rows, columns] = grid.size else { return None };
    let rounded = |step: [f64; 3]| step.map(|mm| (mm * 100.0).round() as i64);
    Some(Alike {
        texts: [&row.study_uid, &row.patient, &row.modality, &row.description].map(Arc::clone),
        size: [rows, columns],
        steps: [rounded(grid.steps_mm[1]), rounded(grid.steps_mm[2])],
    })
}

/// Returns what slices that lie above one another are together: a stack that is even, one of which slices are
/// missing, or one with several slices at some place, as in time; `None` when they are none.
fn stack_of(slices: &[Geometry]) -> Option<String> {
    let heights = heights(slices)?;
    if is_even(&heights) {
        return Some("an even stack together".to_owned());
    }
    let mut places = heights.clone();
    places.dedup_by(|next, before| *next - *before <= JITTER_MM);
    let repeated = if places.len() < heights.len() { ", with several slices at one place" } else { "" };
    if is_even(&places) {
        return Some(format!("an even stack together{repeated}"));
    }
    let missing = missing(&places)?;
    Some(format!("a stack together, of which {missing} slice(s) are missing{repeated}"))
}

/// Returns the heights of slices, ascending; `None` when they are too few, or do not lie above one another.
fn heights(slices: &[Geometry]) -> Option<Vec<f64>> {
    let first = slices.first()?;
    let normal = cross(first.steps_mm[1], first.steps_mm[2]);
    let length = norm(normal);
    if slices.len() < LEAST || length == 0.0 {
        return None;
    }
    let normal = normal.map(|part| part / length);
    let way = |slice: &Geometry| [0, 1, 2].map(|axis| slice.origin_mm[axis] - first.origin_mm[axis]);
    let beside = |slice: &Geometry| {
        let (way, height) = (way(slice), dot(way(slice), normal));
        norm([0, 1, 2].map(|axis| way[axis] - height * normal[axis]))
    };
    if slices.iter().any(|slice| beside(slice) > JITTER_MM) {
        return None;
    }
    let mut heights: Vec<f64> = slices.iter().map(|slice| dot(way(slice), normal)).collect();
    heights.sort_by(f64::total_cmp);
    Some(heights)
}

/// Whether places lie at even distances, and are enough for a stack.
fn is_even(places: &[f64]) -> bool {
    let (Some(low), Some(high)) = (places.first(), places.last()) else { return false };
    if places.len() < LEAST {
        return false;
    }
    let gap = (high - low) / (places.len() - 1) as f64;
    gap > JITTER_MM && places.windows(2).all(|pair| (pair[1] - pair[0] - gap).abs() <= JITTER_MM)
}

/// Counts the places that are missing where most neighbours are equally far apart and the others a multiple
/// of that; `None` where they lie otherwise, or more are missing than are there.
fn missing(places: &[f64]) -> Option<usize> {
    let gaps: Vec<f64> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let least = gaps.iter().copied().fold(f64::INFINITY, f64::min);
    let single = gaps.iter().filter(|gap| **gap - least <= JITTER_MM).count();
    let enough = places.len() >= LEAST_WITH_GAP && 2 * single > gaps.len() && least > 2.0 * JITTER_MM;
    let times = |gap: &f64| (gap / least).round();
    let fits = |gap: &f64| (gap - times(gap) * least).abs() <= JITTER_MM * times(gap);
    let missing = gaps.iter().map(|gap| times(gap) - 1.0).sum::<f64>();
    let known = enough && gaps.iter().all(fits) && missing >= 1.0 && missing <= places.len() as f64;
    known.then_some(missing as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(places: &[[f64; 3]]) -> Vec<Geometry> {
        let slice = |place: &[f64; 3]| Geometry {
            origin_mm: *place,
            ..Geometry::axis_aligned([1, 4, 4], [5.0, 1.0, 1.0])
        };
        places.iter().map(slice).collect()
    }

    #[test]
    fn an_even_stack_is_one_and_nothing_else_is() {
        let stack = |heights: &[f64]| {
            stack_of(&at(&heights.iter().map(|z| [3.0, 4.0, *z]).collect::<Vec<_>>())).is_some()
        };
        assert!(stack(&[0.0, 10.0, 5.0, 15.02]));
        assert!(!stack(&[0.0, 5.0]), "too few");
        assert!(!stack(&[0.0, 5.0, 15.0]), "uneven");
        assert!(!stack(&[5.0, 5.0, 5.0]), "the same place, as in time");
        let beside = at(&[[0.0; 3], [1.0, 0.0, 5.0], [0.0, 0.0, 10.0]]);
        assert_eq!(stack_of(&beside), None, "beside one another");
    }

    #[test]
    fn a_stack_that_lost_slices_or_has_phases_is_one_as_well() {
        let stack =
            |heights: &[f64]| stack_of(&at(&heights.iter().map(|z| [3.0, 4.0, *z]).collect::<Vec<_>>()));
        assert_eq!(stack(&[0.0, 3.0, 6.0]).unwrap(), "an even stack together");
        let lost = stack(&[0.0, 3.0, 6.0, 12.0, 15.0, 18.0, 21.0]).unwrap();
        assert_eq!(lost, "a stack together, of which 1 slice(s) are missing");
        let phases: Vec<f64> = (0..16).map(|k| 3.0 * f64::from(k / 2)).collect();
        assert_eq!(stack(&phases).unwrap(), "an even stack together, with several slices at one place");
        let both: Vec<f64> = phases.iter().copied().filter(|z| *z != 9.0).collect();
        assert_eq!(
            stack(&both).unwrap(),
            "a stack together, of which 1 slice(s) are missing, with several slices at one place"
        );
        // Too few places, uneven ones, and more gaps than slices say nothing.
        for heights in [&[0.0, 5.0, 15.0][..], &[0.0, 3.0, 6.0, 10.0, 13.0], &[0.0, 3.0, 6.0, 9.0, 90.0]] {
            assert_eq!(stack(heights), None, "{heights:?}");
        }
    }
}
