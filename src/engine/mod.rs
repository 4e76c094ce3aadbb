//! The only home of timely and differential: what is there, what is wanted, what is done.
//!
//! [`run`] is the whole of it: look at the sources, feed the control plane, have executors do what is
//! wanted, feed back what is done, and bring the tables to what is then desired.

mod archive;
mod cluster;
mod control;
mod dataflow;
mod driver;
mod error;
mod insight;
mod label_series;
mod options;
mod outputs;
mod rows;
mod rules;
mod session;
mod status;
mod upkeep;
mod watch;

pub use crate::executor::{Training, trainings, trains};
pub use crate::store::host;
pub use archive::SourceError;
pub use cluster::{Certificates, Cluster, ClusterError, Joined, Listening, join, work};
pub use control::ControlError;
pub use error::RunError;
pub use insight::differences::{Difference, short};
pub use insight::explain::{Before, ExplainError, Explained, Explanation, explain};
pub use insight::export::{ExportOptions, Exported, export};
pub use insight::forecast::{Forecast, StageForecast, forecast};
pub use insight::found::export_boxes;
pub use insight::ledger::OperatorUsed;
pub use insight::nnunet::export_nnunet;
pub use insight::pictures::{Heat, Picture, PictureBox, pictures};
pub use insight::rejects::{Rejected, rejects};
pub use options::{Options, Progress};
pub use outputs::identity::Identity;
pub use rows::is_remark;
pub use session::Session;
pub use session::comings::Moved;
pub use session::run::{run, watch};
pub use session::scored::Scored;
pub use session::summary::{StageCount, Summary};
pub use status::{
    GoneWorkers, Life, Meter, MetricsServer, Phase, StageStatus, Status, StatusError, WorkerStatus, metrics,
};
pub use upkeep::{Failures, Garbage, Item, Verified, begin_page, forget_failures, gc, keep_page, verify};
pub use watch::{Change, Settle, Watcher};
