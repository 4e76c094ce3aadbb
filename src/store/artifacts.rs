//! Artifacts: immutable files named by their content.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use tomoflow_connectors::Digest;

use super::{Store, StoreError, write_synced};

/// Distinguishes files staged at the same time.
static STAGED: AtomicU64 = AtomicU64::new(0);

impl Store {
    /// Keeps bytes; the same bytes are kept once. The file appears whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses (full, read-only).
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let path = self.artifact_path(digest);
        // Compared, not trusted: what a failing disk left under this name is written again.
        if fs::read(&path).is_ok_and(|known| known == bytes) {
            return Ok(digest);
        }
        let number = STAGED.fetch_add(1, Ordering::Relaxed);
        let staged = self.root.join("staging").join(format!("{digest}.{number}"));
        write_synced(&staged, bytes).map_err(StoreError::io(&staged))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
        }
        fs::rename(&staged, &path).map_err(StoreError::io(&path))?;
        Ok(digest)
    }

    /// Reads an artifact back, and checks that it still is what its name says.
    ///
    /// # Errors
    /// When it is gone or damaged.
    pub fn get(&self, digest: Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.artifact_path(digest);
        let bytes = fs::read(&path).map_err(StoreError::io(&path))?;
        if Digest::of(&bytes) != digest {
            // Nobody can use it; without it the action that made it is wanted again.
            fs::remove_file(&path).map_err(StoreError::io(&path))?;
            let damaged = io::Error::new(io::ErrorKind::InvalidData, "the content is not what its name says");
            return Err(StoreError::io(&path)(damaged));
        }
        Ok(bytes)
    }

    /// Whether an artifact is there.
    pub fn has(&self, digest: Digest) -> bool {
        self.artifact_path(digest).is_file()
    }

    /// Where an artifact lies.
    pub fn artifact_path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("artifacts").join(&name[..2]).join(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_got_and_damage_is_seen() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let digest = store.put(b"mask").unwrap();
        assert_eq!(store.put(b"mask").unwrap(), digest);
        assert_eq!(store.get(digest).unwrap(), b"mask");
        fs::write(store.artifact_path(digest), b"mist").unwrap();
        assert!(store.get(digest).is_err());
        assert!(!store.has(digest));
        store.put(b"mask").unwrap();
        assert_eq!(store.get(digest).unwrap(), b"mask");
    }
}
