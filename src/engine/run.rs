//! One run of a pipeline, from its sources to its tables.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tomoflow_connectors::table::TableError;

use super::archive::SourceError;
use super::cluster::Cluster;
use super::control;
use super::session::Session;
use super::summary::{StageCount, Summary};
use crate::networks::NetworkError;
use crate::pipeline::Plan;
use crate::store::StoreError;

/// How a pipeline is run; none of it changes results.
#[derive(Clone)]
pub struct Options {
    /// Timely threads.
    pub workers: usize,
    /// Threads of the CPU pool; 0 for one a core.
    pub threads: usize,
    /// Whether models are trained anew when their cases have changed, whatever the pipeline says.
    pub retrain: bool,
    /// Whether rules over the archive are settled anew, whatever they are pinned to.
    pub repin: bool,
    /// Whether an archive that was not empty may be empty now.
    pub accept_empty: bool,
    /// Set from outside to stop.
    pub stop: Arc<AtomicBool>,
    /// The processes that take part; none for this one alone.
    pub cluster: Option<Cluster>,
}

impl Options {
    /// Threads of the CPU pool: as many as were asked for, or one a core.
    pub fn pool_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 1,
            threads: 0,
            retrain: false,
            repin: false,
            accept_empty: false,
            stop: Arc::default(),
            cluster: None,
        }
    }
}

/// Why a run could not be done. A bad series never is one.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The sources.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The control plane.
    #[error(transparent)]
    Control(#[from] control::ControlError),
    /// The device that the pipeline asks for.
    #[error(transparent)]
    Device(#[from] NetworkError),
    /// The address where metrics are to be given.
    #[error(transparent)]
    Status(#[from] super::status::StatusError),
    /// Other processes.
    #[error(transparent)]
    Cluster(#[from] super::cluster::ClusterError),
    /// Nothing to export.
    #[error("masks of a stage{} expected, there are none\nhint: run the pipeline first; `check` names its stages", named(.stage))]
    NoMasks {
        /// The stage that was asked for, or empty.
        stage: String,
    },
    /// No model to export.
    #[error(
        "a model of `{stage}` expected, it has none yet\nhint: run the pipeline first; `plan` says what it waits for"
    )]
    NoModel {
        /// The training.
        stage: String,
    },
    /// A model that cannot be exported.
    #[error("the model of `{stage}` cannot be written: {message}")]
    ModelFile {
        /// The training.
        stage: String,
        /// Why.
        message: String,
    },
    /// Several processes, and nothing that a rule could follow.
    #[error(
        "no scan yet that the rule of `{stage}` could follow, and several processes need it settled first\nhint: run one process once there are scans, or say outright what `{stage}` needs (`spacing_mm`, `grid`)"
    )]
    Unsettled {
        /// The stage with the rule.
        stage: String,
    },
    /// Threads.
    #[error("no more threads: {0}")]
    Threads(#[source] std::io::Error),
}

fn named(stage: &str) -> String {
    if stage.is_empty() { String::new() } else { format!(" `{stage}`") }
}

/// What is told how far a run is: counts by stage.
pub type Progress<'a> = dyn FnMut(&BTreeMap<String, StageCount>) + 'a;

/// Runs a pipeline once: over all that its sources hold now.
///
/// `progress` is told the counts by stage whenever they may have changed.
///
/// # Errors
/// [`RunError`]; what was done until then is kept.
pub fn run(plan: Plan, options: &Options, progress: &mut Progress<'_>) -> Result<Summary, RunError> {
    let mut session = Session::open(plan, options.clone())?;
    session.look()?;
    session.work(progress)?;
    session.finish()
}

/// Runs a pipeline over all that its sources hold, and on all that comes, until it is told to stop.
///
/// `settled` is told what the run came to so far whenever the tables were brought up to date.
///
/// # Errors
/// [`RunError`]; what was done until then is kept.
pub fn watch(
    plan: Plan,
    options: &Options,
    progress: &mut Progress<'_>,
    settled: &mut dyn FnMut(&Summary),
) -> Result<Summary, RunError> {
    let mut session = Session::open(plan, options.clone())?;
    session.watch(progress, settled)?;
    session.finish()
}
