//! A model that is kept, and what is said of it.

use std::fmt;

use crate::engine::dataflow::SHORT;
use crate::engine::rows::{Desired, DesiredRows};

/// A model that is kept.
pub struct Kept {
    /// Its training, by name.
    pub stage: String,
    /// Labelled cases that it has not seen.
    pub new: usize,
    /// Cases that it was trained on or chosen by, and whose voxels or labels are others now.
    pub changed: usize,
    /// Those of which there is none any more, or which have no labels now.
    pub gone: usize,
    /// From how many of these on it is trained anew; none where that is not asked for.
    pub at: Option<u64>,
}

impl Kept {
    /// Whether it is another model than a training now would give.
    pub fn stale(&self) -> bool {
        self.new + self.changed + self.gone > 0
    }

    /// Whether it is to be trained anew.
    pub fn due(&self) -> bool {
        self.at.is_some_and(|at| self.new as u64 >= at)
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, new, changed, gone, at } = self;
        let cases = if *new == 1 { "case" } else { "cases" };
        let seen = match (changed, gone) {
            (0, 0) => String::new(),
            (changed, 0) => format!("; of its own cases {changed} changed"),
            (0, gone) => format!("; of its own cases {gone} gone"),
            (changed, gone) => format!("; of its own cases {changed} changed, {gone} gone"),
        };
        match at {
            Some(at) if self.due() => {
                write!(f, "{stage}: trains anew, {new} labelled {cases} newer than its model (at {at})")
            }
            Some(at) => write!(
                f,
                "{stage}: model kept, {new} labelled {cases} newer than it{seen} (trains anew at {at}, `--retrain` now)"
            ),
            None => {
                write!(
                    f,
                    "{stage}: model kept, {new} labelled {cases} newer than it{seen} (`--retrain` trains anew)"
                )
            }
        }
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
