//! Models to masks: one model, an ensemble, or those of an ensemble that were not trained on a case.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::Digest;

use super::super::rows::{ModelRow, Stands, Used};
use super::{Built, Rows};
use crate::executor::keys;
use crate::executor::reach::Reach;
use crate::executor::work::{Action, Work};
use crate::operators::models::infer::{Infer, Side};
use crate::operators::models::origin::ModelSource;
use crate::operators::models::train::{FoldIs, Part};
use crate::operators::registry::Stage;
use crate::pipeline::StageId;

/// The models of an inference, all of them there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Ensemble {
    models: Vec<ModelRow>,
    /// Their contents, as they run: one list for all cases.
    contents: Arc<[Digest]>,
}

impl Ensemble {
    fn of(models: Vec<ModelRow>) -> Self {
        let contents = contents(&models.iter().collect::<Vec<_>>());
        Self { models, contents }
    }

    /// The models that segment a case, and where it stands for them.
    fn whole(&self, case: &str) -> (Arc<[Digest]>, Option<Stands>) {
        (self.contents.clone(), stands(case, self.models.iter()))
    }

    /// Returns those of these models that tested on a case, where folds are for that, or validated on it;
    /// else those that were not trained on it; else all.
    fn out_of_fold(&self, case: &str, fold_is: FoldIs) -> (Arc<[Digest]>, Option<Stands>) {
        let where_it = |stands: fn(Option<Stands>) -> bool| -> Vec<&ModelRow> {
            self.models.iter().filter(|model| stands(Stands::of(case, &model.parts))).collect()
        };
        let mut chosen = match fold_is {
            FoldIs::Validation => Vec::new(),
            FoldIs::Test => where_it(|stands| stands == Some(Stands::In(Part::Test))),
        };
        if chosen.is_empty() {
            chosen = where_it(|stands| stands == Some(Stands::In(Part::Validation)));
        }
        if chosen.is_empty() {
            chosen = where_it(|stands| !matches!(stands, Some(Stands::In(Part::Train | Part::Unlabelled))));
        }
        if chosen.is_empty() || chosen.len() == self.models.len() {
            return self.whole(case);
        }
        (contents(&chosen), stands(case, chosen.into_iter()))
    }
}

fn contents(models: &[&ModelRow]) -> Arc<[Digest]> {
    ModelSource::in_order(models.iter().map(|model| model.model)).into()
}

/// Returns where a case stands for several models: the part in which any of them has seen most of it.
fn stands<'a>(case: &str, models: impl Iterator<Item = &'a ModelRow>) -> Option<Stands> {
    models.filter_map(|model| Stands::of(case, &model.parts)).min()
}

/// The cases that models are applied to, and the models that each of them gets.
#[derive(Clone, Copy)]
pub(super) struct Chosen<'a> {
    /// Whether a case is segmented only by models that were not trained on it.
    out_of_fold: bool,
    /// Whether cases with labels alone are looked at.
    marked: bool,
    /// The sides of the models' split whose cases are looked at; empty for all.
    sides: &'a [Side],
}

impl Chosen<'static> {
    /// All cases, by all models.
    pub const ALL: Self = Self { out_of_fold: false, marked: false, sides: &[] };
}

/// Returns whether a case stands on one of these sides; on none named, every case does.
fn on_side(sides: &[Side], stands: Option<Stands>) -> bool {
    let side = stands.map(|stands| match stands {
        Stands::In(part) => Side::In(part),
        Stands::New => Side::New,
    });
    sides.is_empty() || side.is_some_and(|side| sides.contains(&side))
}

impl<'s> Built<'s, '_> {
    /// A mask of every case, once all models are there.
    pub(super) fn infer(&mut self, index: usize, infer: &Infer, files: Rows<'s, Digest>) {
        let Infer { out_of_fold, marked, sides, .. } = infer;
        let chosen = Chosen { out_of_fold: *out_of_fold, marked: *marked, sides };
        self.apply_models(index, chosen, files);
    }

    /// Applies models, or a library of atlases, to the cases that are chosen.
    pub(super) fn apply_models(&mut self, index: usize, chosen: Chosen<'_>, files: Rows<'s, Digest>) {
        let Chosen { out_of_fold, marked, sides } = chosen;
        let sides = sides.to_vec();
        let ensembles = self.ensembles(index, files);
        let mut cases = self.cases[&self.plan.stages[index].inputs[0]].clone();
        if marked {
            self.refuse_unlabelled(index, &cases);
            cases = cases.filter(|(_, case)| case.labels.is_some());
        }
        let operator = keys::operator(&self.plan.stages[index]);
        let chain = keys::Chain::to(self.plan, self.plan.stages[index].inputs[0]);
        let reach = Reach::of(self.plan, index);
        let fold_is = self.fold_is(index);
        let wanted =
            cases.map(|(_, case)| ((), case)).join(ensembles).flat_map(move |(_, (case, ensemble))| {
                let (models, stands) = match out_of_fold {
                    true => ensemble.out_of_fold(&case.series.key, fold_is),
                    false => ensemble.whole(&case.series.key),
                };
                if !on_side(&sides, stands) {
                    return None;
                }
                let model = ModelSource::content(&models);
                // The labels say which slices are looked at.
                let labels = chain.labels(&case).filter(|_| marked);
                let case = if marked { case } else { chain.seen(case) };
                let operator = reach.operator(operator, &case.series.grid);
                let inputs: Vec<Digest> = [chain.scan(&case), model].into_iter().chain(labels).collect();
                let key = keys::action(operator, &inputs);
                let work = Work::with_models(case, models);
                Some((Action { key, stage: StageId::at(index), work }, Some(Used { model, stands })))
            });
        self.masks_of(index, wanted);
    }

    /// Returns what the folds of all trainings of an inference are for.
    fn fold_is(&self, index: usize) -> FoldIs {
        let mut trainings = self.plan.stages[index].named().peekable();
        let tests = |stage: usize| match &self.plan.stages[stage].stage {
            Stage::Train(train) => train.split.fold_is == FoldIs::Test,
            _ => false,
        };
        let any = trainings.peek().is_some();
        if any && trainings.all(tests) { FoldIs::Test } else { FoldIs::Validation }
    }

    /// The models that an inference names: those of all its stages, or what its files hold.
    fn ensembles(&self, index: usize, files: Rows<'s, Digest>) -> Rows<'s, ((), Ensemble)> {
        let mut named = self.plan.stages[index].named();
        let Some(first) = named.next() else {
            return files.map(|model| ((), Ensemble::of(vec![ModelRow { model, parts: Arc::default() }])));
        };
        let mut all = self.models[&first].clone().map(|(unit, model)| (unit, vec![model]));
        for stage in named {
            all = all.join(self.models[&stage].clone()).map(|(unit, (mut models, model))| {
                models.push(model);
                (unit, models)
            });
        }
        all.map(|(unit, models)| (unit, Ensemble::of(models)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(content: &[u8], parts: &[(&str, &str)]) -> ModelRow {
        let parts =
            parts.iter().map(|(case, part)| ((*case).to_owned(), Part::of_name(part).unwrap())).collect();
        ModelRow { model: Digest::of(content), parts: Arc::new(parts) }
    }

    #[test]
    fn each_case_goes_to_the_models_that_did_not_learn_from_it() {
        let a = model(b"a", &[("x", "validation"), ("y", "train"), ("t", "test"), ("all", "train")]);
        let b = model(b"b", &[("x", "train"), ("y", "validation"), ("t", "test"), ("all", "train")]);
        let c = model(b"c", &[("x", "train"), ("y", "validation"), ("late", "train"), ("all", "train")]);
        let ensemble = Ensemble::of(vec![c.clone(), a.clone(), b.clone()]);
        let all = [&a, &b, &c];
        let stands = |part| Some(Stands::In(part));
        for (case, models, side) in [
            ("x", &[&a][..], stands(Part::Validation)),
            ("y", &[&b, &c], stands(Part::Validation)),
            ("t", &all, stands(Part::Test)),
            ("late", &[&a, &b], Some(Stands::New)),
            ("new", &all, Some(Stands::New)),
            ("all", &all, stands(Part::Train)),
        ] {
            assert_eq!(ensemble.out_of_fold(case, FoldIs::Validation), (contents(models), side), "{case}");
        }
        assert_eq!(ensemble.whole("x"), (contents(&all), stands(Part::Train)));
        assert_eq!(ensemble.whole("new"), (contents(&all), Some(Stands::New)));
    }

    #[test]
    fn where_folds_are_tested_on_each_case_goes_to_the_models_that_tested_on_it() {
        let a = model(b"a", &[("x", "test"), ("y", "train"), ("u", "unlabelled"), ("v", "unlabelled")]);
        let b = model(b"b", &[("x", "validation"), ("y", "test"), ("u", "unlabelled")]);
        let ensemble = Ensemble::of(vec![a.clone(), b.clone()]);
        let all = [&a, &b];
        for (case, models, side) in [
            ("x", &[&a][..], Stands::In(Part::Test)),
            ("y", &[&b], Stands::In(Part::Test)),
            ("u", &all, Stands::In(Part::Unlabelled)),
            ("v", &[&b], Stands::New),
        ] {
            assert_eq!(ensemble.out_of_fold(case, FoldIs::Test), (contents(models), Some(side)), "{case}");
        }
        let validated = ensemble.out_of_fold("x", FoldIs::Validation);
        assert_eq!(validated, (contents(&[&b]), Some(Stands::In(Part::Validation))));
    }

    #[test]
    fn cases_of_the_sides_that_were_named_are_looked_at() {
        let test = Some(Stands::In(Part::Test));
        assert!(on_side(&[], None) && on_side(&[], test));
        let sides = [Side::of_word("test").unwrap(), Side::of_word("new").unwrap()];
        assert!(on_side(&sides, test) && on_side(&sides, Some(Stands::New)));
        assert!(!on_side(&sides, Some(Stands::In(Part::Train))) && !on_side(&sides, None));
        assert!(Side::WORDS.iter().all(|word| Side::of_word(word).is_some()));
    }

    #[test]
    fn the_order_of_models_decides_nothing_and_a_file_knows_no_parts() {
        let [a, b] = [model(b"a", &[]), model(b"b", &[])];
        let contents_of =
            |models: &[&ModelRow]| Ensemble::of(models.iter().copied().cloned().collect()).contents;
        assert_eq!(contents_of(&[&a, &b]), contents_of(&[&b, &a]));
        assert_eq!(*contents_of(&[&a, &a]), [a.model]);
        assert_eq!(Ensemble::of(vec![a.clone()]).whole("x"), (Arc::from([a.model]), None));
    }
}
