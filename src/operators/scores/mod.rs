//! Masks against the truth.

pub mod evaluate;
pub mod regions;
