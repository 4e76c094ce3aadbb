//! The sink `delta`: rows in Delta tables.

use super::registry::Entry;
use super::sink;
use super::spec::{Aspects, Output, Section, Spec};

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "delta",
    section: Section::Sinks,
    summary: "Masks and metrics in Delta tables under `out/tables`.",
    doc: "A Delta table is a folder of Parquet files and a log. A reader (DuckDB, Polars, pandas, Spark, \
          Trino) always sees one consistent version, and earlier versions stay readable. The tables follow \
          what the pipeline now wants: rows of deleted scans go, nothing unchanged is written again.",
    version: 1,
    inputs: sink::INPUTS,
    output: Output::Nothing,
    aspects: Aspects::Both,
    fields: &[],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build: sink::build_delta };
