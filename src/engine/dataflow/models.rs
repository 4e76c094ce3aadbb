//! Cases to a dataset, a dataset to a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use tomoflow_connectors::{Digest, Reject};

use super::super::rows::{Conclusion, Desired, ModelRow, Parts, Provenance};
use super::adopt::Adopted;
use super::unlabelled::{Admits, learnable};
use super::{Built, Rows};
use crate::executor::keys;
use crate::executor::work::{Action, BoundCase, Member, Work, parts_of};
use crate::operators::models::train::{Enough, Part, Retrain, Train};
use crate::pipeline::StageId;
use crate::store::{Outcome, Pin};

/// A case and its part; its prepared artifact, when it is done; `Some(None)` when there will be none.
type Placed = ((Arc<str>, Part), Option<Option<Digest>>);

/// A dataset, and the content of the model to begin with.
type Fresh = (Arc<Vec<Member>>, Option<Digest>);

impl<'s> Built<'s, '_> {
    /// A dataset is complete when every case to train on is prepared or has failed; then its model is
    /// wanted. A pinned model stands in for both: it is kept although the cases have changed since, until so
    /// many are new that another is to be trained, and used until that one is there.
    pub(super) fn train(
        &mut self,
        index: usize,
        train: &Train,
        pins: Rows<'s, ((), Pin)>,
        start: Option<Rows<'s, ((), ModelRow)>>,
    ) {
        let before = self.plan.prepared(index);
        let (all, adopted) = self.told_from_adopted(before);
        let labelled = match train.learns_partly() {
            true => all.clone().filter(|(_, case)| case.labels.is_some()),
            false => self.wholly_labelled(index, all.clone()),
        };
        let mut unlabelled = all.clone().filter(|(_, case)| case.labels.is_none());
        if let Some(Adopted { adopted, .. }) = &adopted {
            unlabelled = unlabelled.antijoin(adopted.clone().map(|(case, _)| case).distinct());
        }
        let asks = train.asks_for_unlabelled();
        let without = asks.then(|| learnable(all.clone(), unlabelled.clone(), pins.clone(), train));
        let holding = holding(labelled.clone(), without, pins.clone(), train.retrain);
        let keyed = labelled.clone();
        let labelled = labelled.map(|(_, case)| ((), case));
        self.tell_short(index, labelled.clone(), train);
        self.tell_unknown(index, all.clone().map(|(_, case)| ((), case)), train);
        let unpinned = labelled
            .clone()
            .antijoin(holding.clone().map(|_| ()).distinct())
            .map(|(_, case)| (case.series.key.clone(), case));
        // What a file says in vain is told as long as it says so, and not until a model is kept.
        let split = match &train.split.named {
            Some(_) => labelled.map(|(_, case)| (case.series.key.clone(), case)),
            None => unpinned.clone(),
        };
        let parts = self.split(index, split, train, unpinned.clone().map(|_| ()));
        let parts = parts.semijoin(unpinned.clone().map(|(case, _)| case).distinct());
        let prepares = self.prepares_case(index, train.learns_partly());
        self.recall_labelled(keyed, holding.clone(), prepares.clone());
        if asks {
            // Each case was learned from in one way: by its mask, where it has one.
            let these = match &adopted {
                Some(Adopted { lent, .. }) => {
                    all.clone().antijoin(lent.clone().map(|(case, _)| case).distinct())
                }
                None => all.clone(),
            };
            self.recall_unlabelled(index, these, holding.clone());
        }
        if let Some(Adopted { lent, .. }) = &adopted {
            self.recall_adopted(lent.clone(), holding.clone(), prepares.clone());
        }
        // Cases to test on are not prepared: nothing reads them, and one more changes no model.
        let unpinned_cases = unpinned.clone();
        let with_labels = prepares.clone();
        let wanted = unpinned.join(parts.clone()).flat_map(move |(_, (case, part))| {
            if part == Part::Test {
                return None;
            }
            Some((with_labels(case)?, part))
        });
        let stood = holding.clone().flat_map(|(_, pin)| {
            pin.stands().map(|(case, part)| (Arc::<str>::from(case), part)).collect::<Vec<_>>()
        });
        let standing = (all.clone(), parts.clone().concat(stood));
        let admits = Admits::new(all, unpinned_cases, parts.clone(), train);
        let wanted = match asks {
            true => wanted.concat(self.unlabelled(index, admits.of(unlabelled))),
            false => wanted,
        };
        let (wanted, pending) = match adopted {
            Some(Adopted { adopted, pending, .. }) => {
                let adopted = admits.of(adopted);
                let adopted = adopted.flat_map(move |case| Some((prepares(case)?, Part::Unlabelled)));
                (wanted.concat(adopted), Some(admits.of(pending)))
            }
            None => (wanted, None),
        };
        let candidates = wanted.clone().map(|(action, part)| {
            let case = action.work.series().map_or_else(Arc::default, |series| series.key.clone());
            (action.key, (case, part))
        });
        let drawn = candidates.clone().map(|(_, placed)| placed);
        self.tell_copies(index, standing.0, standing.1.concat(drawn));
        let prepared = self.awaited(candidates).map(|(placed, outcome)| (placed, prepared(outcome)));
        // Failures to prepare are rejects of their own; here they only leave the dataset.
        self.act(wanted);
        let tested = parts.filter(|(_, part)| *part == Part::Test).map(|placed| (placed, Some(None)));
        let mut placed = prepared.concat(tested);
        if let Some(pending) = pending {
            placed = placed.concat(pending.map(|case| ((case.series.key.clone(), Part::Unlabelled), None)));
        }
        let fresh = datasets(placed);
        let pinned = pins.map(|(_, pin)| (pin.key, Arc::new(pin.stands().collect())));
        let fresh = match start {
            None => fresh.map(|members| (members, None)),
            // Nothing is trained before it is there.
            Some(start) => fresh
                .map(|members| ((), members))
                .join(start)
                .map(|(_, (members, start))| (members, Some(start.model))),
        };
        self.model(index, fresh, pinned);
    }

    /// Recalls what the labelled cases of a kept model came to; it holds as long as they are what they were
    /// then.
    fn recall_labelled(
        &mut self,
        cases: Rows<'s, (Arc<str>, BoundCase)>,
        pins: Rows<'s, ((), Pin)>,
        prepares: impl Fn(BoundCase) -> Option<Action> + 'static,
    ) {
        let seen = pins.flat_map(|(_, pin)| {
            let drawn = |part: Option<Part>| !matches!(part, Some(Part::Test | Part::Unlabelled));
            let prepared = pin.parts.into_iter().filter(move |(_, part)| drawn(*part));
            prepared.map(|(case, _)| Arc::<str>::from(case)).collect::<Vec<_>>()
        });
        let recalled = cases.semijoin(seen.distinct());
        self.recall(recalled.flat_map(move |(_, case)| prepares(case)));
    }

    /// Cases with a truth for every label; those that lack some are told, and not trained on as if these were empty.
    fn wholly_labelled(
        &mut self,
        index: usize,
        cases: Rows<'s, (Arc<str>, BoundCase)>,
    ) -> Rows<'s, (Arc<str>, BoundCase)> {
        let (stage, names) = (self.names[index].clone(), self.label_names());
        self.outputs.push(cases.clone().flat_map(move |(key, case)| {
            let labels = case.labels.as_ref().filter(|_| case.is_partly_labelled())?;
            let names = names.get(&labels.source).map_or(&[][..], Vec::as_slice);
            let name = |label: &u16| names.get(usize::from(*label).wrapping_sub(1)).cloned();
            let absent: Vec<String> = labels.absent.iter().filter_map(name).collect();
            let message = format!("a truth for every label expected, none for {}", absent.join(", "));
            let hint = "the case is not trained on; ask for fewer labels, set `absent = \"empty\"` at their source, or \
                        `partly_labelled = \"learn\"` at the training";
            let reject = Reject::new("PARTLY_LABELLED", message, hint);
            let (case, stage) = (Some(key.to_string()), stage.clone());
            Some(Conclusion::desired(Desired::Reject { case, stage, reject, attempts: 1 }))
        }));
        cases.filter(move |(_, case)| case.labels.is_some() && !case.is_partly_labelled())
    }

    /// The model of a complete dataset, or the pinned one.
    fn model(&mut self, index: usize, fresh: Rows<'s, Fresh>, pinned: Rows<'s, (Digest, Parts)>) {
        let (recipe, stage, name) =
            (keys::recipe(self.plan, index), StageId::at(index), self.names[index].clone());
        let wanted = fresh.map(move |(members, start)| {
            let key = keys::train(recipe, &members, start);
            let parts: BTreeMap<String, Part> = parts_of(&members).collect();
            let work = Work::Train { members, start: start.into_iter().collect() };
            (Action { key, stage, work }, Arc::new(parts))
        });
        let name_of = name.clone();
        self.outputs.push(pinned.clone().join_core(self.outcomes.clone(), move |_, _, outcome| {
            let notes: Vec<Reject> = match outcome {
                Outcome::Ok { notes, .. } => notes.to_vec(),
                Outcome::Failed { .. } => Vec::new(),
            };
            let stage = name_of.clone();
            let told = move |reject: Reject| {
                Conclusion::desired(Desired::Reject { case: None, stage: stage.clone(), reject, attempts: 0 })
            };
            notes.into_iter().map(told).collect::<Vec<_>>()
        }));
        let trained =
            self.act(wanted).map(|(action, parts, left)| (action.key, (parts, left.artifact, left.detail)));
        let kept = pinned.join_core(self.outcomes.clone(), |key, parts, outcome| match outcome {
            Outcome::Ok { artifact, detail, .. } => Some((*key, (parts.clone(), *artifact, *detail))),
            Outcome::Failed { .. } => None,
        });
        // In the epoch in which a training ends its pin begins: the two are one model, not two. The one that was
        // kept until then is none any more.
        let known = trained.clone().map(|_| ()).distinct();
        let kept = kept.map(|model| ((), model)).antijoin(known).map(|(_, model)| model);
        let models = trained.concat(kept).distinct();
        self.outputs.push(models.clone().flat_map(move |(action, (_, model, figures))| {
            let from = Provenance { stage: name.clone(), action, model: Some(model) };
            figures.map(|figures| Conclusion::desired(Desired::Training { figures, from }))
        }));
        self.models.insert(index, models.map(|(_, (parts, model, _))| ((), ModelRow { model, parts })));
    }
}

/// The artifact of a prepared case; `Some(None)` when there will be none.
fn prepared(outcome: Option<Outcome>) -> Option<Option<Digest>> {
    match outcome? {
        Outcome::Ok { artifact, .. } => Some(Some(artifact)),
        Outcome::Failed { lasting: true, .. } => Some(None),
        // A passing failure must not shape a dataset, whose model would then be kept.
        Outcome::Failed { lasting: false, .. } => None,
    }
}

/// The pins that keep their model: all of them, unless so many cases are new that it is to be trained anew. A case that
/// was learned from without labels and has some now is a new one.
fn holding<'s>(
    labelled: Rows<'s, (Arc<str>, BoundCase)>,
    unlabelled: Option<Rows<'s, (Arc<str>, BoundCase)>>,
    pins: Rows<'s, ((), Pin)>,
    retrain: Retrain,
) -> Rows<'s, ((), Pin)> {
    let Retrain::At(Enough { new_cases, new_unlabelled }) = retrain else { return pins };
    let mut held = pins.clone();
    if let Some(least) = new_cases {
        let drawn = |part: &Option<Part>| *part != Some(Part::Unlabelled);
        held = held.antijoin(enough(labelled, seen(&pins, drawn), least));
    }
    if let (Some(least), Some(unlabelled)) = (new_unlabelled, unlabelled) {
        held = held.antijoin(enough(unlabelled, seen(&pins, |_| true), least));
    }
    held
}

/// The cases of pins that stand so.
fn seen<'s>(pins: &Rows<'s, ((), Pin)>, stands: fn(&Option<Part>) -> bool) -> Rows<'s, Arc<str>> {
    let cases = pins.clone().flat_map(move |(_, pin)| {
        let these = pin.parts.into_iter().filter(move |(_, part)| stands(part));
        these.map(|(case, _)| Arc::from(case)).collect::<Vec<_>>()
    });
    cases.distinct()
}

/// Gives one row where at least so many cases are not among those seen.
fn enough<'s>(cases: Rows<'s, (Arc<str>, BoundCase)>, seen: Rows<'s, Arc<str>>, least: u64) -> Rows<'s, ()> {
    let new = cases.map(|(case, _)| (case, ())).antijoin(seen);
    let count = new.map(|_| ((), ())).reduce(move |_, new, output| {
        let count: isize = new.iter().map(|(_, count)| count).sum();
        if u64::try_from(count).is_ok_and(|count| count >= least) {
            output.push(((), 1));
        }
    });
    count.map(|_| ())
}

/// The dataset, once every case is prepared or has failed.
fn datasets<'s>(cases: Rows<'s, Placed>) -> Rows<'s, Arc<Vec<Member>>> {
    let complete = cases.map(|placed| ((), placed)).reduce(move |_, cases, output| {
        let mut dataset = Vec::new();
        for (((case, part), state), _) in cases {
            let Some(prepared) = state else { return };
            dataset.push(Member { case: case.to_string(), part: *part, prepared: *prepared });
        }
        dataset.sort_by(|a: &Member, b| a.place().cmp(&b.place()));
        if dataset.iter().any(|member| member.part == Part::Train && member.prepared.is_some()) {
            output.push((Arc::new(dataset), 1));
        }
    });
    complete.map(|(_, dataset)| dataset)
}
