//! Tables against what is known of their files, and what is done about those that are damaged.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tomoflow_connectors::reading;
use tomoflow_connectors::table::{
    Table, by_others, current_files, drop_files, is_ours, read_parquet, read_rows,
};

use super::Verified;
use crate::engine::error::RunError;
use crate::engine::outputs::tables::ASIDE;
use crate::store::{Since, Store, StoreError, Written};

const LOG: &str = "_delta_log";
const POINTER: &str = "_last_checkpoint";

/// One table's folder.
struct Held {
    table: Table,
    folder: PathBuf,
    /// Files that are not what was written.
    damaged: BTreeSet<PathBuf>,
    /// The reason why it does not read.
    unread: Option<String>,
    /// Whether other programs changed its rows.
    changed: bool,
}

/// Holds every table against what was written; with `mend` damaged files leave it.
pub(super) fn tables(out: &Path, store: &Store, verified: &mut Verified) -> Result<(), RunError> {
    for table in Table::ALL {
        let folder = out.join("tables").join(table.name());
        let known = store.written_below(&folder)?;
        if !folder.is_dir() {
            if !known.is_empty() {
                verified.unreadable.push((table.name().to_owned(), "its folder is not there".to_owned()));
                forget(store, known.into_iter().map(|(path, _)| path), verified.mended)?;
            }
            continue;
        }
        let mut held = Held { table: *table, folder, damaged: BTreeSet::new(), unread: None, changed: false };
        held.compare(known, verified);
        held.read(verified);
        held.others(verified);
        verified.damaged_files.extend(held.damaged.iter().cloned());
        if verified.mended && (held.changed || !held.damaged.is_empty() || held.unread.is_some()) {
            held.mend(store, verified)?;
        }
        if let Some(why) = held.unread {
            verified.unreadable.push((table.name().to_owned(), why));
        }
    }
    Ok(())
}

impl Held {
    /// Compares the files with what they were when they were written.
    fn compare(&mut self, known: Vec<(PathBuf, Written)>, verified: &mut Verified) {
        let names: BTreeSet<PathBuf> = known.iter().map(|(path, _)| path.clone()).collect();
        let there = [self.folder.clone(), self.folder.join(LOG)];
        let there = there.iter().flat_map(|folder| files(folder)).filter(|path| !names.contains(path));
        let aside = |path: &PathBuf| path.extension().is_some_and(|end| end == "damaged");
        verified.unknown += there.filter(|path| !aside(path)).count();
        let last = known.iter().filter_map(|(path, _)| version(path)).max();
        let since: Vec<(PathBuf, bool)> = known
            .into_par_iter()
            .filter_map(|(path, written)| match written.since(&path, true) {
                // Other tools clean logs and free old versions; what is needed is missed by who reads the table.
                Ok(Since::Gone) => None,
                since => Some((path, matches!(since, Ok(Since::Same | Since::Touched(_))))),
            })
            .collect();
        for (path, whole) in since {
            if whole || (path.ends_with(POINTER) && self.pointed_by_others(&names)) {
                verified.table_files += 1;
            } else {
                self.damaged.insert(path);
            }
        }
        // A table whose last version is gone reads, as it was before.
        if let (Some(last), Ok(Some((now, _)))) = (last, current_files(&self.folder))
            && now < last
        {
            self.unread = Some(format!("version {last} expected, {now} is the last one that is there"));
        }
    }

    /// Whether another program has summed up the log since, and points to that.
    fn pointed_by_others(&self, known: &BTreeSet<PathBuf>) -> bool {
        let Ok(text) = reading::table(&self.folder.join(LOG).join(POINTER)) else { return false };
        let pointer: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let Some(version) = pointer.get("version").and_then(serde_json::Value::as_u64) else { return false };
        let begins = format!("{version:020}.checkpoint.");
        let of =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begins));
        let mut summed = files(&self.folder.join(LOG)).into_iter().filter(of).peekable();
        summed.peek().is_some() && summed.all(|path| !known.contains(&path))
    }

    /// Takes out of a log that does not read what no log holds (FIFOs, devices, links to nowhere), and the pointer to a
    /// checkpoint, without which it reads as well.
    fn clear_log(&self) -> Result<(), StoreError> {
        let log = self.folder.join(LOG);
        for path in fs::read_dir(&log).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let strange = fs::metadata(&path).map_or(true, |facts| !facts.is_file() && !facts.is_dir());
            if (strange || path.ends_with(POINTER)) && !self.damaged.contains(&path) {
                fs::remove_file(&path).map_err(|source| StoreError::Io { path, source })?;
            }
        }
        Ok(())
    }

    fn read(&mut self, verified: &mut Verified) {
        match read_rows(&self.folder, self.table) {
            Ok(rows) => verified.rows.push((self.table.name().to_owned(), rows.len())),
            Err(error) => self.unread = Some(error.to_string()),
        }
    }

    /// Compares what other programs wrote with what was there before.
    fn others(&mut self, verified: &mut Verified) {
        // A log that does not read is told already.
        let Ok(others) = by_others(&self.folder, self.table) else { return };
        self.changed = others.came + others.gone > 0;
        if self.changed {
            verified.changed.push((self.table.name().to_owned(), others.to_string()));
        }
        if others.unsure {
            verified.unsure.push(self.table.name().to_owned());
        }
    }

    /// Takes damaged files out of the table, and the table out of the way where it does not read then.
    fn mend(&mut self, store: &Store, verified: &mut Verified) -> Result<(), RunError> {
        let name = self.table.name();
        if self.unread.is_some() {
            self.clear_log()?;
        }
        let live = current_files(&self.folder).ok().flatten().map(|(_, names)| names).unwrap_or_default();
        let damaged = |file: &String| {
            let path = self.folder.join(file);
            self.damaged.contains(&path) || read_parquet(&path, self.table).is_err()
        };
        let lost = self.table == Table::Runs;
        // A table that can be made again is written again by the next run.
        let theirs = |file: &String| self.changed && !lost && !is_ours(file);
        let wrong: BTreeSet<String> = live.into_iter().filter(|file| damaged(file) || theirs(file)).collect();
        if self.changed && lost {
            verified.lost.push(format!("what others did to `{name}`: nothing tells of runs but its rows"));
        }
        let mut aside = self.unread.as_ref().is_some_and(|why| why.starts_with("version "));
        if !wrong.is_empty() {
            match drop_files(&self.folder, self.table, &wrong) {
                Ok(gone) => {
                    if lost {
                        verified.lost.push(format!(
                            "rows of `{name}` that lay in {}: nothing tells of runs but they",
                            list(&gone)
                        ));
                    }
                }
                Err(_) => aside = true,
            }
        }
        for path in &self.damaged {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let hint = file == POINTER || file.ends_with(".crc");
            if !hint && !wrong.contains(&file) {
                verified.lost.push(format!("earlier versions of `{name}` that need {file}"));
            }
            fs::remove_file(path).map_err(|source| StoreError::Io { path: path.clone(), source })?;
        }
        forget(store, self.damaged.iter().cloned(), true)?;
        if aside || read_rows(&self.folder, self.table).is_err() {
            let to = self.put_aside()?;
            let known = store.written_below(&self.folder)?;
            forget(store, known.into_iter().map(|(path, _)| path), true)?;
            verified
                .lost
                .push(format!("the history of `{name}`: what is left of it lies in {}", to.display()));
            if lost {
                verified.lost.push(format!("the rows of `{name}`: nothing tells of runs but they"));
            }
        }
        Ok(())
    }

    /// Moves the table's folder to where no reader looks; nothing of it is removed.
    fn put_aside(&self) -> Result<PathBuf, StoreError> {
        let tables = self.folder.parent().unwrap_or(&self.folder);
        let folder = tables.join(ASIDE);
        fs::create_dir_all(&folder).map_err(|source| StoreError::Io { path: folder.clone(), source })?;
        let name = self.table.name();
        let free =
            (1..).map(|number: u32| folder.join(format!("{name}.{number}"))).find(|path| !path.exists());
        let to = free.unwrap_or_else(|| folder.join(name));
        fs::rename(&self.folder, &to).map_err(|source| StoreError::Io { path: to.clone(), source })?;
        Ok(to)
    }
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Forgets how files were written that are not there any more.
fn forget(store: &Store, paths: impl Iterator<Item = PathBuf>, mend: bool) -> Result<(), StoreError> {
    let gone: Vec<_> = paths.map(|path| (path, None)).collect();
    if mend { store.keep_written(&gone) } else { Ok(()) }
}

/// The version that a commit of the log makes.
fn version(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.path())
        .collect()
}
