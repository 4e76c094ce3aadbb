//! The `tomoflow` command as a process of its own: what it says, how it ends, and which actions it started.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::Workplace;

/// The end of a command, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// The command's exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The text on standard output.
    pub out: String,
    /// The text on standard error.
    pub err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            code: output.status.code(),
            signal: output.status.signal(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// The keys of the actions that a run started, in their order, one for each start.
    pub fn started(&self) -> Vec<String> {
        let key = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            (line["target"] == "tomoflow::actions" && line["fields"]["message"] == "started")
                .then(|| line["fields"]["action"].as_str().unwrap().to_owned())
        };
        self.err.lines().filter_map(key).collect()
    }

    /// The keys of [`Ended::started`], each once.
    pub fn keys(&self) -> BTreeSet<String> {
        self.started().into_iter().collect()
    }
}

/// The command `tomoflow SUBCOMMAND PIPELINE ARGUMENTS`.
pub fn command(subcommand: &str, pipeline: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    // The command runs as many threads as the tests' own process, so that sums are taken in the same order.
    command.env("OMP_NUM_THREADS", "1").env("MKL_NUM_THREADS", "1").env_remove("TOMOFLOW_POINT");
    command.arg("--log=json").env("RUST_LOG", "warn,tomoflow::actions=debug");
    command.arg(subcommand).arg(pipeline).args(arguments);
    command.stdin(Stdio::null());
    command
}

impl Workplace {
    /// Runs a command on the pipeline to its end.
    pub fn tomoflow(&self, subcommand: &str, arguments: &[&str]) -> Ended {
        command(subcommand, &self.pipeline(), arguments).output().unwrap().into()
    }

    /// Runs the pipeline in a process that ends, breaks or stops at a point (`TOMOFLOW_POINT`).
    pub fn run_to(&self, point: &str, arguments: &[&str]) -> Ended {
        let mut command = command("run", &self.pipeline(), arguments);
        command.env("TOMOFLOW_POINT", point).output().unwrap().into()
    }
}
