//! Prepared cases that stay in their artifacts: each is checked once, and read where a sample lies.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tomoflow_connectors::{Digest, Reject};

use super::artifact::{Heading, PreparedArtifact};
use crate::operators::samples::dataset::{ByPlace, Gathering, PreparedCase};
use crate::store::Artifacts;

/// Artifacts that are open at once: a process may have so many files open, a data set more cases.
const OPEN: usize = 64;

/// The artifacts of a training's cases.
#[derive(Debug)]
pub(super) struct Files {
    artifacts: Artifacts,
    /// Those read last are the last ones.
    open: Mutex<VecDeque<(PathBuf, Arc<File>)>>,
    /// Why one could not be read: it says nothing about the training.
    failed: Mutex<Option<String>>,
}

impl Files {
    /// None is open.
    pub fn new(artifacts: Artifacts) -> Arc<Self> {
        Arc::new(Self { artifacts, open: Mutex::default(), failed: Mutex::default() })
    }

    /// A case, named by content, of which no voxel is in memory, and the names of its labels.
    pub fn case(
        self: &Arc<Self>,
        digest: Digest,
        drawn: bool,
    ) -> Result<(PreparedCase, Vec<String>), Reject> {
        let path = self.artifacts.path(digest);
        let unread = |error: &dyn std::fmt::Display| {
            Reject::new("STORE", error.to_string(), "it is made again at the next run")
        };
        let file = File::open(&path).map_err(|error| unread(&error))?;
        let Heading { geometry, label_names, labelled, channels, first } = PreparedArtifact::heading(&file)?;
        if drawn && !labelled {
            return Err(no_labels());
        }
        let mut seen = Gathering::new(geometry.size, channels, drawn)?;
        let mut before = first;
        let look = |bytes: &[u8]| {
            // What stands before the voxels is passed over.
            let passed = before.min(bytes.len() as u64);
            before -= passed;
            seen.take(bytes.get(passed as usize..).unwrap_or_default());
        };
        self.artifacts.look(digest, look).map_err(|error| unread(&error))?;
        let intensities = geometry.voxels() as u64 * channels as u64 * 4;
        let classes = drawn.then_some(first + intensities);
        let place = Arc::new(Filed { files: self.clone(), path, intensities: first, classes });
        let (size, spacing_mm) = (geometry.size, geometry.spacing_mm());
        let case = PreparedCase::by_place(digest.short(), size, spacing_mm, drawn, seen, place)?;
        Ok((case, label_names))
    }

    /// Why an artifact could not be read, if one could not.
    pub fn failed(&self) -> Option<Reject> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Reject::new("STORE", failed, "it is tried again at the next run"))
    }

    fn opened(&self, path: &Path) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open.iter().position(|(known, _)| known == path);
        if let Some(found) = known.and_then(|at| open.remove(at)) {
            let file = found.1.clone();
            open.push_back(found);
            return Ok(file);
        }
        let file = Arc::new(File::open(path)?);
        while open.len() >= OPEN {
            open.pop_front();
        }
        open.push_back((path.to_owned(), file.clone()));
        Ok(file)
    }

    fn read(&self, path: &Path, at: u64, into: &mut [u8]) -> Result<(), String> {
        let read = self.opened(path).and_then(|file| file.read_exact_at(into, at));
        read.map_err(|error| {
            let message = format!("a prepared case in the store, {}: {error}", path.display());
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(message.clone());
            message
        })
    }
}

/// One case in its artifact.
#[derive(Debug)]
struct Filed {
    files: Arc<Files>,
    path: PathBuf,
    /// The byte of the first intensity.
    intensities: u64,
    /// The byte of the first class; none where nobody has drawn the case.
    classes: Option<u64>,
}

impl ByPlace for Filed {
    fn intensities(&self, first: usize, into: &mut [f32]) -> Result<(), String> {
        let mut bytes = vec![0; into.len() * 4];
        self.files.read(&self.path, self.intensities + first as u64 * 4, &mut bytes)?;
        for (value, bytes) in into.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        Ok(())
    }

    fn classes(&self, first: usize, into: &mut [u8]) -> Result<(), String> {
        match self.classes {
            Some(at) => self.files.read(&self.path, at + first as u64, into),
            None => {
                into.fill(0);
                Ok(())
            }
        }
    }
}

/// A case to learn from that nobody has drawn.
pub(super) fn no_labels() -> Reject {
    Reject::new("NO_LABELS", "samples need labels, a prepared case has none", "give it outlines")
}
