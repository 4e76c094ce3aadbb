//! What a field takes, in words: for messages, the reference and the schema.

use super::suggest::{count, listed};
use crate::operators::spec::FieldKind;

/// `a length in mm above 0`
pub(super) fn one(kind: &FieldKind) -> String {
    match kind {
        FieldKind::Bool => "`true` or `false`".to_owned(),
        FieldKind::Integer { min, max } => format!("a whole number{}", integer_bounds(*min, *max)),
        FieldKind::Number { min, max, unit } => {
            let noun = if *unit == "mm" { "a length" } else { "a number" };
            format!("{noun}{}{}", in_unit(unit), number_bounds(*min, *max))
        }
        FieldKind::Text => "text".to_owned(),
        FieldKind::Path => "a path".to_owned(),
        FieldKind::Bytes => "a size such as `\"256 MiB\"`".to_owned(),
        FieldKind::Duration => "a duration such as `\"10s\"`".to_owned(),
        FieldKind::Choice(words) => choices(words),
        FieldKind::Stage(kind) => format!("the name of a stage that gives {}", kind.name()),
        FieldKind::List { of, len: None } => format!("a list of {}", many(of)),
        FieldKind::List { of, len: Some(len) } => format!("{} {}", count(*len), many(of)),
        FieldKind::Map(of) => format!("a table of {}", many(of)),
        FieldKind::Table(fields) if (1..=4).contains(&fields.len()) => {
            let names: Vec<_> = fields.iter().map(|field| format!("`{}`", field.name)).collect();
            format!("a table with {}", listed(&names, "and"))
        }
        FieldKind::Table(_) => "a table".to_owned(),
        FieldKind::Tagged(variants) => {
            let names: Vec<_> = variants.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("a table with the `type` {}", listed(&names, "or"))
        }
        FieldKind::Either(kinds) => either(&kinds.iter().map(one).collect::<Vec<_>>()),
    }
}

/// `lengths in mm above 0`
fn many(kind: &FieldKind) -> String {
    match kind {
        FieldKind::Integer { min, max } => format!("whole numbers{}", integer_bounds(*min, *max)),
        FieldKind::Number { min, max, unit } => {
            let noun = if *unit == "mm" { "lengths" } else { "numbers" };
            format!("{noun}{}{}", in_unit(unit), number_bounds(*min, *max))
        }
        FieldKind::Text => "texts".to_owned(),
        FieldKind::Path => "paths".to_owned(),
        FieldKind::Bytes => "sizes such as `\"256 MiB\"`".to_owned(),
        FieldKind::Duration => "durations such as `\"10s\"`".to_owned(),
        FieldKind::Bool => "`true` or `false`".to_owned(),
        FieldKind::Choice(words) => format!("words, each {}", choices(words)),
        FieldKind::Stage(kind) => format!("names of stages that give {}", kind.name()),
        FieldKind::List { of, len: None } => format!("lists of {}", many(of)),
        FieldKind::List { of, len: Some(len) } => format!("lists of {} {}", count(*len), many(of)),
        FieldKind::Map(_) | FieldKind::Table(_) => "tables".to_owned(),
        FieldKind::Tagged(_) => "tables with a `type`".to_owned(),
        FieldKind::Either(kinds) => listed(&kinds.iter().map(many).collect::<Vec<_>>(), "or"),
    }
}

/// A comma keeps alternatives of several words apart.
fn either(alternatives: &[String]) -> String {
    let short = alternatives.iter().all(|alternative| alternative.len() < 20);
    if short { listed(alternatives, "or") } else { alternatives.join(", or ") }
}

fn choices(words: &[&str]) -> String {
    listed(&words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>(), "or")
}

fn in_unit(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" in {unit}") }
}

fn integer_bounds(min: i64, max: i64) -> String {
    match (min, max) {
        (i64::MIN, i64::MAX) => String::new(),
        (i64::MIN, max) => format!(" of at most {max}"),
        (min, i64::MAX) => format!(" of at least {min}"),
        (min, max) => format!(" from {min} to {max}"),
    }
}

/// Bounds whose size says that they are none in practice are not told.
fn number_bounds(min: f64, max: f64) -> String {
    let open_below = min <= -1e30;
    let open_above = max >= 1e30;
    let above_zero = is_above_zero(min);
    match (open_below, open_above) {
        (true, true) => String::new(),
        (true, false) => format!(" of at most {max}"),
        (false, true) if above_zero => " above 0".to_owned(),
        (false, true) => format!(" of at least {min}"),
        (false, false) if above_zero => format!(" above 0, at most {max}"),
        (false, false) => format!(" from {min} to {max}"),
    }
}

/// Whether a bound only keeps 0 out.
pub(super) fn is_above_zero(min: f64) -> bool {
    min > 0.0 && min <= f64::EPSILON
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_read_as_in_a_sentence() {
        const LENGTH: FieldKind = FieldKind::Number { min: f64::MIN_POSITIVE, max: f64::MAX, unit: "mm" };
        assert_eq!(one(&LENGTH), "a length in mm above 0");
        assert_eq!(one(&FieldKind::List { of: &LENGTH, len: Some(3) }), "three lengths in mm above 0");
        const EITHER: FieldKind =
            FieldKind::Either(&[FieldKind::Text, FieldKind::List { of: &FieldKind::Text, len: None }]);
        assert_eq!(one(&FieldKind::Map(&EITHER)), "a table of texts or lists of texts");
        assert_eq!(one(&FieldKind::Integer { min: 1, max: i64::MAX }), "a whole number of at least 1");
    }
}
