//! How a worker and a run meet: what each says of itself, and why they may part again.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Joined;
use crate::engine::cluster::link::keep_alive;
use crate::engine::cluster::message::{LONGEST_HELLO, hear_short, say};
use crate::engine::cluster::packed::Packed;
use crate::engine::cluster::secret::{Secret, Until};
use crate::engine::cluster::workers::gate::digest_of;
use crate::engine::cluster::workers::sight;
use crate::engine::cluster::workers::words::{Hello, Join, Joining, Offer, Offered, Welcomed};
use crate::engine::cluster::{Agreement, ClusterError};
use crate::engine::error::RunError;
use crate::executor::{self, Context, Executor};
use crate::networks::{self, Device};
use crate::operators::registry::Registry;
use crate::pipeline::{self, Plan};
use crate::store::Artifacts;

/// The longest time that a call, and each step of the meeting, may take.
const HELLO: Duration = Duration::from_secs(10);
/// The longest time that the run may take to look at what this worker sees.
const JUDGES: Duration = Duration::from_secs(60);

pub(super) const TOKEN: &str =
    "the run and its workers are given one `--token-file`, or one `TOMOFLOW_SECRET`";
const UNSEEN: &str = "a worker sees the archive and `out` at the paths where the run sees them, or the run sends what it needs (`--send`)";
const SAME: &str = "the run and its workers need the same tomoflow and the same pipeline, with the files that it names at the same paths";

/// The reasons why a worker and a run did not meet.
pub(super) enum Unmet {
    /// Trying again mends nothing.
    Refused(RunError),
    /// It knows another secret, or is busy with others: it cannot be told.
    HungUp,
    /// It may be there later.
    Absent(String),
}

impl From<io::Error> for Unmet {
    fn from(error: io::Error) -> Self {
        Self::Absent(match error.kind() {
            io::ErrorKind::UnexpectedEof => "it hung up, perhaps it is not ready".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// A run that this worker has met.
pub(super) struct Meeting {
    pub(super) link: TcpStream,
    pub(super) executor: Executor,
    pub(super) scratch: Option<Scratch>,
    pub(super) beat: Duration,
}

/// A folder of this worker alone; it goes with it.
pub(super) struct Scratch(tempfile::TempDir);

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

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Meeting {
    pub(super) fn with(
        joined: &Joined,
        own: Option<&Plan>,
        registry: &Registry,
        secret: &Secret,
    ) -> Result<Self, Unmet> {
        let refused = |why: String, hint| {
            Unmet::Refused(ClusterError::Refused { host: joined.address.clone(), why, hint }.into())
        };
        let mut link = reach(&joined.address)?;
        let deadline = Instant::now() + HELLO;
        link.set_write_timeout(Some(HELLO))?;
        keep_alive(&link)?;
        secret.call(&mut link, deadline).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => refused("it knows another token".to_owned(), TOKEN),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Unmet::HungUp,
            _ => error.into(),
        })?;
        say(&mut link, &Hello::new())?;
        let offer = match hear_short(&mut Until { link: &mut link, deadline }, LONGEST_HELLO)? {
            Offered::Refused(why) => return Err(refused(why, SAME)),
            Offered::Pipeline(offer) => offer,
        };
        let leave = |link: &mut TcpStream, why: String| {
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
        link.set_read_timeout(None)?;
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
}

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

/// The first of a host's addresses that answers.
fn reach(host: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, HELLO) {
            Ok(link) => return Ok(link),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
