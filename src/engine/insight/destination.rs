//! Where an export writes: not where sources lie, and not over a file that no export wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tomoflow_connectors::dicom::Few;
use tomoflow_connectors::reading;
use tomoflow_connectors::shown::Shown as _;

use crate::engine::error::RunError;
use crate::engine::outputs::maskfile::whole;
use crate::pipeline::{Plan, resolved};
use crate::store::{Since, Written};

/// The name of the file in the folder that lists what exports wrote there.
const NOTE: &str = ".tomoflow-export.json";

/// No note is longer.
const LONGEST: u64 = 256 << 20;

/// The folder of an export. What was written there is noted when it goes out of scope, and a folder that was made for
/// nothing goes again.
pub(super) struct Destination {
    folder: PathBuf,
    /// What exports wrote there, by its path below the folder, as it was then.
    known: BTreeMap<String, Written>,
    /// What this one writes.
    names: BTreeSet<String>,
    /// Folders that were not there, the deepest first.
    absent: Vec<PathBuf>,
}

impl Destination {
    /// A folder that is to be written to.
    ///
    /// # Errors
    /// When it is, holds or lies in what a source reads.
    pub fn of(plan: &Plan, folder: &Path) -> Result<Self, RunError> {
        // A path that is not there yet is looked up by its parents, which a relative path may lack.
        let real = resolved(&std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()));
        for (source, read) in plan.read_places() {
            let how = if real == read {
                "is"
            } else if real.starts_with(&read) {
                "lies in"
            } else if read.starts_with(&real) {
                "holds"
            } else {
                continue;
            };
            let (folder, read) = (folder.shown().to_string(), read.shown().to_string());
            return Err(RunError::ExportIntoSource { folder, how, read, source_stage: source });
        }
        let absent = folder.ancestors().filter(|above| !above.as_os_str().is_empty());
        let absent =
            absent.take_while(|above| above.symlink_metadata().is_err()).map(Path::to_owned).collect();
        // A note that nobody can read says nothing: all that lies there is somebody's then.
        let text = reading::beginning(&folder.join(NOTE), LONGEST).ok();
        let known = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Ok(Self { folder: folder.to_owned(), known, names: BTreeSet::new(), absent })
    }

    /// Whether nothing can be in the way.
    pub fn is_new(&self) -> bool {
        !self.absent.is_empty()
    }

    /// Says which files are going to be written, before any of them is.
    ///
    /// # Errors
    /// When one is there that no export wrote, or that was changed since.
    pub fn claim(&mut self, names: impl IntoIterator<Item = String>) -> Result<(), RunError> {
        let names: BTreeSet<String> = names.into_iter().collect();
        let mut foreign = Few::default();
        for name in names.iter().filter(|name| self.is_foreign(name)) {
            foreign.add(self.folder.join(name));
        }
        if foreign.count > 0 {
            let folder = self.folder.shown().to_string();
            return Err(RunError::ExportOver {
                folder,
                count: foreign.count,
                names: foreign.names(&self.folder),
            });
        }
        self.names.extend(names);
        Ok(())
    }

    /// Files that were written where nothing had been in the way.
    pub fn wrote<'p>(&mut self, paths: impl IntoIterator<Item = &'p PathBuf>) {
        let below = paths.into_iter().filter_map(|path| path.strip_prefix(&self.folder).ok()?.to_str());
        self.names.extend(below.map(str::to_owned));
    }

    /// The files that lie in some of its folders.
    pub fn files_in(&self, folders: &[&str]) -> Vec<String> {
        let mut files = Vec::new();
        for folder in folders {
            let Ok(entries) = fs::read_dir(self.folder.join(folder)) else { continue };
            let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            files.extend(names.filter(|name| !name.starts_with('.')).map(|name| format!("{folder}/{name}")));
        }
        files
    }

    fn is_foreign(&self, name: &str) -> bool {
        let path = self.folder.join(name);
        match path.symlink_metadata() {
            Ok(found) if found.is_file() => {
                let since = self.known.get(name).map(|known| known.since(&path, false));
                !matches!(since, Some(Ok(Since::Same | Since::Touched(_))))
            }
            Ok(_) => true,
            // Nothing is there; whatever else it is, writing says it.
            Err(_) => false,
        }
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        let written = self.names.iter().filter_map(|name| {
            let written = Written::now(&self.folder.join(name)).ok()?;
            Some((name.clone(), written))
        });
        let written: Vec<(String, Written)> = written.collect();
        if !written.is_empty() {
            self.known.extend(written);
            let text = serde_json::to_vec(&self.known).unwrap_or_default();
            if let Err(reject) = whole(self.folder.join(NOTE), |path| fs::write(path, &text)) {
                tracing::error!(
                    "the files of this export are not recorded, so that the next export stops there: {reject}"
                );
            }
        }
        for folder in &self.absent {
            // A folder that is not empty stays.
            let _ = fs::remove_dir(folder);
        }
    }
}
