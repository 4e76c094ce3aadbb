//! Masks against the truth.

pub mod evaluate;
