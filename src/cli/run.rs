//! `tomoflow run`: a pipeline over all that its sources hold.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;

use super::certificates::CertificatesArgs;
use super::progress::Progress;
use super::{EmptyArgs, PipelineArgs};
use crate::engine::{self, Cluster, ClusterError, Listening, Options, RunError, SourceError, Summary};
use crate::operators::registry::Registry;
use crate::pipeline::{Plan, Problems};
use crate::store::StoreError;

/// A worker may be silent for so long at least and at most, whatever is asked for.
const SILENCE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3600));
/// The time that a run that was told to stop may take to see it.
const UNSEEN: Duration = Duration::from_millis(800);
/// The time that it may then take to bring what it has to an end.
const IN_ORDER: Duration = Duration::from_secs(10);
/// The time that the checkpoints of trainings may take.
const CHECKPOINT: Duration = Duration::from_secs(120);

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,
    /// End when all work is done; this is the default
    #[arg(long, conflicts_with = "watch")]
    once: bool,
    /// Keep running, and work on files that come or change once they have been quiet for the pipeline's `settle`
    #[arg(long)]
    watch: bool,
    /// The number of threads of the control plane, which decides what has to be done.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    workers: u8,
    /// The number of threads that process voxels and tensors; 0 means one for each core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Train models again whose training cases have changed, instead of keeping the trained ones.
    #[arg(long)]
    retrain: bool,
    /// Compute the values of rules over the archive (`to = "median"`) again, instead of keeping those they are pinned to.
    #[arg(long)]
    repin: bool,
    #[command(flatten)]
    empty: EmptyArgs,
    /// The number of processes that share the run, on one machine or several; each must be started by hand
    #[arg(long, requires = "hosts", value_name = "N")]
    processes: Option<usize>,
    /// The number of this process, from 0 on; process 0 keeps the store and the tables
    #[arg(long, requires = "processes", default_value_t = 0, value_name = "I")]
    process: usize,
    /// The file that names the processes, one `host:port` on each line; the first is process 0
    #[arg(long, requires = "processes", value_name = "FILE")]
    hosts: Option<std::path::PathBuf>,
    #[command(flatten)]
    joining: WorkersArgs,
    /// Print the summary at the end as JSON.
    #[arg(long)]
    json: bool,
}

/// Workers that come and go.
#[derive(Args, Debug)]
struct WorkersArgs {
    /// The address at which workers may join (`tomoflow work --join`), in place of the pipeline's `workers`
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "processes")]
    listen: Option<String>,
    /// The file with the secret token that the run and its workers share; needed if other machines can reach the address
    #[arg(long, value_name = "FILE", conflicts_with = "processes")]
    token_file: Option<std::path::PathBuf>,
    /// Leave all actions to workers; this process only decides what is done, keeps the store and writes the tables
    #[arg(long, conflicts_with = "processes")]
    no_local: bool,
    /// Send files over the network to workers that cannot read the archive and `out` themselves; it is encrypted only if `--cert` is given
    #[arg(long, conflicts_with = "processes")]
    send: bool,
    /// The time without a message from a worker after which its actions are given to others
    #[arg(long, value_name = "DURATION", default_value = "6s", value_parser = humantime::parse_duration)]
    silence: Duration,
    #[command(flatten)]
    certificates: CertificatesArgs,
}

impl RunArgs {
    /// Returns how the run takes workers, if it does.
    fn listening(&self, plan: &mut Plan, registry: &Registry) -> Result<Option<Listening>, Problems> {
        let WorkersArgs { listen, token_file, no_local, send, silence, certificates } = &self.joining;
        let of_pipeline = plan.settings.workers.clone().filter(|_| self.processes.is_none());
        let Some(address) = listen.clone().or(of_pipeline) else { return Ok(None) };
        // All go by one text.
        let (shared, text) = self.pipeline.shared(registry)?;
        *plan = shared;
        Ok(Some(Listening {
            address,
            token: token_file.clone(),
            certificates: certificates.files(),
            local: !no_local,
            send: *send,
            silence: (*silence).clamp(SILENCE.0, SILENCE.1),
            text,
        }))
    }

    fn cluster(&self) -> Result<Option<Cluster>, ClusterError> {
        let (Some(processes), Some(hosts)) = (self.processes, &self.hosts) else { return Ok(None) };
        Cluster::read(hosts, processes, self.process, usize::from(self.workers)).map(Some)
    }
}

/// Runs the command.
pub fn run(args: &RunArgs, registry: &Registry) -> ExitCode {
    let mut plan = match args.pipeline.load(registry) {
        Ok(plan) => plan,
        Err(problems) => return super::refuse(&problems),
    };
    for warning in &plan.warnings {
        note!("{warning}\n");
    }
    super::threads::share(args.threads);
    let (stop, stopping) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    stop_when_told(stop.clone(), stopping.clone());
    let options = Options {
        workers: usize::from(args.workers),
        threads: args.threads,
        retrain: args.retrain,
        repin: args.repin,
        accept_empty: args.empty.all(),
        emptied: args.empty.folders(),
        stop,
        stopping,
        cluster: match args.cluster() {
            Ok(cluster) => cluster,
            Err(error) => return fail(&error.into()),
        },
        listening: match args.listening(&mut plan, registry) {
            Ok(listening) => listening,
            Err(problems) => return super::refuse(&problems),
        },
    };
    let WorkersArgs { no_local, token_file, certificates, .. } = &args.joining;
    let asked = *no_local || token_file.is_some() || certificates.files().is_some();
    if options.listening.is_none() && asked {
        note!(
            "error: an address for workers expected, none found\nhint: `--listen HOST:PORT`, or `workers` in `[pipeline]`"
        );
        return ExitCode::from(2);
    }
    if let Some(cluster) = options.cluster.as_ref().filter(|cluster| cluster.process > 0) {
        return match engine::join(plan, &options, cluster) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        };
    }
    if options.cluster.is_some() && plan.settings.workers.is_some() {
        note!("warning: `workers` of the pipeline is ignored: a run with `--processes` takes no workers");
    }
    let allowed = plan.settings.allowed_rejects;
    let mut progress = Progress::new();
    let result = match args.watch {
        true => watch(plan, &options),
        false => engine::run(plan, &options, &mut |stages| progress.show(stages)),
    };
    progress.end();
    match result {
        Ok(summary) => {
            tell(args, &summary);
            // An archive that was said to be empty is no failure.
            let emptied = args.empty.any() && summary.cases == 0 && !summary.interrupted;
            ExitCode::from(if emptied { 0 } else { summary.exit_code(allowed) })
        }
        Err(error) => fail(&error),
    }
}

/// The first Ctrl-C ends the run cleanly, a second one at once; a killed run resumes as well.
fn stop_when_told(stop: Arc<AtomicBool>, seen: Arc<AtomicBool>) {
    let handler = ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "whoever presses twice wants the process to end now")]
            std::process::exit(130);
        }
        note!("stopping; what is done is kept (press again to stop at once)");
        let seen = seen.clone();
        std::thread::spawn(move || end_anyhow(&seen));
    });
    if let Err(error) = handler {
        tracing::warn!(%error, "Ctrl-C will stop at once");
    }
}

/// Follows an archive, and tells of what moved.
fn watch(plan: Plan, options: &Options) -> Result<Summary, RunError> {
    let mut last = (0, 0);
    engine::watch(plan, options, &mut |_| {}, &mut |summary| {
        let time = humantime::format_rfc3339_seconds(SystemTime::now());
        if !summary.moved.is_empty() {
            note!("{time} {}", summary.moved);
        }
        let now = (summary.actions_run, summary.cases);
        if now != std::mem::replace(&mut last, now) {
            note!("{time} {}", summary.line());
        }
    })
}

/// Tells what a run came to.
fn tell(args: &RunArgs, summary: &Summary) {
    super::show(summary, args.json);
    if !args.json && summary.accepted > 0 {
        let file = args.pipeline.path().display();
        super::print(super::visible(format!("report: `tomoflow report {file}` makes it\n")));
    }
    if summary.cases == 0 && !summary.left_out.is_empty() {
        note!(
            "no series of {} files fits\nhint: ask in `where` for values that the files have",
            summary.files
        );
    } else if summary.cases == 0 && !args.empty.any() {
        note!("no series found in {} files\nhint: `tomoflow check` shows the sources' paths", summary.files);
    }
}

/// Ends the process unless the run ends by itself: one that looks at a share that does not answer, or waits for another
/// process, does not see that it is to stop. A killed run resumes as well.
pub(super) fn end_anyhow(seen: &AtomicBool) {
    std::thread::sleep(UNSEEN);
    if seen.load(Ordering::Relaxed) {
        let began = Instant::now();
        std::thread::sleep(IN_ORDER);
        while engine::trains() && began.elapsed() < CHECKPOINT {
            std::thread::sleep(UNSEEN);
        }
    }
    note!("stopped at once; what was done is kept");
    #[expect(clippy::exit, reason = "the thread that would end in order waits for something else")]
    std::process::exit(130);
}

/// Says why a command ended, and gives its exit code.
pub(super) fn fail(error: &RunError) -> ExitCode {
    note!("error: {error}");
    ExitCode::from(exit_code(error))
}

/// Returns the exit code: 65 for sources that cannot be read, 75 for a store in use, 78 for a device that is
/// not there, 74 for files that cannot be written.
pub(super) fn exit_code(error: &RunError) -> u8 {
    match error {
        RunError::Source(SourceError::Store(_)) => 74,
        RunError::Source(_) | RunError::Unsettled { .. } => 65,
        RunError::Device(_) => 78,
        RunError::Store(StoreError::Held { .. }) => 75,
        RunError::Store(StoreError::Owned { .. }) => 78,
        RunError::Store(_)
        | RunError::Table(_)
        | RunError::NothingFreed { .. }
        | RunError::ModelFile { .. }
        | RunError::Unwritten { .. } => 74,
        RunError::Status(_)
        | RunError::NoMasks { .. }
        | RunError::NoBoxes { .. }
        | RunError::NoModel { .. }
        | RunError::ExportIntoSource { .. }
        | RunError::ExportOver { .. } => 78,
        RunError::Cluster(ClusterError::Lost { .. } | ClusterError::Link { .. }) => 70,
        RunError::Cluster(ClusterError::Absent { .. } | ClusterError::Unreached { .. }) => 75,
        RunError::Cluster(_) => 78,
        RunError::Control(_) | RunError::Threads(_) => 70,
    }
}
