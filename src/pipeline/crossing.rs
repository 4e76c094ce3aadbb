//! Labels that cross, before stages that take one label for each voxel: refused before a run.

use super::prepared::Cards;
use super::problem::Found;
use super::regions::source_of_labels;
use crate::operators::registry::Stage;

/// Reports stages that know one label of a voxel, of cases whose labels may share voxels.
pub(super) fn refused(cards: &Cards<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (index, built) in cards.built.iter().enumerate() {
        let stage = &cards.stages[index];
        let (from, field, what, hint) = match built {
            Some(Stage::Train(train)) => {
                let settings = train.network();
                if settings.is_some_and(|one| one.activation.overlaps() && !one.network.gives_boxes()) {
                    continue;
                }
                let what = match settings {
                    None => "a library of atlases",
                    Some(one) if one.network.gives_boxes() => "a network of boxes",
                    Some(_) => "a network of classes that exclude each other",
                };
                let hint = "let `activation` be \"sigmoid\", so that each label has a head of its own; or let them cross no \
                            more, and give what they share a label of its own";
                (Some(index), "activation", what, hint)
            }
            Some(Stage::EvaluateBoxes(_)) => {
                let hint = "`evaluate` compares each label's own region";
                (cards.inputs[index].get(1).copied().flatten(), "inputs", "`evaluate_boxes`", hint)
            }
            Some(Stage::Transform(transform)) if transform.around().is_some() => {
                let hint = "`centre_mm` or `above` crop such cases";
                (Some(index), "around", "a box around a label", hint)
            }
            _ => continue,
        };
        let Some((source, [one, other])) = from.and_then(|from| crossing(cards, from)) else { continue };
        let message = format!(
            "one label for each voxel expected by {what}, `{one}` and `{other}` of `{source}` may share voxels"
        );
        let span = stage.table.key_at(field).map_or(stage.header, |key| key.span);
        found.push(Found::new(span, message).label("these labels cross").hint(hint));
    }
    found
}

/// The source of the labels that come to a stage, and the first two of them that may share voxels; none where none may.
fn crossing<'a>(cards: &'a Cards<'_>, stage: usize) -> Option<(&'a str, [String; 2])> {
    let source = source_of_labels(cards, stage)?;
    let Some(Stage::Labels(labels)) = &cards.built[source] else { return None };
    let (names, sets) = (labels.label_names(), labels.sets());
    let name = |place: usize| {
        let label = usize::from(*sets.first()?.get(place)?);
        names.get(label.checked_sub(1)?).cloned()
    };
    Some((cards.stages[source].name, [name(0)?, name(1)?]))
}
