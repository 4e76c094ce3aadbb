//! Folders of mask files follow what is desired: what is missing is written, what is no longer desired goes.

mod masks;
mod note;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use tomoflow_connectors::Digest;
use tomoflow_connectors::dicom::Few;

use self::note::Note;
pub(super) use self::note::{NOTE, is_plain};
use super::carried::Carried;
use super::identity::Identity;
use super::maskfile::a_file_each;
use super::owner::{Owner, told_of_foreign};
use super::tables::Changes;
use crate::engine::rows::{Desired, DesiredRows};
use crate::executor::Context;
use crate::operators::registry::Stage;
use crate::operators::sinks::files::Files;
use crate::pipeline::Plan;
use crate::store::Store;

/// Raised when the same mask would be written in another way.
const FILES: &[u8] = b"tomoflow files 1";

/// The folders of one pipeline's sinks.
pub(in crate::engine) struct Folders {
    context: Context,
    identity: Identity,
    store: Arc<Store>,
    folders: Vec<Folder>,
    /// Files that somebody had changed since they were written.
    edited: Few,
}

impl Folders {
    /// The folders that sinks name; none is looked at yet.
    pub fn new(context: Context, identity: Identity, store: Arc<Store>) -> Self {
        let folders = folders(&context.plan);
        Self { context, identity, store, folders, edited: Few::default() }
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
            let with = With { context: &self.context, identity: &self.identity, store: &self.store };
            if folder.note.is_none() {
                folder.open(&with, &mut self.edited);
            }
            folder.converge(&with, desired, changed, ended, changes);
        }
    }

    /// Files that somebody had changed since they were written, in a line; they are written again.
    pub fn edited(&self) -> Option<String> {
        let (count, names) = (self.edited.count, self.edited.names(Path::new("")));
        let files = if count == 1 { "file of a sink was" } else { "files of sinks were" };
        let text = format!("{count} {files} changed or removed by somebody, and put back: {names}");
        (count > 0).then_some(text)
    }

    /// Names folders of other pipelines and files of somebody else that sinks would have replaced, a line for
    /// each kind.
    pub fn refused(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.folders.iter().filter_map(|folder| folder.others.clone()).collect();
        let foreign = self.folders.iter().filter(|folder| !folder.foreign.is_empty());
        lines.extend(foreign.map(|folder| told_of_foreign(&folder.files.path, &folder.foreign)));
        lines
    }

    /// Masks that could not be written, as far as is known.
    pub fn unwritten(&self) -> usize {
        self.folders.iter().map(|folder| folder.missed.len()).sum()
    }
}

/// What folders are written with.
struct With<'a> {
    context: &'a Context,
    identity: &'a Identity,
    store: &'a Store,
}

/// One folder.
struct Folder {
    files: Files,
    /// The stages whose masks it holds.
    stages: BTreeSet<String>,
    /// What it holds; read at first.
    note: Option<Note>,
    /// Whether it has not been compared with all that is desired.
    first: bool,
    /// Entries that are no longer desired, and go when no action is under way.
    outdated: BTreeSet<String>,
    /// Masks that could not be written.
    missed: BTreeSet<Arc<Desired>>,
    /// What is said of it when it is another pipeline's: nothing is written then.
    others: Option<String>,
    /// Files of somebody else that stand where masks belong.
    foreign: BTreeSet<PathBuf>,
}

impl Folder {
    /// Reads what it holds, unless that is another pipeline's.
    fn open(&mut self, with: &With<'_>, edited: &mut Few) {
        let mut note = self.read_note();
        let owner = Owner::of(&with.context.plan, with.store, &self.files.path);
        let holds = !note.present.is_empty() || !note.pending.is_empty();
        let is_other = |known: &&Owner| holds && owner.as_ref().is_some_and(|own| !known.is(own));
        if let Some(other) = note.owner.as_ref().filter(is_other) {
            let told = other.told(&self.files.path);
            tracing::error!("{told}");
            self.others = Some(told);
        } else {
            // A note of an earlier version says it once it is written anew.
            let news = owner.is_some() && note.owner.is_some() && note.owner != owner;
            note.owner = owner.or(note.owner);
            self.recall(with, &mut note);
            self.check(with, &mut note, edited);
            if holds && news {
                self.keep_note(with.store, &note);
            }
        }
        self.note = Some(note);
        self.first = true;
    }

    fn converge(
        &mut self,
        with: &With<'_>,
        desired: &DesiredRows,
        changed: &BTreeSet<Arc<Desired>>,
        ended: bool,
        changes: &mut Changes,
    ) {
        if self.others.is_some() {
            let goes_here = |row: &&Arc<Desired>| match &***row {
                Desired::Masks { from, .. } => self.stages.contains(&*from.stage),
                _ => false,
            };
            self.missed = desired.keys().filter(goes_here).cloned().collect();
            return;
        }
        let first = std::mem::take(&mut self.first);
        let mut note = self.note.take().unwrap_or_default();
        let (missed, mut outdated) = (std::mem::take(&mut self.missed), std::mem::take(&mut self.outdated));
        let entry = |row: &Desired| self.entry(with.identity, row);
        let mut add: BTreeMap<String, Arc<Desired>> = BTreeMap::new();
        // A run's end is often enough to try again.
        let (again, later) = if ended { (missed, BTreeSet::new()) } else { (BTreeSet::new(), missed) };
        if first {
            let wanted: BTreeMap<String, &Arc<Desired>> =
                desired.keys().filter_map(|row| Some((entry(row)?, row))).collect();
            self.renew(with, &wanted, &mut note);
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
            self.write(with, add, &mut note, changes);
            if ended {
                self.remove(with, &mut outdated, &mut note, changes);
            }
            if changes.added + changes.removed > before {
                changes.folders.insert(name);
            }
        }
        self.outdated = outdated;
        self.note = Some(note);
    }

    /// Has DICOM objects written again whose scan's file names another patient or study by now.
    fn renew(&self, with: &With<'_>, wanted: &BTreeMap<String, &Arc<Desired>>, note: &mut Note) {
        if a_file_each(self.files.format) {
            return;
        }
        let Note { present, carried, .. } = note;
        carried.retain(|entry, _| present.contains_key(entry));
        let there: Vec<_> = wanted.iter().filter(|(entry, _)| present.contains_key(*entry)).collect();
        let now = |(entry, row): (&String, &&Arc<Desired>)| {
            let Desired::Masks { series, .. } = &***row else { return None };
            Some((entry.clone(), Carried::of(with.context, series, carried.get(entry))?))
        };
        let now: Vec<(String, Carried)> = there.into_par_iter().filter_map(now).collect();
        for (entry, now) in now {
            // An earlier version did not say what they carry.
            if !carried.get(&entry).is_some_and(|known| known.same(&now)) {
                note.pending.extend(present.remove(&entry).into_iter().flatten());
            }
            carried.insert(entry, now);
        }
    }

    /// Returns what a mask's file is made from, if it goes here.
    fn entry(&self, identity: &Identity, row: &Desired) -> Option<String> {
        let Desired::Masks { series, mask, from } = row else { return None };
        self.stages.contains(&*from.stage).then_some(())?;
        // Plain values always serialise.
        let how = serde_json::to_vec(&Files { path: PathBuf::new(), ..self.files.clone() });
        let (series, identity) =
            (postcard::to_stdvec(&series.shown()).unwrap_or_default(), identity.digest());
        let parts =
            [FILES, identity.as_slice(), &how.unwrap_or_default(), from.stage.as_bytes(), &series, &mask.0];
        Some(Digest::of_parts(parts).to_string())
    }
}

/// The files that a pipeline's sinks have written, as their folders' notes say, and the notes themselves.
pub(in crate::engine) fn written_by(plan: &Plan) -> Vec<PathBuf> {
    let of = |folder: Folder| {
        let note = folder.files.path.join(NOTE);
        let names = folder.read_note().present.into_values().flatten();
        let mut files: Vec<PathBuf> = names.map(|name| folder.files.path.join(name)).collect();
        if note.is_file() {
            files.push(note);
        }
        files
    };
    folders(plan).into_iter().flat_map(of).collect()
}

/// Returns where the notes of a pipeline's folders lie, or should.
pub(in crate::engine) fn notes(plan: &Plan) -> Vec<PathBuf> {
    folders(plan).into_iter().map(|folder| folder.files.path.join(NOTE)).collect()
}

fn folders(plan: &Plan) -> Vec<Folder> {
    let folder = |stage: &crate::pipeline::PlannedStage| {
        let Stage::Files(files) = &stage.stage else { return None };
        Some(Folder {
            files: files.clone(),
            stages: stage.inputs.iter().map(|&input| plan.stages[input].name.clone()).collect(),
            note: None,
            first: false,
            outdated: BTreeSet::new(),
            missed: BTreeSet::new(),
            others: None,
            foreign: BTreeSet::new(),
        })
    };
    plan.stages.iter().filter_map(folder).collect()
}
