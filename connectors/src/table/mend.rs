//! The mending of a table whose files are damaged: they leave the current version, so that whoever fills it
//! finds their rows missing.

use std::collections::BTreeSet;
use std::path::Path;

use super::log::{Commit, Log, live_files};
use super::rows::Table;
use super::{CommitId, TableError};

/// The name under which files are taken out.
const MENDER: &str = "tomoflow mend";

/// The current version of the table below a folder and the names of its files, whatever its columns are; `None` when
/// there is no log. Nothing is written.
///
/// # Errors
/// Fails when the log cannot be read.
pub fn current_files(dir: &Path) -> Result<Option<(u64, BTreeSet<String>)>, TableError> {
    live_files(dir, None)
}

/// Takes files out of the current version of a table, as one version more, and returns those that were there.
/// The files themselves stay for the versions before.
///
/// # Errors
/// Fails when the log cannot be read or written.
///
/// # Examples
/// ```
/// use std::collections::BTreeSet;
/// use tomoflow_connectors::table::{CommitId, DeltaTable, RejectRow, Rows, Table, current_files, drop_files, read_rows};
///
/// # let dir = tempfile::tempdir().unwrap();
/// let mut table = DeltaTable::open(dir.path(), Table::Rejects).unwrap();
/// let rows = Rows::Rejects(vec![RejectRow { entry: "a".into(), ..RejectRow::default() }]);
/// table.replace(&BTreeSet::new(), [rows], &CommitId { app: "example".into(), version: 1 }).unwrap();
///
/// let (_, files) = current_files(dir.path()).unwrap().unwrap();
/// assert_eq!(drop_files(dir.path(), Table::Rejects, &files).unwrap(), files);
/// assert!(read_rows(dir.path(), Table::Rejects).unwrap().is_empty());
/// ```
pub fn drop_files(
    dir: &Path,
    table: Table,
    names: &BTreeSet<String>,
) -> Result<BTreeSet<String>, TableError> {
    let Some(mut log) = Log::open(dir, table)? else { return Ok(BTreeSet::new()) };
    let gone: BTreeSet<String> =
        log.files()?.into_iter().map(|(name, _)| name).filter(|name| names.contains(name)).collect();
    if gone.is_empty() {
        return Ok(gone);
    }
    let version = log.last_commit(MENDER)?.unwrap_or(0) + 1;
    match log.commit(&gone, &[], &CommitId { app: MENDER.to_owned(), version })? {
        Commit::Done => Ok(gone),
        Commit::Conflict(version) => Err(TableError::Conflict { dir: dir.to_owned(), version }),
    }
}
