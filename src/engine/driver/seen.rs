//! What others see of the driver: rows, counts, what waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tomoflow_connectors::Digest;

use super::super::rows::{Desired, DesiredRows};
use super::kept::Kept;
use super::{Driver, Origin};
use crate::engine::cluster::Crew;
use crate::engine::dataflow::is_judged_anyhow;
use crate::engine::session::summary::StageCount;
use crate::engine::status::{GoneWorkers, WorkerStatus};
use crate::executor::work::{Action, BoundCase, Member};
use crate::operators::models::train::{Enough, Part, Retrain, Split, Train};
use crate::operators::registry::Stage;
use crate::pipeline::StageId;
use crate::store::{Outcome, Pin};

impl Driver {
    /// Returns what tables must hold.
    pub fn desired(&self) -> &DesiredRows {
        &self.desired
    }

    /// Returns what cases came to for rules over intensities: stages and artifacts, with how many cases came
    /// to each.
    pub fn measured(&self) -> &BTreeMap<(StageId, Digest), isize> {
        &self.measured
    }

    /// Whether cases are still to be measured.
    pub fn measures(&self) -> bool {
        self.pending().any(|action| action.work.measures())
    }

    /// Counts what another one did before as done here, of the same run.
    pub fn follow(&mut self, before: &Self) {
        self.ran = before.ran.clone();
        self.origin = before.origin.clone();
        self.origin.retain(|_, origin| *origin == Origin::Run);
        self.touched = before.touched.clone();
        (self.run, self.trained) = (before.run, before.trained);
    }

    /// Rows that came or went since this was last asked.
    pub fn changed(&mut self) -> BTreeSet<Arc<Desired>> {
        std::mem::take(&mut self.changed)
    }

    /// Whether rows came or went since that was last asked.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Actions that are wanted and not done, each under every stage that asks for it.
    pub fn pending(&self) -> impl Iterator<Item = &Action> {
        let undone = self.wanted.iter().filter(|(key, _)| !self.fed.contains_key(*key));
        undone.flat_map(|(_, asked)| asked.actions())
    }

    /// Bytes that actions hold now, and bytes of source files read so far.
    pub fn bytes(&self) -> (u64, u64) {
        self.crew.as_ref().map_or((0, 0), Crew::bytes)
    }

    /// Workers that take part now.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.crew.as_ref().map_or_else(Vec::new, Crew::status)
    }

    /// Workers that took part in the run and are gone.
    pub fn gone_workers(&self) -> GoneWorkers {
        self.crew.as_ref().map_or_else(GoneWorkers::default, Crew::departed)
    }

    /// Returns what waits and what runs: stage, since when it is wanted, whether it runs.
    pub fn waiting(&self) -> impl Iterator<Item = (&str, Instant, bool)> {
        let queued = self.queued.iter().map(|(key, since)| (key, *since, false));
        let delayed = self.delayed.iter().map(|((_, key), since)| (key, *since, false));
        let running = self.running.iter().map(|(key, running)| (key, running.wanted, true));
        queued.chain(delayed).chain(running).filter_map(|(key, since, runs)| {
            let stage = self.shown(self.action(*key)?).place();
            Some((self.context.plan.stages[stage].name.as_str(), since, runs))
        })
    }

    /// Cases for which something ran.
    pub fn touched(&self) -> &BTreeSet<String> {
        &self.touched
    }

    /// Actions run, actions found done, models trained.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.run, self.cached, self.trained)
    }

    /// Counts by stage: what is wanted now, and what ran.
    pub fn stages(&self) -> BTreeMap<String, StageCount> {
        let mut counts: BTreeMap<StageId, StageCount> = BTreeMap::new();
        for (key, asked) in &self.wanted {
            for action in asked.actions() {
                let count = counts.entry(self.shown(action)).or_default();
                count.wanted += 1;
                let first = asked.first() == Some(action);
                match (self.fed.get(key), self.origin.get(key)) {
                    // Counted below, once; others that ask for the same work found it done.
                    (Some(_), Some(Origin::Run)) if first => {}
                    (None, _) => {}
                    (Some(Outcome::Failed { .. }), _) => count.failed += 1,
                    (Some(Outcome::Ok { .. }), _) => count.cached += 1,
                }
            }
        }
        for (stage, (run, failed)) in &self.ran {
            let count = counts.entry(*stage).or_default();
            count.run += run;
            count.failed += failed;
            count.wanted = count.wanted.max(count.run + count.failed + count.cached);
        }
        let named = counts.into_iter().map(|(stage, mut count)| {
            count.order = stage.place();
            (self.context.plan.stages[count.order].name.clone(), count)
        });
        named.collect()
    }

    /// The stage that an action is counted under: a case is prepared for the view on it.
    pub fn shown(&self, action: &Action) -> StageId {
        let plan = &self.context.plan;
        let stage = &plan.stages[action.stage.place()];
        if action.work.case().is_none() || !matches!(stage.stage, Stage::Train(_)) {
            return action.stage;
        }
        if action.work.reads_scan() {
            return StageId::at(stage.inputs[0]);
        }
        // Labels are measured where they come from.
        StageId::at(plan.transforms(plan.prepared(action.stage.place())).1)
    }

    /// Returns what inferences of a stage left beside their masks: by the case's key, the artifact of its
    /// maps.
    pub fn maps(&self, stage: usize) -> BTreeMap<Arc<str>, Digest> {
        let of = |key, action: &Action| match (action.work.series(), self.fed.get(key)) {
            (Some(series), Some(Outcome::Ok { detail: Some(maps), .. })) if action.stage.place() == stage => {
                Some((series.key.clone(), *maps))
            }
            _ => None,
        };
        self.wanted
            .iter()
            .flat_map(|(key, asked)| asked.actions().filter_map(move |action| of(key, action)))
            .collect()
    }

    /// The stages of trainings whose model is kept.
    pub fn holds(&self) -> impl Iterator<Item = StageId> + '_ {
        self.kept.iter().filter(|(stage, pin)| self.is_used(**stage, pin)).map(|(stage, _)| *stage)
    }

    /// Trainings whose model is kept.
    pub fn kept(&self) -> Vec<Kept> {
        let kept = |(stage, pin): (&StageId, &Pin)| {
            let seen: BTreeMap<&str, Option<Part>> =
                pin.parts.iter().map(|(case, part)| (case.as_str(), *part)).collect();
            let planned = &self.context.plan.stages[stage.place()];
            let train = match &planned.stage {
                Stage::Train(train) => Some(train),
                _ => None,
            };
            let at = match train.map(|train| train.retrain) {
                Some(Retrain::At(enough)) => enough,
                _ => Enough::default(),
            };
            let asks = train.is_some_and(Train::asks_for_unlabelled);
            let learns_partly = train.is_some_and(Train::learns_partly);
            let judged = self.judged(pin, train.map(|train| &train.split));
            let (mut new, mut new_unlabelled) = (0, 0);
            for desired in self.desired.keys() {
                let Desired::Case(case) = &**desired else { continue };
                let wholly = case.labels.as_ref().map(|_| learns_partly || !case.is_partly_labelled());
                match (wholly, seen.get(&*case.series.key)) {
                    // A case that was learned from without labels is new with them; one that lacks some is
                    // not trained on.
                    (Some(true), None | Some(Some(Part::Unlabelled))) => new += 1,
                    (None, None) if asks && !judged.contains(&case.series.patient) => new_unlabelled += 1,
                    _ => {}
                }
            }
            let (changed, gone) = self.departed(*stage, pin);
            Kept { stage: planned.name.clone(), new, new_unlabelled, changed, gone, at }
        };
        self.kept.iter().filter(|(stage, pin)| self.is_used(**stage, pin)).map(kept).collect()
    }

    /// Whether a kept model is the one that is used: not where its training began with another stage's model, and there is
    /// another one now.
    fn is_used(&self, stage: StageId, pin: &Pin) -> bool {
        let Some(start) = self.context.plan.start(stage.place()) else { return true };
        let Some(began) = self.began.get(&pin.key) else { return false };
        let gave = |key: &Digest| matches!(self.fed.get(key), Some(Outcome::Ok { artifact, .. }) if artifact == began);
        let trains = |action: &Action| action.stage.place() == start && action.work.members().is_some();
        self.kept.iter().any(|(stage, pin)| stage.place() == start && gave(&pin.key))
            || self.wanted.iter().any(|(key, asked)| gave(key) && asked.actions().any(trains))
    }

    /// The patients whom a kept model validated or tested on, or who are judged all the same, as far as they are there.
    fn judged(&self, pin: &Pin, split: Option<&Split>) -> BTreeSet<Arc<str>> {
        let judged = |part: &Option<Part>| matches!(part, Some(Part::Validation | Part::Test));
        let cases: BTreeSet<&str> =
            pin.parts.iter().filter(|(_, part)| judged(part)).map(|(case, _)| case.as_str()).collect();
        let anyhow = |case: &BoundCase| split.is_some_and(|split| is_judged_anyhow(split, case));
        let of = |desired: &Arc<Desired>| match &**desired {
            Desired::Case(case) if cases.contains(&*case.series.key) || anyhow(case) => {
                Some(case.series.patient.clone())
            }
            _ => None,
        };
        self.desired.keys().filter_map(of).collect()
    }

    /// Counts the cases that a kept model was trained on, or chosen by, and that are others now or gone.
    fn departed(&self, stage: StageId, pin: &Pin) -> (usize, usize) {
        let asked =
            self.recalled.iter().flat_map(|(key, asked)| asked.actions().map(move |action| (*key, action)));
        let now: BTreeMap<&str, Digest> = asked
            .filter(|(_, action)| action.stage == stage)
            .filter_map(|(key, action)| Some((&*action.work.series()?.key, key)))
            .collect();
        let then = self.dataset(pin.key);
        let differs = |key: &Digest, before: &Digest| match self.fed.get(key) {
            Some(Outcome::Ok { artifact, .. }) => artifact != before,
            Some(Outcome::Failed { .. }) => true,
            // It was prepared once as it is now, and what came of it was removed since.
            None => !matches!(self.store.made(*key), Ok(Some(_))),
        };
        let seen = pin.parts.iter().filter(|(_, part)| part.is_some_and(|part| part != Part::Test));
        let (mut changed, mut gone) = (0, 0);
        for (case, _) in seen {
            match (now.get(case.as_str()), then.get(case)) {
                (None, _) => gone += 1,
                (Some(key), Some(before)) if differs(key, before) => changed += 1,
                _ => {}
            }
        }
        (changed, gone)
    }

    /// The prepared cases that a training was given, as far as the store knows them.
    fn dataset(&self, training: Digest) -> BTreeMap<String, Digest> {
        let part = |digest| self.store.part(digest).ok().flatten();
        let made = self.store.made(training).ok().flatten();
        let bytes = made.and_then(|made| part(made.dataset?));
        let members: Vec<Member> =
            bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok()).unwrap_or_default();
        members.into_iter().filter_map(|member| Some((member.case, member.prepared?))).collect()
    }

    /// Whether a training has given a model, now or before.
    pub fn has_model(&self, stage: usize) -> bool {
        let trains = |action: &Action| action.stage.place() == stage && action.work.members().is_some();
        let done = |key| matches!(self.fed.get(key), Some(Outcome::Ok { .. }));
        self.kept.keys().any(|kept| kept.place() == stage)
            || self.wanted.iter().any(|(key, asked)| done(key) && asked.actions().any(trains))
    }
}
