//! Several stacks at the same positions, told apart by the first attribute that gives complete ones.

use super::slices::{Slice, natural};

/// Positions closer than this along the normal are one, mm.
pub(crate) const SAME_POSITION_MM: f64 = 1e-3;

/// In the order in which they are tried.
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
        if let Some(stacks) = by_values(places, copies, &attributes) {
            return Some((attributes.join(" and "), stacks));
        }
    }
    by_instance(places, copies)
        .map(|stacks| ("SOPInstanceUID".to_owned(), stacks))
        .or_else(|| by_rank(places, copies).map(|stacks| ("InstanceNumber".to_owned(), stacks)))
}

/// Values of a slice for the attributes; `None` when one is missing.
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

fn by_values<'a>(places: &[Position<'a>], copies: usize, attributes: &[&str]) -> Option<Vec<Vec<Slice<'a>>>> {
    let of = |place: &Position<'a>| {
        place.iter().map(|slice| values(slice, attributes)).collect::<Option<Vec<_>>>()
    };
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

/// Multi-frame instances that are each a whole stack, in the order of their InstanceNumber.
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

/// The n-th of each place by InstanceNumber, whether volumes or positions were numbered first.
fn by_rank<'a>(places: &[Position<'a>], copies: usize) -> Option<Vec<Vec<Slice<'a>>>> {
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

/// InstanceNumber; not a number when absent, which is distinct from nothing.
fn number(slice: &Slice<'_>) -> f64 {
    slice.frame.order.get("InstanceNumber").and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}
