//! `tomoflow inspect`: what an archive holds and what is wrong with it, before any pipeline.

mod table;

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tomoflow_connectors::dicom::inspect::{InspectError, InspectEvent, InspectOptions, Total, inspect};

use super::progress::Counter;
use crate::report::ArchiveContents;

/// Files of an archive are mostly waited for: on a network file system more at once pay.
const MIN_THREADS: usize = 8;

/// The command line of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The files and folders to look at; a folder is searched with all folders below it
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Print a JSON object on each line: `volume`, `image` (a volume in another format than DICOM), `reject`,
    /// `outlines`, `skip`, and `total` at the end
    #[arg(long)]
    json: bool,
    /// Decode all volumes, and refuse those that cannot be decoded; with `--json`, print the minimum, maximum and mean
    /// of each volume and a SHA-256 of its stored samples
    #[arg(long)]
    stats: bool,
    /// Write an HTML page for the owner of the archive as well; the page shows identifiers and paths as they are
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Exit with code 1 when a file or series was refused
    #[arg(long)]
    strict: bool,
    /// The number of files that are read at once, each held in memory meanwhile; when it is left out, the number of cores,
    /// but at least 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// What a look came to.
enum Look {
    /// The archive was looked through.
    Done(Total),
    /// Nobody reads the output any more.
    Unread,
}

/// The reasons why a look came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
    #[error("no threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error(transparent)]
    Report(#[from] crate::report::ReportError),
}

/// Runs the command: 0, or 1 when something was refused and `--strict` asks; 65 when nothing can be used, 66
/// when a path is not there, 74 when the output cannot be written.
pub fn run(args: &InspectArgs) -> ExitCode {
    match look(args) {
        Ok(Look::Unread) => ExitCode::SUCCESS,
        Ok(Look::Done(total)) if total.volumes + total.images == 0 => {
            note!(
                "error: no volume in {} files\nhint: refused and skipped files are named by code above",
                total.files
            );
            ExitCode::from(65)
        }
        Ok(Look::Done(total)) => ExitCode::from(u8::from(args.strict && !total.rejects.is_empty())),
        Err(failure) => {
            note!("error: {failure}");
            ExitCode::from(match failure {
                Failure::Inspect(InspectError::Walk(_)) => 66,
                Failure::Inspect(_) | Failure::Threads(_) => 70,
                Failure::Output(_) | Failure::Report(_) => 74,
            })
        }
    }
}

fn look(args: &InspectArgs) -> Result<Look, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or(cores.max(MIN_THREADS), usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let (mut contents, mut written) = (ArchiveContents::default(), Ok(()));
    let keep = !args.json || args.html.is_some();
    // Lines and a count on one terminal would run into each other.
    let counter = Counter::new(!(args.json && io::stdout().is_terminal()));
    let options = InspectOptions { stats: args.stats };
    let mut tell = |event: InspectEvent| {
        match event {
            InspectEvent::Read { done, of } => counter.show("files read", done, of),
            InspectEvent::Judged { done, of } => counter.show("series judged", done, of),
            InspectEvent::Found(finding) => {
                if args.json {
                    written = line(&finding);
                }
                if keep {
                    contents.add(&finding);
                }
            }
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let total = pool.install(|| inspect(&args.paths, options, &mut tell));
    counter.end();
    let Some(total) = total? else { return unread(written) };
    if let Some(path) = &args.html {
        // `.` says nothing to those whom the page is passed on to.
        let whole =
            |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone()).display().to_string();
        let names: Vec<String> = args.paths.iter().map(whole).collect();
        contents.write(&names.join(", "), &total, path)?;
    }
    let shown = match args.json {
        true => line(&Closing { kind: "total", total: &total }),
        false => {
            let passed = total.passed_over.iter().map(|line| format!("{line}\n"));
            let text = table::render(&contents, &total, super::columns()) + &passed.collect::<String>();
            io::stdout().lock().write_all(text.as_bytes())
        }
    };
    if shown.is_err() { unread(shown) } else { Ok(Look::Done(total)) }
}

/// Tells a reader who is gone (`| head`), which is no fault, from output that cannot be written, which is
/// one.
fn unread(written: io::Result<()>) -> Result<Look, Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Look::Unread),
    }
}

/// The last line.
#[derive(serde::Serialize)]
struct Closing<'a> {
    kind: &'a str,
    #[serde(flatten)]
    total: &'a Total,
}

fn line(value: &impl serde::Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    io::stdout().lock().write_all(&text)
}
