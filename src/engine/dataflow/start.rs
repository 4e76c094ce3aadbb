//! What a training begins with: the model of another stage, or a file.

use std::collections::BTreeSet;
use std::sync::Arc;

use tomoflow_connectors::{Digest, Reject};

use super::super::rows::{Conclusion, Desired, ModelRow};
use super::{Built, Rows};
use crate::operators::models::train::{Part, Train};
use crate::store::Pin;

/// A kept model, and the content of the one that its training began with.
pub(super) type Begun = (Pin, Option<Digest>);

impl<'s> Built<'s, '_> {
    /// The model that a training begins with, once it is there; none of one that begins with numbers of its own.
    pub(super) fn start(
        &self,
        index: usize,
        train: &Train,
        files: Rows<'s, Digest>,
    ) -> Option<Rows<'s, ((), ModelRow)>> {
        train.start.as_ref()?;
        Some(match self.plan.start(index) {
            Some(stage) => self.models[&stage].clone(),
            None => files.map(|model| ((), ModelRow { model, parts: Arc::default() })),
        })
    }
}

/// The cases that models have learned from: a training's, and those of what it began with.
pub(super) type Learned = Arc<BTreeSet<String>>;

/// The code of figures that are not of cases which nobody has learned from.
pub(in crate::engine) const SAW: &str = "START_SAW_JUDGED";

impl Built<'_, '_> {
    /// Tells of cases that are validated or tested on, and that the model which a training begins with, or one before
    /// that, has learned from. Nobody knows what weights in files have learned from.
    pub(super) fn tell_learned(&mut self, index: usize) {
        if !(0..self.plan.stages.len()).any(|stage| self.plan.start(stage).is_some()) {
            return;
        }
        let own = self.models[&index].clone();
        let mut learned = own.clone().map(|(unit, row)| (unit, Arc::new(cases_in(&row, true))));
        if let Some(before) = self.plan.start(index).and_then(|start| self.learned.get(&start)).cloned() {
            let stage = self.names[index].clone();
            self.outputs.push(own.join(before.clone()).flat_map(move |(_, (row, before))| {
                let judged = cases_in(&row, false);
                let seen = judged.intersection(&before).count();
                let message = format!(
                    "cases to validate and test on that the model it begins with has not learned from expected, it has from \
                     {seen} of {}",
                    judged.len()
                );
                let hint = "their figures are better than those of new cases would be: give both trainings \
                            the same `split`";
                let reject = Reject::new(SAW, message, hint);
                let row = Desired::Reject { case: None, stage: stage.clone(), reject, attempts: 0 };
                (seen > 0).then(|| Conclusion::desired(row))
            }));
            learned = learned.join(before).map(|(unit, (own, before))| {
                let all: BTreeSet<String> = own.union(&before).cloned().collect();
                (unit, Arc::new(all))
            });
        }
        self.learned.insert(index, learned.distinct());
    }
}

/// The cases that a model has learned from, or those that it was judged by.
fn cases_in(row: &ModelRow, learned: bool) -> BTreeSet<String> {
    let of = |part: &Part| matches!(part, Part::Train | Part::Unlabelled) == learned;
    row.parts.iter().filter(|(_, part)| of(part)).map(|(case, _)| case.clone()).collect()
}

/// The kept models that hold: of those that began with another model only where it is the one that there is.
pub(super) fn in_force<'s>(
    pins: Rows<'s, Begun>,
    start: Option<&Rows<'s, ((), ModelRow)>>,
) -> Rows<'s, ((), Pin)> {
    let Some(start) = start else { return pins.map(|(pin, _)| ((), pin)) };
    let now = start.clone().map(|(_, row)| row.model).distinct();
    pins.flat_map(|(pin, began)| Some((began?, pin))).semijoin(now).map(|(_, pin)| ((), pin))
}
