//! The CPU pool: takes actions from a bounded queue, runs them within the budget, hands on to the device.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use tomoflow_connectors::Reject;

use super::budget::Budget;
use super::device::{self, ToDevice};
use super::ending::finish;
use super::load::{Context, Lookup};
use super::slot::Slot;
use super::work::Action;
use super::worker::Worker;
use crate::networks::Device;
use crate::store::Recorded;

/// An action on its way.
#[derive(Clone)]
pub struct Job {
    /// What is to be done.
    pub action: Action,
    /// Set when it is no longer wanted.
    pub cancelled: Arc<AtomicBool>,
    /// Where its files lie, when this process has no index of its own.
    pub lookup: Option<Arc<dyn Lookup>>,
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

/// The threads that do the work. Dropping it waits for those under way, but for what was given up.
pub struct Executor {
    queue: Option<Sender<Job>>,
    shared: Shared,
    settings: Settings,
    device_jobs: Receiver<ToDevice>,
    /// Jobs for the device that have not ended: they must not fill the CPU pool.
    on_device: Arc<AtomicUsize>,
    finished: Receiver<Finished>,
    threads: Vec<(Slot, Role, JoinHandle<()>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Cpu,
    Device,
}

/// What every thread of the pool has.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) context: Context,
    pub(super) jobs: Receiver<Job>,
    pub(super) to_device: Sender<ToDevice>,
    pub(super) report: Sender<Finished>,
    pub(super) budget: Arc<Budget>,
}

impl Executor {
    /// Starts the pool and the device's thread.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(context: Context, settings: Settings) -> std::io::Result<Self> {
        let settings = Settings { threads: settings.threads.max(1), ..settings };
        let (queue, jobs) = bounded::<Job>(settings.threads);
        let (to_device, device_jobs) = bounded::<ToDevice>(2);
        let (report, finished) = unbounded();
        let budget = Budget::new(settings.memory_bytes);
        let shared = Shared { context, jobs, to_device, report, budget };
        let mut executor = Self {
            queue: Some(queue),
            shared,
            settings,
            device_jobs,
            on_device: Arc::new(AtomicUsize::new(0)),
            finished,
            threads: Vec::new(),
        };
        for _ in 0..settings.threads {
            executor.spawn(Role::Cpu)?;
        }
        executor.spawn(Role::Device)?;
        Ok(executor)
    }

    fn spawn(&mut self, role: Role) -> std::io::Result<()> {
        let slot = Slot::default();
        let (shared, own) = (self.shared.clone(), slot.clone());
        let thread = match role {
            Role::Cpu => {
                let name = format!("cpu-{}", self.threads.len());
                let worker = Worker { shared, slot: own };
                std::thread::Builder::new().name(name).spawn(move || worker.run())?
            }
            Role::Device => {
                let (device, jobs) = (self.settings.device, self.device_jobs.clone());
                let Shared { context, report, .. } = shared;
                std::thread::Builder::new()
                    .name(format!("device-{device}"))
                    .spawn(move || device::run(&context, device, &jobs, &report, &own))?
            }
        };
        self.threads.push((slot, role, thread));
        Ok(())
    }

    /// Gives up what takes longer than its stage's `timeout` allows: it is reported as `TIMEOUT`, its
    /// thread is left to itself, and another takes its place.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn give_up(&mut self) -> std::io::Result<()> {
        let now = Instant::now();
        let late = |(at, (slot, ..)): (usize, &(Slot, Role, JoinHandle<()>))| Some((at, slot.overdue(now)?));
        let overdue: Vec<_> = self.threads.iter().enumerate().filter_map(late).collect();
        for (at, busy) in overdue.into_iter().rev() {
            let limit = busy.limit.unwrap_or_default();
            busy.job.cancelled.store(true, Ordering::Relaxed);
            tracing::error!(
                action = %busy.job.action.key.short(),
                "given up after {}; its thread may go on until the process ends",
                humantime::format_duration(limit)
            );
            let allowed = humantime::format_duration(limit);
            let reject = Reject::new(
                "TIMEOUT",
                format!("{allowed} allowed, the operator had not returned by then"),
                "raise the stage's `timeout`, or try it again with `tomoflow retry`",
            );
            finish(&self.shared.report, busy.job.action, Err(reject), busy.started);
            let (_, role, _) = self.threads.swap_remove(at);
            self.spawn(role)?;
        }
        Ok(())
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
        if device && self.on_device.load(Ordering::Relaxed) >= 2 + self.settings.threads {
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

    /// Where others may report what they have done.
    pub fn reporter(&self) -> Sender<Finished> {
        self.shared.report.clone()
    }

    /// Bytes that actions hold now, and bytes of source files read so far.
    pub fn bytes(&self) -> (u64, u64) {
        (self.shared.budget.held(), self.shared.context.bytes_read.load(Ordering::Relaxed))
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.queue = None;
        let (cpu, device): (Vec<_>, Vec<_>) =
            self.threads.drain(..).partition(|(_, role, _)| *role == Role::Cpu);
        wait_for(cpu);
        // Told, since a thread that was given up keeps its sender for ever.
        drop(self.shared.to_device.send(ToDevice::End));
        wait_for(device);
    }
}

/// Waits for threads to end, but not for one that works longer than its stage's `timeout` allows.
fn wait_for(mut threads: Vec<(Slot, Role, JoinHandle<()>)>) {
    while !threads.is_empty() {
        let now = Instant::now();
        threads.retain(|(slot, _, thread)| !thread.is_finished() && slot.overdue(now).is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Worker {
    shared: Shared,
    slot: Slot,
}

impl Worker {
    fn run(self) {
        let Self { shared, slot } = self;
        let jobs = shared.jobs.clone();
        for job in &jobs {
            let context = match &job.lookup {
                Some(lookup) => Context { lookup: Arc::downgrade(lookup), ..shared.context.clone() },
                None => shared.context.clone(),
            };
            let worker = Working { shared: &shared, slot: &slot, context: &context };
            let (started, action) = (Instant::now(), job.action.clone());
            slot.begin(Busy { job: job.clone(), started, limit: None, permit: None });
            let result = guarded(&action, || worker.start(job, started));
            let Some(busy) = slot.end() else { return };
            drop(busy);
            match result {
                Ok(None) => {}
                Ok(Some(outcome)) => finish(&shared.report, action, Ok(outcome), started),
                Err(reject) => finish(&shared.report, action, Err(reject), started),
            }
        }
    }
}

struct Working<'a> {
    shared: &'a Shared,
    slot: &'a Slot,
    context: &'a Context,
}

impl Working<'_> {
    /// Runs an action, or hands it on to the device, which then reports: `None`.
    fn start(&self, job: Job, started: Instant) -> Result<Option<Outcome>, Reject> {
        if job.cancelled.load(Ordering::Relaxed) {
            return Err(cancelled());
        }
        let needed = self.bytes_needed(&job.action);
        let permit = self.shared.budget.acquire(needed).map_err(|error| {
            let hint = format!("set `memory` to at least {} MiB", needed.div_ceil(1 << 20));
            Reject::new("OVER_BUDGET", error.to_string(), hint)
        })?;
        // The clock starts here: waiting for memory is no fault of the operator.
        self.slot.hold(permit, self.limit(&job.action));
        if job.cancelled.load(Ordering::Relaxed) {
            return Err(cancelled());
        }
        let stage = usize::from(job.action.stage);
        let context = self.context;
        let mut found: Arc<[FigureRow]> = Arc::default();
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
            Work::Combine { masks, series } => {
                let Stage::Combine(operator) = &context.plan.stages[stage].stage else {
                    return Err(misplaced());
                };
                let masks: Vec<Mask> =
                    masks.iter().map(|mask| context.mask(series, *mask)).collect::<Result<_, _>>()?;
                let (first, others) = masks.split_first().ok_or_else(misplaced)?;
                artifact::encode(&MaskArtifact::of(&operator.combine(first, others)?))?
            }
            Work::Evaluate { mask, case } => {
                let metrics = self.evaluate(stage, *mask, case)?;
                found = artifact::figure_rows(&metrics);
                artifact::encode(&metrics)?
            }
            Work::Infer { case, .. } => {
                let case = context.case(context.plan.stages[stage].inputs[0], case)?;
                return self.hand_on(job, Some(case), started);
            }
            Work::Train(_) => return self.hand_on(job, None, started),
        };
        keep(context, &bytes, found).map(Some)
    }

    fn evaluate(&self, stage: usize, mask: Digest, case: &CaseRow) -> Result<MetricsArtifact, Reject> {
        let context = self.context;
        let Stage::Evaluate(evaluator) = &context.plan.stages[stage].stage else {
            return Err(misplaced());
        };
        let labels = case.labels.as_ref().ok_or_else(misplaced)?;
        let truth = context.truth(&case.series, labels)?;
        evaluator.evaluate(&context.mask(&case.series, mask)?, &truth)
    }

    /// How long the work of this thread may take.
    fn limit(&self, action: &Action) -> Option<Duration> {
        let plan = &self.shared.context.plan;
        let stage = usize::from(action.stage);
        match (&action.work, &plan.stages[stage].stage) {
            // A case is prepared by what comes before the training.
            (Work::Prepare(_), Stage::Train(_)) => plan.timeout(plan.stages[stage].inputs[0]),
            _ => plan.timeout(stage),
        }
    }

    /// The device has a time limit of its own, from when it begins.
    fn hand_on(&self, job: Job, case: Option<Case>, started: Instant) -> Result<Option<Outcome>, Reject> {
        self.slot.unlimited();
        let permit = self.slot.take_permit().ok_or_else(cancelled)?;
        let job = Box::new(DeviceJob { job, case, permit, started });
        self.shared.to_device.send(ToDevice::Job(job)).map_err(|_| cancelled())?;
        Ok(None)
    }

    /// What an action holds at its peak: intensities, labels, a transformed copy, and the pieces between.
    fn bytes_needed(&self, action: &Action) -> u64 {
        let voxels = |size: [usize; 3]| size.iter().map(|&n| n as u64).product::<u64>();
        match &action.work {
            Work::Train(members) => members
                .iter()
                .filter_map(|member| {
                    std::fs::metadata(self.shared.context.artifacts.path(member.prepared?)).ok()
                })
                .map(|file| file.len())
                .sum(),
            work => {
                let Some(series) = work.case() else { return 0 };
                let original = Geometry::from(&series.grid);
                let finest = self.finest(usize::from(action.stage), &original);
                // Two masks are in the count already.
                let more = match work {
                    Work::Combine { masks, .. } => masks.len().saturating_sub(2) as u64,
                    _ => 0,
                };
                (14 + 2 * more) * voxels(original.size) + 14 * finest
            }
        }
    }

    /// Voxels of the largest grid on the way to a stage.
    fn finest(&self, stage: usize, original: &Geometry) -> u64 {
        let stages = &self.shared.context.plan.stages;
        let (mut at, mut chain) = (stage, Vec::new());
        while let Some(&input) = stages[at].inputs.first() {
            at = input;
            chain.push(&stages[at]);
        }
        let mut spacing_mm = original.spacing_mm();
        let mut size = original.size.map(|n| n as f64);
        let mut largest = size.iter().product::<f64>();
        for stage in chain.into_iter().rev() {
            let lengths = |field: &str| {
                serde_json::from_value::<[f64; 3]>(stage.config.get(field).cloned().unwrap_or_default()).ok()
            };
            match stage.spec.name {
                "resample" => {
                    let smallest = spacing_mm.into_iter().fold(f64::INFINITY, f64::min);
                    let new_mm = lengths("spacing_mm").unwrap_or([smallest; 3]);
                    size = [0, 1, 2].map(|axis| size[axis] * spacing_mm[axis] / new_mm[axis]);
                    spacing_mm = new_mm;
                }
                "pad" => {
                    let voxels = |mm: [f64; 3]| [0, 1, 2].map(|axis| mm[axis] / spacing_mm[axis]);
                    let wanted = lengths("size").or_else(|| lengths("size_mm").map(voxels)).unwrap_or(size);
                    size = [0, 1, 2].map(|axis| size[axis].max(wanted[axis]));
                }
                _ => {}
            }
            // A grid without lengths is refused where it is resampled.
            let voxels: f64 = size.iter().product();
            largest = if voxels.is_finite() { largest.max(voxels) } else { largest };
        }
        largest.ceil() as u64
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

/// Keeps an action's bytes, which are no figures.
pub(super) fn put(context: &Context, bytes: &[u8]) -> Result<Outcome, Reject> {
    keep(context, bytes, Arc::default())
}

/// Keeps an action's bytes, beside the figures in them.
fn keep(context: &Context, bytes: &[u8], figures: Arc<[FigureRow]>) -> Result<Outcome, Reject> {
    let artifact = context.artifacts.put(bytes).map_err(|error| {
        Reject::new("STORE", error.to_string(), "free some space, or give the pipeline another `out`")
    })?;
    Ok(Outcome::Ok { artifact, detail: None, figures })
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
