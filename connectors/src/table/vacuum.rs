//! The files of a table that no version which is still kept needs, and why each may go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::log::{LOG, live_files};
use super::{TableError, files};
use crate::reading;

/// One line of a commit, as far as it says which files come and go.
#[derive(Deserialize)]
struct Action {
    add: Option<Named>,
    remove: Option<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    path: String,
    /// The time of the removal, in milliseconds since 1970.
    deletion_timestamp: Option<u64>,
}

/// A Parquet file that nobody needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unneeded {
    /// The path of the file.
    pub path: PathBuf,
    /// The size of the file in bytes.
    pub size: u64,
    /// The reason why the file may go.
    pub why: String,
}

/// The Parquet files of a table, told apart by whether a kept version needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableFiles {
    /// The files of the current version, of every version that was current at `since` or later, and those of
    /// which nothing says that they may go.
    pub needed: BTreeSet<PathBuf>,
    /// The files that nobody needs.
    pub unneeded: Vec<Unneeded>,
    /// The files of others that no version names, whatever they hold: they stay.
    pub foreign: BTreeSet<PathBuf>,
}

/// The log's word about a file that the current version does not hold.
enum Fate {
    /// A commit added it, and none that is there took it away: its removal was cleaned away.
    Added,
    /// A commit took it away.
    Removed { version: u64, at: SystemTime },
}

/// Tells apart which files of a table the versions need that were current at `since` or later.
///
/// What the current version holds is read from the log with its checkpoints, as every reader does: other tools clean
/// commits away once a checkpoint sums them up. A file may go when a commit that is there took it away before `since`;
/// or when it is one of tomoflow's own, older than `since`, and neither a commit nor a checkpoint that is there names it,
/// as a killed run leaves it. All others stay.
///
/// # Errors
/// Fails when the log, a commit or a checkpoint of it cannot be read, when there are Parquet files and no
/// log, or when the log names files in a way that no table of ours does: then nothing may be freed.
///
/// # Examples
/// ```
/// use std::time::SystemTime;
/// # let dir = tempfile::tempdir().unwrap();
/// let files = tomoflow_connectors::table::table_files(dir.path(), SystemTime::now()).unwrap();
/// assert!(files.needed.is_empty() && files.unneeded.is_empty());
/// ```
pub fn table_files(dir: &Path, since: SystemTime) -> Result<TableFiles, TableError> {
    let data = data_files(dir)?;
    if data.is_empty() {
        return Ok(TableFiles::default());
    }
    let Some((_, mut needed)) = live_files(dir, None)? else {
        return Err(TableError::Foreign {
            dir: dir.to_owned(),
            expected: "a log that says which files are needed".to_owned(),
            found: format!("none, and {} Parquet files", data.len()),
        });
    };
    let commits = commits(&dir.join(LOG))?;
    let mut summed = BTreeSet::new();
    for version in checkpoints(&dir.join(LOG))? {
        // The version was ended by the one after it; where nothing says when, it is kept.
        let ended = commits.get(&(version + 1)).is_some_and(|commit| commit.at < since);
        let names = live_files(dir, Some(version))?.map(|(_, names)| names).unwrap_or_default();
        if ended { summed.extend(names) } else { needed.extend(names) }
    }
    let fates = fates(&commits)?;
    let mut found = TableFiles::default();
    for DataFile { path, size, written } in data {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let why = match fates.get(&*name) {
            _ if needed.contains(&*name) => None,
            Some(Fate::Removed { version, at }) => {
                (*at < since).then(|| format!("version {version} of {} replaced it", day(*at)))
            }
            Some(Fate::Added) => None,
            None if summed.contains(&*name) => {
                Some("only a version before the oldest kept one needs it".to_owned())
            }
            None if !files::is_ours(&name) => {
                found.foreign.insert(path);
                continue;
            }
            None => (written < since).then(|| {
                "no version that is left names it: a run that was ended, or a cleaned log, left it".to_owned()
            }),
        };
        match why {
            Some(why) => found.unneeded.push(Unneeded { path, size, why }),
            None => _ = found.needed.insert(path),
        }
    }
    Ok(found)
}

/// The last word of the commits about each file.
fn fates(commits: &BTreeMap<u64, Commit>) -> Result<BTreeMap<String, Fate>, TableError> {
    let mut fates = BTreeMap::new();
    for (&version, Commit { path, at }) in commits {
        let text = reading::whole(path).map_err(TableError::read(path))?;
        let mut added = Vec::new();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let action: Action = serde_json::from_slice(line).map_err(|source| TableError::Io {
                path: path.clone(),
                doing: "read",
                hint: "a line of the log is damaged: restore it, or run `tomoflow verify --mend`",
                source: source.into(),
            })?;
            added.extend(action.add.map(|file| file.path));
            let Some(Named { path, deletion_timestamp }) = action.remove else { continue };
            let said = deletion_timestamp.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
            let at = said.map_or(*at, |said| said.max(*at));
            fates.insert(path, Fate::Removed { version, at });
        }
        // A file that a commit takes away and gives again stays, in whatever order the commit says so.
        fates.extend(added.into_iter().map(|path| (path, Fate::Added)));
    }
    Ok(fates)
}

fn day(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A day since 1970 as year, month and day (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// A commit that is there, and when it was written.
struct Commit {
    path: PathBuf,
    at: SystemTime,
}

/// The commits of a log by their version.
fn commits(log: &Path) -> Result<BTreeMap<u64, Commit>, TableError> {
    let mut commits = BTreeMap::new();
    for path in listed(log)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(version) = name.strip_suffix(".json").and_then(|number| number.parse::<u64>().ok()) else {
            continue;
        };
        let at =
            fs::metadata(&path).and_then(|metadata| metadata.modified()).map_err(TableError::read(&path))?;
        commits.insert(version, Commit { path: path.clone(), at });
    }
    Ok(commits)
}

/// The versions that a checkpoint sums up.
fn checkpoints(log: &Path) -> Result<BTreeSet<u64>, TableError> {
    let version = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        let (version, rest) = name.split_once('.')?;
        rest.starts_with("checkpoint.").then(|| version.parse().ok())?
    };
    Ok(listed(log)?.into_iter().filter_map(version).collect())
}

/// A Parquet file of a table.
struct DataFile {
    path: PathBuf,
    size: u64,
    written: SystemTime,
}

fn data_files(dir: &Path) -> Result<Vec<DataFile>, TableError> {
    let mut files = Vec::new();
    for path in listed(dir)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "parquet")) {
        let metadata = fs::metadata(&path).map_err(TableError::read(&path))?;
        // A file whose age nobody knows counts as young.
        let written = metadata.modified().unwrap_or_else(|_| SystemTime::now());
        files.push(DataFile { path, size: metadata.len(), written });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The paths in a folder; none when it is not there.
fn listed(dir: &Path) -> Result<Vec<PathBuf>, TableError> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
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
        let orphan = dir.path().join(format!("part-{:032x}.zstd.parquet", 7));
        fs::write(&orphan, b"half").unwrap();
        let now = SystemTime::now() + Duration::from_secs(1);
        let kept = table_files(dir.path(), now - Duration::from_secs(60)).unwrap();
        assert_eq!((kept.needed.len(), kept.unneeded.len()), (3, 0));
        let old = table_files(dir.path(), now).unwrap();
        assert_eq!((old.needed.len(), old.unneeded.len()), (1, 2));
        let left = old.unneeded.iter().find(|file| file.path == orphan).unwrap();
        assert!(left.size == 4 && left.why.starts_with("no version that is left names it"), "{left:?}");
        assert!(old.unneeded.iter().any(|file| file.why.starts_with("version 2 of ")), "{old:?}");
        for file in old.unneeded {
            fs::remove_file(file.path).unwrap();
        }
        assert_eq!(read_rows(dir.path(), Table::Rejects).unwrap().len(), 1);
    }

    /// A table whose every version replaces the one before: `versions` of them, of which each tenth is summed up.
    fn replaced(dir: &Path, versions: i64) {
        let mut table = DeltaTable::open(dir, Table::Rejects).unwrap();
        for version in 1..=versions {
            let gone = BTreeSet::from([format!("{}", version - 1)]);
            let commit = CommitId { app: "test".into(), version };
            table.replace(&gone, row(&version.to_string()), &commit).unwrap();
        }
    }

    fn commit_path(dir: &Path, version: u64) -> PathBuf {
        dir.join(LOG).join(format!("{version:020}.json"))
    }

    /// Frees all that may go by `since`; the rows stay what they were.
    fn freed(dir: &Path, since: SystemTime) -> usize {
        let before = read_rows(dir, Table::Rejects).unwrap();
        let files = table_files(dir, since).unwrap();
        files.unneeded.iter().for_each(|file| fs::remove_file(&file.path).unwrap());
        assert_eq!(read_rows(dir, Table::Rejects).unwrap(), before);
        files.unneeded.len()
    }

    #[test]
    fn a_cleaned_log_costs_no_file_of_the_current_version() {
        let later = SystemTime::now() + Duration::from_secs(60);
        // The log is cleaned as Spark and delta-rs do it: no commit up to the checkpoint is left; or some of
        // them are.
        for gone in [0..=20, 0..=19, 3..=7, 12..=12] {
            let dir = tempfile::tempdir().unwrap();
            replaced(dir.path(), 23);
            gone.clone().for_each(|version| fs::remove_file(commit_path(dir.path(), version)).unwrap());
            let kept = table_files(dir.path(), SystemTime::now() - Duration::from_secs(60)).unwrap();
            assert_eq!((kept.needed.len(), kept.unneeded.len()), (23, 0), "{gone:?}");
            assert!(freed(dir.path(), later) >= 3, "{gone:?}");
            assert_eq!(freed(dir.path(), later), 0, "{gone:?}");
            // It can still be written to.
            let mut table = DeltaTable::open(dir.path(), Table::Rejects).unwrap();
            table
                .replace(&BTreeSet::new(), row("new"), &CommitId { app: "test".into(), version: 99 })
                .unwrap();
        }
    }

    #[test]
    fn versions_that_only_a_checkpoint_still_tells_of_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        replaced(dir.path(), 20);
        (0..=20).for_each(|version| fs::remove_file(commit_path(dir.path(), version)).unwrap());
        // Nothing says when version 10 ended: whoever reads it finds its file.
        let later = SystemTime::now() + Duration::from_secs(60);
        freed(dir.path(), later);
        let at_10 = live_files(dir.path(), Some(10)).unwrap().unwrap().1;
        assert!(!at_10.is_empty() && at_10.iter().all(|name| dir.path().join(name).is_file()));
    }

    #[test]
    fn a_log_that_does_not_read_frees_nothing() {
        let later = SystemTime::now() + Duration::from_secs(60);
        let refused = |break_it: &dyn Fn(&Path)| {
            let dir = tempfile::tempdir().unwrap();
            replaced(dir.path(), 13);
            break_it(dir.path());
            table_files(dir.path(), later).unwrap_err().to_string()
        };
        // One version behind the checkpoint is missing.
        refused(&|dir| fs::remove_file(commit_path(dir, 12)).unwrap());
        // The checkpoint is missing, with the commits before it cleaned away.
        refused(&|dir| {
            (0..=10).for_each(|version| fs::remove_file(commit_path(dir, version)).unwrap());
            let checkpoint = dir.join(LOG).join(format!("{:020}.checkpoint.parquet", 10));
            fs::write(checkpoint, b"damaged").unwrap();
        });
        let text = refused(&|dir| fs::remove_dir_all(dir.join(LOG)).unwrap());
        assert!(text.contains("a log that says which files are needed expected"), "{text}");
        let text = refused(&|dir| fs::write(commit_path(dir, 2), b"{half").unwrap());
        assert!(text.contains("a line of the log is damaged"), "{text}");
    }

    #[test]
    fn files_of_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        replaced(dir.path(), 2);
        let theirs = dir.path().join("part-00000-c000.snappy.parquet");
        fs::write(&theirs, b"theirs").unwrap();
        let files = table_files(dir.path(), SystemTime::now() + Duration::from_secs(60)).unwrap();
        assert!(files.foreign.contains(&theirs) && !files.needed.contains(&theirs), "{files:?}");
        assert_eq!(files.unneeded.len(), 1, "{files:?}");
    }

    #[test]
    fn days_have_names() {
        let at = |days: u64| day(UNIX_EPOCH + Duration::from_secs(days * 86_400));
        assert_eq!(
            [at(0), at(59), at(11_016), at(20_787)],
            ["1970-01-01", "1970-03-01", "2000-02-29", "2026-11-30"]
        );
    }
}
