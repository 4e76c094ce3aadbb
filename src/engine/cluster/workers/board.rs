//! Who works for a run, and under which lease each action is with whom.
//!
//! A lease is a number that is given once. What ends under it counts as long as it holds; whoever is silent or gone loses
//! its leases, the actions are wanted again, and what comes late has no lease any more.

mod ends;
#[cfg(test)]
mod tests;
mod twice;

pub use ends::failed;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tomoflow_connectors::Digest;

pub use self::twice::Late;
use self::twice::Pace;
use super::super::packed::Packed;
use super::member::{Member, ToSend};
use super::words::{Join, Pulse, ToWorker, What};
use crate::engine::status::{GoneWorkers, WorkerStatus};
use crate::executor::work::Action;
use crate::executor::{Finished, Job};
use crate::store::{Artifacts, Incoming, StoreError};

/// The time after which an action that waits with a busy worker is given to one that has nothing to do.
const LATE: Duration = Duration::from_millis(100);
/// The multiple of the allowed silence after which a worker is hung up on; it can call again.
const GIVEN_UP: u32 = 10;

/// All who work for a run, under one plan.
pub struct Board {
    inner: Mutex<Inner>,
    report: Sender<Finished>,
    artifacts: Artifacts,
    silence: Duration,
    /// Those who are gone, of the whole run.
    departed: Arc<Mutex<GoneWorkers>>,
}

#[derive(Default)]
struct Inner {
    members: BTreeMap<u64, Member>,
    leases: HashMap<u64, Lease>,
    /// The greatest number that was given, of members and of leases.
    last: u64,
    /// Actions that ended under a lease, and of which the driver was not told yet.
    ended: HashSet<Digest>,
    /// How many workers went with each action.
    lost: HashMap<Digest, u32>,
    /// Who failed at each action for a passing reason.
    failed: HashMap<Digest, BTreeSet<u64>>,
    /// What is said to those who come now: there is nothing more of this plan.
    closed: Option<ToWorker>,
    local: bool,
    /// How long actions take, so that those that take far longer are known.
    pace: Pace,
}

struct Lease {
    member: u64,
    action: Action,
    /// The packed rows that its worker may ask for, where it does not see the files.
    packed: Option<Packed>,
    since: Instant,
    cancelled: Arc<AtomicBool>,
    told: bool,
}

impl Inner {
    /// An action that waits with a worker while another could begin it at once.
    fn waiting(&self, device: bool, home: bool) -> Option<u64> {
        let idle = |member: &&Member| member.busy(device) == 0 && member.may();
        let idle = self.members.values().filter(idle).map(|member| (member.join.memory_bytes, member.gpu));
        // Networks are left where they are, but for a device of the same kind.
        let home = (home && !device).then_some((u64::MAX, false));
        let idle: Vec<(u64, bool)> = idle.chain(home).collect();
        let could = |member: &Member, needs: u64| {
            idle.iter().any(|(memory, gpu)| *memory >= needs && (!device || *gpu == member.gpu))
        };
        let at_once = |member: &Member| if device { 1 } else { member.join.threads.max(1) as usize };
        let late = |lease: &u64| self.leases.get(lease).is_some_and(|lease| lease.since.elapsed() > LATE);
        let busy = self.members.values().filter(|member| member.busy(device) > at_once(member));
        busy.flat_map(|member| {
            // The leases that came last have not begun.
            let last = member.leases.iter().rev().filter(|(_, (_, of))| *of == device);
            let last = last.take(member.busy(device) - at_once(member));
            last.filter(|(lease, (needs, _))| late(lease) && could(member, *needs))
        })
        .map(|(lease, _)| *lease)
        .next()
    }
}

impl Board {
    /// A board with nobody yet. What ends is said to `report`. `local` says whether the run's own machine works as well; who
    /// goes is noted in `departed`.
    pub fn new(
        report: Sender<Finished>,
        artifacts: Artifacts,
        silence: Duration,
        local: bool,
        departed: Arc<Mutex<GoneWorkers>>,
    ) -> Self {
        let inner = Mutex::new(Inner { local, ..Inner::default() });
        Self { inner, report, artifacts, silence, departed }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a worker take part from now on, and returns its number, or what it is told when there is no more.
    ///
    /// # Errors
    /// What it is to be told.
    pub fn admit(
        &self,
        join: Join,
        address: String,
        sees: bool,
        outbox: Sender<ToSend>,
        stream: TcpStream,
    ) -> Result<u64, ToWorker> {
        let mut inner = self.lock();
        if let Some(closed) = &inner.closed {
            return Err(closed.clone());
        }
        inner.last += 1;
        let number = inner.last;
        let (name, threads, device) = (join.name.clone(), join.threads, join.device.clone());
        let sent = if sees { "" } else { "; what it needs is sent to it" };
        tracing::info!("the worker `{name}` at {address} takes part: {threads} threads, {device}{sent}");
        let member = Member::new(join, address, sees, outbox, stream);
        inner.members.insert(number, member);
        Ok(number)
    }

    /// Chooses among those who may be given an action. Who failed at it is asked only where there is nobody else.
    pub fn choose<T>(&self, key: Digest, choose: impl FnOnce(&[(u64, &Member)]) -> T) -> T {
        let inner = self.lock();
        let may = inner.members.iter().filter(|(_, member)| member.may());
        let fit: Vec<(u64, &Member)> = may.map(|(number, member)| (*number, member)).collect();
        let Some(failed) = inner.failed.get(&key) else { return choose(&fit) };
        let others: Vec<(u64, &Member)> =
            fit.iter().copied().filter(|(number, _)| !failed.contains(number)).collect();
        choose(if others.is_empty() && !inner.local { &fit } else { &others })
    }

    /// Gives an action to a worker.
    ///
    /// # Errors
    /// The job, when that one has gone meanwhile.
    pub fn give(&self, number: u64, job: Job, packed: Packed, needed: u64) -> Result<(), Box<Job>> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(member) = inner.members.get_mut(&number) else { return Err(Box::new(job)) };
        inner.last += 1;
        let (lease, device) = (inner.last, job.action.work.needs_device());
        let held = (!member.sees).then(|| packed.clone());
        let said = ToWorker::Job(lease, Box::new((job.action.clone(), packed)));
        if member.outbox.send(ToSend::Said(said)).is_err() {
            return Err(Box::new(job));
        }
        member.leases.insert(lease, (needed, device));
        let Job { action, cancelled, .. } = job;
        let since = Instant::now();
        let held = Lease { member: number, action, packed: held, since, cancelled, told: false };
        inner.leases.insert(lease, held);
        Ok(())
    }

    /// Says to workers what is no longer wanted.
    pub fn cancel(&self) {
        let mut inner = self.lock();
        let Inner { leases, members, .. } = &mut *inner;
        for (number, lease) in leases {
            if !lease.told && lease.cancelled.load(Ordering::Relaxed) {
                lease.told = true;
                if let Some(member) = members.get(&lease.member) {
                    member.say(ToWorker::Cancel(*number));
                }
            }
        }
    }

    /// Takes what waits with a busy worker back for one that has nothing to do, one action at a time. `home` says whether this
    /// machine has nothing to do either.
    pub fn balance(&self, home: bool) {
        let mut inner = self.lock();
        for device in [false, true] {
            let waiting = inner.waiting(device, home);
            self.revoke(&mut inner, waiting.into_iter().collect(), false);
        }
    }

    /// Whether an action of which the driver is told now was with a worker.
    pub fn ended(&self, key: Digest) -> bool {
        self.lock().ended.remove(&key)
    }

    /// Notes that something was heard of a worker.
    pub fn heard(&self, number: u64) {
        if let Some(member) = self.lock().members.get_mut(&number) {
            member.heard = Instant::now();
            if std::mem::take(&mut member.silent) {
                tracing::warn!("{} is heard again", member.named());
            }
        }
    }

    /// Notes how a worker is.
    pub fn pulse(&self, number: u64, pulse: Pulse) {
        if let Some(member) = self.lock().members.get_mut(&number) {
            member.pulse = pulse;
        }
    }

    /// A worker was told to stop, and takes no more.
    pub fn leaves(&self, number: u64) {
        if let Some(member) = self.lock().members.get_mut(&number) {
            member.leaving = true;
            tracing::info!("{} leaves", member.named());
        }
    }

    /// Sends what was asked for under a lease, and nothing that the lease's action does not need.
    pub fn wanted(&self, number: u64, lease: u64, wants: &[What]) {
        let inner = self.lock();
        let held = inner.leases.get(&lease).filter(|held| held.member == number);
        let (Some(Lease { action, packed: Some(packed), .. }), Some(member)) =
            (held, inner.members.get(&number))
        else {
            return;
        };
        for &what in wants {
            let found = match what {
                What::Artifact(digest) => {
                    needs(action, packed, digest).then(|| (self.artifacts.path(digest), None))
                }
                What::File(place) => packed.file(place).map(|file| (file.path.clone(), Some(file.clone()))),
            };
            match found {
                Some((path, indexed)) => {
                    drop(member.outbox.send(ToSend::File { lease, what, path, indexed }))
                }
                None => tracing::warn!("{} asks for what its action does not need", member.named()),
            }
        }
    }

    /// Begins to take what an action of this worker left.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn begin(&self, number: u64, lease: u64, digest: Digest) -> Result<Option<Incoming>, StoreError> {
        let holds = self.lock().leases.get(&lease).is_some_and(|lease| lease.member == number);
        if holds { self.artifacts.begin(digest).map(Some) } else { Ok(None) }
    }

    /// Says to all that the run is there, names those of whom nothing is heard, and takes their leases back.
    pub fn beat(&self) {
        let mut inner = self.lock();
        let mut revoked = Vec::new();
        for member in inner.members.values_mut() {
            if member.outbox.is_empty() {
                member.say(ToWorker::Beat);
            }
            let silent = member.heard.elapsed();
            if silent > self.silence * GIVEN_UP {
                // Its listener finds it closed.
                drop(member.stream.shutdown(std::net::Shutdown::Both));
            }
            if silent > self.silence && !std::mem::replace(&mut member.silent, true) {
                let leases: Vec<u64> = member.leases.keys().copied().collect();
                let seconds = silent.as_secs();
                let count = leases.len();
                tracing::warn!(
                    "nothing was heard of {} for {seconds} s: {count} actions go to others",
                    member.named()
                );
                revoked.extend(leases);
            }
        }
        // A worker that is only slow, or cut off, says nothing about its actions.
        self.revoke(&mut inner, revoked, false);
    }

    /// Ends this plan's work: all are told so, and whoever comes.
    pub fn close(&self, said: ToWorker) {
        let mut inner = self.lock();
        for member in inner.members.values() {
            member.say(said.clone());
        }
        inner.closed = Some(said);
    }

    /// Waits a while for those who are heard to leave.
    pub fn wait_until_left(&self, patience: Duration) {
        let began = Instant::now();
        let here = || self.lock().members.values().any(|member| !member.silent);
        while began.elapsed() < patience && here() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns who took part in the run and is gone.
    pub fn departed(&self) -> GoneWorkers {
        self.departed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns who takes part, for `status`.
    pub fn status(&self) -> Vec<WorkerStatus> {
        let inner = self.lock();
        inner.members.values().map(Member::status).collect()
    }
}

/// Whether an action needs an artifact.
fn needs(action: &Action, packed: &Packed, digest: Digest) -> bool {
    let work = &action.work;
    let prepared = || work.members().into_iter().flatten().any(|member| member.prepared == Some(digest));
    work.artifacts().contains(&digest)
        || work.models().contains(&digest)
        || packed.kept_artifacts().any(|kept| kept == digest)
        || prepared()
}
