//! What strangers, closed pipes, signals and files that are none do to a run: nothing, or its end in order.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tomoflow::connectors::table::{Rows, Table, read_rows};

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};

/// No test waits longer for a process to get somewhere.
const PATIENCE: Duration = Duration::from_secs(60);
/// A run that is told to stop ends within a second; a machine that is busy with other tests may take longer.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A process that is killed when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Running {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Its exit code, once it has ended within a time.
    fn ends_within(&mut self, time: Duration) -> Option<i32> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "still there after {time:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn command(arguments: &[&str], pipeline: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    command.env("OMP_NUM_THREADS", "1").env("MKL_NUM_THREADS", "1").env_remove("TOMOFLOW_SECRET");
    command.args(arguments).arg(pipeline).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not seen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn status(place: &Workplace) -> String {
    std::fs::read_to_string(place.out().join("store/status.json")).unwrap_or_default()
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Free loopback ports, and a hosts file of them.
fn hosts(place: &Workplace, count: usize) -> (PathBuf, Vec<String>) {
    let all: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<String> = all.iter().map(|one| one.local_addr().unwrap().to_string()).collect();
    let path = place.path().join("hosts.txt");
    std::fs::write(&path, hosts.join("\n")).unwrap();
    (path, hosts)
}

fn process(place: &Workplace, hosts: &Path, number: usize, more: &[&str]) -> Command {
    let mut command = command(&["run"], &place.pipeline());
    command.args(["--processes", "2", "--process", &number.to_string(), "--threads", "1", "--hosts"]);
    command.arg(hosts).args(more);
    command
}

/// The lines of a stream as they come.
fn lines(stream: impl Read + Send + 'static) -> crossbeam_channel::Receiver<String> {
    let (sender, lines) = crossbeam_channel::unbounded();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            drop(sender.send(line));
        }
    });
    lines
}

fn says(lines: &crossbeam_channel::Receiver<String>, wanted: &str, within: Duration) -> String {
    let deadline = Instant::now() + within;
    let mut all = Vec::new();
    while let Ok(line) = lines.recv_deadline(deadline) {
        if line.contains(wanted) {
            return line;
        }
        all.push(line);
    }
    panic!("`{wanted}` expected within {within:?} in\n{}", all.join("\n"));
}

#[test]
fn readers_that_leave_end_no_command() {
    let place = Workplace::new(1);
    let pipeline = place.pipeline();
    for arguments in
        [&["run"][..], &["run", "--json"], &["check"], &["plan"], &["status"], &["report"], &["run", "--bad"]]
    {
        for closed_error in [false, true] {
            let mut child = command(arguments, &pipeline).spawn().unwrap();
            // Nobody reads it from the beginning.
            let mut rest = String::new();
            if closed_error {
                drop(child.stderr.take());
                child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
            } else {
                drop(child.stdout.take());
                child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
            }
            let code = Running(child).ends_within(PATIENCE);
            assert!(matches!(code, Some(0..=2 | 66)), "{arguments:?}: {code:?}");
            assert!(!rest.contains("panicked"), "{arguments:?}: {rest}");
        }
    }
}

#[test]
fn a_watching_run_goes_on_when_the_reader_of_its_error_stream_leaves() {
    let mut place = Workplace::new(1);
    place.text = place.text.rewrite("out = \"out\"", "out = \"out\"\nsettle = \"50ms\"");
    let mut child = command(&["run", "--watch"], &place.pipeline()).env("RUST_LOG", "debug").spawn().unwrap();
    drop((child.stderr.take(), child.stdout.take()));
    let mut running = Running(child);
    for count in 1..3 {
        let done = format!("\"done\": {count},");
        until("a case", || status(&place).contains(&done));
        place.add(count);
    }
    running.signal("TERM");
    assert!(running.ends_within(AT_ONCE).is_some());
}

#[test]
fn what_is_no_file_is_told_and_never_waited_for() {
    let place = Workplace::new(1);
    let voxels = place.archive().join("images");
    std::fs::create_dir(&voxels).unwrap();
    let header =
        "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = f.raw\n";
    std::fs::write(voxels.join("f.mhd"), header).unwrap();
    fifo(&voxels.join("f.raw"));
    std::os::unix::fs::symlink("/dev/zero", voxels.join("zero.zip")).unwrap();
    fifo(&place.archive().join("slice.dcm"));
    let mut images = Workplace::new(0);
    images.text = format!(
        "[pipeline]\nname = \"i\"\nout = \"out\"\nallowed_rejects = 1.0\n\n[sources.scans]\ntype = \"images\"\npath = \"{}\"\nfiles = \"{{case}}.mhd\"\n\n\
         [operators.bright]\ntype = \"threshold\"\ninputs = [\"scans\"]\nabove = 0.5\n\n\
         [sinks.found]\ntype = \"delta\"\ninputs = [\"bright\"]\n",
        voxels.display()
    );
    let mut run = Running(command(&["run"], &images.pipeline()).spawn().unwrap());
    assert!(run.ends_within(PATIENCE).is_some());
    let Rows::Rejects(rows) = read_rows(&images.out().join("tables/rejects"), Table::Rejects).unwrap() else {
        panic!("rows of rejects expected");
    };
    assert!(rows.iter().any(|row| row.message.contains("a FIFO found")), "{rows:?}");
    // Beside DICOM neither is looked at.
    let mut run = Running(command(&["run"], &place.pipeline()).spawn().unwrap());
    assert_eq!(run.ends_within(PATIENCE), Some(0));
    // As a source, a table or a model.
    for (from, to) in [
        ("path = \"archive\"", "path = \"archive/slice.dcm\""),
        ("path = \"archive\"", "path = \"/dev/zero\""),
    ] {
        let text = place.text.clone();
        let pipeline = place.path().join("other.toml");
        std::fs::write(&pipeline, text.replacen(from, to, 1).rewrite("out = \"out\"", "out = \"other\""))
            .unwrap();
        let mut run = Running(command(&["run"], &pipeline).spawn().unwrap());
        let code = run.ends_within(PATIENCE);
        let mut said = String::new();
        run.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(code, Some(65), "{to}: {said}");
        assert!(said.contains("an ordinary file expected"), "{to}: {said}");
    }
}

#[test]
fn a_run_that_waits_for_another_process_stops_at_once() {
    let place = Workplace::new(1);
    let (path, _) = hosts(&place, 2);
    for number in 0..2 {
        let mut waiting = Running(process(&place, &path, number, &[]).spawn().unwrap());
        std::thread::sleep(Duration::from_millis(700));
        waiting.signal("TERM");
        assert_eq!(waiting.ends_within(AT_ONCE), Some(130), "process {number}");
    }
}

#[test]
fn strangers_neither_hold_up_processes_that_meet_nor_hear_of_the_plan() {
    let place = Workplace::new(2);
    let expected = place.anew();
    let (path, hosts) = hosts(&place, 2);
    let mut first = Running(process(&place, &path, 0, &[]).spawn().unwrap());
    let mut callers = Vec::new();
    until("process 0 listens", || match TcpStream::connect(&hosts[0]) {
        Ok(caller) => {
            callers.push(caller);
            true
        }
        Err(_) => false,
    });
    // Silent ones, one that announces gigabytes, one that forges what a process says, and what is no message.
    for bytes in [
        &b""[..],
        &[0xFF; 64],
        &u64::MAX.to_le_bytes(),
        &[9, 0, 0, 0, 0, 0, 0, 0, 1, 1, 5, 48, 46, 49, 46, 48, 2],
    ] {
        let mut caller = TcpStream::connect(&hosts[0]).unwrap();
        caller.write_all(bytes).unwrap();
        callers.push(caller);
    }
    let mut dripping = TcpStream::connect(&hosts[0]).unwrap();
    std::thread::spawn(move || {
        while dripping.write_all(&[1]).is_ok() {
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    let began = Instant::now();
    let mut second = Running(process(&place, &path, 1, &[]).spawn().unwrap());
    for process in [&mut first, &mut second] {
        let code = process.ends_within(PATIENCE);
        let mut said = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(code, Some(0), "{said}");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_same(&place.tables(), &expected, "with strangers");
    for caller in &mut callers {
        let mut heard = Vec::new();
        let _ = caller.read_to_end(&mut heard);
        assert!(heard.len() <= 32, "{} bytes told to a stranger", heard.len());
    }
}

#[test]
fn processes_with_other_secrets_do_not_meet() {
    let place = Workplace::new(1);
    let (path, _) = hosts(&place, 2);
    let secret = |text: &str, number| {
        let mut command = process(&place, &path, number, &[]);
        Running(command.env("TOMOFLOW_SECRET", text).spawn().unwrap())
    };
    let _first = secret("one long secret of all", 0);
    let mut second = secret("another long secret", 1);
    assert_eq!(second.ends_within(PATIENCE), Some(78));
    let mut said = String::new();
    second.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("does not know the same secret"), "{said}");
}

#[test]
fn a_process_that_is_stopped_is_named_within_ten_seconds_and_heard_again() {
    let mut place = Workplace::new(2);
    place.text = place.text.rewrite("out = \"out\"", "out = \"out\"\nsettle = \"50ms\"");
    let (path, _) = hosts(&place, 2);
    let mut first = process(&place, &path, 0, &["--watch"]);
    let mut first = Running(first.process_group(0).spawn().unwrap());
    let second = Running(process(&place, &path, 1, &[]).spawn().unwrap());
    let said = lines(first.0.stderr.take().unwrap());
    until("the processes work", || status(&place).contains("\"watching\""));
    std::thread::sleep(Duration::from_secs(2));
    second.signal("STOP");
    let named = says(&said, "nothing was heard of process 1", Duration::from_secs(10));
    assert!(named.contains("the run waits for it"), "{named}");
    until("the status", || status(&place).contains("\"silent\": [\n    1\n  ]"));
    second.signal("CONT");
    says(&said, "is heard again", Duration::from_secs(10));
    until("the status", || status(&place).contains("\"silent\": []"));
    // One that is stopped for good holds up nobody who is told to stop.
    place.add(2);
    second.signal("STOP");
    std::thread::sleep(Duration::from_millis(300));
    first.signal("TERM");
    assert!(first.ends_within(Duration::from_secs(15)).is_some());
}
