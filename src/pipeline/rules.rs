//! Where a rule over the archive may stand: scans come to it with the spacings that they have.

use super::declare::Declared;
use super::problem::Found;
use crate::operators::registry::{Axes, Stage};
use crate::operators::spec::Aspects;

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
        let mut at = index;
        // As many steps as there are stages: in a circle there is no end.
        for _ in 0..stages.len() {
            let Some(Some(before)) = inputs[at].first().copied() else { break };
            let Some(Stage::Transform(transform)) = &built[before] else { break };
            let both = stages[before].spec().is_some_and(|spec| spec.aspects == Aspects::Both);
            if both && transform.axes() == Axes::Other {
                let name = stages[before].name;
                let message =
                    format!("`{rule}` looks at the spacings of scans, and `{name}` changes them before");
                let span = stage.table.key_at("to").map_or(stage.header, |key| key.span);
                let hint = format!("give this stage `spacing_mm`, or let it stand before `{name}`");
                found.push(Found::new(span, message).hint(hint));
                break;
            }
            at = before;
        }
    }
}
