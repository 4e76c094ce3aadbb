//! Folders of mask files follow what is desired: what is missing is written, what is no longer desired goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tomoflow_connectors::Digest;

use super::identity::Identity;
use super::maskfile::MaskWriter;
use super::tables::Changes;
use crate::engine::rows::{Desired, DesiredRows};
use crate::executor::Context;
use crate::operators::registry::Stage;
use crate::operators::sinks::files::Files;
use crate::pipeline::Plan;

/// Raised when the same mask would be written in another way.
const FILES: &[u8] = b"tomoflow files 1";

/// In each folder, what it holds.
const NOTE: &str = ".tomoflow.json";

/// Cases written before the note is: a crash leaves no more of them to be written again.
const BATCH: usize = 64;

/// The folders of one pipeline's sinks.
pub(in crate::engine) struct Folders {
    context: Context,
    identity: Identity,
    folders: Vec<Folder>,
}

impl Folders {
    /// The folders that sinks name; none is looked at yet.
    pub fn new(context: Context, identity: Identity) -> Self {
        let folders = folders(&context.plan);
        Self { context, identity, folders }
    }

    /// Brings every folder to the desired set. What cannot be written is told in the log, and tried again the
    /// next time; nothing goes while a run goes on (`ended` is false).
    pub fn converge(
        &mut self,
        desired: &DesiredRows,
        changed: &BTreeSet<Arc<Desired>>,
        ended: bool,
        changes: &mut Changes,
    ) {
        for folder in &mut self.folders {
            let (context, identity) = (&self.context, &self.identity);
            folder.converge(context, identity, desired, changed, ended, changes);
        }
    }

    /// Masks that could not be written, as far as is known.
    pub fn unwritten(&self) -> usize {
        self.folders.iter().map(|folder| folder.missed.len()).sum()
    }
}

/// One folder.
struct Folder {
    files: Files,
    /// The stages whose masks it holds.
    stages: BTreeSet<String>,
    /// What it holds; read at first.
    note: Option<Note>,
    /// Entries that are no longer desired, and go when no action is under way.
    outdated: BTreeSet<String>,
    /// Masks that could not be written.
    missed: BTreeSet<Arc<Desired>>,
}

/// What a folder holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// Files by entry: all that they are made from, by its digest.
    present: BTreeMap<String, Vec<String>>,
    /// Files that were being written: after a crash, nobody knows whether they are there.
    pending: BTreeSet<String>,
}

impl Folder {
    fn converge(
        &mut self,
        context: &Context,
        identity: &Identity,
        desired: &DesiredRows,
        changed: &BTreeSet<Arc<Desired>>,
        ended: bool,
        changes: &mut Changes,
    ) {
        let first = self.note.is_none();
        let mut note = self.note.take().unwrap_or_else(|| self.read_note());
        let (missed, mut outdated) = (std::mem::take(&mut self.missed), std::mem::take(&mut self.outdated));
        let entry = |row: &Desired| self.entry(identity, row);
        let mut add: BTreeMap<String, Arc<Desired>> = BTreeMap::new();
        // A run's end is often enough to try again.
        let (again, later) = if ended { (missed, BTreeSet::new()) } else { (BTreeSet::new(), missed) };
        if first {
            let wanted: BTreeMap<String, &Arc<Desired>> =
                desired.keys().filter_map(|row| Some((entry(row)?, row))).collect();
            outdated = note.present.keys().filter(|entry| !wanted.contains_key(*entry)).cloned().collect();
            let absent = wanted.into_iter().filter(|(entry, _)| !note.present.contains_key(entry));
            add.extend(absent.map(|(entry, row)| (entry, row.clone())));
        } else {
            for row in changed.iter().chain(&again) {
                let Some(entry) = entry(row) else { continue };
                match (desired.contains_key(row), note.present.contains_key(&entry)) {
                    (true, true) => drop(outdated.remove(&entry)),
                    (true, false) => drop(add.insert(entry, row.clone())),
                    (false, true) => drop(outdated.insert(entry)),
                    (false, false) => {}
                }
            }
        }
        self.missed = later;
        if !add.is_empty() || (ended && (!outdated.is_empty() || !note.pending.is_empty())) {
            let name = self.files.path.display().to_string();
            let before = changes.added + changes.removed;
            self.write(context, identity, add, &mut note, changes);
            if ended {
                self.remove(&mut outdated, &mut note, changes);
            }
            if changes.added + changes.removed > before {
                changes.folders.insert(name);
            }
        }
        self.outdated = outdated;
        self.note = Some(note);
    }

    /// What a mask's file is made from, if it goes here.
    fn entry(&self, identity: &Identity, row: &Desired) -> Option<String> {
        let Desired::Masks { series, mask, from } = row else { return None };
        self.stages.contains(&*from.stage).then_some(())?;
        // Plain values always serialise.
        let how = serde_json::to_vec(&Files { path: PathBuf::new(), ..self.files.clone() });
        let (series, identity) = (postcard::to_stdvec(series).unwrap_or_default(), identity.digest());
        let parts =
            [FILES, identity.as_slice(), &how.unwrap_or_default(), from.stage.as_bytes(), &series, &mask.0];
        Some(Digest::of_parts(parts).to_string())
    }

    fn write(
        &mut self,
        context: &Context,
        identity: &Identity,
        add: BTreeMap<String, Arc<Desired>>,
        note: &mut Note,
        changes: &mut Changes,
    ) {
        let rows: Vec<_> = add.into_iter().collect();
        for batch in rows.chunks(BATCH) {
            let writer = |row: &Desired| match row {
                Desired::Masks { series, mask, from } => {
                    let (files, stage) = (&self.files, from.stage.to_string());
                    let several = self.stages.len() > 1;
                    Some((series.clone(), *mask, MaskWriter { context, identity, files, stage, several }))
                }
                _ => None,
            };
            let work: Vec<_> =
                batch.iter().filter_map(|(entry, row)| Some((entry, row, writer(row)?))).collect();
            note.pending.extend(work.iter().flat_map(|(.., (series, _, writer))| writer.names(series)));
            self.keep_note(note);
            let written: Vec<_> = work
                .par_iter()
                .map(|(entry, row, (series, mask, writer))| (entry, row, writer.case(series, *mask)))
                .collect();
            for (entry, row, result) in written {
                match result {
                    Ok(names) => {
                        note.pending.retain(|name| !names.contains(name));
                        note.present.insert((*entry).clone(), names);
                        changes.added += 1;
                    }
                    Err(reject) => {
                        tracing::error!(
                            entry,
                            "a file of masks was not written, tried again later: {reject}"
                        );
                        self.missed.insert((*row).clone());
                    }
                }
            }
            self.keep_note(note);
        }
    }

    /// Removes files that nothing desired is made into.
    fn remove(&self, outdated: &mut BTreeSet<String>, note: &mut Note, changes: &mut Changes) {
        let mut gone: BTreeSet<String> = std::mem::take(&mut note.pending);
        for entry in std::mem::take(outdated) {
            gone.extend(note.present.remove(&entry).into_iter().flatten());
            changes.removed += 1;
        }
        // The mask of a scan replaces another under the same name.
        let kept: BTreeSet<&String> = note.present.values().flatten().collect();
        for name in gone.iter().filter(|name| !kept.contains(name)) {
            let path = self.files.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::error!("{} was not removed: {error}", path.display());
                }
                _ => {}
            }
        }
        self.keep_note(note);
    }

    /// What the folder held when it was last written to; files that somebody took away are not there.
    fn read_note(&self) -> Note {
        let text = fs::read(self.files.path.join(NOTE)).unwrap_or_default();
        let mut note: Note = serde_json::from_slice(&text).unwrap_or_default();
        let plain = |name: &String| !name.contains('/') && !name.starts_with('.');
        note.pending.retain(plain);
        note.present
            .retain(|_, names| names.iter().all(|name| plain(name) && self.files.path.join(name).is_file()));
        note
    }

    fn keep_note(&self, note: &Note) {
        let (path, staged) = (self.files.path.join(NOTE), self.files.path.join(".tomoflow.json.partial"));
        let kept = fs::create_dir_all(&self.files.path)
            .and_then(|()| fs::write(&staged, serde_json::to_vec(note)?))
            .and_then(|()| fs::rename(&staged, &path));
        if let Err(error) = kept {
            tracing::error!("{} was not written: {error}", path.display());
        }
    }
}

fn folders(plan: &Plan) -> Vec<Folder> {
    let folder = |stage: &crate::pipeline::PlannedStage| {
        let Stage::Files(files) = &stage.stage else { return None };
        Some(Folder {
            files: files.clone(),
            stages: stage.inputs.iter().map(|&input| plan.stages[input].name.clone()).collect(),
            note: None,
            outdated: BTreeSet::new(),
            missed: BTreeSet::new(),
        })
    };
    plan.stages.iter().filter_map(folder).collect()
}
