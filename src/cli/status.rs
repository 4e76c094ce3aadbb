//! `tomoflow status`: where the run of a pipeline stands, or how it ended.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use indicatif::BinaryBytes;
use serde::Serialize;

use super::PipelineArgs;
use crate::engine::{Life, StageStatus, Status, StatusError, WorkerStatus};
use crate::operators::registry::Registry;

/// A run that has not told of itself for longer is not as it should be.
const SILENT: Duration = Duration::from_secs(15);
/// The number of lost workers that are told of one by one.
const LOST: usize = 5;

/// The command line of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Print the status as JSON
    #[arg(long)]
    json: bool,
}

/// The status and what has become of its process, for programs.
#[derive(Serialize)]
struct Told<'a> {
    life: Life,
    #[serde(flatten)]
    status: &'a Status,
}

/// Prints the status: exit code 0, 1 when there is none or its process was killed, 74 when it cannot be
/// read, 66 or 78 when the pipeline cannot.
pub fn run(args: &StatusArgs, registry: &Registry) -> ExitCode {
    let status = match read(&args.pipeline, registry) {
        Ok(status) => status,
        Err(code) => return code,
    };
    let life = status.life();
    if args.json {
        let told = Told { life, status: &status };
        super::print(format_args!("{}\n", serde_json::to_string(&told).unwrap_or_default()));
    } else {
        super::print(render(&status, life, SystemTime::now()));
    }
    ExitCode::from(u8::from(life == Life::Killed))
}

/// The status of a pipeline's run; or the exit code, when why there is none was printed.
pub(super) fn read(pipeline: &PipelineArgs, registry: &Registry) -> Result<Status, ExitCode> {
    let plan = pipeline.load(registry).map_err(|problems| super::refuse(&problems))?;
    match Status::read(&plan.settings.out.join("store")) {
        Ok(Some(status)) => Ok(status),
        Ok(None) => {
            let file = pipeline.path().display();
            note!("no run has been seen here\nhint: `tomoflow run {file}` starts one");
            Err(ExitCode::from(1))
        }
        Err(error) => Err(refuse(&error)),
    }
}

/// Prints why a status cannot be shown, and gives the exit code.
pub(super) fn refuse(error: &StatusError) -> ExitCode {
    note!("error: {error}");
    ExitCode::from(74)
}

/// Draws the screen.
pub(super) fn render(status: &Status, life: Life, now: SystemTime) -> String {
    let mut text = format!("{}: {}\n", status.pipeline, headline(status, life, now));
    table(&mut text, status);
    for (stage, training) in &status.trainings {
        let _ = writeln!(text, "{stage}: {}", training.line());
    }
    workers(&mut text, status);
    for process in &status.silent {
        let _ = writeln!(text, "nothing is heard of process {process}: it is waited for");
    }
    let (flight, limit) = (BinaryBytes(status.bytes_in_flight), BinaryBytes(status.memory_bytes));
    let settling = match status.settling {
        0 => String::new(),
        waiting => format!(", {waiting} waiting to be quiet"),
    };
    let _ = write!(
        text,
        "{:.2} actions/s, {}/s read over the last minute\n\
         {flight} of {limit} in flight, {} resident\n\
         {} files, {} cases, {} rejected{settling}\n",
        status.actions_per_s,
        BinaryBytes(status.read_bytes_per_s as u64),
        BinaryBytes(status.rss_bytes),
        status.files,
        status.cases,
        status.rejected
    );
    text
}

/// Returns what the run is doing, or what has become of it.
fn headline(status: &Status, life: Life, now: SystemTime) -> String {
    let ran = seconds(status.seconds);
    let told = since(&status.updated, now);
    match life {
        Life::Ended => format!("ended {} after {ran}", ago(told)),
        Life::Killed => format!("killed: process {} is gone (last seen {})", status.process, ago(told)),
        Life::Running | Life::Elsewhere => {
            let host = match life {
                Life::Elsewhere => format!(" on {}", status.host),
                _ => String::new(),
            };
            let silent = match told {
                Some(told) if told > SILENT => format!("; it last told of itself {}", ago(Some(told))),
                _ => String::new(),
            };
            format!("{} for {ran}, process {}{host}{silent}", status.phase.name(), status.process)
        }
    }
}

fn table(text: &mut String, status: &Status) {
    let mut stages: Vec<_> = status.stages.iter().collect();
    stages.sort_by_key(|(_, stage)| stage.order);
    let width = stages.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max("stage".len());
    let _ = writeln!(
        text,
        "{:width$}  {:>7}  {:>7}  {:>7}  {:>7}  {:>7}  oldest wanted",
        "stage", "wanted", "done", "failed", "running", "queued"
    );
    for (name, stage) in stages {
        let StageStatus { wanted, done, failed, running, queued, oldest_wanted_s, .. } = stage;
        let oldest = oldest_wanted_s.map_or_else(|| "-".to_owned(), seconds);
        let _ = writeln!(
            text,
            "{name:width$}  {wanted:>7}  {done:>7}  {failed:>7}  {running:>7}  {queued:>7}  {oldest}"
        );
    }
}

/// A line for each worker; nothing where there are none.
fn workers(text: &mut String, status: &Status) {
    if status.workers.is_empty() {
        return lost(text, status);
    }
    let width = status.workers.iter().map(|worker| worker.name.chars().count()).max().unwrap_or(0);
    let width = width.max("worker".len());
    let _ = writeln!(
        text,
        "{:width$}  {:>7}  {:>7}  {:>7}  {:>10}  {:>10}",
        "worker", "device", "running", "done", "in flight", "read"
    );
    for worker in &status.workers {
        let WorkerStatus { name, device, running, done, held_bytes, read_bytes, .. } = worker;
        let (held, read) = (BinaryBytes(*held_bytes).to_string(), BinaryBytes(*read_bytes).to_string());
        let said = match worker.silent_s {
            Some(silent) => format!("  silent for {}", seconds(silent)),
            None if worker.leaving => "  leaves".to_owned(),
            None => String::new(),
        };
        let twice = match worker.twice {
            0 => String::new(),
            twice => format!("  {twice} that another had"),
        };
        let _ = writeln!(
            text,
            "{name:width$}  {device:>7}  {running:>7}  {done:>7}  {held:>10}  {read:>10}{twice}{said}"
        );
    }
    lost(text, status);
}

/// A line for each of the workers that were lost last, and how many others were.
fn lost(text: &mut String, status: &Status) {
    let lost = status.gone.last.iter().rev().filter_map(|worker| Some((worker, worker.lost.as_ref()?)));
    let mut told = 0;
    for (worker, why) in lost.take(LOST) {
        told += 1;
        let _ = writeln!(text, "the worker {} was lost after {} actions: {why}", worker.name, worker.done);
    }
    if status.gone.lost > told {
        let _ = writeln!(text, "and {} others were lost before", status.gone.lost - told);
    }
}

/// Writes a time as `2m 3s`; a file may hold any number.
fn seconds(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.max(0.0).floor()).unwrap_or_default();
    humantime::format_duration(whole).to_string()
}

fn since(time: &str, now: SystemTime) -> Option<Duration> {
    let time = humantime::parse_rfc3339(time).ok()?;
    Some(now.duration_since(time).unwrap_or_default())
}

fn ago(passed: Option<Duration>) -> String {
    match passed {
        Some(passed) if passed.as_secs() > 0 => format!("{} ago", seconds(passed.as_secs_f64())),
        Some(_) => "just now".to_owned(),
        None => "at an unknown time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Training;

    fn at(seconds: u64) -> SystemTime {
        humantime::parse_rfc3339("2026-01-02T03:04:05Z").unwrap() + Duration::from_secs(seconds)
    }

    fn status() -> Status {
        let stage = |order, wanted, done, oldest_wanted_s| StageStatus {
            order,
            wanted,
            done,
            failed: 1,
            running: 2,
            queued: 3,
            oldest_wanted_s,
        };
        let training = Training { epoch: 2, epochs: 9, step: 30, steps: 135, ..Training::default() };
        Status {
            pipeline: "vs".to_owned(),
            process: 4711,
            host: "reading-room".to_owned(),
            updated: "2026-01-02T03:04:05Z".to_owned(),
            phase: crate::engine::Phase::Working,
            stages: [
                ("volume".to_owned(), stage(0, 12345, 12339, Some(123.9))),
                ("a-long-stage-name".to_owned(), stage(1, 20, 14, None)),
            ]
            .into(),
            actions_per_s: 0.416,
            read_bytes_per_s: 1_572_864.0,
            bytes_in_flight: 3 << 29,
            memory_bytes: 4 << 30,
            rss_bytes: 2 << 30,
            settling: 2,
            files: 4321,
            cases: 20,
            rejected: 1,
            trainings: [("net".to_owned(), training)].into(),
            seconds: 250.7,
            ..Status::default()
        }
    }

    #[test]
    fn a_running_pipeline_is_shown_by_stage() {
        let expected = "\
vs: working for 4m 10s, process 4711
stage               wanted     done   failed  running   queued  oldest wanted
volume               12345    12339        1        2        3  2m 3s
a-long-stage-name       20       14        1        2        3  -
net: epoch 2 of 9, step 30 of 135
0.42 actions/s, 1.50 MiB/s read over the last minute
1.50 GiB of 4.00 GiB in flight, 2.00 GiB resident
4321 files, 20 cases, 1 rejected, 2 waiting to be quiet
";
        assert_eq!(render(&status(), Life::Running, at(3)), expected);
    }

    #[test]
    fn workers_are_lines_and_those_that_were_lost_are_named() {
        let worker = |name: &str, twice, silent_s| WorkerStatus {
            name: name.to_owned(),
            device: "cpu".to_owned(),
            running: 1,
            done: 7,
            twice,
            silent_s,
            ..WorkerStatus::default()
        };
        let mut told = status();
        told.workers = vec![worker("a", 0, None), worker("b", 2, Some(9.0))];
        told.gone.note(worker("orderly", 0, None), None);
        for number in 0..7 {
            told.gone.note(worker(&format!("w{number}"), 0, None), Some("it hung up"));
        }
        let text = render(&told, Life::Running, at(3));
        let lines: Vec<&str> = text.lines().collect();
        let row = lines.iter().position(|line| line.starts_with("worker  ")).unwrap();
        assert!(lines[row + 1].starts_with("a ") && lines[row + 1].ends_with("0 B"), "{text}");
        assert!(lines[row + 2].ends_with("  2 that another had  silent for 9s"), "{text}");
        assert_eq!(lines[row + 3], "the worker w6 was lost after 7 actions: it hung up");
        assert_eq!(lines[row + 7], "the worker w2 was lost after 7 actions: it hung up");
        assert_eq!(lines[row + 8], "and 2 others were lost before");
        assert!(!text.contains("orderly"));
        told.workers.clear();
        assert!(render(&told, Life::Running, at(3)).contains("\nthe worker w6 was lost"));
    }

    #[test]
    fn the_headline_says_what_has_become_of_it() {
        let status = status();
        let headline = |life, now| headline(&status, life, now);
        assert_eq!(headline(Life::Ended, at(0)), "ended just now after 4m 10s");
        assert_eq!(headline(Life::Ended, at(3600)), "ended 1h ago after 4m 10s");
        assert_eq!(headline(Life::Killed, at(61)), "killed: process 4711 is gone (last seen 1m 1s ago)");
        assert_eq!(
            headline(Life::Elsewhere, at(20)),
            "working for 4m 10s, process 4711 on reading-room; it last told of itself 20s ago"
        );
        let odd = Status { updated: "?".to_owned(), seconds: f64::MAX, ..status.clone() };
        assert_eq!(super::headline(&odd, Life::Ended, at(0)), "ended at an unknown time after 0s");
    }

    #[test]
    fn a_run_without_stages_is_shown() {
        let text = render(
            &Status { settling: 0, stages: [].into(), trainings: [].into(), ..status() },
            Life::Running,
            at(0),
        );
        assert!(
            text.contains("\nstage   wanted     done") && text.ends_with("20 cases, 1 rejected\n"),
            "{text}"
        );
    }
}
