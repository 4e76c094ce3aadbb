//! The first look at an archive: which files there are, what they hold, what has changed since.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::iter::Either;
use rayon::prelude::*;
use tomoflow_connectors::Digest;
use tomoflow_connectors::dicom::{FileStat, Record, Walked, read_record, walk_with_notes};

use super::rows::Input;
use crate::executor::Files;
use crate::operators::infer::ModelSource;
use crate::operators::registry::Stage;
use crate::pipeline::Plan;
use crate::store::{IndexEntry, Store, StoreError};

/// What the sources hold.
#[derive(Debug, Default)]
pub struct Found {
    /// Instances, outlines and model files, for the control plane.
    pub inputs: Vec<Input>,
    /// Files looked at.
    pub files: usize,
    /// Files read, since they are new or have changed.
    pub read: usize,
    /// Files that hold nothing for a pipeline, by code.
    pub skipped: BTreeMap<String, usize>,
}

/// Why the sources could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The folder is not there, or may not be read.
    #[error("{0}\nhint: nothing was changed; check the path, or whether the archive is mounted")]
    Walk(#[from] tomoflow_connectors::dicom::WalkError),
    /// An archive that held files is empty now.
    #[error(
        "{path} held {known} files at the last run, none are found now\nhint: if the archive is mounted and truly empty, say `--accept-empty`"
    )]
    Empty {
        /// The folder.
        path: PathBuf,
        /// Files at the last run.
        known: usize,
    },
    /// A model file is not there, or may not be read.
    #[error("the model {path}: {source}")]
    Model {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The index could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a look at the sources is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A run: the index follows the archive, which may be empty only when that was said.
    Run {
        /// Whether it was said.
        accept_empty: bool,
    },
    /// Only to see: the index stays as it is.
    See,
}

/// Looks at all sources of a plan. Only files that changed (path, size, time, inode) are read.
///
/// # Errors
/// When a folder cannot be read, or is suddenly empty: an archive that is not mounted must not look like
/// one whose scans were all deleted.
pub fn look(plan: &Plan, store: &Store, files: &Files, purpose: Look) -> Result<Found, SourceError> {
    let mut found = Found::default();
    for root in roots(plan) {
        let entries = index(&root, store, purpose, &mut found)?;
        for entry in entries {
            admit(plan, &root, entry, files, &mut found);
        }
    }
    for (number, stage) in plan.stages.iter().enumerate() {
        let Stage::Infer(infer) = &stage.stage else { continue };
        let (ModelSource::Torchscript { path, .. } | ModelSource::Safetensors { path }) = &infer.model else {
            continue;
        };
        let bytes =
            std::fs::read(path).map_err(|source| SourceError::Model { path: path.clone(), source })?;
        found.inputs.push(Input::ModelFile(number as u16, Digest::of(&bytes)));
    }
    Ok(found)
}

/// The folders that sources name, each once.
fn roots(plan: &Plan) -> BTreeSet<PathBuf> {
    plan.stages
        .iter()
        .filter_map(|stage| match &stage.stage {
            Stage::Dicom(source) => Some(source.path.clone()),
            Stage::Rtstruct(source) => Some(source.path.clone()),
            _ => None,
        })
        .collect()
}

/// Brings the index of one folder up to date, and gives what it holds now, by path.
fn index(
    root: &Path,
    store: &Store,
    purpose: Look,
    found: &mut Found,
) -> Result<Vec<IndexEntry>, SourceError> {
    let Walked { files: stats, notes } = walk_with_notes(root)?;
    if !notes.is_empty() {
        // Paths may hold names: they are for those who ask for them.
        tracing::warn!(
            "{} folders or files of an archive could not be read; what was known of them stays",
            notes.len()
        );
        notes.iter().for_each(|note| tracing::debug!("{note}"));
    }
    let mut known: HashMap<PathBuf, IndexEntry> =
        store.indexed(root)?.into_iter().map(|entry| (entry.stat.path.clone(), entry)).collect();
    if stats.is_empty() && !known.is_empty() && purpose == (Look::Run { accept_empty: false }) {
        return Err(SourceError::Empty { path: root.to_owned(), known: known.len() });
    }
    found.files += stats.len();
    let (mut entries, mut changed) = (Vec::with_capacity(stats.len()), Vec::new());
    for stat in stats {
        match known.remove(&stat.path) {
            Some(entry) if entry.stat == stat => entries.push(entry),
            before => changed.push((stat, before)),
        }
    }
    let (read, unread): (Vec<_>, Vec<_>) =
        changed.into_par_iter().partition_map(|(stat, before)| read(stat, before));
    if !unread.is_empty() {
        tracing::warn!("{} files could not be read; they are tried again at the next run", unread.len());
    }
    // A file that cannot even be looked at is not a deleted one: its folder may be unreadable for now.
    let there = |path: &Path| !matches!(std::fs::symlink_metadata(path), Err(error) if error.kind() == ErrorKind::NotFound);
    let (hidden, gone): (Vec<_>, Vec<_>) = known.into_values().partition(|entry| there(&entry.stat.path));
    if purpose != Look::See {
        let gone: Vec<PathBuf> = gone.into_iter().map(|entry| entry.stat.path).collect();
        store.reindex(&read, &gone)?;
    }
    found.read += read.len();
    entries.extend(read);
    entries.extend(hidden);
    entries.extend(unread.into_iter().flatten());
    entries.sort_by(|a, b| a.stat.path.cmp(&b.stat.path));
    Ok(entries)
}

/// A file's record; or what was known of one that cannot be read now.
fn read(stat: FileStat, before: Option<IndexEntry>) -> Either<IndexEntry, Option<IndexEntry>> {
    match read_record(&stat.path) {
        Ok(record) => Either::Left(IndexEntry { stat, record }),
        Err(error) => {
            tracing::debug!(path = %stat.path.display(), %error, "not read");
            Either::Right(before)
        }
    }
}

/// Gives a record to every stage that asks for it.
fn admit(plan: &Plan, root: &Path, entry: IndexEntry, files: &Files, found: &mut Found) {
    let stages = || plan.stages.iter().enumerate().map(|(number, stage)| (number as u16, &stage.stage));
    match entry.record {
        Record::Instance(instance) => {
            files.insert(instance.digest, entry.stat);
            let instance = Arc::new(instance);
            for (number, stage) in stages() {
                if matches!(stage, Stage::Dicom(source) if source.path == root && source.keeps(&instance.tags))
                {
                    found.inputs.push(Input::Instance(number, instance.clone()));
                }
            }
        }
        Record::Outlines(outlines) => {
            files.insert(outlines.digest, entry.stat);
            let outlines = Arc::new(outlines);
            for (number, stage) in stages() {
                if matches!(stage, Stage::Rtstruct(source) if source.path == root) {
                    found.inputs.push(Input::Outlines(number, outlines.clone()));
                }
            }
        }
        Record::Skip { code } => *found.skipped.entry(code).or_default() += 1,
    }
}
