//! Scans and labels to cases on a grid, with intensities as a network expects them.

pub mod adopt;
pub mod assemble;
pub mod channels;
pub mod clip;
pub mod crop;
pub mod cuboid;
pub mod declared_grid;
pub mod histogram_match;
pub mod intensities;
pub mod label;
pub mod pad;
pub mod percentiles;
pub mod reorient;
pub mod resample;
pub mod rule;
pub mod tally;
pub mod window;
pub mod zscore;

use super::registry::Entry;

/// The types of this room.
pub const ENTRIES: &[Entry] = &[
    assemble::ENTRY,
    label::ENTRY,
    channels::ENTRY,
    reorient::ENTRY,
    resample::ENTRY,
    crop::ENTRY,
    pad::ENTRY,
    zscore::ENTRY,
    window::ENTRY,
    clip::ENTRY,
    percentiles::ENTRY,
    histogram_match::ENTRY,
    adopt::ENTRY,
];
