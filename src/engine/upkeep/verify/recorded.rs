//! The store's database, its small files, and what it says that actions led to.

use std::collections::HashSet;
use std::path::Path;

use rayon::prelude::*;
use tomoflow_connectors::Digest;
use tomoflow_connectors::dicom::walk;

use super::Verified;
use crate::engine::archive::SourceError;
use crate::engine::error::RunError;
use crate::executor::artifact::{self, MetricsArtifact};
use crate::store::{FigureRow, KeptFile, Outcome, Recorded, Store, StoreError, salvage};

/// Opens the store, with its database held against its own sums; what is wrong with it is noted. Without a database that
/// can be read there is one that holds nothing, so that artifacts and tables are looked at all the same.
pub(super) fn open(out: &Path, verified: &mut Verified) -> Result<Store, RunError> {
    let there = Store::checked(out);
    match &there {
        Ok(None) => verified.database.push(format!(
            "{}: there is no database; nothing says what was written",
            out.join("store").display()
        )),
        Err(error @ StoreError::Corrupt { .. }) => verified.database.push(first_line(error)),
        _ => {}
    }
    if verified.mended {
        verified.salvaged = salvage(out)?;
        drop(there);
        return Ok(Store::open(out)?);
    }
    match there {
        Ok(Some(store)) => Ok(store),
        Ok(None) | Err(StoreError::Corrupt { .. }) => Ok(Store::blank(out)?),
        Err(error) => Err(error.into()),
    }
}

fn first_line(error: &StoreError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Reads every record, and the small files that the store knows.
pub(super) fn records(store: &Store, verified: &mut Verified) -> Result<(), RunError> {
    if !verified.database.is_empty() && !verified.mended {
        return Ok(());
    }
    match store.check_records() {
        Ok(records) => verified.records = records,
        Err(error @ StoreError::Corrupt { .. }) => {
            verified.database.push(first_line(&error));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    }
    if verified.mended && !verified.records.damaged.is_empty() {
        store.forget_damaged()?;
    }
    for (name, state) in store.kept_files()? {
        let path = store.root().join(name);
        let why = match state {
            KeptFile::Same => continue,
            KeptFile::Gone => "it is not there",
            KeptFile::Other => "it is not what was written",
        };
        verified.files_of_store.push((path.clone(), why.to_owned()));
        if verified.mended && !store.restore_file(name)? {
            let lost =
                format!("{}: the pseudonyms that tables showed; the next run shows others", path.display());
            verified.lost.push(lost);
            if state == KeptFile::Other {
                let aside = path.with_extension("damaged");
                std::fs::rename(&path, &aside).map_err(|source| StoreError::Io { path: aside, source })?;
            }
        }
    }
    Ok(())
}

/// Artifacts against their names, outcomes against their artifacts, and figures against those that hold them.
pub(super) fn artifacts(store: &Store, verified: &mut Verified) -> Result<(), RunError> {
    let folder = store.root().join("artifacts");
    let files = if folder.is_dir() { walk(&folder).map_err(SourceError::from)? } else { Vec::new() };
    let named: Vec<(Digest, bool)> = files
        .into_par_iter()
        .filter_map(|file| {
            let digest: Digest = file.path.file_name()?.to_str()?.parse().ok()?;
            let found = std::fs::File::open(&file.path).and_then(Digest::of_stream);
            let sound = found.is_ok_and(|found| found == digest);
            Some((digest, sound))
        })
        .collect();
    verified.artifacts = named.iter().filter(|(_, sound)| *sound).count();
    verified.damaged = named.into_iter().filter(|(_, sound)| !sound).map(|(digest, _)| digest).collect();
    let readable = verified.records.damaged.is_empty() || verified.mended;
    let lost = if readable { outcomes(store, verified)? } else { Vec::new() };
    if verified.mended {
        for digest in &verified.damaged {
            // Looking at it removes it.
            drop(store.artifacts().look(*digest, |_| ()));
        }
        store.forget(&verified.figures)?;
        // Nobody misses what nobody wants any more; what is wanted is made again.
        store.forget(&lost)?;
    }
    Ok(())
}

/// Gives the actions whose artifacts are damaged or gone.
fn outcomes(store: &Store, verified: &mut Verified) -> Result<Vec<Digest>, RunError> {
    let (mut figures, mut lost) = (Vec::new(), Vec::new());
    let damaged: HashSet<Digest> = verified.damaged.iter().copied().collect();
    for (key, Recorded { outcome, .. }) in store.all_outcomes()? {
        let Outcome::Ok { artifact, detail, figures: rows, .. } = outcome else { continue };
        let mut left = [Some(artifact), detail].into_iter().flatten();
        let gone: Vec<Digest> = left.clone().filter(|digest| !store.artifacts().has(*digest)).collect();
        if !gone.is_empty() || left.any(|digest| damaged.contains(&digest)) {
            lost.push(key);
        }
        verified.missing.extend(gone);
        // An artifact that is damaged is told of as such.
        if !rows.is_empty() && !damaged.contains(&artifact) {
            figures.push((key, artifact, rows));
        }
    }
    verified.missing.sort();
    verified.missing.dedup();
    let wrong = figures.into_par_iter().filter(|(_, artifact, rows)| {
        // One that is gone is told of as such.
        std::fs::read(store.artifacts().path(*artifact)).is_ok_and(|bytes| !same(&bytes, rows))
    });
    verified.figures = wrong.map(|(key, ..)| key).collect();
    Ok(lost)
}

fn same(bytes: &[u8], rows: &[FigureRow]) -> bool {
    let metrics: Result<MetricsArtifact, _> = artifact::decode("metrics", bytes);
    metrics.is_ok_and(|metrics| *artifact::figure_rows(&metrics) == *rows)
}
