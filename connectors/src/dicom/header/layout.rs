//! The layout of an image's pixels in its file.

/// The layout of pixels in a file, as far as their lengths tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Missing,
    Native { length: u64 },
    Fragments { count: u64, length: u64, cut: bool },
}
