//! Models whose labels hold others than the pipeline's labels of the same names do: their masks would be judged wrong.

use std::collections::BTreeMap;

use super::placement::upstream;
use super::prepared::{Cards, card};
use super::problem::Found;
use crate::operators::models::infer::Infer;
use crate::operators::models::origin::ModelSource;
use crate::operators::registry::Stage;

/// Labels by name, each with those that it holds.
type Regions = BTreeMap<String, Vec<String>>;

/// Reports inferences with heads for labels whose regions are not those of their cases' labels.
pub(super) fn differ(cards: &Cards<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (index, built) in cards.built.iter().enumerate() {
        let Some(Stage::Infer(infer)) = built else { continue };
        let Some(own) = of_cases(cards, index) else { continue };
        let models = of_models(cards, infer);
        let Some(message) = models.iter().find_map(|model| difference(model, &own)) else { continue };
        let span =
            cards.stages[index].table.key_at("model").map_or(cards.stages[index].header, |key| key.span);
        let hint = "declare labels as those of the training, or give those of the cases other names";
        found.push(Found::new(span, message).label("so it was trained").hint(hint));
    }
    found
}

/// The source of the labels that come to a stage, or that it gives; none of scans without.
pub(super) fn source_of_labels(cards: &Cards<'_>, stage: usize) -> Option<usize> {
    let mut from = std::iter::once(stage).chain(upstream(cards.inputs, stage));
    let label = from.find(|at| matches!(cards.built[*at], Some(Stage::Label { .. })))?;
    cards.inputs[label].get(1).copied().flatten()
}

/// The labels that cases of a stage have; none of scans without.
fn of_cases(cards: &Cards<'_>, stage: usize) -> Option<Regions> {
    let Some(Stage::Labels(labels)) = &cards.built[source_of_labels(cards, stage)?] else { return None };
    let (names, nested) = (labels.label_names(), labels.nested());
    let within = |place: usize| {
        let held = nested.get(place).into_iter().flatten();
        held.filter_map(|label| names.get(usize::from(*label).checked_sub(1)?).cloned()).collect()
    };
    Some(names.iter().enumerate().map(|(place, name)| (name.clone(), within(place))).collect())
}

/// The labels of models that have a head for each, as far as they are known before a run.
fn of_models(cards: &Cards<'_>, infer: &Infer) -> Vec<Regions> {
    let names = match &infer.model {
        ModelSource::Stages(names) => names,
        ModelSource::Files(files) => {
            // Files that cannot be read are told of elsewhere.
            let heads = files.iter().filter_map(|file| card(file).ok()?);
            let heads = heads.filter(|card| card.origin.activation.overlaps());
            return heads
                .map(|card| {
                    let held = |name: &String| card.origin.regions.get(name).cloned().unwrap_or_default();
                    card.label_names.iter().map(|name| (name.clone(), held(name))).collect()
                })
                .collect();
        }
    };
    let trained =
        cards.stages.iter().zip(cards.built).enumerate().filter_map(|(at, (stage, built))| match built {
            Some(Stage::Train(train)) if names.iter().any(|name| name == stage.name) => {
                train.network()?.activation.overlaps().then_some(at)
            }
            _ => None,
        });
    trained.filter_map(|at| of_cases(cards, at)).collect()
}

/// Those of labels that a model has, in the order of their names.
fn known<'a>(within: &'a [String], model: &Regions) -> Vec<&'a str> {
    let mut known: Vec<&str> =
        within.iter().filter(|name| model.contains_key(*name)).map(String::as_str).collect();
    known.sort_unstable();
    known
}

/// Which label holds others in a model than in the cases, of those that both have.
fn difference(model: &Regions, cases: &Regions) -> Option<String> {
    let words = |within: &[&str]| match within.is_empty() {
        true => "no other".to_owned(),
        false => format!("`{}`", within.join("`, `")),
    };
    model.iter().find_map(|(name, of_model)| {
        let (theirs, ours) = (known(of_model, model), known(cases.get(name)?, model));
        (theirs != ours).then(|| {
            format!(
                "the model's `{name}` holds {}, the label of its cases holds {}",
                words(&theirs),
                words(&ours)
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_differ_by_what_both_know() {
        let regions = |all: &[(&str, &[&str])]| -> Regions {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            all.iter().map(|(name, within)| ((*name).to_owned(), owned(within))).collect()
        };
        let model =
            regions(&[("whole", &["enhancing", "core"]), ("core", &["enhancing"]), ("enhancing", &[])]);
        assert_eq!(difference(&model, &model), None);
        // Labels that the model does not have make no difference, nor do models of other labels.
        let more = regions(&[("core", &["enhancing", "cyst"]), ("cyst", &[])]);
        assert_eq!(difference(&model, &more), None);
        let other = regions(&[("core", &[]), ("enhancing", &[])]);
        let message = difference(&model, &other).unwrap();
        assert_eq!(message, "the model's `core` holds `enhancing`, the label of its cases holds no other");
    }
}
