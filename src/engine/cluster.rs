//! Several processes work on one pipeline: how they find each other, and what they agree on first.
//!
//! Process 0 holds the store, drives, and commits the tables. Rows of the dataflow are exchanged by timely's own
//! links; actions go to the process that their case's key names, over a link of our own, and what they led to
//! comes back on it. Links are plain TCP, for a network where nobody changes what others send; whoever calls must know
//! the secret that the processes share.

mod crew;
mod link;
mod links;
mod message;
mod packed;
mod peer;
mod pulse;
mod secret;
mod workers;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tomoflow_connectors::reading;

use crate::operators::registry::Stage;
use crate::pipeline::Plan;

pub use crew::{Crew, TendError, tell};
pub use links::{Links, meet};
pub use peer::join;
pub use workers::{Certificates, Gate, Joined, Listening, work};

/// The processes that work together, with this one's place among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// This process's number, from 0.
    pub process: usize,
    /// `host:port` of every process, by number.
    pub hosts: Vec<String>,
    /// Timely threads of each process.
    pub workers: usize,
}

impl Cluster {
    /// Reads `hosts`: one `host:port` a line, the first is process 0; empty lines and those that begin with
    /// `#` do not count.
    ///
    /// # Errors
    /// When the file cannot be read, or does not fit the numbers.
    pub fn read(
        hosts: &Path,
        processes: usize,
        process: usize,
        workers: usize,
    ) -> Result<Self, ClusterError> {
        let unread = |source| ClusterError::Hosts { path: hosts.to_owned(), source };
        let bytes = reading::table(hosts).map_err(unread)?.into_bytes();
        let text = String::from_utf8(bytes)
            .map_err(|error| unread(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let hosts: Vec<String> = lines.map(str::to_owned).collect();
        if hosts.len() < processes {
            return Err(ClusterError::TooFew { expected: processes, found: hosts.len() });
        }
        if process >= processes {
            return Err(ClusterError::Number { processes, process });
        }
        Ok(Self { process, hosts: hosts.into_iter().take(processes).collect(), workers: workers.max(1) })
    }

    /// Returns the number of processes that take part.
    pub fn processes(&self) -> usize {
        self.hosts.len()
    }
}

/// The reasons why processes do not work together.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The list of hosts cannot be read.
    #[error("{}: {source}\nhint: `--hosts` names a file with one `host:port` a line", path.display())]
    Hosts {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Fewer hosts than processes.
    #[error(
        "{expected} hosts expected, one `host:port` a line, {found} found\nhint: one line for each of `--processes`"
    )]
    TooFew {
        /// The number of processes.
        expected: usize,
        /// The number of lines in the file.
        found: usize,
    },
    /// A number that none has.
    #[error("process {process} of {processes} does not exist\nhint: processes are numbered from 0")]
    Number {
        /// The number of processes.
        processes: usize,
        /// The number given.
        process: usize,
    },
    /// Nothing can listen at this process's own address.
    #[error(
        "process {process} cannot listen at {host}: {source}\nhint: its line of the hosts file must be an address of this machine with a free port"
    )]
    Listen {
        /// The number of this process.
        process: usize,
        /// The address of this process.
        host: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Another process did not come.
    #[error(
        "process {process} at {host} was not reached within {seconds} s: {why}\nhint: start all processes together"
    )]
    Absent {
        /// The number of the process that did not come.
        process: usize,
        /// The address where it was expected.
        host: String,
        /// The time that it was waited for.
        seconds: u64,
        /// What was seen last.
        why: String,
    },
    /// Processes that do not do the same.
    #[error(
        "the processes do not agree, so none starts: {0}\nhint: all need the same pipeline file, the same tomoflow, `--processes` and `--workers`"
    )]
    Disagree(String),
    /// A process is gone.
    #[error(
        "process {process} at {host} is gone\nhint: what was done is recorded; start all processes again, and the run goes on from there"
    )]
    Lost {
        /// The number of the process that is gone.
        process: usize,
        /// The address where it was.
        host: String,
    },
    /// The secret that processes share can be neither read nor made.
    #[error(
        "{}: {source}\nhint: all processes find the secret of their links in the store, or in the environment (`TOMOFLOW_SECRET`)",
        path.display()
    )]
    Secret {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A secret that anybody could guess.
    #[error(
        "a secret of at least {expected} bytes expected for links between processes, {found} found\nhint: take a long random text for `TOMOFLOW_SECRET`, or none at all: one is made in the store then"
    )]
    Short {
        /// The least number of bytes.
        expected: usize,
        /// The number of bytes found.
        found: usize,
    },
    /// Workers cannot call there.
    #[error(
        "workers cannot call at {host}: {source}\nhint: `--listen` and `workers` take an address of this machine with a free port, as `0.0.0.0:7400`"
    )]
    Gate {
        /// The address.
        host: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// No run was reached.
    #[error(
        "no run was reached at {host} within {seconds} s: {why}\nhint: `tomoflow run --listen` takes workers"
    )]
    Unreached {
        /// The address where process 0 was expected.
        host: String,
        /// The time for which it was tried.
        seconds: u64,
        /// What was seen last.
        why: String,
    },
    /// A run does not take this worker.
    #[error("the run at {host} refuses this worker: {why}\nhint: {hint}")]
    Refused {
        /// The address of the process that refused.
        host: String,
        /// What it said.
        why: String,
        /// The remedy.
        hint: &'static str,
    },
    /// The token cannot be read, or the user's own key neither read nor made.
    #[error("{}: {source}\nhint: `--token-file` names a file that holds the token", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A certificate, a key or an authority that cannot be used.
    #[error(
        "{}: {why}\nhint: `--cert` and `--key` name a certificate and its private key, `--ca` the certificate of whoever signed those of both ends, all in PEM",
        path.display()
    )]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No token, where one is needed.
    #[error(
        "a token expected for {}, none found\nhint: `--token-file FILE`, or `TOMOFLOW_SECRET`: the same long random text for the run and its workers",
        if *.loopback { "workers, since there is no home folder for a key" } else { "workers on other machines" }
    )]
    NoToken {
        /// Whether it is about this machine alone.
        loopback: bool,
    },
    /// Another end does not know the secret.
    #[error(
        "process {process} at {host} does not know the same secret\nhint: all processes share one store, or one `TOMOFLOW_SECRET`; perhaps another run listens there"
    )]
    Stranger {
        /// The number of the process that was expected.
        process: usize,
        /// The address where it was expected.
        host: String,
    },
    /// A link broke or said something that makes no sense.
    #[error(
        "the link to process {process}: {source}\nhint: what was done is recorded; start all processes again"
    )]
    Link {
        /// The number of the process at the other end.
        process: usize,
        /// The link's error.
        source: std::io::Error,
    },
}

/// What processes must agree on: the same program, numbers and resolved plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// The version of tomoflow.
    pub version: String,
    /// The number of processes that take part.
    pub processes: usize,
    /// Timely threads of each.
    pub workers: usize,
    /// The resolved plan, as JSON text; not what may differ from machine to machine (device, memory).
    pub plan: String,
}

impl Agreement {
    /// Returns what this process would do.
    pub fn of(plan: &Plan, cluster: &Cluster) -> Self {
        let stages: Vec<Json> = plan
            .stages
            .iter()
            .map(|stage| {
                // What a file of a split says: its path alone does not tell.
                let split = match &stage.stage {
                    Stage::Train(train) => train.split.named.as_ref().map(|named| named.digest().to_string()),
                    _ => None,
                };
                json!({
                    "name": stage.name, "type": stage.spec.name, "version": stage.spec.version,
                    "settings": stage.config, "inputs": stage.inputs, "references": stage.references,
                    "split": split, "timeout": format!("{:?}", stage.timeout), "retries": stage.retries, "keep": stage.keep,
                })
            })
            .collect();
        let settings = &plan.settings;
        let plan = json!({
            "pipeline": {
                "name": settings.name, "out": settings.out, "identifiers": format!("{:?}", settings.identifiers),
            },
            "stages": stages,
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            processes: cluster.processes(),
            workers: cluster.workers,
            plan: plan.to_string(),
        }
    }

    /// Returns what a run would do whose control plane is in one process.
    pub fn alone(plan: &Plan) -> Self {
        Self::of(plan, &Cluster { process: 0, hosts: vec![String::new()], workers: 1 })
    }

    /// The first thing in which `other`, of process `process`, differs; none when they agree.
    pub fn difference(&self, other: &Self, process: usize) -> Option<String> {
        self.differs_from(other, "on process 0", &format!("on process {process}"))
    }

    /// Returns the same difference, of two that are called so.
    pub fn differs_from(&self, other: &Self, here_is: &str, there_is: &str) -> Option<String> {
        let differs = |what: &str, here: &dyn fmt::Display, there: &dyn fmt::Display| {
            Some(format!("{what} is {here} {here_is} and {there} {there_is}"))
        };
        if self.version != other.version {
            return differs("tomoflow", &self.version, &other.version);
        }
        if self.processes != other.processes {
            return differs("`--processes`", &self.processes, &other.processes);
        }
        if self.workers != other.workers {
            return differs("`--workers`", &self.workers, &other.workers);
        }
        let plan = |text: &str| serde_json::from_str::<Json>(text).unwrap_or_default();
        let (place, here, there) = unequal(&plan(&self.plan), &plan(&other.plan), String::new())?;
        differs(&format!("`{place}`"), &here, &there)
    }
}

/// The place and the values of the first difference.
fn unequal(here: &Json, there: &Json, place: String) -> Option<(String, Json, Json)> {
    let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    match (here, there) {
        (Json::Object(a), Json::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            names.into_iter().find_map(|name| {
                let value = |of: &serde_json::Map<String, Json>| of.get(name).cloned().unwrap_or_default();
                unequal(&value(a), &value(b), below(name))
            })
        }
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => (0..a.len()).find_map(|at| {
            let name = a[at].get("name").and_then(Json::as_str).map_or_else(|| at.to_string(), str::to_owned);
            unequal(&a[at], &b[at], below(&name))
        }),
        _ if here == there => None,
        _ => Some((place, here.clone(), there.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_named() {
        let plan = |above: f64| json!({ "stages": [{ "name": "bright", "settings": { "above": above } }] });
        let agreement = |workers, above| Agreement {
            version: "1".into(),
            processes: 2,
            workers,
            plan: plan(above).to_string(),
        };
        assert_eq!(agreement(1, 0.5).difference(&agreement(1, 0.5), 1), None);
        let found = agreement(1, 0.5).difference(&agreement(1, 0.6), 1).unwrap();
        assert_eq!(found, "`stages.bright.settings.above` is 0.5 on process 0 and 0.6 on process 1");
        let found = agreement(1, 0.5).difference(&agreement(2, 0.5), 1).unwrap();
        assert_eq!(found, "`--workers` is 1 on process 0 and 2 on process 1");
    }

    #[test]
    fn hosts_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts.txt");
        std::fs::write(&path, "# two\na:1\n\nb:2\n").unwrap();
        assert_eq!(Cluster::read(&path, 2, 1, 1).unwrap().hosts, ["a:1", "b:2"]);
        assert!(matches!(Cluster::read(&path, 3, 1, 1), Err(ClusterError::TooFew { expected: 3, found: 2 })));
        assert!(matches!(Cluster::read(&path, 2, 2, 1), Err(ClusterError::Number { .. })));
    }
}
