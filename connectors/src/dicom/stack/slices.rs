//! Slices of a series with their geometry, and the stacks they fall into by orientation and matrix.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::dicom::header::instance::{Frame, Instance};
use crate::geometry::{cross, dot, is_spacing, norm};

/// The origin of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceRef {
    /// The index of the instance among those that were given.
    pub instance: usize,
    /// The frame of the instance, from 0 on.
    pub frame: u32,
}

/// The most by which cosines may differ within a stack; rounded decimal strings do.
const ORIENTATION_TOLERANCE: f64 = 1e-3;
/// The difference of cosines from which on it is worth a note.
const ORIENTATION_NOTE: f64 = 1e-4;
/// The share by which the pixel spacing may differ within a stack.
const SPACING_TOLERANCE: f64 = 1e-4;

/// The least cosine between normals of slices that lie above one another: those of a localizer lie across.
const PARALLEL: f64 = 0.98;
/// The fewest slices of which that is said: two may be anything.
const LEAST_DRIFTING: usize = 3;
/// The code of slices that lie above one another, of which each differs from the others.
pub(crate) const DRIFTING: &str = "DRIFTING_GEOMETRY";

/// The number of slices that, each with a frame of reference of its own, have none that says anything.
const FRAMES_OF_NOTHING: usize = 3;

/// One slice, with what places it in space.
#[derive(Clone, Debug)]
pub(crate) struct Slice<'a> {
    pub(crate) source: SliceRef,
    pub(crate) instance: &'a Instance,
    pub(crate) frame: &'a Frame,
    /// The centre of its first pixel, mm.
    pub(crate) position: [f64; 3],
    /// The unit vectors along a row and along a column.
    pub(crate) axes: [[f64; 3]; 2],
    /// The distances between rows and between columns, mm.
    pub(crate) spacing: [f64; 2],
}

impl<'a> Slice<'a> {
    /// A slice, or the code of why a frame has no place in space.
    pub(crate) fn new(
        source: SliceRef,
        instance: &'a Instance,
        frame: &'a Frame,
    ) -> Result<Self, &'static str> {
        let (Some(position), Some(orientation), Some(spacing)) =
            (frame.position_mm, frame.orientation, frame.spacing_mm)
        else {
            return Err("NO_GEOMETRY");
        };
        let [a, b, c, d, e, f] = orientation.map(|cosine| cosine.0);
        let (row, column) = ([a, b, c], [d, e, f]);
        let (row_norm, column_norm) = (norm(row), norm(column));
        let unit = |length: f64| (length - 1.0).abs() < 1e-2;
        let spacing = spacing.map(|length| length.0);
        let sound = unit(row_norm)
            && unit(column_norm)
            && (dot(row, column) / row_norm / column_norm).abs() < 1e-2
            && spacing.iter().all(is_spacing)
            && position.iter().all(|coordinate| coordinate.0.is_finite());
        if !sound {
            return Err("BAD_GEOMETRY");
        }
        Ok(Self {
            source,
            instance,
            frame,
            position: position.map(|coordinate| coordinate.0),
            axes: [row.map(|x| x / row_norm), column.map(|x| x / column_norm)],
            spacing,
        })
    }

    /// The unit normal, along which slices ascend.
    pub(crate) fn normal(&self) -> [f64; 3] {
        let [row, column] = self.axes;
        let normal = cross(row, column);
        let length = norm(normal);
        normal.map(|x| x / length)
    }

    /// The value of an attribute in the slice's frame, or else in its image; empty when neither has one.
    pub(crate) fn said(&self, attribute: &str) -> &str {
        self.frame
            .order
            .get(attribute)
            .or_else(|| self.instance.tags.get(attribute))
            .map_or("", String::as_str)
    }

    pub(crate) fn size(&self) -> [u32; 2] {
        self.instance.pixels.frame_size
    }

    fn axes_differ_by(&self, other: &Self) -> f64 {
        let pairs = self.axes.iter().flatten().zip(other.axes.iter().flatten());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    fn same_matrix(&self, other: &Self) -> bool {
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= SPACING_TOLERANCE * a.max(*b);
        self.size() == other.size() && self.spacing.iter().zip(&other.spacing).all(close)
    }
}

/// A stack of slices of one orientation, matrix, pixel spacing and frame of reference.
#[derive(Clone, Debug)]
pub(crate) struct Stack<'a> {
    pub(crate) slices: Vec<Slice<'a>>,
    pub(crate) notes: Vec<String>,
}

impl<'a> Stack<'a> {
    /// The reason why a slice does not belong in this stack: `None` when it does.
    fn differs(&self, slice: &Slice<'a>) -> Option<&'static str> {
        let first = self.slices.first()?;
        if !first.same_matrix(slice) {
            Some("MIXED_MATRIX")
        } else if first.axes_differ_by(slice) > ORIENTATION_TOLERANCE {
            Some("MIXED_ORIENTATION")
        } else if first.instance.frame_of_reference != slice.instance.frame_of_reference {
            Some("MIXED_FRAME_OF_REFERENCE")
        } else {
            None
        }
    }
}

/// Slices too few to be a stack beside a larger one.
pub(crate) struct Leftover<'a> {
    pub(crate) code: &'static str,
    pub(crate) slices: Vec<Slice<'a>>,
}

/// Sorts slices into stacks, the largest first, and leftovers of one or two beside a larger stack.
/// Slices are expected in an order that depends on their content alone.
pub(crate) fn stacks<'a>(slices: Vec<Slice<'a>>) -> (Vec<Stack<'a>>, Vec<Leftover<'a>>) {
    let mut stacks: Vec<Stack<'a>> = Vec::new();
    for slice in slices {
        match stacks.iter_mut().find(|stack| stack.differs(&slice).is_none()) {
            Some(stack) => stack.slices.push(slice),
            None => stacks.push(Stack { slices: vec![slice], notes: Vec::new() }),
        }
    }
    let stacks = with_own_frames(stacks);
    let torn = torn(&stacks);
    let mut leftovers = Vec::new();
    let mut whole = Vec::with_capacity(stacks.len());
    for (index, stack) in stacks.into_iter().enumerate() {
        match torn.contains(&index) {
            true => leftovers.push(Leftover { code: DRIFTING, slices: stack.slices }),
            false => whole.push(stack),
        }
    }
    let mut stacks = whole;
    // The sort is stable: stacks of one size keep the order of their content.
    stacks.sort_by_key(|stack| std::cmp::Reverse(stack.slices.len()));
    let largest = stacks.first().map_or(0, |stack| stack.slices.len());
    let scouts = largest == 1 && stacks.len() > 1;
    let drifting = scouts && are_drifting(&stacks);
    let (small, mut kept): (Vec<_>, Vec<_>) = stacks
        .into_iter()
        .partition(|stack| scouts || stack.slices.len() <= 2.min(largest.saturating_sub(1)));
    for stack in small {
        let code = match kept.first().map(|main| stack.slices.first().and_then(|slice| main.differs(slice))) {
            Some(Some("MIXED_MATRIX")) => "MIXED_MATRIX",
            Some(Some("MIXED_FRAME_OF_REFERENCE")) => "MIXED_FRAME_OF_REFERENCE",
            _ if drifting => DRIFTING,
            // Single slices across each other are the planes of a localizer.
            _ => "LOCALIZER",
        };
        leftovers.push(Leftover { code, slices: stack.slices });
    }
    note_differences(&mut kept);
    (kept, leftovers)
}

/// The stacks of which a slice is like the next one of another stack: geometry drifts from one slice to the next, and
/// none of these stacks is whole.
fn torn(stacks: &[Stack<'_>]) -> BTreeSet<usize> {
    let mut torn = BTreeSet::new();
    let Some(normal) = stacks.first().and_then(|stack| stack.slices.first()).map(Slice::normal) else {
        return torn;
    };
    if stacks.len() < 2 {
        return torn;
    }
    let slices = stacks.iter().enumerate().flat_map(|(index, stack)| {
        stack.slices.iter().map(move |slice| (dot(slice.position, normal), index, slice))
    });
    let mut slices: Vec<_> = slices.collect();
    slices.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
    for ((_, one, slice), (_, other, next)) in slices.iter().zip(slices.iter().skip(1)) {
        let alike = slice.same_matrix(next)
            && slice.axes_differ_by(next) <= ORIENTATION_TOLERANCE
            && slice.instance.frame_of_reference == next.instance.frame_of_reference;
        if one != other && alike {
            torn.extend([*one, *other]);
        }
    }
    torn
}

/// Whether single slices lie above one another, in one frame of reference and with one matrix: they are no localizer,
/// but a stack whose pixel spacing or orientation changes from slice to slice.
fn are_drifting(stacks: &[Stack<'_>]) -> bool {
    let slices: Vec<&Slice<'_>> = stacks.iter().filter_map(|stack| stack.slices.first()).collect();
    let Some(first) = slices.first() else { return false };
    let alike = |slice: &&Slice<'_>| {
        dot(first.normal(), slice.normal()) >= PARALLEL
            && slice.size() == first.size()
            && slice.instance.frame_of_reference == first.instance.frame_of_reference
    };
    slices.len() >= LEAST_DRIFTING && slices.iter().all(alike)
}

/// Puts slices together that differ by nothing but a frame of reference of their own: a frame for each of at least
/// three files is no frame, but an identifier that somebody replaced.
fn with_own_frames<'a>(stacks: Vec<Stack<'a>>) -> Vec<Stack<'a>> {
    // The stacks that are alike but for their frame of reference, in the order of the first of each.
    let mut alike: Vec<Vec<Stack<'a>>> = Vec::new();
    for stack in stacks {
        let Some(slice) = stack.slices.first().cloned() else { continue };
        let fits = |group: &&mut Vec<Stack<'a>>| {
            let first = group.first().and_then(|stack| stack.slices.first());
            first.is_some_and(|first| {
                first.same_matrix(&slice) && first.axes_differ_by(&slice) <= ORIENTATION_TOLERANCE
            })
        };
        match alike.iter_mut().find(fits) {
            Some(group) => group.push(stack),
            None => alike.push(vec![stack]),
        }
    }
    let mut found = Vec::new();
    for group in alike {
        let single = |stack: &Stack<'_>| match stack.slices.as_slice() {
            [slice] => slice.instance.frames.len() == 1 && !slice.instance.frame_of_reference.is_empty(),
            _ => false,
        };
        if group.len() >= FRAMES_OF_NOTHING && group.iter().all(single) {
            let note = "MIXED_FRAME_OF_REFERENCE: one for each slice".to_owned();
            let slices = group.into_iter().flat_map(|stack| stack.slices).collect();
            found.push(Stack { slices, notes: vec![note] });
        } else {
            found.extend(group);
        }
    }
    found
}

fn note_differences(stacks: &mut [Stack<'_>]) {
    if let Some((first, others)) = stacks.split_first_mut() {
        let codes: Vec<_> = others
            .iter()
            .filter_map(|other| first.differs(other.slices.first()?))
            .map(str::to_owned)
            .collect();
        first.notes.extend(codes.first().cloned());
        for (other, code) in others.iter_mut().zip(codes) {
            other.notes.push(code);
        }
    }
    for stack in stacks {
        let Some(first) = stack.slices.first() else { continue };
        if stack.slices.iter().any(|slice| first.axes_differ_by(slice) > ORIENTATION_NOTE) {
            stack.notes.push("ORIENTATION_JITTER".to_owned());
        }
    }
}

/// Orders values as numbers when both are, else as text.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) => x.total_cmp(&y).then_with(|| a.cmp(b)),
        _ => a.cmp(b),
    }
}
