//! The instance index: what each file held when it was last read, so that it is not read again.

use std::path::{Path, PathBuf};

use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use tomoflow_connectors::dicom::{FileStat, Record};

use super::{Store, StoreError};

const FILES: TableDefinition<&str, &[u8]> = TableDefinition::new("files");

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// Path, size, time and inode; while they stay, the file is not read again.
    pub stat: FileStat,
    /// What it held.
    pub record: Record,
}

impl Store {
    /// All files of the index below `root`, by path.
    ///
    /// # Errors
    /// When the database refuses or a record is damaged.
    pub fn indexed(&self, root: &Path) -> Result<Vec<IndexEntry>, StoreError> {
        let read = self.begin_read()?;
        let files = match read.open_table(FILES) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            files => files?,
        };
        let prefix = root.to_string_lossy();
        let mut found = Vec::new();
        for row in files.range::<&str>(prefix.as_ref()..)? {
            let (path, entry) = row?;
            if !path.value().starts_with(prefix.as_ref()) {
                break;
            }
            let entry: IndexEntry = postcard::from_bytes(entry.value())?;
            if entry.stat.path.starts_with(root) {
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// Takes in what was read, and forgets files that are gone, in one step.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn reindex(&self, read: &[IndexEntry], gone: &[PathBuf]) -> Result<(), StoreError> {
        if read.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let write = self.database.begin_write()?;
        {
            let mut files = write.open_table(FILES)?;
            for path in gone {
                files.remove(path.to_string_lossy().as_ref())?;
            }
            for entry in read {
                let bytes = postcard::to_stdvec(entry)?;
                files.insert(entry.stat.path.to_string_lossy().as_ref(), bytes.as_slice())?;
            }
        }
        write.commit()?;
        Ok(())
    }
}
