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

/// The label of each value, the innermost of those that have it, and for each label those within it; or two labels that
/// overlap otherwise.
#[expect(clippy::type_complexity, reason = "two lists, named where they are used")]
pub fn of_values(regions: &[Vec<u16>]) -> Result<(Vec<u16>, Vec<Vec<u16>>), [u16; 2]> {
    let holds = |one: &[u16], other: &[u16]| other.iter().all(|value| one.contains(value));
    let places = || (1..).zip(regions);
    let mut nested = Vec::new();
    for (label, values) in places() {
        let mut within = Vec::new();
        for (other, inner) in places().filter(|(other, _)| *other != label) {
            let meet = inner.iter().any(|value| values.contains(value));
            if meet && !holds(values, inner) && !holds(inner, values) {
                return Err([label.min(other), label.max(other)]);
            }
            if meet && holds(values, inner) {
                within.push(other);
            }
        }
        nested.push(within);
    }
    let highest = regions.iter().flatten().max().map_or(0, |value| usize::from(*value) + 1);
    let mut labels = vec![0; highest];
    // The larger first, so that what lies within it is written over it; of equals the later.
    let mut order: Vec<(u16, &Vec<u16>)> = places().collect();
    order.sort_by_key(|(_, values)| std::cmp::Reverse(values.iter().collect::<BTreeSet<_>>().len()));
    for (label, values) in order {
        values.iter().for_each(|value| labels[usize::from(*value)] = label);
    }
    let none = nested.iter().all(Vec::is_empty);
    Ok((labels, if none { Vec::new() } else { nested }))
}
