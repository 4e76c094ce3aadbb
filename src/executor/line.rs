//! The line before a device: jobs whose voxels are ready, and which of them go through the network together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::budget::Permit;
use super::job::Job;
use crate::operators::value::Case;

/// A job whose voxels are ready.
pub struct DeviceJob {
    pub job: Job,
    pub case: Option<Case>,
    pub permit: Permit,
    pub started: Instant,
}

/// What the device's thread is told.
pub enum ToDevice {
    /// A job to do.
    Job(Box<DeviceJob>),
    /// There is no more.
    End,
}

/// Jobs in their order. A thread that takes another one's place goes on where that one was.
#[derive(Clone)]
pub struct JobLine {
    jobs: Receiver<ToDevice>,
    /// The job that was taken from the line, and did not go with those before it.
    ahead: Arc<Mutex<Option<ToDevice>>>,
}

impl JobLine {
    /// The line of what is sent there.
    pub fn new(jobs: Receiver<ToDevice>) -> Self {
        Self { jobs, ahead: Arc::default() }
    }

    /// The next job, and with it at most so many in all as wait already and ask for the same network; none when there
    /// are no more.
    pub fn next(&self, most: usize) -> Option<Vec<DeviceJob>> {
        let first = self.ahead().take().or_else(|| self.jobs.recv().ok())?;
        let ToDevice::Job(first) = first else { return None };
        let mut group = vec![*first];
        while group.len() < most
            && let Ok(next) = self.jobs.try_recv()
        {
            match next {
                ToDevice::Job(next) if same_network(&group[0], &next) => group.push(*next),
                other => {
                    *self.ahead() = Some(other);
                    break;
                }
            }
        }
        Some(group)
    }

    fn ahead(&self) -> std::sync::MutexGuard<'_, Option<ToDevice>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn same_network(a: &DeviceJob, b: &DeviceJob) -> bool {
    let (a, b) = (&a.job.action, &b.job.action);
    let applies = a.work.members().is_none() && !a.work.models().is_empty();
    applies && (a.stage, a.work.models()) == (b.stage, b.work.models())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use crossbeam_channel::unbounded;
    use tomoflow_connectors::{Digest, Geometry};

    use super::super::budget::Budget;
    use super::super::work::{Action, BoundCase, SeriesRow, Work};
    use super::*;
    use crate::pipeline::StageId;

    fn job(key: u8, work: Work) -> ToDevice {
        let action = Action { key: Digest::of(&[key]), stage: StageId::default(), work };
        let job = Job { action, cancelled: Arc::new(AtomicBool::new(false)), lookup: None };
        let permit = Budget::new(10).acquire(1).unwrap();
        ToDevice::Job(Box::new(DeviceJob { job, case: None, permit, started: Instant::now() }))
    }

    fn infer(key: u8, model: u8) -> ToDevice {
        let series = SeriesRow::sample("1.2", &Geometry::axis_aligned([1; 3], [1.0; 3]));
        let case = BoundCase::of(Arc::new(series));
        job(key, Work::with_models(case, [Digest::of(&[model])].into()))
    }

    #[test]
    fn those_go_together_that_ask_for_the_same_network() {
        let (send, jobs) = unbounded();
        let line = JobLine::new(jobs);
        let all = [
            infer(0, 0),
            infer(1, 0),
            infer(2, 0),
            infer(3, 0),
            infer(4, 1),
            job(5, Work::Train { members: Arc::default(), start: Arc::default() }),
        ];
        all.into_iter().chain([infer(6, 1), ToDevice::End]).for_each(|job| send.send(job).unwrap());
        let keys =
            |group: Vec<DeviceJob>| -> Vec<Digest> { group.iter().map(|job| job.job.action.key).collect() };
        let expected: [&[u8]; 5] = [&[0, 1, 2], &[3], &[4], &[5], &[6]];
        for keys_of in expected {
            let wanted: Vec<Digest> = keys_of.iter().map(|&key| Digest::of(&[key])).collect();
            // Another thread may ask for the next.
            assert_eq!(line.clone().next(3).map(keys), Some(wanted));
        }
        assert!(line.next(3).is_none());
    }
}
