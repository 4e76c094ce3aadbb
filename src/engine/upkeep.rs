//! What keeps an output healthy between runs: reread and compare, free what nobody needs, try failures again.

mod garbage;
mod page;
mod verify;

pub use garbage::{Garbage, Item, gc};
pub use page::{begin_page, keep_page};
pub use verify::{Verified, verify};

use tomoflow_connectors::Digest;

use super::error::RunError;
use super::outputs::identity::Identity;
use crate::pipeline::Plan;
use crate::store::{Failure, Owner, Store};

/// The failures that are meant; all when nothing is given.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    /// The name of the failure.
    pub code: Option<String>,
    /// The stage.
    pub stage: Option<String>,
    /// The case or series, as it is or as tables show it.
    pub case: Option<String>,
}

impl Failures {
    fn mean(&self, failure: &Failure, identity: &Identity) -> bool {
        let is = |asked: &Option<String>, found: &str| asked.as_deref().is_none_or(|asked| asked == found);
        let case = self
            .case
            .as_deref()
            .is_none_or(|asked| failure.case.as_deref().is_some_and(|case| identity.means(asked, case)));
        is(&self.code, &failure.code) && is(&self.stage, &failure.stage) && case
    }
}

/// Forgets failures, so that the next run tries their actions again; how many there were.
///
/// # Errors
/// When a run holds the output.
pub fn forget_failures(plan: &Plan, failures: &Failures) -> Result<usize, RunError> {
    Owner::check(plan)?;
    let store = Store::open(&plan.settings.out)?;
    let identity = Identity::of(store.identity_key()?, &plan.settings);
    let meant = store.failures()?.into_iter().filter(|failure| failures.mean(failure, &identity));
    let keys: Vec<Digest> = meant.map(|failure| failure.key).collect();
    store.forget(&keys)?;
    Ok(keys.len())
}
