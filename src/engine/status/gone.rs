//! Workers that took part in a run and are gone.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::WorkerStatus;

/// So many are told of one by one, those that went last.
const TOLD: usize = 256;

/// Workers that took part in a run and are gone; one that joins anew is one more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GoneWorkers {
    /// The last ones, in the order in which they went.
    pub last: VecDeque<WorkerStatus>,
    /// The number of those that went before.
    pub earlier: u64,
    /// Actions that these have ended.
    pub earlier_done: u64,
    /// The number of all that did not leave in order.
    pub lost: u64,
}

impl GoneWorkers {
    /// Notes one that is gone, as it was last; `lost` says why, of one that did not leave in order.
    pub fn note(&mut self, worker: WorkerStatus, lost: Option<&str>) {
        self.lost += u64::from(lost.is_some());
        let lost = lost.map(str::to_owned);
        // What it had is with others.
        self.last.push_back(WorkerStatus { running: 0, held_bytes: 0, lost, ..worker });
        if self.last.len() > TOLD
            && let Some(first) = self.last.pop_front()
        {
            self.earlier += 1;
            self.earlier_done += first.done;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_told_of_and_all_are_counted() {
        let mut gone = GoneWorkers::default();
        let all = TOLD as u64 + 10;
        for number in 0..all {
            let worker = WorkerStatus {
                name: format!("w{number}"),
                done: number,
                running: 2,
                held_bytes: 5,
                ..WorkerStatus::default()
            };
            gone.note(worker, number.is_multiple_of(2).then_some("it hung up"));
        }
        assert_eq!((gone.last.len(), gone.earlier, gone.earlier_done), (TOLD, 10, 45));
        assert_eq!(gone.lost, all / 2);
        let last = gone.last.back().unwrap();
        assert_eq!((&*last.name, last.running, last.held_bytes, &last.lost), ("w265", 0, 0, &None));
        assert_eq!(gone.last[0].lost.as_deref(), Some("it hung up"));
        let text = serde_json::to_string(&gone).unwrap();
        assert_eq!(serde_json::from_str::<GoneWorkers>(&text).unwrap(), gone);
        assert_eq!(serde_json::from_str::<GoneWorkers>("{}").unwrap(), GoneWorkers::default());
    }
}
