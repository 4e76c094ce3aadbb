//! What another terminal, and Prometheus, see of a run that goes on, and of one that has ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::Workplace;
use crate::support::text::Rewrite as _;
use serde_json::Value;

/// No test waits longer for a run to get somewhere.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that is killed when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn watch(place: &Workplace) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    command.args(["run", "--watch"]).arg(place.pipeline()).stdout(Stdio::null()).stderr(Stdio::piped());
    Running(command.spawn().unwrap())
}

fn status(place: &Workplace) -> (Option<i32>, Option<Value>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    let output = command.args(["status", "--json"]).arg(place.pipeline()).output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).ok())
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not seen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn metrics(address: &str) -> String {
    let Ok(mut link) = TcpStream::connect(address) else { return String::new() };
    link.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    drop(link.read_to_string(&mut text));
    text
}

#[test]
fn a_run_is_seen_from_outside_while_it_goes_on_and_after() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut place = Workplace::new(2);
    let more = format!("out = \"out\"\nmetrics = \"{free}\"\nsettle = \"50ms\"");
    place.text = place.text.rewrite("out = \"out\"", &more);
    assert_eq!(status(&place), (Some(1), None), "no run has been here");

    let mut running = watch(&place);
    let heard = Arc::new(Mutex::new(String::new()));
    let hearing = std::thread::spawn({
        let (heard, said) = (Arc::clone(&heard), BufReader::new(running.0.stderr.take().unwrap()));
        move || said.lines().map_while(Result::ok).for_each(|line| *heard.lock().unwrap() += &(line + "\n"))
    });
    let done = |status: &Value| status["stages"]["scores"]["done"] == 2;
    until("two cases", || status(&place).1.is_some_and(|status| done(&status)));
    let (code, seen) = status(&place);
    let seen = seen.unwrap();
    assert_eq!((code, &seen["life"], &seen["phase"]), (Some(0), &"running".into(), &"watching".into()));
    assert_eq!((&seen["process"], &seen["cases"]), (&running.0.id().into(), &2.into()));
    let text = metrics(&free);
    for line in
        ["tomoflow_up 1", "tomoflow_actions_done_total{stage=\"scores\"} 2", "tomoflow_cases 2", "# EOF"]
    {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }

    // What comes meanwhile is seen as well.
    place.add(2);
    until("a third case", || metrics(&free).contains("tomoflow_actions_done_total{stage=\"scores\"} 3"));
    // Its line is said once tables have it.
    until("the line of the third case", || heard.lock().unwrap().contains(" 3 cases: 3 processed"));
    let interrupt = Command::new("kill").args(["-INT", &running.0.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    until("the end", || running.0.try_wait().unwrap().is_some());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    // What came is told with its time and name, and each case once.
    hearing.join().unwrap();
    let said = heard.lock().unwrap().clone();
    let came: Vec<_> = said.lines().filter_map(|line| line.split_once(" came: ")).collect();
    let times = came.iter().all(|(time, _)| humantime::parse_rfc3339(time).is_ok());
    let names = came.iter().map(|(_, names)| names.split(", ").count()).sum::<usize>();
    assert!(times && names == 3 && said.contains(" 3 cases: 3 processed, 0 unchanged"), "{said}");
    let (code, seen) = status(&place);
    assert_eq!((code, &seen.unwrap()["life"]), (Some(0), &"ended".into()));
    assert_eq!(place.tables(), place.anew());

    let mut killed = watch(&place);
    until("another run", || status(&place).1.is_some_and(|seen| seen["process"] == killed.0.id()));
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    let (code, seen) = status(&place);
    assert_eq!((code, &seen.unwrap()["life"]), (Some(1), &"killed".into()));
}
