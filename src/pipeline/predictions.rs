//! Where predictions may stand: probabilities come of inferences that keep them, and no prediction is taken for a truth.

use super::declare::Declared;
use super::placement::upstream;
use super::problem::Found;
use crate::operators::registry::Stage;

/// Reports stages that read probabilities which nobody keeps.
pub(super) fn probabilities_kept(
    stages: &[Declared],
    inputs: &[Vec<Option<usize>>],
    built: &[Option<Stage>],
    found: &mut Vec<Found>,
) {
    for (index, stage) in stages.iter().enumerate() {
        let (Some(Stage::Crf(_)), Some(Some(from))) = (&built[index], inputs[index].first()) else {
            continue;
        };
        let name = stages[*from].name;
        let span = stage.table.key_at("inputs").map_or(stage.header, |key| key.span);
        match &built[*from] {
            Some(Stage::Infer(infer)) if infer.boxes.is_none() && infer.options.keep.probabilities => {}
            Some(Stage::Infer(infer)) if infer.boxes.is_none() => {
                let message =
                    format!("`{}` reads the probabilities of `{name}`, which keeps none", stage.name);
                let hint = format!("give `{name}` `keep = [\"probabilities\"]`");
                found.push(Found::new(span, message).hint(hint));
            }
            Some(_) => {
                let message = format!("`{}` reads probabilities, and `{name}` gives masks alone", stage.name);
                found.push(
                    Found::new(span, message).hint("name an `infer` with `keep = [\"probabilities\"]`"),
                );
            }
            None => {}
        }
    }
}

/// Reports masks in the place of labels where something would take them for a truth, and where they have that place already.
pub(super) fn no_truth(
    stages: &[Declared],
    inputs: &[Vec<Option<usize>>],
    built: &[Option<Stage>],
    found: &mut Vec<Found>,
) {
    for (index, stage) in stages.iter().enumerate() {
        let (input, again) = match &built[index] {
            Some(Stage::Evaluate(_) | Stage::EvaluateBoxes(_)) => (1, false),
            Some(Stage::LabelsAsMasks) => (0, false),
            Some(Stage::Adopt) => (0, true),
            _ => continue,
        };
        let Some(Some(cases)) = inputs[index].get(input) else { continue };
        let mut all = std::iter::once(*cases).chain(upstream(inputs, *cases));
        let Some(adopt) = all.find(|at| matches!(built[*at], Some(Stage::Adopt))) else { continue };
        let name = stages[adopt].name;
        let message = match again {
            true => format!("`{name}` has put masks in the place of labels already"),
            false => format!("`{name}` puts masks in the place of labels: they are no truth"),
        };
        let span = stage.table.key_at("inputs").map_or(stage.header, |key| key.span);
        found.push(Found::new(span, message).hint(format!("name the cases that `{name}` takes")));
    }
}
