//! Whether slices lie evenly on a line, and what becomes of missing ones and uneven gaps; tilt.

use std::ops::Range;

use crate::Reject;
use crate::geometry::{dot, norm};

/// The share of the modal gap by which a gap may differ.
const GAP_TOLERANCE: f64 = 0.01;
/// The most that a slice may lie from its place in an even stack, mm: what positions with two decimals leave
/// in each of three coordinates, at both ends.
const ROUNDED_MM: f64 = 0.0174;
/// The share of the mean gap that this may not exceed.
const ROUNDED_SHARE: f64 = 0.1;
/// The share of a pixel by which a position may lie beside the line.
const LINE_TOLERANCE: f64 = 0.1;
/// The tilt in degrees below which it is rounding.
const TILT_DEGREES: f64 = 0.1;

/// The distance of a slice from its place in an even stack, as a share of the mean gap, from which on it is worth a note.
const DRIFT_NOTE: f64 = 0.1;
/// The share from which on the stack is no even one, although no gap differs from the others by much.
const DRIFT: f64 = 0.5;

/// The ratio of the largest gap to the modal one beyond which uneven slices are not resampled.
const WIDEST: f64 = 3.0;

/// What becomes of a stack with missing slices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// It is refused as `MISSING_SLICE`.
    #[default]
    Reject,
    /// Each run of slices without a gap is a stack of its own; a single slice between gaps is refused.
    Split,
    /// It is one stack, whose missing planes are interpolated linearly between their neighbours. With more
    /// of them than there are slices it is refused.
    Interpolate,
}

/// What becomes of a stack whose slices lie unevenly, without one only being missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUneven {
    /// It is refused as `VARIABLE_SPACING`.
    #[default]
    Reject,
    /// It is resampled to planes as far apart as most slices, each interpolated linearly between its
    /// neighbours. With a gap of over three times that it is refused.
    Resample,
}

/// The rules for stacks whose slices do not all lie the same way apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The rule for gaps that are multiples of one another.
    pub on_gap: OnGap,
    /// The rule for gaps that are not.
    pub on_uneven: OnUneven,
}

/// Whether a note of an assembled stack says that planes lie between its slices.
pub fn says_between(note: &str) -> bool {
    match note.split_once(": ") {
        Some(("MISSING_SLICE", what)) => what.ends_with(" interpolated"),
        Some(("VARIABLE_SPACING", _)) => true,
        _ => false,
    }
}

/// A line of planes, and the places of slices on it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlaneLine {
    /// The step from one plane to the next, mm.
    pub(crate) step: [f64; 3],
    /// Whether the step leaves the normal (gantry tilt).
    pub(crate) tilted: bool,
    pub(crate) planes: usize,
    /// The places of slices on the line, in planes; empty when each plane is a slice.
    pub(crate) heights: Vec<f64>,
    /// The note on what was done about gaps.
    pub(crate) note: Option<String>,
}

/// Judges two or more positions, ascending along the normal.
pub(crate) fn judge(
    positions: &[[f64; 3]],
    normal: [f64; 3],
    pixel_mm: f64,
    rules: Rules,
) -> Result<PlaneLine, Reject> {
    let &[first, .., last] = positions else {
        return Err(Reject::new("SINGLE_SLICE", "two slices expected, one found", ""));
    };
    let gaps = gaps(positions, normal);
    let spread = spread(&gaps, rules)?;
    collinear(positions, normal, pixel_mm)?;
    let count = (positions.len() - 1) as f64;
    let highest = spread.heights().last().copied();
    let span = sub(last, first);
    let step = span.map(|x| x / highest.unwrap_or(count));
    // The rest of a step at the end gives no plane.
    let planes = highest.map_or(positions.len(), |highest| (highest + GAP_TOLERANCE).floor() as usize + 1);
    let sideways = norm(sub(step, normal.map(|x| x * dot(step, normal))));
    let tilted = sideways.atan2(dot(step, normal)).to_degrees() > TILT_DEGREES
        // Drift of less than a fraction of a pixel over the whole stack is rounding.
        && sideways * highest.unwrap_or(count) > LINE_TOLERANCE * pixel_mm;
    let note = match &spread {
        Spread::Even => drift_note(&gaps),
        Spread::Missing(slices) => {
            Some(format!("MISSING_SLICE: {} of {planes} slice(s) interpolated", planes - slices.len()))
        }
        Spread::Uneven(_) => {
            Some(format!("VARIABLE_SPACING: resampled to {} mm", (norm(step) * 1e3).round() / 1e3))
        }
    };
    Ok(PlaneLine { step, tilted, planes, heights: spread.heights().to_vec(), note })
}

fn collinear(positions: &[[f64; 3]], normal: [f64; 3], pixel_mm: f64) -> Result<(), Reject> {
    let &[first, .., last] = positions else { return Ok(()) };
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
    Ok(())
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

/// The distances from each position to the next, along the normal.
fn gaps(positions: &[[f64; 3]], normal: [f64; 3]) -> Vec<f64> {
    let along: Vec<f64> = positions.iter().map(|&position| dot(position, normal)).collect();
    along.iter().zip(along.iter().skip(1)).map(|(a, b)| b - a).collect()
}

/// The way slices lie along the normal; with the heights of all, in planes, where planes lie between them.
enum Spread {
    Even,
    Missing(Vec<f64>),
    Uneven(Vec<f64>),
}

impl Spread {
    fn heights(&self) -> &[f64] {
        match self {
            Self::Even => &[],
            Self::Missing(heights) | Self::Uneven(heights) => heights,
        }
    }
}

fn spread(gaps: &[f64], rules: Rules) -> Result<Spread, Reject> {
    let modal = modal(gaps);
    let multiple = |gap: f64| (gap / modal).round();
    let fits = |gap: f64| (gap - modal * multiple(gap)).abs() <= GAP_TOLERANCE * modal * multiple(gap);
    let Some((index, &gap)) =
        gaps.iter().enumerate().find(|(_, gap)| (**gap - modal).abs() > GAP_TOLERANCE * modal)
    else {
        return if off_mm(gaps) > DRIFT * mean(gaps) { drifting(gaps, rules) } else { Ok(Spread::Even) };
    };
    if rounded(gaps) {
        return Ok(Spread::Even);
    }
    let message =
        format!("slices {modal:.3} mm apart expected, a gap of {gap:.3} mm found after slice {index}");
    if gaps.iter().all(|&gap| multiple(gap) >= 1.0 && fits(gap)) {
        let missing: f64 = gaps.iter().map(|&gap| multiple(gap) - 1.0).sum();
        if rules.on_gap != OnGap::Interpolate {
            let hint = format!(
                "{missing} instance(s) may be missing: look for them in the archive; `on_gap` can interpolate"
            );
            return Err(Reject::new("MISSING_SLICE", message, hint));
        }
        // A position beyond all measure must take no memory.
        let slices = gaps.len() + 1;
        if missing > slices as f64 {
            let message = format!("{message}; {missing} are missing, more than the {slices} that are there");
            return Err(Reject::new(
                "MISSING_SLICE",
                message,
                "too much is missing to interpolate: look for the instances in the archive",
            ));
        }
        return Ok(Spread::Missing(heights(gaps, multiple)));
    }
    if rules.on_uneven != OnUneven::Resample {
        let hint = "uneven gaps are no multiple of one another; `on_uneven = \"resample\"` makes planes even";
        return Err(Reject::new("VARIABLE_SPACING", message, hint));
    }
    let widest = gaps.iter().copied().fold(0.0, f64::max);
    if widest > WIDEST * modal {
        let message =
            format!("gaps of at most {WIDEST} times {modal:.3} mm expected, one of {widest:.3} mm found");
        return Err(Reject::new(
            "VARIABLE_SPACING",
            message,
            "too much is missing to interpolate: look for the instances in the archive",
        ));
    }
    Ok(Spread::Uneven(heights(gaps, |gap| gap / modal)))
}

/// Whether every slice lies where an even stack has it, but for the rounding of positions. For thin slices
/// that is more than a share of a gap.
fn rounded(gaps: &[f64]) -> bool {
    off_mm(gaps) <= ROUNDED_MM.min(ROUNDED_SHARE * mean(gaps))
}

fn mean(gaps: &[f64]) -> f64 {
    gaps.iter().sum::<f64>() / gaps.len() as f64
}

/// The most that a slice lies from its place in an even stack, mm.
fn off_mm(gaps: &[f64]) -> f64 {
    let (mean, mut along) = (mean(gaps), 0.0);
    let off = (1..).zip(gaps).map(|(place, gap)| {
        along += gap;
        (along - mean * f64::from(place)).abs()
    });
    off.fold(0.0, f64::max)
}

/// What becomes of gaps that differ by little, and of which the differences add up.
fn drifting(gaps: &[f64], rules: Rules) -> Result<Spread, Reject> {
    if rules.on_uneven == OnUneven::Resample {
        let modal = modal(gaps);
        return Ok(Spread::Uneven(heights(gaps, |gap| gap / modal)));
    }
    let message = format!(
        "slices {:.3} mm apart expected, gaps drift until one lies {:.3} mm from its place",
        mean(gaps),
        off_mm(gaps)
    );
    Err(Reject::new("VARIABLE_SPACING", message, "`on_uneven = \"resample\"` makes planes even"))
}

/// A note on an even stack of which a slice lies a good way from its place.
fn drift_note(gaps: &[f64]) -> Option<String> {
    let off = off_mm(gaps);
    let noted = off > DRIFT_NOTE * mean(gaps);
    noted.then(|| format!("SPACING_DRIFT: a slice lies {off:.3} mm from its place in an even stack"))
}

/// The heights of slices, in planes, by how many planes each gap takes.
fn heights(gaps: &[f64], planes: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut height = 0.0;
    let above = gaps.iter().map(|&gap| {
        height += planes(gap);
        height
    });
    std::iter::once(0.0).chain(above).collect()
}

/// The gap that most others equal; the smallest where there are several.
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

    const INTERPOLATE: Rules = Rules { on_gap: OnGap::Interpolate, on_uneven: OnUneven::Reject };
    const RESAMPLE: Rules = Rules { on_gap: OnGap::Reject, on_uneven: OnUneven::Resample };

    fn with(heights: &[f64], rules: Rules) -> Result<PlaneLine, Reject> {
        let positions: Vec<_> = heights.iter().map(|&z| [0.0, 0.0, z]).collect();
        judge(&positions, [0.0, 0.0, 1.0], 0.5, rules)
    }

    fn at(heights: &[f64]) -> Result<PlaneLine, String> {
        with(heights, Rules::default()).map_err(|reject| reject.code)
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
    fn rounded_positions_of_thin_slices_are_even() {
        let thin = |gap: f64, count: u32| -> Vec<f64> {
            (0..count).map(|k| ((0.5 + gap * f64::from(k)) * 100.0).round() / 100.0).collect()
        };
        for gap in [0.625, 0.333, 0.2, 1.0 / 7.0] {
            let line = at(&thin(gap, 33)).unwrap();
            assert_eq!((line.planes, line.heights.len()), (33, 0));
            assert!((line.step[2] - gap).abs() < 4e-4, "{gap} {}", line.step[2]);
        }
        // Unevenness that adds up does not come from rounding.
        assert_eq!(at(&[0.0, 0.60, 1.20, 1.80, 2.45, 3.10, 3.75]).unwrap_err(), "VARIABLE_SPACING");
        assert_eq!(at(&[0.0, 0.1, 0.2, 0.32, 0.4]).unwrap_err(), "VARIABLE_SPACING");
        let mut missing = thin(0.625, 16);
        missing.remove(7);
        assert!(at(&missing).is_err());
    }

    #[test]
    fn gaps_that_drift_add_up() {
        // No gap differs from another by as much as a hundredth.
        let drifting = |gaps: u32, share: f64| -> Vec<f64> {
            let gap = |k: u32| 3.0 * (1.0 + share * (2.0 * f64::from(k) / f64::from(gaps - 1) - 1.0));
            let gaps = (0..gaps).map(gap).scan(0.0, |z, gap| {
                *z += gap;
                Some(*z)
            });
            std::iter::once(0.0).chain(gaps).collect()
        };
        assert_eq!(at(&drifting(20, 0.004)).unwrap().note, None);
        let noted = at(&drifting(100, 0.004)).unwrap();
        assert_eq!((noted.planes, noted.heights.len()), (101, 0));
        assert!(noted.note.is_some_and(|note| note.starts_with("SPACING_DRIFT: a slice lies 0.3")));
        let far = drifting(600, 0.004);
        assert_eq!(at(&far).unwrap_err(), "VARIABLE_SPACING");
        let line = with(&far, RESAMPLE).unwrap();
        assert_eq!(line.heights.len(), 601);
        assert!(line.note.is_some_and(|note| note.starts_with("VARIABLE_SPACING: resampled to")));
    }

    #[test]
    fn missing_slices_leave_their_places() {
        let line = with(&[1.0, 3.0, 7.01, 9.01], INTERPOLATE).unwrap();
        assert_eq!((line.planes, &line.heights[..]), (5, &[0.0, 1.0, 3.0, 4.0][..]));
        assert_eq!(line.step, [0.0, 0.0, 8.01 / 4.0]);
        assert_eq!(line.note.as_deref(), Some("MISSING_SLICE: 1 of 5 slice(s) interpolated"));
        let even = with(&[0.0, 1.0, 2.0], INTERPOLATE).unwrap();
        assert_eq!((even.planes, even.heights.len(), even.note), (3, 0, None));
        assert_eq!(with(&[0.0, 1.0, 2.5], INTERPOLATE).unwrap_err().code, "VARIABLE_SPACING");
        // As many planes may be missing as there are slices, and no more.
        assert_eq!(with(&[0.0, 1.0, 5.0], INTERPOLATE).unwrap().planes, 6);
        let reject = with(&[0.0, 1.0, 6.0], INTERPOLATE).unwrap_err();
        assert_eq!(reject.code, "MISSING_SLICE");
        assert!(reject.message.contains("4 are missing, more than the 3 that are there"), "{reject}");
        assert_eq!(with(&[0.0, 1.0, 1e300], INTERPOLATE).unwrap_err().code, "MISSING_SLICE");
    }

    #[test]
    fn uneven_slices_are_resampled_within_bounds() {
        let line = with(&[0.0, 2.0, 4.0, 7.0, 9.5], RESAMPLE).unwrap();
        assert_eq!((line.planes, &line.heights[..]), (5, &[0.0, 1.0, 2.0, 3.5, 4.75][..]));
        assert_eq!(line.step, [0.0, 0.0, 2.0]);
        assert_eq!(line.note.as_deref(), Some("VARIABLE_SPACING: resampled to 2 mm"));
        // A hundredth of a gap short of a plane is that plane.
        assert_eq!(with(&[0.0, 2.0, 4.0, 7.0, 9.99], RESAMPLE).unwrap().planes, 6);
        assert_eq!(with(&[0.0, 1.0, 3.0], RESAMPLE).unwrap_err().code, "MISSING_SLICE");
        let reject = with(&[0.0, 2.0, 4.0, 10.5], RESAMPLE).unwrap_err();
        assert_eq!(reject.code, "VARIABLE_SPACING");
        assert!(reject.message.contains("at most 3 times 2.000 mm"), "{reject}");
        let both = Rules { on_gap: OnGap::Interpolate, ..RESAMPLE };
        assert_eq!(with(&[0.0, 1.0, 3.0], both).unwrap().heights, [0.0, 1.0, 3.0]);
    }

    #[test]
    fn tilt_is_a_step_beside_the_normal() {
        let tilted = |shift: f64| {
            let positions: Vec<_> = (0..4).map(|k| [0.0, shift * f64::from(k), f64::from(k)]).collect();
            judge(&positions, [0.0, 0.0, 1.0], 0.5, Rules::default()).unwrap().tilted
        };
        assert!(tilted(0.25));
        assert!(!tilted(0.001));
    }

    #[test]
    fn a_slice_beside_the_line_is_named() {
        let positions = [[0.0, 0.0, 0.0], [0.2, 0.0, 1.0], [0.0, 0.0, 2.0]];
        let reject = judge(&positions, [0.0, 0.0, 1.0], 0.5, Rules::default()).unwrap_err();
        assert_eq!(reject.code, "NON_COLLINEAR_POSITIONS");
        assert!(reject.message.contains("slice 1"));
    }
}
