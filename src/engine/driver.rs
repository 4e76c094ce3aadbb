//! Between the control plane and the executors: looks wanted actions up in the cache, queues the rest,
//! feeds back what is done, and takes back what is no longer wanted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tomoflow_connectors::Digest;

use super::control::Control;
use super::rows::{Desired, Input, Output};
use super::run::RunError;
use super::summary::StageCount;
use crate::executor::keys;
use crate::executor::work::{Action, Work, parts_of};
use crate::executor::{Context, Executor, Finished, Job};
use crate::operators::registry::Stage;
use crate::operators::train::Retrain;
use crate::store::{Outcome, Pin, Recorded};

/// The state of one run.
pub struct Driver {
    context: Context,
    control: Control,
    /// None when nothing is to be run, only looked at.
    executor: Option<Executor>,
    retrain: bool,
    /// Actions wanted under each key; stages that ask for the same work share one.
    wanted: HashMap<Digest, BTreeMap<Action, isize>>,
    /// What the control plane was told, so that exactly this is taken back.
    fed: HashMap<Digest, Outcome>,
    /// Trainings that a pin keeps: their outcome stays, although no dataset asks for it.
    pinned: HashSet<Digest>,
    /// For each stage with a pinned model, the cases that its dataset held.
    kept: BTreeMap<u16, BTreeSet<String>>,
    /// Keys that wait: those for the CPU, those for the device.
    queues: [VecDeque<Digest>; 2],
    queued: HashSet<Digest>,
    stopped: bool,
    running: HashMap<Digest, Arc<AtomicBool>>,
    desired: BTreeMap<Desired, isize>,
    /// Changes for the control plane that have not been fed yet.
    batch: Vec<(Input, isize)>,
    /// For each key, where its result came from in this run.
    origin: HashMap<Digest, Origin>,
    touched: BTreeSet<String>,
    /// Results of this run by stage, also those that nobody wants any more (a dataset, once its model is
    /// there).
    ran: BTreeMap<u16, (usize, usize)>,
    trained: usize,
    run: usize,
    cached: usize,
}

/// Where a result came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Cache,
    Run,
}

impl Driver {
    /// A driver without anything known yet.
    pub fn new(context: Context, control: Control, executor: Option<Executor>, retrain: bool) -> Self {
        Self {
            context,
            control,
            executor,
            retrain,
            wanted: HashMap::new(),
            fed: HashMap::new(),
            pinned: HashSet::new(),
            kept: BTreeMap::new(),
            queues: [VecDeque::new(), VecDeque::new()],
            queued: HashSet::new(),
            stopped: false,
            running: HashMap::new(),
            desired: BTreeMap::new(),
            batch: Vec::new(),
            origin: HashMap::new(),
            touched: BTreeSet::new(),
            ran: BTreeMap::new(),
            trained: 0,
            run: 0,
            cached: 0,
        }
    }

    /// Feeds what the sources hold, and the models that trainings keep.
    pub fn load(&mut self, inputs: Vec<Input>) -> Result<(), RunError> {
        self.batch.extend(inputs.into_iter().map(|input| (input, 1)));
        let plan = self.context.plan.clone();
        for (number, stage) in plan.stages.iter().enumerate() {
            let Stage::Train(train) = &stage.stage else { continue };
            if self.retrain || train.retrain == Retrain::Always {
                continue;
            }
            let Some(pin) = self.context.store.pin(keys::recipe(&plan, number))? else { continue };
            if let Some(Recorded { outcome, .. }) = self.context.store.outcomes(&[pin.key])?.pop().flatten() {
                self.keep(number as u16, pin, outcome);
            }
        }
        self.settle()
    }

    /// A pinned model: the control plane learns of the pin and of the training's outcome.
    fn keep(&mut self, stage: u16, pin: Pin, outcome: Outcome) {
        if self.kept.contains_key(&stage) {
            return;
        }
        self.pinned.insert(pin.key);
        if !self.fed.contains_key(&pin.key) {
            self.feed(pin.key, outcome);
        }
        self.kept.insert(stage, pin.parts.iter().map(|(case, _)| case.clone()).collect());
        self.batch.push((Input::Pin(stage, pin), 1));
    }

    fn feed(&mut self, key: Digest, outcome: Outcome) {
        if let Some(before) = self.fed.insert(key, outcome.clone()) {
            self.batch.push((Input::Outcome(key, before), -1));
        }
        self.batch.push((Input::Outcome(key, outcome), 1));
    }

    /// Feeds all changes and all that the cache knows of what follows, until nothing more follows.
    fn settle(&mut self) -> Result<(), RunError> {
        while !self.batch.is_empty() {
            let changes = self.control.feed(std::mem::take(&mut self.batch))?;
            let touched = self.apply(changes);
            self.decide(touched)?;
        }
        Ok(())
    }

    /// Takes changes in; gives the keys that are wanted more or less than before.
    fn apply(&mut self, changes: Vec<(Output, isize)>) -> BTreeSet<Digest> {
        let mut touched = BTreeSet::new();
        for (output, diff) in changes {
            match output {
                Output::Wanted(action) => {
                    touched.insert(action.key);
                    accumulate(self.wanted.entry(action.key).or_default(), action, diff);
                }
                Output::Desired(desired) => accumulate(&mut self.desired, desired, diff),
            }
        }
        touched
    }

    /// Queues what is new, and drops what nobody wants any more.
    fn decide(&mut self, touched: BTreeSet<Digest>) -> Result<(), RunError> {
        let mut new = Vec::new();
        for key in touched {
            let wanted = self.wanted.get(&key).is_some_and(|actions| !actions.is_empty());
            if wanted && !self.fed.contains_key(&key) {
                new.push(key);
            } else if !wanted {
                self.wanted.remove(&key);
                self.drop_key(key);
            }
        }
        let known = self.context.store.outcomes(&new)?;
        let mut pins = Vec::new();
        for (key, known) in new.into_iter().zip(known) {
            match known {
                Some(recorded) => {
                    self.origin.entry(key).or_insert(Origin::Cache);
                    self.cached += 1;
                    pins.extend(self.pins(key, &recorded.outcome));
                    self.feed(key, recorded.outcome);
                }
                None if self.running.contains_key(&key) => {}
                None => self.enqueue(key),
            }
        }
        Ok(self.context.store.record(&[], &pins)?)
    }

    /// Queues a key once; one that needs the device waits apart, so that it holds up nothing else.
    fn enqueue(&mut self, key: Digest) {
        if self.queued.insert(key) {
            let device = self.action(key).is_some_and(|action| action.work.needs_device());
            self.queues[usize::from(device)].push_back(key);
        }
    }

    fn action(&self, key: Digest) -> Option<&Action> {
        self.wanted.get(&key).and_then(|actions| actions.keys().next())
    }

    fn drop_key(&mut self, key: Digest) {
        if let Some(flag) = self.running.get(&key) {
            flag.store(true, Ordering::Relaxed);
        }
        // Its place in the queue is passed over when it comes up.
        self.queued.remove(&key);
        if self.pinned.contains(&key) {
            return;
        }
        if let Some(outcome) = self.fed.remove(&key) {
            self.batch.push((Input::Outcome(key, outcome), -1));
        }
    }

    /// Hands queued actions to the executor while it has room.
    pub fn dispatch(&mut self) {
        let Some(executor) = &self.executor else { return };
        for queue in &mut self.queues {
            while let Some(&key) = queue.front() {
                let action = self.wanted.get(&key).and_then(|actions| actions.keys().next());
                let (Some(action), true) = (action, self.queued.contains(&key)) else {
                    queue.pop_front();
                    continue;
                };
                let cancelled = Arc::new(AtomicBool::new(false));
                if executor.submit(Job { action: action.clone(), cancelled: cancelled.clone() }).is_err() {
                    break;
                }
                queue.pop_front();
                self.queued.remove(&key);
                self.running.insert(key, cancelled);
            }
        }
    }

    /// Whether everything that is wanted is done.
    pub fn idle(&self) -> bool {
        self.queued.is_empty() && self.running.is_empty()
    }

    /// The executor's reports.
    pub fn finished(&self) -> Option<crossbeam_channel::Receiver<Finished>> {
        self.executor.as_ref().map(|executor| executor.finished().clone())
    }

    /// Records what is done, and feeds it back.
    pub fn take(&mut self, finished: Vec<Finished>) -> Result<(), RunError> {
        let (mut done, mut pins, mut trained) = (Vec::new(), Vec::new(), Vec::new());
        for Finished { action, recorded } in finished {
            self.running.remove(&action.key);
            if let Some(executor) = &self.executor {
                executor.ended(&action);
            }
            let was_cancelled =
                matches!(&recorded.outcome, Outcome::Failed { code, .. } if code == "CANCELLED");
            let still_wanted = self.wanted.contains_key(&action.key);
            if was_cancelled {
                if still_wanted && !self.stopped {
                    self.enqueue(action.key);
                }
                continue;
            }
            self.note(&action, &recorded.outcome);
            if recorded.outcome.lasts() {
                done.push((action.key, recorded.clone()));
            }
            if let (Work::Train(_), Outcome::Ok { .. }) = (&action.work, &recorded.outcome) {
                self.trained += 1;
                trained.push(action.key);
                pins.extend(self.pins(action.key, &recorded.outcome));
            }
            if still_wanted {
                self.feed(action.key, recorded.outcome);
            }
        }
        self.context.store.record(&done, &pins)?;
        // Only now is the way to a model not needed any more.
        for key in trained {
            if let Err(error) = std::fs::remove_dir_all(self.context.store.checkpoint(key)) {
                tracing::debug!(%error, "no checkpoint to remove");
            }
        }
        if self.stopped { Ok(()) } else { self.settle() }
    }

    fn note(&mut self, action: &Action, outcome: &Outcome) {
        self.run += 1;
        self.origin.insert(action.key, Origin::Run);
        let (run, failed) = self.ran.entry(self.shown(action)).or_default();
        match outcome {
            Outcome::Ok { .. } => *run += 1,
            Outcome::Failed { .. } => *failed += 1,
        }
        self.touched.extend(action.work.case().map(|series| series.key.clone()));
    }

    /// A model is kept by its recipe; later runs use it although the archive has grown.
    ///
    /// A stage that always retrains keeps none. A run that was told to retrain follows its dataset to the
    /// end, and what it trained is what plain runs use from then on.
    fn pins(&mut self, key: Digest, outcome: &Outcome) -> Vec<(Digest, Pin)> {
        let (plan, retrain) = (self.context.plan.clone(), self.retrain);
        let actions: Vec<Action> =
            self.wanted.get(&key).into_iter().flat_map(|actions| actions.keys().cloned()).collect();
        let mut pins = Vec::new();
        for action in actions {
            let (Work::Train(members), Outcome::Ok { .. }) = (&action.work, outcome) else { continue };
            let Stage::Train(train) = &plan.stages[usize::from(action.stage)].stage else { continue };
            if train.retrain == Retrain::Always {
                continue;
            }
            let pin = Pin { key, parts: parts_of(members).collect() };
            if !retrain {
                self.keep(action.stage, pin.clone(), outcome.clone());
            }
            pins.push((keys::recipe(&plan, usize::from(action.stage)), pin));
        }
        pins
    }

    /// Tells all running actions to stop.
    pub fn cancel(&mut self) {
        self.stopped = true;
        self.queued.clear();
        for flag in self.running.values() {
            flag.store(true, Ordering::Relaxed);
        }
    }

    /// What tables must hold.
    pub fn desired(&self) -> impl Iterator<Item = &Desired> {
        self.desired.keys()
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
        let mut counts: BTreeMap<u16, StageCount> = BTreeMap::new();
        for (key, actions) in &self.wanted {
            for action in actions.keys() {
                let count = counts.entry(self.shown(action)).or_default();
                count.wanted += 1;
                let first = actions.keys().next() == Some(action);
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
            count.order = usize::from(stage);
            (self.context.plan.stages[count.order].name.clone(), count)
        });
        named.collect()
    }

    /// The stage that an action is counted under: a case is prepared for the view on it.
    fn shown(&self, action: &Action) -> u16 {
        match action.work {
            Work::Prepare(_) => {
                let stage = &self.context.plan.stages[usize::from(action.stage)];
                let trains = matches!(stage.stage, Stage::Train(_));
                if trains { stage.inputs[0] as u16 } else { action.stage }
            }
            _ => action.stage,
        }
    }

    /// Trainings whose model is kept although labelled cases came after it, with how many.
    pub fn outgrown(&self) -> Vec<(String, usize)> {
        let mut outgrown = Vec::new();
        for (stage, parts) in &self.kept {
            let new = self.desired.keys().filter(|desired| {
                matches!(desired, Desired::Case(case) if case.labels.is_some() && !parts.contains(&case.series.key))
            });
            let new = new.count();
            if new > 0 {
                outgrown.push((self.context.plan.stages[usize::from(*stage)].name.clone(), new));
            }
        }
        outgrown
    }
}

/// Adds to a multiplicity; what comes to nothing is gone.
fn accumulate<T: Ord>(counts: &mut BTreeMap<T, isize>, item: T, diff: isize) {
    use std::collections::btree_map::Entry;
    match counts.entry(item) {
        Entry::Vacant(slot) => {
            slot.insert(diff);
        }
        Entry::Occupied(mut slot) => {
            *slot.get_mut() += diff;
            if *slot.get() == 0 {
                slot.remove();
            }
        }
    }
}
