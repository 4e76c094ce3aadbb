//! The files below a folder, sorted, with what tells whether one has changed.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs::DirEntry;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::found::{FileStat, Found};
use crate::container;

/// A root that cannot be walked.
#[derive(Debug, thiserror::Error)]
#[error("a readable folder or file expected at {}: {source}", path.display())]
pub struct WalkError {
    /// The root.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// A folder or file that could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct Unseen {
    /// Where it lies.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Folders listed at once: on a network each look takes its time. Bounds what a walk holds in memory.
const AHEAD: usize = 128;

/// Every file below `root`, in the order of the bytes of their paths. Links are not followed; what cannot be
/// read is left out (and logged; [`Walk::notes`] tells it).
///
/// # Errors
/// [`WalkError`] when the root itself cannot be read.
pub fn walk(root: &Path) -> Result<Vec<FileStat>, WalkError> {
    let mut walk = Walk::new(root)?;
    let files = walk.by_ref().collect();
    for note in walk.notes() {
        tracing::warn!("{note}");
    }
    Ok(files)
}

/// The files below a folder, one by one, in the order of the bytes of their paths. Links are not followed; a
/// `.zip` or `.tar` counts as a folder of its members. What macOS leaves beside files is passed over ([`is_remnant`]).
///
/// It looks a few folders ahead, several at once, and holds no more than what lies in those.
#[derive(Debug)]
pub struct Walk<F = FileStat> {
    /// What comes next, in order.
    next: VecDeque<Entry<F>>,
    /// A folder that a bind mount shows again is known by its device and inode.
    seen: HashSet<(u64, u64)>,
    /// What lies in these is not looked at.
    left_out: Vec<PathBuf>,
    notes: Vec<Unseen>,
    /// What was passed over by its name.
    remnants: usize,
}

/// Whether a file or folder is what macOS leaves beside others, on shares and in archives, by its name: `._` before
/// that of another file, or `__MACOSX`.
pub fn is_remnant(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"._") || name == "__MACOSX"
}

#[derive(Debug)]
enum Entry<F> {
    File(F),
    /// A folder or container that has not been listed yet; its device and inode.
    Folder(PathBuf, (u64, u64)),
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
    /// The same walk, of which only the paths matter.
    ///
    /// # Errors
    /// As of [`Walk::new`].
    pub fn paths(root: &Path) -> Result<Self, WalkError> {
        Self::below(root)
    }
}

impl<F: Found> Walk<F> {
    fn below(root: &Path) -> Result<Self, WalkError> {
        let at_root = |source| WalkError { path: root.to_owned(), source };
        let metadata = std::fs::metadata(root).map_err(at_root)?;
        let first = if metadata.is_dir() || container::is_container(root) {
            match metadata.is_dir() {
                true => drop(std::fs::read_dir(root).map_err(at_root)?),
                false => drop(container::members(root).map_err(at_root)?),
            }
            Entry::Folder(root.to_owned(), (metadata.dev(), metadata.ino()))
        } else {
            Entry::File(F::from_stat(FileStat::new(root.to_owned(), &metadata)))
        };
        Ok(Self {
            next: VecDeque::from([first]),
            seen: HashSet::new(),
            left_out: Vec::new(),
            notes: Vec::new(),
            remnants: 0,
        })
    }

    /// The same walk, without one more folder and what lies in it.
    #[must_use]
    pub fn without(mut self, folder: &Path) -> Self {
        self.next.retain(|entry| !entry.path().starts_with(folder));
        self.left_out.push(folder.to_owned());
        self
    }

    /// The file that comes next.
    pub fn peek(&mut self) -> Option<&F> {
        while let Some(Entry::Folder(..)) = self.next.front() {
            self.list();
        }
        match self.next.front()? {
            Entry::File(file) => Some(file),
            Entry::Folder(..) => None,
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
        self.remnants
    }

    /// Lists the first folders that wait; what lies in each takes its place.
    fn list(&mut self) {
        let (mut head, mut folders) = (Vec::new(), 0);
        while folders < AHEAD
            && let Some(entry) = self.next.pop_front()
        {
            folders += usize::from(matches!(entry, Entry::Folder(..)));
            head.push(entry);
        }
        // In order, so that of a folder that is shown twice the first counts, however many threads there are.
        head.retain(|entry| match entry {
            Entry::Folder(path, id) => !self.left_out.contains(path) && self.seen.insert(*id),
            Entry::File(_) => true,
        });
        let listed: Vec<Listed<F>> = head
            .into_par_iter()
            .map(|entry| match entry {
                Entry::Folder(path, _) => list(&path),
                file @ Entry::File(_) => Listed { entries: vec![file], ..Listed::default() },
            })
            .collect();
        for Listed { entries, notes, remnants } in listed.into_iter().rev() {
            entries.into_iter().rev().for_each(|entry| self.next.push_front(entry));
            self.notes.extend(notes);
            self.remnants += remnants;
        }
    }
}

impl<F: Found> Iterator for Walk<F> {
    type Item = F;

    fn next(&mut self) -> Option<F> {
        self.peek()?;
        match self.next.pop_front()? {
            Entry::File(file) => Some(file),
            Entry::Folder(..) => None,
        }
    }
}

/// What lies in one folder, in the order in which the bytes of all paths below come.
struct Listed<F> {
    entries: Vec<Entry<F>>,
    notes: Vec<Unseen>,
    remnants: usize,
}

impl<F> Default for Listed<F> {
    fn default() -> Self {
        Self { entries: Vec::new(), notes: Vec::new(), remnants: 0 }
    }
}

fn list<F: Found>(folder: &Path) -> Listed<F> {
    let mut listed = Listed::default();
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            match container::members(folder) {
                Ok(members) => listed.add_members(folder, members),
                Err(source) => listed.notes.push(Unseen { path: folder.to_owned(), source }),
            }
            return listed;
        }
        Err(source) => {
            listed.notes.push(Unseen { path: folder.to_owned(), source });
            return listed;
        }
    };
    for entry in listing {
        if entry.as_ref().is_ok_and(|entry| is_remnant(&entry.file_name())) {
            listed.remnants += 1;
            continue;
        }
        let (path, entry) = match entry {
            Ok(entry) => (entry.path(), look(&entry)),
            Err(error) => (folder.to_owned(), Err(error)),
        };
        match entry {
            Ok(found) => listed.entries.extend(found),
            Err(source) => listed.notes.push(Unseen { path, source }),
        }
    }
    // They have their folder in common.
    let from = folder.as_os_str().len();
    listed.entries.sort_unstable_by(|a, b| a.order(b, from));
    listed
}

impl<F: Found> Listed<F> {
    fn add_members(&mut self, container: &Path, members: Vec<FileStat>) {
        for member in members {
            let below = member.path.strip_prefix(container).unwrap_or(&member.path);
            if below.iter().any(is_remnant) {
                self.remnants += 1;
            } else {
                self.entries.push(Entry::File(F::from_stat(member)));
            }
        }
    }
}

/// What an entry of a folder is to a walk; nothing for links and pipes.
fn look<F: Found>(entry: &DirEntry) -> io::Result<Option<Entry<F>>> {
    let (path, kind) = (entry.path(), entry.file_type()?);
    if kind.is_dir() || (kind.is_file() && container::is_container(&path)) {
        let metadata = entry.metadata()?;
        return Ok(Some(Entry::Folder(path, (metadata.dev(), metadata.ino()))));
    }
    if !kind.is_file() {
        return Ok(None);
    }
    F::from_entry(path, entry).map(|file| Some(Entry::File(file)))
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
            Self::File(file) => file.path(),
            Self::Folder(path, _) => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_sorted_and_links_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("b")).unwrap();
        std::fs::write(root.join("b/2"), "two").unwrap();
        std::fs::write(root.join("c"), "three").unwrap();
        std::os::unix::fs::symlink(root, root.join("b/loop")).unwrap();
        std::os::unix::fs::symlink(root.join("c"), root.join("a")).unwrap();
        let files = walk(root).unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.strip_prefix(root).unwrap()).collect();
        assert_eq!(paths, [Path::new("b/2"), Path::new("c")]);
        assert_eq!(files[0].size, 3);
        assert!(files[0].mtime_ns > 0);
    }

    #[test]
    fn paths_alone_are_those_of_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["b/2", "b/1", "a", "c.d/x"] {
            std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            std::fs::write(root.join(name), "x").unwrap();
        }
        std::os::unix::fs::symlink(root, root.join("b/loop")).unwrap();
        let files = walk(root).unwrap().into_iter().map(|file| file.path);
        assert!(Walk::paths(root).unwrap().eq(files));
        assert_eq!(Walk::paths(&root.join("a")).unwrap().count(), 1);
        assert!(Walk::paths(&root.join("missing")).is_err());
    }

    #[test]
    fn the_order_is_that_of_bytes_at_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let names = ["a-b", "a.b/1", "a/1", "a/b/c/1", "a/b1", "a0", "b/2"];
        for name in names {
            std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            std::fs::write(root.join(name), "x").unwrap();
        }
        let files = walk(root).unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.strip_prefix(root).unwrap()).collect();
        assert_eq!(paths, names.map(Path::new));
    }

    #[test]
    fn more_folders_than_are_listed_at_once_come_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let mut expected = Vec::new();
        for patient in 0..3 * AHEAD {
            // Uneven depths, so that what is listed ahead ends at many places.
            let folder = root.join(format!("p{patient}")).join("x".repeat(1 + patient % 3));
            let folder = if patient % 2 == 0 { folder.join("deep") } else { folder };
            std::fs::create_dir_all(&folder).unwrap();
            for file in 0..patient % 4 {
                let path = folder.join(format!("{file}"));
                std::fs::write(&path, "x").unwrap();
                expected.push(path);
            }
        }
        expected.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
        let paths: Vec<PathBuf> = walk(root).unwrap().into_iter().map(|file| file.path).collect();
        assert_eq!(paths, expected);
    }

    #[test]
    fn a_folder_can_be_left_out_and_the_next_file_seen_before_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["a/out/1", "a/outer", "b"] {
            std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            std::fs::write(root.join(name), "x").unwrap();
        }
        let mut walk = Walk::new(root).unwrap().without(&root.join("a/out"));
        assert_eq!(walk.peek().unwrap().path, root.join("a/outer"));
        let paths: Vec<PathBuf> = walk.by_ref().map(|file| file.path).collect();
        assert_eq!(paths, [root.join("a/outer"), root.join("b")]);
        assert!(walk.peek().is_none() && walk.notes().is_empty());
        assert_eq!(Walk::new(&root.join("a/out")).unwrap().without(&root.join("a")).count(), 0);
    }

    #[test]
    fn a_missing_root_is_an_error_and_a_file_is_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.dcm");
        assert!(walk(&path).is_err());
        std::fs::write(&path, "x").unwrap();
        assert_eq!(walk(&path).unwrap().len(), 1);
    }
}
