//! What changes below the sources while a run goes on, as the system tells it, and a look at everything
//! now and then for what nobody told.

mod pending;
mod roots;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use pending::{How, MOST_PATHS, Pending};
use roots::{Root, add_files_below};
pub use settle::Settle;
use tomoflow_connectors::shown::Shown as _;

/// The time to wait for more before what there is counts as one change.
const GATHER: Duration = Duration::from_millis(50);

/// The least and the greatest pause between two looks at everything.
const REST: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(366 * 24 * 60 * 60));

/// A path where nothing can lie.
const NOWHERE: &str = "/dev/null/nowhere";

/// Something changed below the watched folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These files were written, appeared, or are gone.
    Paths(BTreeSet<PathBuf>),
    /// Everything is to be looked at: a folder is gone, too much changed at once, events were lost, or
    /// it is time.
    Rescan,
}

/// Tells of changes below some folders until it is dropped.
///
/// The first change is always [`Change::Rescan`], given as soon as the folders are watched: whoever
/// looks at everything then misses nothing after. While nobody takes a change, those that follow become
/// one with each other, so a slow reader costs no memory.
#[derive(Debug)]
pub struct Watcher {
    changes: Receiver<Change>,
    /// The sender whose end tells the thread to stop.
    _stop: Sender<()>,
}

impl Watcher {
    /// Watches these folders, and asks for a look at everything every `rescan`. A folder that the system
    /// cannot watch is told in the log once, and has only these looks.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(roots: &[PathBuf], rescan: Duration) -> io::Result<Self> {
        let (sender, changes) = bounded(1);
        let (stop, stopped) = bounded(0);
        let (wake, woken) = bounded(1);
        let watching = Watching {
            roots: roots.iter().map(|root| Root::new(root)).collect(),
            rescan: rescan.clamp(REST.0, REST.1),
            pending: Arc::default(),
            wake,
            notify: None,
            rewatch: false,
            told_full: false,
        };
        std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || watching.run(&woken, &stopped, &sender))?;
        Ok(Self { changes, _stop: stop })
    }

    /// Returns the channel where changes come in. It is disconnected when the watcher has ended.
    pub fn changes(&self) -> &Receiver<Change> {
        &self.changes
    }
}

/// The thread's side of a watcher.
struct Watching {
    roots: Vec<Root>,
    rescan: Duration,
    pending: Arc<Mutex<Pending>>,
    wake: Sender<()>,
    notify: Option<RecommendedWatcher>,
    /// Whether events were lost since the folders were last watched anew.
    rewatch: bool,
    told_full: bool,
}

impl Watching {
    fn run(mut self, woken: &Receiver<()>, stopped: &Receiver<()>, changes: &Sender<Change>) {
        self.watch();
        let mut outgoing = Some(Change::Rescan);
        let mut due = Instant::now() + self.rescan;
        // A select needs a sender even when there is nothing to send; nobody takes from this one.
        let (idle, _nobody) = bounded(0);
        loop {
            if Instant::now() >= due {
                self.watch();
                outgoing = Some(Change::Rescan);
                due = Instant::now() + self.rescan;
            }
            let sender = if outgoing.is_some() { changes } else { &idle };
            select! {
                recv(stopped) -> _ => return,
                recv(woken) -> _ => {
                    if stopped.recv_timeout(GATHER) == Err(RecvTimeoutError::Disconnected) {
                        return;
                    }
                    let pending = std::mem::take(&mut *lock(&self.pending));
                    outgoing = merged(outgoing, self.resolve(pending));
                }
                send(sender, outgoing.take().unwrap_or(Change::Rescan)) -> sent => if sent.is_err() { return },
                default(due.saturating_duration_since(Instant::now())) => {}
            }
        }
    }

    /// Watches every root that is not watched yet, or that another folder took the place of; all of them
    /// after events were lost, since folders may have appeared untold.
    fn watch(&mut self) {
        if self.notify.is_none() {
            self.notify = self.connect();
        }
        let Some(notify) = &mut self.notify else { return };
        let again = std::mem::take(&mut self.rewatch);
        for root in self.roots.iter_mut().filter(|root| !root.given_up) {
            let (before, real) = (root.watched, root.real.clone());
            let now = root.locate();
            if before.is_some() && before == now && real == root.real && !again {
                continue;
            }
            if before.is_some() && (before != now || real != root.real) {
                // Often it is gone already.
                let _ = notify.unwatch(&real);
            }
            root.watched = None;
            match watch_one(notify, root) {
                Ok(()) => root.watched = now,
                Err(why) => tell(root, &why, self.rescan),
            }
        }
    }

    fn connect(&mut self) -> Option<RecommendedWatcher> {
        let (pending, wake) = (self.pending.clone(), self.wake.clone());
        let note = move |event| {
            let mut pending = lock(&pending);
            pending.note(event);
            if !pending.is_empty() {
                // A full channel has woken the thread already.
                let _ = wake.try_send(());
            }
        };
        // A change behind a link that leads out of the folder is found by the next look at everything.
        let made = RecommendedWatcher::new(note, Config::default().with_follow_symlinks(false));
        made.map_err(|error| {
            let why = Why { reason: reason(&error), hint: "raise `fs.inotify.max_user_instances`" };
            self.roots.iter_mut().for_each(|root| tell(root, &why, self.rescan));
        })
        .ok()
    }

    /// Returns what the events come to.
    fn resolve(&mut self, pending: Pending) -> Option<Change> {
        if pending.is_empty() {
            return None;
        }
        // notify watches new folders only after it has told of them. It does one thing after the other, so
        // an answer to anything says that they are watched now: what they hold is listed after that.
        if let Some(notify) = &mut self.notify {
            let _ = notify.unwatch(Path::new(NOWHERE));
        }
        if pending.full && !self.told_full {
            self.told_full = true;
            tracing::warn!(
                "some new folders cannot be watched (the system's limit of watches is reached); they are looked at \
                 every {}; hint: raise `fs.inotify.max_user_watches`",
                humantime::format_duration(self.rescan)
            );
        }
        self.rewatch |= pending.lost && !pending.full;
        // A folder that is made anew may well have the number of the old one.
        for root in self.roots.iter_mut().filter(|root| pending.gone.contains(&root.real)) {
            root.watched = None;
        }
        if pending.rescan || pending.has_lost_names() {
            return Some(Change::Rescan);
        }
        let Some(files) = files(&pending) else { return Some(Change::Rescan) };
        let named: BTreeSet<_> =
            files.iter().flat_map(|path| self.roots.iter().filter_map(|root| root.name(path))).collect();
        (!named.is_empty()).then_some(Change::Paths(named))
    }
}

/// The files that changed; `None` when only a look at everything finds them.
fn files(pending: &Pending) -> Option<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut listed: Option<&Path> = None;
    for (path, how) in &pending.paths {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => match how {
                How::Changed => {}
                // The names that its files had are gone, too.
                How::Renamed => return None,
                How::Appeared if listed.is_some_and(|folder| path.starts_with(folder)) => {}
                How::Appeared => {
                    if !add_files_below(path, MOST_PATHS, &mut files) {
                        return None;
                    }
                    listed = Some(path);
                }
            },
            // A look at everything says what a link leads to, and whether it counts.
            Ok(metadata) if metadata.is_symlink() => return None,
            Ok(metadata) if !metadata.is_file() => {}
            Ok(_) | Err(_) => drop(files.insert(path.clone())),
        }
    }
    (files.len() <= MOST_PATHS).then_some(files)
}

/// Merges two changes into one.
fn merged(one: Option<Change>, two: Option<Change>) -> Option<Change> {
    match (one, two) {
        (None, change) | (change, None) => change,
        (Some(Change::Paths(mut one)), Some(Change::Paths(two))) => {
            one.extend(two);
            Some(if one.len() > MOST_PATHS { Change::Rescan } else { Change::Paths(one) })
        }
        _ => Some(Change::Rescan),
    }
}

/// The reason why a folder cannot be watched.
struct Why {
    reason: String,
    hint: &'static str,
}

fn watch_one(notify: &mut RecommendedWatcher, root: &mut Root) -> Result<(), Why> {
    if let Some(kind) = root.remote() {
        root.given_up = true;
        let reason = format!("{kind} does not tell what other machines change");
        return Err(Why { reason, hint: "a shorter `rescan` finds changes sooner" });
    }
    notify.watch(&root.real, RecursiveMode::Recursive).map_err(|error| {
        // The watches that it got are given back: other programs need some, too.
        let _ = notify.unwatch(&root.real);
        if matches!(error.kind, ErrorKind::MaxFilesWatch) {
            root.given_up = true;
            let reason = "the system's limit of watches is reached".to_owned();
            return Why { reason, hint: "raise `fs.inotify.max_user_watches`" };
        }
        Why { reason: reason(&error), hint: "check whether it is there and may be read" }
    })
}

/// Returns what the system said, without the folders below a root: their names may tell of patients.
fn reason(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::Io(error) => error.to_string(),
        ErrorKind::PathNotFound => "it is not there".to_owned(),
        ErrorKind::MaxFilesWatch => "the system's limit of watches is reached".to_owned(),
        ErrorKind::Generic(_) | ErrorKind::WatchNotFound | ErrorKind::InvalidConfig(_) => {
            "the system refused".to_owned()
        }
    }
}

fn tell(root: &mut Root, why: &Why, rescan: Duration) {
    if !std::mem::replace(&mut root.told, true) {
        tracing::warn!(
            "{} cannot be watched ({}); it is looked at every {}; hint: {}",
            root.given.shown(),
            why.reason,
            humantime::format_duration(rescan),
            why.hint
        );
    }
}

/// A thread that ended in the middle leaves a sound set behind all the same.
fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}
