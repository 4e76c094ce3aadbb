//! One Delta table that a single committer keeps equal to what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;

use super::TableError;
use super::files::{self, Staging};
use super::log::{Commit, CommitId, Log};
use super::migrate;
use super::rows::{Rows, Table};
use crate::points;

/// The size in bytes below which a file is small: many of them slow every reader down.
const SMALL_BYTES: u64 = 16 << 20;
/// The number of small files that are left alone; one more, and a commit writes them into one.
const SMALL_FILES: usize = 16;

/// A Delta table, open for asking what it holds and for commits.
///
/// One process writes a table at a time; any number read it. A commit is one file of the log, put in
/// place at once: a reader, or a run after a crash, sees all of it or nothing.
///
/// # Examples
/// ```
/// use std::collections::BTreeSet;
/// use tomoflow_connectors::table::{CommitId, DeltaTable, RejectRow, Rows, Table, read_rows};
///
/// # let dir = tempfile::tempdir().unwrap();
/// let mut table = DeltaTable::open(dir.path(), Table::Rejects).unwrap();
/// let row = RejectRow { entry: "a1".into(), code: "MISSING_SLICE".into(), ..Default::default() };
/// let rows = Rows::Rejects(vec![row]);
/// let commit = CommitId { app: "example".into(), version: 1 };
/// table.replace(&BTreeSet::new(), [rows.clone()], &commit).unwrap();
///
/// assert!(table.entries().contains("a1"));
/// assert_eq!(read_rows(dir.path(), Table::Rejects).unwrap(), rows);
/// ```
pub struct DeltaTable {
    log: Log,
    table: Table,
    /// The version that `files` and `entries` are of.
    loaded: Option<u64>,
    files: BTreeMap<String, DataFile>,
    entries: BTreeSet<String>,
}

/// What is known of a file of the current version.
struct DataFile {
    size: u64,
    entries: BTreeSet<String>,
}

impl DeltaTable {
    /// Opens a table, and creates it when there is none. A table whose creation was cut off is created
    /// again.
    ///
    /// # Errors
    /// Fails when the folder cannot be read or written, the log or a file is damaged, or the folder holds a
    /// table with other columns ([`TableError::Foreign`]).
    pub fn open(dir: &Path, table: Table) -> Result<Self, TableError> {
        let log = Log::open_or_create(dir, table)?;
        let mut opened = Self { log, table, loaded: None, files: BTreeMap::new(), entries: BTreeSet::new() };
        opened.load()?;
        if opened.log.is_earlier()? {
            opened.migrate()?;
        }
        Ok(opened)
    }

    /// Writes the rows of an earlier version again, in the columns of this one, as one version more.
    fn migrate(&mut self) -> Result<(), TableError> {
        let mut staging = Staging::new(self.log.dir(), self.table.schema());
        for name in self.files.keys() {
            for batch in files::batches(&self.log.dir().join(name), None)? {
                let mut rows = Rows::empty(self.table);
                rows.extend_from_batch(&batch?)?;
                staging.write(&rows.to_batch()?)?;
            }
        }
        staging.finish()?;
        let old: Vec<(String, u64)> =
            self.files.iter().map(|(name, file)| (name.clone(), file.size)).collect();
        migrate::commit(self.log.dir(), self.table, self.log.version() + 1, &old, &staging.keep())?;
        self.log.refresh()?;
        tracing::info!(table = self.table.name(), "an earlier version's columns are those of this one now");
        self.load()
    }

    /// The current version.
    pub fn version(&self) -> u64 {
        self.log.version()
    }

    /// The entries that have rows in the current version.
    pub fn entries(&self) -> &BTreeSet<String> {
        &self.entries
    }

    /// The version of the last commit of `app`, for numbering the next one.
    ///
    /// # Errors
    /// Fails when the log cannot be read.
    pub fn last_commit(&self, app: &str) -> Result<Option<i64>, TableError> {
        self.log.last_commit(app)
    }

    /// Commits once: the rows of `remove` go, those of `add` come. Returns the new version, or `None` when
    /// there was nothing to write or this very commit is there already.
    ///
    /// An entry that is added while it is present is replaced as a whole. `add` is taken piece by piece
    /// and each is written at once, so an iterator bounds the memory. Files that hold a removed entry are
    /// written again without it, and many small files are written into one.
    ///
    /// # Errors
    /// Fails when a row does not fit, a file cannot be read or written, or another process committed at the
    /// same time ([`TableError::Conflict`]). The table is as it was; or, if the answer was lost on its way,
    /// as it was to become, and a retry with the same `commit` finds that out.
    pub fn replace(
        &mut self,
        remove: &BTreeSet<String>,
        add: impl IntoIterator<Item = Rows>,
        commit: &CommitId,
    ) -> Result<Option<u64>, TableError> {
        self.log.refresh()?;
        if self.loaded != Some(self.log.version()) {
            self.load()?;
        }
        if self.log.last_commit(&commit.app)?.is_some_and(|last| last >= commit.version) {
            return Ok(None);
        }
        let mut staging = Staging::new(self.log.dir(), self.table.schema());
        let mut gone: BTreeSet<String> = self.entries.intersection(remove).cloned().collect();
        let added = self.stage(add, &mut staging)?;
        gone.extend(self.entries.intersection(&added).cloned());
        if gone.is_empty() && added.is_empty() {
            return Ok(None);
        }

        let rewritten = self.rewrite(&gone, &mut staging)?;
        staging.finish()?;
        self.pass(points::TABLE_STAGED)?;
        // From here on the files may be in the log, whatever is answered: they are never taken back.
        let staged = staging.keep();
        match self.log.commit(&rewritten, &staged, commit)? {
            Commit::Conflict(version) => {
                Err(TableError::Conflict { dir: self.log.dir().to_owned(), version })
            }
            Commit::Done => {
                self.files.retain(|name, _| !rewritten.contains(name));
                self.files.extend(
                    staged
                        .into_iter()
                        .map(|file| (file.name, DataFile { size: file.size, entries: file.entries })),
                );
                self.entries.retain(|entry| !gone.contains(entry));
                self.entries.extend(added);
                self.loaded = Some(self.log.version());
                self.pass(points::TABLE_COMMITTED)?;
                Ok(Some(self.log.version()))
            }
        }
    }

    fn pass(&self, point: &str) -> Result<(), TableError> {
        points::pass(point).map_err(|source| TableError::Io {
            path: self.log.dir().to_owned(),
            doing: "written",
            hint: "free some space and run again; what is committed stays",
            source,
        })
    }

    /// Reads which entries lie in which file of the current version.
    fn load(&mut self) -> Result<(), TableError> {
        let dir = self.log.dir();
        self.files = self
            .log
            .files()?
            .into_par_iter()
            .map(|(name, size)| {
                let entries = files::entries(&dir.join(&name))?;
                Ok((name, DataFile { size, entries }))
            })
            .collect::<Result<_, TableError>>()?;
        self.loaded = Some(self.log.version());
        self.entries = self.files.values().flat_map(|file| file.entries.iter().cloned()).collect();
        Ok(())
    }

    /// Writes the new rows; returns their entries.
    fn stage(
        &self,
        add: impl IntoIterator<Item = Rows>,
        staging: &mut Staging,
    ) -> Result<BTreeSet<String>, TableError> {
        let mut added = BTreeSet::new();
        for rows in add {
            if rows.table() != self.table {
                return Err(TableError::OtherTable {
                    expected: self.table.name(),
                    found: rows.table().name(),
                });
            }
            for entry in rows.entries() {
                if !added.contains(entry) {
                    added.insert(entry.to_owned());
                }
            }
            staging.write(&rows.to_batch()?)?;
        }
        Ok(added)
    }

    /// Writes again, without the rows that go, the files that hold such rows, and the small files when they
    /// have become many; returns their names.
    fn rewrite(
        &self,
        gone: &BTreeSet<String>,
        staging: &mut Staging,
    ) -> Result<BTreeSet<String>, TableError> {
        let (mut names, untouched): (Vec<_>, Vec<_>) =
            self.files.iter().partition(|(_, file)| !file.entries.is_disjoint(gone));
        let small: Vec<_> = untouched.into_iter().filter(|(_, file)| file.size < SMALL_BYTES).collect();
        if small.len() >= SMALL_FILES {
            names.extend(small);
        }
        for (name, file) in &names {
            if file.entries.is_subset(gone) {
                continue;
            }
            let path = self.log.dir().join(name);
            for batch in files::batches(&path, None)? {
                staging.write(&files::survivors(&path, &batch?, gone)?)?;
            }
        }
        Ok(names.into_iter().map(|(name, _)| name.clone()).collect())
    }
}
