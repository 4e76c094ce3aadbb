//! Logs on standard error, beside progress bars, and what happens when a worker of the control plane panics.

use std::io::{self, Write};
use std::sync::OnceLock;

use clap::ValueEnum;
use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for people to read.
    Text,
    /// One JSON object on each line, for programs.
    Json,
}

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT: &str = "warn,tomoflow::training=info";

/// The process's progress bars, which log lines must not break.
pub fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Starts logging, once for a process.
pub fn start(format: Format) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let colour = super::colour::wanted(&io::stderr());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(|| BesideBars);
    // A line that could not be written would be told in one more line, and that is a panic.
    let builder = builder.log_internal_errors(false);
    match format {
        Format::Text => builder.without_time().with_target(false).init(),
        Format::Json => builder.json().init(),
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let Some(part) = thread.name().and_then(|name| name.strip_prefix("timely:")) else {
            return before(panic);
        };
        // A worker that panics leaves the others waiting for it for ever: the process ends instead, and
        // what was recorded is found again at the next run.
        match part.split_once('-') {
            Some(("send" | "recv", process)) => note!(
                "error: process {process} is gone: its link broke\n\
                 hint: what was done is recorded; start all processes again, and the run goes on from there"
            ),
            _ => {
                before(panic);
                note!("error: the control plane failed\nhint: this is a fault of tomoflow, please report it");
            }
        }
        #[expect(clippy::exit, reason = "the other threads would wait for this one for ever")]
        std::process::exit(70);
    }));
}

/// Standard error, with the bars moved out of the way.
struct BesideBars;

impl Write for BesideBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        bars().suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
