//! Where transforms may stand that look at more than a scan: at all scans of the archive, or at a case's labels.

use super::declare::Declared;
use super::problem::Found;
use super::suggest::remedy;
use crate::operators::cases::rule::Rule;
use crate::operators::registry::{Axes, Stage};
use crate::operators::spec::Aspects;

/// The stages before one along first inputs, the nearest first; in a circle as many as there are stages.
pub(super) fn upstream(inputs: &[Vec<Option<usize>>], stage: usize) -> impl Iterator<Item = usize> {
    let before = |at: &usize| inputs[*at].first().copied().flatten();
    std::iter::successors(before(&stage), before).take(inputs.len())
}

/// Reports rules that stand after something that gives scans another spacing.
pub(super) fn own_spacings(
    stages: &[Declared],
    inputs: &[Vec<Option<usize>>],
    built: &[Option<Stage>],
    found: &mut Vec<Found>,
) {
    for (index, stage) in stages.iter().enumerate() {
        let Some(Stage::Transform(transform)) = &built[index] else { continue };
        let Some(rule) = transform.rule() else { continue };
        // Intensities are measured as they come, whatever was done before.
        if matches!(rule, Rule::Intensities(_)) {
            continue;
        }
        for before in upstream(inputs, index) {
            if let Some(Stage::Channels(_) | Stage::Adopt) = &built[before] {
                continue;
            }
            let Some(Stage::Transform(transform)) = &built[before] else { break };
            let both = stages[before].spec().is_some_and(|spec| spec.aspects == Aspects::Both);
            if both && transform.axes() == Axes::Other {
                let name = stages[before].name;
                let (rule, what, outright) = match rule {
                    Rule::Spacing(rule) => (rule.to_string(), "the spacings of scans", "spacing_mm"),
                    _ => ("like".to_owned(), "scans as they are", "grid"),
                };
                let message = format!("`{rule}` looks at {what}, and `{name}` changes them before");
                let span = stage.table.key_at("to").map_or(stage.header, |key| key.span);
                let hint = format!("give this stage `{outright}`, or let it stand before `{name}`");
                found.push(Found::new(span, message).hint(hint));
                break;
            }
        }
    }
}

/// Reports transforms that look at a label which their cases do not have.
pub(super) fn known_labels(
    stages: &[Declared],
    inputs: &[Vec<Option<usize>>],
    built: &[Option<Stage>],
    found: &mut Vec<Found>,
) {
    for (index, stage) in stages.iter().enumerate() {
        let Some(Stage::Transform(transform)) = &built[index] else { continue };
        let Some(label) = transform.around() else { continue };
        let span = stage.table.key_at("around").map_or(stage.header, |key| key.span);
        for at in upstream(inputs, index) {
            match &built[at] {
                Some(Stage::Transform(_) | Stage::Channels(_) | Stage::Adopt) => {}
                Some(Stage::Label { .. }) => {
                    let source =
                        inputs[at].get(1).copied().flatten().and_then(|source| built[source].as_ref());
                    let Some(names) = source.and_then(label_names) else { break };
                    if !names.iter().any(|name| name == label) {
                        let problem = Found::new(span, format!("there is no label called `{label}`"));
                        let hint = remedy(label, names.iter().map(String::as_str), "no label is declared");
                        found.push(problem.label("unknown label").hint(hint));
                    }
                    break;
                }
                Some(_) => {
                    let message =
                        format!("`around` looks at labels, and `{}` gives scans without", stages[at].name);
                    found.push(Found::new(span, message).hint("let this stage take the cases of a `label`"));
                    break;
                }
                None => break,
            }
        }
    }
}

/// The labels that a source gives, where it is one of labels.
pub(super) fn label_names(source: &Stage) -> Option<Vec<String>> {
    match source {
        Stage::Labels(source) => Some(source.label_names()),
        _ => None,
    }
}
