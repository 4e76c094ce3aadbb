//! `tomoflow plan`: what a run would do, why, and how long it would take; writes nothing.

use std::process::ExitCode;

use clap::Args;

use super::{EmptyArgs, PipelineArgs};
use crate::engine::{self, Options};
use crate::operators::registry::Registry;

/// Arguments of `plan`.
#[derive(Args, Debug)]
pub struct PlanArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Plan a run with `--retrain`, which trains models again whose training cases have changed
    #[arg(long)]
    retrain: bool,
    /// Plan a run with `--repin`, which computes the values of rules over the archive again
    #[arg(long)]
    repin: bool,
    #[command(flatten)]
    empty: EmptyArgs,
    /// The number of threads that the run would have; 0 means one for each core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &PlanArgs, registry: &Registry) -> ExitCode {
    let plan = match args.pipeline.load(registry) {
        Ok(plan) => plan,
        Err(problems) => return super::refuse(&problems),
    };
    let options = Options {
        retrain: args.retrain,
        repin: args.repin,
        accept_empty: args.empty.all(),
        emptied: args.empty.folders(),
        threads: args.threads,
        ..Options::default()
    };
    match engine::forecast(plan, &options) {
        Ok(forecast) => super::show(&forecast, args.json),
        Err(error) => super::run::fail(&error),
    }
}
