//! Samples to models, and models to masks and boxes; cases to atlases, and atlases to masks.

pub mod atlases;
pub mod detect;
pub mod fuse_atlases;
pub mod infer;
pub mod origin;
pub mod threshold;
pub mod train;

use super::registry::Entry;

/// The types of this room.
pub const ENTRIES: &[Entry] =
    &[threshold::ENTRY, train::ENTRY, infer::ENTRY, detect::ENTRY, atlases::ENTRY, fuse_atlases::ENTRY];
