//! Links below a root: which are followed, so that nothing counts twice and every walk ends.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::passed::is_passed_over;

/// What the name of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// Nothing: the content says what the file is, and counts once under any name.
    Nothing,
    /// What the file is. A link does not count where the name of what it leads to says so as well.
    Itself,
    /// Something of its own: the file counts whatever its name leads to.
    Apart,
}

/// A function that says what the name of a file says.
pub type Names = Arc<dyn Fn(&Path) -> Named + Send + Sync>;

/// The way a walk takes links.
#[derive(Clone)]
pub(super) struct Links {
    /// Whether any link is followed.
    pub followed: bool,
    /// The root as it was given, and its place without links.
    root: PathBuf,
    real: PathBuf,
    /// The places, without links, that no link leads into: what the walker writes himself.
    pub own: Vec<PathBuf>,
    pub names: Option<Names>,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("followed", &self.followed).field("real", &self.real).finish()
    }
}

/// The fate of something that a link leads to, or that lies in a folder that one leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It counts.
    Yes,
    /// It counts unless another link has led to it.
    Once,
    /// It is looked at under another name.
    Again,
    /// It is the root, or a folder above it.
    Above,
    /// It is what the walker writes himself.
    Own,
}

impl Links {
    /// The way links below a root are taken, as long as nothing else is said: followed, by content.
    pub fn below(root: &Path) -> io::Result<Self> {
        let real = root.canonicalize()?;
        Ok(Self { followed: true, root: root.to_owned(), real, own: Vec::new(), names: None })
    }

    /// Whether a place without links is what the walker writes himself.
    pub fn is_own(&self, real: &Path) -> bool {
        self.own.iter().any(|own| real.starts_with(own))
    }

    /// The path below the root of what is looked at under its own name there.
    fn walked(&self, real: &Path) -> Option<PathBuf> {
        let below = real.strip_prefix(&self.real).ok()?;
        // A root that is a file has no name below itself.
        (!is_passed_over(below) && !below.as_os_str().is_empty()).then(|| self.root.join(below))
    }

    /// What becomes of a folder at `real` that a link leads to.
    pub fn folder(&self, real: &Path) -> Taken {
        if self.is_own(real) {
            Taken::Own
        } else if self.real.starts_with(real) {
            Taken::Above
        } else if self.names.is_none() && self.walked(real).is_some() {
            Taken::Again
        } else {
            // Names may say something of what lies in the folder that the folder's own name does not.
            Taken::Once
        }
    }

    /// What becomes of a file at `real` that goes by the name `path`.
    pub fn file(&self, path: &Path, real: &Path) -> Taken {
        if self.is_own(real) {
            return Taken::Own;
        }
        let named = |path: &Path| self.names.as_ref().map_or(Named::Nothing, |names| names(path));
        let walked = self.walked(real);
        match named(path) {
            Named::Apart => Taken::Yes,
            Named::Itself if walked.as_ref().is_some_and(|walked| named(walked) != Named::Nothing) => {
                Taken::Again
            }
            Named::Itself => Taken::Yes,
            Named::Nothing if walked.is_some() => Taken::Again,
            Named::Nothing => Taken::Once,
        }
    }
}

/// The place that a link leads to, without links, and what lies there.
///
/// # Errors
/// The system's errors; of a link that leads nowhere, in words.
pub(super) fn target(link: &Path) -> io::Result<(PathBuf, Metadata)> {
    let nowhere = |error: io::Error| {
        // The system says of links that lead to each other that there are too many.
        match matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            || error.raw_os_error() == Some(libc::ELOOP)
        {
            true => io::Error::new(io::ErrorKind::NotFound, "a link that leads nowhere"),
            false => error,
        }
    };
    let metadata = std::fs::metadata(link).map_err(nowhere)?;
    Ok((link.canonicalize().map_err(nowhere)?, metadata))
}
