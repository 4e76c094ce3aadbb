//! A version of a table that has other columns than the one before: the kernel writes none, so it is written here.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use delta_kernel::engine::arrow_conversion::TryFromArrow as _;
use delta_kernel::schema::StructType;
use serde_json::{Value, json};

use super::TableError;
use super::files::{StagedFile, sync_folder};
use super::log::{LOG, WRITER};
use super::rows::Table;

/// Writes a version in which `old` files are gone, `new` ones have come, and columns are those of now.
///
/// # Errors
/// Fails when the version cannot be written; [`TableError::Conflict`] when somebody else has written this one.
pub(super) fn commit(
    dir: &Path,
    table: Table,
    version: u64,
    old: &[(String, u64)],
    new: &[StagedFile],
) -> Result<(), TableError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let mut actions = vec![
        json!({"commitInfo": {"timestamp": now, "operation": "CHANGE COLUMN", "operationParameters": {}, "engineInfo": WRITER}}),
        json!({"metaData": metadata(dir, table, now)?}),
    ];
    actions.extend(old.iter().map(|(path, size)| {
        json!({"remove": {"path": path, "deletionTimestamp": now, "dataChange": true, "extendedFileMetadata": true, "partitionValues": {}, "size": size}})
    }));
    actions.extend(new.iter().map(|StagedFile { name, size, rows, modified_ms, .. }| {
        let stats = json!({"numRecords": rows}).to_string();
        json!({"add": {"path": name, "partitionValues": {}, "size": size, "modificationTime": modified_ms, "dataChange": true, "stats": stats}})
    }));
    let text: String = actions.iter().map(|action| format!("{action}\n")).collect();
    let log = dir.join(LOG);
    let (path, staged) = (log.join(format!("{version:020}.json")), log.join(".columns.partial"));
    let written = File::create(&staged).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(TableError::write(&staged))?;
    // Unlike a renamed file, a link never takes the place of what somebody else wrote.
    let linked = fs::hard_link(&staged, &path);
    fs::remove_file(&staged).map_err(TableError::write(&staged))?;
    match linked {
        Ok(()) => sync_folder(&log),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(TableError::Conflict { dir: dir.to_owned(), version })
        }
        Err(error) => Err(TableError::write(&path)(error)),
    }
}

/// The log's description of the table: as its first version has it, with the columns of now.
fn metadata(dir: &Path, table: Table, now: i64) -> Result<Value, TableError> {
    let failed = || TableError::delta(dir, "the columns could not be written");
    let schema = StructType::try_from_arrow(table.schema())
        .map_err(|error: arrow::error::ArrowError| failed()(error.into()))?;
    let schema = serde_json::to_string(&schema).map_err(|error| TableError::write(dir)(error.into()))?;
    let first = dir.join(LOG).join(format!("{:020}.json", 0));
    let first = fs::read_to_string(&first).map_err(TableError::read(&first))?;
    let known = first.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let known = known.into_iter().find_map(|mut action| action.get_mut("metaData").map(Value::take));
    let mut metadata = known.unwrap_or_else(|| {
        let id = blake3::hash(dir.as_os_str().as_encoded_bytes()).to_hex();
        json!({"id": &id[..32], "format": {"provider": "parquet", "options": {}}, "partitionColumns": [], "createdTime": now, "configuration": {}})
    });
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("schemaString".to_owned(), schema.into());
    }
    Ok(metadata)
}
