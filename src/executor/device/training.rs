//! One training: its samples, what it minimises, and what it leaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tomoflow_connectors::{Digest, Reject};

use crate::executor::artifact::encode;
use crate::executor::boxes;
use crate::executor::crossing;
use crate::executor::ending::{misplaced, network, put};
use crate::executor::lessons;
use crate::executor::library;
use crate::executor::load::Context;
use crate::executor::observer::{Board, Watch};
use crate::executor::room::Room;
use crate::executor::sets::Sets;
use crate::executor::starting;
use crate::executor::unseen::{alone, counts_wholly, never_drawn, never_judged, too_small, unknown};
use crate::executor::work::{Action, Member};
use crate::networks::objectives::Objective;
use crate::networks::objectives::detection::Detection;
use crate::networks::objectives::regions::Regions;
use crate::networks::objectives::supervised::Supervised;
use crate::networks::{self, Data, Device, Origin, Running, Sources, Task, TrainSettings, Trained, Validate};
use crate::operators::models::train::{Learns, Operation, Part};
use crate::operators::registry::Stage;
use crate::operators::samples::things::Things;
use crate::operators::samples::view::{Input, View};
use crate::pipeline::PlannedStage;
use crate::store::Outcome;

pub(super) fn train(
    context: &Context,
    device: Device,
    action: &Action,
    members: &[Member],
    cancel: &AtomicBool,
) -> Result<Outcome, Reject> {
    let stages = &context.plan.stages;
    let Stage::Train(train) = &stages[action.stage.place()].stage else {
        return Err(misplaced());
    };
    let Learns::Network { settings, running } = &train.learns else { return library::of(context, members) };
    let (view, augmentations) = context.plan.samples(action.stage.place());
    let PlannedStage { stage: Stage::View(view), inputs, .. } = &stages[view] else {
        return Err(misplaced());
    };
    let prepared = inputs.first().copied().ok_or_else(misplaced)?;
    let changes = augmentations.into_iter().filter_map(|stage| match &stages[stage].stage {
        Stage::Augment(augment) => Some(Arc::clone(augment)),
        _ => None,
    });
    let filed = Room::of(context, action.stage.place(), members).files(&stages[action.stage.place()].name);
    let adopts = context.plan.adopting(prepared).is_some();
    let sets = Sets { context, members, filed: filed.as_ref(), adopts };
    let (training, names) = sets.of(view, Part::Train)?;
    let (names, of_sets) = crossing::labels_of(context, prepared, names);
    let undrawn: Vec<Reject> =
        never_drawn(&training, &names, &of_sets).into_iter().chain(unknown(&training, &names)).collect();
    let none_adopted =
        (adopts && lessons::drawn(members) == training.cases().len()).then(lessons::nothing_adopted);
    let changes: Vec<_> = changes.collect();
    let training = training.augmented(changes.clone());
    // Lengths in mm become voxels by the training cases alone: one network, one shape.
    let same = View { input: Input::Voxels(training.input().clone()), ..view.clone() };
    let (validation, _) = sets.of(&same, Part::Validation)?;
    let (unlabelled, _) = sets.of(&same, Part::Unlabelled)?;
    let things = settings.network.gives_boxes().then(|| boxes::kinds(context, view, prepared, &names));
    let (training, validation, small) = match &things {
        Some(things) => {
            let numbered = things.numbered(&names)?;
            let (training, validation) = (training.teaching(numbered.clone()), validation.teaching(numbered));
            let small = too_small(&training)?;
            (training, validation, small)
        }
        None => (training, validation, None),
    };
    let unjudged = match settings.validate {
        Validate::Samples => never_judged(&validation, &names, settings.seed, &of_sets)?,
        Validate::Cases => Vec::new(),
    };
    let origin = origin(context, settings, action, (members, prepared), (&names, things.as_ref()));
    let names = things.as_ref().map_or(names, Things::names);
    let task = Task { view: training.input().clone(), label_names: names, origin };
    let name = &stages[action.stage.place()].name;
    let folder = context.plan.settings.out.join("tensorboard").join(name).join(action.key.short());
    let board = running.tensorboard.then(|| Board::new(folder));
    let mut observer = Watch::new(cancel, name, settings.epochs, board);
    let Operation { checkpoint_every, readers, deterministic, .. } = *running;
    if deterministic {
        networks::set_deterministic();
    }
    let checkpoint = &*context.artifacts.checkpoint(action.key);
    // More readers than threads would only wait for each other.
    let readers = readers.clamp(1, rayon::current_num_threads());
    let running = Running { checkpoint, checkpoint_every, readers, device };
    let objective = objective(context, settings, &task, prepared)?;
    if !objective.leaves_out() {
        counts_wholly([&training, &validation])?;
    }
    let unlabelled = unlabelled.augmented(changes);
    let sources = Sources { train: &training, unlabelled: Some(&unlabelled), validation: &validation };
    let start = starting::weights(context, train, action.work.models())?;
    let trained =
        networks::train_from(start.as_ref(), &*objective, settings, &task, sources, &running, &mut observer)
            .map_err(|error| {
                filed.as_ref().and_then(|files| files.failed()).unwrap_or_else(|| network(error))
            })?;
    let unlearned =
        lessons::unlearned(settings, unlabelled.cases().len(), &trained.figures, &task.label_names);
    let told = undrawn.into_iter().chain(unjudged).chain(small).chain(alone(&trained.figures));
    let told = told.chain(none_adopted).chain(trained.loaded.as_ref().and_then(starting::partly));
    left(context, &trained, told.chain(unlearned))
}

/// What a model's card says of how it came to be.
fn origin(
    context: &Context,
    settings: &TrainSettings,
    action: &Action,
    (members, prepared): (&[Member], usize),
    (names, things): (&[String], Option<&Things>),
) -> Origin {
    let of_things = things.iter().flat_map(|things| things.0.iter().map(|kind| kind.labels.clone()));
    Origin {
        preparation: Some(context.plan.preparation(prepared)),
        data: Some(data(members)),
        channels: context.plan.channels(prepared),
        things: of_things.collect(),
        activation: settings.activation,
        regions: match settings.activation.overlaps() {
            true => by_name(names, &nested(context, prepared)),
            false => BTreeMap::new(),
        },
        start: action.work.models().first().copied(),
    }
}

/// Keeps what a training left, with what is told of it.
fn left(context: &Context, trained: &Trained, told: impl Iterator<Item = Reject>) -> Result<Outcome, Reject> {
    let figures = encode(&trained.figures)?;
    let (model, detail) = (put(context, &trained.safetensors)?, put(context, &figures)?);
    match (model, detail) {
        (Outcome::Ok { artifact, figures, notes, .. }, Outcome::Ok { artifact: detail, .. }) => {
            let notes = notes.iter().cloned().chain(told).collect();
            Ok(Outcome::Ok { artifact, detail: Some(detail), figures, notes })
        }
        _ => Err(misplaced()),
    }
}

/// Returns what a training minimises.
fn objective(
    context: &Context,
    settings: &TrainSettings,
    task: &Task,
    prepared: usize,
) -> Result<Box<dyn Objective>, Reject> {
    if settings.network.gives_boxes() {
        return Ok(Box::new(Detection::new(settings, task).map_err(network)?));
    }
    let objective = Supervised::new(settings, task, &context.plan.extensions).map_err(network)?;
    let objective = match (settings.activation.overlaps(), settings.regions) {
        (true, _) => {
            let regions = Regions::each(&nested(context, prepared), task.label_names.len());
            objective.by_regions(regions)
        }
        (false, true) => objective.by_regions(regions(context, prepared)?),
        (false, false) => objective,
    };
    lessons::objective(objective, settings, task).map_err(network)
}

/// Labels that hold others, each with these, by name.
fn by_name(names: &[String], nested: &[Vec<u16>]) -> BTreeMap<String, Vec<String>> {
    let name = |label: &u16| names.get(usize::from(*label).checked_sub(1)?).cloned();
    let held = names.iter().zip(nested).map(|(outer, within)| (outer, within.iter().filter_map(name)));
    let held = held.map(|(outer, within)| (outer.clone(), within.collect::<Vec<_>>()));
    held.filter(|(_, within)| !within.is_empty()).collect()
}

/// Returns, for each label of a stage's cases, the labels that it holds.
fn nested(context: &Context, stage: usize) -> Vec<Vec<u16>> {
    let source = context.plan.label_source(stage);
    match source.map(|source| &context.plan.stages[source].stage) {
        Some(Stage::Labels(labels)) => labels.nested(),
        _ => Vec::new(),
    }
}

/// The regions of the labels that a stage's cases have.
fn regions(context: &Context, stage: usize) -> Result<Regions, Reject> {
    let regions = Regions::new(&nested(context, stage));
    if regions.is_empty() {
        let message = "a label that holds another expected for `regions`, none found";
        let hint = "`labels = { liver = [1, 2], lesion = [2] }`, or `holds = { liver = [\"lesion\"] }` at their source";
        return Err(Reject::new("NO_REGIONS", message, hint));
    }
    Ok(regions)
}

/// Returns what a model's card says of the cases.
fn data(members: &[Member]) -> Data {
    let prepared = members.iter().filter_map(|member| Some((member, member.prepared?)));
    let parts: Vec<[Vec<u8>; 2]> = prepared
        .clone()
        .map(|(member, prepared)| [member.part.name().as_bytes().to_vec(), prepared.0.to_vec()])
        .collect();
    let count = |part: Part| prepared.clone().filter(|(member, _)| member.part == part).count();
    Data {
        digest: Digest::of_parts(parts.iter().flatten().map(Vec::as_slice)),
        train: count(Part::Train),
        validation: count(Part::Validation),
        unlabelled: count(Part::Unlabelled),
    }
}
