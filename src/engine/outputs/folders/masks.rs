//! The masks of a folder: each is written once, and goes when nothing desired is made into it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::sync::Arc;

use rayon::prelude::*;
use tomoflow_connectors::shown::Shown as _;

use super::note::{Note, keep_written};
use super::{Folder, With};
use crate::engine::outputs::carried::Carried;
use crate::engine::outputs::maskfile::{MaskWriter, a_file_each};
use crate::engine::outputs::owner::foreign;
use crate::engine::outputs::tables::Changes;
use crate::engine::rows::Desired;
use crate::store::Written;

/// Cases written before the note is: a crash leaves no more of them to be written again.
const BATCH: usize = 64;

impl Folder {
    pub(super) fn write(
        &mut self,
        with: &With<'_>,
        add: BTreeMap<String, Arc<Desired>>,
        note: &mut Note,
        changes: &mut Changes,
    ) {
        let With { context, identity, store } = *with;
        let rows: Vec<_> = add.into_iter().collect();
        for batch in rows.chunks(BATCH) {
            let writer = |row: &Desired| match row {
                Desired::Masks { series, mask, from } => {
                    let (files, stage) = (&self.files, from.stage.to_string());
                    let several = self.stages.len() > 1;
                    Some((
                        series.clone(),
                        *mask,
                        MaskWriter { context, identity, files, stage, several, deidentify: false },
                    ))
                }
                _ => None,
            };
            let mut work = Vec::new();
            let own: HashSet<String> =
                note.present.values().flatten().chain(&note.pending).cloned().collect();
            for (entry, row) in batch {
                let Some((series, mask, writer)) = writer(row) else { continue };
                let names = writer.names(&series, mask);
                let others = foreign(store, &self.files.path, &names, |name| own.contains(name));
                self.foreign.retain(|path| !names.iter().any(|name| path.ends_with(name)));
                if others.is_empty() {
                    note.pending.extend(names);
                    work.push((entry, row, (series, mask, writer)));
                } else {
                    for path in &others {
                        tracing::error!("{} is there and no run wrote it: it is not replaced", path.shown());
                    }
                    self.foreign.extend(others);
                    self.missed.insert(row.clone());
                }
            }
            self.keep_note(store, note);
            let written: Vec<_> = work
                .par_iter()
                .map(|(entry, row, (series, mask, writer))| (entry, row, writer.case(series, *mask)))
                .collect();
            let mut known = Vec::new();
            for (entry, row, result) in written {
                match result {
                    Ok(names) => {
                        let paths = names.iter().map(|name| self.files.path.join(name));
                        known.extend(paths.map(|path| (Written::now(&path).ok(), path)));
                        note.pending.retain(|name| !names.contains(name));
                        note.present.insert((*entry).clone(), names);
                        let series = match &***row {
                            Desired::Masks { series, .. } if !a_file_each(self.files.format) => Some(series),
                            _ => None,
                        };
                        let was = note.carried.get(*entry);
                        if let Some(now) = series.and_then(|series| Carried::of(context, series, was)) {
                            note.carried.insert((*entry).clone(), now);
                        }
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
            self.keep_note(store, note);
            keep_written(store, known);
        }
    }

    /// Removes files that nothing desired is made into.
    pub(super) fn remove(
        &self,
        with: &With<'_>,
        outdated: &mut BTreeSet<String>,
        note: &mut Note,
        changes: &mut Changes,
    ) {
        let mut gone: BTreeSet<String> = std::mem::take(&mut note.pending);
        for entry in std::mem::take(outdated) {
            gone.extend(note.present.remove(&entry).into_iter().flatten());
            note.carried.remove(&entry);
            changes.removed += 1;
        }
        // The mask of a scan replaces another under the same name.
        let kept: BTreeSet<&String> = note.present.values().flatten().collect();
        let mut forgotten = Vec::new();
        for name in gone.iter().filter(|name| !kept.contains(name)) {
            let path = self.files.path.join(name);
            forgotten.push((None, path.clone()));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::error!("{} was not removed: {error}", path.shown());
                }
                _ => {}
            }
        }
        self.keep_note(with.store, note);
        keep_written(with.store, forgotten);
    }
}
