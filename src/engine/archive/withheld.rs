//! Folders that suddenly hold no cases: a share that is not mounted looks like one whose scans were all deleted.
//!
//! A folder below a source is asked about when two cases or more lay in it (series, scans of other formats, or labels
//! where no scans lie), and none of them is there, nor another, nor any under another name. One case that is gone is a
//! deletion, and so is the folder of one case.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use tomoflow_connectors::Digest;
use tomoflow_connectors::container::is_container;

use super::accept::Accept;
use super::look::Compared;
use super::told::Emptied;
use super::{Archive, SourceError};
use crate::store::{Held, Holds, Indexed, Known};

/// The fewest cases that a folder is asked about.
const FEWEST: usize = 2;

/// The cases that lay in a folder.
#[derive(Default)]
struct Lay {
    scans: BTreeSet<String>,
    labels: BTreeSet<String>,
}

impl Archive {
    /// Files that are gone, without those of folders that are asked about, and these as files that are as they were;
    /// `new` are the records of files under names that are new.
    pub(super) fn withhold(
        &mut self,
        root: &Path,
        gone: Vec<Indexed>,
        new: &HashSet<Digest>,
        accept: &Accept,
    ) -> Result<(Vec<Indexed>, Compared), SourceError> {
        let (mut kept, mut lost) = (Compared::default(), Vec::new());
        if gone.is_empty() {
            return Ok((gone, kept));
        }
        let own = self.plan.own_below(root);
        let moved = |file: &Indexed| file.held.record().is_some_and(|record| new.contains(&record));
        let may = |file: &Indexed| {
            let path = &file.stat.path;
            moved(file)
                || accept.folders
                || accept.names(path)
                || own.iter().any(|own| path.starts_with(own))
                || path.exists()
        };
        let asked: Vec<bool> = gone.iter().map(|file| !may(file)).collect();
        let mut alive: BTreeMap<PathBuf, bool> = BTreeMap::new();
        let mut at = 0;
        let mut last = String::new();
        while at < gone.len() {
            let folder =
                if asked[at] { self.emptied_above(root, &gone[at], &gone, &mut alive)? } else { None };
            let Some(folder) = folder else {
                lost.push(gone[at].clone());
                at += 1;
                continue;
            };
            let below = gone[at..].iter().take_while(|file| file.stat.path.starts_with(&folder)).count();
            let files: Vec<(&Indexed, bool)> =
                gone[at..at + below].iter().zip(asked[at..].iter().copied()).collect();
            at += below;
            let cases = self.cases_of(files.iter().filter(|(_, asked)| *asked).map(|(file, _)| *file));
            let withheld = cases >= FEWEST;
            for (file, asked) in files {
                if withheld && asked {
                    self.still(&Known::of(file), &mut last, &mut kept);
                } else {
                    lost.push(file.clone());
                }
            }
            if withheld {
                self.told_of.emptied(Emptied { folder, cases }, self.loaded);
            }
        }
        let gone = lost.iter().filter(|file| !moved(file) && !file.stat.path.exists());
        self.tell_gone(root, &gone.collect::<Vec<_>>())?;
        Ok((lost, kept))
    }

    /// Cases that are gone, each by one of its files; one that has a file left is none.
    fn tell_gone(&mut self, root: &Path, gone: &[&Indexed]) -> Result<(), SourceError> {
        let paths: HashSet<&Path> = gone.iter().map(|file| file.stat.path.as_path()).collect();
        let mut seen = BTreeSet::new();
        for file in gone {
            let cases = match &file.held {
                Held::Image { series, .. } => vec![series.clone()],
                Held::File { .. } => self.claimed_as(&file.stat.path)[0].clone(),
                Held::Outlines { .. } | Held::Nothing { .. } => Vec::new(),
            };
            for case in cases {
                if !seen.insert(case.clone()) {
                    continue;
                }
                let members = self.store.members(&case, root)?;
                let filed =
                    self.filed.iter().filter_map(|cases| cases.get(&case)).flat_map(|files| files.keys());
                let mut left = members.iter().map(|(path, _)| path).chain(filed);
                if left.all(|path| paths.contains(path.as_path())) {
                    self.told_of.gone(&file.stat.path);
                }
            }
        }
        Ok(())
    }

    /// The topmost folder above a file that is gone in which no case is left; none when its own folder has one.
    fn emptied_above(
        &self,
        root: &Path,
        file: &Indexed,
        gone: &[Indexed],
        alive: &mut BTreeMap<PathBuf, bool>,
    ) -> Result<Option<PathBuf>, SourceError> {
        let folders = file.stat.path.ancestors().skip(1).take_while(|above| above.starts_with(root));
        let mut folders: Vec<&Path> = folders.collect();
        folders.reverse();
        // A `.zip` that is gone or empty is a folder that is; what is left in it is as somebody packed it.
        let container = folders.iter().position(|folder| is_container(folder));
        folders.truncate(container.map_or(folders.len(), |place| place + 1));
        for folder in folders {
            let holds = match alive.get(folder) {
                Some(holds) => *holds,
                None => {
                    let is_gone =
                        |path: &Path| gone.binary_search_by(|file| in_order(&file.stat.path, path)).is_ok();
                    let holds =
                        self.store.any_file(folder, |known| self.is_case(known) && !is_gone(known.path))?;
                    alive.insert(folder.to_owned(), holds);
                    holds
                }
            };
            if !holds {
                return Ok(Some(folder.to_owned()));
            }
        }
        Ok(None)
    }

    fn is_case(&self, known: &Known<'_>) -> bool {
        match known.holds {
            Holds::Image { .. } | Holds::Outlines { .. } => true,
            Holds::File { .. } => self.asks_for(known.path),
            Holds::Nothing { .. } => false,
        }
    }

    /// Counts the cases that files are of: scans, or labels where there are no scans.
    fn cases_of<'a>(&self, files: impl Iterator<Item = &'a Indexed>) -> usize {
        let mut lay = Lay::default();
        for file in files {
            match &file.held {
                Held::Image { series, .. } => drop(lay.scans.insert(series.clone())),
                // The record says whose the structure sets are; those of one folder are mostly of several
                // scans.
                Held::Outlines { .. } => {
                    lay.labels.insert(file.stat.path.to_string_lossy().into_owned());
                }
                Held::File { .. } => {
                    let [scans, labels] = self.claimed_as(&file.stat.path);
                    lay.scans.extend(scans);
                    lay.labels.extend(labels);
                }
                Held::Nothing { .. } => {}
            }
        }
        if lay.scans.is_empty() { lay.labels.len() } else { lay.scans.len() }
    }
}

/// The order of the index.
fn in_order(a: &Path, b: &Path) -> std::cmp::Ordering {
    a.as_os_str().cmp(b.as_os_str())
}
