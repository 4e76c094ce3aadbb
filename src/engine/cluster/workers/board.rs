//! Who works for a run, and under which lease each action is with whom.
//!
//! A lease is a number that is given once. What ends under it counts as long as it holds; whoever is silent or gone loses
//! its leases, the actions are wanted again, and what comes late has no lease any more.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tomoflow_connectors::{Digest, Reject};

use super::super::packed::Packed;
use super::words::{Join, Pulse, ToWorker};
use crate::engine::status::WorkerStatus;
use crate::executor::work::Action;
use crate::executor::{Finished, Job};
use crate::store::{Artifacts, Outcome, Recorded};

/// An action that was with so many workers when they went is given to no more.
const LOST: u32 = 8;
/// A worker at which so many actions fail in a row for passing reasons rests.
const FAILING: u32 = 3;
/// For so long the first time, and twice as long each time after.
const REST: Duration = Duration::from_secs(30);
/// One that is silent for so many times as long as is allowed is hung up on, and can call again.
const GIVEN_UP: u32 = 10;

/// All who work for a run, under one plan.
pub struct Board {
    inner: Mutex<Inner>,
    report: Sender<Finished>,
    artifacts: Artifacts,
    silence: Duration,
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
}

/// One who works for the run.
pub struct Member {
    /// What it said of itself.
    pub join: Join,
    /// Where it called from.
    pub address: String,
    /// Whether its device is a GPU.
    pub gpu: bool,
    outbox: Sender<ToWorker>,
    stream: TcpStream,
    heard: Instant,
    silent: bool,
    leaving: bool,
    failing: u32,
    rests_until: Option<Instant>,
    /// Its leases: bytes each needs, and whether it needs the device.
    leases: BTreeMap<u64, (u64, bool)>,
    done: u64,
    pulse: Pulse,
}

struct Lease {
    member: u64,
    action: Action,
    cancelled: Arc<AtomicBool>,
    told: bool,
}

impl Member {
    /// Leases for the CPU or for the device.
    pub fn busy(&self, device: bool) -> usize {
        self.leases.values().filter(|(_, of)| *of == device).count()
    }

    /// Bytes that its leases need.
    pub fn needed(&self) -> u64 {
        self.leases.values().fold(0, |sum, (bytes, _)| sum.saturating_add(*bytes))
    }

    fn named(&self) -> String {
        format!("the worker `{}` at {}", self.join.name, self.address)
    }
}

impl Board {
    /// A board with nobody yet. What ends is said to `report`. `local` says whether the run's own machine works as well.
    pub fn new(report: Sender<Finished>, artifacts: Artifacts, silence: Duration, local: bool) -> Self {
        let inner = Mutex::new(Inner { local, ..Inner::default() });
        Self { inner, report, artifacts, silence }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody takes part from now on: its number, or what it is told when there is no more.
    ///
    /// # Errors
    /// What it is to be told.
    pub fn admit(
        &self,
        join: Join,
        address: String,
        outbox: Sender<ToWorker>,
        stream: TcpStream,
    ) -> Result<u64, ToWorker> {
        let mut inner = self.lock();
        if let Some(closed) = &inner.closed {
            return Err(closed.clone());
        }
        inner.last += 1;
        let number = inner.last;
        let gpu = join.device != "cpu";
        let (name, threads, device) = (join.name.clone(), join.threads, join.device.clone());
        tracing::info!("the worker `{name}` at {address} takes part: {threads} threads, {device}");
        let member = Member {
            join,
            address,
            gpu,
            outbox,
            stream,
            heard: Instant::now(),
            silent: false,
            leaving: false,
            failing: 0,
            rests_until: None,
            leases: BTreeMap::new(),
            done: 0,
            pulse: Pulse::default(),
        };
        inner.members.insert(number, member);
        Ok(number)
    }

    /// Chooses among those who may be given an action. Who failed at it is asked only where there is nobody else.
    pub fn choose<T>(&self, key: Digest, choose: impl FnOnce(&[(u64, &Member)]) -> T) -> T {
        let inner = self.lock();
        let now = Instant::now();
        let rests = |member: &Member| member.rests_until.is_some_and(|until| until > now);
        let fit = |(_, member): &(&u64, &Member)| !(member.silent || member.leaving || rests(member));
        let fit: Vec<(u64, &Member)> =
            inner.members.iter().filter(fit).map(|(number, member)| (*number, member)).collect();
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
        let said = ToWorker::Job(lease, Box::new((job.action.clone(), packed)));
        if member.outbox.send(said).is_err() {
            return Err(Box::new(job));
        }
        member.leases.insert(lease, (needed, device));
        let Job { action, cancelled, .. } = job;
        inner.leases.insert(lease, Lease { member: number, action, cancelled, told: false });
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
                    drop(member.outbox.send(ToWorker::Cancel(*number)));
                }
            }
        }
    }

    /// Whether an action of which the driver is told now was with a worker.
    pub fn ended(&self, key: Digest) -> bool {
        self.lock().ended.remove(&key)
    }

    /// Something was heard of a worker.
    pub fn heard(&self, number: u64) {
        if let Some(member) = self.lock().members.get_mut(&number) {
            member.heard = Instant::now();
            if std::mem::take(&mut member.silent) {
                tracing::warn!("{} is heard again", member.named());
            }
        }
    }

    /// How a worker is.
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

    /// An action has ended under a lease; nothing follows where the lease holds no more.
    ///
    /// # Errors
    /// Why this worker cannot be believed.
    pub fn finished(&self, number: u64, lease: u64, recorded: Recorded) -> Result<(), String> {
        // Looked at before anybody waits for it.
        let missing = match &recorded.outcome {
            Outcome::Ok { artifact, detail, .. } => {
                std::iter::once(artifact).chain(detail).any(|artifact| !self.artifacts.has(*artifact))
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
        let Some(Lease { action, cancelled, .. }) = inner.leases.remove(&lease) else { return Ok(()) };
        let key = action.key;
        let passing = match &recorded.outcome {
            Outcome::Failed { code, lasting: false, .. } if code != "CANCELLED" => Some(code.clone()),
            _ => None,
        };
        let Some(code) = passing else {
            member.failing = 0;
            member.done += 1;
            if recorded.outcome.lasts() {
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
        // What fails for a passing reason may be the machine's fault: another has a try before it counts.
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
        if member.leaving || inner.closed.is_some() {
            tracing::info!("{} has left", member.named());
        } else {
            let others = if count == 0 { String::new() } else { format!(": {count} actions go to others") };
            tracing::warn!("{} is gone ({why}){others}", member.named());
        }
        let leases = member.leases.keys().copied().collect();
        self.revoke(&mut inner, leases, !member.leaving);
    }

    /// Takes leases back. `counts` says whether their actions may be what brought their worker down.
    fn revoke(&self, inner: &mut Inner, leases: Vec<u64>, counts: bool) {
        for number in leases {
            let Some(Lease { member, action, .. }) = inner.leases.remove(&number) else { continue };
            if let Some(member) = inner.members.get_mut(&member) {
                member.leases.remove(&number);
                drop(member.outbox.send(ToWorker::Cancel(number)));
            }
            let lost = inner.lost.entry(action.key).or_default();
            *lost += u32::from(counts);
            let finished = if *lost < LOST { passed_on(action) } else { given_up(action, *lost) };
            self.tell(&mut inner.ended, finished);
        }
    }

    /// Says to all that the run is there, names those of whom nothing is heard, and takes their leases back.
    pub fn beat(&self) {
        let mut inner = self.lock();
        let mut revoked = Vec::new();
        for member in inner.members.values_mut() {
            if member.outbox.is_empty() {
                drop(member.outbox.send(ToWorker::Beat));
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
        self.revoke(&mut inner, revoked, true);
    }

    /// There is no more of this plan: all are told so, and whoever comes.
    pub fn close(&self, said: ToWorker) {
        let mut inner = self.lock();
        for member in inner.members.values() {
            drop(member.outbox.send(said.clone()));
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

    /// Who takes part, for `status`.
    pub fn status(&self) -> Vec<WorkerStatus> {
        let inner = self.lock();
        let status = |member: &Member| WorkerStatus {
            name: member.join.name.clone(),
            address: member.address.clone(),
            device: member.join.device.clone(),
            threads: member.join.threads,
            memory_bytes: member.join.memory_bytes,
            running: member.leases.len(),
            done: member.done,
            held_bytes: member.pulse.held_bytes,
            read_bytes: member.pulse.read_bytes,
            silent_s: member.silent.then(|| member.heard.elapsed().as_secs_f64()),
            leaving: member.leaving,
            trainings: member.pulse.trainings.clone(),
        };
        inner.members.values().map(status).collect()
    }
}

/// The end of an action that another is to do: the driver wants it again.
fn passed_on(action: Action) -> Finished {
    failed(action, Reject::new("CANCELLED", "its worker does it no more", ""))
}

/// The end of an action that nobody is to try again in this run.
fn given_up(action: Action, lost: u32) -> Finished {
    let message = format!("a worker that does it expected, {lost} went while they had it");
    let hint =
        "it may need more memory than they have: give it to one with more, or look at what they said last";
    failed(action, Reject::new("WORKERS_LOST", message, hint))
}

/// The end of an action that nobody did.
pub fn failed(action: Action, reject: Reject) -> Finished {
    Finished { action, recorded: Recorded { outcome: Outcome::failed(reject), seconds: 0.0 } }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use crossbeam_channel::{Receiver, unbounded};

    use super::*;
    use crate::executor::work::Work;
    use crate::pipeline::StageId;

    struct Place {
        board: Board,
        told: Receiver<Finished>,
        _out: tempfile::TempDir,
    }

    impl Place {
        fn new(silence: Duration) -> Self {
            let (report, told) = unbounded();
            let out = tempfile::tempdir().unwrap();
            let store = crate::store::Store::open(out.path()).unwrap();
            let board = Board::new(report, store.artifacts().clone(), silence, false);
            Self { board, told, _out: out }
        }

        fn member(&self, name: &str) -> (u64, Receiver<ToWorker>) {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (outbox, said) = unbounded();
            let join = Join {
                name: name.to_owned(),
                threads: 1,
                memory_bytes: 1 << 30,
                device: "cpu".to_owned(),
                plan: Digest::default(),
                sight: super::super::sight::look(&Default::default()),
            };
            (self.board.admit(join, "here".to_owned(), outbox, stream).unwrap(), said)
        }

        fn give(&self, number: u64, key: u8, said: &Receiver<ToWorker>) -> u64 {
            let action = Action {
                key: Digest::of(&[key]),
                stage: StageId::default(),
                work: Work::Train(Arc::default()),
            };
            let job = Job { action, cancelled: Arc::default(), lookup: None };
            assert!(self.board.give(number, job, Packed::default(), 1).is_ok());
            let lease = |said| match said {
                ToWorker::Job(lease, _) => Some(lease),
                _ => None,
            };
            said.try_iter().find_map(lease).unwrap()
        }

        /// What the driver is told, by code; `ok` for what is done.
        fn told(&self) -> Vec<String> {
            let code = |finished: Finished| {
                assert!(self.board.ended(finished.action.key));
                match finished.recorded.outcome {
                    Outcome::Ok { .. } => "ok".to_owned(),
                    Outcome::Failed { code, .. } => code,
                }
            };
            self.told.try_iter().map(code).collect()
        }

        fn done(&self) -> Recorded {
            let artifact = self.board.artifacts.put(b"mask").unwrap();
            let outcome = Outcome::Ok { artifact, detail: None, figures: [].into(), notes: [].into() };
            Recorded { outcome, seconds: 1.0 }
        }
    }

    fn failure(code: &str) -> Recorded {
        Recorded { outcome: Outcome::failed(Reject::new(code, "", "")), seconds: 1.0 }
    }

    #[test]
    fn a_late_answer_changes_nothing() {
        let place = Place::new(Duration::from_millis(1));
        let ((one, said), (other, heard)) = (place.member("one"), place.member("other"));
        let lease = place.give(one, 1, &said);
        std::thread::sleep(Duration::from_millis(3));
        place.board.beat();
        assert_eq!(place.told(), ["CANCELLED"], "it was silent");
        assert!(said.try_iter().any(|said| matches!(said, ToWorker::Cancel(number) if number == lease)));
        place.board.heard(other);
        let again = place.give(other, 1, &heard);
        // The first one's answer, somebody's under a lease that is not its own, and the right one, twice.
        place.board.finished(one, lease, place.done()).unwrap();
        place.board.finished(one, again, place.done()).unwrap();
        assert!(place.told().is_empty());
        place.board.finished(other, again, place.done()).unwrap();
        place.board.finished(other, again, place.done()).unwrap();
        assert_eq!(place.told(), ["ok"]);
        assert_eq!(place.board.status().iter().map(|one| one.done).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn what_fails_for_a_passing_reason_is_tried_by_another_first() {
        let place = Place::new(Duration::from_secs(60));
        let ((one, said), (other, heard)) = (place.member("one"), place.member("other"));
        let lease = place.give(one, 1, &said);
        place.board.finished(one, lease, failure("FILE_VANISHED")).unwrap();
        assert_eq!(place.told(), ["CANCELLED"]);
        let fit = |key: u8| {
            let numbers = |all: &[(u64, &Member)]| all.iter().map(|(number, _)| *number).collect::<Vec<_>>();
            place.board.choose(Digest::of(&[key]), numbers)
        };
        assert_eq!((fit(1), fit(2)), (vec![other], vec![one, other]));
        let lease = place.give(other, 1, &heard);
        place.board.finished(other, lease, failure("FILE_VANISHED")).unwrap();
        assert_eq!(place.told(), ["FILE_VANISHED"], "two of them say so");
        // One that fails at everything rests.
        for key in [2, 3] {
            let lease = place.give(one, key, &said);
            place.board.finished(one, lease, failure("STORE")).unwrap();
        }
        assert_eq!(fit(9), [other]);
        // What lasts is believed at once.
        let lease = place.give(other, 4, &heard);
        place.board.finished(other, lease, failure("NETWORK")).unwrap();
        assert_eq!(place.told(), ["CANCELLED", "CANCELLED", "NETWORK"]);
    }

    #[test]
    fn an_artifact_that_is_not_there_is_not_believed() {
        let place = Place::new(Duration::from_secs(60));
        let (one, said) = place.member("one");
        let lease = place.give(one, 1, &said);
        let artifact = Digest::of(b"elsewhere");
        let outcome = Outcome::Ok { artifact, detail: None, figures: [].into(), notes: [].into() };
        let why = place.board.finished(one, lease, Recorded { outcome, seconds: 1.0 }).unwrap_err();
        assert!(why.contains("not in the store"));
        place.board.gone(one, &why);
        assert_eq!(place.told(), ["CANCELLED"]);
    }

    #[test]
    fn an_action_that_takes_its_workers_along_is_given_up_in_the_end() {
        let place = Place::new(Duration::from_secs(60));
        let mut told = Vec::new();
        for _ in 0..LOST {
            let (one, said) = place.member("one");
            place.give(one, 1, &said);
            place.board.gone(one, "killed");
            told.extend(place.told());
        }
        let (last, before) = told.split_last().unwrap();
        assert!(last == "WORKERS_LOST" && before.iter().all(|code| code == "CANCELLED"), "{told:?}");
    }

    #[test]
    fn whoever_comes_to_a_closed_board_is_told_why() {
        let place = Place::new(Duration::from_secs(60));
        let (_, said) = place.member("one");
        place.board.close(ToWorker::End);
        assert!(matches!(said.try_recv(), Ok(ToWorker::End)));
    }
}
