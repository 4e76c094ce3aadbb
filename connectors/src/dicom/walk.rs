//! The files below a folder, sorted, with what tells whether one has changed.

mod links;
mod listing;
mod passed;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::found::{FileStat, Found};
use crate::shown::Shown as _;
use crate::{container, reading};
use links::Links;
use listing::{Listed, list};

pub use links::{Named, Names};
pub use passed::{Few, LeftOut, PassedOver, is_passed_over, is_remnant};

/// A root that cannot be walked.
#[derive(Debug, thiserror::Error)]
#[error("a readable folder or file expected at {}: {source}", path.shown())]
pub struct WalkError {
    /// The root.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

/// A folder or file that could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.shown())]
pub struct Unseen {
    /// The path of the folder or file.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

/// The number of folders listed at once, which bounds what a walk holds in memory: on a network each look
/// takes its time.
const AHEAD: usize = 128;

/// Every file below `root`, in the order of the bytes of their paths. Links are passed over; what cannot be
/// read is left out (and logged; [`Walk::notes`] tells it).
///
/// # Errors
/// [`WalkError`] when the root itself cannot be read.
pub fn walk(root: &Path) -> Result<Vec<FileStat>, WalkError> {
    let mut walk = Walk::new(root)?.without_links();
    let files = walk.by_ref().collect();
    for note in walk.notes() {
        tracing::warn!("{note}");
    }
    Ok(files)
}

/// The files below a folder, one by one, in the order of the bytes of their paths. A `.zip` or `.tar` counts as a
/// folder of its members. What macOS leaves beside files is passed over ([`is_remnant`]), and so are folders in which
/// programs keep versions (`.git`).
///
/// Links are followed, to files and to folders. What they lead to counts once: not again where it is looked at under
/// its own name, nor by a second link, unless the names of files say what they are ([`Walk::naming`]). So every walk
/// ends. A link that leads nowhere is one of the [`Walk::notes`].
///
/// It looks a few folders ahead, several at once, and holds no more than what lies in those.
#[derive(Debug)]
pub struct Walk<F = FileStat> {
    /// The files and folders that come next, in order.
    next: VecDeque<Entry<F>>,
    /// The folders that were seen, by device and inode, so that one that a bind mount shows again is known;
    /// one that links lead to counts once more.
    seen: HashSet<(bool, Id)>,
    /// The files that links have led to.
    linked: HashSet<Id>,
    /// The folders that are not looked at, nor what lies in them.
    left_out: Vec<PathBuf>,
    links: Links,
    notes: Vec<Unseen>,
    passed: PassedOver,
}

/// The device and the inode of a file or folder.
type Id = (u64, u64);

fn id(metadata: &std::fs::Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

#[derive(Debug)]
enum Entry<F> {
    File(F),
    /// A file that counts unless a link has led to it.
    Once(F, Id),
    /// A folder or container that has not been listed yet, with its place without links when one led to it.
    Folder(PathBuf, Id, Option<PathBuf>),
}

impl Walk {
    /// A walk below `root`, which may be a link, or a file.
    ///
    /// # Errors
    /// [`WalkError`] when the root itself cannot be read.
    pub fn new(root: &Path) -> Result<Self, WalkError> {
        Self::below(root)
    }
}

impl Walk<PathBuf> {
    /// The walk that [`Walk::new`] gives, of which only the paths matter.
    ///
    /// # Errors
    /// The errors of [`Walk::new`].
    pub fn paths(root: &Path) -> Result<Self, WalkError> {
        Self::below(root)
    }
}

impl<F: Found> Walk<F> {
    fn below(root: &Path) -> Result<Self, WalkError> {
        let at_root = |source| WalkError { path: root.to_owned(), source };
        let metadata = std::fs::metadata(root).map_err(at_root)?;
        if !metadata.is_dir() {
            // A FIFO or a device is no source, and is not waited for.
            reading::open(root).map_err(at_root)?;
        }
        let first = if metadata.is_dir() || container::is_container(root) {
            match metadata.is_dir() {
                true => drop(std::fs::read_dir(root).map_err(at_root)?),
                false => drop(container::members(root).map_err(at_root)?),
            }
            Entry::Folder(root.to_owned(), id(&metadata), None)
        } else {
            Entry::File(F::from_stat(FileStat::new(root.to_owned(), &metadata)))
        };
        Ok(Self {
            next: VecDeque::from([first]),
            seen: HashSet::new(),
            linked: HashSet::new(),
            left_out: Vec::new(),
            links: Links::below(root).map_err(at_root)?,
            notes: Vec::new(),
            passed: PassedOver::default(),
        })
    }

    /// The same walk, without one more folder and what lies in it.
    #[must_use]
    pub fn without(mut self, folder: &Path) -> Self {
        self.next.retain(|entry| !entry.path().starts_with(folder));
        self.left_out.push(folder.to_owned());
        self
    }

    /// The same walk, which passes over links.
    #[must_use]
    pub fn without_links(mut self) -> Self {
        self.links.followed = false;
        self
    }

    /// The same walk, in which no link leads into these places; they have no links themselves.
    #[must_use]
    pub fn without_places(mut self, own: &[PathBuf]) -> Self {
        self.links.own.extend_from_slice(own);
        self
    }

    /// The same walk, told what the names of files say.
    #[must_use]
    pub fn naming(mut self, names: Names) -> Self {
        self.links.names = Some(names);
        self
    }

    /// The file that comes next.
    pub fn peek(&mut self) -> Option<&F> {
        loop {
            match self.next.front()? {
                Entry::Folder(..) => self.list(),
                Entry::Once(..) => self.decide(),
                Entry::File(_) => break,
            }
        }
        match self.next.front()? {
            Entry::File(file) => Some(file),
            Entry::Once(..) | Entry::Folder(..) => None,
        }
    }

    /// Folders and files that could not be looked at, sorted by path; all of them when the walk has ended.
    pub fn notes(self) -> Vec<Unseen> {
        let mut notes = self.notes;
        notes.sort_by(|a, b| a.path.cmp(&b.path));
        notes
    }

    /// How many files and folders were passed over so far since macOS left them beside others ([`is_remnant`]); in a
    /// container, files.
    pub fn remnants(&self) -> usize {
        self.passed.remnants.count
    }

    /// The files and folders that were passed over so far.
    pub fn passed_over(&self) -> &PassedOver {
        &self.passed
    }

    /// Decides about the first entry: it counts unless a link has led to the same file.
    fn decide(&mut self) {
        match self.next.pop_front() {
            Some(Entry::Once(file, id)) if self.linked.insert(id) => self.next.push_front(Entry::File(file)),
            Some(Entry::Once(file, _)) => self.passed.again.add(file.path().to_owned()),
            other => self.next.extend(other),
        }
    }

    /// Lists the first folders that wait; the content of each takes its place.
    fn list(&mut self) {
        let (mut head, mut folders) = (Vec::new(), 0);
        while folders < AHEAD
            && let Some(entry) = self.next.pop_front()
        {
            folders += usize::from(matches!(entry, Entry::Folder(..)));
            head.push(entry);
        }
        // The order is kept, so that the first sight of a folder that is shown twice counts, however many
        // threads there are.
        head.retain(|entry| match entry {
            Entry::Folder(path, _, _) if self.left_out.contains(path) => false,
            Entry::Folder(path, id, real) => {
                let new = self.seen.insert((real.is_some(), *id));
                if !new && real.is_some() {
                    self.passed.again.add(path.clone());
                }
                new
            }
            Entry::File(_) | Entry::Once(..) => true,
        });
        let links = &self.links;
        let listed: Vec<Listed<F>> = head
            .into_par_iter()
            .map(|entry| match entry {
                Entry::Folder(path, _, real) => list(&path, real.as_deref(), links),
                file => Listed { entries: vec![file], ..Listed::default() },
            })
            .collect();
        for Listed { entries, notes, passed } in listed.into_iter().rev() {
            entries.into_iter().rev().for_each(|entry| self.next.push_front(entry));
            self.notes.extend(notes);
            self.passed.extend(passed);
        }
    }
}

impl<F: Found> Iterator for Walk<F> {
    type Item = F;

    fn next(&mut self) -> Option<F> {
        self.peek()?;
        match self.next.pop_front()? {
            Entry::File(file) => Some(file),
            Entry::Once(..) | Entry::Folder(..) => None,
        }
    }
}

impl<F: Found> Entry<F> {
    /// The order of neighbours whose paths are alike up to `from`: those below a folder go on with a slash.
    fn order(&self, other: &Self, from: usize) -> Ordering {
        let (a, b) = (self.path().as_os_str().as_bytes(), other.path().as_os_str().as_bytes());
        let common = a.len().min(b.len());
        let next = |bytes: &[u8], entry: &Self| {
            bytes.get(common).copied().or(matches!(entry, Self::Folder(..)).then_some(b'/'))
        };
        let order = a.get(from..common).cmp(&b.get(from..common));
        order.then_with(|| next(a, self).cmp(&next(b, other)))
    }

    fn path(&self) -> &Path {
        match self {
            Self::File(file) | Self::Once(file, _) => file.path(),
            Self::Folder(path, ..) => path,
        }
    }
}
