//! A worker that is there and does not come to an end: another is given what it has, and the first answer counts.

use super::*;

#[test]
fn what_never_ends_with_one_worker_ends_with_another() {
    let place = Workplace::new(6);
    let expected = place.anew();
    let mut crew = Crew::start(&place, &["--no-local"]);
    // Its first action stays where it is for ever, while it goes on saying that it is there.
    let _stuck = crew.worker(Some("artifact.staged:1:hang"), &[]);
    until("the first one has something to do", || {
        crew.workers().get("w1").is_some_and(|one| one["running"].as_u64() > Some(0))
    });
    let _other = crew.worker(None, &[]);
    until("the other is given it as well", || {
        crew.workers().get("w2").is_some_and(|one| one["twice"].as_u64() > Some(0))
    });
    assert!(crew.workers()["w1"]["silent_s"].is_null(), "it is heard");
    let summary = crew.summary();
    assert_eq!((&summary["cases"], &summary["actions_run"]), (&6.into(), &18.into()), "{summary}");
    assert_same(&place.tables(), &expected, "with one that is stuck");
    let said = crew.run.said();
    assert!(said.contains("the worker `w2`") && said.contains("is given it as well"), "{said}");
    assert_eq!(place.run().actions_run, 0);
}
