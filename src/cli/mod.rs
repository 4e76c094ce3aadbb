//! The commands: parse, call, print, exit code.

#[macro_use]
mod note;

pub mod check;
pub mod compare;
pub mod explain;
pub mod export;
pub mod graph;
mod heap;
pub mod inspect;
mod log;
pub mod phantom;
pub mod plan;
mod progress;
pub mod rejects;
pub mod report;
pub mod run;
pub mod schema;
pub mod status;
mod threads;
pub mod top;
pub mod types;
pub mod upkeep;

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::networks;
use crate::operators::registry::Registry;
use crate::pipeline::{self, Plan, Problems};

/// Streaming data pipelines for segmenting and detecting in medical volumes.
#[derive(Debug, Parser)]
#[command(name = "tomoflow", version, arg_required_else_help = true)]
struct Cli {
    /// How logs are written to standard error; `RUST_LOG` says how much.
    #[arg(long, global = true, value_enum, default_value_t = log::Format::Text)]
    log: log::Format,
    #[command(subcommand)]
    command: Command,
}

/// What the command line asks for.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run a pipeline over all that its sources hold
    Run(run::RunArgs),
    /// Find every problem of a pipeline
    Check(check::CheckArgs),
    /// What a run would do, why, and how long it would take; writes nothing
    Plan(plan::PlanArgs),
    /// How an output came to be, and what changed since the one before it
    Explain(explain::ExplainArgs),
    /// What was refused or left out, in clear, with the files to look at
    Rejects(rejects::RejectsArgs),
    /// Reread files, artifacts and tables, and compare them with what is recorded
    Verify(upkeep::VerifyArgs),
    /// Show what nobody needs any more, and free it when told to
    Gc(upkeep::GcArgs),
    /// Try failures again
    Retry(upkeep::RetryArgs),
    /// What an archive holds and what is wrong with it, before any pipeline
    Inspect(inspect::InspectArgs),
    /// Show where a run stands
    Status(status::StatusArgs),
    /// Show where a run stands, once a second
    Top(top::TopArgs),
    /// Write one HTML page about what a pipeline's tables hold
    Report(report::ReportArgs),
    /// Compare systems on the same cases: figures side by side, with a paired test
    Compare(compare::CompareArgs),
    /// Write masks as NIfTI, NRRD, MetaImage, DICOM SEG or RTSTRUCT
    Export(export::ExportArgs),
    /// Write a synthetic archive with truth
    #[command(subcommand)]
    Phantom(phantom::PhantomCommand),
    /// Draw a pipeline
    Graph(graph::GraphArgs),
    /// The reference of stage types, from the code
    Types(types::TypesArgs),
    /// The JSON Schema of pipeline files, for editors
    Schema(schema::SchemaArgs),
}

/// A pipeline file and what is changed in it.
#[derive(Debug, Args)]
pub struct PipelineArgs {
    /// The pipeline file
    pub pipeline: PathBuf,
    /// Take another value for a field, for example `--set operators.net.epochs=3`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// What may be empty although it was not.
#[derive(Args, Debug)]
pub struct EmptyArgs {
    /// Accepts that an archive, or a folder below it, which held cases is empty now: their rows go. With `=FOLDER` of
    /// that folder alone; may be given several times
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    accept_empty: Vec<String>,
}

impl EmptyArgs {
    /// Whether anything may be.
    pub fn any(&self) -> bool {
        !self.accept_empty.is_empty()
    }

    /// Whether everything may be.
    pub fn all(&self) -> bool {
        self.accept_empty.iter().any(String::is_empty)
    }

    /// The folders that may be.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.accept_empty.iter().filter(|folder| !folder.is_empty()).map(PathBuf::from).collect()
    }
}

impl PipelineArgs {
    /// Reads and checks the pipeline.
    ///
    /// # Errors
    /// Every problem of it.
    pub fn load(&self, registry: &Registry) -> Result<Plan, Problems> {
        pipeline::load(&self.pipeline, &self.set, registry)
    }

    /// The file as the user named it.
    pub fn path(&self) -> &Path {
        &self.pipeline
    }
}

/// Prints to standard output. That nobody reads it any more (`| head`) is no fault.
pub fn print(text: impl Display) {
    let _ = write!(std::io::stdout().lock(), "{text}");
}

/// Prints a result for people, or as JSON for programs.
pub fn show<T: Display + serde::Serialize>(result: &T, json: bool) -> ExitCode {
    if json {
        print(format_args!("{}\n", serde_json::to_string(result).unwrap_or_default()));
    } else {
        print(result);
    }
    ExitCode::SUCCESS
}

/// Prints problems where a command cannot go on, and gives its exit code.
pub fn refuse(problems: &Problems) -> ExitCode {
    let _ = write!(std::io::stderr().lock(), "{problems}");
    ExitCode::from(problems.exit_code())
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    main_with(Registry::builtin())
}

/// Runs the command line of this process with what a crate of one's own has registered: whose `main` calls it is the
/// whole command, and knows its operators, sources, networks and losses.
pub fn main_with(registry: Registry) -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::Run(_)) {
        threads::wait_passively();
    }
    heap::bound();
    // SAFETY: this is the only thread yet.
    unsafe { networks::large_pages() };
    log::start(cli.log);
    match cli.command {
        Command::Run(args) => run::run(&args, &registry),
        Command::Inspect(args) => inspect::run(&args),
        Command::Export(args) => export::run(&args, &registry),
        Command::Report(args) => report::run(&args, &registry),
        Command::Compare(args) => compare::run(&args, &registry),
        Command::Status(args) => status::run(&args, &registry),
        Command::Top(args) => top::run(&args, &registry),
        Command::Check(args) => check::run(&args, &registry),
        Command::Plan(args) => plan::run(&args, &registry),
        Command::Explain(args) => explain::run(&args, &registry),
        Command::Rejects(args) => rejects::run(&args, &registry),
        Command::Verify(args) => upkeep::verify(&args, &registry),
        Command::Gc(args) => upkeep::gc(&args, &registry),
        Command::Retry(args) => upkeep::retry(&args, &registry),
        Command::Phantom(command) => phantom::main(&command),
        Command::Graph(args) => graph::run(&args, &registry),
        Command::Types(args) => types::run(&args, &registry),
        Command::Schema(args) => schema::run(&args, &registry),
    }
}
