//! A status as OpenMetrics text.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::{StageStatus, Status, WorkerStatus};
use crate::executor::Training;

/// A whole number and one with a fraction, as Prometheus takes them.
type Count = Gauge<u64, AtomicU64>;
type Seconds = Gauge<f64, AtomicU64>;

/// The labels of a stage's metric: `stage="…"`.
type Stage = [(&'static str, String); 1];
/// The labels of a worker's metric: `worker="…",device="…"`.
type Worker = [(&'static str, String); 2];

/// The metrics of a status, as OpenMetrics text. They name stages, never series or patients.
pub fn metrics(status: &Status) -> String {
    let mut registry = Registry::with_prefix("tomoflow");
    whole(&mut registry, status);
    stages(&mut registry, status);
    workers(&mut registry, status);
    let mut text = String::new();
    // Writing to a text cannot fail; were it to, half of it would end without `# EOF` and be refused.
    let _ = encode(&mut text, &registry);
    text
}

fn whole(registry: &mut Registry, status: &Status) {
    let up: Count = Gauge::default();
    up.set(1);
    registry.register("up", "Whether the run lives", up);
    let version = [("version", status.version.clone())];
    registry.register("build", "The program", Info::new(version));
    let gauges = [
        ("bytes_in_flight", "Bytes that actions hold", status.bytes_in_flight),
        ("memory_limit_bytes", "Bytes that actions may hold at once", status.memory_bytes),
        ("resident_bytes", "Bytes of the process in memory", status.rss_bytes),
        ("settling_series", "Series that wait to be quiet", status.settling as u64),
        ("files", "Files looked at", status.files as u64),
        ("cases", "Series looked at", status.cases as u64),
        ("rejected_cases", "Series that were refused or failed", status.rejected as u64),
    ];
    for (name, help, value) in gauges {
        let gauge: Count = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
    let read: Counter = Counter::default();
    read.inc_by(status.read_bytes);
    registry.register("read_bytes", "Bytes read from the sources", read);
    let seconds: Seconds = Gauge::default();
    seconds.set(status.seconds);
    registry.register("uptime_seconds", "Seconds since the start", seconds);
}

fn stages(registry: &mut Registry, status: &Status) {
    type Value = fn(&StageStatus) -> usize;
    let gauges: [(_, _, Value); 3] = [
        ("actions_wanted", "Actions wanted, done or not", |stage| stage.wanted),
        ("actions_running", "Actions that run", |stage| stage.running),
        ("actions_queued", "Actions that wait for their turn", |stage| stage.queued),
    ];
    for (name, help, value) in gauges {
        let family = each(status, |gauge: &Count, stage| gauge.set(value(stage) as u64));
        registry.register(name, help, family);
    }
    let counters: [(_, _, Value); 2] = [
        ("actions_done", "Actions with a result", |stage| stage.done),
        ("actions_failed", "Actions without a result", |stage| stage.failed),
    ];
    for (name, help, value) in counters {
        let family = each(status, |counter: &Counter, stage| counter.inc_by(value(stage) as u64));
        registry.register(name, help, family);
    }
    trainings(registry, status);
    let oldest = each(status, |gauge: &Seconds, stage| gauge.set(stage.oldest_wanted_s.unwrap_or(0.0)));
    registry.register("oldest_wanted_seconds", "For how long the oldest action has been wanted", oldest);
}

/// Registers where trainings stand; nothing while none is under way.
fn trainings(registry: &mut Registry, status: &Status) {
    if status.trainings.is_empty() {
        return;
    }
    type Value = fn(&Training) -> u64;
    let counts: [(_, _, Value); 4] = [
        ("training_epoch", "The epoch that is under way", |training| training.epoch),
        ("training_epochs", "The greatest number of epochs", |training| training.epochs),
        ("training_step", "Steps that are done", |training| training.step),
        ("training_steps", "The greatest number of steps", |training| training.steps),
    ];
    for (name, help, value) in counts {
        let family = Family::<Stage, Count>::default();
        for (stage, training) in &status.trainings {
            family.get_or_create(&[("stage", stage.clone())]).set(value(training));
        }
        registry.register(name, help, family);
    }
    let figures = Family::<[(&'static str, String); 2], Seconds>::default();
    for (stage, training) in &status.trainings {
        for (name, value) in &training.figures {
            figures.get_or_create(&[("stage", stage.clone()), ("figure", name.clone())]).set(*value);
        }
    }
    registry.register("training_figure", "A figure of the last epoch that ended", figures);
}

/// Workers, by name; nothing while there are none. Two of one name and device are one line.
fn workers(registry: &mut Registry, status: &Status) {
    if status.listening.is_some() {
        let lost: Counter = Counter::default();
        lost.inc_by(status.gone.lost);
        registry.register("workers_lost", "Workers that are gone and did not leave in order", lost);
    }
    if status.workers.is_empty() {
        return;
    }
    type Value = fn(&WorkerStatus) -> u64;
    let gauges: [(_, _, Value); 5] = [
        ("worker_actions_running", "Actions that a worker has", |worker| worker.running as u64),
        ("worker_bytes_in_flight", "Bytes that a worker's actions hold", |worker| worker.held_bytes),
        ("worker_memory_limit_bytes", "Bytes that a worker's actions may hold at once", |worker| {
            worker.memory_bytes
        }),
        ("worker_silent", "Whether nothing is heard of a worker", |worker| {
            u64::from(worker.silent_s.is_some())
        }),
        (
            "worker_silent_seconds",
            "For how long nothing is heard of a worker, where that is too long",
            |worker| worker.silent_s.unwrap_or(0.0) as u64,
        ),
    ];
    for (name, help, value) in gauges {
        let family = Family::<Worker, Count>::default();
        for worker in &status.workers {
            family.get_or_create(&labels(worker)).inc_by(value(worker));
        }
        registry.register(name, help, family);
    }
    let counters: [(_, _, Value); 3] = [
        ("worker_actions_done", "Actions that a worker has ended", |worker| worker.done),
        ("worker_actions_twice", "Actions that a worker was given although another had them", |worker| {
            worker.twice
        }),
        ("worker_read_bytes", "Bytes of source files that a worker has read", |worker| worker.read_bytes),
    ];
    for (name, help, value) in counters {
        let family = Family::<Worker, Counter>::default();
        for worker in &status.workers {
            family.get_or_create(&labels(worker)).inc_by(value(worker));
        }
        registry.register(name, help, family);
    }
}

fn labels(worker: &WorkerStatus) -> Worker {
    [("worker", worker.name.clone()), ("device", worker.device.clone())]
}

/// A metric for each stage.
fn each<M: Default, R>(status: &Status, set: impl Fn(&M, &StageStatus) -> R) -> Family<Stage, M>
where
    fn() -> M: MetricConstructor<M>,
{
    let family = Family::<Stage, M>::default();
    for (name, stage) in &status.stages {
        set(&*family.get_or_create(&[("stage", name.clone())]), stage);
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_a_line() {
        let mut status = Status::new("vs", 4 << 30);
        let net = StageStatus {
            order: 1,
            wanted: 9,
            done: 5,
            failed: 1,
            running: 2,
            queued: 1,
            oldest_wanted_s: Some(2.5),
        };
        status.stages.insert("net".to_owned(), net);
        status.stages.insert("a \"b\\\nc".to_owned(), StageStatus::default());
        (status.bytes_in_flight, status.read_bytes, status.settling) = (17, 23, 3);
        let training = Training {
            epoch: 2,
            epochs: 9,
            step: 30,
            steps: 135,
            figures: vec![("train loss".to_owned(), 0.25)],
            left_s: None,
        };
        status.trainings.insert("net".to_owned(), training);
        let worker =
            WorkerStatus { name: "w".to_owned(), device: "cpu".to_owned(), ..WorkerStatus::default() };
        let silent = WorkerStatus { silent_s: Some(7.5), running: 2, done: 3, twice: 1, ..worker.clone() };
        status.listening = Some("127.0.0.1:7400".to_owned());
        status.gone.note(worker.clone(), Some("it hung up"));
        status.workers = vec![WorkerStatus { running: 1, ..worker }, silent];
        let text = metrics(&status);
        let lines: Vec<_> = text.lines().collect();
        for line in [
            "tomoflow_up 1",
            "tomoflow_build_info{version=\"0.1.0\"} 1",
            "tomoflow_actions_wanted{stage=\"net\"} 9",
            "tomoflow_actions_done_total{stage=\"net\"} 5",
            "tomoflow_actions_failed_total{stage=\"net\"} 1",
            "tomoflow_actions_running{stage=\"net\"} 2",
            "tomoflow_actions_queued{stage=\"net\"} 1",
            "tomoflow_oldest_wanted_seconds{stage=\"net\"} 2.5",
            "tomoflow_oldest_wanted_seconds{stage=\"a \\\"b\\\\\\nc\"} 0.0",
            "tomoflow_bytes_in_flight 17",
            "tomoflow_memory_limit_bytes 4294967296",
            "tomoflow_read_bytes_total 23",
            "tomoflow_settling_series 3",
            "tomoflow_training_epoch{stage=\"net\"} 2",
            "tomoflow_training_steps{stage=\"net\"} 135",
            "tomoflow_training_figure{stage=\"net\",figure=\"train loss\"} 0.25",
            "# TYPE tomoflow_actions_done counter",
            "tomoflow_worker_actions_running{worker=\"w\",device=\"cpu\"} 3",
            "tomoflow_worker_actions_done_total{worker=\"w\",device=\"cpu\"} 3",
            "tomoflow_worker_silent{worker=\"w\",device=\"cpu\"} 1",
            "tomoflow_worker_silent_seconds{worker=\"w\",device=\"cpu\"} 7",
            "tomoflow_worker_actions_twice_total{worker=\"w\",device=\"cpu\"} 1",
            "tomoflow_workers_lost_total 1",
        ] {
            assert!(lines.contains(&line), "`{line}` is not in\n{text}");
        }
        assert!(lines.iter().any(|line| line.starts_with("tomoflow_resident_bytes ")));
        assert!(text.ends_with("# EOF\n") && !text.contains(&status.host));
    }
}
