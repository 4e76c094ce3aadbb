//! Masks in the place of labels that nobody drew.

use std::sync::Arc;

use tomoflow_connectors::Digest;

use super::{Built, Rows};
use crate::executor::keys;
use crate::executor::work::{Action, BoundCase, LabelRow};
use crate::operators::registry::Stage;
use crate::operators::spec::Kind;
use crate::pipeline::StageId;
use crate::store::Outcome;

/// Cases by name.
type Cases<'s> = Rows<'s, (Arc<str>, BoundCase)>;

/// Cases of a training with masks in the place of labels.
pub(super) struct Adopted<'s> {
    /// The cases that nobody has drawn.
    pub adopted: Cases<'s>,
    /// The cases whose mask is still to come.
    pub pending: Cases<'s>,
    /// All that have a mask, whether somebody has drawn them since or not: a kept model learned from it all the same.
    pub lent: Cases<'s>,
}

impl<'s> Built<'s, '_> {
    /// Cases as they are, and those without labels with the mask that was made of them. Those whose mask is still to come
    /// are known, so that no training begins without them.
    pub(super) fn adopt(&mut self, index: usize) {
        let (cases, masks) = (self.plan.stages[index].inputs[0], self.plan.stages[index].inputs[1]);
        let source = StageId::at(index);
        let names = self.plan.adopted_names(index).join("\n");
        let all = self.cases[&cases].clone();
        let drawn = all.clone().filter(|(_, case)| case.labels.is_some());
        let undrawn = all.clone().filter(|(_, case)| case.labels.is_none());
        let lent = all.join(self.masks[&masks].clone()).flat_map(move |(key, (case, mask))| {
            let of = [b"adopted 1".as_slice(), names.as_bytes(), &mask.mask.0];
            let digest = Digest::of_parts(of);
            let labels = LabelRow { source, record: mask.mask, digest, apart: false, absent: Arc::default() };
            (mask.series == case.series).then_some((key, BoundCase { labels: Some(labels), ..case }))
        });
        let adopted = lent.clone().semijoin(undrawn.clone().map(|(key, _)| key).distinct());
        self.lent.insert(index, lent);
        let left = undrawn.antijoin(adopted.clone().map(|(key, _)| key).distinct());
        let pending = match self.expected.get(&masks) {
            Some(expected) => left.clone().semijoin(expected.clone()),
            None => left.clone().filter(|_| false),
        };
        self.pending.insert(index, pending);
        self.cases.insert(index, drawn.concat(adopted).concat(left));
    }

    /// The cases of which a stage gives a mask sooner or later, or has given one, where an `adopt` waits for them: those
    /// that come to it, without those that failed for good, here or before.
    pub(super) fn expect<D>(&mut self, index: usize, wanted: &Rows<'s, (Action, D)>)
    where
        D: differential_dataflow::ExchangeData + std::hash::Hash,
    {
        if !self.is_adopted(index) {
            return;
        }
        let by_labels = matches!(self.plan.stages[index].stage, Stage::LabelsAsMasks);
        let mut all: Option<Rows<'s, Arc<str>>> = None;
        for input in &self.plan.stages[index].inputs {
            let these = match self.expected.get(input) {
                Some(expected) => expected.clone(),
                None => {
                    let cases = self.cases[input].clone();
                    cases
                        .filter(move |(_, case)| !by_labels || case.labels.is_some())
                        .map(|(case, _)| case)
                        .distinct()
                }
            };
            all = Some(match all {
                None => these,
                Some(all) => all.map(|case| (case, ())).semijoin(these).map(|(case, ())| case),
            });
        }
        let failed = wanted
            .clone()
            .flat_map(|(action, _)| Some((action.key, action.work.series()?.key.clone())))
            .join_core(self.outcomes.clone(), |_, case, outcome| match outcome {
                Outcome::Failed { lasting: true, .. } => Some(case.clone()),
                _ => None,
            });
        if let Some(all) = all {
            let expected = all.map(|case| (case, ())).antijoin(failed.distinct()).map(|(case, ())| case);
            self.expected.insert(index, expected);
        }
    }

    /// Whether an `adopt` takes what a stage gives, as it is or mended.
    fn is_adopted(&self, index: usize) -> bool {
        self.plan.stages.iter().enumerate().any(|(place, stage)| {
            stage.inputs.contains(&index)
                && match stage.stage {
                    Stage::Adopt => stage.inputs.get(1) == Some(&index),
                    _ => stage.output == Some(Kind::Masks) && self.is_adopted(place),
                }
        })
    }

    /// Returns the cases of a training: all of them without borrowed labels, and where masks are adopted
    /// more.
    pub(super) fn told_from_adopted(&self, view: usize) -> (Cases<'s>, Option<Adopted<'s>>) {
        let all = self.cases[&view].clone();
        let Some(adopt) = self.plan.adopting(view) else { return (all, None) };
        let source = StageId::at(adopt);
        let borrowed =
            move |case: &BoundCase| case.labels.as_ref().is_some_and(|labels| labels.source == source);
        let adopted = all.clone().filter(move |(_, case)| borrowed(case));
        let bare = all.map(move |(key, case)| match borrowed(&case) {
            true => (key, BoundCase { labels: None, ..case }),
            false => (key, case),
        });
        let (pending, lent) = (self.pending[&adopt].clone(), self.lent[&adopt].clone());
        (bare, Some(Adopted { adopted, pending, lent }))
    }

    /// Returns how a case with its labels is prepared for a training, which `partly` learns of cases that
    /// lack some labels.
    pub(super) fn prepares_case(
        &self,
        index: usize,
        partly: bool,
    ) -> impl Fn(BoundCase) -> Option<Action> + Clone + use<> {
        let (chain, stage) = (keys::Chain::to(self.plan, self.plan.prepared(index)), StageId::at(index));
        move |case: BoundCase| {
            let (scan, labels) = (chain.scan(&case), chain.labels(&case)?);
            let key =
                if partly { keys::prepare_in_part(scan, labels) } else { keys::prepare(scan, Some(labels)) };
            Some(Action { key, stage, work: crate::executor::work::Work::Prepare(case) })
        }
    }
}
