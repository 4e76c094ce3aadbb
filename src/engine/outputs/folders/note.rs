//! The note in each folder that says what it holds, and what the store knows of the files beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tomoflow_connectors::dicom::Few;
use tomoflow_connectors::shown::Shown as _;

use super::{Folder, With};
use crate::engine::outputs::carried::Carried;
use crate::engine::outputs::owner::Owner;
use crate::store::{Since, Store, Written};

/// The name of the file in each folder that says what it holds.
pub(in crate::engine::outputs) const NOTE: &str = ".tomoflow.json";

/// Whether a name in a note is that of a file in the folder itself.
pub(in crate::engine::outputs) fn is_plain(name: &str) -> bool {
    !name.contains('/') && !name.starts_with('.')
}

/// What a folder holds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Note {
    /// Files by entry: all that they are made from, by its digest.
    pub(super) present: BTreeMap<String, Vec<String>>,
    /// Files that were being written: after a crash, nobody knows whether they are there.
    pub(super) pending: BTreeSet<String>,
    /// The owner of the folder; an earlier version did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<Owner>,
    /// The patient's and study's fields that a DICOM object carries of its scan's file, by entry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) carried: BTreeMap<String, Carried>,
}

impl Folder {
    /// Reads what the folder held when it was last written to.
    pub(super) fn read_note(&self) -> Note {
        let text = fs::read(self.files.path.join(NOTE)).unwrap_or_default();
        let mut note: Note = serde_json::from_slice(&text).unwrap_or_default();
        note.pending.retain(|name| is_plain(name));
        note.present.retain(|_, names| names.iter().all(|name| is_plain(name)));
        note
    }

    /// A folder whose note is gone holds what the store knows to be written there: it goes unless it is written again.
    /// What somebody changed since stays.
    pub(super) fn recall(&self, with: &With<'_>, note: &mut Note) {
        if !(note.present.is_empty() && note.pending.is_empty()) {
            return;
        }
        for (path, written) in with.store.written_below(&self.files.path).unwrap_or_default() {
            let whole = matches!(written.since(&path, false), Ok(Since::Same | Since::Touched(_)));
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(NOTE);
            if whole && path.parent() == Some(&*self.files.path) && !name.starts_with('.') {
                note.pending.insert(name.to_owned());
            }
        }
    }

    /// Entries whose files are not what was written are not there: they are written again.
    pub(super) fn check(&self, with: &With<'_>, note: &mut Note, edited: &mut Few) {
        let paths: Vec<PathBuf> =
            note.present.values().flatten().map(|name| self.files.path.join(name)).collect();
        let known = with.store.written(&paths).unwrap_or_else(|_| vec![None; paths.len()]);
        let found: Vec<Found> = paths.into_par_iter().zip(known).map(found).collect();
        let mut wrong = BTreeSet::new();
        let mut keep = Vec::new();
        for Found { path, whole, written } in found {
            if !whole {
                edited.add(path.clone());
                wrong.insert(path.clone());
            }
            keep.extend(written.map(|written| (Some(written), path)));
        }
        let is_whole = |name: &String| !wrong.contains(&self.files.path.join(name));
        let (whole, others) =
            std::mem::take(&mut note.present).into_iter().partition(|(_, names)| names.iter().all(is_whole));
        note.present = whole;
        // A file that nothing desired is made into goes as well.
        let others: BTreeMap<String, Vec<String>> = others;
        note.pending.extend(others.into_values().flatten());
        keep_written(with.store, keep);
    }

    pub(super) fn keep_note(&self, store: &Store, note: &Note) {
        let (path, staged) = (self.files.path.join(NOTE), self.files.path.join(".tomoflow.json.partial"));
        let kept = fs::create_dir_all(&self.files.path)
            .and_then(|()| fs::write(&staged, serde_json::to_vec(note)?))
            .and_then(|()| fs::rename(&staged, &path));
        match kept {
            Ok(()) => keep_written(store, vec![(Written::now(&path).ok(), path)]),
            Err(error) => tracing::error!("{} was not written: {error}", path.shown()),
        }
    }
}

/// A file of a folder, as it was found.
struct Found {
    path: PathBuf,
    /// Whether it is what was written.
    whole: bool,
    /// What is to be kept of it, where that is news.
    written: Option<Written>,
}

fn found((path, known): (PathBuf, Option<Written>)) -> Found {
    let (whole, written) = match known.map(|known| known.since(&path, false)) {
        Some(Ok(Since::Same)) => (true, None),
        Some(Ok(Since::Touched(now))) => (true, Some(now)),
        Some(_) => (false, None),
        // An earlier version wrote it, and nobody knows how it was.
        None => (path.is_file(), Written::found(&path).ok()),
    };
    Found { path, whole, written }
}

/// Keeps how files were written; what is not kept is written once more by the next run.
pub(super) fn keep_written(store: &Store, files: Vec<(Option<Written>, PathBuf)>) {
    let files: Vec<_> = files.into_iter().map(|(written, path)| (path, written)).collect();
    if let Err(error) = store.keep_written(&files) {
        tracing::error!("the digests of mask files are not recorded: {error}");
    }
}
