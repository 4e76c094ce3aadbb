//! `tomoflow schema`: the JSON Schema of pipeline files.

use std::process::ExitCode;

use clap::Args;

use crate::operators::registry::Registry;
use crate::pipeline;

/// The command line of `schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {}

/// Prints the schema.
pub fn run(_args: &SchemaArgs, registry: &Registry) -> ExitCode {
    super::print(format_args!("{:#}\n", pipeline::schema(registry)));
    ExitCode::SUCCESS
}
