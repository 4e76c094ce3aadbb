//! Masks to masks.

pub mod closing;
pub mod combine;
pub mod connected_components;
pub mod crf;
pub mod fill_holes;
pub mod labels_as_masks;
pub mod largest_component;
pub mod neighbours;
pub mod opening;
pub mod paint;
pub mod remove_small;

use super::registry::Entry;

/// The types of this room.
pub const ENTRIES: &[Entry] = &[
    largest_component::ENTRY,
    remove_small::ENTRY,
    fill_holes::ENTRY,
    closing::ENTRY,
    opening::ENTRY,
    connected_components::ENTRY,
    combine::ENTRY,
    crf::ENTRY,
    labels_as_masks::ENTRY,
    paint::ENTRY,
];
