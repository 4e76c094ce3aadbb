//! Cases to the samples that a network is trained on.

pub mod augment;
pub mod bag;
pub mod dataset;
pub mod patches;
pub mod stack;
pub mod things;
pub mod view;

use super::registry::Entry;

/// The types of this room.
pub const ENTRIES: &[Entry] = &[patches::ENTRY, stack::ENTRY, bag::ENTRY, augment::ENTRY];
