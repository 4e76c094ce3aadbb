//! Rereads everything and compares it with what the store says: files, artifacts, tables.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;
use tomoflow_connectors::Digest;
use tomoflow_connectors::dicom::{FileStat, walk};
use tomoflow_connectors::shown::Shown as _;
use tomoflow_connectors::table::{Table, read_rows};

use super::super::archive::Archive;
use super::super::error::RunError;
use super::super::outputs::folders::written_by;
use crate::pipeline::Plan;
use crate::store::{Held, Indexed, Outcome, Recorded, Since, Store, Written};

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verified {
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
    /// Rows that were read, by table.
    pub rows: Vec<(String, usize)>,
    /// Tables that do not read back, with the reason.
    pub unreadable: Vec<(String, String)>,
    /// Whether what was wrong was set right as far as it can be: the next run makes it again.
    pub mended: bool,
}

impl Verified {
    /// Whether everything is as it should be.
    pub fn sound(&self) -> bool {
        self.altered.is_empty()
            && self.edited.is_empty()
            && self.damaged.is_empty()
            && self.missing.is_empty()
            && self.unreadable.is_empty()
    }
}

/// Rereads every indexed file, every artifact and every table.
///
/// With `mend`, altered files are indexed anew and damaged artifacts removed, so that the next run redoes
/// what depends on them; without it nothing is written.
///
/// # Errors
/// When a run holds the output.
pub fn verify(plan: Plan, mend: bool) -> Result<Verified, RunError> {
    let plan = Arc::new(plan);
    let out = &plan.settings.out;
    let store = Arc::new(if mend { Store::open(out)? } else { Store::scratch(out)? });
    let mut verified = Verified { mended: mend, ..Verified::default() };
    files(&plan, &store, &mut verified)?;
    outputs(&plan, &store, &mut verified)?;
    artifacts(&store, &mut verified)?;
    for table in Table::ALL {
        let folder = out.join("tables").join(table.name());
        if !folder.is_dir() {
            continue;
        }
        match read_rows(&folder, *table) {
            Ok(rows) => verified.rows.push((table.name().to_owned(), rows.len())),
            Err(error) => verified.unreadable.push((table.name().to_owned(), error.to_string())),
        }
    }
    if mend {
        for digest in &verified.damaged {
            // Reading it removes it.
            drop(store.artifacts().get(*digest));
        }
    }
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
    // Read otherwise, every file would seem altered.
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
    let tables: Vec<PathBuf> = tables.collect();
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

fn artifacts(store: &Store, verified: &mut Verified) -> Result<(), RunError> {
    let folder = store.root().join("artifacts");
    let files =
        if folder.is_dir() { walk(&folder).map_err(super::super::SourceError::from)? } else { Vec::new() };
    let named: Vec<(Digest, bool)> = files
        .into_par_iter()
        .filter_map(|file| {
            let digest: Digest = file.path.file_name()?.to_str()?.parse().ok()?;
            let sound = std::fs::read(&file.path).is_ok_and(|bytes| Digest::of(&bytes) == digest);
            Some((digest, sound))
        })
        .collect();
    verified.artifacts = named.iter().filter(|(_, sound)| *sound).count();
    verified.damaged = named.into_iter().filter(|(_, sound)| !sound).map(|(digest, _)| digest).collect();
    for (_, Recorded { outcome, .. }) in store.all_outcomes()? {
        let Outcome::Ok { artifact, detail, .. } = outcome else { continue };
        let gone =
            [Some(artifact), detail].into_iter().flatten().filter(|digest| !store.artifacts().has(*digest));
        verified.missing.extend(gone);
    }
    verified.missing.sort();
    verified.missing.dedup();
    Ok(())
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} files are what the index says, {} changed or gone since", self.files, self.outdated)?;
        if self.outputs + self.edited.len() > 0 {
            writeln!(f, "{} files of sinks are what was written", self.outputs)?;
        }
        writeln!(f, "{} artifacts are what their names say", self.artifacts)?;
        for (table, rows) in &self.rows {
            writeln!(f, "table {table}: {rows} rows read")?;
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
        for (table, why) in &self.unreadable {
            writeln!(f, "unreadable: table {table}: {why}")?;
        }
        match (self.sound(), self.mended) {
            (true, _) => writeln!(f, "all sound"),
            // What a table held is its user's history too: it is not removed unasked.
            (false, true) if !self.unreadable.is_empty() => {
                writeln!(f, "set right but for the tables; the next run makes again what is missing")
            }
            (false, true) => writeln!(f, "set right; the next run makes again what is missing"),
            (false, false) => writeln!(f, "hint: `tomoflow verify --mend`, then `tomoflow run`"),
        }
    }
}
