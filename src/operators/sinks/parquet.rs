//! The sink `parquet`: rows in plain Parquet files without a log.

use super::format::{self as sink, Format, Sink};
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{Aspects, Config, FieldProblem, Output, Section, Spec};

/// The declaration of the type `parquet`.
pub static SPEC: Spec = Spec {
    name: "parquet",
    section: Section::Sinks,
    summary: "Writes masks, metrics and their summaries to one Parquet file for each table, under \
              `out/parquet`.",
    doc: "The files are for readers that do not know Delta. A file is replaced as a whole, by a rename, \
          whenever its rows change; there is no history.",
    version: 1,
    inputs: sink::INPUTS,
    output: Output::Nothing,
    aspects: Aspects::Both,
    fields: &[],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

fn build(_config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Sink(Sink { format: Format::Parquet }))
}
