//! The changes that other programs made to a table: rows that they brought or changed, and rows that they
//! took away.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::path::Path;

use serde::Deserialize;

use super::TableError;
use super::files::is_ours;
use super::log::{LOG, live_files};
use super::read::read_parquet;
use super::rows::Table;
use crate::reading;

/// The number of characters kept of the name that another program gives itself.
const NAME: usize = 60;

/// The rows of a table beside those that tomoflow wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// The number of rows that tomoflow did not write.
    pub came: usize,
    /// The number of tomoflow's rows that are not there any more, or were changed.
    pub gone: usize,
    /// The versions that other programs wrote, with the names that they give themselves.
    pub versions: BTreeMap<u64, String>,
    /// Whether there are versions whose rows cannot be compared, since what was before them is gone.
    pub unsure: bool,
}

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { came, gone, versions, .. } = self;
        let rows = |count: usize| if count == 1 { "row" } else { "rows" };
        write!(
            f,
            "{came} {} that tomoflow did not write, {gone} {} of its own gone",
            rows(*came),
            rows(*gone)
        )?;
        match versions.last_key_value() {
            Some((version, who)) => write!(f, ", by version {version} ({who})"),
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    commit_info: Option<Info>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    operation: Option<String>,
    engine_info: Option<String>,
}

/// Compares the rows of the versions that other programs wrote with those of tomoflow's version before. What only lies
/// otherwise, as after a compaction, is the same.
///
/// # Errors
/// Fails when the log cannot be read.
///
/// # Examples
/// ```
/// use tomoflow_connectors::table::{DeltaTable, Others, Table, by_others};
///
/// # let dir = tempfile::tempdir().unwrap();
/// DeltaTable::open(dir.path(), Table::Rejects).unwrap();
/// assert_eq!(by_others(dir.path(), Table::Rejects).unwrap(), Others::default());
/// ```
pub fn by_others(dir: &Path, table: Table) -> Result<Others, TableError> {
    let mut found = Others::default();
    let Some((current, live)) = live_files(dir, None)? else { return Ok(found) };
    let mixed = !live.iter().all(|name| is_ours(name));
    let mut next = Some(current);
    while let Some(end) = next {
        let who = match writer(dir, end)? {
            Writer::Unknown => {
                found.unsure |= mixed || end == current;
                break;
            }
            Writer::Own if !mixed => break,
            Writer::Own => {
                next = end.checked_sub(1);
                continue;
            }
            Writer::Other(who) => who,
        };
        found.versions.insert(end, who);
        let mut before = end.checked_sub(1);
        while let Some(version) = before
            && let Writer::Other(who) = writer(dir, version)?
        {
            found.versions.insert(version, who);
            before = version.checked_sub(1);
        }
        compare(dir, table, [before, Some(end)], &mut found)?;
        next = before;
    }
    Ok(found)
}

/// The writer of a version.
enum Writer {
    Own,
    /// Another program, by the name that it gives itself.
    Other(String),
    /// Nobody knows: the commit is not there.
    Unknown,
}

fn writer(dir: &Path, version: u64) -> Result<Writer, TableError> {
    let path = dir.join(LOG).join(format!("{version:020}.json"));
    let bytes = match reading::whole(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Writer::Unknown),
        bytes => bytes.map_err(TableError::read(&path))?,
    };
    let lines = bytes.split(|byte| *byte == b'\n');
    let info = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok()?.commit_info).next();
    let Info { operation, engine_info } = info.unwrap_or_default();
    if engine_info.as_ref().is_some_and(|engine| engine.starts_with("tomoflow/")) {
        return Ok(Writer::Own);
    }
    let words: Vec<String> = [operation, engine_info].into_iter().flatten().collect();
    let who = if words.is_empty() { "another program".to_owned() } else { words.join(" by ") };
    Ok(Writer::Other(who.chars().filter(|sign| !sign.is_control()).take(NAME).collect()))
}

/// Compares the rows of two versions, by the digest of each.
fn compare(
    dir: &Path,
    table: Table,
    versions: [Option<u64>; 2],
    found: &mut Others,
) -> Result<(), TableError> {
    let mut names: [BTreeSet<String>; 2] = Default::default();
    for (version, names) in versions.into_iter().zip(&mut names) {
        let Some(version) = version else { continue };
        match live_files(dir, Some(version)) {
            Ok(Some((_, files))) => *names = files,
            // A log that was cleaned does not lead there any more.
            _ => {
                found.unsure = true;
                return Ok(());
            }
        }
    }
    let [before, after] = names;
    let mut rows: HashMap<blake3::Hash, i64> = HashMap::new();
    for (names, sign) in [(before.difference(&after), -1), (after.difference(&before), 1)] {
        for name in names {
            let Ok(read) = read_parquet(&dir.join(name), table) else {
                found.unsure = true;
                return Ok(());
            };
            for sum in read.sums() {
                *rows.entry(sum).or_default() += sign;
            }
        }
    }
    for count in rows.into_values() {
        let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        if count > 0 {
            found.came += size;
        } else {
            found.gone += size;
        }
    }
    Ok(())
}
