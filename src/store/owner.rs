//! Whose results lie in an `out`: the pipeline's name and file, as it was last run there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::pipeline::{Plan, resolved};

/// The file that says it.
pub(super) const OWNER: &str = "pipeline.json";

/// A pipeline by its name and its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
}

impl Owner {
    /// A plan's name and file.
    pub fn new(plan: &Plan) -> Self {
        Self { name: plan.settings.name.clone(), file: resolved(&plan.settings.file) }
    }

    /// The pipeline whose results lie in `out`, if it is known.
    pub fn of(out: &Path) -> Option<Self> {
        let text = fs::read(out.join("store").join(OWNER)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Whether the other is another pipeline: it has a file of its own, which is still there, whatever its name is. One
    /// that was renamed or moved is the same.
    pub fn is_other(&self, other: &Self) -> bool {
        self.file != other.file && other.file.is_file()
    }

    /// Refuses a plan whose `out` holds the results of another pipeline.
    ///
    /// # Errors
    /// [`StoreError::Owned`].
    pub fn check(plan: &Plan) -> Result<(), StoreError> {
        let out = &plan.settings.out;
        match Self::of(out) {
            Some(other) if Self::new(plan).is_other(&other) => {
                Err(StoreError::Owned { path: out.join("store"), other })
            }
            _ => Ok(()),
        }
    }
}

impl Store {
    /// Takes the store for a pipeline.
    ///
    /// # Errors
    /// [`StoreError::Owned`] when the results of another lie there.
    pub fn claim(&self, owner: &Owner) -> Result<(), StoreError> {
        let text = serde_json::to_vec(owner).map_err(io::Error::other).map_err(StoreError::io(&self.root))?;
        match self.root.parent().and_then(Owner::of) {
            Some(other) if owner.is_other(&other) => {
                Err(StoreError::Owned { path: self.root.clone(), other })
            }
            Some(same) if same == *owner => self.keep_file(OWNER, &text),
            _ => self.put_file(OWNER, &text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_kept_for_its_pipeline() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            path
        };
        let out = folder.path().join("out");
        let store = Store::open(&out).unwrap();
        let first = Owner { name: "first".to_owned(), file: file("first.toml") };
        assert_eq!(Owner::of(&out), None);
        store.claim(&first).unwrap();
        store.claim(&first).unwrap();
        assert_eq!(Owner::of(&out), Some(first.clone()));
        let second = Owner { name: "second".to_owned(), file: file("second.toml") };
        let error = store.claim(&second).unwrap_err().to_string();
        assert!(error.contains("`first`") && error.contains("first.toml"), "{error}");
        // The same name in another file, which is no other's before the first one is gone; the same file under another name.
        let copy = Owner { file: file("copy.toml"), ..first.clone() };
        assert!(store.claim(&copy).is_err());
        store.claim(&Owner { name: "renamed".to_owned(), ..first.clone() }).unwrap();
        fs::remove_file(folder.path().join("first.toml")).unwrap();
        store.claim(&copy).unwrap();
        fs::remove_file(folder.path().join("copy.toml")).unwrap();
        store.claim(&second).unwrap();
        assert_eq!(Owner::of(&out), Some(second));
    }
}
