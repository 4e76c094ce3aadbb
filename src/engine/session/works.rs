//! The control plane, the executors and the tables of an open pipeline.

use std::sync::Arc;

use crate::engine::cluster::{Crew, Gate, Links};
use crate::engine::control::Control;
use crate::engine::driver::Driver;
use crate::engine::error::RunError;
use crate::engine::options::Options;
use crate::engine::outputs::folders::Folders;
use crate::engine::outputs::identity::Identity;
use crate::engine::outputs::tables::Tables;
use crate::executor::{self, Context, Executor, Lookup};
use crate::networks::{self, Device, NetworkError};
use crate::operators::cases::rule::Settled;
use crate::pipeline::Plan;
use crate::store::Store;

/// What is made from a plan without rules: nothing of it outlives another plan.
pub(super) struct Works {
    /// The control plane, with its executors.
    pub driver: Driver,
    /// The tables.
    pub tables: Tables,
    /// The folders of mask files.
    pub folders: Folders,
    /// How identifiers are shown.
    pub identity: Identity,
}

impl Works {
    /// Starts the control plane and its executors, and opens the tables.
    pub fn start(
        plan: &Arc<Plan>,
        options: &Options,
        store: &Arc<Store>,
        links: Option<Links>,
        gate: Option<(&Gate, Vec<(usize, Settled)>)>,
    ) -> Result<Self, RunError> {
        let device = own_device(plan, options)?;
        let context = context(plan, store);
        let identity = Identity::of(store.identity_key()?, &plan.settings);
        let folders = Folders::new(context.clone(), identity.clone(), store.clone());
        let tables = Tables::new(context.clone(), identity.clone(), store.clone());
        let (control, peers) = match (links, &options.cluster) {
            (Some(Links { rows, work, pulse }), Some(cluster)) => {
                (Control::connect(plan.clone(), cluster, rows)?, Some((work, pulse)))
            }
            _ => (Control::start(plan.clone(), options.workers)?, None),
        };
        let settings = executor_settings(plan, options, device.unwrap_or(Device::CPU));
        let executor = Executor::start(context.clone(), settings).map_err(RunError::Threads)?;
        let workers = gate.map(|(gate, settled)| gate.begin_with(&context, &settled, &executor, device));
        let workers = workers.transpose()?;
        let crew = Crew::new(executor, context.clone(), peers, options.stop.clone());
        let crew = crew.map_err(RunError::Threads)?.with(workers);
        let mut driver = Driver::new(context, store.clone(), control, Some(crew), options.retrain);
        driver.load_pins()?;
        Ok(Self { driver, tables, folders, identity })
    }
}

/// The device of this machine. A run that takes workers may do without the one that the pipeline asks for: its networks
/// wait for a worker that has it.
pub(super) fn own_device(plan: &Plan, options: &Options) -> Result<Option<Device>, NetworkError> {
    match networks::device(&plan.settings.device) {
        Ok(device) => Ok(Some(device)),
        Err(_) if options.listening.is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns what actions may use, with the index to find files.
pub(in crate::engine) fn context(plan: &Arc<Plan>, store: &Arc<Store>) -> Context {
    Context {
        plan: plan.clone(),
        artifacts: store.artifacts().clone(),
        lookup: Arc::downgrade(&(store.clone() as Arc<dyn Lookup>)),
        bytes_read: Arc::default(),
        told: Arc::default(),
        unknown: None,
    }
}

/// Returns the threads, memory and device that there are to work with here.
pub(in crate::engine) fn executor_settings(
    plan: &Plan,
    options: &Options,
    device: Device,
) -> executor::Settings {
    executor::Settings { threads: options.pool_threads(), memory_bytes: plan.settings.memory_bytes, device }
}
