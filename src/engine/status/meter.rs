//! How fast a count grows, over the last minute.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time over which a rate is taken.
const WINDOW: Duration = Duration::from_secs(60);

/// Samples that lie closer together are one; so a window holds few.
const APART: Duration = Duration::from_secs(1);

/// The rate of a count that only grows, from samples of it. It has no clock of its own.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// use tomoflow::engine::Meter;
/// let (start, second) = (Instant::now(), Duration::from_secs(1));
/// let mut meter = Meter::default();
/// meter.rate(start, 0);
/// assert_eq!(meter.rate(start + 10 * second, 50), 5.0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Meter {
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Takes the count as it is now; how much it grew in a second, over the last minute or since the
    /// first sample. 0 until there are two.
    pub fn rate(&mut self, now: Instant, total: u64) -> f64 {
        // The oldest sample is the last one that lies a whole window back.
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
        let rate = self.samples.front().map_or(0.0, |(at, before)| {
            let seconds = now.saturating_duration_since(*at).as_secs_f64();
            if seconds > 0.0 { total.saturating_sub(*before) as f64 / seconds } else { 0.0 }
        });
        if self.samples.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= APART) {
            self.samples.push_back((now, total));
        }
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut meter = Meter::default();
        assert_eq!(meter.rate(start, 7), 0.0);
        assert_eq!(meter.rate(start, 9), 0.0);
        for second in 1..=100 {
            assert_eq!(meter.rate(at(second), 7 + 3 * second), 3.0);
        }
        // It stands still: the minute empties.
        assert_eq!(meter.rate(at(130), 307), 1.5);
        assert_eq!(meter.rate(at(190), 307), 0.0);
        // A count that was set back, or a clock.
        assert_eq!(meter.rate(at(200), 0), 0.0);
        assert!(meter.rate(start, 400) == 0.0);
    }

    #[test]
    fn memory_is_bounded_however_often_it_is_asked() {
        let start = Instant::now();
        let mut meter = Meter::default();
        for tick in 0..20_000 {
            meter.rate(start + Duration::from_millis(10 * tick), tick);
        }
        assert!(meter.samples.len() <= 62, "{}", meter.samples.len());
    }
}
