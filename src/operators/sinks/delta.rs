//! The sink `delta`: rows in Delta tables.

use super::format::{self as sink, Format, Sink};
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{Aspects, Config, FieldProblem, Output, Section, Spec};

/// The declaration of the type `delta`.
pub static SPEC: Spec = Spec {
    name: "delta",
    section: Section::Sinks,
    summary: "Writes masks, metrics and their summaries to Delta tables under `out/tables`.",
    doc: "A Delta table is a folder of Parquet files and a log. A reader (DuckDB, Polars, pandas, Spark, \
          Trino) always sees one consistent version, and earlier versions stay readable. The tables always \
          follow the pipeline and the archive: rows of deleted scans are removed, and unchanged rows are not \
          written again.\n\n\
          Each figure is a row in `metrics`, and `summary` has statistics over them, a row for each group of \
          cases: all cases of a model, the parts of its split, and the scanners' manufacturers (`grouped_by` \
          and `group`). A row holds mean (with `mean_low` and `mean_high` if `evaluate` has an `interval`), \
          median, standard deviation, least and greatest of the `count` figures that have a value, and \
          counts by state: a figure without a value enters no mean, but is counted in its state. Figures of \
          different stages, models, labels or metrics are in different groups. The rows are replaced when a \
          run ends.",
    version: 1,
    inputs: sink::INPUTS,
    output: Output::Nothing,
    aspects: Aspects::Both,
    fields: &[],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

fn build(_config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Sink(Sink { format: Format::Delta }))
}
