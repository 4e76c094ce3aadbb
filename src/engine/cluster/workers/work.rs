//! `tomoflow work`: a process that takes actions of a run for as long as it lives.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Shutdown, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select};

use super::super::link::Link;
use super::super::message::{LONGEST_HELLO, hear, hear_short, say};
use super::super::packed::Packed;
use super::super::secret::{Secret, Until};
use super::super::{Agreement, ClusterError};
use super::call::{Call, TOKEN, UNSAID, Unmet};
use super::certificates::Certificates;
use super::duties::Duties;
use super::gate::digest_of;
use super::sight;
use super::supply::Supply;
use super::wire::Wire;
use super::words::{Hello, Join, Joining, Offer, Offered, ToWorker, Welcomed};
use crate::engine::error::RunError;
use crate::executor::{self, Context, Executor, Finished};
use crate::networks::{self, Device};
use crate::operators::registry::Registry;
use crate::pipeline::{self, Plan};
use crate::store::Artifacts;

/// The longest time that the run may take to look at what this worker sees.
const JUDGES: Duration = Duration::from_secs(60);
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
    /// The certificates by which it and the run prove themselves; the link is encrypted then, and clear without.
    pub certificates: Option<Certificates>,
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
    let caller = joined.certificates.as_ref().map(Certificates::caller).transpose()?;
    let call = Call { address: &joined.address, secret: &secret, caller: caller.as_ref() };
    let (mut since, mut pause, mut hung_up) = (Instant::now(), PAUSES[0], 0);
    while !joined.told_to_stop() {
        let why = match Meeting::with(joined, own, registry, &call) {
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
                let why = "it hangs up before it says a word".to_owned();
                let host = joined.address.clone();
                return Err(ClusterError::Refused { host, why, hint: TOKEN }.into());
            }
            Err(Unmet::HungUp) => {
                hung_up += 1;
                let or = if call.caller.is_none() { format!(", or {UNSAID}") } else { String::new() };
                format!("it hung up; perhaps it has another token{or}")
            }
            Err(Unmet::Absent(why)) => why,
        };
        if joined.patience.is_some_and(|patience| since.elapsed() >= patience) {
            let (host, seconds) = (joined.address.clone(), since.elapsed().as_secs());
            return Err(ClusterError::Unreached { host, seconds, why }.into());
        }
        if pause == PAUSES[0] {
            tracing::warn!("no run at {}: {why}; it is called again", joined.address);
        }
        let until = Instant::now() + pause;
        while Instant::now() < until && !joined.told_to_stop() {
            std::thread::sleep(MOMENT.min(pause));
        }
        pause = (pause * 2).min(PAUSES[1]);
    }
    Ok(())
}

/// A run that this worker has met.
struct Meeting {
    link: Wire,
    executor: Executor,
    scratch: Option<Scratch>,
    beat: Duration,
}

/// A folder of this worker alone; it goes with it.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new(joined: &Joined) -> io::Result<Self> {
        let mut named = tempfile::Builder::new();
        named.prefix("tomoflow-worker-");
        let folder = match &joined.scratch {
            Some(folder) => named.tempdir_in(folder),
            None => named.tempdir(),
        };
        folder.map(Self)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Meeting {
    fn with(
        joined: &Joined,
        own: Option<&Plan>,
        registry: &Registry,
        call: &Call<'_>,
    ) -> Result<Self, Unmet> {
        let refused = |why: String, hint| call.refused(why, hint);
        let (mut link, deadline) = call.meet()?;
        say(&mut link, &Hello::new())?;
        let offer = match hear_short(&mut Until { link: &mut link, deadline }, LONGEST_HELLO)? {
            Offered::Refused(why) => return Err(refused(why, SAME)),
            Offered::Pipeline(offer) => offer,
        };
        let leave = |link: &mut Wire, why: String| {
            drop(say(link, &Joining::Refuses(why.clone())));
            refused(why, SAME)
        };
        let plan = match read(&offer, own, registry) {
            Ok(plan) => plan,
            Err(why) => return Err(leave(&mut link, why)),
        };
        let device = match device(joined, &offer.device) {
            Ok(device) => device,
            Err(error) => {
                drop(say(&mut link, &Joining::Refuses(error.to_string())));
                return Err(Unmet::Refused(error.into()));
            }
        };
        let memory_bytes = joined.memory_bytes.unwrap_or(offer.memory_bytes);
        let join = Join {
            name: joined.name.clone(),
            threads: u32::try_from(joined.threads).unwrap_or(u32::MAX),
            memory_bytes,
            device: device.to_string(),
            plan: digest_of(&Agreement::alone(&plan), &plan.settings.out),
            sight: sight::look(&offer.sight),
        };
        say(&mut link, &Joining::Joins(Box::new(join)))?;
        let deadline = Instant::now() + JUDGES;
        let sees = match hear_short(&mut Until { link: &mut link, deadline }, LONGEST_HELLO)? {
            Welcomed::Refused(why) => return Err(refused(why, UNSEEN)),
            Welcomed::Welcome { sees } => sees,
        };
        link.stream().set_read_timeout(None)?;
        let mut plan = plan;
        let scratch = if sees { None } else { Some(Scratch::new(joined)?) };
        if let Some(scratch) = &scratch {
            plan.settings.out = scratch.path().to_owned();
            tracing::info!("what the run sends lies in {}", scratch.path().display());
        }
        let settings = executor::Settings { threads: joined.threads, memory_bytes, device };
        let started = Executor::start(context(plan), settings);
        let executor = started.map_err(|error| Unmet::Refused(RunError::Threads(error)))?;
        let (threads, address) = (joined.threads, &joined.address);
        tracing::info!("works for the run at {address} as `{}`: {threads} threads, {device}", joined.name);
        Ok(Self { link, executor, scratch, beat: Duration::from_millis(offer.beat_ms.clamp(10, 10_000)) })
    }

    /// Does what it is given, until there is no more.
    fn work(self, joined: &Joined) -> Result<Ended, RunError> {
        let link = Link::new(self.link.try_clone().map_err(RunError::Threads)?);
        let closing = self.link.stream().try_clone().map_err(RunError::Threads)?;
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

const UNSEEN: &str = "a worker sees the archive and `out` at the paths where the run sees them, or the run sends what it needs (`--send`)";
const SAME: &str = "the run and its workers need the same tomoflow and the same pipeline, with the files that it names at the same paths";

/// The pipeline that a run tells of, as it is read here; or what differs.
fn read(offer: &Offer, own: Option<&Plan>, registry: &Registry) -> Result<Plan, String> {
    let mut plan = match own {
        Some(own) => own.clone(),
        None => {
            let folder = offer.file.parent().unwrap_or(Path::new("/"));
            let name = offer.file.display().to_string();
            let read = pipeline::parse(&name, &offer.text, folder, &[], registry);
            read.map_err(|problems| format!("it cannot read the pipeline: {problems}"))?
        }
    };
    plan.settings.out = match own {
        Some(own) => std::fs::canonicalize(&own.settings.out).unwrap_or_else(|_| own.settings.out.clone()),
        None => offer.out.clone(),
    };
    offer.settled.iter().for_each(|(stage, settled)| plan.settle(*stage, settled));
    match offer.agreement.differs_from(&Agreement::alone(&plan), "for the run", "for the worker") {
        Some(why) => Err(why),
        None => Ok(plan),
    }
}

/// The device that this worker was told, or the pipeline's where it is there. A worker without the pipeline's GPU does
/// other work.
fn device(joined: &Joined, of_pipeline: &str) -> Result<Device, networks::NetworkError> {
    match &joined.device {
        Some(device) => networks::device(device),
        None => Ok(networks::device(of_pipeline).unwrap_or(Device::CPU)),
    }
}

fn context(plan: Plan) -> Context {
    Context {
        artifacts: Artifacts::new(&plan.settings.out.join("store")),
        plan: Arc::new(plan),
        // The context looks nothing up: each job brings what it needs.
        lookup: std::sync::Weak::<Packed>::new(),
        bytes_read: Arc::default(),
        told: Arc::default(),
        unknown: None,
    }
}

/// Listens to what the run says, in a thread of its own.
fn listen(mut hearing: Wire, link: &Link<Wire>) -> io::Result<Receiver<ToWorker>> {
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
