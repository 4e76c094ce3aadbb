//! What the events of the file system come to, until somebody asks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use notify::event::{AccessKind, AccessMode, ModifyKind, RemoveKind, RenameMode};
use notify::{ErrorKind, Event, EventKind};

/// The number of paths above which a look at everything replaces them: it is cheaper then, and bounds the
/// memory.
pub(super) const MOST_PATHS: usize = 10_000;

/// What happened to a path; what comes later here outweighs what comes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    /// It was written, or is gone.
    Changed,
    /// It was created or moved in; if it is a folder, nothing told of the files that came with it.
    Appeared,
    /// It had another name; if it is a folder, so had all its files.
    Renamed,
}

/// Events that were not reported yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Paths, and what happened to each.
    pub paths: BTreeMap<PathBuf, How>,
    /// Old names whose new one was not told, by the system's number of the renaming.
    moved: BTreeMap<usize, PathBuf>,
    /// Folders that are gone, and their watches with them.
    pub gone: BTreeSet<PathBuf>,
    /// Whether only a look at everything finds what changed.
    pub rescan: bool,
    /// Whether events were lost, so that new folders may lack a watch.
    pub lost: bool,
    /// Whether the system's limit of watches was reached.
    pub full: bool,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.moved.is_empty() && !self.rescan && !self.lost && !self.full
    }

    /// Takes one event in.
    pub fn note(&mut self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) if event.need_rescan() => return self.lose(),
            Ok(event) => event,
            Err(error) => {
                self.full |= matches!(error.kind, ErrorKind::MaxFilesWatch);
                return self.lose();
            }
        };
        let tracker = event.tracker();
        let mut paths = event.paths.into_iter();
        match event.kind {
            EventKind::Create(_) => paths.for_each(|path| self.add(path, How::Appeared)),
            EventKind::Modify(ModifyKind::Name(mode)) => {
                self.rename(mode, tracker, paths.next(), paths.next())
            }
            EventKind::Modify(_)
            | EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Remove(RemoveKind::File) => paths.for_each(|path| self.add(path, How::Changed)),
            // Reading changes nothing; a run reads much.
            EventKind::Access(_) => {}
            // A folder is gone, and with it files that no event names.
            EventKind::Remove(_) => {
                self.gone.extend(paths);
                if self.gone.len() > MOST_PATHS {
                    self.gone.clear();
                    self.lost = true;
                }
                self.look_at_everything();
            }
            EventKind::Any | EventKind::Other => self.look_at_everything(),
        }
    }

    fn rename(
        &mut self,
        mode: RenameMode,
        tracker: Option<usize>,
        one: Option<PathBuf>,
        two: Option<PathBuf>,
    ) {
        match (mode, tracker, one, two) {
            (RenameMode::From, Some(_), Some(_), _) if self.rescan => {}
            (RenameMode::From, Some(tracker), Some(old), _) => {
                self.moved.insert(tracker, old);
                self.bound();
            }
            (RenameMode::To, Some(tracker), Some(new), _) => match self.moved.remove(&tracker) {
                Some(old) => self.renamed(old, new),
                None => self.add(new, How::Appeared),
            },
            (RenameMode::Both, _, Some(old), Some(new)) => {
                if let Some(tracker) = tracker {
                    self.moved.remove(&tracker);
                }
                self.renamed(old, new);
            }
            _ => self.look_at_everything(),
        }
    }

    fn renamed(&mut self, old: PathBuf, new: PathBuf) {
        self.add(old, How::Changed);
        self.add(new, How::Renamed);
    }

    fn add(&mut self, path: PathBuf, how: How) {
        if self.rescan {
            return;
        }
        let before = self.paths.entry(path).or_insert(how);
        *before = how.max(*before);
        self.bound();
    }

    fn bound(&mut self) {
        if self.paths.len() + self.moved.len() > MOST_PATHS {
            self.look_at_everything();
        }
    }

    fn lose(&mut self) {
        self.lost = true;
        self.look_at_everything();
    }

    fn look_at_everything(&mut self) {
        self.rescan = true;
        self.paths.clear();
        self.moved.clear();
    }

    /// Whether something moved away and did not come back: it may have been a folder.
    pub fn has_lost_names(&self) -> bool {
        !self.moved.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag, MetadataKind};

    use super::*;

    fn event(kind: EventKind, paths: &[&str]) -> notify::Result<Event> {
        Ok(paths.iter().fold(Event::new(kind), |event, path| event.add_path(path.into())))
    }

    fn renamed(mode: RenameMode, tracker: usize, paths: &[&str]) -> notify::Result<Event> {
        event(EventKind::Modify(ModifyKind::Name(mode)), paths).map(|event| event.set_tracker(tracker))
    }

    fn pending(events: impl IntoIterator<Item = notify::Result<Event>>) -> Pending {
        let mut pending = Pending::default();
        events.into_iter().for_each(|event| pending.note(event));
        pending
    }

    #[test]
    fn what_happened_to_a_path_comes_together() {
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let found = pending([
            event(EventKind::Create(CreateKind::File), &["/a"]),
            event(EventKind::Modify(ModifyKind::Data(DataChange::Any)), &["/a"]),
            event(written, &["/a"]),
            event(EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), &["/b"]),
            event(EventKind::Remove(RemoveKind::File), &["/c"]),
            event(EventKind::Access(AccessKind::Open(AccessMode::Any)), &["/d"]),
            event(EventKind::Access(AccessKind::Close(AccessMode::Read)), &["/d"]),
        ]);
        let paths = [("/a", How::Appeared), ("/b", How::Changed), ("/c", How::Changed)];
        assert_eq!(found.paths, paths.map(|(path, how)| (path.into(), how)).into());
        assert!(!found.rescan);
    }

    #[test]
    fn a_name_without_its_other_one_is_not_taken_for_a_file() {
        let both = pending([
            renamed(RenameMode::From, 1, &["/old"]),
            renamed(RenameMode::From, 2, &["/away"]),
            renamed(RenameMode::To, 1, &["/new"]),
            renamed(RenameMode::Both, 1, &["/old", "/new"]),
            renamed(RenameMode::To, 3, &["/in"]),
        ]);
        let paths = [("/in", How::Appeared), ("/new", How::Renamed), ("/old", How::Changed)];
        assert_eq!(both.paths, paths.map(|(path, how)| (path.into(), how)).into());
        assert!(both.has_lost_names());
        let back =
            pending([renamed(RenameMode::From, 2, &["/away"]), renamed(RenameMode::To, 2, &["/back"])]);
        assert!(!back.has_lost_names());
    }

    #[test]
    fn what_no_path_tells_is_a_look_at_everything() {
        assert!(pending([event(EventKind::Remove(RemoveKind::Folder), &["/a"])]).rescan);
        assert!(pending([event(EventKind::Modify(ModifyKind::Name(RenameMode::From)), &["/a"])]).rescan);
        let overflow = pending([Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))]);
        assert!(overflow.rescan && overflow.lost && !overflow.full);
        let full = pending([Err(notify::Error::new(ErrorKind::MaxFilesWatch))]);
        assert!(full.rescan && full.full);
        assert!(pending([]).is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut found = Pending::default();
        for number in 0..=MOST_PATHS {
            assert!(!found.rescan);
            let path = format!("/{number}");
            found.note(match number % 2 {
                0 => event(EventKind::Create(CreateKind::File), &[&path]),
                _ => renamed(RenameMode::From, number, &[&path]),
            });
        }
        assert!(found.rescan && found.paths.is_empty() && found.moved.is_empty());
        found.note(event(EventKind::Create(CreateKind::File), &["/more"]));
        found.note(renamed(RenameMode::Both, 1, &["/old", "/new"]));
        assert!(found.paths.is_empty());
        for number in 0..=MOST_PATHS {
            assert!(!found.lost);
            found.note(event(EventKind::Remove(RemoveKind::Folder), &[&format!("/{number}")]));
        }
        assert!(found.lost && found.gone.is_empty());
    }
}
