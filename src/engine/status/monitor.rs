//! Where a run stands, for `tomoflow status`, `tomoflow top` and Prometheus.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Meter, MetricsServer, Phase, StageStatus, Status, StatusError};
use crate::engine::archive::Archive;
use crate::engine::driver::Driver;
use crate::engine::rows::Desired;
use crate::executor::trainings;
use crate::pipeline::Plan;

/// The least time between two writings of a status.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps a run's status up to date.
pub struct Monitor {
    latest: Arc<Mutex<Status>>,
    folder: PathBuf,
    started: Instant,
    actions: Meter,
    read: Meter,
    next: Instant,
    /// Ends with the run.
    _server: Option<MetricsServer>,
}

impl Monitor {
    /// Starts, and listens for Prometheus when the pipeline asks for that.
    ///
    /// # Errors
    /// When nothing can listen on the pipeline's `metrics` address.
    pub fn start(plan: &Plan, folder: PathBuf) -> Result<Self, StatusError> {
        let status = Status::new(&plan.settings.name, plan.settings.memory_bytes);
        let latest = Arc::new(Mutex::new(status));
        let server =
            plan.settings.metrics.map(|address| MetricsServer::start(address, latest.clone())).transpose()?;
        if let Some(server) = &server {
            tracing::info!("metrics on http://{}/metrics", server.local_addr());
        }
        let (actions, read) = (Meter::default(), Meter::default());
        let now = Instant::now();
        let mut monitor = Self { latest, folder, started: now, actions, read, next: now, _server: server };
        monitor.write();
        Ok(monitor)
    }

    /// Workers may join there.
    pub fn listens(&mut self, address: SocketAddr) {
        self.lock().listening = Some(address.to_string());
        self.write();
    }

    /// The run is at something else now.
    pub fn phase(&mut self, phase: Phase) {
        self.lock().phase = phase;
        self.write();
    }

    /// Counts anew, unless that was just done.
    pub fn update(&mut self, driver: &Driver, archive: &Archive, settling: usize) {
        if Instant::now() >= self.next {
            self.count(driver, archive, settling);
        }
    }

    /// Counts everything anew.
    pub fn count(&mut self, driver: &Driver, archive: &Archive, settling: usize) {
        let now = Instant::now();
        let (in_flight, read) = driver.bytes();
        let (run, _, _) = driver.counts();
        let (actions_per_s, read_bytes_per_s) =
            (self.actions.rate(now, run as u64), self.read.rate(now, read));
        let mut stages: std::collections::BTreeMap<String, StageStatus> = driver
            .stages()
            .into_iter()
            .map(|(name, count)| {
                let done = count.run + count.cached;
                let (order, wanted, failed) = (count.order, count.wanted, count.failed);
                (name, StageStatus { order, wanted, done, failed, ..StageStatus::default() })
            })
            .collect();
        for (name, since, runs) in driver.waiting() {
            let Some(stage) = stages.get_mut(name) else { continue };
            if runs {
                stage.running += 1;
            } else {
                stage.queued += 1;
            }
            let waits = now.duration_since(since).as_secs_f64();
            stage.oldest_wanted_s = Some(stage.oldest_wanted_s.map_or(waits, |oldest| oldest.max(waits)));
        }
        let rows = driver.desired().keys();
        let (cases, rejected) = rows.fold((0, 0), |(cases, rejected), row| match &**row {
            Desired::Case(_) => (cases + 1, rejected),
            Desired::Reject { attempts: 1.., .. } => (cases, rejected + 1),
            _ => (cases, rejected),
        });
        let workers = driver.workers();
        // A stage that trains at two places is shown by the worker's training.
        let mut trainings = trainings();
        trainings.extend(workers.iter().flat_map(|worker| worker.trainings.clone()));
        {
            let seconds = self.started.elapsed().as_secs_f64();
            let mut status = self.lock();
            *status = Status {
                stages,
                actions_per_s,
                read_bytes_per_s,
                read_bytes: read,
                bytes_in_flight: in_flight,
                settling,
                files: archive.files(),
                cases,
                rejected,
                trainings,
                workers,
                gone: driver.gone_workers(),
                seconds,
                ..status.clone()
            };
        }
        self.write();
        // Counting a very large run must not slow it down.
        self.next = Instant::now() + EVERY.max(now.elapsed() * 20);
    }

    /// Tells of processes that are silent, also while the run waits for them.
    pub fn teller(&self) -> impl Fn(&[usize]) + Send + use<> {
        let (latest, folder) = (self.latest.clone(), self.folder.clone());
        move |silent| {
            let mut status = latest.lock().unwrap_or_else(PoisonError::into_inner);
            status.silent = silent.to_vec();
            status.refresh();
            if let Err(error) = status.write(&folder) {
                tracing::warn!("{error}");
            }
        }
    }

    fn write(&mut self) {
        let status = {
            let mut status = self.lock();
            status.refresh();
            status.clone()
        };
        if let Err(error) = status.write(&self.folder) {
            tracing::warn!("{error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
