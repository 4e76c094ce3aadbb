//! A library of atlases as an artifact: what each of them is, then the prepared cases one behind the other, of which one
//! at a time is read.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Digest, LabelMap, Reject, Scan};

use super::artifact::{self, PreparedArtifact, damaged, encode};
use super::ending::{misplaced, put};
use super::load::Context;
use super::truth::NEVER_DRAWN;
use super::work::Member;
use crate::networks::Figure;
use crate::operators::models::fuse_atlases::{Atlas, Library};
use crate::operators::models::train::Part;
use crate::store::Outcome;

/// What stands before the atlases, behind its own digest and length.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Index {
    label_names: Vec<String>,
    atlases: Vec<Entry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    content: Digest,
    bytes: u64,
    voxels: u64,
}

/// Bytes of the index's digest and length.
const FRONT: usize = 32 + 8;

/// Makes a library of the cases to train on.
pub(super) fn of(context: &Context, members: &[Member]) -> Result<Outcome, Reject> {
    let (mut index, mut cases) = (Index { label_names: Vec::new(), atlases: Vec::new() }, Vec::new());
    let mut drawn = [false; 256];
    for member in members.iter().filter(|member| member.part == Part::Train) {
        let Some(content) = member.prepared else { continue };
        let bytes = context.artifact(content)?;
        let PreparedArtifact { geometry, label_names, labels, .. } = PreparedArtifact::decode(&bytes)?;
        let labels = labels.ok_or_else(|| damaged("prepared case", "an atlas has no labels"))?;
        labels.iter().for_each(|label| drawn[usize::from(*label)] = true);
        if !index.atlases.is_empty() && index.label_names != label_names {
            return Err(damaged("prepared case", "atlases have labels of different names"));
        }
        index.label_names = label_names;
        index.atlases.push(Entry { content, bytes: bytes.len() as u64, voxels: geometry.voxels() as u64 });
        cases.extend(bytes);
    }
    let count = index.atlases.len() as f64;
    let figure = |name: &str, value| Figure {
        step: 0,
        epoch: 0,
        split: "train".to_owned(),
        name: name.to_owned(),
        value,
    };
    let detail = put(context, &encode(&vec![figure("atlases", count)])?)?;
    match (put(context, &whole(&index, cases)?)?, detail) {
        (Outcome::Ok { artifact, figures, .. }, Outcome::Ok { artifact: detail, .. }) => {
            let notes = undrawn(&index, &drawn);
            Ok(Outcome::Ok { artifact, detail: Some(detail), figures, notes })
        }
        _ => Err(misplaced()),
    }
}

/// Labels that no atlas has a voxel of: none is ever found.
fn undrawn(index: &Index, drawn: &[bool; 256]) -> Arc<[Reject]> {
    let absent = index.label_names.iter().zip(drawn.iter().skip(1)).filter(|(_, drawn)| !**drawn);
    let tell = |(name, _): (&String, &bool)| {
        let count = index.atlases.len();
        let message = format!(
            "none of {count} atlases has a voxel of `{name}`: is its value, or its name, the right one?"
        );
        Reject::new(NEVER_DRAWN, message, "no mask will have it")
    };
    absent.map(tell).collect()
}

fn whole(index: &Index, cases: Vec<u8>) -> Result<Vec<u8>, Reject> {
    let index = encode(index)?;
    let mut bytes = Vec::with_capacity(FRONT + index.len() + cases.len());
    bytes.extend(Digest::of(&index).0);
    bytes.extend((index.len() as u64).to_le_bytes());
    bytes.extend(index);
    bytes.extend(cases);
    Ok(bytes)
}

/// A library that lies on the disk.
pub(super) struct OnDisk<'a> {
    context: &'a Context,
    digest: Digest,
    index: Index,
    /// The offset at which the first atlas begins.
    start: u64,
}

impl<'a> OnDisk<'a> {
    /// Reads what a library holds, and none of its voxels.
    ///
    /// # Errors
    /// `STORE` when it is gone or damaged.
    pub(super) fn open(context: &'a Context, digest: Digest) -> Result<Self, Reject> {
        match front(context, digest) {
            Some((index, start)) => Ok(Self { context, digest, index, start }),
            // A reader of the whole artifact says why, and makes it wanted again.
            None => Err(context.artifact(digest).map_or_else(|reject| reject, |_| unread())),
        }
    }

    /// The names of the labels, from label 1 on.
    pub(super) fn label_names(&self) -> &[String] {
        &self.index.label_names
    }

    /// Returns the number of voxels of the largest atlas.
    pub(super) fn largest(&self) -> u64 {
        self.index.atlases.iter().map(|entry| entry.voxels).max().unwrap_or(0)
    }

    fn read(&self, number: usize) -> Option<Vec<u8>> {
        let entry = self.index.atlases.get(number)?;
        let before: u64 = self.index.atlases.iter().take(number).map(|entry| entry.bytes).sum();
        let mut file = File::open(self.context.artifacts.path(self.digest)).ok()?;
        let at = self.start.checked_add(before)?;
        if file.metadata().ok()?.len().checked_sub(at)? < entry.bytes {
            return None;
        }
        file.seek(SeekFrom::Start(at)).ok()?;
        let mut bytes = vec![0; usize::try_from(entry.bytes).ok()?];
        file.read_exact(&mut bytes).ok()?;
        (Digest::of(&bytes) == entry.content).then_some(bytes)
    }
}

/// The index of a library, and where its atlases begin; none where it is not what its digest says.
fn front(context: &Context, digest: Digest) -> Option<(Index, u64)> {
    let mut file = File::open(context.artifacts.path(digest)).ok()?;
    let length = file.metadata().ok()?.len();
    let mut front = [0; FRONT];
    file.read_exact(&mut front).ok()?;
    let (content, count) = front.split_at(32);
    let count = u64::from_le_bytes(count.try_into().ok()?);
    let start = count.checked_add(FRONT as u64).filter(|start| *start <= length)?;
    let mut bytes = vec![0; usize::try_from(count).ok()?];
    file.read_exact(&mut bytes).ok()?;
    if Digest::of(&bytes).0[..] != *content {
        return None;
    }
    Some((artifact::decode("library", &bytes).ok()?, start))
}

fn unread() -> Reject {
    Reject::new("STORE", "a library of atlases could not be read", "it is tried again at the next run")
}

impl Library for OnDisk<'_> {
    fn count(&self) -> usize {
        self.index.atlases.len()
    }

    fn atlas(&self, number: usize) -> Result<Atlas, Reject> {
        let bytes = match self.read(number) {
            Some(bytes) => bytes,
            None => {
                return Err(self.context.artifact(self.digest).map_or_else(|reject| reject, |_| unread()));
            }
        };
        let PreparedArtifact { geometry, scan, labels, .. } = PreparedArtifact::decode(&bytes)?;
        drop(bytes);
        // The first of several channels is used.
        let scan = scan.get(..geometry.voxels()).unwrap_or_default().to_vec();
        let labels = labels.iter().flat_map(|labels| labels.iter()).map(|&label| u16::from(label)).collect();
        let misfit =
            |error: tomoflow_connectors::volume::SizeMismatch| damaged("prepared case", &error.to_string());
        let scan = Scan::new(geometry.clone(), scan).map_err(misfit)?;
        Ok(Atlas { scan, labels: LabelMap::new(geometry, labels).map_err(misfit)? })
    }
}
