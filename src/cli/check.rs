//! `tomoflow check`: every problem of a pipeline, or that there is none.

use std::process::ExitCode;

use clap::Args;

use super::PipelineArgs;
use crate::operators::registry::Registry;
use crate::pipeline::{Plan, Problem};

/// The command line of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Print each problem as a JSON object on a line of its own
    #[arg(long)]
    json: bool,
}

/// Checks a pipeline: exit code 0, 66 when there is no file, 78 when it has errors.
pub fn run(args: &CheckArgs, registry: &Registry) -> ExitCode {
    let file = args.pipeline.path().display();
    match args.pipeline.load(registry) {
        Ok(plan) => {
            print_all(&plan.warnings, args.json);
            if !args.json {
                super::print(format_args!("{file}: {}\n", summary(&plan)));
            }
            ExitCode::SUCCESS
        }
        Err(problems) => {
            print_all(&problems.0, args.json);
            if !args.json {
                super::print(format_args!("{file}: {}\n", counted(problems.0.len(), "problem")));
            }
            ExitCode::from(problems.exit_code())
        }
    }
}

fn print_all(problems: &[Problem], json: bool) {
    for problem in problems {
        if json {
            super::print(format_args!("{}\n", problem.to_json()));
        } else {
            super::print(format_args!("{problem}\n"));
        }
    }
}

fn summary(plan: &Plan) -> String {
    let stages = counted(plan.stages.len(), "stage");
    match plan.warnings.len() {
        0 => format!("{stages}, no problems"),
        warnings => format!("{stages}, no errors, {}", counted(warnings, "warning")),
    }
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
