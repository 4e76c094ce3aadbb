//! Rereads everything and compares it with what the store says: its database, files, artifacts, tables.

mod recorded;
mod shown;
mod tables;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;
use tomoflow_connectors::Digest;
use tomoflow_connectors::dicom::FileStat;
use tomoflow_connectors::shown::Shown as _;
use tomoflow_connectors::table::Table;

use super::super::archive::Archive;
use super::super::error::RunError;
use super::super::outputs::folders::{self, written_by};
use crate::pipeline::Plan;
use crate::store::{Held, Indexed, Owner, Records, Salvaged, Since, Store, Written};

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verified {
    /// What is wrong with the store's database as a whole.
    pub database: Vec<String>,
    /// What was kept of a damaged database.
    pub salvaged: Option<Salvaged>,
    /// The database's records.
    pub records: Records,
    /// Small files of the store that are not what was written, and why: the key of the pseudonyms, whose store it is.
    pub files_of_store: Vec<(PathBuf, String)>,
    /// Files whose content is what the index says.
    pub files: usize,
    /// Files that were changed, or are gone, since the last run: the next one reads them.
    pub outdated: usize,
    /// Files with another content, although their size and time say that nothing changed.
    pub altered: Vec<PathBuf>,
    /// Files of sinks whose content is what was written.
    pub outputs: usize,
    /// Files of sinks that somebody changed or took away since they were written: the next run writes them again.
    pub edited: Vec<PathBuf>,
    /// Artifacts whose content is what their name says.
    pub artifacts: usize,
    /// Artifacts with another content.
    pub damaged: Vec<Digest>,
    /// Artifacts that outcomes name and that are not there.
    pub missing: Vec<Digest>,
    /// Actions whose figures are not those of their artifact.
    pub figures: Vec<Digest>,
    /// Files of tables, logs included, whose content is what was written.
    pub table_files: usize,
    /// Files of tables of which nobody knows what was written: another program's, or an earlier version's.
    pub unknown: usize,
    /// Files of tables with another content than was written.
    pub damaged_files: Vec<PathBuf>,
    /// Tables that hold other rows than were written into them, and which.
    pub changed: Vec<(String, String)>,
    /// Tables into which other programs wrote, and of which nobody can say whether the rows are the same.
    pub unsure: Vec<String>,
    /// Rows that were read, by table.
    pub rows: Vec<(String, usize)>,
    /// Tables that do not read back, with the reason.
    pub unreadable: Vec<(String, String)>,
    /// What people look at beside tables and is what was written: the page of `report`, TensorBoard's files.
    pub shown: usize,
    /// What people look at and is not what was written, and why.
    pub spoiled: Vec<(PathBuf, String)>,
    /// What lies in `out` and is not looked at, since nothing says how it was written.
    pub unlooked: Vec<String>,
    /// Whether what was wrong was set right as far as it can be: the next run makes it again.
    pub mended: bool,
    /// What nothing can make again.
    pub lost: Vec<String>,
}

impl Verified {
    /// Whether everything is as it should be.
    pub fn sound(&self) -> bool {
        self.database.is_empty()
            && self.records.damaged.is_empty()
            && self.files_of_store.is_empty()
            && self.altered.is_empty()
            && self.edited.is_empty()
            && self.spoiled.is_empty()
            && self.damaged.is_empty()
            && self.missing.is_empty()
            && self.figures.is_empty()
            && self.damaged_files.is_empty()
            && self.changed.is_empty()
            && self.unreadable.is_empty()
    }
}

/// Rereads the database, every indexed file, every artifact, every file that a sink wrote and every table.
///
/// With `mend`, what is whole of a damaged database enters a new one, altered files are indexed anew, damaged artifacts
/// and outcomes are forgotten, and damaged files leave their tables, so that the next run redoes what depends on them;
/// what nothing can redo is named. Without it nothing is written.
///
/// # Errors
/// When a run holds the output, or it is another pipeline's.
pub fn verify(mut plan: Plan, mend: bool) -> Result<Verified, RunError> {
    Owner::check(&plan)?;
    if let Ok(out) = std::fs::canonicalize(&plan.settings.out) {
        plan.settings.out = out;
    }
    let plan = Arc::new(plan);
    let mut verified = Verified { mended: mend, ..Verified::default() };
    let store = Arc::new(recorded::open(&plan.settings.out, &mut verified)?);
    recorded::records(&store, &mut verified)?;
    files(&plan, &store, &mut verified)?;
    outputs(&plan, &store, &mut verified)?;
    unlooked(&plan, &mut verified)?;
    recorded::artifacts(&store, &mut verified)?;
    tables::tables(&plan.settings.out, &store, &mut verified)?;
    Ok(verified)
}

enum Verdict {
    Sound,
    Outdated,
    Altered(FileStat),
}

fn files(plan: &Arc<Plan>, store: &Arc<Store>, verified: &mut Verified) -> Result<(), RunError> {
    let mut known = Vec::new();
    let archive = Archive::new(plan.clone(), store.clone());
    // If read otherwise, every file would seem altered.
    archive.forget_other_readings()?;
    for root in archive.roots() {
        store.visit_files(&root, |file| known.push(Indexed::from(file)))?;
    }
    let verdicts: Vec<Verdict> = known.into_par_iter().map(|known| reread(known, &archive)).collect();
    let mut altered = Vec::new();
    for verdict in verdicts {
        match verdict {
            Verdict::Sound => verified.files += 1,
            Verdict::Outdated => verified.outdated += 1,
            Verdict::Altered(stat) => altered.push(stat),
        }
    }
    verified.altered = altered.iter().map(|stat| stat.path.clone()).collect();
    if verified.mended {
        // Forgotten, they are new to the next run.
        store.reindex(&[], &verified.altered)?;
    }
    Ok(())
}

fn reread(known: Indexed, archive: &Archive) -> Verdict {
    let Indexed { stat, held } = known;
    let now = tomoflow_connectors::container::stat(&stat.path);
    // Its ctime is not asked: what the next run would see anew is told here by name.
    if !now.is_ok_and(|now| stat.seems(&now)) {
        return Verdict::Outdated;
    }
    match archive.read(&stat.path) {
        Ok(record) if Held::of(&record) == held => Verdict::Sound,
        Ok(_) => Verdict::Altered(stat),
        Err(_) => Verdict::Outdated,
    }
}

/// Compares the files that sinks wrote with what was written.
fn outputs(plan: &Plan, store: &Store, verified: &mut Verified) -> Result<(), RunError> {
    let mut paths = written_by(plan);
    let parquet = plan.settings.out.join("parquet");
    let tables = Table::ALL.iter().map(|table| parquet.join(format!("{}.parquet", table.name())));
    let notes = Table::ALL.iter().map(|table| parquet.join(format!(".{}.entries", table.name())));
    // A note that is gone is missed, where one was written.
    let of_folders = folders::notes(plan).into_iter().filter(|note| !paths.contains(note));
    let tables: Vec<PathBuf> = tables.chain(notes).chain(of_folders).collect();
    let asked = store.written(&tables)?;
    paths.extend(tables.into_iter().zip(asked).filter_map(|(path, known)| known.map(|_| path)));
    let known = store.written(&paths)?;
    let whole = |(path, known): (PathBuf, Option<Written>)| {
        let whole = match known.map(|known| known.since(&path, true)) {
            Some(since) => matches!(since, Ok(Since::Same | Since::Touched(_))),
            // An earlier version wrote it, and nobody knows how it was.
            None => path.is_file(),
        };
        (path, whole)
    };
    let found: Vec<(PathBuf, bool)> = paths.into_par_iter().zip(known).map(whole).collect();
    verified.outputs = found.iter().filter(|(_, whole)| *whole).count();
    verified.edited = found.into_iter().filter(|(_, whole)| !whole).map(|(path, _)| path).collect();
    Ok(())
}

/// Names what lies in `out` beside what is compared.
fn unlooked(plan: &Plan, verified: &mut Verified) -> Result<(), RunError> {
    let out = &plan.settings.out;
    let sinks = folders::notes(plan).into_iter();
    let sinks: Vec<PathBuf> = sinks.filter_map(|note| std::fs::canonicalize(note.parent()?).ok()).collect();
    let mut compared = shown::shown(out, verified)?;
    compared.extend(["store", "tables", "parquet"].map(|name| out.join(name)));
    for entry in std::fs::read_dir(out).into_iter().flatten().flatten() {
        let path = entry.path();
        if !compared.contains(&path) && !sinks.iter().any(|sink| sink.starts_with(&path)) {
            verified.unlooked.push(entry.file_name().to_string_lossy().escape_debug().to_string());
        }
    }
    verified.unlooked.sort();
    Ok(())
}

impl Verified {
    /// Tells what is whole, and what was not looked at.
    fn tell_whole(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for why in &self.database {
            writeln!(f, "database: {why}")?;
        }
        if self.database.is_empty() || self.mended {
            writeln!(f, "{} records of the database are whole", self.records.whole)?;
        }
        writeln!(f, "{} files are what the index says, {} changed or gone since", self.files, self.outdated)?;
        if self.outputs + self.edited.len() > 0 {
            writeln!(f, "{} files of sinks are what was written", self.outputs)?;
        }
        writeln!(f, "{} artifacts are what their names say", self.artifacts)?;
        if self.table_files + self.unknown > 0 {
            write!(f, "{} files of tables are what was written", self.table_files)?;
            match self.unknown {
                0 => writeln!(f)?,
                count => writeln!(f, ", {count} of others or of an earlier version were read alone")?,
            }
        }
        if self.shown > 0 {
            writeln!(f, "{} reports and files of TensorBoard are what was written", self.shown)?;
        }
        if !self.unlooked.is_empty() {
            let names = self.unlooked.join(", ");
            writeln!(f, "not looked at: {names} (nothing says how it was written)")?;
        }
        for (table, rows) in &self.rows {
            writeln!(f, "table {table}: {rows} rows read")?;
        }
        Ok(())
    }

    /// Tells of files and records that are not what was written.
    fn tell_damaged(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for record in &self.records.damaged {
            writeln!(f, "damaged: record {record}")?;
        }
        for (path, why) in self.files_of_store.iter().chain(&self.spoiled) {
            writeln!(f, "damaged: {}: {why}", path.shown())?;
        }
        for path in &self.altered {
            writeln!(f, "altered: {} (same size and time, another content)", path.shown())?;
        }
        for path in &self.edited {
            let what = if path.is_file() { "another content than was written" } else { "it is not there" };
            writeln!(f, "edited: {} ({what}; the next run writes it again)", path.shown())?;
        }
        for digest in &self.damaged {
            writeln!(f, "damaged: artifact {digest}")?;
        }
        for digest in &self.missing {
            writeln!(f, "missing: artifact {digest}")?;
        }
        for key in &self.figures {
            writeln!(f, "damaged: the figures of action {key} are not those of its artifact")?;
        }
        for path in &self.damaged_files {
            writeln!(f, "damaged: {}: it is not what was written", path.shown())?;
        }
        Ok(())
    }

    /// Tells of tables that hold other rows than were written, or cannot be compared.
    fn tell_tables(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (table, what) in &self.changed {
            let next = if table == Table::Runs.name() {
                "nothing tells of runs but its rows"
            } else {
                "the next run writes its own rows again"
            };
            writeln!(f, "changed: table {table}: {what}; {next}")?;
        }
        for table in &self.unsure {
            writeln!(
                f,
                "not compared: table {table}: another program wrote into it or cleaned its log, and the rows before are gone"
            )?;
        }
        for (table, why) in &self.unreadable {
            writeln!(f, "unreadable: table {table}: {why}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tell_whole(f)?;
        self.tell_damaged(f)?;
        self.tell_tables(f)?;
        if let Some(salvaged) = &self.salvaged {
            let kept: Vec<String> =
                salvaged.kept.iter().map(|(table, count)| format!("{count} of {table}")).collect();
            writeln!(
                f,
                "kept of the database: {}; the damaged one is {}",
                kept.join(", "),
                salvaged.aside.shown()
            )?;
        }
        for lost in &self.lost {
            writeln!(f, "cannot be made again: {lost}")?;
        }
        match (self.sound(), self.mended) {
            (true, _) if !self.unsure.is_empty() => writeln!(f, "sound but for what could not be compared"),
            (true, _) => writeln!(f, "all sound"),
            (false, true) if !self.lost.is_empty() => {
                writeln!(f, "set right but for what cannot be made again; the next run makes the rest")
            }
            (false, true) => writeln!(f, "set right; the next run makes again what is missing"),
            (false, false) => writeln!(f, "hint: `tomoflow verify --mend`, then `tomoflow run`"),
        }
    }
}
