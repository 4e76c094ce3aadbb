//! The files that a walk finds: their paths alone, or with what tells whether they have changed.

use std::fs::{DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::imagefile;

/// A file and what tells whether it has changed since it was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileStat {
    /// The path of the file.
    pub path: PathBuf,
    /// The size of the file in bytes.
    pub size: u64,
    /// The time of the last change, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// The file's number on its device.
    pub inode: u64,
    /// The time of the last change of content, name or rights, which no program can put back, in nanoseconds
    /// since 1970; none in what was kept before there was this field.
    pub ctime_ns: Option<i64>,
}

impl FileStat {
    /// A file's path, and what the system says about it.
    pub fn new(path: PathBuf, metadata: &Metadata) -> Self {
        let (mut size, mut mtime_ns) = (metadata.size(), mtime_ns(metadata));
        let mut ctime_ns = ctime(metadata);
        // A header is no older than its voxels in a file beside it.
        for voxels in imagefile::companions(&path) {
            size = size.saturating_add(voxels.size());
            mtime_ns = mtime_ns.max(self::mtime_ns(&voxels));
            ctime_ns = ctime_ns.max(ctime(&voxels));
        }
        Self { path, size, mtime_ns, inode: metadata.ino(), ctime_ns: Some(ctime_ns) }
    }

    /// Whether this is the file that it was, as far as the system tells. Where no ctime was kept, the other
    /// fields decide.
    pub fn is_still(&self, now: &Self) -> bool {
        self.seems(now) && (self.ctime_ns.is_none() || self.ctime_ns == now.ctime_ns)
    }

    /// Whether size, time and inode are what they were; programs can put all of these back.
    pub fn seems(&self, now: &Self) -> bool {
        (&self.path, self.size, self.mtime_ns, self.inode) == (&now.path, now.size, now.mtime_ns, now.inode)
    }
}

fn ctime(metadata: &Metadata) -> i64 {
    metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec())
}

fn mtime_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

/// What a walk gives for each file: with [`FileStat`] it asks the system about every one, with [`PathBuf`]
/// about folders alone.
pub trait Found: Send + Sized {
    /// Makes it from an entry of a folder that is a file.
    ///
    /// # Errors
    /// The system's errors.
    fn from_entry(path: PathBuf, entry: &DirEntry) -> io::Result<Self>;
    /// Makes it from what is known of the file.
    fn from_stat(stat: FileStat) -> Self;
    /// The path of the file.
    fn path(&self) -> &Path;
}

impl Found for FileStat {
    fn from_entry(path: PathBuf, entry: &DirEntry) -> io::Result<Self> {
        Ok(Self::new(path, &entry.metadata()?))
    }

    fn from_stat(stat: FileStat) -> Self {
        stat
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Found for PathBuf {
    fn from_entry(path: PathBuf, _: &DirEntry) -> io::Result<Self> {
        Ok(path)
    }

    fn from_stat(stat: FileStat) -> Self {
        stat.path
    }

    fn path(&self) -> &Path {
        self
    }
}
