//! Who is given an action: where its device is, where its memory is, and where the least waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tomoflow_connectors::{Digest, Reject};

use super::super::packed::Packed;
use super::board::{Board, Late, failed};
use super::member::Member;
use super::words::ToWorker;
use crate::engine::status::{GoneWorkers, WorkerStatus};
use crate::executor::work::Action;
use crate::executor::{Context, Executor, Finished, Job, needed};

/// The time after which it is said again that nobody can be given what waits.
const SAID: Duration = Duration::from_secs(30);
/// The time that workers may take to hear that there is no more.
const LEAVING: Duration = Duration::from_secs(2);
/// Cases that a GPU takes together, and one that is prepared meanwhile.
const ON_GPU: usize = 9;
/// The actions at once of a worker without a GPU: one that is at the device, and one that is prepared
/// meanwhile.
const ON_CPU: usize = 2;

/// The device that the pipeline's networks ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A GPU where there is one.
    Any,
    /// The CPU.
    Cpu,
    /// A GPU.
    Gpu,
}

impl Wanted {
    /// Returns the device that `device` of a pipeline names.
    pub fn of(device: &str) -> Self {
        match device {
            "auto" => Self::Any,
            "cpu" => Self::Cpu,
            _ => Self::Gpu,
        }
    }
}

/// What the run's own machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// Threads of its pool; 0 where it does no actions.
    pub threads: usize,
    /// Whether its device is a GPU.
    pub gpu: bool,
    /// Whether networks run on it.
    pub networks: bool,
}

/// All who work for a run beside its own machine.
pub struct Workers {
    board: Arc<Board>,
    wanted: Wanted,
    own: Own,
    /// What this machine has, and whether it needs the device.
    at_home: HashMap<Digest, bool>,
    said: Option<Instant>,
    /// Whether something waited for somebody since this was last tended.
    waits: bool,
    ended: bool,
}

/// One who may be given an action.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    /// Its number; none for the run's own machine.
    number: Option<u64>,
    gpu: bool,
    threads: usize,
    busy: usize,
    memory_bytes: u64,
    needed_bytes: u64,
}

/// What becomes of an action.
#[derive(Debug, PartialEq)]
enum Chosen {
    Home,
    Worker(u64),
    Waits,
    /// Nobody who is there has so much memory; the most that one has.
    TooLarge(u64),
    /// Nobody is there who could ever do it.
    Nobody,
}

impl Workers {
    /// Takes the workers of a board, and this machine.
    pub fn new(board: Arc<Board>, wanted: Wanted, own: Own) -> Self {
        Self { board, wanted, own, at_home: HashMap::new(), said: None, waits: false, ended: false }
    }

    /// Gives an action to somebody, or back when it is to wait.
    ///
    /// # Errors
    /// The job.
    pub fn place(&mut self, home: &Executor, context: &Context, job: Job) -> Result<(), Box<Job>> {
        let (key, device) = (job.action.key, job.action.work.needs_device());
        let needs = needed(context, &job.action);
        let own = self.candidate(home, device);
        let wanted = self.wanted;
        let chosen = self.board.choose(key, |members| {
            let mut all: Vec<Candidate> = own.into_iter().collect();
            all.extend(members.iter().map(|(number, member)| Candidate::of(*number, member, device)));
            choose(&all, device, wanted, needs)
        });
        match chosen {
            Chosen::Home => {
                home.submit(job)?;
                self.at_home.insert(key, device);
                Ok(())
            }
            Chosen::Worker(number) => {
                let packed = Packed::of(context, &job.action);
                self.board.give(number, job, packed, needs)
            }
            Chosen::Waits => {
                self.waits = true;
                Err(Box::new(job))
            }
            Chosen::TooLarge(most) => {
                self.board.report(too_large(job.action, needs, most));
                Ok(())
            }
            Chosen::Nobody => {
                self.waits = true;
                self.say(device);
                Err(Box::new(job))
            }
        }
    }

    /// Returns this machine, if it does such actions.
    fn candidate(&self, home: &Executor, device: bool) -> Option<Candidate> {
        let does = self.own.threads > 0 && (!device || self.own.networks);
        does.then(|| Candidate {
            number: None,
            gpu: self.own.gpu,
            threads: self.own.threads,
            busy: self.at_home.values().filter(|of| **of == device).count(),
            memory_bytes: home.memory_bytes(),
            needed_bytes: home.bytes().0,
        })
    }

    /// Says from time to time that nobody is there.
    fn say(&mut self, device: bool) {
        if self.said.is_some_and(|said| said.elapsed() < SAID) {
            return;
        }
        self.said = Some(Instant::now());
        let what = match (device, self.wanted) {
            (true, Wanted::Gpu) => "networks wait for a worker with a GPU",
            _ => "actions wait for a worker",
        };
        tracing::warn!("{what}: none is there (`tomoflow work --join`)");
    }

    /// Notes a report, of which it must be told each time, and returns whether the action was at this
    /// machine, and whether the executor was given it.
    pub fn ended(&mut self, action: &Action) -> bool {
        !self.board.ended(action.key) && self.at_home.remove(&action.key).is_some()
    }

    /// Says to workers what is no longer wanted, takes from busy ones for those who have nothing to do, and gives these what
    /// takes far too long elsewhere once nothing else is left.
    pub fn tend(&mut self, context: &Context) {
        self.board.cancel();
        self.board.balance(self.own.threads > 0 && self.at_home.is_empty());
        if std::mem::take(&mut self.waits) {
            return;
        }
        let Some(Late { number, action, cancelled, needs }) = self.board.late() else { return };
        let packed = Packed::of(context, &action);
        let job = Job { action: action.clone(), cancelled, lookup: None };
        // One that has gone meanwhile is given nothing.
        if self.board.give(number, job, packed, needs).is_ok() {
            self.board.gave_twice(number, &action);
        }
    }

    /// Ends the run and tells workers so.
    pub fn end(&mut self) {
        self.ended = true;
        self.board.close(ToWorker::End);
        self.board.wait_until_left(LEAVING);
    }

    /// Returns who took part in the run and is gone.
    pub fn departed(&self) -> GoneWorkers {
        self.board.departed()
    }

    /// Returns who takes part, for `status`.
    pub fn status(&self) -> Vec<WorkerStatus> {
        self.board.status()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Another plan follows, or another run.
        if !self.ended {
            self.board.close(ToWorker::Again);
        }
    }
}

impl Candidate {
    fn of(number: u64, member: &Member, device: bool) -> Self {
        Self {
            number: Some(number),
            gpu: member.gpu,
            threads: member.join.threads.max(1) as usize,
            busy: member.busy(device),
            memory_bytes: member.join.memory_bytes,
            needed_bytes: member.needed(),
        }
    }

    /// Returns the number of actions that it may have at once: those that it is at, and the next.
    fn most(&self, device: bool) -> usize {
        match (device, self.gpu) {
            (false, _) => self.threads + 1,
            (true, true) => ON_GPU.min(2 + self.threads),
            (true, false) => ON_CPU,
        }
    }

    fn has_room(&self, device: bool, needs: u64) -> bool {
        let free = self.memory_bytes.saturating_sub(self.needed_bytes);
        self.busy < self.most(device) && (needs <= free || self.needed_bytes == 0)
    }
}

/// The end of an action that nobody who is there has the memory for.
fn too_large(action: Action, needs: u64, most: u64) -> Finished {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let message = format!("a worker with {} MiB expected, the largest has {} MiB", mib(needs), mib(most));
    let hint = "start a worker with more `--memory`, then run again";
    failed(action, Reject::new("OVER_BUDGET", message, hint))
}

/// Chooses who of all that are there is given an action.
fn choose(all: &[Candidate], device: bool, wanted: Wanted, needs: u64) -> Chosen {
    let able = |one: &&Candidate| !device || wanted != Wanted::Gpu || one.gpu;
    let able: Vec<&Candidate> = all.iter().filter(able).collect();
    let Some(most) = able.iter().map(|one| one.memory_bytes).max() else { return Chosen::Nobody };
    let own = able.iter().any(|one| one.number.is_none());
    let large: Vec<&Candidate> = able.into_iter().filter(|one| one.memory_bytes >= needs).collect();
    if large.is_empty() {
        // This machine says it in its own words.
        return if own { Chosen::Home } else { Chosen::TooLarge(most) };
    }
    // A network waits for a device rather than run where there is none.
    let gpu = device && wanted == Wanted::Any && large.iter().any(|one| one.gpu);
    let fit = large.into_iter().filter(|one| (!gpu || one.gpu) && one.has_room(device, needs));
    // The least busy for its size; of equals this machine, to which nothing has to be sent.
    let least = fit.min_by_key(|one| (one.busy * 1024 / one.threads, one.number));
    match least.map(|one| one.number) {
        Some(None) => Chosen::Home,
        Some(Some(number)) => Chosen::Worker(number),
        None => Chosen::Waits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: Option<u64>, gpu: bool, threads: usize) -> Candidate {
        Candidate { number, gpu, threads, busy: 0, memory_bytes: 100, needed_bytes: 0 }
    }

    #[test]
    fn networks_go_where_the_device_is() {
        let all = [candidate(None, false, 4), candidate(Some(1), true, 1), candidate(Some(2), false, 8)];
        let choose = |all: &[Candidate], wanted| choose(all, true, wanted, 10);
        assert_eq!(choose(&all, Wanted::Any), Chosen::Worker(1));
        assert_eq!(choose(&all, Wanted::Gpu), Chosen::Worker(1));
        assert_eq!(choose(&all, Wanted::Cpu), Chosen::Home);
        // A GPU that is busy is waited for; where there is none any device does, or nobody.
        let busy = [all[0], Candidate { busy: 3, ..all[1] }, all[2]];
        assert_eq!(choose(&busy, Wanted::Any), Chosen::Waits);
        assert_eq!(choose(&[all[0], all[2]], Wanted::Any), Chosen::Home);
        assert_eq!(choose(&[all[0], all[2]], Wanted::Gpu), Chosen::Nobody);
        // Other work goes anywhere.
        assert_eq!(super::choose(&busy, false, Wanted::Any, 10), Chosen::Home);
    }

    #[test]
    fn memory_is_counted_where_the_work_runs() {
        let small = Candidate { memory_bytes: 50, ..candidate(Some(1), false, 4) };
        let large = Candidate { busy: 2, ..candidate(Some(2), false, 4) };
        let choose = |all: &[Candidate], needs| choose(all, false, Wanted::Any, needs);
        assert_eq!(choose(&[small, large], 10), Chosen::Worker(1));
        assert_eq!(choose(&[small, large], 60), Chosen::Worker(2));
        assert_eq!(choose(&[small, large], 101), Chosen::TooLarge(100));
        let held = Candidate { needed_bytes: 70, ..large };
        assert_eq!(choose(&[small, held], 60), Chosen::Waits);
        assert_eq!(choose(&[], 60), Chosen::Nobody);
    }

    #[test]
    fn the_least_busy_is_given_the_next_and_nobody_hoards() {
        let mut all = [candidate(None, false, 1), candidate(Some(1), false, 2)];
        let mut given = Vec::new();
        while let Some(at) = match choose(&all, false, Wanted::Any, 0) {
            Chosen::Home => Some(0),
            Chosen::Worker(_) => Some(1),
            _ => None,
        } {
            all[at].busy += 1;
            given.push(at);
        }
        // Twice as many go to twice as many threads, and one more to each that waits there.
        assert_eq!(given, [0, 1, 1, 0, 1]);
    }
}
