//! `tomoflow work`: a process that takes actions of a run for as long as it lives.

mod meeting;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select};

use self::meeting::{Meeting, TOKEN, Unmet};
use super::super::ClusterError;
use super::super::link::Link;
use super::super::message::hear;
use super::super::secret::Secret;
use super::duties::Duties;
use super::supply::Supply;
use super::words::ToWorker;
use crate::engine::error::RunError;
use crate::executor::{self, Finished};
use crate::operators::registry::Registry;
use crate::pipeline::Plan;

/// The pauses between two calls: the first one and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];
/// Artifacts that were sent are kept up to so many bytes.
const KEPT: u64 = 16 << 30;
/// The number of times in a row that a run may hang up before it is taken for one with another secret.
const HUNG_UP: u32 = 5;
/// A run of which nothing is heard for so long is named, and called anew after as long again.
const SILENT: Duration = Duration::from_secs(30);
/// The longest time for which a worker sleeps before it looks again whether it is to stop.
const MOMENT: Duration = Duration::from_millis(50);

/// How a worker takes part.
#[derive(Clone, Debug)]
pub struct Joined {
    /// `host:port` of the run.
    pub address: String,
    /// The file that holds what it and the run know.
    pub token: Option<PathBuf>,
    /// What it is called.
    pub name: String,
    /// Its device, where it is not the pipeline's.
    pub device: Option<String>,
    /// Bytes that its actions may hold at once, where they are not the pipeline's.
    pub memory_bytes: Option<u64>,
    /// The number of threads of its pool.
    pub threads: usize,
    /// Whether it ends with the run that it worked for.
    pub once: bool,
    /// The folder in which it keeps what it is sent, where it does not see the run's files; when it is none,
    /// a folder for what passes.
    pub scratch: Option<PathBuf>,
    /// The time for which it tries to reach a run; `None` for ever.
    pub patience: Option<Duration>,
    /// The time that actions under way may take once the worker is told to stop.
    pub grace: Duration,
    /// The flag that is set from outside to stop.
    pub stop: Arc<AtomicBool>,
    /// The flag that the worker sets once it has seen `stop`.
    pub stopping: Arc<AtomicBool>,
}

impl Joined {
    fn told_to_stop(&self) -> bool {
        let stop = self.stop.load(Ordering::Relaxed);
        if stop {
            self.stopping.store(true, Ordering::Relaxed);
        }
        stop
    }
}

/// How one conversation ended.
enum Ended {
    /// The run has ended.
    Run,
    /// There is another plan.
    Again,
    /// This worker was told to stop.
    Stopped,
    /// The run is gone, or the way to it.
    Lost(String),
}

/// Works for whatever run is at an address, until it is told to stop. With `own` it refuses one that would do something
/// else than this pipeline.
///
/// # Errors
/// When it is refused, or no run is reached in time.
pub fn work(joined: &Joined, own: Option<&Plan>, registry: &Registry) -> Result<(), RunError> {
    let addresses = joined.address.to_socket_addrs();
    let loopback = addresses.is_ok_and(|mut all| all.all(|address| address.ip().is_loopback()));
    let secret = Secret::of_workers(joined.token.as_deref(), loopback)?;
    let (mut since, mut pause, mut hung_up) = (Instant::now(), PAUSES[0], 0);
    while !joined.told_to_stop() {
        let why = match Meeting::with(joined, own, registry, &secret) {
            Ok(meeting) => {
                let ended = meeting.work(joined)?;
                (since, pause, hung_up) = (Instant::now(), PAUSES[0], 0);
                match ended {
                    Ended::Stopped => return Ok(()),
                    Ended::Run if joined.once => return Ok(()),
                    Ended::Run => "the run has ended".to_owned(),
                    Ended::Again => {
                        std::thread::sleep(MOMENT);
                        continue;
                    }
                    Ended::Lost(why) => why,
                }
            }
            Err(Unmet::Refused(error)) => return Err(error),
            Err(Unmet::HungUp) if hung_up >= HUNG_UP => {
                let why = "the run closed the connection before it answered".to_owned();
                let host = joined.address.clone();
                return Err(ClusterError::Refused { host, why, hint: TOKEN }.into());
            }
            Err(Unmet::HungUp) => {
                hung_up += 1;
                "it hung up; perhaps it has another token".to_owned()
            }
            Err(Unmet::Absent(why)) => why,
        };
        if joined.patience.is_some_and(|patience| since.elapsed() >= patience) {
            let (host, seconds) = (joined.address.clone(), since.elapsed().as_secs());
            return Err(ClusterError::Unreached { host, seconds, why }.into());
        }
        if pause == PAUSES[0] {
            tracing::warn!("no run at {}: {why}; the worker tries again", joined.address);
        }
        let until = Instant::now() + pause;
        while Instant::now() < until && !joined.told_to_stop() {
            std::thread::sleep(MOMENT.min(pause));
        }
        pause = (pause * 2).min(PAUSES[1]);
    }
    Ok(())
}

impl Meeting {
    /// Does what it is given, until there is no more.
    fn work(self, joined: &Joined) -> Result<Ended, RunError> {
        let link = Link::new(self.link.try_clone().map_err(RunError::Threads)?);
        let closing = self.link.try_clone().map_err(RunError::Threads)?;
        let said = listen(self.link, &link).map_err(RunError::Threads)?;
        let finished = self.executor.finished().clone();
        let supply = self.scratch.as_ref().map(|scratch| Supply::new(scratch.path(), KEPT));
        let mut work = Duties {
            executor: self.executor,
            supply: supply.transpose().map_err(RunError::Threads)?,
            link,
            waiting: VecDeque::new(),
            under_way: HashMap::new(),
            leases: HashMap::new(),
        };
        let (mut beaten, mut leaving): (Option<Instant>, Option<Instant>) = (None, None);
        let mut named = false;
        let ended = loop {
            work.executor.give_up().map_err(RunError::Threads)?;
            work.dispatch();
            if beaten.is_none_or(|at| at.elapsed() >= self.beat) {
                beaten = Some(Instant::now());
                if let Err(error) = work.beat() {
                    break Ended::Lost(error.to_string());
                }
            }
            let silent = work.link.silent();
            if silent > SILENT && !std::mem::replace(&mut named, true) {
                tracing::warn!(
                    "nothing was heard of the run at {} for {} s",
                    joined.address,
                    silent.as_secs()
                );
            }
            if silent > 2 * SILENT {
                break Ended::Lost("nothing was heard of it".to_owned());
            }
            named &= silent > SILENT;
            if joined.told_to_stop() && leaving.is_none() {
                leaving = Some(Instant::now());
                if let Err(error) = work.leave() {
                    break Ended::Lost(error.to_string());
                }
            }
            let over = |since: Instant| {
                work.under_way.is_empty() || (since.elapsed() > joined.grace && !executor::trains())
            };
            if leaving.is_some_and(over) {
                break Ended::Stopped;
            }
            match next(&said, &finished, self.beat.min(MOMENT)) {
                Some(Event::Said(ToWorker::End)) => break Ended::Run,
                Some(Event::Said(ToWorker::Again)) => break Ended::Again,
                Some(Event::Said(message)) => {
                    if let Err(error) = work.hear(message, leaving.is_some()) {
                        break Ended::Lost(error.to_string());
                    }
                }
                Some(Event::Gone) => break Ended::Lost("it hung up".to_owned()),
                Some(Event::Finished(ended)) => {
                    if let Err(error) = work.report(*ended) {
                        break Ended::Lost(error.to_string());
                    }
                }
                None => {}
            }
        };
        work.end();
        // A thread still hears on it.
        drop(closing.shutdown(Shutdown::Both));
        Ok(if leaving.is_some() { Ended::Stopped } else { ended })
    }
}

/// Listens to what the run says, in a thread of its own.
fn listen(mut hearing: TcpStream, link: &Link) -> io::Result<Receiver<ToWorker>> {
    let (to_us, said) = bounded(64);
    let link = link.clone();
    link.heard();
    let listening = move || {
        while let Ok(message) = hear(&mut hearing) {
            link.heard();
            if !matches!(message, ToWorker::Beat) && to_us.send(message).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("run".to_owned()).spawn(listening)?;
    Ok(said)
}

enum Event {
    Said(ToWorker),
    Gone,
    Finished(Box<Finished>),
}

fn next(said: &Receiver<ToWorker>, finished: &Receiver<Finished>, wait: Duration) -> Option<Event> {
    select! {
        recv(said) -> message => Some(message.map_or(Event::Gone, Event::Said)),
        recv(finished) -> ended => ended.ok().map(|ended| Event::Finished(Box::new(ended))),
        default(wait) => None,
    }
}
