//! Everybody who does actions: this process's own executor, and the other processes.

use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};
use tomoflow_connectors::Digest;

use super::ClusterError;
use super::link::Link;
use super::links::{Links, Peer};
use super::message::{FromPeer, ToPeer, hear};
use super::packed::Packed;
use super::pulse::Pulse;
use super::workers::Workers;
use crate::engine::rules::Rules;
use crate::engine::status::{GoneWorkers, WorkerStatus};
use crate::executor::work::Action;
use crate::executor::{Context, Executor, Finished, Job};

/// Tells the others what rules over the archive are settled on, when the pipeline has any: nothing that process 0
/// says comes before.
///
/// # Errors
/// When one of them is gone.
pub fn tell(links: &mut Links, rules: &Rules) -> Result<(), ClusterError> {
    if rules.is_empty() {
        return Ok(());
    }
    for Peer { process, link, .. } in &mut links.work {
        let said = link.say(&ToPeer::Settled(rules.settled()));
        said.map_err(|source| ClusterError::Link { process: *process, source })?;
    }
    Ok(())
}

/// Everybody who does actions.
pub struct Crew {
    own: Executor,
    context: Context,
    peers: Vec<Remote>,
    /// Workers that come and go, where the run takes any.
    workers: Option<Workers>,
    /// What others say beside their reports, which come where the executor's come.
    said: Receiver<(usize, Said)>,
    /// The flag that is set when another process was told to stop.
    stop: Arc<AtomicBool>,
    /// Says to the others that this process is there.
    _pulse: Option<Pulse>,
}

/// What came from another process beside reports.
enum Said {
    Stop,
    Gone,
}

/// Another process.
struct Remote {
    peer: Peer,
    /// Jobs under way there, with whether they are still wanted, and whether it was told that they are not.
    jobs: HashMap<Digest, (Arc<AtomicBool>, bool)>,
}

impl Crew {
    /// An executor, and the processes at the other ends of links. `stop` is set when one of them is told to
    /// stop.
    ///
    /// # Errors
    /// When a link breaks at once.
    pub fn new(
        own: Executor,
        context: Context,
        peers: Option<(Vec<Peer>, Pulse)>,
        stop: Arc<AtomicBool>,
    ) -> std::io::Result<Self> {
        let (to_crew, said) = unbounded();
        let (peers, pulse) = peers.map_or((Vec::new(), None), |(peers, pulse)| (peers, Some(pulse)));
        for (place, peer) in peers.iter().enumerate() {
            let (mut hearing, link) = (peer.link.hearing()?, peer.link.clone());
            let (to_crew, report) = (to_crew.clone(), own.reporter());
            let listening = move || {
                let said = listen(&mut hearing, &link, place, &to_crew, &report);
                drop(to_crew.send((place, said)));
            };
            std::thread::Builder::new().name(format!("peer-{}", peer.process)).spawn(listening)?;
        }
        let peers = peers.into_iter().map(|peer| Remote { peer, jobs: HashMap::new() }).collect();
        Ok(Self { own, context, peers, workers: None, said, stop, _pulse: pulse })
    }

    /// Returns the same crew with workers that come and go.
    pub fn with(mut self, workers: Option<Workers>) -> Self {
        self.workers = workers;
        self
    }

    /// Ends the run's work and tells workers so.
    pub fn end(&mut self) {
        self.workers.iter_mut().for_each(Workers::end);
    }

    /// Workers that take part now.
    pub fn status(&self) -> Vec<WorkerStatus> {
        self.workers.as_ref().map_or_else(Vec::new, Workers::status)
    }

    /// Workers that took part in the run and are gone.
    pub fn departed(&self) -> GoneWorkers {
        self.workers.as_ref().map_or_else(GoneWorkers::default, Workers::departed)
    }

    /// Waits for no action of this process when it is dropped.
    pub fn leave(&mut self) {
        self.own.leave();
    }

    /// Returns the number of queues: one for the CPU and one for the device, for each process.
    pub fn queues(&self) -> usize {
        2 * (1 + self.peers.len())
    }

    /// The queue of an action: its process by the case's key (a training's by its own), then its kind.
    pub fn queue_of(&self, action: &Action) -> usize {
        2 * self.process_of(action) + usize::from(action.work.needs_device())
    }

    fn process_of(&self, action: &Action) -> usize {
        if self.peers.is_empty() {
            return 0;
        }
        let digest = action.work.series().map_or(action.key, |series| Digest::of(series.key.as_bytes()));
        let number = digest.0.iter().take(8).fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        (number % (1 + self.peers.len() as u64)) as usize
    }

    /// Hands an action to the process that it belongs to, or gives it back when there is no room now.
    ///
    /// # Errors
    /// The job.
    pub fn submit(&mut self, job: Job) -> Result<(), Box<Job>> {
        if let Some(workers) = &mut self.workers {
            return workers.place(&self.own, &self.context, job);
        }
        let process = self.process_of(&job.action);
        let Some(remote) = process.checked_sub(1).and_then(|place| self.peers.get_mut(place)) else {
            return self.own.submit(job);
        };
        // A process has as many actions as it works on, and as many again, so that it never waits for the
        // next.
        if remote.jobs.len() >= 2 * remote.peer.threads + 2 {
            return Err(Box::new(job));
        }
        let packed = Packed::of(&self.context, &job.action);
        let message = ToPeer::Job(Box::new((job.action.clone(), packed)));
        if remote.peer.link.say(&message).is_err() {
            // Its listener says that it is gone, which ends the run.
            return Err(Box::new(job));
        }
        remote.jobs.insert(job.action.key, (job.cancelled, false));
        Ok(())
    }

    /// Gives up what takes too long, tells others what is no longer wanted, and hears what they say.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn tend(&mut self) -> Result<(), TendError> {
        self.own.give_up()?;
        self.workers.iter_mut().for_each(|workers| workers.tend(&self.context));
        for remote in &mut self.peers {
            for (key, (cancelled, told)) in &mut remote.jobs {
                if cancelled.load(Ordering::Relaxed) && !*told {
                    *told = true;
                    drop(remote.peer.link.say(&ToPeer::Cancel(*key)));
                }
            }
        }
        while let Ok((place, said)) = self.said.try_recv() {
            match said {
                Said::Stop => self.stop.store(true, Ordering::Relaxed),
                Said::Gone => {
                    let Peer { process, host, .. } = &self.peers[place].peer;
                    return Err(TendError::Peer(ClusterError::Lost {
                        process: *process,
                        host: host.clone(),
                    }));
                }
            }
        }
        Ok(())
    }

    /// Notes a report: it must be told of every one, so that the next job for the device may come.
    pub fn ended(&mut self, action: &Action) {
        if let Some(workers) = &mut self.workers {
            if workers.ended(action) {
                self.own.ended(action);
            }
            return;
        }
        match self.process_of(action).checked_sub(1).and_then(|place| self.peers.get_mut(place)) {
            Some(remote) => drop(remote.jobs.remove(&action.key)),
            None => self.own.ended(action),
        }
    }

    /// Returns the receiver of all that is done, by whichever process.
    pub fn finished(&self) -> &Receiver<Finished> {
        self.own.finished()
    }

    /// Bytes that this process's actions hold now, and bytes of source files it has read so far.
    pub fn bytes(&self) -> (u64, u64) {
        self.own.bytes()
    }
}

/// The reasons why the crew cannot go on.
#[derive(Debug)]
pub enum TendError {
    /// The system gives no more threads.
    Threads(std::io::Error),
    /// A process is gone.
    Peer(ClusterError),
}

impl From<std::io::Error> for TendError {
    fn from(error: std::io::Error) -> Self {
        Self::Threads(error)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for remote in &mut self.peers {
            drop(remote.peer.link.say(&ToPeer::End));
        }
    }
}

/// Hears another process until it is gone; its reports go where the executor's own go.
fn listen(
    hearing: &mut TcpStream,
    link: &Link,
    place: usize,
    to_crew: &Sender<(usize, Said)>,
    report: &Sender<Finished>,
) -> Said {
    link.heard();
    while let Ok(message) = hear(hearing) {
        link.heard();
        let sent = match message {
            FromPeer::Finished(ended) => {
                let (action, recorded) = *ended;
                report.send(Finished { action, recorded }).is_ok()
            }
            FromPeer::Stop => to_crew.send((place, Said::Stop)).is_ok(),
            FromPeer::Beat => true,
        };
        if !sent {
            break;
        }
    }
    Said::Gone
}
