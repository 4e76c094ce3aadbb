//! Several stacks at the same positions, told apart by the first attribute that gives complete ones.

use std::collections::BTreeSet;

use super::slices::{Slice, SliceRef, natural};

/// The distance along the normal below which positions are one, mm.
pub(crate) const SAME_POSITION_MM: f64 = 1e-3;

/// The attributes that tell stacks apart, in the order in which they are tried.
const ATTRIBUTES: &[&str] = &[
    "SeriesNumber",
    "StackID",
    "ImageType",
    "EchoTime",
    "DiffusionBValue",
    "DiffusionGradient",
    "TemporalPosition",
    "TriggerTime",
    "AcquisitionNumber",
    "AcquisitionTime",
    "DimensionIndex1",
    "DimensionIndex2",
    "DimensionIndex3",
    "DimensionIndex4",
    "DimensionIndex5",
];

/// The attributes in which acquisitions differ, in the order in which they are tried before InstanceNumbers
/// are believed; a value that is absent is one as well. Descriptions are known of all images, and the rest
/// where a filter asks for it.
const CONTENT: &[&str] = &[
    "FlipAngle",
    "InversionTime",
    "KVP",
    "ConvolutionKernel",
    "ContrastBolusAgent",
    "SeriesDescription",
    "ProtocolName",
    "SequenceName",
];

/// The numbers that may jitter from slice to slice: those of one stack are all smaller than those of the
/// next.
const RANGES: &[&str] =
    &["EchoTime", "FlipAngle", "InversionTime", "TriggerTime", "AcquisitionNumber", "AcquisitionTime"];

/// Slices at one place along the normal.
pub(crate) type Position<'a> = Vec<Slice<'a>>;

/// Groups slices, sorted along the normal, by position.
pub(crate) fn places<'a>(sorted: Vec<(f64, Slice<'a>)>) -> Vec<Position<'a>> {
    let mut places: Vec<(f64, Position<'a>)> = Vec::new();
    for (along, slice) in sorted {
        match places.last_mut() {
            Some((first, place)) if along - *first <= SAME_POSITION_MM => place.push(slice),
            _ => places.push((along, vec![slice])),
        }
    }
    places.into_iter().map(|(_, place)| place).collect()
}

/// Complete stacks of one slice for each place, and the attribute that told them apart; `None` when
/// no attribute does.
pub(crate) fn split<'a>(places: &[Position<'a>]) -> Option<(String, Vec<Vec<Slice<'a>>>)> {
    let copies = places.first()?.len();
    if copies < 2 || places.iter().any(|place| place.len() != copies) {
        return None;
    }
    let single = ATTRIBUTES.iter().map(|&attribute| vec![attribute]);
    let pairs = ATTRIBUTES.iter().enumerate().flat_map(|(index, &first)| {
        ATTRIBUTES.iter().skip(index + 1).map(move |&second| vec![first, second])
    });
    for attributes in single.chain(pairs) {
        if let Some(stacks) = by_values(places, copies, |slice| values(slice, &attributes)) {
            return Some((attributes.join(" and "), stacks));
        }
    }
    by_instance(places, copies)
        .map(|stacks| ("SOPInstanceUID".to_owned(), stacks))
        .or_else(|| by_number_or_content(places, copies))
}

/// Splits by InstanceNumber, as long as it tells the same stacks apart as what acquisitions differ in, or
/// runs through each stack in a like way; else by what they differ in: numbers that run up in one acquisition
/// and down in another would give stacks that are each half of both.
fn by_number_or_content<'a>(places: &[Position<'a>], copies: usize) -> Option<(String, Vec<Vec<Slice<'a>>>)> {
    let ranked = by_rank(places, copies, number);
    let content = by_content(places, copies);
    let sources = |stacks: &[Vec<Slice<'a>>]| -> BTreeSet<Vec<SliceRef>> {
        stacks.iter().map(|stack| stack.iter().map(|slice| slice.source).collect()).collect()
    };
    match (ranked, content) {
        (Some(stacks), Some((_, other))) if sources(&stacks) == sources(&other) => {
            Some(("InstanceNumber".to_owned(), stacks))
        }
        (_, Some((attribute, stacks))) => Some((attribute.to_owned(), stacks)),
        (Some(stacks), None) if numbered_alike(&stacks) => Some(("InstanceNumber".to_owned(), stacks)),
        (_, None) => None,
    }
}

/// Splits by what acquisitions differ in beside [`ATTRIBUTES`].
fn by_content<'a>(places: &[Position<'a>], copies: usize) -> Option<(&'static str, Vec<Vec<Slice<'a>>>)> {
    let said = CONTENT.iter().find_map(|&attribute| {
        let stacks = by_values(places, copies, |slice| Some(vec![slice.said(attribute).to_owned()]))?;
        Some((attribute, stacks))
    });
    said.or_else(|| {
        RANGES.iter().find_map(|&attribute| {
            let of = |slice: &Slice<'_>| slice.said(attribute).parse().unwrap_or(f64::NAN);
            let stacks = by_rank(places, copies, of)?;
            are_ranges(&stacks, of).then_some((attribute, stacks))
        })
    })
}

/// Whether the numbers of each stack are all smaller than those of the next.
fn are_ranges(stacks: &[Vec<Slice<'_>>], of: impl Fn(&Slice<'_>) -> f64) -> bool {
    let ends = |stack: &Vec<Slice<'_>>| {
        let (low, high) = (f64::INFINITY, f64::NEG_INFINITY);
        stack.iter().map(&of).fold((low, high), |(low, high), number| (low.min(number), high.max(number)))
    };
    let ends: Vec<(f64, f64)> = stacks.iter().map(ends).collect();
    ends.iter().zip(ends.iter().skip(1)).all(|((_, high), (low, _))| high < low)
}

/// Whether InstanceNumbers run through the places of each stack in one order, or one stack was numbered after another,
/// each up or down.
fn numbered_alike(stacks: &[Vec<Slice<'_>>]) -> bool {
    let order = |stack: &Vec<Slice<'_>>| {
        let mut order: Vec<usize> = (0..stack.len()).collect();
        order.sort_by(|&a, &b| match (stack.get(a), stack.get(b)) {
            (Some(a), Some(b)) => number(a).total_cmp(&number(b)),
            _ => std::cmp::Ordering::Equal,
        });
        order
    };
    let orders: Vec<Vec<usize>> = stacks.iter().map(order).collect();
    if orders.windows(2).all(|pair| pair.first() == pair.last()) {
        return true;
    }
    let monotone = |stack: &Vec<Slice<'_>>| {
        let pairs = || stack.iter().zip(stack.iter().skip(1)).map(|(a, b)| (number(a), number(b)));
        pairs().all(|(a, b)| a <= b) || pairs().all(|(a, b)| a >= b)
    };
    are_ranges(stacks, number) && stacks.iter().all(monotone)
}

/// The values of a slice for the attributes; `None` when one is missing.
fn values(slice: &Slice<'_>, attributes: &[&str]) -> Option<Vec<String>> {
    attributes
        .iter()
        .map(|&attribute| {
            let value = slice.frame.order.get(attribute)?;
            // ORIGINAL and PRIMARY say nothing of a stack; what follows does.
            let kind = || value.split('\\').skip(2).collect::<Vec<_>>().join("\\");
            Some(if attribute == "ImageType" { kind() } else { value.clone() })
        })
        .collect()
}

fn by_values<'a>(
    places: &[Position<'a>],
    copies: usize,
    values: impl Fn(&Slice<'a>) -> Option<Vec<String>>,
) -> Option<Vec<Vec<Slice<'a>>>> {
    let of = |place: &Position<'a>| place.iter().map(&values).collect::<Option<Vec<_>>>();
    let mut wanted = of(places.first()?)?;
    wanted.sort_by(|a, b| {
        let differing = a.iter().zip(b).map(|(x, y)| natural(x, y)).find(|order| order.is_ne());
        differing.unwrap_or(std::cmp::Ordering::Equal)
    });
    wanted.dedup();
    if wanted.len() != copies {
        return None;
    }
    let mut stacks = vec![Vec::with_capacity(places.len()); copies];
    for place in places {
        let found = of(place)?;
        for (value, stack) in wanted.iter().zip(&mut stacks) {
            let index = found.iter().position(|other| other == value)?;
            stack.push(place.get(index)?.clone());
        }
    }
    Some(stacks)
}

/// Splits into multi-frame instances that are each a whole stack, in the order of their InstanceNumber.
fn by_instance<'a>(places: &[Position<'a>], copies: usize) -> Option<Vec<Vec<Slice<'a>>>> {
    if places.len() < 2 {
        return None;
    }
    let mut first: Vec<&Slice<'a>> = places.first()?.iter().collect();
    first.sort_by(|a, b| number(a).total_cmp(&number(b)));
    let mut sources: Vec<usize> = first.iter().map(|slice| slice.source.instance).collect();
    sources.dedup();
    let mut stacks = vec![Vec::with_capacity(places.len()); copies];
    if sources.len() != copies {
        return None;
    }
    for place in places {
        for (source, stack) in sources.iter().zip(&mut stacks) {
            stack.push(place.iter().find(|slice| slice.source.instance == *source)?.clone());
        }
    }
    Some(stacks)
}

/// Splits by rank: the n-th slice of each place by a number, whether volumes or positions were numbered
/// first.
fn by_rank<'a>(
    places: &[Position<'a>],
    copies: usize,
    number: impl Fn(&Slice<'a>) -> f64,
) -> Option<Vec<Vec<Slice<'a>>>> {
    let mut stacks = vec![Vec::with_capacity(places.len()); copies];
    for place in places {
        let mut ranked: Vec<&Slice<'a>> = place.iter().collect();
        ranked.sort_by(|a, b| number(a).total_cmp(&number(b)));
        let distinct = ranked.windows(2).all(|pair| match pair {
            [a, b] => number(a) < number(b),
            _ => true,
        });
        if !distinct {
            return None;
        }
        for (slice, stack) in ranked.into_iter().zip(&mut stacks) {
            stack.push(slice.clone());
        }
    }
    Some(stacks)
}

/// The InstanceNumber of a slice; NaN when absent, which is distinct from every number.
fn number(slice: &Slice<'_>) -> f64 {
    slice.frame.order.get("InstanceNumber").and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}
