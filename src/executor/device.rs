//! The thread of one device: it keeps models resident, applies them and trains them.

mod loading;
mod training;

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::Sender;
use tomoflow_connectors::{Digest, LabelMap, Reject};

use self::loading::{load_detector, load_model};
use self::training::train;
use super::boxes::{self, Detectors};
use super::ending::{bit_bytes, cancelled, finish, guarded, mask_bytes, misplaced, network, put};
use super::job::{Finished, Job};
use super::line::{DeviceJob, JobLine};
use super::load::Context;
use super::maps::{self, MapsArtifact};
use super::slot::{Busy, Slot};
use super::work::{Action, Work};
use crate::networks::{Device, InferOptions, Maps, Model, Segmented, Volume};
use crate::operators::models::infer::Infer;
use crate::operators::models::origin::ModelSource;
use crate::operators::registry::Stage;
use crate::operators::value::{Case, listed};
use crate::pipeline::StageId;
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

/// Returns a reject that the cache does not keep: what maps are asked for is in no key.
fn without_attention() -> Reject {
    let message = "a network with attention maps expected, one without found";
    Reject::new("NO_ATTENTION", message, "leave `attention` out of `keep`, or train with `attention`")
}
