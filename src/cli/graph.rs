//! `tomoflow graph`: a pipeline as a drawing.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::PipelineArgs;
use crate::operators::registry::Registry;

/// The command line of `graph`.
#[derive(Debug, Args)]
pub struct GraphArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The language that the drawing is written in
    #[arg(long, value_enum, default_value_t = Format::Mermaid)]
    format: Format,
}

/// A language for drawings.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Mermaid, for Markdown
    Mermaid,
    /// DOT, for Graphviz: `tomoflow graph --format dot a.toml | dot -Tsvg`
    Dot,
}

/// Prints the drawing of a pipeline without errors.
pub fn run(args: &GraphArgs, registry: &Registry) -> ExitCode {
    match args.pipeline.load(registry) {
        Ok(plan) => {
            match args.format {
                Format::Mermaid => super::print(plan.graph_mermaid()),
                Format::Dot => super::print(plan.graph_dot()),
            }
            ExitCode::SUCCESS
        }
        Err(problems) => super::refuse(&problems),
    }
}
