//! The thread of one device: it keeps models resident, applies them and trains them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::Sender;
use tomoflow_connectors::{Digest, LabelMap, Reject};

use super::artifact::encode;
use super::boxes::{self, Detectors};
use super::crossing;
use super::ending::{bit_bytes, cancelled, finish, guarded, mask_bytes, misplaced, network, put};
use super::job::{Finished, Job};
use super::lessons;
use super::library;
use super::line::{DeviceJob, JobLine};
use super::load::Context;
use super::maps::{self, MapsArtifact};
use super::model_files::unchanged;
use super::observer::{Board, Watch};
use super::room::Room;
use super::sets::Sets;
use super::slot::{Busy, Slot};
use super::starting;
use super::unseen::{alone, counts_wholly, never_drawn, never_judged, too_small, unknown};
use super::work::{Action, Member, Work};
use crate::networks::objectives::Objective;
use crate::networks::objectives::detection::Detection;
use crate::networks::objectives::regions::Regions;
use crate::networks::objectives::supervised::Supervised;
use crate::networks::{
    self, Data, Detector, Device, InferOptions, Maps, Model, Origin, Running, Segmented, Sources, Task,
    TrainSettings, Validate, Volume,
};
use crate::operators::models::infer::Infer;
use crate::operators::models::origin::{ModelFile, ModelSource};
use crate::operators::models::train::{Learns, Operation, Part};
use crate::operators::registry::Stage;
use crate::operators::samples::things::Things;
use crate::operators::samples::view::{Input, View};
use crate::operators::value::{Case, listed};
use crate::pipeline::{PlannedStage, StageId};
use crate::store::Outcome;

/// Models kept on the device at once.
const RESIDENT: usize = 2;

/// Cases that go through a network together, where as many wait.
const TOGETHER: usize = 8;

/// A model, and the stage that says how it is to be used: its view, its label names.
type Resident = (Digest, StageId);

/// Takes jobs until there are no more, or until one was given up: then another thread has its place.
pub fn run(context: &Context, device: Device, line: &JobLine, report: &Sender<Finished>, slot: &Slot) {
    let mut models = Models { context, device, resident: Vec::new(), detectors: Detectors::default() };
    // On the CPU one case's windows are work enough, and the same batches give the same bytes.
    let together = if device.is_gpu() { TOGETHER } else { 1 };
    while let Some(group) = line.next(together) {
        let (mut jobs, mut busy) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        for DeviceJob { job, case, permit, started } in group {
            let limit = context.plan.stages[job.action.stage.place()].timeout;
            busy.push(Busy { job: job.clone(), started: Instant::now(), limit, permit: Some(permit) });
            jobs.push((job, case, started));
        }
        slot.begin_together(busy);
        let (jobs, started): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|(job, case, started)| ((job, case), started)).unzip();
        let results = models.work(jobs);
        let busy = slot.end();
        if busy.is_empty() {
            return;
        }
        for ((busy, started), result) in busy.into_iter().zip(started).zip(results) {
            let action = busy.job.action.clone();
            match result {
                // The way back to the original grid needs no device: the next case may start.
                Ok(Step::Segmented(case, found, gives)) => {
                    let (context, report) = (context.clone(), report.clone());
                    rayon::spawn(move || {
                        let result = guarded(&action, || back_on_grid(&context, &case, found, &gives));
                        drop(busy);
                        finish(&report, action, result, started);
                    });
                }
                Ok(Step::Done(outcome)) => finish(report, action, Ok(outcome), started),
                Err(reject) => finish(report, action, Err(reject), started),
            }
        }
    }
}

/// The device, and what lies on it.
struct Models<'a> {
    context: &'a Context,
    device: Device,
    resident: Vec<(Resident, Model)>,
    detectors: Detectors,
}

impl Models<'_> {
    /// Does jobs that stand in the line together, and returns what comes of each, in their order.
    fn work(&mut self, jobs: Vec<(Job, Option<Case>)>) -> Vec<Result<Step, Reject>> {
        let mut results: Vec<Option<Result<Step, Reject>>> = jobs.iter().map(|_| None).collect();
        let mut cases = Vec::new();
        for (place, (job, case)) in jobs.into_iter().enumerate() {
            let action = job.action.clone();
            let result = match (&action.work, case) {
                _ if job.cancelled.load(Ordering::Relaxed) => Err(cancelled()),
                (Work::Apply { .. }, Some(case)) if boxes::gives(self.context, &action) => {
                    let load = |infer: &Infer, models: &[Digest]| {
                        load_detector(self.context, self.device, infer, models)
                    };
                    let detect = || self.detectors.detect(self.context, &action, &case, load);
                    guarded(&action, detect).map(Step::Done)
                }
                (Work::Apply { .. }, Some(case)) => {
                    cases.push((place, action, case));
                    continue;
                }
                (Work::Train { members, .. }, _) => {
                    let train = || train(self.context, self.device, &action, members, &job.cancelled);
                    guarded(&action, train).map(Step::Done)
                }
                _ => Err(misplaced()),
            };
            results[place] = Some(result);
        }
        for (place, result) in self.infer_all(cases) {
            results[place] = Some(result);
        }
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(misplaced()))).collect()
    }

    /// Segments cases together; where that fails, each alone, so that one bad case costs the others nothing.
    fn infer_all(&mut self, cases: Vec<(usize, Action, Case)>) -> Vec<(usize, Result<Step, Reject>)> {
        let Some((_, action, _)) = cases.first() else { return Vec::new() };
        let action = action.clone();
        let found = guarded(&action, || self.infer(&action, cases.iter().map(|(.., case)| case)));
        match found {
            Ok((found, gives)) => {
                let steps = cases.into_iter().zip(found);
                let step =
                    |((place, _, case), found)| (place, Ok(Step::Segmented(case, found, gives.clone())));
                steps.map(step).collect()
            }
            Err(_) if cases.len() > 1 => {
                cases.into_iter().flat_map(|case| self.infer_all(vec![case])).collect()
            }
            Err(reject) => cases.into_iter().map(|(place, ..)| (place, Err(reject.clone()))).collect(),
        }
    }

    /// Classes and maps of cases, and the labels that they are of.
    fn infer<'c>(
        &mut self,
        action: &Action,
        cases: impl Iterator<Item = &'c Case>,
    ) -> Result<(Vec<Segmented>, Gives), Reject> {
        let Stage::Infer(infer) = &self.context.plan.stages[action.stage.place()].stage else {
            return Err(misplaced());
        };
        let models = action.work.models();
        let keep = maps::wanted(&self.context.plan, action.stage.place());
        let model = self.model(infer, (ModelSource::content(models), action.stage), models)?;
        if keep.attention && !model.attends() {
            return Err(without_attention());
        }
        let options = InferOptions { keep, ..infer.options };
        let cases: Vec<&Case> = cases.collect();
        for case in &cases {
            of_these_channels(model, case)?;
        }
        let voxels: Vec<Cow<'_, [f32]>> = cases.iter().map(|case| side_by_side(case)).collect();
        let volumes: Vec<Volume<'_>> = voxels
            .iter()
            .zip(&cases)
            .map(|(voxels, case)| Volume { voxels, size: case.scan.size() })
            .collect();
        let found = model.segment_together(&volumes, &options).map_err(network)?;
        Ok((found, Gives { names: model.label_names().to_vec(), overlaps: model.activation().overlaps() }))
    }

    /// A model, loaded unless it is there.
    fn model(&mut self, infer: &Infer, wanted: Resident, models: &[Digest]) -> Result<&Model, Reject> {
        let place = match self.resident.iter().position(|(known, _)| *known == wanted) {
            Some(place) => place,
            None => {
                // Out of fold each case may want another one of the models, and a new case all of them.
                let room = match &infer.model {
                    ModelSource::Stages(names) if infer.out_of_fold => names.len() + 1,
                    _ => RESIDENT,
                };
                if self.resident.len() >= room {
                    self.resident.remove(0);
                }
                self.resident.push((wanted, load_model(self.context, self.device, infer, models)?));
                self.resident.len() - 1
            }
        };
        self.resident.get(place).map(|(_, model)| model).ok_or_else(misplaced)
    }
}

enum Step {
    Segmented(Case, Segmented, Gives),
    Done(Outcome),
}

/// The labels that a model gives.
#[derive(Clone)]
struct Gives {
    names: Vec<String>,
    /// Whether each has a bit of its own.
    overlaps: bool,
}

/// Labels that hold others, each with these, by name.
fn by_name(names: &[String], nested: &[Vec<u16>]) -> BTreeMap<String, Vec<String>> {
    let name = |label: &u16| names.get(usize::from(*label).checked_sub(1)?).cloned();
    let held = names.iter().zip(nested).map(|(outer, within)| (outer, within.iter().filter_map(name)));
    let held = held.map(|(outer, within)| (outer.clone(), within.collect::<Vec<_>>()));
    held.filter(|(_, within)| !within.is_empty()).collect()
}

/// Refuses a case of other channels than the model was trained on.
fn of_these_channels(model: &Model, case: &Case) -> Result<(), Reject> {
    let found = case.channel_names();
    match model.channel_names() {
        Some(names) if names != found => {
            let message = format!(
                "a case of the model's channels, {}, expected, one of {} found",
                listed(names),
                listed(found)
            );
            let hint = "name and order the channels of `channels` as those of the training";
            Err(Reject::new("CHANNELS_DIFFER", message, hint))
        }
        _ => Ok(()),
    }
}

/// The intensities of all channels, `[C, D, H, W]`; nothing is copied of one.
fn side_by_side(case: &Case) -> Cow<'_, [f32]> {
    match case.channel_count() {
        1 => Cow::Borrowed(case.scan.voxels()),
        _ => Cow::Owned(case.scans().flat_map(|scan| scan.voxels()).copied().collect()),
    }
}

fn back_on_grid(
    context: &Context,
    case: &Case,
    found: Segmented,
    Gives { names, overlaps }: &Gives,
) -> Result<Outcome, Reject> {
    let Segmented { classes, maps } = found;
    let labels = LabelMap::new(case.scan.geometry().clone(), classes).map_err(|error| {
        Reject::new("NETWORK", error.to_string(), "the network changed the size of its input")
    })?;
    let bytes = if *overlaps { bit_bytes(case, labels, names)? } else { mask_bytes(case, labels, names)? };
    let mut outcome = put(context, &bytes)?;
    if maps == Maps::default() {
        return Ok(outcome);
    }
    let maps = MapsArtifact::new(maps, names, case.scan.geometry(), &case.original)?;
    if let (Outcome::Ok { detail, .. }, Outcome::Ok { artifact, .. }) =
        (&mut outcome, put(context, &maps.encode()?)?)
    {
        *detail = Some(artifact);
    }
    Ok(outcome)
}

fn load_model(context: &Context, device: Device, infer: &Infer, digests: &[Digest]) -> Result<Model, Reject> {
    let extensions = &context.plan.extensions;
    let files = match &infer.model {
        ModelSource::Stages(_) => {
            let model = |&digest| {
                Model::from_safetensors_with(&context.artifact(digest)?, device, extensions).map_err(network)
            };
            let models = digests.iter().map(model).collect::<Result<Vec<_>, _>>()?;
            return Model::ensemble(models)
                .and_then(|model| model.with_thresholds(&infer.thresholds))
                .map_err(network);
        }
        ModelSource::Files(files) => files,
    };
    let contents = unchanged(files, ModelSource::content(digests))?;
    let models = files.iter().zip(&contents).map(|(file, bytes)| match file {
        ModelFile::Safetensors { .. } => Model::from_safetensors_with(bytes, device, extensions),
        ModelFile::Torchscript { path, view, classes, activation, label_names } => {
            let heads = (*classes, *activation);
            Model::from_activated(path, view.clone(), heads, label_names.clone(), device)
        }
    });
    let model = models.collect::<Result<Vec<_>, _>>().and_then(Model::ensemble);
    model.and_then(|model| model.with_thresholds(&infer.thresholds)).map_err(network)
}

fn load_detector(
    context: &Context,
    device: Device,
    infer: &Infer,
    digests: &[Digest],
) -> Result<Detector, Reject> {
    let one =
        |found: usize| Reject::new("NETWORK", format!("one detector expected, {found} models found"), "");
    match &infer.model {
        ModelSource::Stages(_) => {
            let [digest] = digests else { return Err(one(digests.len())) };
            Detector::from_safetensors(&context.artifact(*digest)?, device).map_err(network)
        }
        ModelSource::Files(files) => {
            let contents = unchanged(files, ModelSource::content(digests))?;
            let [bytes] = &contents[..] else { return Err(one(contents.len())) };
            Detector::from_safetensors(bytes, device).map_err(network)
        }
    }
}

fn train(
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
    let of_things = things.iter().flat_map(|things| things.0.iter().map(|kind| kind.labels.clone()));
    let origin = Origin {
        preparation: Some(context.plan.preparation(prepared)),
        data: Some(data(members)),
        channels: context.plan.channels(prepared),
        things: of_things.collect(),
        activation: settings.activation,
        regions: match settings.activation.overlaps() {
            true => by_name(&names, &nested(context, prepared)),
            false => BTreeMap::new(),
        },
        start: action.work.models().first().copied(),
    };
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
    let figures = encode(&trained.figures)?;
    let (model, detail) = (put(context, &trained.safetensors)?, put(context, &figures)?);
    match (model, detail) {
        (Outcome::Ok { artifact, figures, notes, .. }, Outcome::Ok { artifact: detail, .. }) => {
            let told = undrawn
                .into_iter()
                .chain(unjudged)
                .chain(small)
                .chain(alone(&trained.figures))
                .chain(none_adopted);
            let told = told.chain(trained.loaded.as_ref().and_then(starting::partly));
            let notes = notes.iter().cloned().chain(told).chain(unlearned).collect();
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

/// Returns a reject that the cache does not keep: what maps are asked for is in no key.
fn without_attention() -> Reject {
    let message = "a network with attention maps expected, one without found";
    Reject::new("NO_ATTENTION", message, "leave `attention` out of `keep`, or train with `attention`")
}
