//! What is told of workers once a run has ended: who took part, what each did, and who was lost.

use super::*;

#[test]
fn status_and_report_tell_who_worked_and_who_was_lost() {
    let place = Workplace::new(6);
    let mut crew = Crew::start(&place, &["--no-local"]);
    let mut first = crew.worker(Some(SLOW), &[]);
    until("the first one has something to do", || {
        crew.workers().get("w1").is_some_and(|one| one["running"].as_u64() > Some(0))
    });
    first.child.kill().unwrap();
    let mut second = crew.worker(None, &["--once"]);
    crew.summary();
    assert_eq!(second.ends(), Some(0), "{}", second.said());
    let gone = status(&place)["gone"].clone();
    let last: Vec<Value> = gone["last"].as_array().unwrap().clone();
    let names: Vec<&str> = last.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!((names, &gone["lost"]), (vec!["w1", "w2"], &1.into()), "{gone}");
    assert!(last[0]["lost"].is_string() && last[1]["lost"].is_null(), "{gone}");
    // Every action is counted once, for whom it ended with.
    let done: u64 = last.iter().map(|one| one["done"].as_u64().unwrap()).sum();
    assert_eq!(done, 18, "{gone}");

    let output = command(&place, &["status"]).arg(place.pipeline()).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("the worker w1 was lost after"), "{shown}");
    let made = command(&place, &["report"]).arg(place.pipeline()).output().unwrap();
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let page = std::fs::read_to_string(place.out().join("report.html")).unwrap();
    for expected in ["<h2>Workers</h2>", "2 in all, 1 of them lost", "w1</td>", "<em>lost</em>: ", "w2</td>"]
    {
        assert!(page.contains(expected), "`{expected}` expected in the report");
    }
}
