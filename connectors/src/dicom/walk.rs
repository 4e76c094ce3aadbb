//! The files below a folder, sorted, with what tells whether one has changed.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A file and what tells whether it has changed since it was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileStat {
    /// Where it lies.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// The file's number on its device.
    pub inode: u64,
}

impl FileStat {
    /// A file's path, and what the system says about it.
    pub fn new(path: PathBuf, metadata: &Metadata) -> Self {
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { path, size: metadata.size(), mtime_ns, inode: metadata.ino() }
    }
}

/// A root that cannot be walked.
#[derive(Debug, thiserror::Error)]
#[error("a readable folder or file expected at {}: {source}", path.display())]
pub struct WalkError {
    /// The root.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// What a walk found, and what it could not look into.
#[derive(Debug, Default)]
pub struct Walked {
    /// Every file, in the order of the bytes of their paths.
    pub files: Vec<FileStat>,
    /// Folders and files that could not be looked at, sorted by path.
    pub notes: Vec<Unseen>,
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

/// Every file below `root`, in the order of the bytes of their paths. Links are not followed; what cannot be
/// read is left out (and logged; [`walk_with_notes`] returns it).
///
/// # Errors
/// [`WalkError`] when the root itself cannot be read.
pub fn walk(root: &Path) -> Result<Vec<FileStat>, WalkError> {
    let walked = walk_with_notes(root)?;
    for note in &walked.notes {
        tracing::warn!("{note}");
    }
    Ok(walked.files)
}

/// Every file below `root` and what could not be read on the way.
///
/// # Errors
/// [`WalkError`] when the root itself cannot be read.
pub fn walk_with_notes(root: &Path) -> Result<Walked, WalkError> {
    let at_root = |source| WalkError { path: root.to_owned(), source };
    let mut walked = Walked::default();
    // The root may be a link: it was asked for by name.
    let metadata = std::fs::metadata(root).map_err(at_root)?;
    if !metadata.is_dir() {
        walked.files.push(FileStat::new(root.to_owned(), &metadata));
        return Ok(walked);
    }
    std::fs::read_dir(root).map_err(at_root)?;
    // A folder that a bind mount shows again is known by its device and inode.
    let mut seen = BTreeSet::from([(metadata.dev(), metadata.ino())]);
    let mut folders = vec![root.to_owned()];
    // Level by level, the folders of one at once: on a network each look takes its time.
    while !folders.is_empty() {
        let listed: Vec<Listed> = folders.par_iter().map(|folder| list(folder)).collect();
        folders.clear();
        for Listed { folders: below, mut files, mut notes } in listed {
            walked.files.append(&mut files);
            walked.notes.append(&mut notes);
            folders.extend(below.into_iter().filter(|(id, _)| seen.insert(*id)).map(|(_, path)| path));
        }
        folders.sort_unstable_by(|a, b| bytes(a).cmp(bytes(b)));
    }
    // Folder by folder they are in order already, which this sort makes use of. Paths themselves would be
    // compared name by name, which takes ten times as long.
    walked.files.sort_by(|a, b| bytes(&a.path).cmp(bytes(&b.path)));
    walked.notes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walked)
}

/// What lies in one folder.
#[derive(Default)]
struct Listed {
    /// Device and inode, and path, of each folder in it, in the order of paths.
    folders: Vec<((u64, u64), PathBuf)>,
    files: Vec<FileStat>,
    notes: Vec<Unseen>,
}

fn list(folder: &Path) -> Listed {
    let mut listed = Listed::default();
    let unseen = |path: &Path, source| Unseen { path: path.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            listed.notes.push(unseen(folder, error));
            return listed;
        }
    };
    for entry in entries {
        let (path, metadata) = match entry {
            Ok(entry) => (entry.path(), entry.metadata()),
            Err(error) => (folder.to_owned(), Err(error)),
        };
        match metadata {
            Ok(metadata) if metadata.is_dir() => {
                listed.folders.push(((metadata.dev(), metadata.ino()), path));
            }
            Ok(metadata) if metadata.is_file() => listed.files.push(FileStat::new(path, &metadata)),
            Ok(_) => {}
            Err(error) => listed.notes.push(unseen(&path, error)),
        }
    }
    listed.folders.sort_by(|(_, a), (_, b)| bytes(a).cmp(bytes(b)));
    listed.files.sort_unstable_by(|a, b| bytes(&a.path).cmp(bytes(&b.path)));
    listed
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
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
    fn a_missing_root_is_an_error_and_a_file_is_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.dcm");
        assert!(walk(&path).is_err());
        std::fs::write(&path, "x").unwrap();
        assert_eq!(walk(&path).unwrap().len(), 1);
    }
}
