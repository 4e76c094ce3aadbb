//! An action on its way to the threads of the pool, and what comes of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::load::Lookup;
use super::work::Action;
use crate::store::Recorded;

/// An action on its way.
#[derive(Clone)]
pub struct Job {
    /// What is to be done.
    pub action: Action,
    /// The flag that is set when it is no longer wanted.
    pub cancelled: Arc<AtomicBool>,
    /// The lookup that says where its files lie, when this process has no index of its own.
    pub lookup: Option<Arc<dyn Lookup>>,
}

/// What an action led to.
#[derive(Debug)]
pub struct Finished {
    /// The action that ended.
    pub action: Action,
    /// What came of it.
    pub recorded: Recorded,
}
