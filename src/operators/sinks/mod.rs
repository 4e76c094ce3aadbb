//! Rows and masks to tables and files.

pub mod delta;
pub mod files;
pub mod format;
pub mod parquet;
