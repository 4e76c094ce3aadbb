//! Leases: who loses them, and what is heard without one.

use std::net::TcpListener;

use crossbeam_channel::{Receiver, unbounded};
use tomoflow_connectors::{Geometry, Reject};

use super::ends::LOST;
use super::*;
use crate::executor::work::{BoundCase, SeriesRow, Work};
use crate::pipeline::StageId;
use crate::store::{Outcome, Recorded};

pub(super) struct Place {
    pub(super) board: Board,
    told: Receiver<Finished>,
    _out: tempfile::TempDir,
}

impl Place {
    pub(super) fn new(silence: Duration) -> Self {
        let (report, told) = unbounded();
        let out = tempfile::tempdir().unwrap();
        let store = crate::store::Store::open(out.path()).unwrap();
        let board = Board::new(report, store.artifacts().clone(), silence, false, Arc::default());
        Self { board, told, _out: out }
    }

    pub(super) fn member(&self, name: &str) -> (u64, Receiver<ToSend>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (outbox, said) = unbounded();
        let join = Join {
            name: name.to_owned(),
            threads: 1,
            memory_bytes: 1 << 30,
            device: "cpu".to_owned(),
            plan: Digest::default(),
            sight: super::super::sight::look(&Default::default()),
        };
        (self.board.admit(join, "here".to_owned(), true, outbox, stream).unwrap(), said)
    }

    pub(super) fn give(&self, number: u64, key: u8, said: &Receiver<ToSend>) -> u64 {
        let work = Work::Train { members: Arc::default(), start: Arc::default() };
        let action = Action { key: Digest::of(&[key]), stage: StageId::default(), work };
        self.give_action(number, action, said)
    }

    /// Gives an action that is about a case.
    pub(super) fn give_case(&self, number: u64, key: u8, said: &Receiver<ToSend>) -> u64 {
        self.give_action(number, case_action(key), said)
    }

    fn give_action(&self, number: u64, action: Action, said: &Receiver<ToSend>) -> u64 {
        let job = Job { action, cancelled: Arc::default(), lookup: None };
        assert!(self.board.give(number, job, Packed::default(), 1).is_ok());
        let lease = |said| match said {
            ToSend::Said(ToWorker::Job(lease, _)) => Some(lease),
            _ => None,
        };
        said.try_iter().find_map(lease).unwrap()
    }

    /// Returns what the driver is told, by code; `ok` for what is done.
    pub(super) fn told(&self) -> Vec<String> {
        let code = |finished: Finished| {
            assert!(self.board.ended(finished.action.key));
            match finished.recorded.outcome {
                Outcome::Ok { .. } => "ok".to_owned(),
                Outcome::Failed { code, .. } => code,
            }
        };
        self.told.try_iter().map(code).collect()
    }

    pub(super) fn done(&self) -> Recorded {
        let artifact = self.board.artifacts.put(b"mask").unwrap();
        let outcome = Outcome::Ok { artifact, detail: None, figures: [].into(), notes: [].into() };
        Recorded { outcome, seconds: 1.0 }
    }
}

pub(super) fn case_action(key: u8) -> Action {
    let row = SeriesRow::sample("1.2", &Geometry::axis_aligned([4, 16, 16], [1.5, 0.4, 0.4]));
    let work = Work::Volume(BoundCase::of(Arc::new(row)));
    Action { key: Digest::of(&[key]), stage: StageId::default(), work }
}

pub(super) fn failure(code: &str) -> Recorded {
    Recorded { outcome: Outcome::failed(Reject::new(code, "", "")), seconds: 1.0 }
}

#[test]
fn a_late_answer_changes_nothing() {
    let place = Place::new(Duration::from_millis(1));
    let ((one, said), (other, heard)) = (place.member("one"), place.member("other"));
    let lease = place.give(one, 1, &said);
    std::thread::sleep(Duration::from_millis(3));
    place.board.beat();
    assert_eq!(place.told(), ["CANCELLED"], "it was silent");
    assert!(
        said.try_iter().any(|said| matches!(said, ToSend::Said(ToWorker::Cancel(number)) if number == lease))
    );
    place.board.heard(other);
    let again = place.give(other, 1, &heard);
    // The first one's answer, somebody's under a lease that is not its own, and the right one, twice.
    place.board.finished(one, lease, place.done()).unwrap();
    place.board.finished(one, again, place.done()).unwrap();
    assert!(place.told().is_empty());
    place.board.finished(other, again, place.done()).unwrap();
    place.board.finished(other, again, place.done()).unwrap();
    assert_eq!(place.told(), ["ok"]);
    assert_eq!(place.board.status().iter().map(|one| one.done).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn what_fails_for_a_passing_reason_is_tried_by_another_first() {
    let place = Place::new(Duration::from_secs(60));
    let ((one, said), (other, heard)) = (place.member("one"), place.member("other"));
    let lease = place.give(one, 1, &said);
    place.board.finished(one, lease, failure("FILE_VANISHED")).unwrap();
    assert_eq!(place.told(), ["CANCELLED"]);
    let fit = |key: u8| {
        let numbers = |all: &[(u64, &Member)]| all.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        place.board.choose(Digest::of(&[key]), numbers)
    };
    assert_eq!((fit(1), fit(2)), (vec![other], vec![one, other]));
    let lease = place.give(other, 1, &heard);
    place.board.finished(other, lease, failure("FILE_VANISHED")).unwrap();
    assert_eq!(place.told(), ["FILE_VANISHED"], "two of them say so");
    // A worker that fails at everything rests.
    for key in [2, 3] {
        let lease = place.give(one, key, &said);
        place.board.finished(one, lease, failure("STORE")).unwrap();
    }
    assert_eq!(fit(9), [other]);
    // A failure that lasts is believed at once.
    let lease = place.give(other, 4, &heard);
    place.board.finished(other, lease, failure("NETWORK")).unwrap();
    assert_eq!(place.told(), ["CANCELLED", "CANCELLED", "NETWORK"]);
}

#[test]
fn an_artifact_that_is_not_there_is_not_believed() {
    let place = Place::new(Duration::from_secs(60));
    let (one, said) = place.member("one");
    let lease = place.give(one, 1, &said);
    let artifact = Digest::of(b"elsewhere");
    let outcome = Outcome::Ok { artifact, detail: None, figures: [].into(), notes: [].into() };
    let why = place.board.finished(one, lease, Recorded { outcome, seconds: 1.0 }).unwrap_err();
    assert!(why.contains("not in the store"));
    place.board.gone(one, &why);
    assert_eq!(place.told(), ["CANCELLED"]);
    // Who was lost is told from who left.
    let (other, _) = place.member("other");
    place.board.leaves(other);
    place.board.gone(other, "it hung up");
    let gone = place.board.departed();
    let last: Vec<_> = gone.last.iter().map(|one| (&*one.name, one.lost.as_deref())).collect();
    assert_eq!((gone.lost, last), (1, vec![("one", Some(&*why)), ("other", None)]));
}

#[test]
fn an_action_that_takes_its_workers_along_is_given_up_in_the_end() {
    let place = Place::new(Duration::from_secs(60));
    let mut told = Vec::new();
    for _ in 0..LOST {
        let (one, said) = place.member("one");
        place.give(one, 1, &said);
        place.board.gone(one, "killed");
        told.extend(place.told());
    }
    let (last, before) = told.split_last().unwrap();
    assert!(last == "WORKERS_LOST" && before.iter().all(|code| code == "CANCELLED"), "{told:?}");
}

#[test]
fn whoever_comes_to_a_closed_board_is_told_why() {
    let place = Place::new(Duration::from_secs(60));
    let (_, said) = place.member("one");
    place.board.close(ToWorker::End);
    assert!(matches!(said.try_recv(), Ok(ToSend::Said(ToWorker::End))));
}

#[test]
fn who_has_nothing_to_do_takes_what_waits_with_others() {
    let place = Place::new(Duration::from_secs(60));
    let (one, said) = place.member("one");
    let leases: Vec<u64> = (0..3).map(|key| place.give(one, key, &said)).collect();
    place.board.balance(false);
    assert!(place.told().is_empty(), "nobody else is there");
    let (other, heard) = place.member("other");
    std::thread::sleep(LATE * 2);
    place.board.balance(false);
    assert_eq!(place.told(), ["CANCELLED"]);
    let last = leases[2];
    assert!(
        said.try_iter().any(|said| matches!(said, ToSend::Said(ToWorker::Cancel(lease)) if lease == last))
    );
    place.give(other, 2, &heard);
    place.board.balance(false);
    assert!(place.told().is_empty(), "both have something to do");
}
