//! A run that goes on: what changes in the sources is worked on once it is quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, select};

use super::Session;
use super::summary::Summary;
use crate::engine::archive::{Change as Row, Looked};
use crate::engine::control::ControlError;
use crate::engine::error::RunError;
use crate::engine::options::Progress;
use crate::engine::status::Phase;
use crate::engine::watch::{Change, Settle, Watcher};
use crate::executor::Finished;

/// The time between two looks at what has become quiet.
const MOMENT: Duration = Duration::from_millis(100);

/// A change is told after this time at the latest: what the system says is gathered for a while.
const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// Tables are brought up to date when nothing is under way, but not more often than this.
const CONVERGE_APART: Duration = Duration::from_secs(2);

/// The time without a pause after which replaced rows go although more work is under way.
const CONVERGE_ANYWAY: Duration = Duration::from_secs(300);

/// What has changed and is not yet quiet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Restless {
    Series(String),
    Outlines(PathBuf),
}

/// What waits until it is quiet.
struct Waiting {
    settle: Settle<Restless>,
    /// Changes of outlines, by file: one that is drawn, withdrawn and drawn again comes to nothing.
    outlines: BTreeMap<PathBuf, Vec<Row>>,
}

impl Session {
    /// Works on what is there and on what comes, until it is told to stop. `settled` is told what the
    /// session came to whenever tables were brought up to date.
    ///
    /// # Errors
    /// When the sources cannot be read at the beginning, or what is done cannot be recorded. A source that
    /// cannot be read later on is tried again.
    pub fn watch(
        &mut self,
        progress: &mut Progress<'_>,
        settled: &mut dyn FnMut(&Summary),
    ) -> Result<(), RunError> {
        let roots: Vec<PathBuf> = self.archive.roots().into_iter().collect();
        let watcher = Watcher::start(&roots, self.plan.settings.rescan).map_err(RunError::Threads)?;
        let settle = Settle::new(self.plan.settings.settle);
        let mut waiting = Waiting { settle, outlines: BTreeMap::new() };
        let (mut converged, mut looked_once) = (Instant::now(), false);
        // The time up to which all changes are known: what is still to be taken in may touch what seems
        // quiet.
        let mut known = Instant::now();
        self.monitor.phase(Phase::Watching);
        while !self.options.told_to_stop() {
            let Some(finished) = self.driver.finished() else { return Ok(()) };
            self.driver.dispatch()?;
            self.monitor.update(&self.driver, &self.archive, waiting.settle.len());
            let now = Instant::now();
            let event = next(&watcher, &finished)?;
            if !matches!(event, Event::Changed(_)) {
                known = now.checked_sub(TOLD_WITHIN).unwrap_or(known).max(known);
            }
            match event {
                Event::Changed(change) => match self.notice(change, !looked_once, &mut waiting) {
                    Err(RunError::Source(error)) if looked_once => {
                        tracing::warn!("{error}\nthe sources are looked at again later");
                    }
                    other => {
                        other?;
                        looked_once = true;
                    }
                },
                Event::Finished(done) => {
                    self.driver.take(done)?;
                    for series in self.driver.suspects() {
                        let paths = self.archive.files_of(&series)?;
                        self.notice(Change::Paths(paths), false, &mut waiting)?;
                    }
                }
                Event::Nothing => {}
            }
            self.quiet(&mut waiting, known)?;
            let quiet = looked_once && waiting.settle.is_empty() && self.driver.idle();
            if quiet && self.rules.measure() && self.rules.wait() {
                self.settle_measured()?;
            }
            let due = converged.elapsed() > if self.driver.idle() { CONVERGE_APART } else { CONVERGE_ANYWAY };
            if due && self.driver.has_changed() {
                progress(&self.driver.stages());
                let mut summary = self.settle()?;
                summary.moved = self.comings.since(&self.driver, self.plan.settings.free_text);
                settled(&summary);
                converged = Instant::now();
            }
        }
        self.driver.finished().map_or(Ok(()), |finished| self.stop(&finished, Some(super::PATIENCE)))
    }

    /// Looks at what changed; what follows waits until it is quiet. At first what was there before has been
    /// quiet since its files were written. Later a file has come just now, whatever time it carries: many
    /// programs keep the time of the file that they copy.
    fn notice(&mut self, change: Change, first: bool, waiting: &mut Waiting) -> Result<(), RunError> {
        let looked = match change {
            Change::Paths(paths) => self.archive.update(&paths)?,
            Change::Rescan => {
                let looked = self.archive.look(&self.options.accept())?;
                self.driver.change(self.archive.models()?)?;
                self.driver.retry_passing()?;
                looked
            }
        };
        self.read += looked.read;
        let Looked { series, changes, .. } = looked;
        let now = Instant::now();
        for (uid, newest) in series {
            waiting.settle.touch(
                Restless::Series(uid),
                age(newest).filter(|_| first).map_or(now, |age| now.checked_sub(age).unwrap_or(now)),
            );
        }
        for (path, change) in changes {
            waiting.settle.touch(Restless::Outlines(path.clone()), now);
            waiting.outlines.entry(path).or_default().push(change);
        }
        Ok(())
    }

    /// Works on what had become quiet by `known`. A rule over the archive is settled once all of it is quiet:
    /// until then nothing that follows from it may begin.
    fn quiet(&mut self, waiting: &mut Waiting, known: Instant) -> Result<(), RunError> {
        if self.rules.hold() && !waiting.settle.all_ready(known) {
            return Ok(());
        }
        let (mut series, mut changes) = (BTreeSet::new(), Vec::new());
        for ready in waiting.settle.ready(known) {
            match ready {
                Restless::Series(uid) => drop(series.insert(uid)),
                Restless::Outlines(path) => {
                    changes.extend(waiting.outlines.remove(&path).unwrap_or_default())
                }
            }
        }
        changes.extend(self.archive.derive(&series)?);
        changes.extend(self.archive.images()?);
        if changes.is_empty() { Ok(()) } else { self.feed(changes) }
    }
}

/// Returns the time since a file was written, by its own time; `None` when that lies in the future.
fn age(mtime_ns: i64) -> Option<Duration> {
    let written = UNIX_EPOCH + Duration::from_nanos(u64::try_from(mtime_ns).unwrap_or_default());
    SystemTime::now().duration_since(written).ok()
}

enum Event {
    Changed(Change),
    Finished(Vec<Finished>),
    Nothing,
}

/// Waits a moment for something to happen; changes first.
fn next(watcher: &Watcher, finished: &Receiver<Finished>) -> Result<Event, RunError> {
    if let Ok(change) = watcher.changes().try_recv() {
        return Ok(Event::Changed(change));
    }
    select! {
        recv(watcher.changes()) -> change => match change {
            Ok(change) => Ok(Event::Changed(change)),
            Err(_) => Err(ControlError::Ended.into()),
        },
        recv(finished) -> first => match first {
            Ok(first) => Ok(Event::Finished(std::iter::once(first).chain(finished.try_iter()).collect())),
            Err(_) => Err(ControlError::Ended.into()),
        },
        default(MOMENT) => Ok(Event::Nothing),
    }
}
