//! What sinks share: which table format their stages' rows are kept in.

use crate::operators::spec::{Kind, Port};

/// A table format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Parquet files with a transaction log.
    Delta,
    /// One Parquet file, replaced as a whole.
    Parquet,
}

/// The place where rows go.
#[derive(Clone, Copy, Debug)]
pub struct Sink {
    /// The format.
    pub format: Format,
}

/// The inputs of a sink: any number of stages that give masks, boxes, metrics or a model's figures.
pub const INPUTS: &[Port] =
    &[Port { name: "rows", accepts: &[Kind::Masks, Kind::Metrics, Kind::Detections], many: true }];
