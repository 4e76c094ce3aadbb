//! What a look left out, could not read or kept although it is gone: told in lines, by name.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tomoflow_connectors::dicom::{Few, PassedOver, Walk};
use tomoflow_connectors::shown::Shown as _;

use super::Archive;
use crate::pipeline::Identifiers;

/// The largest number of paths that could not be looked at and get a row; a line tells how many there are in
/// all.
const ROWS: usize = 1000;

/// A folder that held cases at the last run, and holds none now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Emptied {
    pub(super) folder: PathBuf,
    /// The number of cases that the folder held.
    pub(super) cases: usize,
}

/// What the last look at everything has to tell.
#[derive(Debug, Default)]
pub(super) struct ToldOf {
    passed: BTreeMap<PathBuf, PassedOver>,
    /// What could not be looked at, by what the system said.
    unseen: BTreeMap<String, Few>,
    /// The first of it, with what the system said: each gets a row in `rejects`.
    rows: BTreeMap<PathBuf, String>,
    emptied: Vec<Emptied>,
    /// Cases that are gone, each by one of its files.
    gone: Few,
}

impl ToldOf {
    /// A walk has ended.
    pub(super) fn walked(&mut self, root: &Path, walk: Walk) {
        self.passed.insert(root.to_owned(), walk.passed_over().clone());
        let notes = walk.notes();
        if !notes.is_empty() {
            // A run that goes on says so in its log alone.
            tracing::warn!("{} folders or files of an archive could not be read", notes.len());
        }
        for note in notes {
            self.unread(&note.path, &note.source);
        }
    }

    /// A folder holds no case any more; a run that goes on says so in its log.
    pub(super) fn emptied(&mut self, emptied: Emptied, log: bool) {
        if log {
            tracing::warn!("a folder below a source holds no case any more; what was known of it stays");
        }
        // Folders of several sources lie within each other.
        if !self.emptied.contains(&emptied) {
            self.emptied.push(emptied);
        }
    }

    /// A case is gone.
    pub(super) fn gone(&mut self, path: &Path) {
        // Folders of several sources lie within each other.
        if !self.gone.first.iter().any(|known| known == path) {
            self.gone.add(path.to_owned());
        }
    }

    /// Notes that something could not be looked at.
    pub(super) fn unread(&mut self, path: &Path, error: &io::Error) {
        tracing::debug!("{}: {error}", path.shown());
        let few = self.unseen.entry(error.to_string()).or_default();
        // Folders of several sources lie within each other.
        if !few.first.iter().any(|known| known == path) {
            few.add(path.to_owned());
        }
        if self.rows.len() < ROWS {
            self.rows.insert(path.to_owned(), error.to_string());
        }
    }

    /// Notes that something was looked at that could not be before.
    pub(super) fn read(&mut self, path: &Path) {
        self.rows.remove(path);
    }

    /// Returns what lies below a folder and could not be looked at, with what the system said.
    pub(super) fn unread_below<'a>(&'a self, root: &'a Path) -> impl Iterator<Item = (&'a Path, &'a str)> {
        let rows = self.rows.iter().filter(move |(path, _)| path.starts_with(root));
        rows.map(|(path, why)| (path.as_path(), why.as_str()))
    }
}

impl Archive {
    /// Returns what the last look left out, could not read or kept although it is gone, in lines.
    pub fn told_of(&self) -> Vec<String> {
        // Paths may hold names: they are for those who ask for them.
        let clear = self.plan.settings.identifiers == Identifiers::Clear;
        let mut lines: Vec<String> =
            self.told_of.emptied.iter().map(|emptied| line(emptied, clear)).collect();
        let gone = &self.told_of.gone;
        if gone.count > 0 {
            let cases = if gone.count == 1 { "case is" } else { "cases are" };
            let names = if clear { format!(": {}", gone.names(Path::new(""))) } else { String::new() };
            lines.push(format!(
                "{} {cases} gone since the last look, and their rows with them{names}",
                gone.count
            ));
        }
        for (why, few) in &self.told_of.unseen {
            let (count, names) = (few.count, few.names(Path::new("")));
            let files = if count == 1 { "file or folder" } else { "files or folders" };
            let names = if clear { format!(": {names}") } else { String::new() };
            lines.push(format!(
                "{count} {files} could not be read ({why}), what was known stays and is looked at again{names}"
            ));
        }
        let passed = self.told_of.passed.iter();
        lines.extend(passed.flat_map(|(root, passed)| passed.lines(clear.then_some(root))));
        lines
    }

    /// Folders that held cases at the last run and hold none now, and of which all was kept.
    pub fn emptied(&self) -> usize {
        self.told_of.emptied.len()
    }
}

fn line(emptied: &Emptied, clear: bool) -> String {
    let Emptied { folder, cases } = emptied;
    match clear {
        true => {
            let folder = folder.shown();
            format!(
                "{folder} held {cases} cases at the last run, none are found now: what was known of them is kept; \
                 mount it, or say `--accept-empty={folder}` if they are gone for good"
            )
        }
        false => format!(
            "a folder of a source held {cases} cases at the last run, none are found now: what was known of them is \
             kept; mount it, or name it to `--accept-empty=` if they are gone for good"
        ),
    }
}
