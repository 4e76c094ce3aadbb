//! `tomoflow work`: a worker that takes actions of a run for as long as it lives.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::PipelineArgs;
use super::certificates::CertificatesArgs;
use super::run::fail;
use crate::engine::{self, Joined};
use crate::operators::registry::Registry;
use crate::pipeline;

/// Arguments of `work`.
#[derive(Args, Debug)]
pub struct WorkArgs {
    /// The path of the pipeline file; the worker then refuses a run of any other pipeline. When it is left out, the
    /// worker takes the pipeline from the run
    pipeline: Option<PathBuf>,
    /// Override a field of the pipeline file, for example `--set operators.net.epochs=3`; may be given several times
    #[arg(long, value_name = "KEY=VALUE", requires = "pipeline")]
    set: Vec<String>,
    /// The address at which the run listens (`run --listen`)
    #[arg(long, value_name = "HOST:PORT")]
    join: String,
    /// The file with the secret token that the run and its workers share; not needed on a single machine
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    certificates: CertificatesArgs,
    /// The device of this worker: `auto`, `cpu`, `cuda` or one GPU as `cuda:0`; when it is left out, the pipeline's
    /// `device`
    #[arg(long)]
    device: Option<String>,
    /// The memory that this worker's actions may hold at once, such as `"16 GiB"`; when it is left out, the
    /// pipeline's `memory`
    #[arg(long, value_parser = pipeline::bytes_of)]
    memory: Option<u64>,
    /// The number of threads that process voxels and tensors; 0 means one for each core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// The name by which the run shows this worker; when it is left out, the machine's name and the process's number
    #[arg(long)]
    name: Option<String>,
    /// End when the run ends; without this option the worker waits for the next run
    #[arg(long)]
    once: bool,
    /// The folder for files that a run sends (`run --send`), which are deleted when the worker ends; when it is left out,
    /// the system's folder for temporary files
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    /// The time after which the worker gives up looking for a run; when it is left out, it never does
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    patience: Option<Duration>,
    /// The time that running actions have to finish when the worker is told to stop; trainings write a checkpoint first
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    grace: Duration,
}

/// Works until it is told to stop: exit code 0 then, 78 when the run refuses it, 75 when none was reached in time.
pub fn run(args: &WorkArgs, registry: &Registry) -> ExitCode {
    let own = match &args.pipeline {
        Some(path) => match (PipelineArgs { pipeline: path.clone(), set: args.set.clone() }).shared(registry)
        {
            Ok((plan, _)) => Some(plan),
            Err(problems) => return super::refuse(&problems),
        },
        None => None,
    };
    super::threads::share(args.threads);
    let (stop, stopping) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let flag = stop.clone();
    let handler = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "whoever presses twice wants the process to end now")]
            std::process::exit(130);
        }
        note!("leaving; what is under way is brought to an end (press again to stop at once)");
    });
    if let Err(error) = handler {
        tracing::warn!(%error, "Ctrl-C will stop at once");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let name = args.name.clone().unwrap_or_else(|| format!("{}-{}", engine::host(), std::process::id()));
    let joined = Joined {
        address: args.join.clone(),
        token: args.token_file.clone(),
        certificates: args.certificates.files(),
        name,
        device: args.device.clone(),
        memory_bytes: args.memory,
        threads: if args.threads == 0 { cores } else { args.threads },
        once: args.once,
        scratch: args.scratch.clone(),
        patience: args.patience,
        grace: args.grace,
        stop,
        stopping,
    };
    match engine::work(&joined, own.as_ref(), registry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}
