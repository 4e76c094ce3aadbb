//! What could be freed: artifacts that nothing stands on, files of table versions that nobody keeps.

mod aside;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tomoflow_connectors::Digest;
use tomoflow_connectors::dicom::{FileStat, walk};
use tomoflow_connectors::table::{Rows, Table, TableFiles, Unneeded, read_parquet, table_files};

use super::super::SourceError;
use super::super::error::RunError;
use crate::pipeline::Plan;
use crate::store::{Outcome, Owner, Recorded, Store, StoreError};

/// Something that nobody needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The path of the file.
    pub path: PathBuf,
    /// The size in bytes.
    pub bytes: u64,
    /// The reason why it may go.
    pub why: String,
}

/// What could be freed, or was.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Garbage {
    /// The items by what they are: `artifacts`, `checkpoints`, or the files of a table.
    pub items: BTreeMap<String, Vec<Item>>,
    /// Outcomes that are forgotten with their artifacts.
    pub outcomes: usize,
    /// Whether it was freed.
    pub freed: bool,
    /// The age from which on a version's files may go.
    pub older_than: Duration,
}

impl Garbage {
    /// Returns the size of all items in bytes.
    pub fn bytes(&self) -> u64 {
        self.items.values().flatten().map(|item| item.bytes).sum()
    }
}

/// Finds what nobody needs, and frees it when `free` says so.
///
/// Kept are: what stands for a stage of the pipeline, pinned models, what any kept version of a table names,
/// and whatever is younger than `older_than`. A version of a table is kept while it is the current one, or
/// was at that time.
///
/// # Errors
/// When a run holds the output, or something cannot be read or removed. Nothing is freed when a table's log cannot be
/// read: which artifacts are needed follows from it as well.
pub fn gc(plan: &Plan, older_than: Duration, free: bool) -> Result<Garbage, RunError> {
    Owner::check(plan)?;
    let out = &plan.settings.out;
    let store = if free { Store::open(out)? } else { Store::scratch(out)? };
    let since = SystemTime::now().checked_sub(older_than).unwrap_or(UNIX_EPOCH);
    let mut garbage = Garbage { freed: free, older_than, ..Garbage::default() };
    let mut named = HashSet::new();
    for table in Table::ALL {
        let folder = out.join("tables").join(table.name());
        let unread = |source| RunError::NothingFreed { table: table.name(), source };
        let files = table_files(&folder, since).map_err(unread)?;
        names(*table, &files, &mut named)?;
        let item = |Unneeded { path, size, why }| Item { path, bytes: size, why };
        let unneeded = files.unneeded.into_iter().map(item).collect();
        garbage.add(&format!("table {}", table.name()), unneeded);
    }
    let forgotten = artifacts(plan, &store, since, &named, &mut garbage)?;
    garbage.outcomes = forgotten.len();
    checkpoints(&store, since, &mut garbage)?;
    garbage.add("set aside", aside::items(&out.join("tables"), since)?);
    if free {
        // Outcomes first: one whose artifact is gone would only be looked for in vain.
        store.forget(&forgotten)?;
        for item in garbage.items.values().flatten() {
            let removed = if item.path.is_dir() {
                std::fs::remove_dir_all(&item.path)
            } else {
                std::fs::remove_file(&item.path)
            };
            removed.map_err(|source| StoreError::Io { path: item.path.clone(), source })?;
        }
    }
    Ok(garbage)
}

impl Garbage {
    fn add(&mut self, kind: &str, items: Vec<Item>) {
        if !items.is_empty() {
            self.items.insert(kind.to_owned(), items);
        }
    }
}

/// Actions and models that the rows of kept versions name.
fn names(table: Table, files: &TableFiles, named: &mut HashSet<String>) -> Result<(), RunError> {
    if !matches!(table, Table::Masks | Table::Metrics | Table::Training) {
        return Ok(());
    }
    for path in &files.needed {
        match read_parquet(path, table)? {
            Rows::Masks(rows) => named.extend(rows.into_iter().flat_map(|row| [row.action, row.model])),
            Rows::Metrics(rows) => named.extend(rows.into_iter().flat_map(|row| [row.action, row.model])),
            Rows::Training(rows) => named.extend(rows.into_iter().map(|row| row.model)),
            _ => {}
        }
    }
    Ok(())
}

/// Artifacts that nothing stands on; gives the keys whose outcomes go with them.
fn artifacts(
    plan: &Plan,
    store: &Store,
    since: SystemTime,
    named: &HashSet<String>,
    garbage: &mut Garbage,
) -> Result<Vec<Digest>, RunError> {
    let stages: BTreeSet<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
    let mut stand: HashSet<Digest> = store.pins()?.into_iter().map(|pin| pin.key).collect();
    for (stage, _, past) in store.histories()? {
        if stages.contains(stage.as_str()) {
            stand.extend(past.last().map(|past| past.key));
        }
    }
    let young = since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let (mut keep, mut candidates) = (HashSet::new(), Vec::new());
    for (key, Recorded { outcome, .. }) in store.all_outcomes()? {
        let Outcome::Ok { artifact, detail, .. } = outcome else { continue };
        let left = [Some(artifact), detail];
        let made = store.made(key)?;
        let kept = stand.contains(&key)
            || named.contains(&key.to_string())
            || named.contains(&artifact.to_string())
            || made.is_none_or(|made| made.at >= young);
        if kept {
            keep.extend(left.into_iter().flatten());
        } else {
            candidates.push((key, left));
        }
    }
    let folder = store.root().join("artifacts");
    let files = if folder.is_dir() { walk(&folder).map_err(SourceError::from)? } else { Vec::new() };
    let past: HashSet<Digest> =
        candidates.iter().flat_map(|(_, left)| left.iter().flatten().copied()).collect();
    let unneeded = files.into_iter().filter_map(|file| {
        let digest = file.path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let digest: Option<Digest> = digest;
        if digest.is_some_and(|digest| keep.contains(&digest)) || !older(&file, since) {
            return None;
        }
        let why = if digest.is_some_and(|digest| past.contains(&digest)) {
            "no stage of the pipeline, no pinned model and no kept version of a table names what made it"
        } else {
            "no outcome names it"
        };
        Some(Item { path: file.path, bytes: file.size, why: why.to_owned() })
    });
    let unneeded: Vec<Item> = unneeded.collect();
    let gone: HashSet<&PathBuf> = unneeded.iter().map(|item| &item.path).collect();
    // An outcome goes with its artifact, and stays as long as it has one.
    let lost = |digest: &Digest| gone.contains(&store.artifacts().path(*digest));
    let forgotten = candidates.iter().filter(|(_, left)| left.iter().flatten().any(lost));
    let forgotten = forgotten.map(|(key, _)| *key).collect();
    garbage.add("artifacts", unneeded);
    Ok(forgotten)
}

fn older(file: &FileStat, since: SystemTime) -> bool {
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    u128::try_from(file.mtime_ns).is_ok_and(|written| written < since)
}

/// Finds checkpoints of trainings that nobody has gone on with.
fn checkpoints(store: &Store, since: SystemTime, garbage: &mut Garbage) -> Result<(), RunError> {
    let folder = store.root().join("checkpoints");
    let mut items = Vec::new();
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let files = walk(&entry.path()).map_err(SourceError::from)?;
        if files.iter().all(|file| older(file, since)) {
            let why = "no training has gone on with it".to_owned();
            items.push(Item { path: entry.path(), bytes: files.iter().map(|file| file.size).sum(), why });
        }
    }
    garbage.add("checkpoints", items);
    Ok(())
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, items) in &self.items {
            // Each reason has one line: versions replace files one by one, and are counted.
            let mut reasons: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
            for item in items {
                let why =
                    if item.why.starts_with("version ") { "later versions replaced them" } else { &item.why };
                let (count, bytes) = reasons.entry(why).or_default();
                (*count, *bytes) = (*count + 1, *bytes + item.bytes);
            }
            for (why, (count, bytes)) in reasons {
                let files = if count == 1 { "file" } else { "files" };
                writeln!(f, "  {kind}: {count} {files}, {}: {why}", indicatif::HumanBytes(bytes))?;
            }
        }
        let age = humantime::format_duration(self.older_than);
        let total = indicatif::HumanBytes(self.bytes());
        match (self.bytes(), self.freed) {
            (0, _) => writeln!(f, "nothing to free that is older than {age}"),
            (_, true) => writeln!(f, "freed {total}; {} outcomes forgotten", self.outcomes),
            (_, false) => writeln!(
                f,
                "{total} could be freed that nothing has needed for {age}; `tomoflow gc --delete` frees it"
            ),
        }
    }
}
