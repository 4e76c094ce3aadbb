//! What a run would do, and why: `tomoflow plan`. Works on a copy of what the store knows; writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::differences::{Difference, differences};
use super::ledger;
use super::outlook::Outlook;
use crate::engine::driver::Driver;
use crate::engine::error::RunError;
use crate::engine::options::Options;
use crate::engine::rows::Desired;
use crate::engine::session::losses::Losses;
use crate::executor::work::Action;
use crate::operators::registry::Stage;
use crate::pipeline::{Plan, StageId};
use crate::store::Store;

/// What one stage would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StageForecast {
    /// The stage's place in the plan.
    #[serde(skip)]
    pub order: usize,
    /// Actions that would run.
    pub run: usize,
    /// Actions that may follow from those of stages before, unless their output stays the same.
    pub may_follow: usize,
    /// Actions that are done.
    pub unchanged: usize,
    /// Actions that failed, and would not be tried again: `tomoflow retry` does.
    pub failed: usize,
    /// The reasons why they would run, with how many for each reason.
    pub reasons: BTreeMap<String, usize>,
    /// Seconds of one action, as past runs took on average.
    pub seconds_each: Option<f64>,
}

/// What a run would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Forecast {
    /// Series that were accepted.
    pub cases: usize,
    /// Files that would be read, since they are new or have changed.
    pub files_read: usize,
    /// The forecasts, by stage.
    pub stages: BTreeMap<String, StageForecast>,
    /// The time that it would take in seconds, as far as past runs tell, with what may follow.
    pub seconds: f64,
    /// Stages that no past run has a time for.
    pub unknown: BTreeSet<String>,
    /// What becomes of models that are kept: how many labelled cases are newer, and when they are trained anew.
    pub models: Vec<String>,
    /// What a user should know of a stage: what its rule over the archive is settled on, or has drifted from.
    pub notes: Vec<String>,
    /// What sources ask for and is not there, what `where` leaves out, and labels that belong to no scan.
    pub unmatched: Vec<String>,
    /// What was left out below the sources, could not be read, or counts although it is gone.
    pub told: Vec<String>,
    /// Cases that are refused, or that failed before, by code.
    pub rejects: BTreeMap<String, usize>,
    /// What is told of cases that are not refused, by code.
    pub remarked: BTreeMap<String, usize>,
}

/// Says what a run would do.
///
/// # Errors
/// When a source cannot be read.
pub fn forecast(plan: Plan, options: &Options) -> Result<Forecast, RunError> {
    let Outlook { plan, store, driver, files_read, notes, unmatched, told, .. } = Outlook::of(plan, options)?;
    let known: BTreeSet<String> = store.histories()?.into_iter().filter_map(|(_, case, _)| case).collect();
    let mut forecast = Forecast { files_read, notes, unmatched, told, ..Forecast::default() };
    let foresee = Foresee { plan: &plan, store: &store, driver: &driver, known };
    foresee.stages(&mut forecast)?;
    let kept = driver.kept();
    forecast.models =
        kept.iter().filter(|kept| kept.stale() || kept.waits()).map(ToString::to_string).collect();
    foresee.times(&mut forecast, options.pool_threads())?;
    let lost = Losses::of(&plan, &driver);
    (forecast.rejects, forecast.remarked) = (lost.rejects, lost.remarked);
    forecast.notes.extend(lost.failed.into_iter().chain(lost.told));
    Ok(forecast)
}

struct Foresee<'a> {
    plan: &'a Plan,
    store: &'a Store,
    driver: &'a Driver,
    /// Cases that any stage has worked on.
    known: BTreeSet<String>,
}

/// The cases of each stage on which something would run.
type Pending = BTreeMap<usize, BTreeSet<Arc<str>>>;

/// What is known of cases and of models.
struct Counted {
    cases: BTreeSet<Arc<str>>,
    labelled: BTreeSet<Arc<str>>,
    /// Trainings whose model is kept and used.
    held: BTreeSet<usize>,
}

impl Foresee<'_> {
    fn stages(&self, forecast: &mut Forecast) -> Result<(), RunError> {
        for (name, count) in self.driver.stages() {
            let stage = forecast.stages.entry(name).or_default();
            (stage.order, stage.unchanged, stage.failed) = (count.order, count.cached, count.failed);
        }
        let mut pending = Pending::new();
        for action in self.driver.pending() {
            let stage = forecast.stages.entry(self.name(action)).or_default();
            stage.order = self.driver.shown(action).place();
            stage.run += 1;
            for reason in self.reasons(action)? {
                *stage.reasons.entry(reason).or_default() += 1;
            }
            let case = action.work.series().map_or_else(Arc::default, |series| series.key.clone());
            pending.entry(action.stage.place()).or_default().insert(case);
        }
        let (mut cases, mut labelled) = (BTreeSet::new(), BTreeSet::new());
        let mut counted = BTreeSet::new();
        for row in self.driver.desired().keys() {
            let Desired::Case(case) = &**row else { continue };
            cases.insert(case.series.key.clone());
            counted.insert(case.series.counted_as());
            if case.labels.is_some() {
                labelled.insert(case.series.key.clone());
            }
        }
        forecast.cases = counted.len();
        let known = Counted { cases, labelled, held: self.driver.holds().map(StageId::place).collect() };
        for (index, stage) in self.plan.stages.iter().enumerate() {
            let Some((mut follow, from)) = self.follows(index, &pending, &known) else { continue };
            let own = pending.entry(index).or_default();
            follow.retain(|case| !own.contains(case));
            own.extend(follow.iter().cloned());
            if own.is_empty() {
                pending.remove(&index);
            }
            if follow.is_empty() {
                continue;
            }
            let reason = match from {
                Some(from) => format!("after {}", self.plan.stages[from].name),
                None => "once its cases are prepared".to_owned(),
            };
            let entry = forecast.stages.entry(stage.name.clone()).or_default();
            entry.order = index;
            entry.may_follow += follow.len();
            *entry.reasons.entry(reason).or_default() += follow.len();
        }
        Ok(())
    }

    /// The cases on which a stage may follow those before it, and the stage that it follows; `None` for a stage that
    /// follows none.
    fn follows(
        &self,
        index: usize,
        pending: &Pending,
        known: &Counted,
    ) -> Option<(BTreeSet<Arc<str>>, Option<usize>)> {
        let stage = &self.plan.stages[index];
        let after =
            |input: Option<&usize>| input.and_then(|input| pending.get(input)).cloned().unwrap_or_default();
        let (follow, from) = match &stage.stage {
            Stage::Mask(_) | Stage::Paint(_) | Stage::Crf(_) => {
                (after(stage.inputs.first()), stage.inputs.first())
            }
            Stage::Combine(_) => {
                let follows = |input: &&usize| !after(Some(input)).is_empty();
                let cases = stage.inputs.iter().flat_map(|input| after(Some(input))).collect();
                (cases, stage.inputs.iter().find(follows))
            }
            Stage::Evaluate(_) | Stage::EvaluateBoxes(_) => {
                let masks = after(stage.inputs.first());
                (masks.intersection(&known.labelled).cloned().collect(), stage.inputs.first())
            }
            Stage::Infer(_) | Stage::Fuse(_) => {
                let trains = stage.references.values().flatten().find(|model| pending.contains_key(model));
                (if trains.is_some() { known.cases.clone() } else { BTreeSet::new() }, trains)
            }
            // The training itself, once its cases are prepared.
            Stage::Train(_) => {
                let prepares = after(Some(&index)).iter().any(|case| !case.is_empty());
                // A training waits, too, for the model that it begins with, or for the masks that it
                // learns from.
                let start = self.plan.start(index);
                let start =
                    start.and_then(|start| stage.references.values().flatten().find(|at| **at == start));
                let adopt = self.plan.adopting(self.plan.samples(index).0);
                let masks = adopt.and_then(|adopt| self.plan.stages[adopt].inputs.get(1));
                let masks = masks.filter(|_| !known.held.contains(&index));
                let mut before = [start, masks].into_iter().flatten();
                let from = before.find(|at| pending.contains_key(at)).filter(|_| !prepares);
                let follows = prepares || from.is_some();
                (if follows { BTreeSet::from([Arc::default()]) } else { BTreeSet::new() }, from)
            }
            _ => return None,
        };
        Some((follow, from.copied()))
    }

    fn name(&self, action: &Action) -> String {
        self.plan.stages[self.driver.shown(action).place()].name.clone()
    }

    /// Returns why an action would run: what changed since what stood there last.
    fn reasons(&self, action: &Action) -> Result<BTreeSet<String>, RunError> {
        let stage = &self.plan.stages[action.stage.place()].name;
        let case = action.work.series().map(|series| &*series.key);
        let one = |reason: &str| Ok(BTreeSet::from([reason.to_owned()]));
        // An action that is wanted once more is done only for what `keep` asks for.
        if !action.work.models().is_empty()
            && let Some(Some(_)) = self.store.outcomes(&[action.key])?.pop()
        {
            return one("maps to keep");
        }
        if self.store.made(action.key)?.is_some() {
            return one("done before, its output is gone or was forgotten");
        }
        let last = match self.store.history(stage, case)?.last() {
            Some(last) => self.store.made(last.key)?,
            None => None,
        };
        let Some(before) = last else {
            let judges = !action.work.artifacts().is_empty() && action.work.labels().is_some();
            return match case {
                None => one("new model"),
                Some(case) if !self.known.contains(case) => one("new scan"),
                _ if judges => one("new label"),
                _ => one("new stage"),
            };
        };
        let (now, parts) = ledger::enters(self.plan, action);
        let found = differences(self.store, &before, &now, &parts)?;
        if found.is_empty() {
            return one("not done yet");
        }
        let models = self.plan.stages[action.stage.place()].named();
        let models: Vec<&str> = models.map(|model| self.plan.stages[model].name.as_str()).collect();
        let reason = |difference: &Difference| match (difference, models.as_slice()) {
            (Difference::Model { .. }, [model]) => format!("model {model} changed"),
            (Difference::Model { .. }, [_, ..]) => format!("a model of {} changed", models.join(", ")),
            _ => difference.reason(),
        };
        Ok(found.iter().map(reason).collect())
    }

    fn times(&self, forecast: &mut Forecast, threads: usize) -> Result<(), RunError> {
        let mut past: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (_, made) in self.store.all_made()? {
            // Preparing is counted under the training's stage, as a case's work; training is not.
            let name = match (&made.case, made.dataset) {
                (Some(_), _) | (None, None) => made.stage,
                (None, Some(_)) => format!("{}\0training", made.stage),
            };
            let (sum, count) = past.entry(name).or_default();
            *sum += made.milliseconds;
            *count += 1;
        }
        let (mut on_cpu, mut on_device) = (0.0, 0.0);
        for (name, stage) in &mut forecast.stages {
            let planned = &self.plan.stages[stage.order];
            let trains = matches!(planned.stage, Stage::Train(_));
            // A view stands for the cases that a training prepares.
            let user = self.plan.stages.iter().enumerate().find(|(index, user)| {
                matches!(user.stage, Stage::Train(_)) && self.plan.samples(*index).0 == stage.order
            });
            let key = match user {
                Some((_, user)) if matches!(planned.stage, Stage::View(_)) => user.name.clone(),
                _ if trains => format!("{name}\0training"),
                _ => name.clone(),
            };
            let count = (stage.run + stage.may_follow) as f64;
            stage.seconds_each = past.get(&key).map(|(sum, count)| *sum as f64 / 1e3 / *count as f64);
            match stage.seconds_each {
                Some(each) if trains || matches!(planned.stage, Stage::Infer(_)) => on_device += each * count,
                Some(each) => on_cpu += each * count,
                None if count > 0.0 => drop(forecast.unknown.insert(name.clone())),
                None => {}
            }
        }
        forecast.seconds = on_device + on_cpu / threads as f64;
        Ok(())
    }
}

/// Writes `3 labels changed`; a setting or a model is one thing, however many outputs it touches.
fn counted(reason: &str, count: usize) -> String {
    let nouns =
        [("new scan", "new scans"), ("new label", "new labels"), ("scan ", "scans "), ("label ", "labels ")];
    match nouns.iter().find(|(one, _)| reason.starts_with(one)) {
        Some((one, many)) if count != 1 => format!("{count} {}", reason.replacen(one, many, 1)),
        Some(_) => format!("1 {reason}"),
        None => reason.to_owned(),
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run: usize = self.stages.values().map(|stage| stage.run).sum();
        let cases = if self.cases == 1 { "case" } else { "cases" };
        if run == 0 {
            writeln!(f, "{} {cases}: nothing to do", self.cases)?;
        } else {
            writeln!(f, "{} {cases}, {} files to read, {run} actions to run", self.cases, self.files_read)?;
        }
        let mut stages: Vec<_> = self.stages.iter().collect();
        stages.sort_by_key(|(_, stage)| stage.order);
        for (name, stage) in stages {
            write!(f, "  {name}: {} to run", stage.run)?;
            if stage.may_follow > 0 {
                write!(f, ", up to {} to follow", stage.may_follow)?;
            }
            write!(f, ", {} unchanged", stage.unchanged)?;
            if stage.failed > 0 {
                write!(f, ", {} failed before (`tomoflow retry` tries them again)", stage.failed)?;
            }
            let reasons: Vec<String> =
                stage.reasons.iter().map(|(reason, count)| counted(reason, *count)).collect();
            if !reasons.is_empty() {
                write!(f, " ({})", reasons.join(", "))?;
            }
            writeln!(f)?;
        }
        for (code, count) in &self.rejects {
            writeln!(f, "  rejected {code}: {count}")?;
        }
        for (code, count) in &self.remarked {
            writeln!(f, "  told {code}: {count} (nothing is refused)")?;
        }
        for model in &self.models {
            writeln!(f, "  {model}")?;
        }
        for note in self.unmatched.iter().chain(&self.notes).chain(&self.told) {
            writeln!(f, "  {note}")?;
        }
        if run == 0 {
            return Ok(());
        }
        let about = std::time::Duration::from_secs(self.seconds.ceil() as u64);
        match self.unknown.len() {
            0 => writeln!(f, "time: about {}, as past runs took", humantime::format_duration(about)),
            _ => {
                let unknown: Vec<&str> = self.unknown.iter().map(String::as_str).collect();
                let unknown = unknown.join(", ");
                writeln!(
                    f,
                    "time: {} and more; no past run tells of {unknown}",
                    humantime::format_duration(about)
                )
            }
        }
    }
}
