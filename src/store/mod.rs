//! Instance index and action cache (redb), artifacts by content: all that a pipeline keeps, under `out/store`.

mod actions;
mod artifacts;
mod copy;
mod index;
mod kept;
mod made;
mod outcome;
mod owner;
mod settled;
mod texts;
mod written;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, TableDefinition};

pub use actions::{Failure, Pin};
pub use artifacts::Artifacts;
pub use index::{Held, Holds, Indexed, Judged, Known};
pub use made::{Described, Made, Past};
pub use outcome::{FigureRow, Outcome, Recorded};
pub use owner::Owner;
pub use settled::Pinned;
pub use texts::Texts;
pub use written::{Since, Written};

/// Raised when what the store holds can no longer be read by older or newer code.
const FORMAT: u64 = 2;

/// Bytes of the database that are kept in memory: a start reads all of it once, and a look at one series a few
/// pages. The system's own cache holds the rest, as far as there is room.
const CACHE_BYTES: usize = 16 << 20;

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
        /// Whose they are.
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
    /// Where a scratch copy lies.
    scratch: Option<tempfile::TempDir>,
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
        let lock = hold(&root, Access::Alone)?;
        let database = database(&root.join("state.redb"))?;
        let artifacts = Artifacts::new(&root);
        let store = Self { root, artifacts, database, _lock: Some(lock), scratch: None };
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
        Self::copied(out, |root, state, copy| {
            let _shared = hold(root, Access::Shared)?;
            fs::copy(state, copy).map(drop).map_err(StoreError::io(state))
        })
    }

    /// As [`Store::scratch`], also beside a run that holds the store: what it has committed until now.
    ///
    /// # Errors
    /// When another version wrote it, or the run commits without a pause.
    pub fn glance(out: &Path) -> Result<Self, StoreError> {
        Self::copied(out, |root, state, to| match hold(root, Access::Shared) {
            Ok(_shared) => fs::copy(state, to).map(drop).map_err(StoreError::io(state)),
            Err(held @ StoreError::Held { .. }) => {
                let whole = copy::between_commits(state, to).map_err(StoreError::io(state))?;
                if whole { Ok(()) } else { Err(held) }
            }
            Err(error) => Err(error),
        })
    }

    fn copied(
        out: &Path,
        copied: impl FnOnce(&Path, &Path, &Path) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let root = out.join("store");
        let scratch = tempfile::tempdir().map_err(StoreError::io(&std::env::temp_dir()))?;
        let copy = scratch.path().join("state.redb");
        let state = root.join("state.redb");
        if state.is_file() {
            copied(&root, &state, &copy)?;
        }
        let database = database(&copy)?;
        let artifacts = Artifacts::new(&root);
        let store = Self { root, artifacts, database, _lock: None, scratch: Some(scratch) };
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
        if self.scratch.is_some() {
            return Ok(key);
        }
        let staged = self.root.join("staging").join("identity.key");
        write_synced(&staged, &key).map_err(StoreError::io(&staged))?;
        fs::rename(&staged, &path).map_err(StoreError::io(&path))?;
        Ok(key)
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

/// Opens the database. A new one takes its name when it is whole: what a kill leaves of one that is being made
/// could not be opened any more.
fn database(path: &Path) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    if !path.is_file() {
        let staged = path.with_extension("new");
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io(&staged)(error));
            }
            _ => {}
        }
        drop(builder.create(&staged)?);
        fs::rename(&staged, path).map_err(StoreError::io(path))?;
    }
    Ok(builder.open(path)?)
}

/// Who else may use the store meanwhile.
enum Access {
    Alone,
    Shared,
}

/// Takes the store's lock; the file's text says who has it.
fn hold(root: &Path, access: Access) -> Result<fs::File, StoreError> {
    use std::io::Write;
    let path = root.join("holder");
    let mut options = fs::File::options();
    let file = options.read(true).write(true).create(true).truncate(false);
    let mut file = match access {
        Access::Alone => file.open(&path),
        Access::Shared => fs::File::open(&path),
    }
    .map_err(StoreError::io(&path))?;
    let take = || match access {
        Access::Alone => file.try_lock(),
        Access::Shared => file.try_lock_shared(),
    };
    let mut taken = take();
    for _ in 0..20 {
        // Whoever only looks holds it for a moment; and what the file says is about who ran last.
        if !matches!(taken, Err(fs::TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        taken = take();
    }
    match taken {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let holder = if holder.is_empty() { "another process" } else { holder.trim() };
            return Err(StoreError::Held { path: root.to_owned(), holder: holder.to_owned() });
        }
        Err(fs::TryLockError::Error(source)) => return Err(StoreError::io(&path)(source)),
    }
    if matches!(access, Access::Alone) {
        let holder = format!("process {} on {}\n", std::process::id(), host());
        file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(StoreError::io(&path))?;
    }
    Ok(file)
}

/// This machine's name, for people.
pub fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "this machine".to_owned() } else { name.trim().to_owned() }
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
    fn a_database_that_was_being_made_is_made_anew() {
        let out = tempfile::tempdir().unwrap();
        fs::create_dir_all(out.path().join("store")).unwrap();
        // As a kill leaves it: room, and no magic number yet.
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
