//! What a worker that does not see the run's files was sent: files of sources for as long as an action needs them, artifacts
//! until there are too many.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tomoflow_connectors::{Digest, container, private};

use super::super::packed::Packed;
use super::words::{Piece, What};
use crate::executor::work::Action;
use crate::store::{Artifacts, Incoming};

/// What lies with a worker for a run whose files it does not see.
pub struct Supply {
    folder: PathBuf,
    artifacts: Artifacts,
    leases: HashMap<u64, Lease>,
    /// Artifacts that are there, the one that came first in front.
    kept: VecDeque<(Digest, u64)>,
    bytes: u64,
    /// Artifacts are let go of when they hold more than this.
    most: u64,
}

/// What an action needs.
struct Lease {
    /// The action; `None` once it has begun.
    job: Option<(Action, Packed)>,
    missing: HashSet<What>,
    files: HashMap<What, Coming>,
    artifacts: BTreeSet<Digest>,
    folder: PathBuf,
}

enum Coming {
    File(File),
    Artifact(Box<Incoming>),
}

impl Supply {
    /// An empty one in a folder of its own.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(folder: &Path, most: u64) -> io::Result<Self> {
        let store = folder.join("store");
        for one in ["store/staging", "store/artifacts", "store/checkpoints", "files"] {
            private::folder(&folder.join(one))?;
        }
        let (folder, artifacts) = (folder.to_owned(), Artifacts::new(&store));
        Ok(Self { folder, artifacts, leases: HashMap::new(), kept: VecDeque::new(), bytes: 0, most })
    }

    /// Returns what is still needed for an action: nothing when it can begin ([`Supply::take`]).
    pub fn begin(&mut self, lease: u64, action: Action, packed: Packed) -> Vec<What> {
        let members = action.work.members().into_iter().flatten().filter_map(|member| member.prepared);
        let work = &action.work;
        let needs = work.artifacts().iter().chain(work.models()).copied().chain(members);
        let artifacts: BTreeSet<Digest> = needs.chain(packed.kept_artifacts()).collect();
        let absent = artifacts.iter().filter(|digest| !self.artifacts.has(**digest));
        let missing: HashSet<What> = absent
            .map(|digest| What::Artifact(*digest))
            .chain(packed.files().map(|(place, _)| What::File(place)))
            .collect();
        let folder = self.folder.join("files").join(lease.to_string());
        let wants = missing.iter().copied().collect();
        let job = Some((action, packed));
        self.leases.insert(lease, Lease { job, missing, files: HashMap::new(), artifacts, folder });
        wants
    }

    /// An action for which nothing is missing any more, with its files where they lie here.
    ///
    /// # Errors
    /// When a file that came is not there.
    pub fn take(&mut self, lease: u64) -> io::Result<Option<(Action, Packed)>> {
        let Some(held) = self.leases.get_mut(&lease).filter(|held| held.missing.is_empty()) else {
            return Ok(None);
        };
        let Some((action, packed)) = held.job.take() else { return Ok(None) };
        let mut here = HashMap::new();
        for (place, file) in packed.files() {
            here.insert(file.path.clone(), container::stat(&place_of(&held.folder, place, &file.path))?);
        }
        Ok(Some((action, packed.moved(&here))))
    }

    /// Takes a piece of what was asked for; whether nothing is missing any more.
    ///
    /// # Errors
    /// When the disk refuses, or what came is not what its name says.
    pub fn add(&mut self, piece: &Piece) -> io::Result<bool> {
        let Some(held) = self.leases.get_mut(&piece.lease) else { return Ok(false) };
        if !held.missing.contains(&piece.what) {
            return Ok(false);
        }
        let mut coming = match held.files.remove(&piece.what) {
            Some(coming) => coming,
            None => match piece.what {
                What::Artifact(digest) => {
                    Coming::Artifact(Box::new(self.artifacts.begin(digest).map_err(io::Error::other)?))
                }
                What::File(place) => {
                    let named = held.job.as_ref().and_then(|(_, packed)| packed.file(place));
                    let path = named.map(|file| place_of(&held.folder, place, &file.path));
                    let path = path.ok_or(io::ErrorKind::NotFound)?;
                    private::folder(path.parent().unwrap_or(&held.folder))?;
                    Coming::File(private::create(&path)?)
                }
            },
        };
        match &mut coming {
            Coming::File(file) => file.write_all(&piece.bytes.0)?,
            Coming::Artifact(artifact) => artifact.add(&piece.bytes.0).map_err(io::Error::other)?,
        }
        if !piece.last {
            held.files.insert(piece.what, coming);
            return Ok(false);
        }
        held.missing.remove(&piece.what);
        let whole = held.missing.is_empty();
        if let Coming::Artifact(artifact) = coming {
            let digest = artifact.digest();
            artifact.keep().map_err(io::Error::other)?;
            self.keep(digest);
        }
        Ok(whole)
    }

    /// Whether an action waits for what it needs.
    pub fn waits(&self, lease: u64) -> bool {
        self.leases.get(&lease).is_some_and(|held| held.job.is_some())
    }

    /// Moves what was begun under one lease to another.
    pub fn renumber(&mut self, before: u64, now: u64) {
        if let Some(held) = self.leases.remove(&before) {
            self.leases.insert(now, held);
        }
    }

    /// An action has ended: its files go, and what it left is counted.
    pub fn end(&mut self, lease: u64, left: impl Iterator<Item = Digest>) {
        if let Some(held) = self.leases.remove(&lease) {
            drop(fs::remove_dir_all(&held.folder));
        }
        left.for_each(|digest| self.keep(digest));
    }

    /// Returns where artifacts lie.
    pub fn artifacts(&self) -> &Artifacts {
        &self.artifacts
    }

    /// Counts an artifact that is there, and lets go of those that came first when there are too many; never of one that
    /// an action needs.
    fn keep(&mut self, digest: Digest) {
        if self.kept.iter().any(|(known, _)| *known == digest) {
            return;
        }
        let length = fs::metadata(self.artifacts.path(digest)).map_or(0, |facts| facts.len());
        self.kept.push_back((digest, length));
        self.bytes += length;
        let needed = |digest: &Digest| self.leases.values().any(|held| held.artifacts.contains(digest));
        let mut at = 0;
        while self.bytes > self.most && at + 1 < self.kept.len() {
            let (oldest, length) = self.kept[at];
            if needed(&oldest) {
                at += 1;
                continue;
            }
            drop(fs::remove_file(self.artifacts.path(oldest)));
            self.bytes -= length;
            self.kept.remove(at);
        }
    }
}

/// Returns the path of a file here: it keeps its own name, by whose ending its format is known.
fn place_of(folder: &Path, place: u32, path: &Path) -> PathBuf {
    folder.join(place.to_string()).join(path.file_name().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::words::{Bytes, PIECE, pieces};
    use super::*;
    use crate::executor::work::{Member, Work};
    use crate::operators::models::train::Part;
    use crate::pipeline::StageId;

    fn training(of: &[&[u8]]) -> Action {
        let member = |bytes: &&[u8]| Member {
            case: "a".to_owned(),
            part: Part::Train,
            prepared: Some(Digest::of(bytes)),
        };
        let members: Vec<Member> = of.iter().map(member).collect();
        let work = Work::Train { members: Arc::new(members), start: Arc::default() };
        Action { key: Digest::of(b"key"), stage: StageId::default(), work }
    }

    #[test]
    fn an_action_begins_when_all_that_it_needs_is_there() {
        let place = tempfile::tempdir().unwrap();
        let mut supply = Supply::new(place.path(), 1 << 30).unwrap();
        let (small, large) = (b"small".to_vec(), vec![7; PIECE + 3]);
        let wants = supply.begin(1, training(&[&small, &large]), Packed::default());
        assert_eq!(wants.len(), 2);
        assert!(supply.take(1).unwrap().is_none() && supply.waits(1));
        for bytes in [&small, &large] {
            for piece in pieces(1, What::Artifact(Digest::of(bytes)), bytes) {
                assert!(supply.take(1).unwrap().is_none());
                supply.add(&piece).unwrap();
            }
        }
        assert!(supply.take(1).unwrap().is_some() && !supply.waits(1));
        assert_eq!(supply.artifacts().get(Digest::of(&large)).unwrap(), large);
        // A file that is there already is asked for no more, and one that nobody waits for is passed over.
        assert!(supply.begin(2, training(&[&large]), Packed::default()).is_empty());
        for lease in [2, 9] {
            let what = What::Artifact(Digest::of(b"never"));
            let piece = Piece { lease, what, bytes: Bytes(b"never".to_vec()), last: true };
            assert!(!supply.add(&piece).unwrap());
        }
        // Something else under its name is refused.
        let wants = supply.begin(3, training(&[b"other"]), Packed::default());
        let piece = Piece { lease: 3, what: wants[0], bytes: Bytes(b"forged".to_vec()), last: true };
        assert!(supply.add(&piece).is_err());
        assert!(!supply.artifacts().has(Digest::of(b"other")));
    }

    #[test]
    fn artifacts_are_let_go_of_when_there_are_too_many_and_nobody_needs_them() {
        let place = tempfile::tempdir().unwrap();
        let mut supply = Supply::new(place.path(), 250).unwrap();
        let bytes = |number: u8| vec![number; 100];
        for number in 0..4u8 {
            let digest = supply.artifacts().put(&bytes(number)).unwrap();
            if number == 0 {
                supply.begin(1, training(&[&bytes(0)]), Packed::default());
            }
            supply.end(99, std::iter::once(digest));
        }
        let there = |supply: &Supply, number| supply.artifacts().has(Digest::of(&bytes(number)));
        assert_eq!([0, 1, 2, 3].map(|number| there(&supply, number)), [true, false, false, true]);
    }
}
