//! The versions of a log as they lie in its folder, none of which its reader would wait for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::reading;
use crate::table::TableError;

/// The pointer to the last checkpoint, within the log: a hint to readers.
const POINTER: &str = "_last_checkpoint";
/// The bytes that no pointer exceeds: it holds a few numbers, and may hold a schema beside them.
const MOST_POINTER: u64 = 1 << 20;

/// Whether a log holds a version. One that was cut off while its first version was written holds none:
/// the first version of a table of ours holds no rows, so nothing is lost when it is written again.
pub(super) fn has_versions(log: &Path) -> Result<bool, TableError> {
    let versions = versions(log)?;
    if let [only] = versions.as_slice()
        && fs::metadata(only).map_err(TableError::read(only))?.len() == 0
    {
        fs::remove_file(only).map_err(TableError::write(only))?;
        return Ok(false);
    }
    Ok(!versions.is_empty())
}

/// Refuses what the log's reader would wait for, or read without end: what is no ordinary file, or larger than `most`.
fn readable(path: &Path, most: u64) -> Result<(), TableError> {
    let found = match fs::metadata(path) {
        // The file is gone in the meantime, or was never there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(TableError::read(path)(error)),
        Ok(facts) if !facts.is_file() => "another thing".to_owned(),
        Ok(facts) if facts.len() > most => format!("one of {}", facts.len()),
        Ok(_) => return Ok(()),
    };
    Err(TableError::Io {
        path: path.to_owned(),
        doing: "read",
        hint: "take it out of the log, or run `tomoflow verify --mend`",
        source: io::Error::new(
            io::ErrorKind::InvalidData,
            format!("an ordinary file of at most {most} bytes expected, {found} found"),
        ),
    })
}

/// The commits and checkpoints of a log, all of which can be read.
pub(super) fn versions(log: &Path) -> Result<Vec<PathBuf>, TableError> {
    let listing = match fs::read_dir(log) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(TableError::read(log)(error)),
    };
    readable(&log.join(POINTER), MOST_POINTER)?;
    let mut versions = Vec::new();
    for file in listing {
        let path = file.map_err(TableError::read(log))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_version = name.split('.').next().is_some_and(|v| v.len() == 20 && v.parse::<u64>().is_ok());
        if is_version && (name.ends_with(".json") || name.ends_with(".parquet")) {
            // A checkpoint is read in parts; a commit as a whole.
            readable(&path, if name.ends_with(".json") { reading::allowed() } else { u64::MAX })?;
            versions.push(path);
        }
    }
    Ok(versions)
}
