//! The files below a folder, sorted, with what tells whether one has changed.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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
    /// Every file, sorted by path.
    pub files: Vec<FileStat>,
    /// Folders and files that could not be looked at, with the system's word.
    pub notes: Vec<String>,
}

/// Every file below `root`, sorted by path. Links are not followed; what cannot be read is left out
/// (and logged; [`walk_with_notes`] returns it).
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
    let mut seen = BTreeSet::from([(metadata.dev(), metadata.ino())]);
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        if let Err(error) = list(&folder, &mut folders, &mut seen, &mut walked) {
            walked.notes.push(format!("{}: {error}", folder.display()));
        }
    }
    walked.files.sort();
    walked.notes.sort();
    Ok(walked)
}

/// Adds one folder's files, and its folders to those still to be walked. A folder that a bind mount
/// shows again is known by its device and inode.
fn list(
    folder: &Path,
    folders: &mut Vec<PathBuf>,
    seen: &mut BTreeSet<(u64, u64)>,
    walked: &mut Walked,
) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                if seen.insert((metadata.dev(), metadata.ino())) {
                    folders.push(entry.path());
                }
            }
            Ok(metadata) if metadata.is_file() => walked.files.push(FileStat::new(entry.path(), &metadata)),
            Ok(_) => {}
            Err(error) => walked.notes.push(format!("{}: {error}", entry.path().display())),
        }
    }
    Ok(())
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
    fn a_missing_root_is_an_error_and_a_file_is_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.dcm");
        assert!(walk(&path).is_err());
        std::fs::write(&path, "x").unwrap();
        assert_eq!(walk(&path).unwrap().len(), 1);
    }
}
