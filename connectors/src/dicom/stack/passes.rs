//! Several acquisitions in one series: passes of unequal length at common positions, and passes between one another.

use std::collections::BTreeMap;

use super::gaps;
use super::slices::{Slice, natural};
use super::split::Position;
use crate::geometry::dot;

/// Attributes that number acquisitions. Those of one acquisition, as echoes, are equally many, or some are lost.
const ATTRIBUTES: [&str; 4] = ["SeriesNumber", "StackID", "AcquisitionNumber", "AcquisitionTime"];
/// Slices nearer than their thickness by this share overlap one another.
const OVERLAP: f64 = 1.5;
/// How far the gap that is declared may be from that of neighbours, as a share.
const DECLARED: f64 = 0.1;
/// Fewer slices are no pass.
const LEAST: usize = 3;

/// Stacks of an attribute's values.
pub(crate) type Passes<'a> = (&'static str, Vec<Vec<Slice<'a>>>);

/// Slices by an attribute that each has, each value's ascending along the normal as they were given.
fn by<'a>(slices: impl IntoIterator<Item = Slice<'a>>, attribute: &str) -> Option<Vec<Vec<Slice<'a>>>> {
    let mut of_value: BTreeMap<String, Vec<Slice<'a>>> = BTreeMap::new();
    for slice in slices {
        let value = slice.frame.order.get(attribute)?.clone();
        of_value.entry(value).or_default().push(slice);
    }
    let mut sorted: Vec<_> = of_value.into_iter().collect();
    sorted.sort_by(|(a, _), (b, _)| natural(a, b));
    Some(sorted.into_iter().map(|(_, slices)| slices).collect())
}

/// Whether slices are a stack of their own, without a gap.
fn even(slices: &[Slice<'_>], normal: [f64; 3]) -> bool {
    let positions: Vec<_> = slices.iter().map(|slice| slice.position).collect();
    let pixel_mm = slices.iter().flat_map(|slice| slice.spacing).fold(f64::INFINITY, f64::min);
    slices.len() >= LEAST && gaps::judge(&positions, normal, pixel_mm, gaps::Rules::default()).is_ok()
}

/// Passes of unequal length that share positions: as many as slices lie at one position, each an even stack.
pub(crate) fn unequal<'a>(places: &[Position<'a>], normal: [f64; 3]) -> Option<Passes<'a>> {
    let most = places.iter().map(Vec::len).max().filter(|&most| most > 1)?;
    ATTRIBUTES.into_iter().find_map(|attribute| {
        let passes = by(places.iter().flatten().cloned(), attribute)?;
        let sound = passes.len() == most && passes.iter().all(|pass| even(pass, normal));
        sound.then_some((attribute, passes))
    })
}

/// Passes of which the slices of one lie between those of another, at distances at which they overlap.
///
/// Packages of one stack, odd and even slices, do not overlap, or declare the distance of neighbours.
pub(crate) fn between<'a>(slices: &[Slice<'a>], normal: [f64; 3]) -> Option<Passes<'a>> {
    let attribute = "AcquisitionNumber";
    let value = |slice: &Slice<'a>| slice.frame.order.get(attribute);
    let first = slices.first()?;
    if slices.iter().all(|slice| value(slice) == value(first)) {
        return None;
    }
    let along = |slice: &Slice<'_>| dot(slice.position, normal);
    let nearest = slices
        .iter()
        .zip(slices.iter().skip(1))
        .filter(|(a, b)| value(a) != value(b))
        .map(|(a, b)| along(b) - along(a))
        .fold(f64::INFINITY, f64::min);
    let thickness = slices.iter().filter_map(|slice| slice.frame.thickness_mm).map(|length| length.0);
    let thinnest = thickness.fold(f64::INFINITY, f64::min);
    let declared = slices.iter().filter_map(|slice| slice.frame.gap_mm).map(|gap| gap.0.abs());
    let planned = declared.into_iter().any(|gap| (gap - nearest).abs() <= DECLARED * nearest);
    if !thinnest.is_finite() || planned || nearest * OVERLAP >= thinnest {
        return None;
    }
    let passes = by(slices.iter().cloned(), attribute)?;
    let ends = |pass: &Vec<Slice<'_>>| Some((along(pass.first()?), along(pass.last()?)));
    let ends: Vec<_> = passes.iter().filter_map(ends).collect();
    // One that begins where another ended goes on with it.
    let meets = |index: usize, &(low, high): &(f64, f64)| {
        ends.iter().enumerate().any(|(other, &(from, to))| other != index && from < high && low < to)
    };
    let interleaved = ends.iter().enumerate().all(|(index, ends)| meets(index, ends));
    (interleaved && passes.iter().all(|pass| even(pass, normal))).then_some((attribute, passes))
}
