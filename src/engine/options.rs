//! How a pipeline is run, and who is told how far it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::archive::Accept;
use super::cluster::{Cluster, Listening};
use super::session::summary::StageCount;

/// How a pipeline is run; none of it changes results.
#[derive(Clone)]
pub struct Options {
    /// The number of timely threads.
    pub workers: usize,
    /// The number of threads of the CPU pool; 0 for one a core.
    pub threads: usize,
    /// Whether models are trained anew when their cases have changed, whatever the pipeline says.
    pub retrain: bool,
    /// Whether rules over the archive are settled anew, whatever they are pinned to.
    pub repin: bool,
    /// Whether an archive that was not empty, and any folder below it, may be empty now.
    pub accept_empty: bool,
    /// Folders that may be empty now although they were not, with all that lies below them.
    pub emptied: Vec<PathBuf>,
    /// The flag that is set from outside to stop.
    pub stop: Arc<AtomicBool>,
    /// The flag that a run sets once it has seen `stop`; it then ends in order.
    pub stopping: Arc<AtomicBool>,
    /// The processes that take part; none for this one alone.
    pub cluster: Option<Cluster>,
    /// The address where workers that come and go may join; `None` when the run takes none.
    pub listening: Option<Listening>,
}

impl Options {
    /// Returns what may be empty although it was not.
    pub(in crate::engine) fn accept(&self) -> Accept {
        Accept::new(self.accept_empty, &self.emptied)
    }

    /// Whether the run is to stop; it ends in order then.
    pub(in crate::engine) fn told_to_stop(&self) -> bool {
        let stop = self.stop.load(Ordering::Relaxed);
        if stop {
            self.stopping.store(true, Ordering::Relaxed);
        }
        stop
    }

    /// Returns the number of threads of the CPU pool: as many as were asked for, or one a core.
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
            emptied: Vec::new(),
            stop: Arc::default(),
            stopping: Arc::default(),
            cluster: None,
            listening: None,
        }
    }
}

/// What is told how far a run is: counts by stage.
pub type Progress<'a> = dyn FnMut(&BTreeMap<String, StageCount>) + 'a;
