//! Plain Parquet files without a log.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use parquet::arrow::ArrowWriter;

use super::TableError;
use super::files;
use super::rows::Rows;

/// Writes rows to a Parquet file, which a reader sees whole or not at all: it is written beside its place
/// and renamed.
///
/// # Errors
/// Fails when a row does not fit its table, or the file cannot be written; what was there before stays.
pub fn write_parquet(path: &Path, rows: &Rows) -> Result<(), TableError> {
    let batch = rows.to_batch()?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(TableError::write(folder))?;
    let beside = beside(path);
    let file = File::create(&beside).map_err(TableError::write(&beside))?;
    let parquet = |error| TableError::parquet(&beside)(error);
    let mut writer =
        ArrowWriter::try_new(file, batch.schema(), Some(files::properties())).map_err(parquet)?;
    writer.write(&batch).map_err(parquet)?;
    let file = writer.into_inner().map_err(parquet)?;
    file.sync_all().map_err(TableError::write(&beside))?;
    fs::rename(&beside, path).map_err(TableError::write(path))?;
    files::sync_folder(folder)
}

/// The path at which a file is written before it takes its place. The name is always the same, so that what a
/// killed run left is overwritten, and it is hidden from readers that take `*.parquet`.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".part");
    path.with_file_name(name)
}
