//! Actions that stages ask for, and what came of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Digest, Reject};

use super::{Built, Rows};
use crate::engine::rows::{Conclusion, Desired};
use crate::executor::work::Action;
use crate::store::{FigureRow, Outcome};

/// What a finished action left.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Left {
    pub(super) artifact: Digest,
    pub(super) detail: Option<Digest>,
    pub(super) figures: Arc<[FigureRow]>,
}

impl<'s> Built<'s, '_> {
    /// Asks for actions, and joins what they led to: the artifacts of those that are done.
    ///
    /// Failures become rejects. `D` is what the caller wants to know again with each artifact.
    pub(super) fn act<D>(&mut self, wanted: Rows<'s, (Action, D)>) -> Rows<'s, (Arc<Action>, D, Left)>
    where
        D: differential_dataflow::ExchangeData + std::hash::Hash,
    {
        // Shared by all that hold it: the arrangements here, what is wanted, and the driver.
        let wanted = wanted.map(|(action, more)| (Arc::new(action), more));
        self.outputs.push(wanted.clone().map(|(action, _)| Conclusion::Wanted(action)));
        let done = wanted
            .map(|(action, more)| (action.key, (action, more)))
            .join_core(self.outcomes.clone(), |_, wanted, outcome| Some((wanted.clone(), outcome.clone())));
        self.refuse(&done);
        self.tell(&done);
        done.flat_map(|((action, more), outcome)| match outcome {
            Outcome::Ok { artifact, detail, figures, .. } => {
                Some((action, more, Left { artifact, detail, figures }))
            }
            Outcome::Failed { .. } => None,
        })
    }

    /// Recalls what actions led to that nobody asks for any more, as rows that hold all the same.
    pub(super) fn recall(&mut self, actions: Rows<'s, Action>) {
        let actions = actions.map(|action| (action.key, (Arc::new(action), ())));
        self.outputs.push(actions.clone().map(|(_, (action, ()))| Conclusion::Recalled(action)));
        let done = actions
            .join_core(self.outcomes.clone(), |_, action, outcome| Some((action.clone(), outcome.clone())));
        self.refuse(&done);
        self.tell(&done);
    }

    /// Turns failures into rejects.
    fn refuse<D>(&mut self, done: &Rows<'s, ((Arc<Action>, D), Outcome)>)
    where
        D: differential_dataflow::ExchangeData + std::hash::Hash,
    {
        let names = self.names.clone();
        self.outputs.push(done.clone().flat_map(move |((action, _), outcome)| match outcome {
            Outcome::Failed { code, message, hint, attempts, .. } => {
                let case = action.work.series().map(|series| series.key.to_string());
                let reject = Reject { code, message, hint };
                let stage = names[action.stage.place()].clone();
                Some(Conclusion::desired(Desired::Reject { case, stage, reject, attempts }))
            }
            Outcome::Ok { .. } => None,
        }));
    }

    /// Tells what was left out of labels that took part, as rows of their source: nothing was refused.
    fn tell<D>(&mut self, done: &Rows<'s, ((Arc<Action>, D), Outcome)>)
    where
        D: differential_dataflow::ExchangeData + std::hash::Hash,
    {
        let names = self.names.clone();
        let told = done.clone().flat_map(move |((action, _), outcome)| {
            let notes = match outcome {
                Outcome::Ok { notes, .. } => notes,
                Outcome::Failed { .. } => Arc::default(),
            };
            // The source of a case is that of its labels; what has none, as a training, is told of under its
            // own name.
            let source = match action.work.labels() {
                Some(labels) => names[labels.source.place()].clone(),
                None => names[action.stage.place()].clone(),
            };
            let case = action.work.series().map(|series| series.key.to_string());
            let row = move |reject: &Reject| {
                let (case, reject, stage) = (case.clone(), reject.clone(), source.clone());
                Conclusion::desired(Desired::Reject { case, stage, reject, attempts: 0 })
            };
            notes.iter().map(row).collect::<Vec<_>>()
        });
        self.outputs.push(told);
    }

    /// Returns all that is wanted, by the action's key, with what came of it; nothing while it is not done.
    pub(super) fn awaited<D>(&self, wanted: Rows<'s, (Digest, D)>) -> Rows<'s, (D, Option<Outcome>)>
    where
        D: differential_dataflow::ExchangeData + std::hash::Hash,
    {
        let wanted = wanted.map(|(key, wanted)| (key, (Some(wanted), None)));
        let done = wanted
            .clone()
            .join_core(self.outcomes.clone(), |key, _, outcome| Some((*key, (None, Some(outcome.clone())))));
        let known = wanted.concat(done).reduce(|_, halves, output| {
            let outcome = halves.iter().find_map(|((_, outcome), _)| outcome.clone());
            for ((wanted, _), _) in halves {
                if let Some(wanted) = wanted {
                    output.push(((wanted.clone(), outcome.clone()), 1));
                }
            }
        });
        known.map(|(_, known)| known)
    }
}
