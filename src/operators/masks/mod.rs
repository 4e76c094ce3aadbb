//! Masks to masks.

pub mod closing;
pub mod combine;
pub mod connected_components;
pub mod fill_holes;
pub mod largest_component;
pub mod neighbours;
pub mod opening;
pub mod remove_small;
