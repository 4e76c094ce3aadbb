//! Networks that give boxes stand where boxes are asked for, and are shown what these are made of.

use super::declare::Declaration;
use super::problem::Found;
use super::wiring::Wiring;
use crate::networks::{InputView, LossConfig, TrainSettings};
use crate::operators::registry::Stage;
use crate::operators::samples::view::{Input, View};

/// Reports inferences whose network gives something else, and trainings whose samples do not teach what they are to learn.
pub(super) fn found_where_asked(
    declaration: &Declaration,
    wiring: &Wiring,
    built: &[Option<Stage>],
    found: &mut Vec<Found>,
) {
    for (index, stage) in declaration.stages.iter().enumerate() {
        let span = |field: &str| stage.table.key_at(field).map_or(stage.header, |key| key.span);
        match &built[index] {
            Some(Stage::Infer(infer)) => {
                let wanted = infer.boxes.is_some();
                let Some(model) = given_otherwise(wiring, built, index, wanted) else { continue };
                let name = declaration.stages[model].name;
                let (message, hint) = match wanted {
                    true => (format!("`{name}` gives a class for each voxel, and no boxes"), "use `infer`"),
                    false => (format!("`{name}` gives boxes, and no class for each voxel"), "use `detect`"),
                };
                found.push(Found::new(span("model"), message).hint(hint));
            }
            Some(Stage::EvaluateBoxes(evaluate)) if evaluate.counts_all() => {
                let Some(Some(Stage::Infer(infer))) =
                    wiring.inputs[index].first().copied().flatten().map(|boxes| &built[boxes])
                else {
                    continue;
                };
                if infer.marked {
                    let message = "`slices = \"marked\"` expected, as the boxes are of marked slices alone; all would count";
                    found.push(Found::new(span("slices"), message).hint("`slices = \"marked\"`"));
                }
            }
            Some(Stage::Paint(_)) => {
                let Some(model) = without_masks(wiring, built, index) else { continue };
                let name = declaration.stages[model].name;
                let message = format!("boxes with masks expected, `{name}` is trained to give boxes alone");
                found.push(Found::new(stage.header, message).hint("`masks = true` in its `network`"));
            }
            Some(Stage::Train(train)) => {
                let Some(view) = view(wiring, built, index) else { continue };
                let Some(settings) = train.network() else { continue };
                let wrong = match settings.network.gives_boxes() {
                    true => of_a_detector(settings, view),
                    false => of_classes(settings, view),
                };
                let told = |(field, message, hint): Wrong| Found::new(span(field), message).hint(hint);
                found.extend(wrong.into_iter().map(told));
            }
            _ => {}
        }
    }
}

/// What is wrong with a training: a field, a message and a remedy.
type Wrong = (&'static str, String, &'static str);

/// The model of an inference that gives something else than is wanted.
fn given_otherwise(wiring: &Wiring, built: &[Option<Stage>], infer: usize, wanted: bool) -> Option<usize> {
    let gives = |model: &usize| match &built[*model] {
        Some(Stage::Train(train)) => Some(train.gives_boxes()),
        _ => None,
    };
    let mut models = wiring.references[infer].iter().flatten();
    models.find(|model| gives(model).is_some_and(|gives| gives != wanted)).copied()
}

/// What the training of a class for each voxel asks for, and its samples cannot have.
fn of_classes(settings: &TrainSettings, view: &View) -> Vec<Wrong> {
    let on_slices = not_on_slices(settings, view);
    let mut wrong: Vec<Wrong> =
        on_slices.map(|(field, message, hint)| (field, message.to_owned(), hint)).into_iter().collect();
    if view.things.is_some() {
        let message = "the network gives a class for each voxel: `instances` of its samples has no say";
        let hint = "leave `instances` out, or take `type = \"rcnn\"`";
        wrong.push(("network", message.to_owned(), hint));
    }
    wrong
}

/// What the training of boxes asks for, and cannot have.
fn of_a_detector(settings: &TrainSettings, view: &View) -> Vec<Wrong> {
    let mut wrong: Vec<Wrong> = Vec::new();
    let mut add = |field, message: &str, hint| wrong.push((field, message.to_owned(), hint));
    let shown = match &view.input {
        Input::Voxels(shown @ (InputView::Stack { .. } | InputView::Bag { .. })) => Some(shown),
        _ => None,
    };
    if shown.is_none() {
        let message = "`rcnn` looks at slices: samples of `stack` or `bag` expected, patches found";
        add("network", message, "`type = \"stack\"` in place of `patches`");
    }
    if let Some(Err(error)) = shown.map(|shown| settings.network.resolve_for(shown, 2)) {
        let hint = "a `bag` of `stacks` has images around the one to look at";
        add("network", &error.to_string(), hint);
    }
    if !matches!(settings.loss, LossConfig::Dice(_)) {
        add("loss", "`rcnn` has losses of its own: `loss` has no say", "leave it out");
    }
    if settings.regions {
        let message = "`regions` is for a class of each voxel, `rcnn` gives boxes";
        add("regions", message, "`instances` of the samples says what holds what");
    }
    if settings.validate == crate::networks::Validate::Cases {
        add("validate", "`rcnn` is judged by samples alone", "leave `validate` out");
    }
    if settings.precision != crate::networks::Precision::Float32 {
        add("precision", "`rcnn` is trained with \"float32\" alone", "leave it out");
    }
    if settings.strategy.is_some() {
        let message = "`rcnn` is trained by the boxes of labelled cases alone: `strategy` has no say";
        add("strategy", message, "leave it out");
    }
    if settings.sample_attention > 0.0 {
        let message = "`rcnn` has losses of its own: `sample_attention` has no say";
        add("sample_attention", message, "leave it out");
    }
    wrong
}

/// The training behind boxes that are painted, where its network gives no masks.
fn without_masks(wiring: &Wiring, built: &[Option<Stage>], paint: usize) -> Option<usize> {
    let boxes = (*wiring.inputs[paint].first()?)?;
    let models = wiring.references[boxes].iter().flatten();
    models.copied().find(|model| match &built[*model] {
        Some(Stage::Train(train)) => train.network().is_none_or(|settings| !settings.network.gives_masks()),
        _ => false,
    })
}

/// What a training of a class for each voxel asks for that its samples cannot have, known before any case is prepared: a
/// field, what is wrong, and a remedy.
fn not_on_slices(
    settings: &TrainSettings,
    view: &View,
) -> Option<(&'static str, &'static str, &'static str)> {
    let slices = matches!(view.input, Input::Voxels(InputView::Stack { .. } | InputView::Bag { .. }));
    (settings.strategy.is_some() && slices).then_some((
        "strategy",
        "windows of one size (`patches`) expected beside `strategy`, slices found",
        "`type = \"patches\"` in place of `stack` or `bag`",
    ))
}

/// The view behind a training's samples.
fn view<'a>(wiring: &Wiring, built: &'a [Option<Stage>], train: usize) -> Option<&'a View> {
    let mut at = train;
    // No path is longer than there are stages, even in a file with a circle.
    for _ in 0..built.len() {
        at = (*wiring.inputs[at].first()?)?;
        if let Some(Stage::View(view)) = &built[at] {
            return Some(view);
        }
    }
    None
}
