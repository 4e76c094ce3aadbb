//! The way from a series' instances to stacks, each with one geometry, or to the name of what is wrong with
//! it.

use std::collections::{BTreeMap, BTreeSet};

use super::declared::Wider;
use super::gaps::{self, OnGap, Rules};
use super::hints::reject;
use super::passes::{self, Passes};
use super::slices::{DRIFTING, Slice, SliceRef, Stack, stacks};
use super::split::{Position, places, split};
use crate::dicom::header::concatenation;
use crate::dicom::header::instance::{Instance, PixelFormat};
use crate::dicom::header::refuse::ASIDE;
use crate::geometry::dot;
use crate::{Geometry, Reject};

/// One stack of a series: number 0, or several when a series is split.
#[derive(Clone, Debug, PartialEq)]
pub struct StackPart {
    /// The number of the stack, from 0 on, in an order that depends on content alone.
    pub number: u32,
    /// The stack, or the reason why it was refused.
    pub verdict: Result<Assembled, Reject>,
    /// The instances that the verdict is about, as indices into those that were given: in the order of the
    /// slices, and for a refused stack those at fault first, where single ones are.
    pub instances: Vec<usize>,
}

/// A stack with one geometry.
#[derive(Clone, Debug, PartialEq)]
pub struct Assembled {
    /// The grid of the stack.
    pub geometry: Geometry,
    /// The slices of the stack, ascending along the normal.
    pub slices: Vec<SliceRef>,
    /// The heights of the slices along the grid's first axis, in planes; empty when each plane is a slice.
    /// Planes between slices are interpolated ([`planes`](crate::planes::planes)).
    pub heights: Vec<f64>,
    /// The notes on what was put right or is worth knowing: `GANTRY_TILT`, `DUPLICATE_INSTANCE`, …
    pub notes: Vec<String>,
}

/// The stacks of one series, of which those with a gap, or with uneven ones, are refused.
///
/// See [`assemble_with`].
pub fn assemble(instances: &[&Instance]) -> Vec<StackPart> {
    assemble_with(instances, Rules::default())
}

/// The stacks of one series. Copies of an instance that are stored in different ways are a conflict, since nobody
/// decodes them: see [`assemble_comparing`].
pub fn assemble_with(instances: &[&Instance], rules: Rules) -> Vec<StackPart> {
    assemble_comparing(instances, rules, |_, _| false)
}

/// The stacks of one series. The order of `instances` has no influence on the result.
///
/// Of instances of one SOPInstanceUID whose pixels are stored in different ways, by their indices, `same` says whether
/// they decode to the same values ([`same_values`](crate::dicom::same_values)): all but one are dropped then.
///
/// Stacks come first, the largest leading, then what was set aside: leftovers, localizers, colour, ….
pub fn assemble_comparing(
    instances: &[&Instance],
    rules: Rules,
    same: impl FnMut(usize, usize) -> bool,
) -> Vec<StackPart> {
    let judged = match distinct(instances, same) {
        Ok((kept, mut notes)) => {
            let of = |text: fn(&Instance) -> &str| several(kept.iter().map(|(_, instance)| text(instance)));
            let [patients, studies] =
                [of(|instance| &instance.patient_id), of(|instance| &instance.study_uid)];
            if studies > 1 {
                notes.push(format!("MIXED_STUDIES: {studies}"));
            }
            notes.extend(concatenation::incomplete(instances));
            if patients > 1 {
                let message = format!("one patient expected, {patients} found under one SeriesInstanceUID");
                vec![Judged::new(Err(reject("MIXED_PATIENTS", message)), 0..instances.len())]
            } else {
                judge_all(&kept, &notes, rules)
            }
        }
        Err((conflict, at_fault)) => vec![Judged::new(Err(conflict), at_fault)],
    };
    let part = |(number, Judged { verdict, instances })| StackPart { number, verdict, instances };
    (0..).zip(judged).map(part).collect()
}

/// The number of different texts, empty ones apart.
fn several<'t>(texts: impl Iterator<Item = &'t str>) -> usize {
    texts.filter(|text| !text.is_empty()).collect::<BTreeSet<_>>().len()
}

type Verdict = Result<Assembled, Reject>;

/// The codes of instances that were to be slices of a stack.
const LOST: [&str; 2] = ["TRUNCATED", "NO_PIXEL_DATA"];

/// The code of slices that change between few values from one to the next.
const ALTERNATING: &str = "ALTERNATING_SLICES";

/// A verdict, and the instances that it is about.
struct Judged {
    verdict: Verdict,
    instances: Vec<usize>,
}

impl Judged {
    /// A verdict on these instances, each named once, where it comes first.
    fn new(verdict: Verdict, instances: impl IntoIterator<Item = usize>) -> Self {
        let mut seen = BTreeSet::new();
        Self { verdict, instances: instances.into_iter().filter(|&index| seen.insert(index)).collect() }
    }

    /// Notes the loss of slices whose place nobody knows: any stack of the series may be the one that lost
    /// them.
    fn without(&mut self, code: &str, lost: &[usize]) {
        let message =
            format!("{} instance(s) of the series break off before they say where they lie", lost.len());
        let (refused, others) = (self.verdict.as_ref().err(), std::mem::take(&mut self.instances));
        let reject = match refused {
            Some(other) => Reject { message: format!("{}; {message}", other.message), ..other.clone() },
            None => reject(code, message),
        };
        *self = Self::new(Err(reject), lost.iter().copied().chain(others));
    }

    fn of(verdict: Verdict, slices: &[Slice<'_>]) -> Self {
        Self::new(verdict, slices.iter().map(|slice| slice.source.instance))
    }
}

/// An instance, and its place among those that were given.
type Indexed<'a> = (usize, &'a Instance);

/// The instances that are left, with notes; or the reason why none are, with those at fault first.
type Distinct<'a> = Result<(Vec<Indexed<'a>>, Vec<String>), (Reject, Vec<usize>)>;

/// Puts instances in an order of their content, without those that are there twice.
fn distinct<'a>(instances: &[&'a Instance], mut same: impl FnMut(usize, usize) -> bool) -> Distinct<'a> {
    let mut sorted: Vec<Indexed<'a>> = instances.iter().copied().enumerate().collect();
    sorted.sort_by(|(i, a), (j, b)| (&a.sop_uid, a, i).cmp(&(&b.sop_uid, b, j)));
    let mut kept: Vec<Indexed<'a>> = Vec::with_capacity(sorted.len());
    let mut dropped = 0;
    for &(index, instance) in &sorted {
        match kept.last() {
            Some(&(first, last)) if last.sop_uid == instance.sop_uid => {
                if !(alike(last, instance) || (comparable(last, instance) && same(first, index))) {
                    let message = "one SOPInstanceUID names instances with different pixels or positions";
                    let all = sorted.iter().map(|&(index, _)| index);
                    let at_fault = [first, index].into_iter().chain(all).collect();
                    return Err((reject("UID_CONFLICT", message), at_fault));
                }
                dropped += 1;
            }
            _ => kept.push((index, instance)),
        }
    }
    let note = (dropped > 0).then(|| format!("DUPLICATE_INSTANCE: {dropped} dropped"));
    Ok((kept, note.into_iter().collect()))
}

/// Whether two instances have the same stored pixels, which mean the same.
fn alike(a: &Instance, b: &Instance) -> bool {
    let format =
        |instance: &Instance| PixelFormat { transfer_syntax: String::new(), ..instance.pixels.clone() };
    a.pixel_digest == b.pixel_digest && a.frames == b.frames && format(a) == format(b)
}

/// Whether two instances may hold the same values at the same places, stored in different ways.
fn comparable(a: &Instance, b: &Instance) -> bool {
    let facts = |instance: &Instance| (instance.pixels.frame_size, instance.refusal.is_none());
    a.frames == b.frames && facts(a) == facts(b) && a.refusal.is_none()
}

fn judge_all(kept: &[Indexed<'_>], notes: &[String], rules: Rules) -> Vec<Judged> {
    let mut slices = Vec::new();
    // The instances that have no place in a stack, by code, an instance for each slice.
    let mut aside: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, instance) in kept {
        if let Some(code) = instance.refusal.as_deref().filter(|code| ASIDE.contains(code)) {
            aside.entry(code).or_default().push(*index);
            continue;
        }
        for (frame, place) in (0u32..).zip(&instance.frames) {
            match Slice::new(SliceRef { instance: *index, frame }, instance, place) {
                Ok(slice) => slices.push(slice),
                Err(code) => {
                    // A refusal of its own says more than the want of geometry that may follow from it.
                    let code = instance.refusal.as_deref().unwrap_or(code);
                    aside.entry(code).or_default().push(*index);
                }
            }
        }
    }
    let (stacks, leftovers) = stacks(slices);
    let mut judged: Vec<Judged> = stacks.into_iter().flat_map(|stack| judge_stack(stack, rules)).collect();
    let mut apart: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for leftover in &leftovers {
        let refusal = leftover.slices.iter().find_map(|slice| slice.instance.refusal.as_deref());
        let found = leftover.slices.iter().map(|slice| slice.source.instance);
        apart.entry(refusal.unwrap_or(leftover.code)).or_default().extend(found);
    }
    let refuse = |code: &str, what: &str, slices: Vec<usize>| {
        Judged::new(Err(reject(code, format!("{} slice(s) {what}", slices.len()))), slices)
    };
    let lie_apart = |(code, slices)| match code {
        DRIFTING => refuse(code, "differ each from the others in pixel spacing or orientation", slices),
        _ => refuse(code, "lie apart from the stacks of the series", slices),
    };
    judged.extend(apart.into_iter().map(lie_apart));
    for code in LOST {
        let Some(lost) = aside.get(code) else { continue };
        judged.iter_mut().for_each(|judged| judged.without(code, lost));
        if !judged.is_empty() {
            aside.remove(code);
        }
    }
    judged.extend(aside.into_iter().map(|(code, slices)| refuse(code, "of this kind", slices)));
    for assembled in judged.iter_mut().filter_map(|judged| judged.verdict.as_mut().ok()) {
        assembled.notes.extend(notes.iter().cloned());
    }
    judged
}

/// Judges slices of one orientation and matrix: one verdict, or one for each of the stacks in it.
fn judge_stack(stack: Stack<'_>, rules: Rules) -> Vec<Judged> {
    let Some(first) = stack.slices.first() else { return Vec::new() };
    let normal = first.normal();
    let truncated = |slice: &Slice<'_>| slice.instance.refusal.as_deref() == Some("TRUNCATED");
    let (cut, whole): (Vec<_>, Vec<_>) = stack.slices.into_iter().partition(truncated);
    let mut sorted: Vec<_> = whole.into_iter().map(|slice| (dot(slice.position, normal), slice)).collect();
    // A stable sort: slices at one position keep the order of their content.
    sorted.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let total = sorted.len();
    let places = places(sorted);
    let all = |verdict| vec![Judged::of(verdict, &places.concat())];
    let judged = if total == 0 {
        Vec::new()
    } else if places.len() == 1 && total > 1 {
        let message = format!("slices at several positions expected, {total} found at one");
        all(Err(reject("NOT_A_VOLUME_TIME_SERIES", message)))
    } else if let Some((attribute, passes)) = passes_between(&places, normal) {
        let mut notes = stack.notes.clone();
        notes.push(format!("INTERLEAVED_ACQUISITIONS: split by {attribute}"));
        passes.iter().flat_map(|slices| judge_line(slices, normal, &notes, rules)).collect()
    } else if total == places.len() {
        judge_whole(&places.concat(), normal, &stack.notes, rules)
    } else if let Some((attribute, parts)) = split(&places) {
        let mut notes = stack.notes.clone();
        notes.push(format!("DUPLICATE_POSITION: split by {attribute}"));
        parts.iter().flat_map(|slices| judge_line(slices, normal, &notes, rules)).collect()
    } else if let Some((attribute, passes)) = passes::unequal(&places, normal) {
        let lengths: Vec<String> = passes.iter().map(|pass| pass.len().to_string()).collect();
        let mut notes = stack.notes.clone();
        notes.push(format!("DUPLICATE_POSITION: split by {attribute} into {} slices", lengths.join(" and ")));
        passes.iter().flat_map(|slices| judge_line(slices, normal, &notes, rules)).collect()
    } else {
        let message =
            format!("{total} slices lie at {} positions, and no attribute tells stacks apart", places.len());
        all(Err(reject("DUPLICATE_POSITION_AMBIGUOUS", message)))
    };
    if cut.is_empty() { judged } else { vec![with_truncated(judged, &cut)] }
}

/// Judges slices that all lie at positions of their own: what else may be wrong shows in what they say of themselves.
fn judge_whole(slices: &[Slice<'_>], normal: [f64; 3], notes: &[String], rules: Rules) -> Vec<Judged> {
    let mut notes = notes.to_vec();
    let alternating = passes::alternates(slices, normal);
    // Acquisitions may be packages of one stack; what differs in content is none.
    let (mixed, alternating) = match alternating.filter(|attribute| passes::is_content(attribute)) {
        Some(mixed) => (Some(mixed), None),
        None => (None, alternating),
    };
    notes.extend(alternating.map(|attribute| format!("{ALTERNATING}: neighbours differ in {attribute}")));
    let stacks = passes::stacks(slices);
    notes.extend((stacks > 1).then(|| format!("SEVERAL_STACKS: slices of {stacks} StackIDs are one scan")));
    let mut judged = judge_line(slices, normal, &notes, rules);
    if let Some(attribute) = mixed {
        let message = format!("slices of one acquisition expected, neighbours differ in {attribute}");
        for judged in judged.iter_mut().filter(|judged| judged.verdict.is_ok()) {
            judged.verdict = Err(reject(ALTERNATING, message.clone()));
        }
        return judged;
    }
    if let [Judged { verdict, .. }] = judged.as_mut_slice()
        && verdict.as_ref().is_ok_and(|stack| stack.heights.is_empty())
        && let Some(refusal) = Wider::find(slices, normal).and_then(|wider| wider.refusal(slices))
    {
        *verdict = Err(refusal);
    }
    judged
}

/// The passes whose slices lie between one another, where each position has one slice.
fn passes_between<'a>(places: &[Position<'a>], normal: [f64; 3]) -> Option<Passes<'a>> {
    places.iter().all(|place| place.len() == 1).then(|| passes::between(&places.concat(), normal))?
}

/// The verdict on a stack that lost slices to truncation: it is never accepted, even when no gap shows the
/// loss.
fn with_truncated(judged: Vec<Judged>, cut: &[Slice<'_>]) -> Judged {
    let message = format!("the pixel data of {} instance(s) end early", cut.len());
    let mut instances: Vec<usize> = cut.iter().map(|slice| slice.source.instance).collect();
    let mut found = None;
    for Judged { verdict, instances: others } in judged {
        instances.extend(others);
        found = found.or(verdict.err());
    }
    let reject = match found {
        Some(other) => Reject { message: format!("{}; {message}", other.message), ..other },
        None => reject("TRUNCATED", message),
    };
    Judged::new(Err(reject), instances)
}

/// Judges one slice for each position, ascending along the normal; the runs between its gaps, if that is asked.
fn judge_line(slices: &[Slice<'_>], normal: [f64; 3], notes: &[String], rules: Rules) -> Vec<Judged> {
    let judged = judge_single(slices, normal, notes, rules);
    let gap = judged.verdict.as_ref().is_err_and(|reject| reject.code == "MISSING_SLICE");
    if !gap || rules.on_gap != OnGap::Split {
        return vec![judged];
    }
    let positions: Vec<_> = slices.iter().map(|slice| slice.position).collect();
    let mut notes = notes.to_vec();
    notes.push("MISSING_SLICE: split at the gap".to_owned());
    let run = |slices: &[Slice<'_>]| match slices {
        [_] => Judged::of(Err(reject("MISSING_SLICE", "a single slice lies between gaps")), slices),
        slices => judge_single(slices, normal, &notes, rules),
    };
    gaps::runs(&positions, normal).into_iter().filter_map(|range| slices.get(range)).map(run).collect()
}

/// Judges one slice for each position, ascending along the normal.
fn judge_single(slices: &[Slice<'_>], normal: [f64; 3], notes: &[String], rules: Rules) -> Judged {
    let refused = |slice: &&Slice<'_>| slice.instance.refusal.is_some();
    if let Some(code) = slices.iter().find_map(|slice| slice.instance.refusal.as_deref()) {
        let at_fault = slices.iter().filter(refused).chain(slices).map(|slice| slice.source.instance);
        return Judged::new(Err(reject(code, "a slice of the stack cannot be used")), at_fault);
    }
    Judged::of(place(slices, normal, notes, rules), slices)
}

/// The grid of one slice for each position, ascending along the normal.
fn place(slices: &[Slice<'_>], normal: [f64; 3], notes: &[String], rules: Rules) -> Verdict {
    let Some(first) = slices.first() else {
        return Err(reject("NO_GEOMETRY", "no slice has a position"));
    };
    let mut notes = notes.to_vec();
    let (step, planes, heights) = if slices.len() == 1 {
        notes.push("SINGLE_SLICE".to_owned());
        (single_step(first, normal, &mut notes)?, 1, Vec::new())
    } else {
        let positions: Vec<_> = slices.iter().map(|slice| slice.position).collect();
        let pixel_mm = first.spacing.iter().copied().fold(f64::INFINITY, f64::min);
        let line = gaps::judge(&positions, normal, pixel_mm, rules)?;
        if line.tilted {
            notes.push("GANTRY_TILT".to_owned());
        }
        let even = line.heights.is_empty();
        notes.extend(line.note);
        notes.extend(Wider::find(slices, normal).filter(|_| even).map(|wider| wider.note()));
        (line.step, line.planes, line.heights)
    };
    let mut found: Vec<String> =
        slices.iter().flat_map(|slice| slice.instance.notes.iter().cloned()).collect();
    found.retain(|note| !concatenation::is_part(note));
    found.sort();
    found.dedup();
    notes.extend(found);
    let [rows, columns] = first.size().map(|n| n as usize);
    let [along_row, along_column] = first.axes;
    let geometry = Geometry {
        size: [planes, rows, columns],
        origin_mm: first.position,
        steps_mm: [
            step,
            along_column.map(|cosine| cosine * first.spacing[0]),
            along_row.map(|cosine| cosine * first.spacing[1]),
        ],
    };
    geometry.check()?;
    let slices = slices.iter().map(|slice| slice.source).collect();
    Ok(Assembled { geometry, slices, heights, notes })
}

/// The thickness of a lone slice: as far as to the next that was planned, or as the slice says itself.
fn single_step(slice: &Slice<'_>, normal: [f64; 3], notes: &mut Vec<String>) -> Result<[f64; 3], Reject> {
    let sound = |length: &f64| *length > 0.0 && length.is_finite();
    let gap = slice.frame.gap_mm.map(|gap| gap.0.abs()).filter(sound);
    let thickness = slice.frame.thickness_mm.map(|thickness| thickness.0).filter(sound);
    let Some(length) = gap.or(thickness) else {
        return Err(reject("SINGLE_SLICE", "one slice, of unknown thickness"));
    };
    let source = if gap.is_some() { "SpacingBetweenSlices" } else { "SliceThickness" };
    notes.push(format!("SPACING_FROM_{}", if gap.is_some() { "GAP" } else { "THICKNESS" }));
    tracing::debug!(source, length, "a lone slice");
    Ok(normal.map(|cosine| cosine * length))
}
