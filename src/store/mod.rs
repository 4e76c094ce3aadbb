//! Instance index and action cache (redb), artifacts by content: all that a pipeline keeps, under `out/store`.

mod actions;
mod artifacts;
mod index;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tomoflow_connectors::Digest;

pub use actions::{Outcome, Pin, Recorded};
pub use index::IndexEntry;

/// Raised when what the store holds can no longer be read by older or newer code.
const FORMAT: u64 = 1;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds it.
    #[error(
        "{path} is in use by another run ({holder})\nhint: wait for it, or give this pipeline another `out`"
    )]
    Held {
        /// The store's folder.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// It was written by another version.
    #[error(
        "{path} holds format {found}, expected {FORMAT}\nhint: run the tomoflow that wrote it, or choose another `out`"
    )]
    Version {
        /// The store's folder.
        path: PathBuf,
        /// The format found.
        found: u64,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database refused.
    #[error("the store's database: {0}")]
    Database(#[source] Box<redb::Error>),
    /// A record does not read back.
    #[error(
        "a record of the store is damaged: {0}\nhint: delete the file `state.redb` in the folder `store`; everything is made again"
    )]
    Damaged(#[from] postcard::Error),
}

impl StoreError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

macro_rules! database_errors {
    ($($error:ident),*) => {
        /// redb has an error type for each of its calls; all of them become [`StoreError::Database`].
        $(impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        })*
    };
}

database_errors!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

/// What one pipeline keeps between runs. One process at a time.
pub struct Store {
    root: PathBuf,
    database: Database,
}

impl Store {
    /// Opens `out/store`, or makes it.
    ///
    /// # Errors
    /// When another process holds it, when another version wrote it, or when it cannot be written.
    pub fn open(out: &Path) -> Result<Self, StoreError> {
        let root = out.join("store");
        for folder in ["artifacts", "staging", "checkpoints"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(StoreError::io(&path))?;
        }
        let database = Database::create(root.join("state.redb")).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => {
                let holder = fs::read_to_string(root.join("holder")).unwrap_or_default();
                let holder = if holder.is_empty() { "another process" } else { holder.trim() };
                StoreError::Held { path: root.clone(), holder: holder.to_owned() }
            }
            other => other.into(),
        })?;
        let store = Self { root, database };
        store.check_format()?;
        store.sweep_staging()?;
        let holder = store.root.join("holder");
        fs::write(&holder, format!("process {}\n", std::process::id())).map_err(StoreError::io(&holder))?;
        Ok(store)
    }

    /// The folder where a training keeps the checkpoint that lets it go on.
    pub fn checkpoint(&self, key: Digest) -> PathBuf {
        self.root.join("checkpoints").join(key.to_string())
    }

    /// The secret that pseudonyms are made with: 32 random bytes, made once for each store.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn identity_key(&self) -> Result<[u8; 32], StoreError> {
        let path = self.root.join("identity.key");
        match fs::read(&path) {
            Ok(bytes) if bytes.len() == 32 => {
                let mut key = [0; 32];
                key.copy_from_slice(&bytes);
                return Ok(key);
            }
            Ok(bytes) => {
                let message = format!("32 bytes expected, {} found", bytes.len());
                return Err(StoreError::io(&path)(io::Error::new(io::ErrorKind::InvalidData, message)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io(&path)(error)),
        }
        let key: [u8; 32] = rand::random();
        let staged = self.root.join("staging").join("identity.key");
        write_synced(&staged, &key).map_err(StoreError::io(&staged))?;
        fs::rename(&staged, &path).map_err(StoreError::io(&path))?;
        Ok(key)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let write = self.database.begin_write()?;
        let found = {
            let mut meta = write.open_table(META)?;
            let found = meta.get("format")?.map(|value| value.value());
            if found.is_none() {
                meta.insert("format", FORMAT)?;
            }
            found
        };
        write.commit()?;
        match found {
            Some(found) if found != FORMAT => Err(StoreError::Version { path: self.root.clone(), found }),
            _ => Ok(()),
        }
    }

    /// What a killed run left half-written is nobody's.
    fn sweep_staging(&self) -> Result<(), StoreError> {
        let staging = self.root.join("staging");
        for entry in fs::read_dir(&staging).map_err(StoreError::io(&staging))?.flatten() {
            let path = entry.path();
            fs::remove_file(&path).map_err(StoreError::io(&path))?;
        }
        Ok(())
    }

    fn begin_read(&self) -> Result<redb::ReadTransaction, StoreError> {
        Ok(self.database.begin_read()?)
    }
}

/// Writes a file and waits until the disk has it.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_told_who_holds_it() {
        let out = tempfile::tempdir().unwrap();
        let _first = Store::open(out.path()).unwrap();
        let message = Store::open(out.path()).err().unwrap().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let write = store.database.begin_write().unwrap();
        write.open_table(META).unwrap().insert("format", FORMAT + 1).unwrap();
        write.commit().unwrap();
        drop(store);
        assert!(
            matches!(Store::open(out.path()), Err(StoreError::Version { found, .. }) if found == FORMAT + 1)
        );
    }

    #[test]
    fn the_identity_key_stays() {
        let out = tempfile::tempdir().unwrap();
        let first = Store::open(out.path()).unwrap().identity_key().unwrap();
        assert_eq!(Store::open(out.path()).unwrap().identity_key().unwrap(), first);
    }
}
