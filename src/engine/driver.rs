//! Between the control plane and the executors: looks wanted actions up in the cache, queues the rest,
//! feeds back what is done, and takes back what is no longer wanted.

mod asked;
mod kept;
mod queue;
mod results;
mod seen;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tomoflow_connectors::Digest;

use self::asked::Asked;
use super::cluster::Crew;
use super::control::Control;
use super::error::RunError;
use super::insight::ledger::Ledger;
use super::rows::{Conclusion, Desired, DesiredRows, Input};
use crate::executor::work::Action;
use crate::executor::{Context, Finished, keys, maps};
use crate::networks::MapKinds;
use crate::operators::models::train::Retrain;
use crate::operators::registry::Stage;
use crate::pipeline::StageId;
use crate::store::{Outcome, Pin, Recorded, Store, Texts};

/// The state of one run.
pub struct Driver {
    /// The crew; none when nothing is to be run. It is dropped first: its threads use the store to their end,
    /// and other processes must be told that there is no more, or the control plane would wait for theirs.
    crew: Option<Crew>,
    context: Context,
    store: Arc<Store>,
    control: Control,
    retrain: bool,
    /// The maps that work of each stage makes.
    maps: Vec<MapKinds>,
    /// Actions wanted under each key; stages that ask for the same work share one.
    wanted: HashMap<Digest, Asked>,
    /// Actions of which nothing but the outcome is asked for, if there is one: nobody wants them done.
    recalled: HashMap<Digest, Asked>,
    /// What the control plane was told, so that exactly this is taken back.
    fed: HashMap<Digest, Outcome>,
    /// Trainings that a pin keeps: their outcome stays, although no dataset asks for it.
    pinned: HashSet<Digest>,
    /// The pins, by stage.
    kept: BTreeMap<StageId, Pin>,
    /// What trainings of pins began with, by their keys.
    began: HashMap<Digest, Digest>,
    /// Keys that wait: for each process those for the CPU, and those for the device.
    queues: Vec<VecDeque<Digest>>,
    /// The time since when each key waits.
    queued: HashMap<Digest, Instant>,
    /// Keys that failed for a passing reason, by when they are tried again.
    delayed: BTreeMap<(Instant, Digest), Instant>,
    attempts: HashMap<Digest, u32>,
    stopped: bool,
    running: HashMap<Digest, Running>,
    desired: DesiredRows,
    /// What cases came to for rules over intensities: stages and artifacts, with how many cases came to each.
    measured: BTreeMap<(StageId, Digest), isize>,
    /// Rows that came or went since tables were last brought up to date.
    changed: BTreeSet<Arc<Desired>>,
    /// Keys whose place in the history may be new.
    stood: BTreeSet<Digest>,
    /// What was prepared for trainings, by stage and case: nobody asks for it once there is a model.
    prepared: BTreeMap<(StageId, Arc<str>), Digest>,
    /// Series whose files were not what the index says.
    suspects: BTreeSet<String>,
    ledger: Ledger,
    /// What figures are called.
    texts: Texts,
    /// Changes for the control plane that have not been fed yet.
    batch: Vec<(Input, isize)>,
    /// The origin of each key's result in this run.
    origin: HashMap<Digest, Origin>,
    touched: BTreeSet<String>,
    /// Results of this run by stage, also those that nobody wants any more (a dataset, once its model is
    /// there).
    ran: BTreeMap<StageId, (usize, usize)>,
    trained: usize,
    run: usize,
    cached: usize,
}

/// An action under way.
struct Running {
    cancelled: Arc<AtomicBool>,
    /// The time since when it is wanted.
    wanted: Instant,
}

/// The wait before the second try; each further one waits four times as long.
const BACKOFF: Duration = Duration::from_millis(250);

/// The origin of a result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Cache,
    Run,
}

impl Driver {
    /// A driver without anything known yet.
    pub fn new(
        context: Context,
        store: Arc<Store>,
        control: Control,
        crew: Option<Crew>,
        retrain: bool,
    ) -> Self {
        let ledger = Ledger::new(context.plan.clone());
        let queues = vec![VecDeque::new(); crew.as_ref().map_or(1, Crew::queues)];
        let stages = 0..context.plan.stages.len();
        let maps = stages.map(|stage| maps::wanted(&context.plan, stage)).collect();
        Self {
            context,
            store,
            control,
            crew,
            retrain,
            maps,
            wanted: HashMap::new(),
            recalled: HashMap::new(),
            fed: HashMap::new(),
            pinned: HashSet::new(),
            kept: BTreeMap::new(),
            began: HashMap::new(),
            queues,
            queued: HashMap::new(),
            delayed: BTreeMap::new(),
            attempts: HashMap::new(),
            stopped: false,
            running: HashMap::new(),
            desired: BTreeMap::new(),
            measured: BTreeMap::new(),
            changed: BTreeSet::new(),
            stood: BTreeSet::new(),
            prepared: BTreeMap::new(),
            suspects: BTreeSet::new(),
            ledger,
            texts: Texts::default(),
            batch: Vec::new(),
            origin: HashMap::new(),
            touched: BTreeSet::new(),
            ran: BTreeMap::new(),
            trained: 0,
            run: 0,
            cached: 0,
        }
    }

    /// Feeds the models that trainings keep.
    pub fn load_pins(&mut self) -> Result<(), RunError> {
        let plan = self.context.plan.clone();
        for (number, stage) in plan.stages.iter().enumerate() {
            let Stage::Train(train) = &stage.stage else { continue };
            if self.retrain || train.retrain == Retrain::Always {
                continue;
            }
            let Some(pin) = self.store.pin(keys::pin(&plan, number))? else { continue };
            if let Some(Recorded { outcome, .. }) = self.store.outcomes(&[pin.key])?.pop().flatten() {
                if train.start.is_some() {
                    let began = self.store.made(pin.key)?.and_then(|made| made.model);
                    self.began.extend(began.map(|model| (pin.key, model)));
                }
                self.keep(StageId::at(number), pin, outcome);
            }
        }
        Ok(())
    }

    /// Feeds what has changed outside, and decides what follows.
    pub fn change(&mut self, changes: Vec<(Input, isize)>) -> Result<(), RunError> {
        self.batch.extend(changes);
        self.settle()
    }

    /// A pinned model: the control plane learns of the pin and of the training's outcome. One that was kept
    /// before is let go.
    fn keep(&mut self, stage: StageId, pin: Pin, outcome: Outcome) {
        if self.kept.get(&stage) == Some(&pin) {
            return;
        }
        let before = self.kept.insert(stage, pin.clone());
        self.pinned.insert(pin.key);
        if !self.fed.contains_key(&pin.key) {
            self.feed(pin.key, outcome);
        }
        let began = self.began.get(&pin.key).copied();
        self.batch.push((Input::Pin(stage, pin, began), 1));
        if let Some(before) = before {
            let key = before.key;
            let began = self.began.get(&key).copied();
            self.batch.push((Input::Pin(stage, before, began), -1));
            if self.kept.values().all(|pin| pin.key != key) {
                self.pinned.remove(&key);
                if !self.wanted.contains_key(&key) {
                    self.drop_key(key);
                }
            }
        }
    }

    fn feed(&mut self, key: Digest, mut outcome: Outcome) {
        if let Outcome::Ok { figures, .. } = &mut outcome {
            self.texts.share_figures(figures);
        }
        self.stood.insert(key);
        for action in self.wanted.get(&key).into_iter().flat_map(Asked::actions) {
            if let Some(series) = action.work.series().filter(|_| action.work.prepares() && outcome.lasts()) {
                self.prepared.insert((action.stage, series.key.clone()), key);
            }
        }
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
    fn apply(&mut self, changes: Vec<(Conclusion, isize)>) -> BTreeSet<Digest> {
        let mut touched = BTreeSet::new();
        for (output, diff) in changes {
            match output {
                Conclusion::Wanted(action) => {
                    touched.insert(action.key);
                    self.wanted.entry(action.key).or_default().add(action, diff);
                }
                Conclusion::Recalled(action) => {
                    touched.insert(action.key);
                    self.recalled.entry(action.key).or_default().add(action, diff);
                }
                Conclusion::Measured(stage, artifact) => {
                    accumulate(&mut self.measured, (stage, artifact), diff);
                }
                Conclusion::Desired(desired) => {
                    self.changed.insert(desired.clone());
                    accumulate(&mut self.desired, desired, diff);
                }
            }
        }
        touched
    }

    /// Queues what is new, and drops what nobody wants any more.
    fn decide(&mut self, touched: BTreeSet<Digest>) -> Result<(), RunError> {
        let (mut new, mut pins, mut recalled) = (Vec::new(), Vec::new(), Vec::new());
        for key in touched {
            let wanted = self.wanted.get(&key).is_some_and(|asked| asked.first().is_some());
            if wanted && !self.fed.contains_key(&key) {
                new.push(key);
            } else if wanted {
                self.stood.insert(key);
                // A training that is wanted again for more cases, none of which it would learn from.
                if self.pinned.contains(&key)
                    && let Some(outcome) = self.fed.get(&key).cloned()
                {
                    pins.extend(self.pins(key, &outcome));
                }
            } else {
                self.wanted.remove(&key);
                let counts = self.recalled.get(&key).is_some_and(|asked| asked.first().is_some());
                if counts && self.fed.get(&key).is_some_and(Outcome::lasts) {
                    continue;
                }
                self.drop_key(key);
                if counts {
                    recalled.push(key);
                } else {
                    self.recalled.remove(&key);
                }
            }
        }
        for (key, known) in recalled.iter().zip(self.store.outcomes(&recalled)?) {
            if let Some(Recorded { outcome, .. }) = known {
                self.feed(*key, outcome);
            }
        }
        let known = self.store.outcomes(&new)?;
        for (key, known) in new.into_iter().zip(known) {
            match known.filter(|recorded| self.has_maps(key, recorded)) {
                Some(recorded) => {
                    if *self.origin.entry(key).or_insert(Origin::Cache) == Origin::Cache {
                        self.cached += 1;
                    }
                    pins.extend(self.pins(key, &recorded.outcome));
                    self.feed(key, recorded.outcome);
                }
                None if self.running.contains_key(&key) => {}
                None => self.enqueue(key),
            }
        }
        Ok(self.store.record(&[], &pins)?)
    }

    /// Whether what an action left holds the maps that are asked for: these are in no key, and a mask that was made
    /// without them is made once more, to the same content, by the work that makes them.
    fn has_maps(&self, key: Digest, recorded: &Recorded) -> bool {
        let (Some(action), Outcome::Ok { detail, .. }) = (self.action(key), &recorded.outcome) else {
            return true;
        };
        let wanted = self.maps.get(action.stage.place()).copied().unwrap_or_default();
        let kept = |detail: &Digest| maps::kinds_in(&self.context.artifacts.path(*detail)).cover(wanted);
        !wanted.any() || detail.as_ref().is_some_and(kept)
    }

    fn action(&self, key: Digest) -> Option<&Action> {
        self.wanted.get(&key).and_then(Asked::first)
    }

    /// Whether everything that is wanted is done.
    pub fn idle(&self) -> bool {
        self.queued.is_empty() && self.running.is_empty() && self.delayed.is_empty()
    }

    /// The executor's reports.
    pub fn finished(&self) -> Option<crossbeam_channel::Receiver<Finished>> {
        self.crew.as_ref().map(|crew| crew.finished().clone())
    }

    /// Waits for no action that runs, here or later: what they would come to is lost.
    pub fn leave(&mut self) {
        if let Some(crew) = &mut self.crew {
            crew.leave();
        }
    }

    /// Ends the work: there is no more to do, and workers that came are told so.
    pub fn end(&mut self) {
        self.crew.iter_mut().for_each(Crew::end);
    }

    /// Tells all running actions to stop.
    pub fn cancel(&mut self) {
        self.stopped = true;
        self.queued.clear();
        self.delayed.clear();
        for running in self.running.values() {
            running.cancelled.store(true, Ordering::Relaxed);
        }
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
