//! `tomoflow run`: a pipeline over all that its sources hold.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use super::PipelineArgs;
use super::progress::Progress;
use crate::engine::{self, Options, RunError, SourceError};
use crate::operators::registry::Registry;
use crate::store::StoreError;

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Ends when all is done (the default).
    #[arg(long)]
    once: bool,
    /// Threads of the control plane.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    workers: u8,
    /// Threads that do the work; one a core when left out.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Trains models anew when their cases have changed.
    #[arg(long)]
    retrain: bool,
    /// Accepts that an archive which held files is empty now: its rows go.
    #[arg(long)]
    accept_empty: bool,
    /// Prints the closing summary as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &RunArgs, registry: &Registry) -> ExitCode {
    let plan = match args.pipeline.load(registry) {
        Ok(plan) => plan,
        Err(problems) => return super::refuse(&problems),
    };
    for warning in &plan.warnings {
        eprintln!("{warning}\n");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    // The first Ctrl-C ends the run cleanly, a second one at once; a killed run resumes as well.
    let handler = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("stopping; what is done is kept (press again to stop at once)");
    });
    if let Err(error) = handler {
        tracing::warn!(%error, "Ctrl-C will stop at once");
    }
    let options = Options {
        workers: usize::from(args.workers),
        threads: args.threads,
        retrain: args.retrain,
        accept_empty: args.accept_empty,
        stop,
    };
    let allowed = plan.settings.allowed_rejects;
    let mut progress = Progress::new();
    let result = engine::run(plan, &options, &mut |stages| progress.show(stages));
    progress.end();
    match result {
        Ok(summary) => {
            if args.json {
                println!("{}", serde_json::to_string(&summary).unwrap_or_default());
            } else {
                print!("{summary}");
            }
            if summary.cases == 0 && !args.accept_empty {
                eprintln!(
                    "no series found in {} files\nhint: `tomoflow check` shows the sources' paths",
                    summary.files
                );
            }
            // An archive that was said to be empty is no failure.
            let emptied = args.accept_empty && summary.cases == 0 && !summary.interrupted;
            ExitCode::from(if emptied { 0 } else { summary.exit_code(allowed) })
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(exit_code(&error))
        }
    }
}

/// 65 for sources that cannot be read, 75 for a store in use, 78 for a device that is not there, 74 for
/// files that cannot be written.
pub(super) fn exit_code(error: &RunError) -> u8 {
    match error {
        RunError::Source(SourceError::Store(_)) => 74,
        RunError::Source(_) => 65,
        RunError::Device(_) => 78,
        RunError::Store(StoreError::Held { .. }) => 75,
        RunError::Store(_) | RunError::Table(_) => 74,
        RunError::Control(_) | RunError::Threads(_) => 70,
    }
}
