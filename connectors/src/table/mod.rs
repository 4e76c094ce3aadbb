//! Tables: Parquet files with a Delta log, or without one.
