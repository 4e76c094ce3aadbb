//! Reading of tables back as typed rows.

use std::path::Path;

use super::TableError;
use super::files;
use super::log::Log;
use super::rows::{Rows, Table};

/// The rows of a Delta table's current version.
///
/// # Errors
/// [`TableError::Absent`] when the folder holds no table; otherwise when the log or a file is damaged, or
/// the table has other columns.
pub fn read_rows(dir: &Path, table: Table) -> Result<Rows, TableError> {
    let log = Log::open(dir, table)?.ok_or_else(|| TableError::Absent { dir: dir.to_owned() })?;
    let mut rows = Rows::empty(table);
    for (name, _) in log.files()? {
        extend_from_file(&mut rows, &log.dir().join(name))?;
    }
    Ok(rows)
}

/// The rows of one Parquet file.
///
/// # Errors
/// Fails when the file cannot be read, is damaged, or has other columns.
pub fn read_parquet(path: &Path, table: Table) -> Result<Rows, TableError> {
    let mut rows = Rows::empty(table);
    extend_from_file(&mut rows, path)?;
    Ok(rows)
}

fn extend_from_file(rows: &mut Rows, path: &Path) -> Result<(), TableError> {
    for batch in files::batches(path, None)? {
        rows.extend_from_batch(&batch?)?;
    }
    Ok(())
}
