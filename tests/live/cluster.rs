//! Several processes on one machine: the same tables as one makes, and a clear end when one is gone.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tomoflow::phantom::vs;

use crate::support::dicom::painted;
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};

/// No test waits longer for a process to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a hosts file of free loopback ports.
fn hosts(place: &Workplace, processes: usize) -> std::path::PathBuf {
    let listeners: Vec<TcpListener> =
        (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let lines: Vec<String> =
        listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    let path = place.path().join("hosts.txt");
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn spawn(place: &Workplace, hosts: &Path, processes: usize, process: usize, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    // As many threads as in this process, so that sums are taken in the same order.
    command.env("OMP_NUM_THREADS", "1").env("MKL_NUM_THREADS", "1");
    command.arg("run").arg(place.pipeline()).args(["--threads", "1", "--json"]);
    command.args(["--processes", &processes.to_string(), "--process", &process.to_string()]);
    command.arg("--hosts").arg(hosts).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn all(place: &Workplace, processes: usize, more: &[&str]) -> Vec<Child> {
    let hosts = hosts(place, processes);
    (0..processes).map(|process| spawn(place, &hosts, processes, process, more)).collect()
}

/// The exit code, and what was printed to standard output and standard error.
fn end(mut child: Child) -> (Option<i32>, String, String) {
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("a process did not end");
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (status.code(), out, err)
}

fn complete(place: &Workplace, processes: usize, more: &[&str]) -> serde_json::Value {
    let mut first = None;
    for (process, child) in all(place, processes, more).into_iter().enumerate() {
        let (code, out, err) = end(child);
        assert_eq!(code, Some(0), "process {process} of {processes}: {err}");
        if process == 0 {
            first = Some(serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}")));
        } else {
            assert_eq!(out, "", "only process 0 has something to say");
        }
    }
    first.unwrap()
}

#[test]
fn two_and_four_processes_make_the_tables_of_one() {
    let place = Workplace::new(5);
    let expected = place.anew();
    for (processes, workers) in [(2, "1"), (4, "1"), (2, "2")] {
        drop(std::fs::remove_dir_all(place.out()));
        let summary = complete(&place, processes, &["--workers", workers]);
        assert_eq!((&summary["cases"], &summary["actions_run"]), (&5.into(), &15.into()));
        assert_same(&place.tables(), &expected, &format!("{processes} processes"));
        // The next time nothing runs, however many there are.
        let again = complete(&place, 2, &[]);
        assert_eq!(again["actions_run"], 0);
        assert_eq!(place.run().actions_run, 0);
    }
}

#[test]
fn planes_between_slices_are_made_and_labelled_by_any_process() {
    let mut place = Workplace::new(4);
    place.text = place.text.rewrite("inputs = [\"scans\"]", "inputs = [\"scans\"]\non_gap = \"interpolate\"");
    for index in 0..4 {
        std::fs::remove_file(&place.files_of(index)[3]).unwrap();
    }
    let expected = place.anew();
    let summary = complete(&place, 3, &[]);
    assert_eq!((&summary["cases"], &summary["actions_run"]), (&4.into(), &12.into()));
    assert_same(&place.tables(), &expected, "three processes");
}

#[test]
fn labels_in_a_series_are_drawn_by_any_process() {
    let mut place = Workplace::new(4);
    place.text = place
        .text
        .rewrite("type = \"rtstruct\"", "type = \"dicom_labels\"\nwhere = { Modality = \"OT\" }")
        .rewrite("structures = { tumour = [\"TV\"] }", "labels = { tumour = [1] }\nbackground = [2]");
    for index in 0..4 {
        let (_, truth) = vs::case(&place.phantom, index);
        let mut slices = place.files_of(index);
        std::fs::remove_file(slices.pop().unwrap()).unwrap();
        for (number, slice) in slices.iter().enumerate() {
            let labels = place.archive().join(format!("labels-{index}-{number}"));
            painted(slice, &labels, truth.slice(number).iter().copied());
        }
    }
    let expected = place.anew();
    assert!(!expected["metrics"].is_empty());
    let summary = complete(&place, 3, &[]);
    assert_eq!((&summary["cases"], &summary["actions_run"]), (&4.into(), &12.into()));
    assert_same(&place.tables(), &expected, "three processes");
}

#[test]
fn all_take_over_what_the_first_settled_a_rule_on() {
    let mut place = Workplace::new(4);
    let even = "[operators.even]\ntype = \"resample\"\ninputs = [\"case\"]\nto = { percentile = 10 }\n\n[operators.normal]\n\
                type = \"zscore\"\ninputs = [\"even\"]";
    place.text = place.text.rewrite("[operators.normal]\ntype = \"zscore\"\ninputs = [\"case\"]", even);
    let expected = place.anew();
    for repin in [&[][..], &["--repin"]] {
        let summary = complete(&place, 3, repin);
        assert_eq!((&summary["cases"], &summary["rejected"]), (&4.into(), &0.into()), "{summary}");
        assert!(summary["notes"][0].as_str().unwrap().starts_with("even: settled on "), "{summary}");
        assert_same(&place.tables(), &expected, "three processes");
    }
    assert_eq!(complete(&place, 2, &[])["actions_run"], 0);
    // Nothing that a rule could follow: all end, and say why.
    std::fs::remove_dir_all(place.archive()).unwrap();
    std::fs::create_dir(place.archive()).unwrap();
    place.text = place.text.rewrite("percentile = 10", "percentile = 90");
    for (process, child) in all(&place, 2, &["--accept-empty"]).into_iter().enumerate() {
        let (code, _, err) = end(child);
        assert_eq!(code, Some(if process == 0 { 65 } else { 70 }), "process {process}: {err}");
        assert!(process > 0 || err.contains("no scan yet that the rule of `even` could follow"), "{err}");
    }
}

#[test]
fn several_processes_train_one_model() {
    let place = Workplace::trained();
    let expected = place.anew();
    let summary = complete(&place, 2, &[]);
    assert_eq!(summary["trained"], 1);
    assert_same(&place.tables(), &expected, "two processes");
}

#[test]
fn processes_that_would_not_do_the_same_refuse() {
    let place = Workplace::new(1);
    let hosts = hosts(&place, 2);
    let first = spawn(&place, &hosts, 2, 0, &[]);
    let second = spawn(&place, &hosts, 2, 1, &["--set", "operators.bright.above=0.7"]);
    for child in [first, second] {
        let (code, _, err) = end(child);
        assert_eq!(code, Some(78), "{err}");
        let named = "`stages.bright.settings.above` is 0.5 on process 0 and 0.7 on process 1";
        assert!(err.contains(named), "{err}");
    }
    assert!(!place.out().join("tables/cases").exists());
}

/// Waits until the processes have met and work.
fn until_working(place: &Workplace) {
    let (status, deadline) = (place.out().join("store/status.json"), Instant::now() + PATIENCE);
    let works = || std::fs::read_to_string(&status).is_ok_and(|text| text.contains("\"working\""));
    while !works() {
        assert!(Instant::now() < deadline, "the processes did not meet");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn when_one_is_killed_all_end_and_the_next_run_goes_on() {
    let mut place = Workplace::new(24);
    let (expected, text) = (place.anew(), place.text.clone());
    // An epoch of the control plane waits for every process, so none goes on alone for long.
    for (round, victim) in [1, 0, 2, 1].into_iter().enumerate() {
        place.text = text.rewrite("name = \"test\"", &format!("name = \"test{round}\""));
        drop(std::fs::remove_dir_all(place.out()));
        let mut children = all(&place, 3, &[]);
        until_working(&place);
        std::thread::sleep(Duration::from_millis(40 * round as u64));
        let early = children[victim].try_wait().unwrap().is_some();
        drop(children[victim].kill());
        for (process, child) in children.into_iter().enumerate() {
            let (code, _, err) = end(child);
            if process == victim || early {
                continue;
            }
            // One that had done its share may have ended before.
            assert!(matches!(code, Some(70 | 0)), "process {process}: {code:?}: {err}");
            assert!(code == Some(0) || err.contains("hint: "), "process {process}: {err}");
        }
        complete(&place, 3, &[]);
        assert_same(&place.tables(), &expected, &format!("round {round}"));
    }
}
