//! Who asks for the work of one key.

use std::sync::Arc;

use crate::executor::work::Action;

/// The actions of one key, in their order, each with how often it is asked for. Mostly there is one: a sorted
/// list takes a tenth of a map's memory.
#[derive(Default)]
pub(super) struct Asked(Vec<(Arc<Action>, isize)>);

impl Asked {
    /// Adds to a multiplicity; what comes to nothing is gone.
    pub fn add(&mut self, action: Arc<Action>, diff: isize) {
        match self.0.binary_search_by(|(known, _)| known.cmp(&action)) {
            Ok(at) => {
                self.0[at].1 += diff;
                if self.0[at].1 == 0 {
                    self.0.remove(at);
                }
            }
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (action, diff));
            }
        }
    }

    /// The first of them: the one that is done for all.
    pub fn first(&self) -> Option<&Action> {
        self.actions().next()
    }

    /// Returns all actions that ask.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.0.iter().map(|(action, _)| &**action)
    }

    /// Returns how often each is asked for.
    #[cfg(test)]
    pub fn counts(&self) -> impl Iterator<Item = isize> {
        self.0.iter().map(|(_, count)| *count)
    }
}
