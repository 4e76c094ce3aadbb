//! What actions led to: recorded, fed back, tried again.

use std::collections::BTreeSet;
use std::time::Instant;

use tomoflow_connectors::{Digest, points};

use super::super::error::RunError;
use super::super::rows::Input;
use super::asked::Asked;
use super::{BACKOFF, Driver, Origin};
use crate::engine::insight::ledger;
use crate::executor::work::{Action, seen_by};
use crate::executor::{Finished, keys};
use crate::operators::models::train::Retrain;
use crate::operators::registry::Stage;
use crate::store::{Outcome, Pin, StoreError};

impl Driver {
    /// Records what is done, and feeds it back.
    pub fn take(&mut self, finished: Vec<Finished>) -> Result<(), RunError> {
        let (mut done, mut pins, mut trained) = (Vec::new(), Vec::new(), Vec::new());
        let mut fed = Vec::new();
        for Finished { action, mut recorded } in finished {
            let running = self.running.remove(&action.key);
            if let Some(crew) = &mut self.crew {
                crew.ended(&action);
            }
            let since = running.map_or_else(Instant::now, |running| running.wanted);
            let still_wanted = self.wanted.contains_key(&action.key);
            if !still_wanted && !recorded.outcome.lasts() {
                continue;
            }
            if self.again(&action, &mut recorded.outcome, since) {
                continue;
            }
            self.note(&action, &recorded.outcome);
            if recorded.outcome.lasts() {
                self.ledger.note(&action, recorded.seconds);
                done.push((action.key, recorded.clone()));
            }
            if let (Some(_), Outcome::Ok { .. }) = (action.work.members(), &recorded.outcome) {
                self.trained += 1;
                trained.push(action.key);
                pins.extend(self.pins(action.key, &recorded.outcome));
            }
            if still_wanted {
                fed.push((action.key, recorded.outcome));
            }
        }
        self.store.conclude(&done, &pins, &self.ledger.take())?;
        for (key, outcome) in fed {
            self.feed(key, outcome);
        }
        // The way to a model is not needed any more only now.
        for key in trained {
            if let Err(error) = std::fs::remove_dir_all(self.context.artifacts.checkpoint(key)) {
                tracing::debug!(%error, "no checkpoint to remove");
            }
        }
        if !self.stopped {
            self.settle()?;
        }
        points::pass(points::OUTCOME_FED).map_err(|source| self.refused(source))
    }

    pub(super) fn refused(&self, source: std::io::Error) -> RunError {
        RunError::Store(StoreError::Io { path: self.store.root().to_owned(), source })
    }

    /// Whether an action that failed for a passing reason is tried again, after a while.
    pub(super) fn again(&mut self, action: &Action, outcome: &mut Outcome, since: Instant) -> bool {
        let Outcome::Failed { code, lasting: false, attempts, .. } = outcome else { return false };
        if code == "CANCELLED" {
            if !self.stopped {
                self.enqueue_since(action.key, since);
            }
            return true;
        }
        if matches!(code.as_str(), "CHANGED" | "FILE_VANISHED" | "UNREADABLE") {
            // Each of the case's channels may be the one that changed.
            let scans = action.work.case().into_iter().flat_map(|case| case.scans());
            self.suspects.extend(scans.map(|series| series.series_uid().to_owned()));
        }
        let retries = self.context.plan.retries(self.shown(action).place());
        let tried = self.attempts.entry(action.key).or_default();
        *tried += 1;
        *attempts = *tried;
        // There will be no more memory within this run.
        if *tried > retries || self.stopped || code == "OVER_BUDGET" {
            return false;
        }
        let wait = BACKOFF * 4u32.saturating_pow(*tried - 1);
        tracing::warn!(action = %action.key.short(), code, "failed, tried again in {wait:?}");
        self.delayed.insert((Instant::now() + wait, action.key), since);
        true
    }

    /// Tries once more what failed for a passing reason and was given up.
    pub fn retry_passing(&mut self) -> Result<(), RunError> {
        let passing = |(key, outcome): (&Digest, &Outcome)| (!outcome.lasts()).then_some(*key);
        let keys: Vec<Digest> = self.fed.iter().filter_map(passing).collect();
        for key in keys {
            if let Some(outcome) = self.fed.remove(&key) {
                self.batch.push((Input::Outcome(key, outcome), -1));
                self.enqueue(key);
            }
        }
        self.settle()
    }

    /// Series whose files were not what the index says, each told once.
    pub fn suspects(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.suspects)
    }

    /// Writes what now stands for each stage and case.
    pub fn keep_history(&mut self) -> Result<(), RunError> {
        let plan = self.context.plan.clone();
        let (stood, prepared) = (std::mem::take(&mut self.stood), std::mem::take(&mut self.prepared));
        let stands = stood.iter().filter(|key| self.fed.get(*key).is_some_and(Outcome::lasts));
        let stands = stands.flat_map(|key| {
            let asked = self.wanted.get(key).into_iter().flat_map(Asked::actions);
            // A stage that keeps its cases has these in its row, and not what was measured for them.
            let stands =
                |action: &&Action| !(action.work.measures() && plan.stages[action.stage.place()].keep);
            asked.filter(stands).map(|action| {
                let case = action.work.series().map(|series| &*series.key);
                (plan.stages[action.stage.place()].name.as_str(), case, *key)
            })
        });
        // Nobody asks for the training of a model that is kept, and yet it is what stands there.
        let kept = self.kept.iter().map(|(stage, pin)| {
            let stage = &plan.stages[stage.place()];
            (stage.name.as_str(), None, pin.key)
        });
        let prepared = prepared.iter().map(|((stage, case), key)| {
            let stage = &plan.stages[stage.place()];
            (stage.name.as_str(), Some(&**case), *key)
        });
        Ok(self.store.keep_history(prepared.chain(stands).chain(kept), ledger::now())?)
    }

    pub(super) fn note(&mut self, action: &Action, outcome: &Outcome) {
        self.run += 1;
        self.origin.insert(action.key, Origin::Run);
        let (run, failed) = self.ran.entry(self.shown(action)).or_default();
        match outcome {
            Outcome::Ok { .. } => *run += 1,
            Outcome::Failed { .. } => *failed += 1,
        }
        self.touched.extend(action.work.series().map(|series| series.counted_as()));
    }

    /// A model is kept by its recipe; later runs use it although the archive has grown.
    ///
    /// A stage that always retrains keeps none. A run that was told to retrain follows its dataset to the
    /// end, and what it trained is what plain runs use from then on.
    pub(super) fn pins(&mut self, key: Digest, outcome: &Outcome) -> Vec<(Digest, Pin)> {
        let (plan, retrain) = (self.context.plan.clone(), self.retrain);
        let actions: Vec<Action> =
            self.wanted.get(&key).into_iter().flat_map(|asked| asked.actions().cloned()).collect();
        let mut pins = Vec::new();
        for action in actions {
            let (Some(members), Outcome::Ok { .. }) = (action.work.members(), outcome) else { continue };
            let Stage::Train(train) = &plan.stages[action.stage.place()].stage else { continue };
            if train.retrain == Retrain::Always {
                continue;
            }
            let pin = Pin { key, parts: seen_by(members).collect() };
            self.began.extend(action.work.models().first().map(|model| (key, *model)));
            if !retrain {
                self.keep(action.stage, pin.clone(), outcome.clone());
            }
            pins.push((keys::pin(&plan, action.stage.place()), pin));
        }
        pins
    }
}
