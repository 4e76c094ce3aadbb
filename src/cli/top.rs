//! `tomoflow top`: where the run of a pipeline stands, drawn anew every second.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use crossbeam_channel::{RecvTimeoutError, bounded};

use super::PipelineArgs;
use super::status::{read, render};
use crate::engine::Life;
use crate::operators::registry::Registry;

/// The time between two screens.
const EVERY: Duration = Duration::from_secs(1);

/// The command line of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

/// Shows the status until the run ends or Ctrl-C comes, or once when nobody looks at a terminal: exit
/// codes as of `status`, 0 for Ctrl-C.
pub fn run(args: &TopArgs, registry: &Registry) -> ExitCode {
    let terminal = std::io::stdout().is_terminal();
    let (stop, stopped) = bounded(1);
    // A full channel stops it already.
    let handler = move || stop.try_send(()).unwrap_or_default();
    if terminal && let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!(%error, "Ctrl-C will stop at once");
    }
    loop {
        let status = match read(&args.pipeline, registry) {
            Ok(status) => status,
            Err(code) => return code,
        };
        let life = status.life();
        let text = render(&status, life, SystemTime::now());
        super::print(if terminal { screen(&text) } else { text });
        match life {
            Life::Killed => return ExitCode::from(1),
            Life::Ended => return ExitCode::SUCCESS,
            Life::Running | Life::Elsewhere if !terminal => return ExitCode::SUCCESS,
            Life::Running | Life::Elsewhere => {}
        }
        // Without a handler nothing can be sent, and the signal ends the process by itself.
        match stopped.recv_timeout(EVERY) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(EVERY),
        }
    }
}

/// A text in the place of the one before: home, each line cleared to its end, then all below.
fn screen(text: &str) -> String {
    let mut screen = "\x1b[H".to_owned();
    for line in text.lines() {
        screen.push_str(line);
        screen.push_str("\x1b[K\n");
    }
    screen.push_str("\x1b[J");
    screen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_leaves_nothing_of_the_one_before() {
        assert_eq!(screen("ab\nc\n"), "\x1b[Hab\x1b[K\nc\x1b[K\n\x1b[J");
    }
}
