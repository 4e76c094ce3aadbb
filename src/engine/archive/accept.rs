//! What may be empty although it was not.

use std::path::{Path, PathBuf};

use crate::pipeline::resolved;

/// What may be empty although it was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    /// Whole sources.
    pub sources: bool,
    /// Any folder below one.
    pub folders: bool,
    /// These, and what lies below them; they have no links.
    named: Vec<PathBuf>,
}

impl Accept {
    /// Everything may be empty, or these folders.
    pub fn new(everything: bool, named: &[PathBuf]) -> Self {
        let named = named.iter().map(|path| resolved(path)).collect();
        Self { sources: everything, folders: everything, named }
    }

    /// Whole sources may be empty: for those who only show what there is.
    pub fn all_sources() -> Self {
        Self { sources: true, ..Self::default() }
    }

    /// Whether a whole source may be empty.
    pub fn source(&self, root: &Path) -> bool {
        self.sources || self.names(root)
    }

    /// Whether a path lies in one of the folders that may be empty.
    pub(super) fn names(&self, path: &Path) -> bool {
        !self.named.is_empty() && {
            let real = resolved(path);
            self.named.iter().any(|named| real.starts_with(named))
        }
    }
}
