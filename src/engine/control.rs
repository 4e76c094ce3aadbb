//! The control plane's threads: batches of changes in, what follows from them out.

use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use timely::communication::WorkerGuards;
use timely::dataflow::ProbeHandle;

use super::dataflow::{Inputs, build};
use super::rows::{Input, Output};
use crate::pipeline::Plan;

/// What comes out of the timely workers.
enum Event {
    Change(Output, isize),
    /// All that follows from the last batch has been sent.
    Closed,
}

/// A running dataflow.
pub struct Control {
    batches: Option<Sender<Vec<(Input, isize)>>>,
    events: Receiver<Event>,
    guards: Option<WorkerGuards<()>>,
}

/// Why the control plane could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Its threads could not be started.
    #[error("the control plane did not start: {0}")]
    Start(String),
    /// Its threads ended.
    #[error("the control plane ended before its work was done")]
    Ended,
}

impl Control {
    /// Starts `workers` timely threads on a plan.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn start(plan: Arc<Plan>, workers: usize) -> Result<Self, ControlError> {
        let (batches, to_worker) = bounded::<Vec<(Input, isize)>>(1);
        let (to_driver, events) = unbounded();
        let to_worker = Mutex::new(Some(to_worker));
        // Even one worker is a thread of its own: the driver must not be the one that steps it.
        let config = timely::Config::process(workers.max(1));
        let guards = timely::execute(config, move |worker| {
            let mut inputs = Inputs::new();
            let probe = ProbeHandle::new();
            let to_driver = to_driver.clone();
            let changes = to_driver.clone();
            worker.dataflow::<u64, _, _>(|scope| {
                build(scope, &plan, &mut inputs)
                    .inspect(move |(output, _, diff)| {
                        // The driver may be gone at the end of a run; nobody waits for this then.
                        let _ = changes.send(Event::Change(output.clone(), *diff));
                    })
                    .probe_with(&probe);
            });
            // Only worker 0 feeds; rows reach the others by their keys. They step until inputs close.
            if worker.index() != 0 {
                return;
            }
            let Some(batches) = to_worker.lock().ok().and_then(|mut slot| slot.take()) else { return };
            let mut time = 0;
            for batch in batches {
                for (input, diff) in batch {
                    inputs.update(input, diff);
                }
                time += 1;
                inputs.advance_to(time);
                worker.step_while(|| probe.less_than(&time));
                if to_driver.send(Event::Closed).is_err() {
                    return;
                }
            }
        })
        .map_err(ControlError::Start)?;
        Ok(Self { batches: Some(batches), events, guards: Some(guards) })
    }

    /// Feeds one batch, and waits for all that follows from it, net: nothing that came and went.
    ///
    /// # Errors
    /// When the threads have ended.
    pub fn feed(&self, batch: Vec<(Input, isize)>) -> Result<Vec<(Output, isize)>, ControlError> {
        let batches = self.batches.as_ref().ok_or(ControlError::Ended)?;
        batches.send(batch).map_err(|_| ControlError::Ended)?;
        let mut changes = Vec::new();
        while let Event::Change(output, diff) = self.events.recv().map_err(|_| ControlError::Ended)? {
            changes.push((output, diff));
        }
        differential_dataflow::consolidation::consolidate(&mut changes);
        Ok(changes)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(guards) = self.guards.take() {
            drop(guards.join());
        }
    }
}
