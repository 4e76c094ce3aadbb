//! The keys that wait: they come into line, go to the executor while it has room, and leave when nobody wants them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tomoflow_connectors::Digest;

use super::asked::Asked;
use super::{Driver, Running, kept};
use crate::engine::cluster::TendError;
use crate::engine::error::RunError;
use crate::engine::rows::Input;
use crate::executor::Job;

impl Driver {
    /// Queues a key once; one that needs the device waits apart, so that it holds up nothing else.
    pub(super) fn enqueue(&mut self, key: Digest) {
        self.enqueue_since(key, Instant::now());
    }

    pub(super) fn enqueue_since(&mut self, key: Digest, since: Instant) {
        if self.queued.insert(key, since).is_none() {
            let queue = match (self.action(key), &self.crew) {
                (Some(action), Some(crew)) => crew.queue_of(action),
                _ => 0,
            };
            self.queues[queue].push_back(key);
        }
    }

    pub(super) fn drop_key(&mut self, key: Digest) {
        if let Some(running) = self.running.get(&key) {
            running.cancelled.store(true, Ordering::Relaxed);
        }
        self.delayed.retain(|(_, delayed), _| *delayed != key);
        self.attempts.remove(&key);
        self.origin.remove(&key);
        // Its place in the queue is passed over when it comes up.
        self.queued.remove(&key);
        if self.pinned.contains(&key) {
            return;
        }
        if let Some(outcome) = self.fed.remove(&key) {
            self.batch.push((Input::Outcome(key, outcome), -1));
        }
    }

    /// Hands queued actions to the executor while it has room, and gives up what takes too long.
    pub fn dispatch(&mut self) -> Result<(), RunError> {
        let now = Instant::now();
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, key), since) = entry.remove_entry();
            self.enqueue_since(key, since);
        }
        let Some(crew) = &mut self.crew else { return Ok(()) };
        crew.tend().map_err(|error| match error {
            TendError::Threads(error) => RunError::Threads(error),
            TendError::Peer(error) => RunError::Cluster(error),
        })?;
        for queue in &mut self.queues {
            while let Some(&key) = queue.front() {
                let action = self.wanted.get(&key).and_then(Asked::first);
                let (Some(action), Some(&wanted)) = (action, self.queued.get(&key)) else {
                    queue.pop_front();
                    continue;
                };
                let cancelled = Arc::new(AtomicBool::new(false));
                let job = Job { action: action.clone(), cancelled: cancelled.clone(), lookup: None };
                if crew.submit(job).is_err() {
                    break;
                }
                tracing::debug!(target: "tomoflow::actions", action = %key, "started");
                if action.work.members().is_some() {
                    let name = &self.context.plan.stages[action.stage.place()].name;
                    kept::warn_of_short(&self.desired, name);
                }
                queue.pop_front();
                self.queued.remove(&key);
                self.running.insert(key, Running { cancelled, wanted });
            }
        }
        Ok(())
    }
}
