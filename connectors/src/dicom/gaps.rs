//! Whether slices lie evenly on a line: missing ones, uneven gaps, tilt.

use std::ops::Range;

use crate::Reject;
use crate::geometry::{dot, norm};

/// Share of the modal gap by which a gap may differ.
const GAP_TOLERANCE: f64 = 0.01;
/// Share of a pixel by which a position may lie beside the line.
const LINE_TOLERANCE: f64 = 0.1;
/// Tilt below this is rounding, degrees.
const TILT_DEGREES: f64 = 0.1;

/// Slices that lie evenly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line {
    /// From one slice to the next, mm.
    pub(crate) step: [f64; 3],
    /// Whether the step leaves the normal (gantry tilt).
    pub(crate) tilted: bool,
}

/// Judges two or more positions, ascending along the normal.
pub(crate) fn judge(positions: &[[f64; 3]], normal: [f64; 3], pixel_mm: f64) -> Result<Line, Reject> {
    let &[first, .., last] = positions else {
        return Err(Reject::new("SINGLE_SLICE", "two slices expected, one found", ""));
    };
    even(positions, normal)?;
    let count = (positions.len() - 1) as f64;
    let span = sub(last, first);
    let length = dot(span, normal);
    for (index, &position) in positions.iter().enumerate() {
        let way = sub(position, first);
        let share = dot(way, normal) / length;
        let beside = norm(sub(way, span.map(|x| x * share)));
        if beside > LINE_TOLERANCE * pixel_mm {
            let message = format!(
                "positions on a line expected, slice {index} lies {beside:.2} mm beside it ({:.2} mm are allowed)",
                LINE_TOLERANCE * pixel_mm
            );
            return Err(Reject::new("NON_COLLINEAR_POSITIONS", message, "the patient or the table moved"));
        }
    }
    let step = span.map(|x| x / count);
    let sideways = norm(sub(step, normal.map(|x| x * dot(step, normal))));
    let tilted = sideways.atan2(dot(step, normal)).to_degrees() > TILT_DEGREES
        // Drift of less than a fraction of a pixel over the whole stack is rounding.
        && sideways * count > LINE_TOLERANCE * pixel_mm;
    Ok(Line { step, tilted })
}

/// The runs of positions between gaps of more than one slice.
pub(crate) fn runs(positions: &[[f64; 3]], normal: [f64; 3]) -> Vec<Range<usize>> {
    let gaps = gaps(positions, normal);
    let modal = modal(&gaps);
    let cuts = gaps.iter().enumerate().filter(|(_, gap)| (**gap / modal).round() > 1.0);
    let mut starts: Vec<usize> = std::iter::once(0).chain(cuts.map(|(index, _)| index + 1)).collect();
    starts.push(positions.len());
    starts.iter().zip(starts.iter().skip(1)).map(|(&from, &to)| from..to).collect()
}

/// From each position to the next, along the normal.
fn gaps(positions: &[[f64; 3]], normal: [f64; 3]) -> Vec<f64> {
    let along: Vec<f64> = positions.iter().map(|&position| dot(position, normal)).collect();
    along.iter().zip(along.iter().skip(1)).map(|(a, b)| b - a).collect()
}

fn even(positions: &[[f64; 3]], normal: [f64; 3]) -> Result<(), Reject> {
    let gaps = gaps(positions, normal);
    let modal = modal(&gaps);
    let multiple = |gap: f64| (gap / modal).round();
    let fits = |gap: f64| (gap - modal * multiple(gap)).abs() <= GAP_TOLERANCE * modal * multiple(gap);
    let Some((index, &gap)) =
        gaps.iter().enumerate().find(|(_, gap)| (**gap - modal).abs() > GAP_TOLERANCE * modal)
    else {
        return Ok(());
    };
    let message =
        format!("slices {modal:.3} mm apart expected, a gap of {gap:.3} mm found after slice {index}");
    if gaps.iter().all(|&gap| multiple(gap) >= 1.0 && fits(gap)) {
        let missing: f64 = gaps.iter().map(|&gap| multiple(gap) - 1.0).sum();
        let hint = format!("{missing} instance(s) may be missing: look for them in the archive");
        return Err(Reject::new("MISSING_SLICE", message, hint));
    }
    Err(Reject::new("VARIABLE_SPACING", message, "uneven gaps are no multiple of one another"))
}

/// The gap that most others equal; the smallest of several.
fn modal(gaps: &[f64]) -> f64 {
    let mut sorted = gaps.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (mut from, mut to) = (0, 0);
    let mut best = (0usize, 0.0);
    for &gap in &sorted {
        let tolerance = GAP_TOLERANCE * gap;
        while sorted.get(from).is_some_and(|&other| other < gap - tolerance) {
            from += 1;
        }
        while sorted.get(to).is_some_and(|&other| other <= gap + tolerance) {
            to += 1;
        }
        if to - from > best.0 {
            best = (to - from, gap);
        }
    }
    best.1
}

fn sub(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(heights: &[f64]) -> Result<Line, String> {
        let positions: Vec<_> = heights.iter().map(|&z| [0.0, 0.0, z]).collect();
        judge(&positions, [0.0, 0.0, 1.0], 0.5).map_err(|reject| reject.code)
    }

    #[test]
    fn gaps_are_told_apart() {
        assert_eq!(at(&[0.0, 1.0, 2.0]).unwrap().step, [0.0, 0.0, 1.0]);
        assert!(at(&[0.0, 1.0, 2.005]).is_ok());
        assert_eq!(at(&[0.0, 1.0, 3.0]).unwrap_err(), "MISSING_SLICE");
        assert_eq!(at(&[0.0, 2.0, 3.0, 6.0, 7.0]).unwrap_err(), "MISSING_SLICE");
        assert_eq!(at(&[0.0, 1.0, 2.5]).unwrap_err(), "VARIABLE_SPACING");
        assert_eq!(at(&[0.0]).unwrap_err(), "SINGLE_SLICE");
    }

    #[test]
    fn tilt_is_a_step_beside_the_normal() {
        let tilted = |shift: f64| {
            let positions: Vec<_> = (0..4).map(|k| [0.0, shift * f64::from(k), f64::from(k)]).collect();
            judge(&positions, [0.0, 0.0, 1.0], 0.5).unwrap().tilted
        };
        assert!(tilted(0.25));
        assert!(!tilted(0.001));
    }

    #[test]
    fn a_slice_beside_the_line_is_named() {
        let positions = [[0.0, 0.0, 0.0], [0.2, 0.0, 1.0], [0.0, 0.0, 2.0]];
        let reject = judge(&positions, [0.0, 0.0, 1.0], 0.5).unwrap_err();
        assert_eq!(reject.code, "NON_COLLINEAR_POSITIONS");
        assert!(reject.message.contains("slice 1"));
    }
}
