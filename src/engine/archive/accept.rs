//! The archive's sources and folders that may be empty although they were not at the last look.

use std::path::{Path, PathBuf};

use crate::pipeline::resolved;

/// The sources and folders that may be empty although they were not at the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    /// Whether whole sources may be.
    pub sources: bool,
    /// Whether any folder below a source may be.
    pub folders: bool,
    /// The folders that may be, with what lies below them; the paths have no links.
    named: Vec<PathBuf>,
}

impl Accept {
    /// Accepts that everything is empty, or these folders.
    pub fn new(everything: bool, named: &[PathBuf]) -> Self {
        let named = named.iter().map(|path| resolved(path)).collect();
        Self { sources: everything, folders: everything, named }
    }

    /// Accepts that whole sources are empty: for those who only show what there is.
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
