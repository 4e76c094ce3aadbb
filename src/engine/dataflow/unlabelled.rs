//! Cases without labels, for trainings that learn from them.

use std::sync::Arc;

use super::{Built, Rows};
use crate::executor::keys;
use crate::executor::work::{Action, BoundCase, Work};
use crate::operators::models::train::{Part, Split, Train};
use crate::pipeline::StageId;
use crate::store::Pin;

/// Which cases that nobody has drawn a training may learn from.
pub(super) struct Admits<'s> {
    /// There is a row once it is known where labelled patients stand.
    known: Rows<'s, ()>,
    /// Patients who are judged.
    judged: Rows<'s, Arc<str>>,
}

impl<'s> Admits<'s> {
    /// Admits cases whose patient is neither validated nor tested on, nor judged as one who is new: scans of
    /// such a patient would teach what is then judged. There are none before it is known where labelled
    /// patients stand.
    pub fn new(
        all: Rows<'s, (Arc<str>, BoundCase)>,
        labelled: Rows<'s, (Arc<str>, BoundCase)>,
        parts: Rows<'s, (Arc<str>, Part)>,
        train: &Train,
    ) -> Self {
        let known = parts.clone().map(|_| ()).distinct();
        let patients = labelled.join(parts);
        let judged = patients.flat_map(|(_, (case, part))| {
            let judged = matches!(part, Part::Validation | Part::Test);
            judged.then(|| case.series.patient.clone())
        });
        Self { known, judged: judged.concat(judged_anyhow(all, train)).distinct() }
    }

    /// Returns those of these cases that are admitted.
    pub fn of(&self, cases: Rows<'s, (Arc<str>, BoundCase)>) -> Rows<'s, BoundCase> {
        let admitted = cases
            .map(|(_, case)| ((), case))
            .semijoin(self.known.clone())
            .map(|(_, case)| (case.series.patient.clone(), case));
        admitted.antijoin(self.judged.clone()).map(|(_, case)| case)
    }
}

impl<'s> Built<'s, '_> {
    /// The preparation of cases without labels.
    pub(super) fn unlabelled(&self, index: usize, admitted: Rows<'s, BoundCase>) -> Rows<'s, (Action, Part)> {
        let prepares = self.prepares_scan(index);
        admitted.map(move |case| (prepares(case), Part::Unlabelled))
    }

    /// Recalls what cases came to that a kept model has learned from by masks in the place of labels, as far
    /// as these are what they were then.
    pub(super) fn recall_adopted(
        &mut self,
        lent: Rows<'s, (Arc<str>, BoundCase)>,
        pins: Rows<'s, ((), Pin)>,
        prepares: impl Fn(BoundCase) -> Option<Action> + 'static,
    ) {
        let seen = pins.flat_map(|(_, pin)| {
            let may =
                pin.parts.into_iter().filter(|(_, part)| part.is_none_or(|part| part == Part::Unlabelled));
            may.map(|(case, _)| Arc::<str>::from(case)).collect::<Vec<_>>()
        });
        let recalled = lent.semijoin(seen.distinct());
        self.recall(recalled.flat_map(move |(_, case)| prepares(case)));
    }

    /// Recalls what cases came to that a kept model has learned from without labels, whether they have some
    /// now or not.
    pub(super) fn recall_unlabelled(
        &mut self,
        index: usize,
        cases: Rows<'s, (Arc<str>, BoundCase)>,
        pins: Rows<'s, ((), Pin)>,
    ) {
        let prepares = self.prepares_scan(index);
        let seen = pins.flat_map(|(_, pin)| {
            // A case that could not be prepared stands in no part.
            let may =
                pin.parts.into_iter().filter(|(_, part)| part.is_none_or(|part| part == Part::Unlabelled));
            may.map(|(case, part)| (Arc::<str>::from(case), part.is_some())).collect::<Vec<_>>()
        });
        let recalled = cases.join(seen.distinct());
        self.recall(
            recalled
                .flat_map(move |(_, (case, stood))| (stood || case.labels.is_none()).then(|| prepares(case))),
        );
    }

    /// Returns the way in which the scan alone of a case is prepared for a training.
    fn prepares_scan(&self, index: usize) -> impl Fn(BoundCase) -> Action + Clone + use<> {
        let chain = keys::Chain::to(self.plan, self.plan.prepared(index));
        let stage = StageId::at(index);
        move |case| {
            let case = BoundCase { labels: None, ..case };
            Action { key: keys::prepare(chain.scan(&case), None), stage, work: Work::Prepare(case) }
        }
    }
}

/// Whether a case is judged though it has no place among the labelled ones of a split: a file names it for validation
/// or for testing, or it lacks some labels and stands as new. What else there is of its patient must not be learned from.
pub(in crate::engine) fn is_judged_anyhow(split: &Split, case: &BoundCase) -> bool {
    case.is_partly_labelled() || !split.admits_unlabelled(&case.series.key, &case.series.patient)
}

/// The patients of such cases.
fn judged_anyhow<'s>(cases: Rows<'s, (Arc<str>, BoundCase)>, train: &Train) -> Rows<'s, Arc<str>> {
    let split = train.split.clone();
    cases.flat_map(move |(_, case)| is_judged_anyhow(&split, &case).then(|| case.series.patient.clone()))
}

/// Cases without labels that a training may learn from as far as the models know that are kept: of no patient whom they
/// validated or tested on, or who is judged all the same.
pub(super) fn learnable<'s>(
    all: Rows<'s, (Arc<str>, BoundCase)>,
    unlabelled: Rows<'s, (Arc<str>, BoundCase)>,
    pins: Rows<'s, ((), Pin)>,
    train: &Train,
) -> Rows<'s, (Arc<str>, BoundCase)> {
    let judged = pins.flat_map(|(_, pin)| {
        let judged = |part: &Option<Part>| matches!(part, Some(Part::Validation | Part::Test));
        let these = pin.parts.into_iter().filter(move |(_, part)| judged(part));
        these.map(|(case, _)| Arc::<str>::from(case)).collect::<Vec<_>>()
    });
    let anyhow = judged_anyhow(all.clone(), train);
    let patients = all.semijoin(judged.distinct()).map(|(_, case)| case.series.patient.clone());
    unlabelled
        .map(|(_, case)| (case.series.patient.clone(), case))
        .antijoin(patients.concat(anyhow).distinct())
        .map(|(_, case)| (case.series.key.clone(), case))
}
