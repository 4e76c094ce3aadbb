//! The only home of timely and differential: what is there, what is wanted, what is done.
//!
//! [`run`] is the whole of it: look at the sources, feed the control plane, have executors do what is
//! wanted, feed back what is done, and bring the tables to what is then desired.

mod archive;
mod cluster;
mod control;
mod dataflow;
mod differences;
mod driver;
mod error;
mod explain;
mod export;
mod folders;
mod forecast;
mod identity;
mod ledger;
mod mapfile;
mod maskfile;
mod monitor;
mod options;
mod outlook;
mod pictures;
mod rows;
mod rules;
mod run;
mod session;
mod status;
mod summarise;
mod summary;
mod tables;
mod upkeep;
mod watch;
mod watching;

pub use archive::SourceError;
pub use cluster::{Cluster, ClusterError, join};
pub use control::ControlError;
pub use differences::{Difference, short};
pub use error::RunError;
pub use explain::{Before, ExplainError, Explanation, Output, explain};
pub use export::{ExportOptions, Exported, export};
pub use forecast::{Forecast, StageForecast, forecast};
pub use identity::Identity;
pub use ledger::Part;
pub use options::{Options, Progress};
pub use pictures::{Heat, Picture, pictures};
pub use run::{run, watch};
pub use session::Session;
pub use status::{Life, Meter, MetricsServer, Phase, StageStatus, Status, StatusError, metrics};
pub use summary::{StageCount, Summary};
pub use upkeep::{Failures, Garbage, Item, Verified, forget_failures, gc, verify};
pub use watch::{Change, Settle, Watcher};
