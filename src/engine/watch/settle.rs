//! Waiting until a key has been quiet: a series is worked on when its last slice has come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The longest time that counts: a longer one was not meant, and would overflow the clock.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Keys that wait to be quiet. It has no clock of its own; only keys that wait take memory.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// use tomoflow::engine::Settle;
/// let (start, second) = (Instant::now(), Duration::from_secs(1));
/// let mut settle = Settle::new(10 * second);
/// settle.touch("series", start);
/// settle.touch("series", start + 6 * second);
/// assert!(settle.ready(start + 15 * second).is_empty());
/// assert_eq!(settle.ready(start + 16 * second), ["series"]);
/// ```
#[derive(Clone, Debug)]
pub struct Settle<K> {
    quiet: Duration,
    due: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Clone> Settle<K> {
    /// Keys are ready when nothing has touched them for `quiet`.
    pub fn new(quiet: Duration) -> Self {
        Self { quiet: quiet.min(LONGEST), due: BTreeMap::new(), order: BTreeSet::new() }
    }

    /// Makes a key to which something happened wait anew. A touch from before the last one changes nothing.
    pub fn touch(&mut self, key: K, now: Instant) {
        let due = now + self.quiet;
        if let Some(before) = self.due.get(&key).copied() {
            if before >= due {
                return;
            }
            self.order.remove(&(before, key.clone()));
        }
        self.due.insert(key.clone(), due);
        self.order.insert((due, key));
    }

    /// A key waits no more.
    pub fn forget(&mut self, key: &K) {
        if let Some(due) = self.due.remove(key) {
            self.order.remove(&(due, key.clone()));
        }
    }

    /// The keys that have been quiet for long enough, the longest first; they wait no more.
    pub fn ready(&mut self, now: Instant) -> Vec<K> {
        let mut ready = Vec::new();
        while let Some((due, _)) = self.order.first()
            && *due <= now
            && let Some((_, key)) = self.order.pop_first()
        {
            self.due.remove(&key);
            ready.push(key);
        }
        ready
    }

    /// Whether all of them have been quiet for long enough.
    pub fn all_ready(&self, now: Instant) -> bool {
        self.order.last().is_none_or(|(due, _)| *due <= now)
    }

    /// Returns the time when the next key is ready, if none is touched until then.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(due, _)| *due)
    }

    /// Returns the number of keys that wait.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether no key waits.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_key_is_ready_once_and_after_its_last_touch() {
        let start = Instant::now();
        let mut settle = Settle::new(Duration::from_millis(100));
        assert_eq!(settle.next(), None);
        settle.touch("b", at(start, 0));
        settle.touch("a", at(start, 0));
        settle.touch("c", at(start, 50));
        settle.touch("b", at(start, 60));
        settle.touch("b", at(start, 10));
        assert_eq!((settle.len(), settle.next()), (3, Some(at(start, 100))));
        assert!(!settle.all_ready(at(start, 159)) && settle.all_ready(at(start, 160)));
        assert!(settle.ready(at(start, 99)).is_empty());
        assert_eq!(settle.ready(at(start, 100)), ["a"]);
        settle.forget(&"c");
        assert_eq!(settle.ready(at(start, 200)), ["b"]);
        assert!(settle.ready(at(start, 900)).is_empty() && settle.is_empty() && settle.all_ready(start));
    }

    #[test]
    fn a_quiet_time_without_end_overflows_nothing() {
        let mut settle = Settle::new(Duration::MAX);
        settle.touch(1, Instant::now());
        assert!(settle.ready(Instant::now()).is_empty());
    }

    proptest! {
        /// Compares with the plain rule: last touch of each key, all of them looked at each time.
        #[test]
        fn it_is_as_looking_at_every_key(
            quiet in 0_u64..30,
            steps in prop::collection::vec((0_u64..12, prop::option::of(0_u8..6), any::<bool>()), 0..80),
        ) {
            let start = Instant::now();
            let mut settle = Settle::new(Duration::from_millis(quiet));
            let mut plain: BTreeMap<u8, u64> = BTreeMap::new();
            let mut now = 0;
            for (passed, key, forget) in steps {
                now += passed;
                match key {
                    Some(key) if forget => {
                        settle.forget(&key);
                        plain.remove(&key);
                    }
                    Some(key) => {
                        settle.touch(key, at(start, now));
                        plain.insert(key, now);
                    }
                    None => {
                        let mut ready: Vec<_> =
                            plain.iter().filter(|(_, last)| *last + quiet <= now).map(|(k, last)| (*last, *k)).collect();
                        ready.sort_unstable();
                        plain.retain(|_, last| *last + quiet > now);
                        let ready: Vec<_> = ready.into_iter().map(|(_, key)| key).collect();
                        prop_assert_eq!(settle.ready(at(start, now)), ready);
                    }
                }
                prop_assert_eq!(settle.len(), plain.len());
                prop_assert_eq!(settle.order.len(), plain.len());
                prop_assert_eq!(settle.next(), plain.values().min().map(|last| at(start, last + quiet)));
            }
        }
    }
}
