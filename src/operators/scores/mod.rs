//! Masks and boxes against the truth.

pub mod evaluate;
pub mod evaluate_boxes;
pub mod pooling;
pub mod regions;

use super::registry::Entry;

/// The types of this room.
pub const ENTRIES: &[Entry] = &[evaluate::ENTRY, evaluate_boxes::ENTRY];
