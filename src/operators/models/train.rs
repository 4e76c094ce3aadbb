//! Samples to a model.

mod fields;
mod networks;
mod split;
mod start;
mod strategy;
#[cfg(test)]
mod tests;
mod training;

use serde::Deserialize;

use crate::networks::architectures::config::Variant;
use crate::networks::{NetworkConfig, TrainSettings};
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{Aspects, Config, FieldProblem, Kind, Output, Port, Section, Spec, is_default};
use fields::FIELDS;
pub(super) use fields::{RETRAIN_FIELD, SPLIT_FIELD};
pub use split::{Assigned, FoldIs, Named, Part, Share, Split, Stratify, Subject};
pub use start::Begin;
pub(in crate::operators) use training::NAME;
pub use training::{Enough, Learns, Operation, PartlyLabelled, Retrain, Train};

/// The declaration of the stage type.
pub static SPEC: Spec = Spec {
    name: NAME,
    section: Section::Operators,
    summary: "Trains a network on samples.",
    doc: "The network is trained by gradient steps on `loss`; the order of samples is a permutation that \
          depends on seed and epoch. The model has the weights of the epoch with the best foreground Dice \
          over all validation samples together (true and false positives and negatives are summed, and \
          divided once); of equal epochs the latest counts. An interrupted training goes on from its last \
          checkpoint, on the CPU with the same result bit for bit. A loss or a gradient that is not finite \
          ends the training, with an error that names the samples.\n\n\
          These settings train as nnU-Net does: `optimizer = { type = \"sgd\", momentum = 0.99, nesterov = \
          true }`, `learning_rate = 0.01`, `weight_decay = 3e-5`, `schedule = { type = \"polynomial\" }` \
          (nnU-Net counts epochs, `polynomial` counts steps), `clip_norm = 12.0`, `weights = \"last\"`.",
    version: 1,
    inputs: &[Port { name: "samples", accepts: &[Kind::Samples], many: false }],
    output: Output::Is(Kind::Model),
    aspects: Aspects::Both,
    fields: FIELDS,
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

#[derive(Deserialize)]
struct Declared {
    #[serde(flatten)]
    settings: Box<TrainSettings>,
    #[serde(flatten)]
    running: Operation,
    split: Split,
    retrain: Retrain,
    #[serde(default)]
    start: Option<start::Declared>,
    #[serde(default)]
    partly_labelled: PartlyLabelled,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let Declared { settings, running, split, retrain, start, partly_labelled } =
        crate::operators::read_config(config)?;
    let (split, mut problems) = match split.checked() {
        Ok(split) => (Some(split), Vec::new()),
        Err(problems) => (None, problems),
    };
    if let Err(error) = settings.network.resolve(1, 2) {
        problems.push(FieldProblem::new(
            "network",
            error.to_string(),
            "see `levels`, `channels` and `variant`",
        ));
    }
    problems.extend(schedule_problem(&settings, config));
    problems.extend(length_problem(&settings, config));
    let asks = settings.strategy.is_some_and(|strategy| strategy.asks_for_unlabelled());
    problems.extend(retrain_problem(asks, retrain));
    if let Some((field, message, hint)) = settings.strategy.and_then(|strategy| strategy.problem()) {
        problems.push(FieldProblem::new(&format!("strategy.{field}"), message, hint));
    }
    problems.extend(features_problem(&settings));
    problems.extend(split.as_ref().and_then(|split| waiting_problem(&settings, split)));
    problems.extend(activation_problem(&settings));
    if start.is_none() && !settings.freeze.is_empty() {
        let message = "weights to begin with expected, which stay as they are, none found";
        problems.push(FieldProblem::new("freeze", message, "see `start`"));
    }
    let start = start.map(start::begin).transpose().unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    match split {
        Some(split) if problems.is_empty() => {
            let learns = Learns::Network { settings, running };
            Ok(Stage::Train(Train { learns, split, retrain, start, partly_labelled }))
        }
        _ => Err(problems),
    }
}

/// Refuses falls at no step, and `halve_every` beside a schedule that does not halve: somebody expects it to.
fn schedule_problem(settings: &TrainSettings, config: &Config) -> Option<FieldProblem> {
    if settings.schedule.names_no_step() {
        let message = "at least one step expected at which the learning rate falls, none found";
        let hint = "at = [60000, 80000], or shares of all steps: at = [0.67, 0.92]";
        return Some(FieldProblem::new("schedule.at", message, hint));
    }
    if settings.schedule.halves() || settings.halve_every == 0 || !given("halve_every", config) {
        return None;
    }
    let message = "`halve_every` has no effect in this schedule";
    let hint = "leave it out, or take `schedule = { type = \"halve\" }`";
    Some(FieldProblem::new("halve_every", message, hint))
}

/// Heads of their own beside what knows classes alone.
fn activation_problem(settings: &TrainSettings) -> Option<FieldProblem> {
    let heads = settings.activation.overlaps();
    let message = match (settings.class_weights.is_empty(), settings.network.gives_boxes()) {
        (false, true) => {
            let message = "classes of voxels expected beside `class_weights`, a network of boxes found";
            return Some(FieldProblem::new("class_weights", message, "leave it out"));
        }
        (_, true) if heads => "a network of boxes has no head for each label",
        _ if heads && settings.regions => {
            "`regions` sums up classes, and heads of their own are regions already"
        }
        _ if heads && settings.strategy.is_some() => {
            "this strategy learns from classes that exclude each other"
        }
        _ if heads && settings.sample_attention > 0.0 => "`sample_attention` knows classes alone",
        _ => return None,
    };
    Some(FieldProblem::new("activation", message, "let `activation` be \"softmax\", or leave the other out"))
}

/// Voxels that nobody drew, which begin to count by a validation that there is not: none of them ever would.
fn waiting_problem(settings: &TrainSettings, split: &Split) -> Option<FieldProblem> {
    let waits = settings.strategy.is_some_and(|strategy| strategy.waits_for_validation());
    if !waits || split.may_validate() {
        return None;
    }
    let message =
        "cases to validate on expected, by which unlabelled voxels begin to count; the split has none";
    let hint = "let `split` have `validation`; without it `least_dice = 0`, `least_label_dice = 0` and a number as `gamma`";
    Some(FieldProblem::new("strategy", message, hint))
}

/// A strategy that learns from features, of a network that does not tell them.
fn features_problem(settings: &TrainSettings) -> Option<FieldProblem> {
    let strategy = settings.strategy?;
    let variant = match settings.network.resolve(1, 2) {
        Ok(NetworkConfig::Unet(config)) => Some(config.variant),
        Ok(_) => None,
        // A configuration that cannot be resolved is refused for itself.
        Err(_) => return None,
    };
    let told = matches!(variant, Some(Variant::Vnet | Variant::Residual));
    let message = match () {
        () if strategy.asks_for_features() && !told => {
            "a network of `variant` \"vnet\" or \"residual\" expected beside `embedding`, another one found"
        }
        () if strategy.drops_channels() && variant != Some(Variant::Vnet) => {
            "a network of `variant` \"vnet\" expected beside `unimatch`, another one found"
        }
        () => return None,
    };
    Some(FieldProblem::new("strategy", message, "e.g. `variant = \"vnet\"`"))
}

/// Whether a field has another value than when it is left out.
fn given(name: &str, config: &Config) -> bool {
    let fields = FIELDS.iter().filter(|field| field.name == name);
    fields.into_iter().any(|field| config.get(name).is_some_and(|value| !is_default(field, value)))
}

/// Refuses `epochs` beside `steps`: one of them would have no say.
fn length_problem(settings: &TrainSettings, config: &Config) -> Option<FieldProblem> {
    if settings.steps.is_none() || !given("epochs", config) {
        return None;
    }
    let message = "one of `epochs` and `steps` expected, both found";
    Some(FieldProblem::new("steps", message, "leave one of them out"))
}

/// A policy that says nothing, or that waits for cases which take no part.
pub(super) fn retrain_problem(asks: bool, retrain: Retrain) -> Option<FieldProblem> {
    let Retrain::At(enough) = retrain else { return None };
    match enough {
        Enough { new_cases: None, new_unlabelled: None } => {
            let message = "one of `new_cases` and `new_unlabelled` expected, neither found";
            Some(FieldProblem::new("retrain", message, "e.g. { new_cases = 20 }"))
        }
        Enough { new_unlabelled: Some(_), .. } if !asks => {
            let message = "a training that learns from cases without labels expected, this one does not";
            Some(FieldProblem::new("retrain.new_unlabelled", message, "see `strategy`, or `new_cases`"))
        }
        _ => None,
    }
}
