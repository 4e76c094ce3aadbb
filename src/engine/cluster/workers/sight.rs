//! Whether a worker sees the files that the run sees, at the same places: asked and answered by content.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Digest, private, reading};

use crate::operators::registry::Stage;
use crate::operators::source::LabelsIn;
use crate::pipeline::Plan;

/// The number of bytes of a file that are compared.
const COMPARED: u64 = 64 << 10;
/// The number of entries of a source that are looked at until a file is found.
const ENTRIES: usize = 4096;

/// What a worker is asked to look at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Question {
    /// The folder of the store.
    pub store: PathBuf,
    /// A file in it that is of this run alone, then one of each source that has files.
    pub files: Vec<PathBuf>,
}

/// What a worker sees.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// What each file holds, in the order of the question; why not, where it cannot be read.
    pub files: Vec<Result<Digest, String>>,
    /// A file that it wrote into the store, by its name in the folder for what is staged, and what it wrote; why not, where
    /// it could not.
    pub wrote: Result<(String, Digest), String>,
}

/// A question of this run, with the mark that it laid into its store; it goes with it.
pub struct Sight {
    question: Question,
    mark: PathBuf,
}

impl Sight {
    /// Lays a mark into the store, and finds a file of each source.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn new(plan: &Plan) -> io::Result<Self> {
        let store = plan.settings.out.join("store");
        let mark = staging(&store).join(format!("run.{:016x}", rand::random::<u64>()));
        private::write(&mark, &rand::random::<[u8; 32]>())?;
        let files = roots(plan).into_iter().filter_map(|root| first_file(&root));
        let files = std::iter::once(mark.clone()).chain(files).collect();
        Ok(Self { question: Question { store, files }, mark })
    }

    /// Returns the question that a worker is asked.
    pub fn question(&self) -> Question {
        self.question.clone()
    }

    /// Whether somebody sees what the run sees.
    ///
    /// # Errors
    /// What it does not see.
    pub fn judge(&self, answer: &Answer) -> Result<(), String> {
        for (at, path) in self.question.files.iter().enumerate() {
            // A file that went meanwhile tells nothing.
            let Ok(here) = content(path) else { continue };
            match answer.files.get(at) {
                Some(Ok(there)) if *there == here => {}
                Some(Ok(_)) => return Err(format!("{} holds something else there", path.display())),
                Some(Err(why)) => return Err(format!("{}: {why}", path.display())),
                None => return Err(format!("{}: nothing was said of it", path.display())),
            }
        }
        let (name, there) =
            answer.wrote.as_ref().map_err(|why| format!("{}: {why}", self.question.store.display()))?;
        if !is_plain(name) {
            return Err("what it wrote has a name of another folder".to_owned());
        }
        let path = staging(&self.question.store).join(name);
        let here = content(&path);
        drop(fs::remove_file(&path));
        match here {
            Ok(here) if here == *there => Ok(()),
            _ => Err(format!("{} holds nothing of what it wrote", self.question.store.display())),
        }
    }
}

impl Drop for Sight {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.mark));
    }
}

/// Looks at what is asked for, and leaves a mark in the store.
pub fn look(question: &Question) -> Answer {
    let files = question.files.iter().map(|path| content(path).map_err(|error| error.to_string()));
    let (name, mark) = (format!("worker.{:016x}", rand::random::<u64>()), rand::random::<[u8; 32]>());
    let path = staging(&question.store).join(&name);
    let wrote = private::write(&path, &mark).and_then(|()| content(&path));
    Answer {
        files: files.collect(),
        wrote: wrote.map(|mark| (name, mark)).map_err(|error| error.to_string()),
    }
}

/// A name that leads into no other folder.
fn is_plain(name: &str) -> bool {
    name.strip_prefix("worker.").is_some_and(|rest| rest.bytes().all(|letter| letter.is_ascii_hexdigit()))
}

fn staging(store: &Path) -> PathBuf {
    store.join("staging")
}

/// Hashes what a file holds at its beginning, and how long it is.
fn content(path: &Path) -> io::Result<Digest> {
    let (file, facts) = reading::open(path)?;
    let mut bytes = Vec::new();
    file.take(COMPARED).read_to_end(&mut bytes)?;
    Ok(Digest::of_parts([&facts.len().to_le_bytes()[..], &bytes]))
}

/// The folders of all sources, and tables of labels.
fn roots(plan: &Plan) -> Vec<PathBuf> {
    let of = |stage: &Stage| match stage {
        Stage::Instances(source) => Some(source.root().to_owned()),
        Stage::Scans(source) => Some(source.root().to_owned()),
        Stage::Labels(source) => Some(match source.lies_in() {
            LabelsIn::Objects { root, .. } => root.to_owned(),
            LabelsIn::Files(files) => files.root().to_owned(),
            LabelsIn::Series { instances, .. } => instances.root().to_owned(),
            LabelsIn::Table(path) => path.to_owned(),
        }),
        _ => None,
    };
    let mut roots: Vec<PathBuf> = plan.stages.iter().filter_map(|planned| of(&planned.stage)).collect();
    roots.sort_unstable();
    roots.dedup();
    roots
}

/// A file below a folder, or the file itself; none where none is found soon.
fn first_file(root: &Path) -> Option<PathBuf> {
    let (mut folders, mut left) = (vec![root.to_owned()], ENTRIES);
    if root.is_file() {
        return Some(root.to_owned());
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            left = left.checked_sub(1)?;
            match entry.file_type() {
                Ok(kind) if kind.is_file() => return Some(entry.path()),
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(folder: &Path) -> Sight {
        let store = folder.join("store");
        private::folder(&staging(&store)).unwrap();
        let (mark, scan) = (staging(&store).join("run.1"), folder.join("scan"));
        fs::write(&mark, [1; 32]).unwrap();
        fs::write(&scan, b"voxels").unwrap();
        Sight { question: Question { store, files: vec![mark.clone(), scan] }, mark }
    }

    #[test]
    fn who_sees_the_same_is_told_from_who_does_not() {
        let place = tempfile::tempdir().unwrap();
        let sight = sight(place.path());
        sight.judge(&look(&sight.question())).unwrap();
        assert_eq!(fs::read_dir(staging(&sight.question.store)).unwrap().count(), 1, "nothing is left");
        // Refused: another file of the same name, no file, and a store of the worker's own.
        let refused = |answer: &Answer| sight.judge(answer).unwrap_err();
        let mut answer = look(&sight.question());
        answer.files[1] = Ok(Digest::of(b"others"));
        assert!(refused(&answer).contains("scan holds something else there"));
        answer.files[1] = Err("no such file".to_owned());
        assert!(refused(&answer).contains("scan: no such file"));
        answer.files.truncate(1);
        assert!(refused(&answer).contains("nothing was said of it"));
        let mut answer = look(&sight.question());
        answer.wrote = Ok(("worker.00".to_owned(), Digest::of(b"mine")));
        assert!(refused(&answer).contains("holds nothing of what it wrote"));
        answer.wrote = Ok(("worker./../../scan".to_owned(), Digest::of(b"mine")));
        assert!(refused(&answer).contains("another folder"));
        assert!(place.path().join("scan").is_file());
        answer.wrote = Err("read-only".to_owned());
        assert!(refused(&answer).contains("read-only"));
        let mark = sight.mark.clone();
        drop(sight);
        assert!(!mark.exists());
    }

    #[test]
    fn a_file_is_found_below_folders_and_none_where_there_is_none() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(first_file(place.path()), None);
        let deep = place.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("c"), b"").unwrap();
        assert_eq!(first_file(place.path()), Some(deep.join("c")));
        assert_eq!(first_file(&deep.join("c")), Some(deep.join("c")));
        assert_eq!(first_file(&deep.join("d")), None);
    }
}
