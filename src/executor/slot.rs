//! What each thread is at, so that work which never comes back can be given up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::budget::Permit;
use super::job::Job;

/// A job under way, and what it holds.
pub struct Busy {
    /// The job.
    pub job: Job,
    /// The time when it began.
    pub started: Instant,
    /// The time that it may take.
    pub limit: Option<Duration>,
    /// The memory it was given. One that is given up gives it back, although its thread may keep some: a
    /// budget that never comes free would stop everything else.
    pub permit: Option<Permit>,
}

/// One thread's place: filled while it works.
#[derive(Clone, Default)]
pub struct Slot(Arc<Mutex<Vec<Busy>>>);

impl Slot {
    /// The thread begins a job.
    pub fn begin(&self, busy: Busy) {
        self.begin_together(vec![busy]);
    }

    /// The thread begins several jobs that end together: each may take as long as all may.
    pub fn begin_together(&self, mut jobs: Vec<Busy>) {
        let limits: Option<Duration> = jobs.iter().map(|busy| busy.limit).sum();
        jobs.iter_mut().for_each(|busy| busy.limit = limits);
        *self.lock() = jobs;
    }

    /// The memory that the job was given; from here on it may take as long as `limit`.
    pub fn hold(&self, permit: Permit, limit: Option<Duration>) {
        if let Some(busy) = self.lock().first_mut() {
            busy.permit = Some(permit);
            (busy.started, busy.limit) = (Instant::now(), limit);
        }
    }

    /// Takes the memory on to another thread; none when the job was given up.
    pub fn take_permit(&self) -> Option<Permit> {
        self.lock().first_mut()?.permit.take()
    }

    /// The jobs have ended: what they held, in their order, or nothing when they were given up before. Then the
    /// thread's place has been taken by another, and it ends.
    pub fn end(&self) -> Vec<Busy> {
        std::mem::take(&mut *self.lock())
    }

    /// Takes the limit away: from here on the job only waits for another thread.
    pub fn unlimited(&self) {
        if let Some(busy) = self.lock().first_mut() {
            busy.limit = None;
        }
    }

    /// Takes the jobs from a thread that has worked on them for too long.
    pub fn overdue(&self, now: Instant) -> Vec<Busy> {
        let mut slot = self.lock();
        let late = |busy: &Busy| busy.limit.is_some_and(|limit| now.duration_since(busy.started) > limit);
        if slot.iter().any(late) { std::mem::take(&mut *slot) } else { Vec::new() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Busy>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
