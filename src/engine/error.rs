//! The reasons why a run could not be done.

use tomoflow_connectors::table::TableError;

use super::archive::SourceError;
use super::control;
use crate::networks::NetworkError;
use crate::store::StoreError;

/// The reason why a run could not be done. A bad series never is one.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The sources.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A table failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A table that does not say which files it needs.
    #[error(
        "nothing is freed, since what the table `{table}` needs cannot be read:\n{source}\nhint: `tomoflow verify --mend`, then `tomoflow run`"
    )]
    NothingFreed {
        /// The table.
        table: &'static str,
        /// Why it cannot be read.
        source: TableError,
    },
    /// The control plane.
    #[error(transparent)]
    Control(#[from] control::ControlError),
    /// The device that the pipeline asks for.
    #[error(transparent)]
    Device(#[from] NetworkError),
    /// The address where metrics are to be given.
    #[error(transparent)]
    Status(#[from] super::status::StatusError),
    /// Other processes cannot take part.
    #[error(transparent)]
    Cluster(#[from] super::cluster::ClusterError),
    /// There is nothing to export.
    #[error("masks of a stage{} expected, there are none\nhint: run the pipeline first; `check` names its stages", named(.stage))]
    NoMasks {
        /// The stage that was asked for, or empty.
        stage: String,
    },
    /// No boxes to export.
    #[error("boxes of a stage{} expected, there are none\nhint: run the pipeline first; `detect` gives boxes", named(.stage))]
    NoBoxes {
        /// The stage that was asked for, or empty.
        stage: String,
    },
    /// No model to export.
    #[error(
        "a model of `{stage}` expected, it has none yet\nhint: run the pipeline first; `plan` says what it waits for"
    )]
    NoModel {
        /// The training.
        stage: String,
    },
    /// A model that cannot be exported.
    #[error("the model of `{stage}` cannot be written: {message}")]
    ModelFile {
        /// The training.
        stage: String,
        /// The reason.
        message: String,
    },
    /// A file of an export that cannot be written.
    #[error("{}: {message}\nhint: free some space, or name another folder", path.display())]
    Unwritten {
        /// The file.
        path: std::path::PathBuf,
        /// The reason.
        message: String,
    },
    /// An export into what a source reads.
    #[error(
        "a folder apart from the sources expected, {folder} {how} {read}, which the source `{source_stage}` reads: nothing was written\nhint: what is written there would replace inputs, or be read as one: name another folder"
    )]
    ExportIntoSource {
        /// The folder.
        folder: String,
        /// What it is to the source's place.
        how: &'static str,
        /// The place where the source reads.
        read: String,
        /// The source.
        source_stage: String,
    },
    /// An export over files that no export wrote.
    #[error(
        "files of earlier exports alone expected in {folder}, {count} found that no export wrote, or that somebody changed since: {names}: nothing was written\nhint: name another folder, or move them away"
    )]
    ExportOver {
        /// The folder.
        folder: String,
        /// How many files.
        count: usize,
        /// The first of them.
        names: String,
    },
    /// Several processes, and nothing that a rule could follow.
    #[error(
        "no scan yet that the rule of `{stage}` could follow, and several processes need it settled first\nhint: run one process once there are scans, or say outright what `{stage}` needs (`spacing_mm`, `grid`)"
    )]
    Unsettled {
        /// The stage with the rule.
        stage: String,
    },
    /// The system gives no more threads.
    #[error("no more threads: {0}")]
    Threads(#[source] std::io::Error),
}

fn named(stage: &str) -> String {
    if stage.is_empty() { String::new() } else { format!(" `{stage}`") }
}
