//! Files of a table that no version which is still kept needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::TableError;

/// One line of a commit, as far as it says which files come and go.
#[derive(Deserialize)]
struct Action {
    add: Option<Named>,
    remove: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    path: String,
}

/// The Parquet files of a table, told apart by whether a kept version needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableFiles {
    /// Those of the current version, and of every version that was current at `since` or later.
    pub needed: BTreeSet<PathBuf>,
    /// Those that nobody needs, with their size.
    pub unneeded: Vec<(PathBuf, u64)>,
}

/// Which files of a table the versions need that were current at `since` or later.
///
/// A file that no version names is what a killed run left; one that is younger than `since` may be a commit
/// on its way, and is left alone.
///
/// # Errors
/// When the folder or a commit of its log cannot be read.
///
/// # Examples
/// ```
/// use std::time::SystemTime;
/// # let dir = tempfile::tempdir().unwrap();
/// let files = tomoflow_connectors::table::table_files(dir.path(), SystemTime::now()).unwrap();
/// assert!(files.needed.is_empty() && files.unneeded.is_empty());
/// ```
pub fn table_files(dir: &Path, since: SystemTime) -> Result<TableFiles, TableError> {
    let mut files = TableFiles::default();
    // When each file left the table; none for those of the current version.
    let mut left: BTreeMap<String, Option<SystemTime>> = BTreeMap::new();
    for (path, at) in commits(&dir.join("_delta_log"))? {
        let text = fs::read_to_string(&path).map_err(TableError::read(&path))?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let action: Action = serde_json::from_str(line).map_err(|source| TableError::Io {
                path: path.clone(),
                doing: "read",
                hint: "a line of the log is damaged: restore it, or remove the table's folder and run again",
                source: source.into(),
            })?;
            left.extend(action.add.map(|file| (file.path, None)));
            left.extend(action.remove.map(|file| (file.path, Some(at))));
        }
    }
    for (path, size, written) in data_files(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let gone = match left.get(&*name) {
            Some(None) => false,
            Some(Some(at)) => *at < since,
            None => written < since,
        };
        if gone {
            files.unneeded.push((path, size));
        } else {
            files.needed.insert(path);
        }
    }
    Ok(files)
}

/// The commits of a log in their order, with the time at which each was written.
fn commits(log: &Path) -> Result<Vec<(PathBuf, SystemTime)>, TableError> {
    let mut commits = Vec::new();
    for path in listed(log)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name.strip_suffix(".json").is_some_and(|number| number.parse::<u64>().is_ok());
        if number {
            let written = fs::metadata(&path).and_then(|metadata| metadata.modified());
            commits.push((path.clone(), written.map_err(TableError::read(&path))?));
        }
    }
    commits.sort();
    Ok(commits)
}

fn data_files(dir: &Path) -> Result<Vec<(PathBuf, u64, SystemTime)>, TableError> {
    let mut files = Vec::new();
    for path in listed(dir)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "parquet")) {
        let metadata = fs::metadata(&path).map_err(TableError::read(&path))?;
        files.push((path, metadata.len(), metadata.modified().unwrap_or(UNIX_EPOCH)));
    }
    files.sort();
    Ok(files)
}

/// What a folder holds; nothing when it is not there.
fn listed(dir: &Path) -> Result<Vec<PathBuf>, TableError> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(TableError::read(dir)(error)),
        Ok(entries) => {
            entries.map(|entry| entry.map(|entry| entry.path()).map_err(TableError::read(dir))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{CommitId, DeltaTable, RejectRow, Rows, Table, read_rows};
    use super::*;

    fn row(entry: &str) -> [Rows; 1] {
        [Rows::Rejects(vec![RejectRow { entry: entry.into(), ..RejectRow::default() }])]
    }

    #[test]
    fn a_file_is_needed_until_the_versions_with_it_are_old() {
        let dir = tempfile::tempdir().unwrap();
        let mut table = DeltaTable::open(dir.path(), Table::Rejects).unwrap();
        let commit = |version| CommitId { app: "test".into(), version };
        table.replace(&BTreeSet::new(), row("a"), &commit(1)).unwrap();
        table.replace(&BTreeSet::from(["a".to_owned()]), row("b"), &commit(2)).unwrap();
        let orphan = dir.path().join("part-of-nobody.parquet");
        fs::write(&orphan, b"half").unwrap();
        let now = SystemTime::now() + Duration::from_secs(1);
        let kept = table_files(dir.path(), now - Duration::from_secs(60)).unwrap();
        assert_eq!((kept.needed.len(), kept.unneeded.len()), (3, 0));
        let old = table_files(dir.path(), now).unwrap();
        assert_eq!((old.needed.len(), old.unneeded.len()), (1, 2));
        assert!(old.unneeded.iter().any(|(path, size)| (path, *size) == (&orphan, 4)));
        for (path, _) in old.unneeded {
            fs::remove_file(path).unwrap();
        }
        assert_eq!(read_rows(dir.path(), Table::Rejects).unwrap().len(), 1);
    }
}
