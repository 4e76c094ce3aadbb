//! Where a run stands, as a file that other processes read and as metrics for Prometheus.

mod gone;
mod meter;
mod metrics;
pub(in crate::engine) mod monitor;
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::private;

use crate::executor::Training;
use crate::store::host;

pub use gone::GoneWorkers;
pub use meter::Meter;
pub use metrics::metrics;
pub use server::MetricsServer;

/// The file's name in the store's folder.
const FILE: &str = "status.json";

/// The lock of the thread that writes the file.
static WRITING: Mutex<()> = Mutex::new(());

/// What a run is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It looks at the sources.
    #[default]
    Looking,
    /// Actions run.
    Working,
    /// All is done; it waits for changes.
    Watching,
    /// It has ended.
    Ended,
}

impl Phase {
    /// The word in files and on screens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Looking => "looking",
            Self::Working => "working",
            Self::Watching => "watching",
            Self::Ended => "ended",
        }
    }
}

/// One stage's actions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageStatus {
    /// The stage's place in the plan.
    pub order: usize,
    /// Actions wanted now, done or not.
    pub wanted: usize,
    /// The actions with a result.
    pub done: usize,
    /// The actions that ended without one.
    pub failed: usize,
    /// The actions that run now.
    pub running: usize,
    /// The actions that wait for their turn.
    pub queued: usize,
    /// The time for which the oldest action that is not done has been wanted, in seconds.
    pub oldest_wanted_s: Option<f64>,
}

/// One worker that takes part in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerStatus {
    /// The worker's name.
    pub name: String,
    /// The address from which it called.
    pub address: String,
    /// Its device: `cpu` or `cuda:N`.
    pub device: String,
    /// Threads of its pool.
    pub threads: u32,
    /// Bytes that its actions may hold at once.
    pub memory_bytes: u64,
    /// Actions that it has now.
    pub running: usize,
    /// Actions that it has ended.
    pub done: u64,
    /// Actions that it was given although another had them, since they took long.
    pub twice: u64,
    /// Bytes that its actions hold.
    pub held_bytes: u64,
    /// Bytes of source files that it has read.
    pub read_bytes: u64,
    /// The time for which nothing was heard of it, in seconds, where that is too long.
    pub silent_s: Option<f64>,
    /// Whether it was told to stop.
    pub leaving: bool,
    /// Why it is gone, of one that did not leave in order.
    pub lost: Option<String>,
    /// Its trainings, by stage.
    pub trainings: BTreeMap<String, Training>,
}

/// Where a run stands. It names stages and counts, never series or patients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The pipeline's name.
    pub pipeline: String,
    /// The version of tomoflow.
    pub version: String,
    /// The number of the process.
    pub process: u32,
    /// The machine it runs on.
    pub host: String,
    /// The time when the run was started, RFC 3339 in UTC.
    pub started: String,
    /// The time when this was written, RFC 3339 in UTC.
    pub updated: String,
    /// What it is doing.
    pub phase: Phase,
    /// Its stages, by name.
    pub stages: BTreeMap<String, StageStatus>,
    /// Actions ended in a second, over the last minute.
    pub actions_per_s: f64,
    /// Bytes read from the sources in a second, over the last minute.
    pub read_bytes_per_s: f64,
    /// Bytes read from the sources since the start.
    pub read_bytes: u64,
    /// Bytes that actions hold now.
    pub bytes_in_flight: u64,
    /// Bytes that actions may hold at once.
    pub memory_bytes: u64,
    /// Bytes of the process that are resident in memory.
    pub rss_bytes: u64,
    /// Series that wait to be quiet.
    pub settling: usize,
    /// The number of files looked at.
    pub files: usize,
    /// Series looked at, accepted and rejected.
    pub cases: usize,
    /// Cases with a row in `rejects`.
    pub rejected: usize,
    /// The trainings that are under way, by stage.
    pub trainings: BTreeMap<String, Training>,
    /// Seconds since the start.
    pub seconds: f64,
    /// The address where workers may join, if they may.
    pub listening: Option<String>,
    /// Workers that take part.
    pub workers: Vec<WorkerStatus>,
    /// Workers that took part and are gone.
    pub gone: GoneWorkers,
    /// Other processes of the run of which nothing is heard, by number: they are waited for.
    pub silent: Vec<usize>,
}

/// The reasons why a status could not be written, read or served.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The file could not be written.
    #[error("{path}: {source}\nhint: the run goes on; `tomoflow status` shows where it stood before")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file could not be read.
    #[error(
        "{path}: {source}\n\
             hint: only the user who runs the pipeline can read the file"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not a status.
    #[error("{path}: the status of a run expected: {source}\nhint: a running pipeline writes it anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Metrics are for this machine only.
    #[error(
        "metrics are given on a loopback address, {address} is reached from elsewhere\nhint: take `127.0.0.1:{}`; an agent or a proxy on this machine passes them on",
        address.port()
    )]
    NotLoopback {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Nothing can listen there.
    #[error("metrics cannot be given on {address}: {source}\nhint: {}", bind_hint(source))]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

fn bind_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program, or another run, listens there: take another port",
        io::ErrorKind::PermissionDenied => "ports from 1024 on need no special rights",
        _ => "check the address; port 0 takes any that is free",
    }
}

/// What has become of the process that wrote a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// It runs.
    Running,
    /// It has ended as it should.
    Ended,
    /// It is gone without having ended: killed, or its machine was switched off.
    Killed,
    /// It runs on another machine, or did.
    Elsewhere,
}

impl Status {
    /// The status of this process, which starts now.
    pub fn new(pipeline: &str, memory_bytes: u64) -> Self {
        let now = now();
        Self {
            pipeline: pipeline.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            host: host(),
            started: now.clone(),
            updated: now,
            memory_bytes,
            rss_bytes: resident_bytes().unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Brings the time and the resident memory up to date.
    pub fn refresh(&mut self) {
        self.updated = now();
        self.rss_bytes = resident_bytes().unwrap_or(self.rss_bytes);
    }

    /// Writes `status.json` into the store's folder. Whoever reads it sees the old one or the new one.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, store_folder: &Path) -> Result<(), StatusError> {
        // Two threads write it, where there are several processes.
        let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let path = store_folder.join(FILE);
        let staged = store_folder.join(format!("{FILE}.{}", std::process::id()));
        let written = serde_json::to_vec_pretty(self)
            .map_err(io::Error::from)
            .and_then(|bytes| private::write(&staged, &bytes))
            .and_then(|()| fs::rename(&staged, &path));
        written.map_err(|source| {
            // It may not be there at all.
            let _ = fs::remove_file(&staged);
            StatusError::Write { path, source }
        })
    }

    /// Reads `status.json` from the store's folder; `None` when no run has written one.
    ///
    /// # Errors
    /// When it cannot be read, or is something else.
    pub fn read(store_folder: &Path) -> Result<Option<Self>, StatusError> {
        let path = store_folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StatusError::Read { path, source }),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| StatusError::Damaged { path, source })
    }

    /// Tells what has become of the process, as far as this machine can tell.
    pub fn life(&self) -> Life {
        if self.phase == Phase::Ended {
            Life::Ended
        } else if self.host != host() {
            Life::Elsewhere
        } else if lives(self.process) {
            Life::Running
        } else {
            Life::Killed
        }
    }
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// The memory of this process that is resident, in bytes.
fn resident_bytes() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: the call takes a number and touches no memory.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.checked_mul(u64::try_from(page).ok()?)
}

/// Whether a process of this number is there.
fn lives(process: u32) -> bool {
    // 0 and what would be negative stand for groups of processes.
    let Some(process) = libc::pid_t::try_from(process).ok().filter(|process| *process > 0) else {
        return false;
    };
    // SAFETY: signal 0 is none; the call only says whether one could be sent.
    let sent = unsafe { libc::kill(process, 0) } == 0;
    sent || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let store = tempfile::tempdir().unwrap();
        assert_eq!(Status::read(store.path()).unwrap(), None);
        let mut status = Status::new("vs", 4 << 30);
        status.phase = Phase::Working;
        let stage =
            StageStatus { wanted: 3, running: 1, oldest_wanted_s: Some(1.5), ..StageStatus::default() };
        status.stages.insert("net".to_owned(), stage);
        for _ in 0..2 {
            status.refresh();
            status.write(store.path()).unwrap();
            assert_eq!(Status::read(store.path()).unwrap().as_ref(), Some(&status));
        }
        let names: Vec<_> =
            fs::read_dir(store.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE]);
        assert!(status.rss_bytes > 1 << 20 && status.process == std::process::id());
        assert!(humantime::parse_rfc3339(&status.updated).is_ok());
    }

    #[test]
    fn the_status_of_another_version_is_read() {
        let store = tempfile::tempdir().unwrap();
        let text =
            r#"{ "pipeline": "vs", "phase": "watching", "new": 3, "stages": { "a": { "wanted": 1 } } }"#;
        fs::write(store.path().join(FILE), text).unwrap();
        let status = Status::read(store.path()).unwrap().unwrap();
        assert_eq!((status.phase, status.stages["a"].wanted), (Phase::Watching, 1));
    }

    #[test]
    fn what_cannot_be_read_or_written_says_so() {
        let store = tempfile::tempdir().unwrap();
        fs::write(store.path().join(FILE), "{ \"pipeline\": ").unwrap();
        let damaged = Status::read(store.path()).unwrap_err().to_string();
        assert!(damaged.contains("status.json: the status of a run expected"), "{damaged}");
        let absent = store.path().join("absent");
        let unwritten = Status::new("vs", 1).write(&absent).unwrap_err().to_string();
        assert!(unwritten.contains("hint: the run goes on"), "{unwritten}");
        fs::remove_file(store.path().join(FILE)).unwrap();
        fs::create_dir(store.path().join(FILE)).unwrap();
        assert!(matches!(Status::read(store.path()), Err(StatusError::Read { .. })));
        assert!(Status::new("vs", 1).write(store.path()).is_err());
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_process_that_is_gone_was_killed() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let mut status = Status::new("vs", 1);
        assert_eq!(status.life(), Life::Running);
        status.process = child.id();
        child.wait().unwrap();
        assert_eq!(status.life(), Life::Killed);
        for process in [0, u32::MAX] {
            assert_eq!(Status { process, ..status.clone() }.life(), Life::Killed);
        }
        assert_eq!(Status { process: 1, ..status.clone() }.life(), Life::Running);
        assert_eq!(Status { host: "another".to_owned(), ..status.clone() }.life(), Life::Elsewhere);
        assert_eq!(Status { phase: Phase::Ended, ..status }.life(), Life::Ended);
    }
}
