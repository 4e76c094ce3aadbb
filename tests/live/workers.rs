//! Workers that come and go: killed, frozen, refused, late; the tables are those of a run that nobody disturbed.

mod examples;
mod sealed;
mod told;
mod twice;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};

/// No test waits longer for a process to get somewhere.
const PATIENCE: Duration = Duration::from_secs(90);
/// What a run and workers know that do not see the user's own key.
const SECRET: &str = "a secret of this test alone";
/// What makes each action of a worker take a quarter of a second.
const SLOW: &str = "artifact.staged:1:slow";

/// A process that is killed when the test ends; what it says goes to a file, which nobody has to read.
struct Running {
    child: Child,
    said: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Running {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    fn ends(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "still there: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A run that takes workers, and those that were started for it.
struct Crew<'p> {
    place: &'p Workplace,
    run: Running,
    address: String,
    count: usize,
}

fn command(place: &Workplace, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    command.env("OMP_NUM_THREADS", "1").env("MKL_NUM_THREADS", "1");
    command.env_remove("TOMOFLOW_SECRET").env_remove("TOMOFLOW_POINT");
    command.env("XDG_STATE_HOME", place.path().join("state")).env("RUST_LOG", "info");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn spawn(place: &Workplace, mut command: Command, name: &str) -> Running {
    let said = place.path().join(format!("{name}.log"));
    let child = command.stderr(std::fs::File::create(&said).unwrap()).spawn().unwrap();
    Running { child, said }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not seen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn status(place: &Workplace) -> Value {
    let text = std::fs::read(place.out().join("store/status.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

impl<'p> Crew<'p> {
    fn start(place: &'p Workplace, more: &[&str]) -> Self {
        Self::start_with(place, more, None)
    }

    fn start_with(place: &'p Workplace, more: &[&str], secret: Option<&str>) -> Self {
        drop(std::fs::remove_dir_all(place.out()));
        let mut command = command(place, &["run", "--json", "--threads", "1"]);
        command.envs(secret.map(|secret| ("TOMOFLOW_SECRET", secret)));
        command.arg(place.pipeline()).args(["--listen", "127.0.0.1:0", "--silence", "1500ms"]).args(more);
        let run = spawn(place, command, "run");
        let mut address = Value::Null;
        until("where workers join", || {
            address = status(place)["listening"].clone();
            address.is_string()
        });
        Self { place, run, address: address.as_str().unwrap().to_owned(), count: 0 }
    }

    fn worker(&mut self, point: Option<&str>, more: &[&str]) -> Running {
        self.count += 1;
        let name = format!("w{}", self.count);
        let mut command = command(self.place, &["work", "--join", &self.address, "--threads", "1"]);
        command.args(["--name", &name]).args(more);
        command.envs(point.map(|point| ("TOMOFLOW_POINT", point)));
        spawn(self.place, command, &name)
    }

    /// The summary of the run, once it has ended.
    fn summary(&mut self) -> Value {
        let code = self.run.ends();
        let mut out = String::new();
        self.run.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!(code, Some(0), "{}", self.run.said());
        serde_json::from_str(&out).unwrap()
    }

    fn workers(&self) -> BTreeMap<String, Value> {
        let all = status(self.place)["workers"].as_array().cloned().unwrap_or_default();
        all.into_iter().map(|one| (one["name"].as_str().unwrap().to_owned(), one)).collect()
    }
}

#[test]
fn workers_make_the_tables_of_one_process() {
    let place = Workplace::new(5);
    let expected = place.anew();
    for (workers, more) in [(1, &["--no-local"][..]), (2, &["--no-local"]), (2, &[])] {
        let mut crew = Crew::start(&place, more);
        let arguments = ["--once", "--patience", "3s"];
        let mut all: Vec<Running> = (0..workers).map(|_| crew.worker(None, &arguments)).collect();
        let summary = crew.summary();
        assert_eq!((&summary["cases"], &summary["actions_run"]), (&5.into(), &15.into()));
        assert_same(&place.tables(), &expected, &format!("{workers} workers, {more:?}"));
        // One that came when all was done finds nobody.
        let codes: Vec<Option<i32>> = all.iter_mut().map(Running::ends).collect();
        assert!(codes.iter().all(|code| matches!(code, Some(0 | 75))), "{codes:?}");
        assert!(codes.contains(&Some(0)) || more.is_empty(), "{codes:?}");
        // What workers did is found again.
        assert_eq!(place.run().actions_run, 0);
    }
}

#[test]
fn a_worker_trains_and_rules_are_settled_while_workers_are_there() {
    let place = Workplace::trained();
    let expected = place.anew();
    let mut crew = Crew::start(&place, &["--no-local"]);
    let _workers = [crew.worker(None, &[]), crew.worker(None, &[])];
    assert_eq!(crew.summary()["trained"], 1);
    assert_same(&place.tables(), &expected, "trained by a worker");

    let mut place = Workplace::new(4);
    let even = "[operators.even]\ntype = \"resample\"\ninputs = [\"case\"]\nto = { percentile = 10 }\n\n[operators.normal]\n\
                type = \"zscore\"\ninputs = [\"even\"]\nstatistics = \"archive\"";
    place.text = place.text.rewrite("[operators.normal]\ntype = \"zscore\"\ninputs = [\"case\"]", even);
    let expected = place.anew();
    let mut crew = Crew::start(&place, &["--no-local"]);
    let _worker = crew.worker(None, &[]);
    assert_eq!(crew.summary()["rejected"], 0);
    assert_same(&place.tables(), &expected, "rules");
}

/// A worker that sees nothing of the place: another file system lies over it. None where the system does not let us.
fn blind(crew: &mut Crew, more: &[&str]) -> Option<Running> {
    let inside = ["--user", "--map-root-user", "--mount"];
    let may = Command::new("unshare").args(inside).args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        println!("skipped: a mount namespace expected, none is to be had");
        return None;
    }
    crew.count += 1;
    let name = format!("w{}", crew.count);
    let mut command = Command::new("unshare");
    command.env("OMP_NUM_THREADS", "1").env("MKL_NUM_THREADS", "1").env("RUST_LOG", "info");
    command.env("TOMOFLOW_SECRET", SECRET).env("PLACE", crew.place.path());
    command.args(inside).args(["sh", "-c", "mount -t tmpfs none \"$PLACE\" && exec \"$@\"", "sh"]);
    command.args([env!("CARGO_BIN_EXE_tomoflow"), "work", "--join", &crew.address, "--threads", "1"]);
    command.args(["--name", &name]).args(more).stdin(Stdio::null()).stdout(Stdio::piped());
    Some(spawn(crew.place, command, &name))
}

#[test]
fn a_worker_that_sees_nothing_is_refused_or_sent_what_it_needs() {
    let place = Workplace::new(2);
    let mut crew = Crew::start_with(&place, &["--no-local"], Some(SECRET));
    let Some(mut worker) = blind(&mut crew, &[]) else { return };
    assert_eq!(worker.ends(), Some(78), "{}", worker.said());
    assert!(worker.said().contains("it does not see what this run sees"), "{}", worker.said());
    drop((crew, worker));
    for place in [Workplace::new(4), Workplace::trained()] {
        let expected = place.anew();
        let mut crew = Crew::start_with(&place, &["--no-local", "--send"], Some(SECRET));
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().to_str().unwrap();
        let mut worker = blind(&mut crew, &["--once", "--scratch", folder]).unwrap();
        assert_eq!(crew.summary()["rejected"], 0);
        assert_same(&place.tables(), &expected, "by a worker that sees nothing");
        assert_eq!(worker.ends(), Some(0), "{}", worker.said());
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "nothing stays with the worker");
        assert_eq!(place.run().actions_run, 0);
    }
}

#[test]
fn killed_and_frozen_workers_change_nothing() {
    let place = Workplace::new(24);
    let expected = place.anew();
    let mut crew = Crew::start(&place, &["--no-local"]);
    let mut workers: Vec<Running> = (0..3).map(|_| crew.worker(Some(SLOW), &[])).collect();
    until("all three work", || {
        let workers = crew.workers();
        workers.len() == 3 && workers.values().all(|worker| worker["running"].as_u64() > Some(0))
    });
    workers[0].child.kill().unwrap();
    workers[1].signal("STOP");
    until("the silent one is named", || crew.workers().get("w2").is_some_and(|one| one["silent_s"].is_f64()));
    workers[1].signal("CONT");
    until("it is heard again", || {
        crew.run.said().contains("the worker `w2`") && crew.run.said().contains("is heard again")
    });
    // One that is told to stop leaves in order, and another takes over.
    workers[2].signal("TERM");
    assert_eq!(workers[2].ends(), Some(0), "{}", workers[2].said());
    let summary = crew.summary();
    assert_eq!((&summary["cases"], &summary["actions_run"]), (&24.into(), &72.into()), "{summary}");
    assert_same(&place.tables(), &expected, "disturbed");
    let said = crew.run.said();
    assert!(said.contains("the worker `w1`") && said.contains("is gone"), "{said}");
    assert!(said.contains("nothing was heard of the worker `w2`"), "{said}");
    // What was computed twice is one file.
    let verified = command(&place, &["verify"]).arg(place.pipeline()).output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn kills_freezes_and_joins_at_random_change_nothing() {
    let events: usize = std::env::var("TOMOFLOW_DISTURBANCES").map_or(10, |count| count.parse().unwrap());
    let place = Workplace::new(8 + events);
    let expected = place.anew();
    let mut rng = ChaCha8Rng::seed_from_u64(24);
    let mut crew = Crew::start(&place, &["--no-local"]);
    let mut workers: Vec<Running> = (0..3).map(|_| crew.worker(Some(SLOW), &[])).collect();
    let mut frozen: Vec<Running> = Vec::new();
    for _ in 0..events {
        std::thread::sleep(Duration::from_millis(rng.random_range(50..500)));
        let at = rng.random_range(0..workers.len());
        match rng.random_range(0..4) {
            0 => drop(workers.swap_remove(at)),
            1 => {
                let worker = workers.swap_remove(at);
                worker.signal("STOP");
                frozen.push(worker);
            }
            2 if !frozen.is_empty() => {
                let worker = frozen.swap_remove(0);
                worker.signal("CONT");
                workers.push(worker);
            }
            _ => workers[at].signal("TERM"),
        }
        while workers.len() < 3 {
            workers.push(crew.worker(Some(SLOW), &[]));
        }
    }
    workers.push(crew.worker(None, &[]));
    let summary = crew.summary();
    assert_eq!(summary["actions_run"], 3 * (8 + events), "{summary}");
    assert_same(&place.tables(), &expected, "disturbed at random");
}

#[test]
fn who_does_not_belong_is_refused_by_name_and_ends_nothing() {
    let place = Workplace::new(2);
    let expected = place.anew();
    let token = |name: &str, text: &str| {
        let path = place.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) =
        (token("right", "a token of all who belong\n"), token("wrong", "a token of somebody else"));
    let mut crew = Crew::start(&place, &["--no-local", "--token-file", &right]);
    // Another token, another pipeline, and what is no worker at all.
    let mut other = crew.worker(None, &["--token-file", &wrong]);
    assert_eq!(other.ends(), Some(78), "{}", other.said());
    assert!(other.said().contains("--token-file"), "{}", other.said());
    let pipeline = place.pipeline();
    let plan = [pipeline.to_str().unwrap(), "--set", "operators.bright.above=0.7", "--token-file", &right];
    let mut other = crew.worker(None, &plan);
    assert_eq!(other.ends(), Some(78), "{}", other.said());
    let named = "`stages.bright.settings.above` is 0.5 for the run and 0.7 for the worker";
    assert!(other.said().contains(named) && crew.run.said().contains(named), "{}", crew.run.said());
    let mut strangers = Vec::new();
    for bytes in [&b""[..], &[0xFF; 64], &u64::MAX.to_le_bytes(), b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stranger = TcpStream::connect(&crew.address).unwrap();
        stranger.write_all(bytes).unwrap();
        strangers.push(stranger);
    }
    let mut worker = crew.worker(None, &["--once", "--token-file", &right]);
    assert_eq!(crew.summary()["actions_run"], 6);
    assert_eq!(worker.ends(), Some(0), "{}", worker.said());
    assert_same(&place.tables(), &expected, "with strangers");
    for stranger in &mut strangers {
        let mut heard = Vec::new();
        drop(stranger.read_to_end(&mut heard));
        assert!(heard.len() <= 32, "{} bytes told to a stranger", heard.len());
    }
}

#[test]
fn without_a_token_nobody_listens_for_other_machines() {
    let place = Workplace::new(1);
    let mut run = command(&place, &["run", "--listen", "0.0.0.0:0"]);
    let output = run.arg(place.pipeline()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("a token expected for workers on other machines"), "{said}");
    let mut work = command(&place, &["work", "--join", "127.0.0.1:9", "--patience", "300ms"]);
    let output = work.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("no run was reached at 127.0.0.1:9"), "{said}");
}
