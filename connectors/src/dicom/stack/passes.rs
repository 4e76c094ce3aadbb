//! Several acquisitions in one series: passes of unequal length at common positions, and passes between one another.

use std::collections::{BTreeMap, BTreeSet};

use super::gaps;
use super::slices::{Slice, natural};
use super::split::Position;
use crate::geometry::dot;

/// The attributes that number acquisitions. Those of one acquisition, as echoes, are equally many, or some
/// are lost.
const ATTRIBUTES: [&str; 4] = ["SeriesNumber", STACK, "AcquisitionNumber", "AcquisitionTime"];
/// The attributes that slices of one scan have in common. Echo time, descriptions and study are known of all
/// images, and the rest where a filter or [`assemble_asking`](super::assemble_asking) asks for it.
const CONTENT: [&str; 13] = [
    "EchoTime",
    "DiffusionBValue",
    "FlipAngle",
    "InversionTime",
    "KVP",
    "ConvolutionKernel",
    "ContrastBolusAgent",
    "SeriesDescription",
    "ProtocolName",
    "SequenceName",
    "StudyInstanceUID",
    "ImageType",
    STACK,
];
/// The attribute that says of frames which stack they are of.
const STACK: &str = "StackID";
/// The share by which numbers of one scan may differ.
const JITTER: f64 = 0.05;
/// The ratio of thickness to distance above which slices overlap one another.
pub(super) const OVERLAP: f64 = 1.5;
/// The share by which the declared gap may differ from that of neighbours.
const DECLARED: f64 = 0.1;
/// The fewest slices of a pass.
const LEAST: usize = 3;

/// An attribute, and the stack of each of its values.
pub(crate) type Passes<'a> = (&'static str, Vec<Vec<Slice<'a>>>);

/// Groups slices by an attribute that each has; those of each value ascend along the normal as they were
/// given.
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

/// Passes of which the slices of one lie between those of another: acquisitions at distances at which they overlap,
/// passes that differ in what slices of one scan have in common, or such that were numbered one after another.
pub(crate) fn between<'a>(slices: &[Slice<'a>], normal: [f64; 3]) -> Option<Passes<'a>> {
    let content = || {
        CONTENT.iter().find_map(|&attribute| {
            let passes = by_content(slices, attribute)?;
            are_interleaved(&passes, normal).then_some((attribute, passes))
        })
    };
    acquisitions(slices, normal).or_else(content).or_else(|| numbered(slices, normal))
}

/// Whether slices that differ in an attribute are of several scans, whatever their numbers and times.
pub(crate) fn is_content(attribute: &str) -> bool {
    CONTENT.contains(&attribute)
}

/// Groups slices by what they say of an attribute, including nothing; `None` where all say the same, or
/// numbers that differ by little, as they do from slice to slice.
fn by_content<'a>(slices: &[Slice<'a>], attribute: &str) -> Option<Vec<Vec<Slice<'a>>>> {
    let first = slices.first()?.said(attribute);
    if slices.iter().all(|slice| slice.said(attribute) == first) {
        return None;
    }
    let mut of_value: BTreeMap<&str, Vec<Slice<'a>>> = BTreeMap::new();
    for slice in slices {
        of_value.entry(slice.said(attribute)).or_default().push(slice.clone());
    }
    let mut numbers: Vec<f64> = of_value.keys().filter_map(|value| value.parse().ok()).collect();
    numbers.sort_by(f64::total_cmp);
    let apart = |(a, b): (&f64, &f64)| b - a > JITTER * a.abs().max(b.abs());
    // A stack's number measures nothing.
    if attribute != STACK
        && numbers.len() == of_value.len()
        && !numbers.iter().zip(numbers.iter().skip(1)).all(apart)
    {
        return None;
    }
    let mut sorted: Vec<_> = of_value.into_iter().collect();
    sorted.sort_by(|(a, _), (b, _)| natural(a, b));
    Some(sorted.into_iter().map(|(_, slices)| slices).collect())
}

/// An attribute that changes from nearly every slice to the next between few values, of slices that were taken for one
/// stack: they may be passes that could not be told apart.
pub(crate) fn alternates(slices: &[Slice<'_>], normal: [f64; 3]) -> Option<&'static str> {
    let pairs = slices.len().saturating_sub(1);
    let changes = |attribute: &str| {
        let values: BTreeSet<&str> = slices.iter().map(|slice| slice.said(attribute)).collect();
        let changes = slices.iter().zip(slices.iter().skip(1));
        let changes = changes.filter(|(a, b)| a.said(attribute) != b.said(attribute)).count();
        values.len() * LEAST <= slices.len() && 3 * changes >= 2 * pairs.max(LEAST)
    };
    let content = CONTENT.iter().filter(|attribute| by_content(slices, attribute).is_some());
    let numbers = ["AcquisitionNumber", "AcquisitionTime"];
    // Packages of one stack, odd and even slices, are acquired one after another.
    let numbers = numbers.iter().filter(|attribute| !may_be_packages(slices, attribute, normal));
    content.chain(numbers).find(|attribute| changes(attribute)).copied()
}

/// The number of stacks that slices say they are of.
pub(crate) fn stacks(slices: &[Slice<'_>]) -> usize {
    let stacks: BTreeSet<&str> = slices.iter().map(|slice| slice.said(STACK)).collect();
    stacks.into_iter().filter(|stack| !stack.is_empty()).count()
}

/// The distance of the nearest neighbours that differ in an attribute.
fn nearest(slices: &[Slice<'_>], attribute: &str, normal: [f64; 3]) -> f64 {
    let pairs = slices.iter().zip(slices.iter().skip(1));
    let differing = pairs.filter(|(a, b)| a.said(attribute) != b.said(attribute));
    least_gap(differing, normal)
}

/// The least distance of pairs of slices along the normal; infinite where there are none.
fn least_gap<'a>(pairs: impl Iterator<Item = (&'a Slice<'a>, &'a Slice<'a>)>, normal: [f64; 3]) -> f64 {
    pairs.map(|(a, b)| dot(b.position, normal) - dot(a.position, normal)).fold(f64::INFINITY, f64::min)
}

/// The least thickness of slices; infinite when none is known.
fn thinnest(slices: &[Slice<'_>]) -> f64 {
    let thickness = slices.iter().filter_map(|slice| slice.frame.thickness_mm).map(|length| length.0);
    thickness.fold(f64::INFINITY, f64::min)
}

/// Whether slices declare this distance of neighbours.
fn is_planned(slices: &[Slice<'_>], nearest: f64) -> bool {
    let mut declared = slices.iter().filter_map(|slice| slice.frame.gap_mm).map(|gap| gap.0.abs());
    declared.any(|gap| (gap - nearest).abs() <= DECLARED * nearest)
}

/// Whether neighbours that differ in an attribute lie as those of one stack do: at the distance that is declared, or
/// without overlap, where their thickness is known.
fn may_be_packages(slices: &[Slice<'_>], attribute: &str, normal: [f64; 3]) -> bool {
    let (nearest, thinnest) = (nearest(slices, attribute, normal), thinnest(slices));
    is_planned(slices, nearest) || (thinnest.is_finite() && nearest * OVERLAP >= thinnest)
}

/// Packages of one stack, odd and even slices, do not overlap, or declare the distance of neighbours.
fn acquisitions<'a>(slices: &[Slice<'a>], normal: [f64; 3]) -> Option<Passes<'a>> {
    let first = slices.first()?;
    if !thinnest(slices).is_finite() {
        return None;
    }
    ["AcquisitionNumber", "AcquisitionTime"].into_iter().find_map(|attribute| {
        let value = |slice: &Slice<'a>| slice.frame.order.get(attribute);
        let same = slices.iter().all(|slice| value(slice) == value(first));
        if same || may_be_packages(slices, attribute, normal) {
            return None;
        }
        let passes = by(slices.iter().cloned(), attribute)?;
        are_interleaved(&passes, normal).then_some((attribute, passes))
    })
}

/// Passes of slices that overlap, which InstanceNumbers run through one after another, each with one distance between
/// its slices, up or down.
fn numbered<'a>(slices: &[Slice<'a>], normal: [f64; 3]) -> Option<Passes<'a>> {
    let nearest = least_gap(slices.iter().zip(slices.iter().skip(1)), normal);
    let thinnest = thinnest(slices);
    if !thinnest.is_finite() || nearest * OVERLAP >= thinnest || is_planned(slices, nearest) {
        return None;
    }
    let pass = |mut run: Vec<usize>| -> Vec<Slice<'a>> {
        run.sort_unstable();
        run.into_iter().filter_map(|index| slices.get(index).cloned()).collect()
    };
    let passes: Vec<Vec<Slice<'a>>> = runs(slices, normal)?.into_iter().map(pass).collect();
    (passes.len() > 1 && are_interleaved(&passes, normal)).then_some(("InstanceNumber", passes))
}

/// The indices of slices by InstanceNumber, in runs of one distance between neighbours; `None` when a number is absent,
/// or there twice.
fn runs(slices: &[Slice<'_>], normal: [f64; 3]) -> Option<Vec<Vec<usize>>> {
    let number = |slice: &Slice<'_>| slice.said("InstanceNumber").parse::<f64>().ok();
    let mut order = Vec::with_capacity(slices.len());
    for (index, slice) in slices.iter().enumerate() {
        order.push((number(slice)?, index));
    }
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    if order.iter().zip(order.iter().skip(1)).any(|(a, b)| a.0 == b.0) {
        return None;
    }
    let way = |from: usize, to: usize| match (slices.get(from), slices.get(to)) {
        (Some(from), Some(to)) => dot(to.position, normal) - dot(from.position, normal),
        _ => f64::NAN,
    };
    let goes_on = |run: &Vec<usize>, index: usize| match (run.first(), run.get(1), run.last()) {
        (Some(&first), Some(&second), Some(&last)) => {
            let step = way(first, second);
            (way(last, index) - step).abs() <= DECLARED * step.abs()
        }
        // Two slices say what the distance is.
        _ => true,
    };
    let mut runs: Vec<Vec<usize>> = Vec::new();
    for (_, index) in order {
        match runs.last_mut().filter(|run| goes_on(run, index)) {
            Some(run) => run.push(index),
            None => runs.push(vec![index]),
        }
    }
    Some(runs)
}

/// Whether each pass is a stack of its own that lies between the slices of another.
fn are_interleaved(passes: &[Vec<Slice<'_>>], normal: [f64; 3]) -> bool {
    let along = |slice: &Slice<'_>| dot(slice.position, normal);
    let ends = |pass: &Vec<Slice<'_>>| Some((along(pass.first()?), along(pass.last()?)));
    let ends: Vec<_> = passes.iter().filter_map(ends).collect();
    // A pass that begins where another ended goes on with it.
    let meets = |index: usize, &(low, high): &(f64, f64)| {
        ends.iter().enumerate().any(|(other, &(from, to))| other != index && from < high && low < to)
    };
    let interleaved = ends.iter().enumerate().all(|(index, ends)| meets(index, ends));
    interleaved && passes.iter().all(|pass| even(pass, normal))
}
