//! Artifacts: immutable files named by their content.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tomoflow_connectors::{Digest, points, private};

use super::{StoreError, write_synced};

/// Distinguishes files staged at the same time.
static STAGED: AtomicU64 = AtomicU64::new(0);

/// The artifacts under one `out`. Any number of processes may add to them; nothing is ever changed.
#[derive(Clone, Debug)]
pub struct Artifacts {
    root: Arc<Path>,
}

impl Artifacts {
    /// The artifacts of the store in the folder `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Keeps bytes; the same bytes are kept once. The file appears whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses (full, read-only).
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let path = self.path(digest);
        // Compared, not trusted: what a failing disk left under this name is written again.
        if fs::read(&path).is_ok_and(|known| known == bytes) {
            return Ok(digest);
        }
        let number = STAGED.fetch_add(1, Ordering::Relaxed);
        // Several processes, on several machines, stage into one folder.
        let name = format!("{digest}.{:x}.{number}", process_number());
        let staged = self.root.join("staging").join(name);
        let written = write_synced(&staged, bytes).and_then(|()| points::pass(points::ARTIFACT_STAGED));
        if let Err(source) = written {
            // Half a file is nobody's, and its space may be what is missing.
            drop(fs::remove_file(&staged));
            return Err(StoreError::io(&staged)(source));
        }
        if let Some(folder) = path.parent() {
            private::folder(folder).map_err(StoreError::io(folder))?;
        }
        fs::rename(&staged, &path).map_err(StoreError::io(&path))?;
        points::pass(points::ARTIFACT_NAMED).map_err(StoreError::io(&path))?;
        Ok(digest)
    }

    /// Reads an artifact back, and checks that it still is what its name says.
    ///
    /// # Errors
    /// When it is gone or damaged.
    pub fn get(&self, digest: Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(StoreError::io(&path))?;
        if Digest::of(&bytes) != digest {
            return Err(damaged(&path));
        }
        Ok(bytes)
    }

    /// Looks at an artifact piece by piece, and checks that it still is what its name says; nothing of it is kept.
    ///
    /// # Errors
    /// When it is gone or damaged.
    pub fn look(&self, digest: Digest, look: impl FnMut(&[u8])) -> Result<(), StoreError> {
        let path = self.path(digest);
        let file = fs::File::open(&path).map_err(StoreError::io(&path))?;
        let found = Digest::of_stream(Looking { file, look }).map_err(StoreError::io(&path))?;
        if found == digest { Ok(()) } else { Err(damaged(&path)) }
    }

    /// Whether an artifact is there.
    pub fn has(&self, digest: Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Where an artifact lies.
    pub fn path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("artifacts").join(&name[..2]).join(&name)
    }

    /// The folder where a training keeps the checkpoint that lets it go on.
    pub fn checkpoint(&self, key: Digest) -> PathBuf {
        self.root.join("checkpoints").join(key.to_string())
    }
}

/// Nobody can use it; without it the action that made it is wanted again.
fn damaged(path: &Path) -> StoreError {
    if let Err(error) = fs::remove_file(path) {
        return StoreError::io(path)(error);
    }
    let damaged = io::Error::new(io::ErrorKind::InvalidData, "the content is not what its name says");
    StoreError::io(path)(damaged)
}

/// A file whose bytes somebody sees as they are read.
struct Looking<L> {
    file: fs::File,
    look: L,
}

impl<L: FnMut(&[u8])> io::Read for Looking<L> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        (self.look)(into.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Random, once for each process: process numbers repeat between machines.
fn process_number() -> u64 {
    static NUMBER: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *NUMBER.get_or_init(rand::random)
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    #[test]
    fn what_is_put_is_got_and_damage_is_seen() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let artifacts = store.artifacts();
        let digest = artifacts.put(b"mask").unwrap();
        assert_eq!(artifacts.put(b"mask").unwrap(), digest);
        assert_eq!(artifacts.get(digest).unwrap(), b"mask");
        let mut seen = Vec::new();
        artifacts.look(digest, |bytes| seen.extend_from_slice(bytes)).unwrap();
        assert_eq!(seen, b"mask");
        fs::write(artifacts.path(digest), b"must").unwrap();
        assert!(artifacts.look(digest, |_| ()).is_err() && !artifacts.has(digest));
        artifacts.put(b"mask").unwrap();
        fs::write(artifacts.path(digest), b"mist").unwrap();
        assert!(artifacts.get(digest).is_err());
        assert!(!artifacts.has(digest));
        artifacts.put(b"mask").unwrap();
        assert_eq!(artifacts.get(digest).unwrap(), b"mask");
    }
}
