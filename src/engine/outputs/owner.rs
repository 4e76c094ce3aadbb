//! Whose a sink's folder is, and which of the files in it are another's.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use tomoflow_connectors::Digest;
use tomoflow_connectors::dicom::Few;
use tomoflow_connectors::shown::Shown as _;

use crate::pipeline::{Plan, resolved};
use crate::store::{Since, Store};

/// The pipeline whose masks a folder holds. It is known by its store, and where that was begun anew by where its `out`
/// lies, seen from the folder: both may have been moved together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    /// Its name, for people.
    pipeline: String,
    store: String,
    out: String,
}

impl Owner {
    /// The owner of what a pipeline writes into `folder`; none when its store has no key.
    pub fn of(plan: &Plan, store: &Store, folder: &Path) -> Option<Self> {
        let key = store.identity_key().ok()?;
        let place = |path: &Path| resolved(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        let out = between(&place(folder), &place(&plan.settings.out));
        Some(Self {
            pipeline: plan.settings.name.clone(),
            store: Digest::of_parts([b"owner of a folder".as_slice(), &key]).to_string(),
            out: Digest::of(out.as_os_str().as_encoded_bytes()).to_string(),
        })
    }

    /// Whether they are one pipeline.
    pub fn is(&self, other: &Self) -> bool {
        self.store == other.store || self.out == other.out
    }

    /// Returns what is said of a folder that is another's.
    pub fn told(&self, folder: &Path) -> String {
        let (folder, name) = (folder.shown(), Path::new(&self.pipeline).shown().to_string());
        format!(
            "{folder} holds the masks of another pipeline, `{name}`: nothing was written there, and nothing removed; \
             give the sink a folder of its own, or empty that one, `.tomoflow.json` as well, where nobody needs it"
        )
    }
}

/// Returns what is said of files of somebody else that stand where masks belong.
pub(super) fn told_of_foreign(folder: &Path, files: &BTreeSet<PathBuf>) -> String {
    let mut few = Few::default();
    files.iter().for_each(|path| few.add(path.clone()));
    let stand = if few.count == 1 { "file stands" } else { "files stand" };
    format!(
        "{} {stand} where masks belong in {}, which no run of this pipeline wrote, and nothing was replaced: {}; move \
         what is there away, or give the sink another folder",
        few.count,
        folder.shown(),
        few.names(folder)
    )
}

/// The way from one place to another.
fn between(from: &Path, to: &Path) -> PathBuf {
    let (from, to): (Vec<Component>, Vec<Component>) =
        (from.components().collect(), to.components().collect());
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from.iter().skip(common).map(|_| Component::ParentDir);
    up.chain(to.into_iter().skip(common)).collect()
}

/// Returns which of some files are there and were written by somebody else; `ours` knows names that the
/// folder's note has.
pub(super) fn foreign(
    store: &Store,
    folder: &Path,
    names: &[String],
    ours: impl Fn(&str) -> bool,
) -> BTreeSet<PathBuf> {
    let there = names.iter().filter(|name| folder.join(name).symlink_metadata().is_ok());
    let paths: Vec<PathBuf> = there.filter(|name| !ours(name)).map(|name| folder.join(name)).collect();
    if paths.is_empty() {
        return BTreeSet::new();
    }
    let known = store.written(&paths).unwrap_or_else(|_| vec![None; paths.len()]);
    let is_ours = |(path, known): &(PathBuf, Option<crate::store::Written>)| {
        let since = known.as_ref().map(|known| known.since(path, false));
        matches!(since, Some(Ok(Since::Same | Since::Touched(_))))
    };
    paths.into_iter().zip(known).filter(|found| !is_ours(found)).map(|(path, _)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_between_places_is_the_same_wherever_both_lie() {
        let way = |from: &str, to: &str| between(Path::new(from), Path::new(to)).display().to_string();
        assert_eq!(way("/a/masks", "/a/out"), "../out");
        assert_eq!(way("/a/masks", "/a/out"), way("/other/place/masks", "/other/place/out"));
        assert_eq!(way("/a/out/masks", "/a/out"), "..");
        assert_ne!(way("/a/masks", "/a/out"), way("/a/masks", "/a/outb"));
    }
}
