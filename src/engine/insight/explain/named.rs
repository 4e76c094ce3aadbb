//! The outputs that a name, a digest or a row's `entry` may mean.

use std::collections::BTreeSet;

use tomoflow_connectors::Digest;

use super::{Explain, Explained};
use crate::engine::error::RunError;
use crate::engine::insight::differences::members;
use crate::engine::insight::outlook::Outlook;
use crate::engine::outputs::tables::entry_of;
use crate::engine::rows::Desired;
use crate::store::{Outcome, Recorded};

impl Explain<'_> {
    /// Returns what stands in the pipeline's stages, of stages and cases that are meant.
    pub(super) fn standing(
        &self,
        meant: impl Fn(&str, Option<&str>) -> bool,
    ) -> Result<Vec<Explained>, RunError> {
        let stages: BTreeSet<&str> = self.plan.stages.iter().map(|stage| stage.name.as_str()).collect();
        let mut outputs = Vec::new();
        for (stage, case, past) in self.store.histories()? {
            if !stages.contains(stage.as_str()) || !meant(&stage, case.as_deref()) {
                continue;
            }
            if let Some((last, earlier)) = past.split_last() {
                outputs.extend(self.output(&stage, case.as_deref(), last.key, earlier)?);
            }
        }
        Ok(outputs)
    }

    /// The actions whose key begins so, or that left something whose digest does; for an ensemble the trainings
    /// of its models.
    pub(super) fn by_digest(&self, prefix: &str) -> Result<Vec<Explained>, RunError> {
        let mut outputs = Vec::new();
        let used: BTreeSet<Digest> =
            self.store.all_made()?.into_iter().filter_map(|(_, made)| made.model).collect();
        let mut models = BTreeSet::new();
        for model in used.into_iter().filter(|model| model.to_string().starts_with(prefix)) {
            models.extend(members(self.store, Some(model))?);
        }
        for (key, Recorded { outcome, .. }) in self.store.all_outcomes()? {
            let left = match &outcome {
                Outcome::Ok { artifact, detail, .. } => [Some(*artifact), *detail],
                Outcome::Failed { .. } => [None, None],
            };
            let mut names = [Some(key)].into_iter().chain(left).flatten();
            if !names.any(|digest| models.contains(&digest) || digest.to_string().starts_with(prefix)) {
                continue;
            }
            let Some(made) = self.store.made(key)? else { continue };
            let past = self.store.history(&made.stage, made.case.as_deref())?;
            let at = past.iter().rposition(|past| past.key == key).unwrap_or(past.len());
            outputs.extend(self.output(&made.stage, made.case.as_deref(), key, &past[..at])?);
        }
        Ok(outputs)
    }

    /// Returns what the rows come from whose `entry` in a table begins so: an action; of a row of `cases` all
    /// that the case has, and of one of `summary` all that its stage has.
    pub(super) fn by_entry(&self, prefix: &str) -> Result<Vec<Explained>, RunError> {
        let outlook = Outlook::to_show(self.plan.clone())?;
        let mut outputs = Vec::new();
        for desired in outlook.driver.desired().keys() {
            if !entry_of(self.identity, desired).to_string().starts_with(prefix) {
                continue;
            }
            outputs.extend(match &**desired {
                Desired::Masks { from, .. }
                | Desired::Metrics { from, .. }
                | Desired::Detections { from, .. }
                | Desired::Training { from, .. } => {
                    let made = self.by_digest(&from.action.to_string())?;
                    made.into_iter().filter(|output| output.stage == *from.stage).collect()
                }
                Desired::Case(case) => self.standing(|_, name| name == Some(&*case.series.key))?,
                Desired::Summary { group, .. } | Desired::Pooled { group, .. } => {
                    self.standing(|stage, _| stage == &*group.stage)?
                }
                Desired::Reject { .. } => Vec::new(),
            });
        }
        Ok(outputs)
    }
}
