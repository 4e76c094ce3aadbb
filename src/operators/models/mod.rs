//! Samples to models, and models to masks and boxes.

pub mod detect;
pub mod infer;
pub mod origin;
pub mod threshold;
pub mod train;

use super::registry::Entry;

/// The types of this room.
pub const ENTRIES: &[Entry] = &[threshold::ENTRY, train::ENTRY, infer::ENTRY, detect::ENTRY];
