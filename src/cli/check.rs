//! `tomoflow check`: every problem of a pipeline, or that there is none.

use std::process::ExitCode;

use clap::Args;

use super::PipelineArgs;
use crate::operators::registry::Registry;
use crate::pipeline::{Plan, Problem, Severity};
use crate::store::Owner;

/// The command line of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Print each problem as a JSON object on a line of its own
    #[arg(long)]
    json: bool,
    /// Print the complete pipeline, with what it `extends` and each `--set` merged in, instead of a summary
    #[arg(long, conflicts_with = "json")]
    resolved: bool,
}

/// Checks a pipeline: exit code 0, 66 when there is no file, 78 when it has errors.
pub fn run(args: &CheckArgs, registry: &Registry) -> ExitCode {
    let file = args.pipeline.path().display();
    let checked = match args.resolved {
        true => args.pipeline.written_out(registry).map(super::print),
        false => args.pipeline.load(registry).map(|plan| {
            print_all(&plan.warnings, args.json);
            print_all(owned(&plan).as_slice(), args.json);
            if !args.json {
                super::print(format_args!("{file}: {}\n", summary(&plan)));
            }
        }),
    };
    match checked {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            print_all(&problems.0, args.json);
            if !args.json {
                super::print(format_args!("{file}: {}\n", counted(problems.0.len(), "problem")));
            }
            ExitCode::from(problems.exit_code())
        }
    }
}

/// Says that the results of another pipeline lie in this one's `out`.
fn owned(plan: &Plan) -> Option<Problem> {
    let out = &plan.settings.out;
    let other = Owner::of(out).filter(|other| Owner::new(plan).is_other(other))?;
    let (name, file, out) = (other.name, other.file.display(), out.display());
    Some(Problem {
        severity: Severity::Warning,
        message: format!("`out` belongs to another pipeline, `{name}` ({file}): {out}"),
        place: None,
        label: String::new(),
        hint: "a run would be refused: give this pipeline another `out`".to_owned(),
    })
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
