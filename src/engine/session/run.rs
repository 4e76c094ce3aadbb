//! One run of a pipeline, from its sources to its tables.

use super::Session;
use super::summary::Summary;
use crate::engine::error::RunError;
use crate::engine::options::{Options, Progress};
use crate::pipeline::Plan;

/// Runs a pipeline once: over all that its sources hold now.
///
/// Runs a pipeline; `progress` is told the counts by stage whenever they may have changed.
///
/// # Errors
/// [`RunError`]; what was done until then is kept.
pub fn run(plan: Plan, options: &Options, progress: &mut Progress<'_>) -> Result<Summary, RunError> {
    let mut session = Session::open(plan, options.clone())?;
    session.look()?;
    session.work(progress)?;
    session.finish()
}

/// Runs a pipeline over all that its sources hold, and on all that comes, until it is told to stop.
///
/// `settled` is told what the run came to so far whenever the tables were brought up to date.
///
/// # Errors
/// [`RunError`]; what was done until then is kept.
pub fn watch(
    plan: Plan,
    options: &Options,
    progress: &mut Progress<'_>,
    settled: &mut dyn FnMut(&Summary),
) -> Result<Summary, RunError> {
    let mut session = Session::open(plan, options.clone())?;
    session.watch(progress, settled)?;
    session.finish()
}
