//! Labels that hold others: as a declaration says it, or the values of a map.

use std::collections::BTreeSet;

use crate::operators::spec::{Config, FieldProblem};

/// Returns, for each label, those that are declared as a part of it, and the parts of these.
///
/// # Errors
/// Names that no label has, and parts that are declared before what holds them.
pub fn held(config: &Config, labels: &[String]) -> Result<Vec<Vec<u16>>, Vec<FieldProblem>> {
    let declared = config.get("holds").and_then(|table| table.as_object());
    let mut problems = Vec::new();
    let mut number = |field: String, name: &str| {
        let place = labels.iter().position(|label| label == name);
        if place.is_none() {
            let known: Vec<&str> = labels.iter().map(String::as_str).collect();
            let message = format!("one of the labels {} expected, `{name}` found", known.join(", "));
            problems.push(FieldProblem::new(&field, message, ""));
        }
        place.map(|place| place as u16 + 1)
    };
    let mut nested: Vec<BTreeSet<u16>> = vec![BTreeSet::new(); labels.len()];
    for (outer, parts) in declared.into_iter().flatten() {
        let field = format!("holds.{outer}");
        let Some(outer) = number(field.clone(), outer) else { continue };
        for part in parts.as_array().into_iter().flatten().filter_map(|part| part.as_str()) {
            if let Some(part) = number(field.clone(), part) {
                nested[usize::from(outer) - 1].insert(part);
            }
        }
    }
    // The parts of a label's parts are its parts, too.
    for _ in 0..labels.len() {
        for outer in 0..nested.len() {
            let parts: Vec<u16> =
                nested[outer].iter().flat_map(|part| nested[usize::from(*part) - 1].clone()).collect();
            nested[outer].extend(parts);
        }
    }
    for (name, (label, parts)) in labels.iter().zip((1..).zip(&nested)) {
        let earlier = parts.iter().find(|part| **part <= label);
        if earlier.is_some() {
            let message = "parts that are declared after what holds them expected: a later label is drawn over an earlier";
            problems.push(FieldProblem::new(
                &format!("holds.{name}"),
                message,
                "change the order of the labels",
            ));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let none = nested.iter().all(BTreeSet::is_empty);
    Ok(if none { Vec::new() } else { nested.into_iter().map(|parts| parts.into_iter().collect()).collect() })
}

/// What the values of a map say of labels.
#[derive(Debug, PartialEq, Eq)]
pub struct OfValues {
    /// The label of each value, the innermost of those that have it; where several are, what stands for their set.
    pub labels: Vec<u16>,
    /// For each label those within it, sets among them; empty when there are none.
    pub nested: Vec<Vec<u16>>,
    /// Sets of labels that cross, ascending, in the order of what stands for them: the first one's is the number after
    /// the last label.
    pub sets: Vec<Vec<u16>>,
}

/// What stands for each value of a map, of labels with these values.
pub fn of_values(regions: &[Vec<u16>]) -> OfValues {
    let regions: Vec<BTreeSet<u16>> = regions.iter().map(|values| values.iter().copied().collect()).collect();
    let places = || (1..).zip(&regions);
    let parts = |label: u16, values: &BTreeSet<u16>| -> Vec<u16> {
        let meets = |inner: &BTreeSet<u16>| !inner.is_empty() && inner.is_subset(values);
        places().filter(|(other, inner)| *other != label && meets(inner)).map(|(other, _)| other).collect()
    };
    let mut nested: Vec<Vec<u16>> = places().map(|(label, values)| parts(label, values)).collect();
    let highest = regions.iter().flatten().max().map_or(0, |value| usize::from(*value) + 1);
    let (mut labels, mut sets) = (vec![0; highest], Vec::<Vec<u16>>::new());
    for value in regions.iter().flatten().copied().collect::<BTreeSet<u16>>() {
        let having: Vec<(u16, &BTreeSet<u16>)> =
            places().filter(|(_, values)| values.contains(&value)).collect();
        // Of labels of the same values the later is the inner one.
        let inner = |(label, values): &&(u16, &BTreeSet<u16>)| {
            !having.iter().any(|(other, own)| {
                other != label && own.is_subset(values) && (own.len() < values.len() || other > label)
            })
        };
        let set: Vec<u16> = having.iter().filter(inner).map(|(label, _)| *label).collect();
        labels[usize::from(value)] = match set[..] {
            [label] => label,
            _ => {
                let place = sets.iter().position(|known| *known == set).unwrap_or(sets.len());
                let code = (regions.len() + place + 1) as u16;
                if place == sets.len() {
                    having.iter().for_each(|(label, _)| nested[usize::from(*label) - 1].push(code));
                    sets.push(set);
                }
                code
            }
        };
    }
    if nested.iter().all(Vec::is_empty) {
        nested.clear();
    }
    OfValues { labels, nested, sets }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_cross_have_values_of_their_own() {
        // Values 2 and 3 are of two labels each, none of which holds the other; 4 is of a label within one of them.
        let found = of_values(&[vec![1, 2, 4], vec![2, 3], vec![3, 5], vec![4]]);
        assert_eq!(found.labels, [0, 1, 5, 6, 4, 3]);
        assert_eq!(found.sets, [vec![1, 2], vec![2, 3]]);
        assert_eq!(found.nested, [vec![4, 5], vec![5, 6], vec![6], vec![]]);
        // A label within both is the inner one.
        let within = of_values(&[vec![1, 2], vec![2, 3], vec![2]]);
        assert_eq!((&within.labels[..], within.sets.len()), (&[0, 1, 3, 2][..], 0));
        assert_eq!(within.nested, [vec![3], vec![3], vec![]]);
    }

    #[test]
    fn chains_have_none() {
        let found = of_values(&[vec![1, 3], vec![1, 2, 3], vec![3], vec![3]]);
        assert_eq!((&found.labels[..], found.sets.len()), (&[0, 1, 2, 4][..], 0));
        assert_eq!(found.nested, [vec![3, 4], vec![1, 3, 4], vec![4], vec![3]]);
        assert!(of_values(&[vec![1], vec![2]]).nested.is_empty());
    }
}
