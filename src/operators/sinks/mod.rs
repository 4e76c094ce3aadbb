//! Rows and masks to tables and files.

pub mod delta;
pub mod files;
pub mod format;
pub mod parquet;

use super::registry::Entry;

/// The types of this room.
pub const ENTRIES: &[Entry] = &[delta::ENTRY, parquet::ENTRY, files::ENTRY];
