//! How the pixels of an image lie in its file.

/// How pixels lie in the file, as far as their lengths tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Missing,
    Native { length: u64 },
    Fragments { count: u64, length: u64, cut: bool },
}
