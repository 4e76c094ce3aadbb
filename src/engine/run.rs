//! One run of a pipeline, from its sources to its tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tomoflow_connectors::Digest;
use tomoflow_connectors::table::{RunRow, TableError};

use super::control;
use super::control::{Control, ControlError};
use super::driver::Driver;
use super::identity::Identity;
use super::rows::Desired;
use super::sources::{self, Found, Look, SourceError};
use super::summary::{StageCount, Summary};
use super::tables::{Changes, Tables};
use crate::executor::{self, Context, Executor, Files, Finished, keys};
use crate::networks::{self, NetworkError};
use crate::operators::registry::Stage;
use crate::pipeline::Plan;
use crate::store::{Store, StoreError};

/// How often the tables are brought up to date during a long run.
const CONVERGE_EVERY: Duration = Duration::from_secs(60);

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// How a pipeline is run; none of it changes results.
#[derive(Clone)]
pub struct Options {
    /// Timely threads.
    pub workers: usize,
    /// Threads of the CPU pool; 0 for one a core.
    pub threads: usize,
    /// Whether models are trained anew when their cases have changed, whatever the pipeline says.
    pub retrain: bool,
    /// Whether an archive that was not empty may be empty now.
    pub accept_empty: bool,
    /// Set from outside to stop.
    pub stop: Arc<AtomicBool>,
}

impl Default for Options {
    fn default() -> Self {
        Self { workers: 1, threads: 0, retrain: false, accept_empty: false, stop: Arc::default() }
    }
}

/// Why a run could not be done. A bad series never is one.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The sources.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The control plane.
    #[error(transparent)]
    Control(#[from] control::ControlError),
    /// The device that the pipeline asks for.
    #[error(transparent)]
    Device(#[from] NetworkError),
    /// Threads.
    #[error("no more threads: {0}")]
    Threads(#[source] std::io::Error),
}

/// Runs a pipeline once: over all that its sources hold now.
///
/// `progress` is told the counts by stage whenever they may have changed.
///
/// # Errors
/// [`RunError`]; what was done until then is kept.
pub fn run(
    plan: Plan,
    options: &Options,
    progress: &mut dyn FnMut(&BTreeMap<String, StageCount>),
) -> Result<Summary, RunError> {
    let (started, clock) = (SystemTime::now(), Instant::now());
    let plan = Arc::new(at_home(plan)?);
    let device = networks::device(&plan.settings.device)?;
    let store = Arc::new(Store::open(&plan.settings.out)?);
    let context = Context { plan: plan.clone(), store: store.clone(), files: Arc::new(Files::default()) };
    let identity = Identity::new(store.identity_key()?, plan.settings.identifiers);
    let tables = Tables::new(context.clone(), identity);
    let found =
        sources::look(&plan, &store, &context.files, Look::Run { accept_empty: options.accept_empty })?;
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let settings = executor::Settings { threads, memory_bytes: plan.settings.memory_bytes, device };
    let executor = Executor::start(context.clone(), settings).map_err(RunError::Threads)?;
    let control = Control::start(plan.clone(), options.workers)?;
    let mut driver = Driver::new(context, control, Some(executor), options.retrain);
    let Found { inputs, files, read, skipped } = found;
    driver.load(inputs)?;
    let mut changes = Changes::default();
    let interrupted = !work(&mut driver, &tables, &mut changes, options, progress)?;
    if !interrupted {
        changes.add(tables.converge(driver.desired(), true)?);
    }
    let mut summary = summarise(&plan, &driver);
    summary.files = files;
    summary.files_read = read;
    summary.skipped = skipped;
    summary.interrupted = interrupted;
    summary.tables_changed = changes.tables.iter().map(|table| (*table).to_owned()).collect();
    summary.tables = tables.folder().to_owned();
    summary.seconds = clock.elapsed().as_secs_f64();
    tables.append_run(run_row(&plan, &summary, started))?;
    Ok(summary)
}

/// Makes the output's folder, so that its path can be shown as it truly is.
fn at_home(mut plan: Plan) -> Result<Plan, StoreError> {
    let out = &plan.settings.out;
    let shown = std::fs::create_dir_all(out).and_then(|()| std::fs::canonicalize(out));
    plan.settings.out = shown.map_err(|source| StoreError::Io { path: out.clone(), source })?;
    Ok(plan)
}

/// Has everything done that is wanted. `false` when it was told to stop.
fn work(
    driver: &mut Driver,
    tables: &Tables,
    changes: &mut Changes,
    options: &Options,
    progress: &mut dyn FnMut(&BTreeMap<String, StageCount>),
) -> Result<bool, RunError> {
    let Some(finished) = driver.finished() else { return Ok(true) };
    let mut converged = Instant::now();
    let mut shown: Option<Instant> = None;
    loop {
        driver.dispatch();
        let idle = driver.idle();
        if idle || shown.is_none_or(|at| at.elapsed() > SHOW_EVERY) {
            progress(&driver.stages());
            shown = Some(Instant::now());
        }
        if idle {
            return Ok(true);
        }
        if options.stop.load(Ordering::Relaxed) {
            stop(driver, &finished)?;
            return Ok(false);
        }
        let mut done = match finished.recv_timeout(Duration::from_millis(100)) {
            Ok(first) => vec![first],
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Err(ControlError::Ended.into()),
        };
        // What ended at the same time is recorded, and fed, in one step.
        done.extend(finished.try_iter());
        driver.take(done)?;
        if converged.elapsed() > CONVERGE_EVERY {
            changes.add(tables.converge(driver.desired(), false)?);
            converged = Instant::now();
        }
    }
}

/// Ends what runs as soon as it can be ended, and keeps what was done all the same.
fn stop(driver: &mut Driver, finished: &Receiver<Finished>) -> Result<(), RunError> {
    driver.cancel();
    while !driver.idle() {
        let first = finished.recv().map_err(|_| ControlError::Ended)?;
        driver.take(std::iter::once(first).chain(finished.try_iter()).collect())?;
    }
    Ok(())
}

fn summarise(plan: &Plan, driver: &Driver) -> Summary {
    let accepted: BTreeSet<&str> = driver
        .desired()
        .filter_map(|desired| match desired {
            Desired::Case(case) => Some(case.series.key.as_str()),
            _ => None,
        })
        .collect();
    let scans: BTreeSet<&str> = accepted.iter().map(|key| series_of(key)).collect();
    let (mut rejected, mut failed) = (BTreeSet::new(), Vec::new());
    let mut rejects: BTreeMap<String, usize> = BTreeMap::new();
    for desired in driver.desired() {
        let Desired::Reject { case, stage, reject } = desired else { continue };
        *rejects.entry(reject.code.clone()).or_default() += 1;
        match case {
            // A localizer beside a good stack is a row of `rejects`, and no case of its own.
            Some(key) if accepted.contains(key.as_str()) || !scans.contains(series_of(key)) => {
                rejected.insert(key.as_str());
            }
            Some(_) => {}
            None => failed.push(format!("{stage}: training failed ({}): {}", reject.code, reject.message)),
        }
    }
    let processed = driver.touched().iter().filter(|key| accepted.contains(key.as_str())).count();
    let (actions_run, actions_cached, trained) = driver.counts();
    let stages = driver.stages();
    let mut notes = if failed.is_empty() { idle(plan, &stages) } else { failed.clone() };
    notes.extend(driver.outgrown().into_iter().map(|(stage, new)| {
        let cases = if new == 1 { "case" } else { "cases" };
        format!("{stage}: model kept, {new} labelled {cases} newer than it (`--retrain` trains anew)")
    }));
    Summary {
        pipeline: plan.settings.name.clone(),
        cases: accepted.union(&rejected).count(),
        processed,
        unchanged: accepted.len() - processed,
        rejected: rejected.len(),
        accepted: accepted.len(),
        trained,
        trainings_failed: failed.len(),
        actions_run,
        actions_cached,
        stages,
        rejects,
        notes,
        ..Summary::default()
    }
}

/// The series of a case's key, which names the part of a split one.
fn series_of(key: &str) -> &str {
    key.split_once('#').map_or(key, |(series, _)| series)
}

/// Stages that wait for a model which is not there.
fn idle(plan: &Plan, stages: &BTreeMap<String, StageCount>) -> Vec<String> {
    let mut notes = Vec::new();
    for stage in &plan.stages {
        let Stage::Infer(_) = stage.stage else { continue };
        if stages.contains_key(&stage.name) {
            continue;
        }
        if let Some(&model) = stage.references.values().next() {
            let model = &plan.stages[model];
            let prepared = model.inputs.first().and_then(|&view| stages.get(&plan.stages[view].name));
            let why = match prepared.map_or(0, |count| count.failed) {
                0 => "has no labelled case to train on".to_owned(),
                failed => format!("cannot be trained: {failed} of its cases could not be prepared"),
            };
            notes.push(format!("{}: waits for a model, but `{}` {why}", stage.name, model.name));
        }
    }
    notes
}

fn run_row(plan: &Plan, summary: &Summary, started: SystemTime) -> RunRow {
    let started = humantime::format_rfc3339_millis(started).to_string();
    let digests: Vec<Digest> = plan.stages.iter().map(keys::operator).collect();
    let plan_digest = Digest::of_parts(digests.iter().map(|digest| digest.0.as_slice()));
    let entry = Digest::of_parts([started.as_bytes(), &std::process::id().to_le_bytes()]);
    RunRow {
        entry: entry.to_string(),
        started,
        seconds: summary.seconds,
        pipeline: plan.settings.name.clone(),
        plan_digest: plan_digest.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cases: summary.cases as i64,
        processed: summary.processed as i64,
        unchanged: summary.unchanged as i64,
        rejected: summary.rejected as i64,
        actions_run: summary.actions_run as i64,
        actions_cached: summary.actions_cached as i64,
        finished: !summary.interrupted,
    }
}
