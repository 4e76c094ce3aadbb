//! What was set aside as damaged: it keeps identifiers and texts as tables showed them then.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tomoflow_connectors::dicom::walk;

use super::Item;
use crate::engine::archive::SourceError;
use crate::engine::error::RunError;
use crate::engine::outputs::tables::set_aside;
use crate::store::StoreError;

const WHY: &str = "it was damaged and set aside; what can be made again was made again";

/// Tables and files of tables that were set aside before `since`.
pub(super) fn items(tables: &Path, since: SystemTime) -> Result<Vec<Item>, RunError> {
    let mut items = Vec::new();
    for path in set_aside(tables) {
        let refused = |source: io::Error| StoreError::Io { path: path.clone(), source };
        let metadata = fs::symlink_metadata(&path).map_err(refused)?;
        let bytes = match metadata.is_dir() {
            true => walk(&path).map_err(SourceError::from)?.iter().map(|file| file.size).sum(),
            false => metadata.len(),
        };
        // Its content may be old: another name was given to it when it was set aside.
        let (seconds, rest) = (metadata.ctime(), metadata.ctime_nsec());
        let age = Duration::new(seconds.try_into().unwrap_or(0), rest.try_into().unwrap_or(0));
        if UNIX_EPOCH + age < since {
            items.push(Item { path, bytes, why: WHY.to_owned() });
        }
    }
    Ok(items)
}
