//! A pipeline that is open: it looks at its sources, has done what is wanted, and keeps its tables.

pub(in crate::engine) mod comings;
pub(in crate::engine) mod losses;
pub(in crate::engine) mod run;
pub(in crate::engine) mod scored;
mod summarise;
pub(in crate::engine) mod summary;
mod watch;
mod works;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::archive::{Archive, Change, Looked};
use super::cluster::{Agreement, Gate, meet, tell};
use super::control::ControlError;
use super::driver::Driver;
use super::error::RunError;
use super::options::{Options, Progress};
use super::outputs::folders::Folders;
use super::outputs::left;
use super::outputs::tables::{Changes, Tables};
use super::rules::Rules;
use super::status::Phase;
use super::status::monitor::Monitor;
use comings::Comings;
use summary::Summary;
use works::{Works, own_device};
pub(in crate::engine) use works::{context, executor_settings};

use crate::executor::Finished;
use crate::executor::work::Action;
use crate::pipeline::Plan;
use crate::store::{Owner, Store, StoreError};

/// The interval at which the tables are brought up to date during a long run.
const CONVERGE_EVERY: Duration = Duration::from_secs(60);

/// The time that an action that was told to stop is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// The least time between two showings of progress.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// A pipeline that is open. Everything done is recorded as it is done; dropping it loses nothing.
pub struct Session {
    /// The plan as it is declared: rules over the archive stand in it.
    declared: Plan,
    /// The plan with what its rules are settled on.
    pub(in crate::engine) plan: Arc<Plan>,
    pub(in crate::engine) rules: Rules,
    store: Arc<Store>,
    pub(in crate::engine) options: Options,
    pub(in crate::engine) archive: Archive,
    pub(in crate::engine) driver: Driver,
    /// The gate where workers call, if the run takes any.
    gate: Option<Gate>,
    tables: Tables,
    folders: Folders,
    /// Folders of earlier sinks, which are looked for once.
    left: OnceCell<BTreeSet<PathBuf>>,
    pub(in crate::engine) monitor: Monitor,
    changes: Changes,
    pub(in crate::engine) read: usize,
    comings: Comings,
    interrupted: bool,
    converged: Instant,
    started: (SystemTime, Instant),
}

impl Session {
    /// Opens a pipeline: its store, its executors, its control plane. Nothing is looked at yet.
    ///
    /// # Errors
    /// When another run holds the output, or the device is not there.
    pub fn open(plan: Plan, options: Options) -> Result<Self, RunError> {
        let started = (SystemTime::now(), Instant::now());
        let declared = at_home(plan)?;
        // The device is looked up before anything else is touched: one that is not there ends the run.
        let device = own_device(&declared, &options)?;
        if device.is_none() {
            let wanted = &declared.settings.device;
            tracing::warn!("this machine has no device `{wanted}`: networks run where a worker has it");
        }
        let store = Arc::new(Store::open(&declared.settings.out)?);
        store.claim(&Owner::new(&declared))?;
        let mut monitor = Monitor::start(&declared, store.root().to_owned())?;
        let gate = options.listening.as_ref().map(Gate::open).transpose()?;
        gate.iter().for_each(|gate| monitor.listens(gate.address()));
        let mut rules = Rules::of(&declared);
        rules.load(&store, options.repin)?;
        let (mut links, mut read) = (None, 0);
        if let Some(cluster) = &options.cluster {
            let agreement = Agreement::of(&declared, cluster);
            let mut met = meet(cluster, &agreement, options.pool_threads(), &declared.settings.out)?;
            met.pulse.tell(monitor.teller());
            if rules.wait() {
                read = survey(&declared, &store, &mut rules, &options)?;
            }
            tell(&mut met, &rules)?;
            links = Some(met);
        }
        let plan = Arc::new(rules.applied(&declared));
        let begins = gate.as_ref().map(|gate| (gate, rules.settled()));
        let works = Works::start(&plan, &options, &store, links, begins)?;
        let Works { driver, tables, folders, identity } = works;
        Ok(Self {
            archive: Archive::new(plan.clone(), store.clone()),
            declared,
            plan,
            rules,
            store,
            options,
            driver,
            gate,
            tables,
            folders,
            left: OnceCell::new(),
            monitor,
            changes: Changes::default(),
            read,
            comings: Comings::new(identity),
            interrupted: false,
            converged: Instant::now(),
            started,
        })
    }

    /// Looks at everything that the sources hold, and decides what follows.
    ///
    /// # Errors
    /// When a source cannot be read; nothing has changed then.
    pub fn look(&mut self) -> Result<(), RunError> {
        let looked = self.archive.look(&self.options.accept())?;
        self.follow(looked)
    }

    /// Looks at files that are said to have changed.
    ///
    /// # Errors
    /// When the index cannot be read or written.
    pub fn update(&mut self, paths: &BTreeSet<PathBuf>) -> Result<(), RunError> {
        let looked = self.archive.update(paths)?;
        self.follow(looked)
    }

    /// Actions that are wanted and not done, each under every stage that asks for it.
    pub fn pending(&self) -> impl Iterator<Item = &Action> {
        self.driver.pending()
    }

    fn follow(&mut self, looked: Looked) -> Result<(), RunError> {
        self.read += looked.read;
        let changes = self.archive.follow(looked)?;
        self.feed(changes)
    }

    /// Feeds what has changed. Rules that can be settled now are settled before, so that every key is made with
    /// what they came to.
    pub(in crate::engine) fn feed(&mut self, mut changes: Vec<Change>) -> Result<(), RunError> {
        changes.extend(self.archive.remark()?);
        if self.rules.wait() && self.rules.settle(&self.archive, &self.store)? {
            self.begin_anew()?;
            return self.driver.change(self.archive.everything());
        }
        self.driver.change(changes)
    }

    /// Settles rules over intensities on what all cases came to; whether there was one that could be.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(in crate::engine) fn settle_measured(&mut self) -> Result<bool, RunError> {
        self.weigh();
        if !(self.rules.fresh() && self.rules.wait() && self.rules.settle(&self.archive, &self.store)?) {
            return Ok(false);
        }
        self.begin_anew()?;
        self.driver.change(self.archive.everything())?;
        Ok(true)
    }

    fn weigh(&mut self) {
        if self.rules.measure() && !self.driver.measures() {
            self.rules.weigh(self.driver.measured(), self.store.artifacts());
        }
    }

    /// Begins another control plane, with executors and tables, for the plan that holds now.
    fn begin_anew(&mut self) -> Result<(), RunError> {
        // Stages that do not wait for a rule may be at work already; they go on from what is recorded.
        if let Some(finished) = self.driver.finished() {
            let interrupted = self.interrupted;
            self.stop(&finished, None)?;
            self.interrupted = interrupted;
        }
        self.plan = Arc::new(self.rules.applied(&self.declared));
        let begins = self.gate.as_ref().map(|gate| (gate, self.rules.settled()));
        let mut works = Works::start(&self.plan, &self.options, &self.store, None, begins)?;
        works.driver.follow(&self.driver);
        (self.driver, self.tables, self.folders) = (works.driver, works.tables, works.folders);
        Ok(())
    }

    /// Has everything done that is wanted. `false` when it was told to stop.
    ///
    /// # Errors
    /// When what is done cannot be recorded.
    pub fn work(&mut self, progress: &mut Progress<'_>) -> Result<bool, RunError> {
        self.monitor.phase(Phase::Working);
        let (mut shown, mut every): (Option<Instant>, _) = (None, SHOW_EVERY);
        loop {
            let Some(finished) = self.driver.finished() else { return Ok(true) };
            self.driver.dispatch()?;
            let idle = self.driver.idle();
            self.monitor.update(&self.driver, &self.archive, 0);
            if idle || shown.is_none_or(|at| at.elapsed() > every) {
                let began = Instant::now();
                progress(&self.driver.stages());
                // Counting a very large run must not slow it down.
                every = SHOW_EVERY.max(began.elapsed() * 20);
                shown = Some(Instant::now());
            }
            if idle {
                if self.settle_measured()? {
                    continue;
                }
                return Ok(true);
            }
            if self.options.told_to_stop() {
                self.stop(&finished, Some(PATIENCE))?;
                return Ok(false);
            }
            self.step(&finished, Duration::from_millis(100))?;
        }
    }

    /// Starts what there is room for, and takes in what is done within a moment.
    ///
    /// # Errors
    /// When what is done cannot be recorded.
    pub fn tick(&mut self) -> Result<(), RunError> {
        self.driver.dispatch()?;
        match self.driver.finished() {
            Some(finished) if !self.driver.idle() => self.step(&finished, Duration::from_millis(2)),
            _ => Ok(()),
        }
    }

    /// Waits for something to be done, takes it in, and from time to time brings tables up to date.
    fn step(&mut self, finished: &Receiver<Finished>, wait: Duration) -> Result<(), RunError> {
        let mut done = match finished.recv_timeout(wait) {
            Ok(first) => vec![first],
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => return Err(ControlError::Ended.into()),
        };
        // Actions that ended at the same time are recorded, and fed, in one step.
        done.extend(finished.try_iter());
        self.driver.take(done)?;
        self.look_again()?;
        if self.converged.elapsed() > CONVERGE_EVERY {
            self.converge(false)?;
        }
        Ok(())
    }

    /// Files that were not what the index says are read anew: their actions change with them.
    fn look_again(&mut self) -> Result<(), RunError> {
        for series in self.driver.suspects() {
            let files = self.archive.files_of(&series)?;
            self.update(&files)?;
        }
        Ok(())
    }

    fn converge(&mut self, ended: bool) -> Result<(), RunError> {
        let changed = self.driver.changed();
        let mut changes = Changes::default();
        self.folders.converge(self.driver.desired(), &changed, ended, &mut changes);
        self.changes.add(changes);
        self.changes.add(self.tables.converge(self.driver.desired(), changed, ended)?);
        self.converged = Instant::now();
        Ok(())
    }

    /// Ends what runs as soon as it can be ended, and keeps what was done all the same. With `patience` an action that
    /// goes on for longer is left to itself, but for a training, which writes a checkpoint first.
    pub(in crate::engine) fn stop(
        &mut self,
        finished: &Receiver<Finished>,
        patience: Option<Duration>,
    ) -> Result<(), RunError> {
        let began = Instant::now();
        self.interrupted = !self.driver.idle();
        self.driver.cancel();
        while !self.driver.idle() {
            if patience.is_some_and(|patience| began.elapsed() > patience) && !crate::executor::trains() {
                self.driver.leave();
                break;
            }
            // Nothing more is handed out; what takes too long is given up here as well.
            self.driver.dispatch()?;
            match finished.recv_timeout(Duration::from_millis(100)) {
                Ok(first) => self.driver.take(std::iter::once(first).chain(finished.try_iter()).collect())?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(ControlError::Ended.into()),
            }
        }
        Ok(())
    }

    /// Brings tables to what is desired now, and says what the session came to until here.
    ///
    /// # Errors
    /// When a table cannot be written.
    pub fn settle(&mut self) -> Result<Summary, RunError> {
        if !self.interrupted {
            self.driver.keep_history()?;
            // A row that waits for numbers that are being measured is not gone.
            let measuring = self.rules.measure() && self.rules.wait() && self.driver.measures();
            self.converge(!measuring)?;
        }
        self.weigh();
        let mut summary = summarise::summarise(&self.plan, &self.driver);
        summary.notes.extend(self.rules.notes(&self.archive));
        summary.left_out = self.archive.left_out()?;
        summary.unmatched = self.archive.remarks().to_vec();
        summary.told = self.archive.told_of();
        summary.told.extend(self.folders.edited());
        summary.told.extend(self.folders.refused());
        let left = self.left.get_or_init(|| left::folders(&self.plan, &self.store));
        summary.told.extend(left::told(&self.plan, &self.store, left));
        summary.told.extend(self.tables.edited());
        summary.told.extend(self.tables.foreign());
        summary.told.extend(self.tables.aside());
        summary.told.extend(self.tables.old_report(&self.changes.tables));
        summary.emptied = self.archive.emptied();
        summary.files = self.archive.files();
        summary.files_read = self.read;
        summary.skipped = self.archive.skipped().clone();
        summary.skipped.retain(|_, count| *count > 0);
        summary.interrupted = self.interrupted;
        summary.tables_changed = self.changes.tables.iter().map(|table| (*table).to_owned()).collect();
        summary.folders_changed = self.changes.folders.iter().cloned().collect();
        summary.unwritten = self.folders.unwritten();
        summary.tables = self.tables.folder().to_owned();
        summary.seconds = self.started.1.elapsed().as_secs_f64();
        Ok(summary)
    }

    /// Ends the session: tables as desired, and a row in `runs`.
    ///
    /// # Errors
    /// When a table cannot be written.
    pub fn finish(mut self) -> Result<Summary, RunError> {
        self.driver.end();
        let summary = self.settle()?;
        self.tables.append_run(summarise::run_row(&self.plan, &summary, self.started.0))?;
        self.monitor.count(&self.driver, &self.archive, 0);
        self.monitor.phase(Phase::Ended);
        Ok(summary)
    }
}

/// Looks at everything, so that all rules are settled before other processes begin; how many files were read.
fn survey(
    declared: &Plan,
    store: &Arc<Store>,
    rules: &mut Rules,
    options: &Options,
) -> Result<usize, RunError> {
    let mut archive = Archive::new(Arc::new(declared.clone()), store.clone());
    let looked = archive.look(&options.accept())?;
    let read = looked.read;
    archive.follow(looked)?;
    rules.settle(&archive, store)?;
    match rules.waiting() {
        Some(stage) => Err(RunError::Unsettled { stage: stage.to_owned() }),
        None => Ok(read),
    }
}

/// Makes the output's folder, so that its path can be shown as it truly is.
pub(in crate::engine) fn at_home(mut plan: Plan) -> Result<Plan, StoreError> {
    let out = &plan.settings.out;
    let shown = std::fs::create_dir_all(out).and_then(|()| std::fs::canonicalize(out));
    plan.settings.out = shown.map_err(|source| StoreError::Io { path: out.clone(), source })?;
    Ok(plan)
}
