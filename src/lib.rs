//! tomoflow: streaming data pipelines for segmenting and detecting in medical volumes.
//!
//! A pipeline is declared in TOML ([`pipeline`]), run by a timely/differential control plane
//! ([`engine`]) that decides which actions are wanted, and by executors ([`executor`]) that do them on
//! voxels and tensors. See ARCHITECTURE.md for the floors and who may import whom.

pub mod cli;
pub mod engine;
pub mod executor;
pub mod fields;
pub mod init;
pub mod metrics;
pub mod networks;
pub mod operators;
pub mod phantom;
pub mod pipeline;
pub mod report;
pub mod store;
pub mod voxels;

pub use tomoflow_connectors as connectors;
