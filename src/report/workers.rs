//! The section about workers: who took part in the last run, what each did, and how it went.

use super::html::{Text, count, number, seconds, section, table};
use crate::engine::{GoneWorkers, WorkerStatus};

/// The section about those who worked for the last run beside its own machine; empty where nobody did.
pub(super) fn workers(there: &[WorkerStatus], gone: &GoneWorkers) -> String {
    if there.is_empty() && gone.last.is_empty() && gone.earlier == 0 {
        return String::new();
    }
    let here = there.iter().map(|worker| line(worker, state(worker)));
    let went = gone.last.iter().rev().map(|worker| line(worker, how_it_went(worker)));
    let lines: Vec<Vec<String>> = here.chain(went).collect();
    let headings = ["Worker", "Device", "Actions done#", "Given twice#", "Read, MiB#", "Silent#", ""];
    let earlier = match gone.earlier {
        0 => String::new(),
        more => format!(
            "<p class=dim>and {} that went before, with {} actions</p>",
            number(more as f64),
            number(gone.earlier_done as f64)
        ),
    };
    let all = there.len() as u64 + gone.last.len() as u64 + gone.earlier;
    let lead = format!(
        "Who took part in the last run beside its own machine, those that are gone last: {} in all, {} of them lost. One that \
         joined anew has a row each time; what a lost one had was given to others.",
        number(all as f64),
        number(gone.lost as f64)
    );
    section("Workers", &lead, &(table(&headings, &lines) + &earlier))
}

fn line(worker: &WorkerStatus, state: String) -> Vec<String> {
    let mib = worker.read_bytes as f64 / f64::from(1 << 20);
    vec![
        Text(&worker.name).to_string(),
        Text(&worker.device).to_string(),
        number(worker.done as f64),
        number(worker.twice as f64),
        number((mib * 10.0).round() / 10.0),
        worker.silent_s.map_or_else(|| "–".to_owned(), seconds),
        state,
    ]
}

fn state(worker: &WorkerStatus) -> String {
    let is = match (worker.silent_s, worker.leaving) {
        (Some(_), _) => "<em>silent</em>",
        (None, true) => "leaves",
        (None, false) => "there",
    };
    match worker.running {
        0 => is.to_owned(),
        running => format!("{is}, {} running", count(running)),
    }
}

fn how_it_went(worker: &WorkerStatus) -> String {
    match &worker.lost {
        Some(why) => format!("<em>lost</em>: {}", Text(why)),
        None => "left".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &str, done: u64) -> WorkerStatus {
        WorkerStatus {
            name: name.to_owned(),
            device: "cuda:0".to_owned(),
            done,
            read_bytes: 5 << 19,
            ..WorkerStatus::default()
        }
    }

    #[test]
    fn each_worker_is_a_row_with_how_it_went() {
        assert_eq!(workers(&[], &GoneWorkers::default()), "", "nobody took part");
        let silent = WorkerStatus { silent_s: Some(7.0), running: 2, twice: 3, ..worker("quiet", 11) };
        let mut gone = GoneWorkers::default();
        gone.note(worker("orderly", 12), None);
        gone.note(worker("<b>", 13), Some("it & its <host>"));
        let page = workers(&[worker("here", 10), silent], &gone);
        let row = |cells: &[&str]| cells.iter().map(|cell| format!("{cell}</td>")).collect::<Vec<_>>();
        for cell in [
            row(&["here", "cuda:0", "10", "2.5", "there"]),
            row(&["quiet", "11", "3", "7 s", "<em>silent</em>, 2 running"]),
            row(&["orderly", "12", "left"]),
            row(&["&lt;b&gt;", "13", "<em>lost</em>: it &amp; its &lt;host&gt;"]),
        ]
        .concat()
        {
            assert!(page.contains(&cell), "`{cell}` expected in {page}");
        }
        assert!(page.contains("4 in all, 1 of them lost"), "{page}");
        // Who went last stands first of those that are gone.
        assert!(page.find("&lt;b&gt;</td>") < page.find("orderly</td>"));
        let many = GoneWorkers { earlier: 9, earlier_done: 99, ..gone };
        assert!(workers(&[], &many).contains("and 9 that went before, with 99 actions"));
    }
}
