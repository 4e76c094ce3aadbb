//! `tomoflow types`: the reference of stage types and of tables, from the code.

use std::process::ExitCode;

use clap::Args;
use tomoflow_connectors::table::Table;

use crate::operators::registry::Registry;
use crate::operators::spec::Section;
use crate::pipeline;

/// Columns of a page that no terminal shows.
const WIDTH: usize = 100;

/// The command line of `types`.
#[derive(Debug, Args)]
pub struct TypesArgs {
    /// The stage type or table whose page is shown. `pipeline` shows the fields of `[pipeline]`, `operators` the fields
    /// that every operator has, `tables` the columns of every table; without a name all types are listed
    name: Option<String>,
    /// Print the whole reference as Markdown
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

/// Prints the list of types, one page, or all.
pub fn run(args: &TypesArgs, registry: &Registry) -> ExitCode {
    let Some(name) = &args.name else {
        if args.all {
            super::print(pipeline::reference(registry));
        } else {
            list(registry);
        }
        return ExitCode::SUCCESS;
    };
    let Some(page) = page(name, registry) else {
        let types = registry.entries().map(|entry| entry.spec.name);
        let names = types.chain(Table::ALL.iter().map(|table| table.name())).chain([
            "pipeline",
            "operators",
            "tables",
        ]);
        note!("error: there is no type `{name}`\nhint: {}", pipeline::remedy(name, names, ""));
        return ExitCode::from(2);
    };
    super::print(page);
    ExitCode::SUCCESS
}

/// The page of a stage type, of a table, or of what is common to all.
fn page(name: &str, registry: &Registry) -> Option<String> {
    let width = width();
    match name {
        "pipeline" => Some(pipeline::manual_of_pipeline(width)),
        "operators" => Some(pipeline::manual_of_operators(width)),
        "tables" => {
            let pages: Vec<String> = Table::ALL.iter().map(|&table| columns(table, width)).collect();
            Some(pages.join("\n"))
        }
        _ => match registry.get(name) {
            Some(entry) => Some(pipeline::manual(entry.spec, width)),
            None => Table::ALL.iter().find(|table| table.name() == name).map(|&table| columns(table, width)),
        },
    }
}

/// The columns of the terminal, at most [`WIDTH`].
fn width() -> usize {
    super::columns().min(WIDTH)
}

/// The page of a table.
fn columns(table: Table, width: usize) -> String {
    let mut text = pipeline::wrapped(&format!("{}: {}", table.name(), table.doc()), 0, width);
    text.push_str("\nColumns\n\n");
    let schema = table.schema();
    for (field, (name, doc)) in schema.fields().iter().zip(table.columns()) {
        text.push_str(&format!("  {name} ({})\n", field.data_type()));
        text.push_str(&pipeline::wrapped(doc, 4, width));
    }
    text
}

fn list(registry: &Registry) {
    let types = registry.entries().map(|entry| entry.spec.name);
    let tables = Table::ALL.iter().map(|table| table.name());
    let width = types.chain(tables).map(str::len).max().unwrap_or_default();
    for section in Section::ALL {
        super::print(format_args!("{}\n", section.name()));
        for entry in registry.entries().filter(|entry| entry.spec.section == section) {
            super::print(format_args!("  {:width$}  {}\n", entry.spec.name, entry.spec.summary));
        }
        super::print("\n");
    }
    super::print("tables\n");
    for table in Table::ALL {
        let first = table.doc().split(". ").next().unwrap_or_default();
        super::print(format_args!("  {:width$}  {}.\n", table.name(), first.trim_end_matches('.')));
    }
    super::print(
        "\n`tomoflow types NAME` shows a page, `types pipeline` the fields of [pipeline], `types tables` all columns.\n",
    );
}
