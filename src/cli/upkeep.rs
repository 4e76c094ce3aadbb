//! `tomoflow verify`, `gc` and `retry`: what keeps an output healthy between runs.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::PipelineArgs;
use crate::engine::{self, Failures};
use crate::operators::registry::Registry;

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Remove or set aside what is damaged, so that the next run makes it again
    #[arg(long)]
    mend: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `verify`: 0 when all is sound, 1 when it is not.
pub fn verify(args: &VerifyArgs, registry: &Registry) -> ExitCode {
    let plan = match args.pipeline.load(registry) {
        Ok(plan) => plan,
        Err(problems) => return super::refuse(&problems),
    };
    match engine::verify(plan, args.mend) {
        Ok(verified) => {
            super::show(&verified, args.json);
            ExitCode::from(u8::from(!verified.sound()))
        }
        Err(error) => super::run::fail(&error),
    }
}

/// Arguments of `gc`.
#[derive(Args, Debug)]
pub struct GcArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Delete the files that nothing needs; without this option they are only shown
    #[arg(long)]
    delete: bool,
    /// The time that a file stays after it was last needed; earlier versions of tables stay as long
    #[arg(long, default_value = "7d", value_parser = humantime::parse_duration)]
    older_than: Duration,
    /// Print the answer as JSON, with every file
    #[arg(long)]
    json: bool,
}

/// Runs `gc`.
pub fn gc(args: &GcArgs, registry: &Registry) -> ExitCode {
    let plan = match args.pipeline.load(registry) {
        Ok(plan) => plan,
        Err(problems) => return super::refuse(&problems),
    };
    match engine::gc(&plan, args.older_than, args.delete) {
        Ok(garbage) => super::show(&garbage, args.json),
        Err(error) => super::run::fail(&error),
    }
}

/// Arguments of `retry`.
#[derive(Args, Debug)]
pub struct RetryArgs {
    /// Retry only failures with this code, as in the column `code` of `rejects`
    #[arg(long)]
    code: Option<String>,
    /// Retry only failures of this stage
    #[arg(long)]
    stage: Option<String>,
    /// Retry only failures of this case or series, as tables show it
    #[arg(long)]
    case: Option<String>,
    /// Forget the failures without running now; the next run tries them again
    #[arg(long)]
    later: bool,
    #[command(flatten)]
    run: super::run::RunArgs,
}

/// Runs `retry`: failures are forgotten, and the pipeline is run.
pub fn retry(args: &RetryArgs, registry: &Registry) -> ExitCode {
    let plan = match args.run.pipeline.load(registry) {
        Ok(plan) => plan,
        Err(problems) => return super::refuse(&problems),
    };
    let failures = Failures { code: args.code.clone(), stage: args.stage.clone(), case: args.case.clone() };
    match engine::forget_failures(&plan, &failures) {
        Ok(count) => {
            let plural = if count == 1 { "failure is" } else { "failures are" };
            note!("{count} {plural} tried again");
            if args.later { ExitCode::SUCCESS } else { super::run::run(&args.run, registry) }
        }
        Err(error) => super::run::fail(&error),
    }
}
