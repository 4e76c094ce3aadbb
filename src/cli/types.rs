//! `tomoflow types`: the reference of stage types, from the code.

use std::process::ExitCode;

use clap::Args;

use crate::operators::registry::Registry;
use crate::operators::spec::Section;
use crate::pipeline;

/// The command line of `types`.
#[derive(Debug, Args)]
pub struct TypesArgs {
    /// Show the page of this type
    name: Option<String>,
    /// Print the whole reference as Markdown
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

/// Prints the list of types, one page, or all.
pub fn run(args: &TypesArgs, registry: &Registry) -> ExitCode {
    match &args.name {
        None if args.all => super::print(pipeline::reference(registry)),
        None => list(registry),
        Some(name) => match registry.get(name) {
            Some(entry) => super::print(pipeline::page(entry.spec)),
            None => {
                let names = registry.entries().map(|entry| entry.spec.name);
                eprintln!("error: there is no type `{name}`\nhint: {}", pipeline::remedy(name, names, ""));
                return ExitCode::from(2);
            }
        },
    }
    ExitCode::SUCCESS
}

fn list(registry: &Registry) {
    let width = registry.entries().map(|entry| entry.spec.name.len()).max().unwrap_or_default();
    for (index, section) in Section::ALL.into_iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        super::print(format_args!("{gap}{}\n", section.name()));
        for entry in registry.entries().filter(|entry| entry.spec.section == section) {
            super::print(format_args!("  {:width$}  {}\n", entry.spec.name, entry.spec.summary));
        }
    }
}
