//! The files of tables as they were written: the store knows their content, and what is damaged or gone is made again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tomoflow_connectors::table::{DeltaTable, Table, TableError, current_files, drop_files, is_ours};

use super::Tables;
use crate::store::{Since, Written};

/// The folder into which `verify --mend` moves tables that do not read, beside those that do.
pub const ASIDE: &str = ".damaged";

/// The name in `out` of the page that `report` writes.
pub const PAGE: &str = "report.html";

/// The name in `out` that `verify --mend` gives to a page of `report` that is not what was written.
pub const ASIDE_PAGE: &str = "report.html.damaged";

/// Tables, files of tables, and the page of `report`, that were set aside as damaged.
pub fn set_aside(tables: &Path) -> Vec<PathBuf> {
    let listed = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<PathBuf>>()
    };
    let files = Table::ALL.iter().flat_map(|table| listed(&tables.join(table.name())));
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "damaged"));
    let mut found: Vec<PathBuf> = listed(&tables.join(ASIDE)).into_iter().chain(files).collect();
    found.extend(Some(tables.with_file_name(ASIDE_PAGE)).filter(|page| page.is_file()));
    found.sort();
    found
}

impl Tables {
    /// Opens a table that follows what is desired. Files of its current version that are not what was written, not there,
    /// or another program's, leave it first: their rows are missing then, and are written again.
    pub(super) fn open_whole(&mut self, table: Table) -> Result<DeltaTable, TableError> {
        let folder = self.folder.join(table.name());
        self.begin_anew(&folder);
        let wrong = self.wrong_files(&folder);
        if !wrong.is_empty() {
            for name in drop_files(&folder, table, &wrong)? {
                match is_ours(&name) {
                    true => self.set_aside(folder.join(name)),
                    // Earlier versions need it as it is.
                    false => self.foreign.add(folder.join(name)),
                }
            }
        }
        DeltaTable::open(&folder, table)
    }

    /// Forgets how a table was written of which no version is left: somebody removed it, and it begins with other files
    /// under the same names.
    pub(super) fn begin_anew(&mut self, folder: &Path) {
        if !matches!(current_files(folder), Ok(None)) {
            return;
        }
        self.kept.retain(|path| !path.starts_with(folder));
        let forgotten = self.store.written_below(folder).and_then(|known| {
            let gone: Vec<_> = known.into_iter().map(|(path, _)| (path, None)).collect();
            self.store.keep_written(&gone)
        });
        if let Err(error) = forgotten {
            tracing::error!("the digests of table files are not deleted: {error}");
        }
    }

    /// Gives a damaged file another name: an earlier version that needs it must not be read with other figures.
    fn set_aside(&mut self, path: PathBuf) {
        let aside = path.with_extension("parquet.damaged");
        if let Err(error) = fs::rename(&path, aside)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!("{} could not be moved away: {error}", path.display());
        }
        self.kept.remove(&path);
        if let Err(error) = self.store.keep_written(&[(path.clone(), None)]) {
            tracing::error!("the digests of table files are not recorded: {error}");
        }
        self.edited.add(path);
    }

    /// Tells of tables set aside as damaged, which show identifiers and texts as tables did then, where they
    /// must not show now.
    pub fn aside(&self) -> Option<String> {
        let count = match self.identity.is_clear() && self.identity.shows_text() {
            true => 0,
            false => set_aside(&self.folder).len(),
        };
        let text = format!(
            "set aside as damaged below {}: {count}, with identifiers and texts as tables showed them then; \
             `tomoflow gc --delete --older-than 0s` frees them",
            self.folder.parent().unwrap_or(&self.folder).display()
        );
        (count > 0).then_some(text)
    }

    /// A report that was written before cases were shown as they are shown now: told of where identifiers are hidden.
    pub fn old_report(&self, changed: &BTreeSet<&'static str>) -> Option<String> {
        let report = self.folder.with_file_name(PAGE);
        let hides = !(self.identity.is_clear() && self.identity.shows_text());
        (hides && changed.contains(Table::Cases.name()) && report.is_file()).then(|| {
            format!(
                "{} shows cases as the tables before did, identifiers and texts as well: `tomoflow report` writes it anew",
                report.display()
            )
        })
    }

    /// Names files of a table that somebody had changed or removed since they were written, in a line.
    pub fn edited(&self) -> Option<String> {
        let (count, names) = (self.edited.count, self.edited.names(&self.folder));
        let files = if count == 1 { "file of a table was" } else { "files of tables were" };
        let text =
            format!("{count} {files} damaged, changed or removed, and its rows written again: {names}");
        (count > 0).then_some(text)
    }

    /// Whether another program has written a version of a table since it was opened.
    pub(super) fn is_overtaken(&self) -> bool {
        self.open.iter().any(|(table, delta)| {
            let log = self.folder.join(table.name()).join("_delta_log");
            log.join(format!("{:020}.json", delta.version() + 1)).exists()
        })
    }

    /// Names files of tables that another program had brought, in a line.
    pub fn foreign(&self) -> Option<String> {
        let (count, names) = (self.foreign.count, self.foreign.names(&self.folder));
        let files = if count == 1 { "file that another program" } else { "files that other programs" };
        let text = format!(
            "{count} {files} wrote into tables left them, and their rows are tomoflow's again: {names}"
        );
        (count > 0).then_some(text)
    }

    /// Returns the files of the current version that are not what was written. The content is read where the
    /// system tells of a change.
    fn wrong_files(&self, folder: &Path) -> BTreeSet<String> {
        // A table that cannot be read is told of by whoever opens it.
        let Ok(Some((_, names))) = current_files(folder) else { return BTreeSet::new() };
        let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        let known = self.store.written(&paths).unwrap_or_else(|_| vec![None; paths.len()]);
        let mut touched = Vec::new();
        let wrong = names.into_iter().zip(paths).zip(known).filter_map(|((name, path), known)| {
            if !is_ours(&name) {
                return Some(name);
            }
            let whole = match known.map(|known| known.since(&path, false)) {
                Some(Ok(Since::Touched(now))) => {
                    touched.push((path, Some(now)));
                    true
                }
                Some(since) => matches!(since, Ok(Since::Same)),
                // An earlier version wrote it.
                None => path.is_file(),
            };
            (!whole).then_some(name)
        });
        let wrong = wrong.collect();
        if let Err(error) = self.store.keep_written(&touched) {
            tracing::error!("the digests of table files are not recorded: {error}");
        }
        wrong
    }

    /// Keeps what the files of a table hold that are new in it. One that is known already stays as it is known, but for
    /// the pointer to the last checkpoint, which changes with each.
    pub(super) fn keep_files(&mut self, folder: &Path) {
        let there: Vec<PathBuf> = [folder.to_owned(), folder.join("_delta_log")]
            .iter()
            .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .map(|entry| entry.path())
            .collect();
        // Rows that others wrote into a table that can be made again are never known as its own.
        let runs = folder.ends_with(Table::Runs.name());
        let theirs = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.parent() == Some(folder) && !is_ours(&name) && !(runs && name.ends_with(".parquet"))
        };
        let fresh = there.into_iter().filter(|path| !self.kept.contains(path) && !theirs(path));
        let fresh: Vec<PathBuf> = fresh.collect();
        let known = self.store.written(&fresh).unwrap_or_else(|_| vec![None; fresh.len()]);
        let checkpoint = |path: &Path| path.to_string_lossy().contains(".checkpoint.");
        let summed = fresh.iter().zip(&known).any(|(path, known)| known.is_none() && checkpoint(path));
        let mut new = Vec::new();
        for (path, known) in fresh.into_iter().zip(known) {
            let pointer = path.ends_with("_last_checkpoint");
            if known.is_none() || (pointer && summed) {
                new.extend(Written::now(&path).ok().map(|written| (path.clone(), Some(written))));
            }
            if !pointer {
                self.kept.insert(path);
            }
        }
        if let Err(error) = self.store.keep_written(&new) {
            tracing::error!("the digests of table files are not recorded: {error}");
        }
    }
}
