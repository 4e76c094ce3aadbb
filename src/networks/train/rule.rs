//! How one learner steps: its optimizer, its learning rate and what becomes of it, and how long a gradient may be.

use serde::{Deserialize, Serialize};

use super::optimizer::OptimizerConfig;
use super::schedule::Schedule;

/// How one learner steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The rule of steps.
    pub optimizer: OptimizerConfig,
    /// The optimizer's, before the schedule.
    pub learning_rate: f64,
    /// The optimizer's.
    pub weight_decay: f64,
    /// How the learning rate goes on.
    pub schedule: Schedule,
    /// Steps after which [`Schedule::Halve`] halves the learning rate; 0 for never.
    pub halve_every: u64,
    /// The greatest norm of a step's gradient, which is scaled down to it; 0 for any.
    pub clip_norm: f64,
}

impl Rule {
    /// The learning rate of a step, from 0, of `steps` at most.
    pub(super) fn rate(&self, step: u64, steps: u64) -> f64 {
        self.learning_rate * self.schedule.share(step, steps, self.halve_every)
    }
}
