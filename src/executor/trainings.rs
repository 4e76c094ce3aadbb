//! Where the trainings of this process stand, for whoever waits for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Where a training stands. It names figures, never cases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Training {
    /// The epoch that is under way, from 1 on.
    pub epoch: u64,
    /// The greatest number of epochs.
    pub epochs: u64,
    /// Steps that are done.
    pub step: u64,
    /// The greatest number of steps.
    pub steps: u64,
    /// The figures of the last epoch that ended, as the log names them: `train loss`, `validation dice`.
    pub figures: Vec<(String, f64)>,
    /// The time that the rest takes at the pace so far, in seconds: an upper bound where `patience` may end
    /// it before.
    pub left_s: Option<f64>,
}

impl Training {
    /// The figures in words: `train loss 0.3498, validation dice 0.8209`.
    pub fn told(&self) -> String {
        let each = self.figures.iter().map(|(name, value)| format!("{name} {value:.4}"));
        each.collect::<Vec<_>>().join(", ")
    }

    /// The time that is left, in words: `about 12m left`.
    pub fn left(&self) -> Option<String> {
        let left = Duration::try_from_secs_f64(self.left_s?.max(0.0)).ok()?.as_secs();
        // Nobody knows the seconds of an hour.
        let left = if left >= 600 { left / 60 * 60 } else { left };
        Some(format!("about {} left", humantime::format_duration(Duration::from_secs(left))))
    }

    /// Writes all of it in one line.
    pub fn line(&self) -> String {
        let mut line =
            format!("epoch {} of {}, step {} of {}", self.epoch, self.epochs, self.step, self.steps);
        let more = [Some(self.told()).filter(|told| !told.is_empty()), self.left()];
        for part in more.into_iter().flatten() {
            line.push_str(", ");
            line.push_str(&part);
        }
        line
    }
}

/// One that is under way.
struct Running {
    stage: String,
    standing: Training,
    /// The time when the first step of this process was done, and the number of that step.
    first: Option<(Instant, u64)>,
}

static RUNNING: Mutex<BTreeMap<u64, Running>> = Mutex::new(BTreeMap::new());

fn running() -> MutexGuard<'static, BTreeMap<u64, Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a training is under way in this process: it writes a checkpoint before it ends.
pub fn trains() -> bool {
    !running().is_empty()
}

/// Returns where the trainings of this process stand, by stage.
pub fn trainings() -> BTreeMap<String, Training> {
    running().values().map(|one| (one.stage.clone(), one.standing.clone())).collect()
}

/// A training that is under way until this is dropped.
pub struct UnderWay {
    number: u64,
}

impl UnderWay {
    /// Enters a training that begins.
    pub fn new(stage: &str, epochs: u64) -> Self {
        let mut running = running();
        let number = running.last_key_value().map_or(0, |(number, _)| number + 1);
        let standing = Training { epoch: 1, epochs, ..Training::default() };
        running.insert(number, Running { stage: stage.to_owned(), standing, first: None });
        Self { number }
    }

    /// Notes how many steps are done, of how many.
    pub fn step(&self, step: u64, steps: u64) {
        let mut running = running();
        let Some(one) = running.get_mut(&self.number) else { return };
        let now = Instant::now();
        let (begun, first) = *one.first.get_or_insert((now, step));
        let paces = step.saturating_sub(first);
        let left = steps.saturating_sub(step);
        one.standing.left_s =
            (paces > 0).then(|| now.duration_since(begun).as_secs_f64() / paces as f64 * left as f64);
        (one.standing.step, one.standing.steps) = (step, steps);
    }

    /// An epoch has ended, with these figures; where the training stands now.
    pub fn ended(&self, epoch: u64, figures: Vec<(String, f64)>) -> Training {
        let mut running = running();
        let Some(one) = running.get_mut(&self.number) else { return Training::default() };
        one.standing.epoch = epoch.saturating_add(1).min(one.standing.epochs);
        one.standing.figures = figures;
        one.standing.clone()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        running().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_is_told_of_until_it_ends() {
        let here = || trainings().get("told-of").cloned();
        let under_way = UnderWay::new("told-of", 3);
        assert!(trains());
        under_way.step(10, 60);
        assert_eq!(here().unwrap().left_s, None, "one step has no pace");
        std::thread::sleep(Duration::from_millis(2));
        under_way.step(11, 60);
        let left = here().unwrap().left_s.unwrap();
        assert!(left >= 0.002 * 49.0, "49 steps are left, {left} s");
        let figures = vec![("train loss".to_owned(), 0.25), ("validation dice".to_owned(), 0.9)];
        under_way.ended(1, figures.clone());
        assert_eq!(here().unwrap().epoch, 2);
        // The last one ends: no fourth of three begins.
        assert_eq!(under_way.ended(3, figures).epoch, 3);
        drop(under_way);
        assert_eq!(here(), None);
    }

    #[test]
    fn it_is_one_line() {
        let mut training = Training { epoch: 2, epochs: 3, step: 21, steps: 60, ..Training::default() };
        assert_eq!(training.line(), "epoch 2 of 3, step 21 of 60");
        training.figures = vec![("train loss".to_owned(), 0.25)];
        training.left_s = Some(75.4);
        assert_eq!(training.line(), "epoch 2 of 3, step 21 of 60, train loss 0.2500, about 1m 15s left");
        training.left_s = Some(7_275.0);
        assert_eq!(training.left().unwrap(), "about 2h 1m left");
        // A status file may hold any number.
        training.left_s = Some(f64::INFINITY);
        assert_eq!(training.left(), None);
    }
}
