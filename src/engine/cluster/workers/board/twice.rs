//! Actions that take far longer than others of their kind: one that has nothing to do is given them as well, and the first
//! answer counts.

use std::collections::{HashMap, VecDeque};
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tomoflow_connectors::Digest;

use super::super::member::Member;
use super::super::words::ToWorker;
use super::{Board, Inner, Lease};
use crate::executor::work::{Action, Work};
use crate::pipeline::StageId;
use crate::store::{Outcome, Recorded};

/// No action is late before it was given so long ago.
const AT_LEAST: Duration = Duration::from_secs(5);
/// An action is late that takes so many times the median of its kind.
const TIMES: u32 = 2;
/// The number of actions of a kind that must have ended before another one is called late.
const KNOWN: usize = 3;
/// The number of actions of each kind that are remembered, the last ones.
const REMEMBERED: usize = 101;

/// What is done for a stage: its actions differ by what they do.
type Kind = (StageId, Discriminant<Work>);

/// The time that actions took with workers, from when they were given to when their end was heard.
pub struct Pace {
    at_least: Duration,
    took: HashMap<Kind, VecDeque<Duration>>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { at_least: AT_LEAST, took: HashMap::new() }
    }
}

impl Pace {
    /// Notes how long an action took.
    pub fn note(&mut self, action: &Action, took: Duration) {
        let all = self.took.entry(kind(action)).or_default();
        if all.len() == REMEMBERED {
            all.pop_front();
        }
        all.push_back(took);
    }

    /// Whether an action that was given so long ago takes far longer than others.
    fn is_late(&self, action: &Action, since: Duration) -> bool {
        since >= self.at_least && self.median(action).is_some_and(|median| since > median * TIMES)
    }

    fn median(&self, action: &Action) -> Option<Duration> {
        let mut all: Vec<Duration> = self.took.get(&kind(action))?.iter().copied().collect();
        if all.len() < KNOWN {
            return None;
        }
        all.sort_unstable();
        all.get(all.len() / 2).copied()
    }
}

fn kind(action: &Action) -> Kind {
    (action.stage, discriminant(&action.work))
}

/// An action that is late, and who may do it as well.
pub struct Late {
    /// The number of the worker that has nothing to do.
    pub number: u64,
    /// The action.
    pub action: Action,
    /// Whether the action is still wanted, as whoever has it hears it.
    pub cancelled: Arc<AtomicBool>,
    /// Bytes that it needs.
    pub needs: u64,
}

impl Board {
    /// Finds the action that is late for longest, if one that has nothing to do can do it as well. A training is not begun
    /// twice: what it writes on its way is of one alone.
    pub fn late(&self) -> Option<Late> {
        let inner = self.lock();
        let may_be = |lease: &Lease| {
            !lease.cancelled.load(Ordering::Relaxed)
                && lease.action.work.members().is_none()
                && inner.pace.is_late(&lease.action, lease.since.elapsed())
                && inner.holders(lease.action.key).count() == 1
        };
        let mut late: Vec<(&u64, &Lease)> = inner.leases.iter().filter(|(_, lease)| may_be(lease)).collect();
        late.sort_unstable_by_key(|(number, _)| **number);
        late.into_iter().find_map(|(number, lease)| {
            let first = inner.members.get(&lease.member)?;
            let (needs, device) = *first.leases.get(number)?;
            let second = inner.idle(lease, first, needs, device)?;
            let (action, cancelled) = (lease.action.clone(), lease.cancelled.clone());
            Some(Late { number: second, action, cancelled, needs })
        })
    }

    /// Notes that a worker was given an action that another has.
    pub fn gave_twice(&self, number: u64, action: &Action) {
        if let Some(member) = self.lock().members.get_mut(&number) {
            member.twice += 1;
            let name = member.named();
            tracing::info!(action = %action.key.short(), "takes long: {name} is given it as well");
        }
    }
}

impl Inner {
    /// One who has nothing to do and could do what another does, on a device of the same kind.
    fn idle(&self, lease: &Lease, first: &Member, needs: u64, device: bool) -> Option<u64> {
        let failed = self.failed.get(&lease.action.key);
        let could = |number: &u64, member: &Member| {
            *number != lease.member
                && member.leases.is_empty()
                && member.may()
                && member.join.memory_bytes >= needs
                && (!device || member.gpu == first.gpu)
                && !failed.is_some_and(|failed| failed.contains(number))
        };
        self.members.iter().find(|(number, member)| could(number, member)).map(|(number, _)| *number)
    }

    /// Returns the leases under which workers have an action.
    pub fn holders(&self, key: Digest) -> impl Iterator<Item = u64> {
        self.leases.iter().filter(move |(_, lease)| lease.action.key == key).map(|(number, _)| *number)
    }

    /// Whether an action that came to nothing for a passing reason, or took too long, goes on with another worker, so that the
    /// driver is told of that one's answer. An answer that counts takes it from all others who have it.
    pub fn goes_on(&mut self, key: Digest, recorded: &Recorded) -> bool {
        let others: Vec<u64> = self.holders(key).collect();
        // One that is stuck says nothing about the action: another may be quick.
        let timeout = matches!(&recorded.outcome, Outcome::Failed { code, .. } if code == "TIMEOUT");
        if timeout || !recorded.outcome.lasts() {
            return !others.is_empty();
        }
        for number in others {
            let Some(lease) = self.leases.remove(&number) else { continue };
            if let Some(member) = self.members.get_mut(&lease.member) {
                member.leases.remove(&number);
                member.say(ToWorker::Cancel(number));
                tracing::info!(action = %key.short(), "ended elsewhere: {} does it no more", member.named());
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Place, failure};
    use super::*;

    /// Returns a place where an action is late after a moment, and three of the kind have ended.
    fn place() -> (Place, u64, crossbeam_channel::Receiver<super::super::ToSend>) {
        let place = Place::new(Duration::from_secs(60));
        place.board.lock().pace.at_least = Duration::from_millis(30);
        let (one, said) = place.member("one");
        for key in 0..3 {
            let lease = place.give_case(one, key, &said);
            place.board.finished(one, lease, place.done()).unwrap();
        }
        assert_eq!(place.told().len(), 3);
        (place, one, said)
    }

    fn wait() {
        std::thread::sleep(Duration::from_millis(60));
    }

    #[test]
    fn the_first_answer_counts_and_the_other_changes_nothing() {
        for first_wins in [false, true] {
            let (place, one, said) = place();
            let lease = place.give_case(one, 9, &said);
            let (other, heard) = place.member("other");
            assert!(place.board.late().is_none(), "it has only begun");
            wait();
            let late = place.board.late().unwrap();
            assert_eq!((late.number, late.action.key), (other, Digest::of(&[9])));
            let again = place.give_case(other, 9, &heard);
            place.board.gave_twice(other, &late.action);
            assert!(place.board.late().is_none(), "two have it");
            let answers =
                if first_wins { [(one, lease), (other, again)] } else { [(other, again), (one, lease)] };
            for (number, lease) in answers {
                place.board.finished(number, lease, place.done()).unwrap();
            }
            assert_eq!(place.told(), ["ok"]);
            let loser = if first_wins { (&heard, again) } else { (&said, lease) };
            assert!(loser.0.try_iter().any(|said| {
                matches!(said, super::super::ToSend::Said(ToWorker::Cancel(number)) if number == loser.1)
            }));
            let counts: Vec<(u64, u64, usize)> =
                place.board.status().iter().map(|one| (one.done, one.twice, one.running)).collect();
            let expected = if first_wins { [(4, 0, 0), (0, 1, 0)] } else { [(3, 0, 0), (1, 1, 0)] };
            assert_eq!(counts, expected);
        }
    }

    #[test]
    fn what_comes_to_nothing_is_left_to_the_other() {
        let (place, one, said) = place();
        let (other, heard) = place.member("other");
        for (key, code) in [(8, "TIMEOUT"), (9, "FILE_VANISHED")] {
            let lease = place.give_case(one, key, &said);
            let again = place.give_case(other, key, &heard);
            place.board.finished(one, lease, failure(code)).unwrap();
            assert!(place.told().is_empty(), "the other has it");
            place.board.finished(other, again, place.done()).unwrap();
            assert_eq!(place.told(), ["ok"]);
        }
        // The same where one of them goes; when the other goes too, it is wanted again.
        place.give_case(one, 10, &said);
        place.give_case(other, 10, &heard);
        place.board.gone(one, "killed");
        assert!(place.told().is_empty());
        place.board.gone(other, "killed");
        assert_eq!(place.told(), ["CANCELLED"]);
    }

    #[test]
    fn only_who_can_do_it_is_given_it_and_no_training_is() {
        let (place, one, said) = place();
        place.give_case(one, 9, &said);
        wait();
        assert!(place.board.late().is_none(), "nobody else is there");
        let (small, _) = place.member("small");
        place.board.lock().members.get_mut(&small).unwrap().join.memory_bytes = 0;
        assert!(place.board.late().is_none(), "it has not the memory");
        let (busy, heard) = place.member("busy");
        place.give_case(busy, 10, &heard);
        assert!(place.board.late().is_none(), "it has something to do");
        let (idle, _heard) = place.member("idle");
        assert_eq!(place.board.late().unwrap().number, idle);
        // Trainings take what they take.
        let (place, one, said) = place_of_trainings();
        place.give(one, 9, &said);
        place.member("other");
        wait();
        assert!(place.board.late().is_none());
    }

    fn place_of_trainings() -> (Place, u64, crossbeam_channel::Receiver<super::super::ToSend>) {
        let place = Place::new(Duration::from_secs(60));
        place.board.lock().pace.at_least = Duration::from_millis(30);
        let (one, said) = place.member("one");
        for key in 0..3 {
            let lease = place.give(one, key, &said);
            place.board.finished(one, lease, place.done()).unwrap();
        }
        (place, one, said)
    }

    #[test]
    fn late_is_twice_the_median_and_no_less_than_a_time() {
        let pace = |took: &[u64]| {
            let mut pace = Pace::default();
            took.iter().for_each(|seconds| pace.note(&action(), Duration::from_secs(*seconds)));
            move |seconds| pace.is_late(&action(), Duration::from_secs(seconds))
        };
        assert!(!pace(&[1, 1])(1000), "too few have ended");
        let late = pace(&[0, 0, 0]);
        assert!(!late(4) && late(5));
        let late = pace(&[10, 10, 90]);
        assert!(!late(20) && late(21));
        // The last ones count.
        let mut took: Vec<u64> = vec![1000; 50];
        took.extend([10; REMEMBERED]);
        assert!(pace(&took)(21));
    }

    fn action() -> Action {
        super::super::tests::case_action(1)
    }
}
