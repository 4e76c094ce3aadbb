//! How leases end: with an action that is done or failed, with a worker that goes, or taken back.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tomoflow_connectors::{Digest, Reject};

use super::{Board, Inner, Lease};
use crate::engine::cluster::workers::words::ToWorker;
use crate::executor::Finished;
use crate::executor::work::Action;
use crate::store::{Outcome, Recorded};

/// An action that was with so many workers when they went is given to no more.
pub(super) const LOST: u32 = 8;
/// A worker at which so many actions fail in a row for passing reasons rests.
const FAILING: u32 = 3;
/// The time for which a worker that fails rests the first time; it doubles each time after.
const REST: Duration = Duration::from_secs(30);
/// The number of times that an artifact that a worker tells of is looked for, and the time between two looks.
const SHOWN_WITHIN: u32 = 10;
const APART: Duration = Duration::from_millis(100);

impl Board {
    /// An action has ended under a lease; nothing follows where the lease holds no more.
    ///
    /// # Errors
    /// Why this worker cannot be believed.
    pub fn finished(&self, number: u64, lease: u64, recorded: Recorded) -> Result<(), String> {
        // Looked at before anybody waits for it.
        let missing = match &recorded.outcome {
            Outcome::Ok { artifact, detail, .. } => {
                std::iter::once(artifact).chain(detail).any(|artifact| !self.comes(*artifact))
            }
            Outcome::Failed { .. } => false,
        };
        let mut inner = self.lock();
        let inner = &mut *inner;
        let holds = inner.leases.get(&lease).is_some_and(|lease| lease.member == number);
        let Some(member) = inner.members.get_mut(&number).filter(|_| holds) else {
            tracing::debug!(lease, "came late: another has it, and nothing follows");
            return Ok(());
        };
        if missing {
            // Whoever hears it loses all its leases.
            return Err("what it says it left is not in the store".to_owned());
        }
        member.leases.remove(&lease);
        let Some(Lease { action, cancelled, since, .. }) = inner.leases.remove(&lease) else { return Ok(()) };
        let key = action.key;
        if inner.goes_on(key, &recorded) {
            return Ok(());
        }
        let Some(member) = inner.members.get_mut(&number) else { return Ok(()) };
        let passing = match &recorded.outcome {
            Outcome::Failed { code, lasting: false, .. } if code != "CANCELLED" => Some(code.clone()),
            _ => None,
        };
        let Some(code) = passing else {
            member.failing = 0;
            member.done += 1;
            if recorded.outcome.lasts() {
                inner.pace.note(&action, since.elapsed());
                inner.lost.remove(&key);
                inner.failed.remove(&key);
            }
            self.tell(&mut inner.ended, Finished { action, recorded });
            return Ok(());
        };
        member.failing += 1;
        if member.failing >= FAILING {
            let rest = REST * 2u32.saturating_pow((member.failing - FAILING).min(6));
            member.rests_until = Some(Instant::now() + rest);
            tracing::warn!(
                "{} actions in a row failed at {} ({code}): it is given nothing for {} s",
                member.failing,
                member.named(),
                rest.as_secs()
            );
        }
        let name = member.named();
        let failed = inner.failed.entry(key).or_default();
        failed.insert(number);
        // A failure for a passing reason may be the machine's fault: another worker has a try before it
        // counts.
        let others = inner.local || inner.members.keys().any(|other| !failed.contains(other));
        if others && failed.len() == 1 && !cancelled.load(Ordering::Relaxed) {
            tracing::warn!(action = %key.short(), code, "failed at {name}, given to another");
            self.tell(&mut inner.ended, passed_on(action));
        } else {
            inner.failed.remove(&key);
            self.tell(&mut inner.ended, Finished { action, recorded });
        }
        Ok(())
    }

    /// Whether an artifact is there; a file system that machines share may show it a moment later.
    fn comes(&self, artifact: Digest) -> bool {
        (0..SHOWN_WITHIN).any(|look| {
            if look > 0 {
                std::thread::sleep(APART);
            }
            self.artifacts.has(artifact)
        })
    }

    /// Tells the driver of an action that was given to nobody.
    pub fn report(&self, finished: Finished) {
        self.tell(&mut self.lock().ended, finished);
    }

    fn tell(&self, ended: &mut HashSet<Digest>, finished: Finished) {
        ended.insert(finished.action.key);
        // Nobody listens any more once a run has ended.
        drop(self.report.send(finished));
    }

    /// A worker is gone: what it had is wanted again.
    pub fn gone(&self, number: u64, why: &str) {
        let mut inner = self.lock();
        let Some(member) = inner.members.remove(&number) else { return };
        drop(member.stream.shutdown(std::net::Shutdown::Both));
        let count = member.leases.len();
        let in_order = member.leaving || inner.closed.is_some();
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        departed.note(member.status(), (!in_order).then_some(why));
        drop(departed);
        if in_order {
            tracing::info!("{} has left", member.named());
        } else {
            let others = if count == 0 { String::new() } else { format!(": {count} actions go to others") };
            tracing::warn!("{} is gone ({why}){others}", member.named());
        }
        let leases = member.leases.keys().copied().collect();
        self.revoke(&mut inner, leases, !member.leaving);
    }

    /// Takes leases back. `counts` says whether their actions may be what brought their worker down.
    pub(super) fn revoke(&self, inner: &mut Inner, leases: Vec<u64>, counts: bool) {
        for number in leases {
            let Some(Lease { member, action, .. }) = inner.leases.remove(&number) else { continue };
            if let Some(member) = inner.members.get_mut(&member) {
                member.leases.remove(&number);
                member.say(ToWorker::Cancel(number));
            }
            let lost = inner.lost.entry(action.key).or_default();
            *lost += u32::from(counts);
            let lost = *lost;
            if inner.holders(action.key).next().is_some() {
                continue;
            }
            let finished = if lost < LOST { passed_on(action) } else { given_up(action, lost) };
            self.tell(&mut inner.ended, finished);
        }
    }
}

/// The end of an action that another is to do: the driver wants it again.
fn passed_on(action: Action) -> Finished {
    failed(action, Reject::new("CANCELLED", "its worker does it no more", ""))
}

/// The end of an action that nobody is to try again in this run.
fn given_up(action: Action, lost: u32) -> Finished {
    let message = format!("a worker that does the action expected, {lost} workers went while they had it");
    let hint = "the action may need more memory than they have: start a worker with more, or look at the last lines \
         of their logs";
    failed(action, Reject::new("WORKERS_LOST", message, hint))
}

/// The end of an action that nobody did.
pub fn failed(action: Action, reject: Reject) -> Finished {
    Finished { action, recorded: Recorded { outcome: Outcome::failed(reject), seconds: 0.0 } }
}
