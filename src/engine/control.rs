//! The control plane's threads: batches of changes in, what follows from them out.

use std::any::Any;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use differential_dataflow::AsCollection;
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Hooks, WorkerGuards};
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::Exchange;
use timely::execute::execute_from;

use tomoflow_connectors::points;

use super::cluster::Cluster;
use super::dataflow::{Inputs, build};
use super::rows::{Conclusion, Input};
use crate::pipeline::Plan;

/// The longest time that worker 0 sleeps while others work on an epoch; what comes wakes it before.
const PARK: Duration = Duration::from_millis(1);

/// What comes out of the timely workers.
enum Event {
    Change(Conclusion, isize),
    /// All that follows from the last batch has been sent.
    Closed,
}

/// A running dataflow.
pub struct Control {
    batches: Option<Sender<Vec<(Input, isize)>>>,
    events: Receiver<Event>,
    guards: Option<WorkerGuards<()>>,
}

/// The reasons why the control plane could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Its threads could not be started.
    #[error("the control plane did not start: {0}")]
    Start(String),
    /// The control plane's threads ended.
    #[error("the control plane ended before its work was done")]
    Ended,
}

impl Control {
    /// Starts `workers` timely threads on a plan.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn start(plan: Arc<Plan>, workers: usize) -> Result<Self, ControlError> {
        // Even one worker is a thread of its own: the driver must not be the one that steps it.
        let (builders, others) =
            timely::CommunicationConfig::Process(workers.max(1)).try_build().map_err(ControlError::Start)?;
        Self::build(plan, builders, others)
    }

    /// Starts this process's timely threads, which exchange rows with those at the other ends of `links`. Only
    /// process 0 is fed, and hears what follows.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn connect(
        plan: Arc<Plan>,
        cluster: &Cluster,
        links: Vec<Option<TcpStream>>,
    ) -> Result<Self, ControlError> {
        let hooks = Hooks::default();
        let own =
            ProcessBuilder::new_typed_vector(cluster.workers, hooks.refill.clone(), hooks.spill.clone());
        let (builders, guard) =
            initialize_networking_from_sockets(own, links, cluster.process, cluster.workers, hooks)
                .map_err(|error| ControlError::Start(error.to_string()))?;
        let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
        Self::build(plan, builders, Box::new(guard))
    }

    fn build(
        plan: Arc<Plan>,
        builders: Vec<AllocatorBuilder>,
        others: Box<dyn Any + Send>,
    ) -> Result<Self, ControlError> {
        let (batches, to_worker) = bounded::<Vec<(Input, isize)>>(1);
        let (to_driver, events) = unbounded();
        let to_worker = Mutex::new(Some(to_worker));
        let guards = execute_from(builders, others, timely::WorkerConfig::default(), move |worker| {
            let mut inputs = Inputs::new();
            let probe = ProbeHandle::new();
            let to_driver = to_driver.clone();
            let changes = to_driver.clone();
            worker.dataflow::<u64, _, _>(|scope| {
                build(scope, &plan, &mut inputs)
                    .inner
                    // Worker 0 is the one whose driver acts on them.
                    .exchange(|_| 0)
                    .as_collection()
                    .inspect(move |(output, _, diff)| {
                        // The driver may be gone at the end of a run; nobody waits for this then.
                        let _ = changes.send(Event::Change(output.clone(), *diff));
                    })
                    .probe_with(&probe);
            });
            // Worker 0 alone feeds; rows reach the others by their keys. They step until inputs close.
            if worker.index() != 0 {
                return;
            }
            let Some(batches) = to_worker.lock().ok().and_then(|mut slot| slot.take()) else { return };
            let mut time = 0;
            for batch in batches {
                // A worker that panics must end the process; a test sees that it does.
                let _ = points::pass(points::WORKER_BATCH);
                for (input, diff) in batch {
                    inputs.update(input, diff);
                }
                time += 1;
                inputs.advance_to(time);
                worker.step_or_park_while(Some(PARK), || probe.less_than(&time));
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
    pub fn feed(&self, batch: Vec<(Input, isize)>) -> Result<Vec<(Conclusion, isize)>, ControlError> {
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
