//! The commands: parse, call, print, exit code.

#[macro_use]
mod note;

mod certificates;
pub mod check;
pub mod colour;
mod compare;
pub mod explain;
pub mod export;
pub mod graph;
mod heap;
pub mod init;
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
pub mod work;

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use tomoflow_connectors::shown::visible;

use crate::networks;
use crate::operators::registry::Registry;
use crate::pipeline::{self, Plan, Problems};

/// Streaming data pipelines for segmenting and detecting in medical volumes.
#[derive(Debug, Parser)]
#[command(name = "tomoflow", version, arg_required_else_help = true)]
struct Cli {
    /// The format of the log on standard error; the variable `RUST_LOG` sets how much is logged
    #[arg(long, global = true, value_enum, default_value_t = log::Format::Text)]
    log: log::Format,
    #[command(subcommand)]
    command: Command,
}

/// What the command line asks for.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run a pipeline over everything that its sources hold
    Run(run::RunArgs),
    /// Work for a run on this or another machine (`run --listen`), until told to stop
    Work(work::WorkArgs),
    /// Find every problem in a pipeline file; nothing is run
    Check(check::CheckArgs),
    /// Show what a run would do, why, and how long it would take; nothing is run or written
    Plan(plan::PlanArgs),
    /// Show how an output came to be, and what changed since the one before it
    Explain(explain::ExplainArgs),
    /// Show what was refused or left out and why, with real names and the files to look at
    Rejects(rejects::RejectsArgs),
    /// Read the archive's files, artifacts and tables again, and check them against their recorded digests
    Verify(upkeep::VerifyArgs),
    /// Show stored files that nothing needs any more, and delete them with `--delete`
    Gc(upkeep::GcArgs),
    /// Run a pipeline again, and try what has failed once more
    Retry(upkeep::RetryArgs),
    /// Write a first pipeline for a folder, with a reason for each setting
    Init(init::InitArgs),
    /// Show what an archive holds and what is wrong with it, before any pipeline is written
    Inspect(inspect::InspectArgs),
    /// Show how far a run is, from another terminal
    Status(status::StatusArgs),
    /// Show how far a run is, updated every second
    Top(top::TopArgs),
    /// Write an HTML page with the cases, rejects, metrics and trainings of a pipeline
    Report(report::ReportArgs),
    /// Compare the metrics of several systems on the same cases, with a paired test
    Compare(compare::CompareArgs),
    /// Write masks as NIfTI, NRRD, MetaImage, DICOM SEG or RTSTRUCT
    Export(export::ExportArgs),
    /// Write a synthetic archive of scans with their true segmentations
    #[command(subcommand)]
    Phantom(phantom::PhantomCommand),
    /// Draw the stages of a pipeline, as Mermaid or Graphviz
    Graph(graph::GraphArgs),
    /// Show the reference of stage types, their fields, and the tables' columns
    Types(types::TypesArgs),
    /// Print the JSON Schema of pipeline files, for editors
    Schema(schema::SchemaArgs),
}

/// A pipeline file and what is changed in it.
#[derive(Debug, Args)]
pub struct PipelineArgs {
    /// The path of the pipeline file
    pub pipeline: PathBuf,
    /// Override a field of the pipeline file, for example `--set operators.net.epochs=3`; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// What may be empty although it was not.
#[derive(Args, Debug)]
pub struct EmptyArgs {
    /// Accept that an archive, or a folder below it, held cases before and is empty now, and remove their rows; without
    /// this option the rows are kept and the exit code is 65. `=FOLDER` accepts it for that folder alone, and may be repeated
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

    /// The pipeline as one text.
    pub fn written_out(&self, registry: &Registry) -> Result<String, Problems> {
        pipeline::written_out(&self.pipeline, &self.set, registry)
    }

    /// The pipeline as one text, and as it is read from that: stages are in the order of the text, so that it is the same
    /// plan for all who are told the text.
    ///
    /// # Errors
    /// As of [`PipelineArgs::load`].
    pub fn shared(&self, registry: &Registry) -> Result<(Plan, String), Problems> {
        let text = self.written_out(registry)?;
        let file = std::path::absolute(&self.pipeline).unwrap_or_else(|_| self.pipeline.clone());
        let folder = file.parent().unwrap_or(Path::new("/"));
        let plan = pipeline::parse(&self.pipeline.display().to_string(), &text, folder, &[], registry)?;
        Ok((plan, text))
    }

    /// The file as the user named it.
    pub fn path(&self) -> &Path {
        &self.pipeline
    }
}

/// The columns of the terminal that standard output is, 40 at least; 100 where it is none.
pub(crate) fn columns() -> usize {
    let size = terminal_size::terminal_size_of(std::io::stdout());
    size.map_or(100, |(columns, _)| usize::from(columns.0)).max(40)
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
        let text = visible(result.to_string());
        print(if colour::wanted(&std::io::stdout()) { colour::coloured(&text) } else { text });
    }
    ExitCode::SUCCESS
}

/// Prints problems where a command cannot go on, and gives its exit code.
pub fn refuse(problems: &Problems) -> ExitCode {
    let stream = std::io::stderr();
    let _ = if colour::wanted(&stream) {
        write!(stream.lock(), "{}", colour::coloured(&problems.to_string()))
    } else {
        write!(stream.lock(), "{problems}")
    };
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
    if matches!(cli.command, Command::Run(_) | Command::Work(_)) {
        threads::wait_passively();
    }
    heap::bound();
    // SAFETY: this is the only thread yet.
    unsafe { networks::large_pages() };
    log::start(cli.log);
    match cli.command {
        Command::Run(args) => run::run(&args, &registry),
        Command::Work(args) => work::run(&args, &registry),
        Command::Init(args) => init::run(&args, &registry),
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
