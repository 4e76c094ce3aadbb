//! Prepared cases that stay in their artifacts: each is checked once, and read where a sample lies.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tomoflow_connectors::{Digest, Reject};

use super::artifact::{Heading, PreparedArtifact};
use super::beside::known;
use crate::operators::samples::dataset::{ByPlace, Gathering, PreparedCase};
use crate::store::Artifacts;

/// Artifacts that are open at once: a process may have so many files open, a data set more cases.
const OPEN: usize = 64;

/// The artifacts of a training's cases.
#[derive(Debug)]
pub(super) struct Files {
    artifacts: Artifacts,
    /// The open files: those read last are the last ones.
    open: Mutex<VecDeque<(PathBuf, Arc<File>)>>,
    /// The reason why a file could not be read: it says nothing about the training.
    failed: Mutex<Option<String>>,
}

impl Files {
    /// Begins with no file open.
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
        let Heading { geometry, label_names, labelled, channels, boxes, unknown, first } =
            PreparedArtifact::heading(&file).or_else(|reject| {
                // An artifact that is not what its name says is removed, and made again.
                self.artifacts.look(digest, |_| ()).map_err(|error| unread(&error))?;
                Err(reject)
            })?;
        if drawn && !labelled {
            return Err(no_labels());
        }
        let mut seen = Gathering::new(geometry.size, channels, drawn)?;
        let mut before = first;
        let look = |bytes: &[u8]| {
            // The bytes before the voxels are passed over.
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
        let case = if drawn { known(case, boxes, unknown, &label_names) } else { case };
        Ok((case, label_names))
    }

    /// Returns why an artifact could not be read, if one could not.
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

#[cfg(test)]
mod tests {
    use tomoflow_connectors::{Geometry, LabelMap, Scan};

    use super::*;
    use crate::operators::value::Case;
    use crate::store::Store;

    fn case() -> Case {
        let geometry = Geometry::axis_aligned([3, 4, 5], [2.0, 1.0, 1.0]);
        let scan = Scan::new(geometry.clone(), (0..60).map(|i| i as f32 * 0.5 - 3.0).collect()).unwrap();
        let labels =
            LabelMap::new(geometry.clone(), (0..60).map(|i| u16::from(i % 7 == 0)).collect()).unwrap();
        Case {
            channels: None,
            scan: Arc::new(scan),
            labels: Some(Arc::new(labels)),
            original: Arc::new(geometry),
            label_names: ["tumour".to_owned()].into(),
            padding: None,
        }
    }

    #[test]
    fn a_case_in_its_artifact_is_the_case_in_memory() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let case = case();
        let digest = store.artifacts().put(&PreparedArtifact::encode(&case, None).unwrap()).unwrap();
        let files = Files::new(store.artifacts().clone());
        let (filed, names) = files.case(digest, true).unwrap();
        let held = PreparedCase::from_case(digest.short(), &case).unwrap();
        assert_eq!(names, ["tumour"]);
        assert_eq!(
            (filed.scan().unwrap(), filed.labels().unwrap()),
            (held.scan().unwrap(), held.labels().unwrap())
        );
        assert_eq!((filed.size(), filed.spacing_mm()), (held.size(), held.spacing_mm()));
        assert_eq!((filed.present(), filed.is_drawn(), filed.channels()), (held.present(), true, 1));
        // The case is read as one that nobody has drawn, whatever its file says.
        let (undrawn, _) = files.case(digest, false).unwrap();
        assert!(!undrawn.is_drawn() && undrawn.labels().unwrap().iter().all(|label| *label == 0));
        let bare = Case { labels: None, ..case };
        let bare = store.artifacts().put(&PreparedArtifact::encode(&bare, None).unwrap()).unwrap();
        assert_eq!(files.case(bare, true).unwrap_err().code, "NO_LABELS");
        assert!(files.case(bare, false).is_ok());

        // An artifact that goes while samples are cut says nothing about the training.
        assert!(files.failed().is_none());
        std::fs::remove_file(store.artifacts().path(digest)).unwrap();
        let files = Files::new(store.artifacts().clone());
        assert_eq!(files.case(digest, true).unwrap_err().code, "STORE");
        let gone = Filed {
            files: files.clone(),
            path: store.artifacts().path(digest),
            intensities: 8,
            classes: None,
        };
        assert!(gone.intensities(0, &mut [0.0; 3]).unwrap_err().contains("a prepared case in the store"));
        assert_eq!(files.failed().unwrap().code, "STORE");
    }

    #[test]
    fn damage_is_seen_before_a_sample_is_cut() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let bytes = PreparedArtifact::encode(&case(), None).unwrap();
        let files = Files::new(store.artifacts().clone());
        let digest = store.artifacts().put(&bytes).unwrap();
        let path = store.artifacts().path(digest);
        for end in 0..bytes.len() {
            std::fs::write(&path, &bytes[..end]).unwrap();
            assert_eq!(files.case(digest, true).unwrap_err().code, "STORE", "{end}");
            assert!(!path.exists());
        }
        // A voxel that is another one, and a file that goes on.
        let mut other = bytes.clone();
        other[bytes.len() - 1] ^= 1;
        std::fs::write(&path, &other).unwrap();
        assert_eq!(files.case(digest, true).unwrap_err().code, "STORE");
        assert!(!path.exists());
        std::fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
        assert_eq!(files.case(digest, true).unwrap_err().code, "STORE");
        // An artifact that was written damaged is told of as what it is.
        let short = store.artifacts().put(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(files.case(short, true).unwrap_err().code, "DAMAGED_ARTIFACT");
    }

    #[test]
    fn no_more_files_are_open_than_allowed() {
        let out = tempfile::tempdir().unwrap();
        let store = Store::open(out.path()).unwrap();
        let files = Files::new(store.artifacts().clone());
        for number in 0..OPEN + 5 {
            let path = out.path().join(number.to_string());
            std::fs::write(&path, [number as u8; 4]).unwrap();
            let mut byte = [0];
            files.read(&path, 3, &mut byte).unwrap();
            assert_eq!(byte, [number as u8]);
        }
        assert_eq!(files.open.lock().unwrap().len(), OPEN);
    }
}
