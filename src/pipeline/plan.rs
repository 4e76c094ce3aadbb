//! A checked pipeline: typed, wired, in running order. Only the checker makes one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::problem::Problem;
use crate::operators::registry::Stage;
use crate::operators::spec::{Config, Kind, Spec};

/// Whether tables show identifiers as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Identifiers {
    /// A keyed hash.
    #[default]
    Pseudonymous,
    /// As in the files.
    Clear,
}

/// The `[pipeline]` table.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, in logs and the report.
    pub name: String,
    /// Where store, tables and report lie; absolute.
    pub out: PathBuf,
    /// Bytes that actions may hold at once.
    pub memory_bytes: u64,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// How identifiers stand in tables.
    pub identifiers: Identifiers,
    /// The share of series that may be rejected before the exit code is 1, 0 to 1.
    pub allowed_rejects: f64,
}

/// One stage, wired.
#[derive(Clone)]
pub struct PlannedStage {
    /// Its name in the file; not part of any key.
    pub name: String,
    /// What its type declares.
    pub spec: &'static Spec,
    /// Its fields, defaults included.
    pub config: Config,
    /// The stages on its inputs, by their place in [`Plan::stages`].
    pub inputs: Vec<usize>,
    /// The stages that its fields name (`model = "net"`), by field.
    pub references: BTreeMap<String, usize>,
    /// What it gives, resolved.
    pub output: Option<Kind>,
    /// Whether the user asked to keep its output (`keep = true`).
    pub keep: bool,
    /// The built stage.
    pub stage: Stage,
}

impl fmt::Debug for PlannedStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlannedStage")
            .field("name", &self.name)
            .field("type", &self.spec.name)
            .field("config", &self.config)
            .field("inputs", &self.inputs)
            .field("references", &self.references)
            .field("output", &self.output)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

/// A whole pipeline.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The `[pipeline]` table.
    pub settings: Settings,
    /// Stages, each after all that it depends on.
    pub stages: Vec<PlannedStage>,
    /// What may not have been meant, in the order of the file.
    pub warnings: Vec<Problem>,
}
