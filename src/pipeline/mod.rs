//! TOML to a checked plan: every problem at once, each with its place and a remedy.

pub mod plan;

pub use plan::{Identifiers, Plan, PlannedStage, Settings};
