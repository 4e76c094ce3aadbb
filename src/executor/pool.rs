//! The CPU pool: takes actions from a bounded queue, runs them within the budget, hands on to the device.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use tomoflow_connectors::{Reject, reading};

use super::budget::Budget;
use super::device;
use super::ending::finish;
use super::job::{Finished, Job};
use super::line::{JobLine, ToDevice};
use super::load::Context;
use super::slot::{Busy, Slot};
use super::work::Action;
use super::worker::{Shared, Worker};
use crate::networks::Device;

/// The threads, memory and device that there are to work with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Threads of the CPU pool, at least 1.
    pub threads: usize,
    /// Bytes that actions may hold at once.
    pub memory_bytes: u64,
    /// The device on which networks run.
    pub device: Device,
}

/// The threads that do the work. Dropping it waits for those under way, but for what was given up.
pub struct Executor {
    queue: Option<Sender<Job>>,
    shared: Shared,
    settings: Settings,
    device_jobs: JobLine,
    /// Jobs for the device that have not ended: they must not fill the CPU pool.
    on_device: Arc<AtomicUsize>,
    finished: Receiver<Finished>,
    threads: Vec<(Slot, Role, JoinHandle<()>)>,
    /// Whether nobody waits for its threads.
    left: bool,
    /// What reading may hold in memory meanwhile.
    _allowed: reading::Allowed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Cpu,
    Device,
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
            device_jobs: JobLine::new(device_jobs),
            on_device: Arc::new(AtomicUsize::new(0)),
            finished,
            threads: Vec::new(),
            left: false,
            _allowed: reading::allow(settings.memory_bytes),
        };
        for _ in 0..settings.threads {
            executor.spawn(Role::Cpu)?;
        }
        executor.spawn(Role::Device)?;
        Ok(executor)
    }

    /// Leaves its threads when it is dropped: nobody waits for them, and each ends after what it is at.
    pub fn leave(&mut self) {
        self.left = true;
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
                let (device, line) = (self.settings.device, self.device_jobs.clone());
                let Shared { context, report, .. } = shared;
                std::thread::Builder::new()
                    .name(format!("device-{device}"))
                    .spawn(move || device::run(&context, device, &line, &report, &own))?
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
        let late = |(at, (slot, ..)): (usize, &(Slot, Role, JoinHandle<()>))| (at, slot.overdue(now));
        let overdue: Vec<_> = self.threads.iter().enumerate().map(late).collect();
        for (at, late) in overdue.into_iter().rev().filter(|(_, late)| !late.is_empty()) {
            late.into_iter().for_each(|busy| self.report_late(busy));
            let (_, role, _) = self.threads.swap_remove(at);
            self.spawn(role)?;
        }
        Ok(())
    }

    fn report_late(&self, busy: Busy) {
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
    }

    /// Queues a job, or gives it back when there is no room now.
    ///
    /// # Errors
    /// The job.
    pub fn submit(&self, job: Job) -> Result<(), Box<Job>> {
        let Some(queue) = &self.queue else { return Err(Box::new(job)) };
        // The device's queue is bounded: one action runs, two wait, and all but one of the pool's threads may
        // wait to hand theirs on. Work that needs no device always finds a thread, however long a training
        // takes.
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

    /// Notes a report: it must be told of every one, so that the next job for the device may come.
    pub fn ended(&self, action: &Action) {
        if action.work.needs_device() {
            self.on_device.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Returns the receiver of what is done.
    pub fn finished(&self) -> &Receiver<Finished> {
        &self.finished
    }

    /// Returns the sender by which others may report what they have done.
    pub fn reporter(&self) -> Sender<Finished> {
        self.shared.report.clone()
    }

    /// Returns the number of threads of its pool.
    pub fn threads(&self) -> usize {
        self.settings.threads
    }

    /// Bytes that actions may hold at once.
    pub fn memory_bytes(&self) -> u64 {
        self.settings.memory_bytes
    }

    /// Bytes that actions hold now, and bytes of source files read so far.
    pub fn bytes(&self) -> (u64, u64) {
        (self.shared.budget.held(), self.shared.context.bytes_read.load(Ordering::Relaxed))
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.queue = None;
        if self.left {
            // The device may be at work, and hear of it never.
            drop(self.shared.to_device.try_send(ToDevice::End));
            return;
        }
        let (cpu, device): (Vec<_>, Vec<_>) =
            self.threads.drain(..).partition(|(_, role, _)| *role == Role::Cpu);
        wait_for(cpu);
        // The device's thread is told to end, since a thread that was given up keeps its sender for ever.
        drop(self.shared.to_device.send(ToDevice::End));
        wait_for(device);
    }
}

/// Waits for threads to end, but not for one that works longer than its stage's `timeout` allows.
fn wait_for(mut threads: Vec<(Slot, Role, JoinHandle<()>)>) {
    while !threads.is_empty() {
        let now = Instant::now();
        threads.retain(|(slot, _, thread)| !thread.is_finished() && slot.overdue(now).is_empty());
        std::thread::sleep(Duration::from_millis(1));
    }
}
