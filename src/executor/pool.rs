//! The CPU pool: takes actions from a bounded queue, runs them within the budget, hands on to the device.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use tomoflow_connectors::{Digest, Geometry, Reject};

use super::artifact::{self, MaskArtifact, PreparedArtifact};
use super::budget::{Budget, Permit};
use super::device::{self, DeviceJob};
use super::load::Context;
use super::work::{Action, Work};
use crate::networks::Device;
use crate::operators::registry::Stage;
use crate::operators::resample::labels_to_grid;
use crate::operators::value::{Case, Mask};
use crate::store::{Outcome, Recorded};

/// An action on its way.
#[derive(Clone, Debug)]
pub struct Job {
    /// What is to be done.
    pub action: Action,
    /// Set when it is no longer wanted.
    pub cancelled: Arc<AtomicBool>,
}

/// What an action led to.
#[derive(Debug)]
pub struct Finished {
    /// Which one.
    pub action: Action,
    /// What came of it.
    pub recorded: Recorded,
}

/// How much there is to work with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Threads of the CPU pool, at least 1.
    pub threads: usize,
    /// Bytes that actions may hold at once.
    pub memory_bytes: u64,
    /// Where networks run.
    pub device: Device,
}

/// The threads that do the work. Dropping it waits for those under way.
pub struct Executor {
    queue: Option<Sender<Job>>,
    threads_for_cpu: usize,
    /// Jobs for the device that have not ended: they must not fill the CPU pool.
    on_device: Arc<AtomicUsize>,
    finished: Receiver<Finished>,
    threads: Vec<JoinHandle<()>>,
}

impl Executor {
    /// Starts the pool and the device's thread.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(context: Context, settings: Settings) -> std::io::Result<Self> {
        let threads = settings.threads.max(1);
        let (queue, jobs) = bounded::<Job>(threads);
        let (to_device, device_jobs) = bounded::<DeviceJob>(2);
        let (report, finished) = unbounded();
        let budget = Budget::new(settings.memory_bytes);
        let on_device = Arc::new(AtomicUsize::new(0));
        let mut handles = Vec::new();
        for index in 0..threads {
            let worker = Worker {
                context: context.clone(),
                jobs: jobs.clone(),
                to_device: to_device.clone(),
                report: report.clone(),
                budget: budget.clone(),
            };
            let name = format!("cpu-{index}");
            handles.push(std::thread::Builder::new().name(name).spawn(move || worker.run())?);
        }
        let name = format!("device-{}", settings.device);
        let device = settings.device;
        handles.push(
            std::thread::Builder::new()
                .name(name)
                .spawn(move || device::run(&context, device, &device_jobs, &report))?,
        );
        Ok(Self { queue: Some(queue), threads_for_cpu: threads, on_device, finished, threads: handles })
    }

    /// Queues a job, or gives it back when there is no room now.
    ///
    /// # Errors
    /// The job.
    pub fn submit(&self, job: Job) -> Result<(), Box<Job>> {
        let Some(queue) = &self.queue else { return Err(Box::new(job)) };
        // One runs, two wait, and all but one of the pool's threads may wait to hand theirs on: work that
        // needs no device always finds a thread, however long a training takes.
        let device = job.action.work.needs_device();
        if device && self.on_device.load(Ordering::Relaxed) >= 2 + self.threads_for_cpu {
            return Err(Box::new(job));
        }
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })?;
        if device {
            self.on_device.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Must be told of every report, so that the next job for the device may come.
    pub fn ended(&self, action: &Action) {
        if action.work.needs_device() {
            self.on_device.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What is done.
    pub fn finished(&self) -> &Receiver<Finished> {
        &self.finished
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

struct Worker {
    context: Context,
    jobs: Receiver<Job>,
    to_device: Sender<DeviceJob>,
    report: Sender<Finished>,
    budget: Arc<Budget>,
}

impl Worker {
    fn run(self) {
        for job in &self.jobs {
            let started = Instant::now();
            let action = job.action.clone();
            let result = guarded(&action, || self.start(job, started));
            match result {
                Ok(None) => {}
                Ok(Some(outcome)) => finish(&self.report, action, Ok(outcome), started),
                Err(reject) => finish(&self.report, action, Err(reject), started),
            }
        }
    }

    /// Runs an action, or hands it on to the device, which then reports: `None`.
    fn start(&self, job: Job, started: Instant) -> Result<Option<Outcome>, Reject> {
        if job.cancelled.load(Ordering::Relaxed) {
            return Err(cancelled());
        }
        let needed = self.bytes_needed(&job.action);
        let permit = self.budget.acquire(needed).map_err(|error| {
            let hint = format!("set `memory` to at least {} MiB", needed.div_ceil(1 << 20));
            Reject::new("OVER_BUDGET", error.to_string(), hint)
        })?;
        if job.cancelled.load(Ordering::Relaxed) {
            return Err(cancelled());
        }
        let stage = usize::from(job.action.stage);
        let context = &self.context;
        let bytes = match &job.action.work {
            Work::Prepare(row) => {
                let planned = &context.plan.stages[stage];
                let trains = matches!(planned.stage, Stage::Train(_));
                PreparedArtifact::encode(&context.case(if trains { planned.inputs[0] } else { stage }, row)?)?
            }
            Work::Segment(row) => {
                let case = context.case(context.plan.stages[stage].inputs[0], row)?;
                let Stage::Segment(segmenter) = &context.plan.stages[stage].stage else {
                    return Err(misplaced());
                };
                let (labels, names) = segmenter.segment(&case)?;
                mask_bytes(&case, labels, &names)?
            }
            Work::Mask { mask, series } => {
                let Stage::Mask(operator) = &context.plan.stages[stage].stage else {
                    return Err(misplaced());
                };
                artifact::encode(&MaskArtifact::of(&operator.apply(&context.mask(series, *mask)?)?))?
            }
            Work::Evaluate { mask, case } => self.evaluate(stage, *mask, case)?,
            Work::Infer { case, .. } => {
                let case = context.case(context.plan.stages[stage].inputs[0], case)?;
                return self.hand_on(DeviceJob { job, case: Some(case), permit, started });
            }
            Work::Train(_) => return self.hand_on(DeviceJob { job, case: None, permit, started }),
        };
        drop(permit);
        put(context, &bytes).map(Some)
    }

    fn evaluate(&self, stage: usize, mask: Digest, case: &super::work::CaseRow) -> Result<Vec<u8>, Reject> {
        let Stage::Evaluate(evaluator) = &self.context.plan.stages[stage].stage else {
            return Err(misplaced());
        };
        let labels = case.labels.as_ref().ok_or_else(misplaced)?;
        let truth = self.context.truth(&case.series, labels)?;
        artifact::encode(&evaluator.evaluate(&self.context.mask(&case.series, mask)?, &truth)?)
    }

    fn hand_on(&self, job: DeviceJob) -> Result<Option<Outcome>, Reject> {
        self.to_device.send(job).map_err(|_| cancelled())?;
        Ok(None)
    }

    /// What an action holds at its peak: intensities, labels, a transformed copy, and the pieces between.
    fn bytes_needed(&self, action: &Action) -> u64 {
        let voxels = |size: [usize; 3]| size.iter().map(|&n| n as u64).product::<u64>();
        match &action.work {
            Work::Train(members) => members
                .iter()
                .filter_map(|member| {
                    std::fs::metadata(self.context.store.artifact_path(member.prepared?)).ok()
                })
                .map(|file| file.len())
                .sum(),
            work => {
                let Some(series) = work.case() else { return 0 };
                let original = Geometry::from(&series.grid);
                let finest = self.finest(usize::from(action.stage), &original);
                14 * voxels(original.size) + 14 * finest
            }
        }
    }

    /// Voxels of the largest grid on the way to a stage.
    fn finest(&self, stage: usize, original: &Geometry) -> u64 {
        let mut at = stage;
        let mut largest = original.voxels() as u64;
        while let Some(&input) = self.context.plan.stages[at].inputs.first() {
            at = input;
            let Some(spacing) = self.context.plan.stages[at].config.get("spacing_mm") else { continue };
            let Ok(spacing) = serde_json::from_value::<[f64; 3]>(spacing.clone()) else { continue };
            let extent: f64 = (0..3)
                .map(|axis| original.size[axis] as f64 * original.spacing_mm()[axis] / spacing[axis])
                .product();
            largest = largest.max(extent.ceil() as u64);
        }
        largest
    }
}

/// A mask on the case's grid goes back to the scan's original grid, and becomes runs.
pub(super) fn mask_bytes(
    case: &Case,
    labels: tomoflow_connectors::LabelMap,
    names: &[String],
) -> Result<Vec<u8>, Reject> {
    let labels =
        if labels.geometry() == &*case.original { labels } else { labels_to_grid(&labels, &case.original)? };
    let mask = Mask { labels: Arc::new(labels), label_names: names.to_vec().into() };
    artifact::encode(&MaskArtifact::of(&mask))
}

/// Keeps an action's bytes.
pub(super) fn put(context: &Context, bytes: &[u8]) -> Result<Outcome, Reject> {
    let artifact = context.store.put(bytes).map_err(|error| {
        Reject::new("STORE", error.to_string(), "free some space, or give the pipeline another `out`")
    })?;
    Ok(Outcome::Ok { artifact, detail: None })
}

/// Runs one action; a panic in it is its failure, not the pool's.
pub(super) fn guarded<T>(action: &Action, run: impl FnOnce() -> Result<T, Reject>) -> Result<T, Reject> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!(action = %action.key.short(), "an operator panicked: {text}");
        let hint = "this is a fault of the operator: please report it";
        Err(Reject::new("PANIC", format!("the operator panicked: {text}"), hint))
    })
}

/// Reports an action's end. A failure is data.
pub(super) fn finish(
    report: &Sender<Finished>,
    action: Action,
    result: Result<Outcome, Reject>,
    started: Instant,
) {
    let outcome = result.unwrap_or_else(Outcome::failed);
    let recorded = Recorded { outcome, seconds: started.elapsed().as_secs_f64() };
    // Nobody listens any more once a run has been cancelled.
    let _ = report.send(Finished { action, recorded });
}

pub(super) fn cancelled() -> Reject {
    Reject::new("CANCELLED", "no longer wanted", "")
}

pub(super) fn misplaced() -> Reject {
    Reject::new("MISPLACED", "the stage does not do this kind of work", "this is a fault: please report it")
}

/// Held by a job until it ends.
pub(super) type Held = Permit;
