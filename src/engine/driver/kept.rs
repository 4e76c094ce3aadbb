//! A model that is kept, and what is said of it.

use std::fmt;

use crate::engine::dataflow::SHORT;
use crate::engine::rows::{Desired, DesiredRows};
use crate::operators::models::train::Enough;

/// A model that is kept.
pub struct Kept {
    /// The name of its training.
    pub stage: String,
    /// Labelled cases that it has not seen.
    pub new: usize,
    /// Cases without labels that it has not seen, where it learns from such.
    pub new_unlabelled: usize,
    /// Cases that it was trained on or chosen by, and whose voxels or labels are others now.
    pub changed: usize,
    /// The number of cases of which there is none any more, or which have no labels now.
    pub gone: usize,
    /// The number of new cases from which on it is trained anew; nothing where that is not asked for.
    pub at: Enough,
}

impl Kept {
    /// Whether it is another model than a training now would give.
    pub fn stale(&self) -> bool {
        self.new + self.new_unlabelled + self.changed + self.gone > 0
    }

    /// Whether it is to be trained anew.
    pub fn due(&self) -> bool {
        let reached = |found: usize, at: Option<u64>| at.is_some_and(|at| found as u64 >= at);
        reached(self.new, self.at.new_cases) || reached(self.new_unlabelled, self.at.new_unlabelled)
    }

    /// Whether anything is said of when.
    pub fn waits(&self) -> bool {
        self.at != Enough::default()
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, new, new_unlabelled, changed, gone, at } = self;
        let cases = |count: usize| if count == 1 { "case" } else { "cases" };
        let mut newer = format!("{new} labelled {}", cases(*new));
        if *new_unlabelled > 0 {
            newer += &format!(" and {new_unlabelled} unlabelled {}", cases(*new_unlabelled));
        }
        let seen = match (changed, gone) {
            (0, 0) => String::new(),
            (changed, 0) => format!("; of its own cases {changed} changed"),
            (0, gone) => format!("; of its own cases {gone} gone"),
            (changed, gone) => format!("; of its own cases {changed} changed, {gone} gone"),
        };
        let at = match (at.new_cases, at.new_unlabelled) {
            (None, None) => {
                return write!(
                    f,
                    "{stage}: model kept, {newer} newer than it{seen} (`--retrain` trains anew)"
                );
            }
            (Some(at), None) => at.to_string(),
            (None, Some(at)) => format!("{at} unlabelled"),
            (Some(at), Some(unlabelled)) => format!("{at} labelled or {unlabelled} unlabelled"),
        };
        if self.due() {
            return write!(f, "{stage}: trains anew, {newer} newer than its model (at {at})");
        }
        write!(f, "{stage}: model kept, {newer} newer than it{seen} (trains anew at {at}, `--retrain` now)")
    }
}

/// Warns, as a training begins, that its split cannot be had as it is asked for.
pub(super) fn warn_of_short(desired: &DesiredRows, training: &str) {
    for row in desired.keys() {
        if let Desired::Reject { case: None, stage, reject, .. } = &**row
            && reject.code == SHORT
            && **stage == *training
        {
            tracing::warn!(stage = training, "{}", reject.message);
        }
    }
}
