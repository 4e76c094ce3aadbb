//! Tables: Parquet files with a Delta log, or without one.
//!
//! Rows are plain structs ([`rows`]); a [`DeltaTable`] keeps groups of them, each named by the column
//! `entry`, so that whoever fills a table can ask which groups are present and commit the difference.

mod cell;
pub mod delta;
pub mod error;
mod files;
mod log;
mod mend;
mod migrate;
mod others;
pub mod parquet;
pub mod read;
pub mod rows;
#[cfg(test)]
mod tests;
pub mod vacuum;

pub use cell::Moment;
pub use delta::DeltaTable;
pub use error::TableError;
pub use files::is_ours;
pub use log::CommitId;
pub use mend::{current_files, drop_files};
pub use others::{Others, by_others};
pub use parquet::write_parquet;
pub use read::{read_parquet, read_rows};
pub use rows::{
    CaseRow, DetectionRow, MaskRow, MetricRow, RejectRow, Rows, RunRow, SummaryRow, Table, TrainingRow,
};
pub use vacuum::{TableFiles, Unneeded, table_files};
