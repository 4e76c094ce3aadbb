//! The only home of timely and differential: what is there, what is wanted, what is done.
//!
//! [`run`] is the whole of it: look at the sources, feed the control plane, have executors do what is
//! wanted, feed back what is done, and bring the tables to what is then desired.

mod control;
mod dataflow;
mod driver;
mod identity;
mod pictures;
mod rows;
mod run;
mod sources;
mod summary;
mod tables;

pub use control::ControlError;
pub use identity::Identity;
pub use pictures::{Picture, pictures};
pub use run::{Options, RunError, run};
pub use sources::SourceError;
pub use summary::{StageCount, Summary};
