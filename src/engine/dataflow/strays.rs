//! Scans of one slice that are a stack together: an export gave each slice a series of its own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::geometry::{cross, dot, norm};
use tomoflow_connectors::{Geometry, Reject};

use super::Rows;
use crate::executor::work::{ScanForm, SeriesRow, Verdict};

/// As many slices at least: two of series of their own may be anything.
const LEAST: usize = 3;
/// How far slices of a stack may lie beside one another, and how unevenly, in mm.
const JITTER_MM: f64 = 0.1;

/// What slices of one stack have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Alike {
    texts: [Arc<str>; 4],
    size: [usize; 2],
    /// The ways along rows and columns, in hundredths of a mm.
    steps: [[i64; 3]; 2],
}

/// Refuses accepted scans of one slice that are an even stack together, by name; all others stay what they are.
///
/// Their voxels could be read, and would be a volume of no depth each: whoever trains on them, or measures volumes,
/// gets wrong numbers.
pub(super) fn refuse_stacks(verdicts: Rows<'_, Verdict>) -> Rows<'_, Verdict> {
    let rest = verdicts.clone().filter(|verdict| alike(verdict).is_none());
    let single = verdicts.flat_map(|verdict| alike(&verdict).map(|alike| (alike, verdict)));
    let judged = single.reduce(|_, verdicts, output| {
        let rows = verdicts.iter().filter_map(|(verdict, _)| verdict.accepted());
        let grids: Vec<Geometry> = rows.map(|row| Geometry::from(&row.grid)).collect();
        let stack = is_stack(&grids);
        for (verdict, count) in verdicts {
            let refused = |row: &Arc<SeriesRow>| Verdict::Rejected(row.key.to_string(), refusal(grids.len()));
            let verdict = match verdict.accepted() {
                Some(row) if stack => refused(row),
                _ => (*verdict).clone(),
            };
            output.push((verdict, *count));
        }
    });
    rest.concat(judged.map(|(_, verdict)| verdict))
}

fn refusal(slices: usize) -> Reject {
    let message =
        format!("a series for each scan expected, {slices} series of one slice are an even stack together");
    let hint = "an export gave each slice a SeriesInstanceUID of its own: export again, or give them one (for example \
                `dcmodify -m 0020,000e=UID`)";
    Reject::new("SERIES_PER_SLICE", message, hint)
}

/// What a scan of one slice has in common with others of its stack; none for every other verdict.
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

/// Whether slices lie above one another, at even distances.
fn is_stack(slices: &[Geometry]) -> bool {
    let [first, ..] = slices else { return false };
    let normal = cross(first.steps_mm[1], first.steps_mm[2]);
    let length = norm(normal);
    if slices.len() < LEAST || length == 0.0 {
        return false;
    }
    let normal = normal.map(|part| part / length);
    let way = |slice: &Geometry| [0, 1, 2].map(|axis| slice.origin_mm[axis] - first.origin_mm[axis]);
    let beside = |slice: &Geometry| {
        let (way, height) = (way(slice), dot(way(slice), normal));
        norm([0, 1, 2].map(|axis| way[axis] - height * normal[axis]))
    };
    if slices.iter().any(|slice| beside(slice) > JITTER_MM) {
        return false;
    }
    let mut heights: Vec<f64> = slices.iter().map(|slice| dot(way(slice), normal)).collect();
    heights.sort_by(f64::total_cmp);
    let gap = (heights[heights.len() - 1] - heights[0]) / (heights.len() - 1) as f64;
    gap > JITTER_MM && heights.windows(2).all(|pair| (pair[1] - pair[0] - gap).abs() <= JITTER_MM)
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
        let stack =
            |heights: &[f64]| is_stack(&at(&heights.iter().map(|z| [3.0, 4.0, *z]).collect::<Vec<_>>()));
        assert!(stack(&[0.0, 10.0, 5.0, 15.02]));
        assert!(!stack(&[0.0, 5.0]), "too few");
        assert!(!stack(&[0.0, 5.0, 15.0]), "uneven");
        assert!(!stack(&[5.0, 5.0, 5.0]), "the same place, as in time");
        assert!(!is_stack(&at(&[[0.0; 3], [1.0, 0.0, 5.0], [0.0, 0.0, 10.0]])), "beside one another");
    }
}
