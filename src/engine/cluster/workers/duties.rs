//! What a worker is at: jobs that wait for what they need or for room, those under way, and what they came to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tomoflow_connectors::{Digest, Reject};

use super::super::link::Link;
use super::super::packed::Packed;
use super::supply::Supply;
use super::wire::Wire;
use super::words::{FromWorker, Pulse, ToWorker, What, pieces};
use crate::executor::work::Action;
use crate::executor::{self, Executor, Finished, Job};
use crate::store::{Outcome, Recorded};

/// A worker's work: jobs that wait for room, and those under way.
pub struct Duties {
    pub executor: Executor,
    /// The files that the worker is sent, where it does not see the run's files.
    pub supply: Option<Supply>,
    pub link: Link<Wire>,
    pub waiting: VecDeque<Job>,
    pub under_way: HashMap<Digest, Arc<AtomicBool>>,
    /// The lease that holds for each action now.
    pub leases: HashMap<Digest, u64>,
}

impl Duties {
    pub fn hear(&mut self, message: ToWorker, leaving: bool) -> io::Result<()> {
        match message {
            ToWorker::Job(lease, job) => {
                let (action, packed) = *job;
                self.begin(lease, action, packed, leaving)
            }
            ToWorker::Cancel(lease) => self.cancel(lease),
            ToWorker::Piece(piece) => match self.supply.as_mut().map(|supply| supply.add(&piece)) {
                Some(Ok(true)) => self.supplied(piece.lease),
                Some(Err(error)) => self.lacks(piece.lease, stored(&error)),
                _ => Ok(()),
            },
            ToWorker::Missing(lease, why) => {
                let [code, message, hint] = *why;
                self.lacks(lease, Reject::new(&code, message, hint))
            }
            ToWorker::Beat | ToWorker::Again | ToWorker::End => Ok(()),
        }
    }

    fn begin(&mut self, lease: u64, action: Action, packed: Packed, leaving: bool) -> io::Result<()> {
        let key = action.key;
        let given = self.leases.insert(key, lease);
        // An action that was taken back and is given again may still be under way: its end is the end of this
        // one.
        if let Some(before) = self.under_way.get(&key) {
            before.store(false, Ordering::Relaxed);
            if let (Some(supply), Some(given)) = (&mut self.supply, given) {
                supply.renumber(given, lease);
            }
            return Ok(());
        }
        self.under_way.insert(key, Arc::new(AtomicBool::new(leaving)));
        let Some(supply) = &mut self.supply else {
            self.queue(action, packed);
            return Ok(());
        };
        let wants = supply.begin(lease, action, packed);
        match wants.is_empty() {
            true => self.supplied(lease),
            false => self.link.say(&FromWorker::Want(lease, wants)),
        }
    }

    fn cancel(&mut self, lease: u64) -> io::Result<()> {
        let Some(key) = self.key_of(lease) else { return Ok(()) };
        if self.supply.as_ref().is_some_and(|supply| supply.waits(lease)) {
            return self.said(key, unable(Reject::new("CANCELLED", "no longer wanted", "")));
        }
        if let Some(cancelled) = self.under_way.get(&key) {
            cancelled.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn key_of(&self, lease: u64) -> Option<Digest> {
        self.leases.iter().find(|(_, held)| **held == lease).map(|(key, _)| *key)
    }

    fn queue(&mut self, action: Action, packed: Packed) {
        let cancelled = self.under_way.entry(action.key).or_default().clone();
        self.waiting.push_back(Job { action, cancelled, lookup: Some(Arc::new(packed)) });
    }

    /// Begins an action once all that it needs was sent.
    fn supplied(&mut self, lease: u64) -> io::Result<()> {
        match self.supply.as_mut().map(|supply| supply.take(lease)) {
            Some(Ok(Some((action, packed)))) => {
                self.queue(action, packed);
                Ok(())
            }
            Some(Err(error)) => self.lacks(lease, stored(&error)),
            _ => Ok(()),
        }
    }

    /// An action cannot be done, since something that it needs is not to be had.
    fn lacks(&mut self, lease: u64, why: Reject) -> io::Result<()> {
        self.key_of(lease).map_or(Ok(()), |key| self.said(key, unable(why)))
    }

    /// Hands on what there is room for; what needs the device must not hold up the rest.
    pub fn dispatch(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some(job) = self.waiting.pop_front() else { return };
            if let Err(job) = self.executor.submit(job) {
                self.waiting.push_back(*job);
            }
        }
    }

    pub fn beat(&self) -> io::Result<()> {
        let (held_bytes, read_bytes) = self.executor.bytes();
        let trainings: BTreeMap<_, _> = executor::trainings();
        self.link.say(&FromWorker::Beat(Pulse { held_bytes, read_bytes, trainings }))
    }

    pub fn report(&mut self, Finished { action, recorded }: Finished) -> io::Result<()> {
        self.executor.ended(&action);
        self.said(action.key, recorded)
    }

    fn said(&mut self, key: Digest, recorded: Recorded) -> io::Result<()> {
        self.under_way.remove(&key);
        let Some(lease) = self.leases.remove(&key) else { return Ok(()) };
        let mut recorded = recorded;
        if let Some(supply) = &mut self.supply {
            let left: Vec<Digest> = match &recorded.outcome {
                Outcome::Ok { artifact, detail, .. } => std::iter::once(*artifact).chain(*detail).collect(),
                Outcome::Failed { .. } => Vec::new(),
            };
            for digest in &left {
                match supply.artifacts().get(*digest) {
                    Ok(bytes) => pieces(lease, What::Artifact(*digest), &bytes)
                        .try_for_each(|piece| self.link.say(&FromWorker::Piece(piece)))?,
                    Err(error) => recorded = unable(Reject::new("STORE", error.to_string(), "")),
                }
            }
            supply.end(lease, left.into_iter());
        }
        self.link.say(&FromWorker::Finished(lease, Box::new(recorded)))
    }

    /// Takes no more, gives back what has not begun, and has trainings write how far they are.
    pub fn leave(&mut self) -> io::Result<()> {
        self.link.say(&FromWorker::Leaving)?;
        let waits = |lease: &u64| self.supply.as_ref().is_some_and(|supply| supply.waits(*lease));
        let unsent = self.leases.iter().filter(|(_, lease)| waits(lease)).map(|(key, _)| *key);
        let unsent: Vec<Digest> = unsent.collect();
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|job| job.action.key);
        for key in waiting.chain(unsent) {
            self.said(key, unable(Reject::new("CANCELLED", "its worker leaves", "")))?;
        }
        if executor::trains() {
            self.under_way.values().for_each(|cancelled| cancelled.store(true, Ordering::Relaxed));
        }
        Ok(())
    }

    /// Ends what is under way: nobody asks for it any more.
    pub fn end(mut self) {
        self.under_way.values().for_each(|cancelled| cancelled.store(true, Ordering::Relaxed));
        self.executor.leave();
    }
}

/// Returns the record of an action that cannot be done.
fn unable(why: Reject) -> Recorded {
    Recorded { outcome: Outcome::failed(why), seconds: 0.0 }
}

fn stored(error: &io::Error) -> Reject {
    let hint = "free some space, or take another `--scratch`";
    Reject::new("STORE", format!("the files that the run sent cannot be kept: {error}"), hint)
}
