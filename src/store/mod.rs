//! Instance index and action cache (redb), artifacts by content: all that a pipeline keeps, under `out/store`.

mod actions;
mod artifacts;
mod copy;
mod database;
mod index;
mod kept;
mod lock;
mod made;
mod outcome;
mod owner;
mod records;
mod salvage;
mod sealed;
mod secrets;
mod settled;
mod texts;
mod written;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, TableDefinition};
use tomoflow_connectors::private;

use database::Check;
use lock::{Access, hold};

pub use actions::{Failure, Pin};
pub use artifacts::{Artifacts, Incoming};
pub use index::{Held, Holds, Indexed, Judged, Known};
pub use made::{Described, Made, Past};
pub use outcome::{FigureRow, Outcome, Recorded};
pub use owner::Owner;
pub use records::Records;
pub use salvage::{Salvaged, salvage};
pub use secrets::KeptFile;
pub use settled::Pinned;
pub use texts::Texts;
pub use written::{Since, Written};

/// Raised when what the store holds can no longer be read by older or newer code.
const FORMAT: u64 = 2;

/// The database's name in the store's folder.
const DATABASE: &str = "state.redb";

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
    /// The results of another pipeline lie there.
    #[error(
        "{path} belongs to the pipeline `{}` ({}), whose rows would be replaced\nhint: give this pipeline another `out`; \
         if that one is no longer wanted, delete `pipeline.json` in the folder `store`",
        .other.name, .other.file.display()
    )]
    Owned {
        /// The store's folder.
        path: PathBuf,
        /// The pipeline whose results they are.
        other: Owner,
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
    #[error("{path}: {source}{}", remedy(.source))]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database refused.
    #[error("the store's database: {error}{}", database_remedy(.0), error = .0)]
    Database(#[source] Box<redb::Error>),
    /// The database is not what was written.
    #[error(
        "the store's database {path} is damaged: {why}\nhint: `tomoflow verify --mend` keeps what of it is whole; the next run makes the rest again"
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The key of the pseudonyms is another one.
    #[error(
        "the key of the pseudonyms, {path}, {}: all identifiers in tables would change\nhint: `tomoflow verify --mend` writes it as it was",
        if *.gone { "is not there" } else { "is not the one that this store's rows were made with" }
    )]
    Key {
        /// Its file.
        path: PathBuf,
        /// Whether there is none.
        gone: bool,
    },
    /// A record does not read back.
    #[error(
        "a record of the store is damaged: {0}\nhint: `tomoflow verify --mend` forgets it; the next run makes again what it told of"
    )]
    Damaged(#[from] postcard::Error),
}

impl StoreError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// What to do about a disk that refuses.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "\nhint: free some space and run again; what is recorded stays"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "\nhint: make the pipeline's `out` writable, or choose another"
        }
        _ => "",
    }
}

fn database_remedy(error: &redb::Error) -> &'static str {
    match error {
        redb::Error::Io(error) => remedy(error),
        redb::Error::Corrupted(_) => {
            "\nhint: `tomoflow verify --mend` keeps what of it is whole; the next run makes the rest again"
        }
        _ => "",
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

database_errors!(DatabaseError, TransactionError, TableError, StorageError, CommitError, SetDurabilityError);

/// What one pipeline keeps between runs. One process at a time.
pub struct Store {
    root: PathBuf,
    artifacts: Artifacts,
    database: Database,
    /// Held while the process lives; the system gives it back when the process ends, however it ends.
    _lock: Option<fs::File>,
    /// Whether it is a copy, which nobody keeps.
    scratch: bool,
}

impl Store {
    /// Opens `out/store`, or makes it.
    ///
    /// # Errors
    /// When another process holds it, when another version wrote it, or when it cannot be written.
    pub fn open(out: &Path) -> Result<Self, StoreError> {
        let root = out.join("store");
        fs::create_dir_all(out).map_err(StoreError::io(out))?;
        private::folder(&root).map_err(StoreError::io(&root))?;
        for folder in ["artifacts", "staging", "checkpoints"] {
            let path = root.join(folder);
            private::folder(&path).map_err(StoreError::io(&path))?;
        }
        let lock = hold(&root, Access::Alone)?;
        private::tighten(&root).map_err(StoreError::io(&root))?;
        let database = database::open(&root.join(DATABASE))?;
        let artifacts = Artifacts::new(&root);
        let store = Self { root, artifacts, database, _lock: Some(lock), scratch: false };
        store.check_format()?;
        store.sweep_staging()?;
        Ok(store)
    }

    /// A copy of what `out/store` knows, to look at or to try things on: nothing under `out` is written.
    /// Artifacts are those of the store itself.
    ///
    /// # Errors
    /// When a run holds the store, or when another version wrote it.
    pub fn scratch(out: &Path) -> Result<Self, StoreError> {
        Self::copied(out, Check::Small, false)
    }

    /// As [`Store::scratch`], also beside a run that holds the store: what it has committed until now.
    ///
    /// # Errors
    /// When another version wrote it, or the run commits without a pause.
    pub fn glance(out: &Path) -> Result<Self, StoreError> {
        Self::copied(out, Check::Small, true)
    }

    /// As [`Store::scratch`], with every page of the database held against the sums that it keeps of them; `None`
    /// where there is no database.
    ///
    /// # Errors
    /// When a run holds the store, another version wrote it, or the database is not what was written.
    pub fn checked(out: &Path) -> Result<Option<Self>, StoreError> {
        let there = out.join("store").join(DATABASE).is_file();
        there.then(|| Self::copied(out, Check::Always, false)).transpose()
    }

    /// A store whose database holds nothing, to look at what lies beside a database that is gone.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn blank(out: &Path) -> Result<Self, StoreError> {
        let root = out.join("store");
        let artifacts = Artifacts::new(&root);
        let store = Self { root, artifacts, database: database::empty()?, _lock: None, scratch: true };
        store.check_format()?;
        Ok(store)
    }

    fn copied(out: &Path, check: Check, beside: bool) -> Result<Self, StoreError> {
        let root = out.join("store");
        let state = root.join(DATABASE);
        if !state.is_file() {
            return Self::blank(out);
        }
        let mut held = None;
        let _shared = match hold(&root, Access::Shared) {
            // Nobody holds a store whose file for that is gone.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error @ StoreError::Held { .. }) if beside => {
                held = Some(error);
                None
            }
            shared => Some(shared?),
        };
        let Some(database) = database::copy(&state, check)? else {
            let why = "it changes all the time, though nobody holds the store".to_owned();
            return Err(held.unwrap_or(StoreError::Corrupt { path: state, why }));
        };
        let artifacts = Artifacts::new(&root);
        let store = Self { root, artifacts, database, _lock: None, scratch: true };
        store.check_format()?;
        Ok(store)
    }

    /// The artifacts, which other processes may add to as well.
    pub fn artifacts(&self) -> &Artifacts {
        &self.artifacts
    }

    /// The folder of everything.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let found = match self.begin_read()?.open_table(META) {
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            meta => meta?.get("format")?.map(|value| value.value()),
        };
        match found {
            Some(FORMAT) => Ok(()),
            Some(found) => Err(StoreError::Version { path: self.root.clone(), found }),
            None => {
                let write = self.begin_write()?;
                write.open_table(META)?.insert("format", FORMAT)?;
                Ok(write.commit()?)
            }
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

    /// A transaction that leaves nothing to repair after a kill: the repair would read the whole database.
    fn begin_write(&self) -> Result<redb::WriteTransaction, StoreError> {
        let mut write = self.database.begin_write()?;
        write.set_quick_repair(true);
        Ok(write)
    }
}

/// This machine's name, for people.
pub fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "this machine".to_owned() } else { name.trim().to_owned() }
}

/// Writes a file for its owner alone, and waits until the disk has it.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut file = private::create(path)?;
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
    fn a_database_that_was_being_made_is_made_anew() {
        let out = tempfile::tempdir().unwrap();
        fs::create_dir_all(out.path().join("store")).unwrap();
        // A kill leaves a database so: with room, and without its magic number.
        fs::write(out.path().join("store/state.new"), [0; 4096]).unwrap();
        let store = Store::open(out.path()).unwrap();
        assert!(!out.path().join("store/state.new").exists());
        drop(store);
        Store::open(out.path()).unwrap();
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
