//! The database's file: made and opened for its owner alone, copied for those who only look, and held against the sums
//! that it keeps of its own pages.

use std::cell::Cell;
use std::fs;
use std::io::{self, Cursor};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Once;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Builder, Database, StorageBackend};
use tomoflow_connectors::private;

use super::StoreError;
use super::copy::between_commits;

/// Bytes of the database that are kept in memory: a start reads all of it once, and a look at one series a few
/// pages. The system's own cache holds the rest, as far as there is room.
const CACHE_BYTES: usize = 16 << 20;

/// A database up to this size is held against its sums at every opening; a greater one by `verify`, since an archive of
/// a million instances would take seconds.
const CHECKED_BYTES: u64 = 64 << 20;

/// When pages are held against their sums.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// In a small database, where it takes a moment.
    Small,
    /// Always.
    Always,
}

/// Opens the database. A new one takes its name when it is whole: what a kill leaves of one that is being made
/// could not be opened any more.
pub(super) fn open(path: &Path) -> Result<Database, StoreError> {
    if !path.is_file() {
        let staged = path.with_extension("new");
        private::create(&staged).map_err(StoreError::io(&staged))?;
        drop(Builder::new().create(&staged)?);
        fs::rename(&staged, path).map_err(StoreError::io(path))?;
    }
    let builder = builder(path, Check::Small);
    guarded(path, || Ok(builder.open(path)?))
}

/// A copy of the database for one process, which nobody else can open and which is gone with the process, however it
/// ends: a file without a name in the same folder, or memory where that folder cannot be written. `None` where another
/// process commits without a pause.
pub(super) fn copy(path: &Path, check: Check) -> Result<Option<Database>, StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let builder = builder(path, check);
    let unread = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            StoreError::Corrupt { path: path.to_owned(), why: "it is shorter than any".to_owned() }
        }
        _ => StoreError::io(path)(error),
    };
    if tempfile::tempfile_in(folder).is_ok() {
        let copied = between_commits(path, || tempfile::tempfile_in(folder)).map_err(unread)?;
        let Some(copy) = copied else { return Ok(None) };
        return guarded(path, || Ok(Some(builder.create_with_backend(FileBackend::new(copy)?)?)));
    }
    let copied = between_commits(path, || Ok(Cursor::new(Vec::new()))).map_err(unread)?;
    let Some(bytes) = copied.map(Cursor::into_inner) else { return Ok(None) };
    let memory = InMemoryBackend::new();
    let filled = memory.set_len(bytes.len() as u64).and_then(|()| memory.write(0, &bytes));
    filled.map_err(StoreError::io(path))?;
    guarded(path, || Ok(Some(builder.create_with_backend(memory)?)))
}

/// A database that holds nothing, in memory.
pub(super) fn empty() -> Result<Database, StoreError> {
    Ok(Builder::new().create_with_backend(InMemoryBackend::new())?)
}

fn builder(path: &Path, check: Check) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    let small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= CHECKED_BYTES);
    builder.set_check_integrity_on_open(small || check == Check::Always);
    // What was committed last does not hold against its sums: the commit before it is not what anybody recorded.
    builder.set_repair_callback(|repair| {
        if (0.2..0.5).contains(&repair.progress()) {
            repair.abort();
        }
    });
    builder
}

thread_local! {
    /// Whether a panic of this thread is expected, and says nothing.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What the database says of a file that is not what it wrote, be it by a panic, as an error by name.
pub(super) fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    let corrupt = |why: String| StoreError::Corrupt { path: path.to_owned(), why };
    QUIET.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    match result {
        Ok(Err(StoreError::Database(error))) => Err(match *error {
            redb::Error::Corrupted(why) => corrupt(format!("pages are not what was committed ({why})")),
            redb::Error::RepairAborted => corrupt("pages are not what was committed".to_owned()),
            redb::Error::UpgradeRequired(_) => corrupt(error.to_string()),
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                corrupt(error.to_string())
            }
            redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                corrupt(error.to_string())
            }
            error => StoreError::Database(Box::new(error)),
        }),
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it cannot be read");
            Err(corrupt(text.to_owned()))
        }
    }
}
