//! Folders that sinks of a pipeline wrote into and that no sink names any more: their files stay, and are told of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tomoflow_connectors::shown::Shown as _;

use super::folders::{NOTE, is_plain, notes};
use super::owner::Owner;
use crate::pipeline::{Plan, resolved};
use crate::store::Store;

/// What a folder's note says of it.
#[derive(Deserialize)]
struct Note {
    #[serde(default)]
    present: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    owner: Option<Owner>,
}

/// The folders that sinks wrote into at any time and that no sink of the pipeline names. A run writes into none but those
/// that it names, so that they stay the same as long as it goes on.
pub(in crate::engine) fn folders(plan: &Plan, store: &Store) -> BTreeSet<PathBuf> {
    let known = match store.written_as(NOTE) {
        Ok(known) => known,
        Err(error) => {
            tracing::error!("folders that no sink names any more cannot be told of: {error}");
            return BTreeSet::new();
        }
    };
    let folder = |note: &PathBuf| note.parent().map(resolved);
    let named: BTreeSet<PathBuf> = notes(plan).iter().filter_map(folder).collect();
    known.iter().filter_map(folder).filter(|folder| !named.contains(folder)).collect()
}

/// Returns a line for each of these folders that holds files of this pipeline.
pub(in crate::engine) fn told(plan: &Plan, store: &Store, folders: &BTreeSet<PathBuf>) -> Vec<String> {
    folders.iter().filter_map(|folder| line(plan, store, folder)).collect()
}

/// Says how many files of the pipeline a folder holds, if there are any. One whose note is gone, or says that the
/// folder is another's, holds none.
fn line(plan: &Plan, store: &Store, folder: &Path) -> Option<String> {
    let path = folder.join(NOTE);
    let text = path.is_file().then(|| fs::read(path).ok())??;
    let note: Note = serde_json::from_slice(&text).ok()?;
    // Where a pipeline and its folders were copied, those of before are the original's.
    let owner = note.owner?;
    if Owner::of(plan, store, folder)? != owner {
        return None;
    }
    let names: BTreeSet<String> = note.present.into_values().flatten().collect();
    let count = names.iter().filter(|name| is_plain(name)).filter(|name| folder.join(name).is_file()).count();
    let files = if count == 1 { "file" } else { "files" };
    let text = format!(
        "{} still holds {count} {files} that a sink of this pipeline wrote there, and no sink names the folder any more: \
         nothing keeps them up to date; remove them, or `{NOTE}` beside them to keep them as they are",
        folder.shown()
    );
    (count > 0).then_some(text)
}
