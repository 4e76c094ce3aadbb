//! Splits by file and fold, ensembles of trainings, and models that are trained anew once enough cases came.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same, contents, ran};
use dicom_core::{DataElement, Tag, VR};
use dicom_object::open_file;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tomoflow::connectors::table::{CaseRow, Rows, Table, read_rows};
use tomoflow::engine::{self, Options, Session};
use tomoflow::operators::registry::Registry;
use tomoflow::pipeline::{self, Plan};

const SPLIT: &str = "split = { train = 2, validation = 1, test = 1, seed = 3 }";

/// Whoever comes changes what is trained on.
const NO_TEST: &str = "split = { train = 0.7, validation = 0.3, test = 0 }";

/// Each series' part of the split, and the model that segmented it.
fn stand(place: &Workplace) -> BTreeMap<String, (String, String)> {
    place.metrics().into_iter().map(|row| (row.series, (row.split, row.model))).collect()
}

fn splits(place: &Workplace) -> Vec<String> {
    let mut splits: Vec<String> = stand(place).into_values().map(|(split, _)| split).collect();
    splits.sort();
    splits
}

fn patients(place: &Workplace) -> BTreeMap<String, String> {
    match read_rows(&place.out().join("tables/cases"), Table::Cases).unwrap() {
        Rows::Cases(rows) => {
            rows.into_iter().map(|CaseRow { series, patient, .. }| (series, patient)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// The pipeline with several trainings, `net_0`, `net_1`, …, each with this changed, and one inference of all.
fn ensemble(trainings: &[(&str, &str)], infer: &str) -> Workplace {
    let mut place = Workplace::trained();
    let (before, after) = place.text.split_once("[operators.net]").unwrap();
    let (net, after) = after.split_once("[operators.segment]").unwrap();
    let nets: String = trainings
        .iter()
        .enumerate()
        .map(|(number, (from, to))| format!("[operators.net_{number}]{}", net.rewrite(from, to)))
        .collect();
    let names: Vec<String> = (0..trainings.len()).map(|number| format!("\"net_{number}\"")).collect();
    let infer = format!("model = [{}]\n{infer}", names.join(", "));
    let after = after.rewrite("model = \"net\"", &infer);
    place.text = format!("{before}{nets}[operators.segment]{after}");
    place
}

fn plan(place: &Workplace, out: Option<&Path>) -> Plan {
    let out: Vec<String> =
        out.iter().map(|out| format!("pipeline.out={:?}", out.to_str().unwrap())).collect();
    pipeline::load(&place.pipeline(), &out, &Registry::builtin())
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn forecast(place: &Workplace) -> String {
    engine::forecast(plan(place, None), &Options::default()).unwrap().to_string()
}

#[test]
fn an_ensemble_of_the_same_model_is_that_model() {
    let one = Workplace::trained();
    one.run();
    let same = ensemble(&[("", ""), ("", "")], "");
    let summary = same.run();
    // One training serves both stages.
    assert_eq!((summary.trained, summary.rejected, ran(&summary, "segment")), (1, 0, 4), "{summary}");
    let (one, same) = (one.tables(), same.tables());
    assert_eq!((&one["masks"], &one["metrics"]), (&same["masks"], &same["metrics"]));
    assert_eq!(same["training"].len(), 2 * one["training"].len());
}

#[test]
fn an_ensemble_waits_for_all_its_models_and_names_them() {
    let mut place = ensemble(&[("", ""), (SPLIT, &format!("seed = 1\n{SPLIT}"))], "");
    let first = place.run();
    assert_eq!((first.trained, first.rejected, ran(&first, "segment")), (2, 0, 4), "{first}");
    let tables = place.tables();
    assert_eq!(tables, place.anew());
    let models: BTreeSet<String> = place.metrics().into_iter().map(|row| row.model).collect();
    assert_eq!(models.len(), 1);
    let ensemble = models.into_iter().next().unwrap();

    let graph = plan(&place, None).graph_mermaid();
    assert_eq!(graph.matches("-.->|model|").count(), 2, "{graph}");
    let case = stand(&place).into_keys().next().unwrap();
    let told = engine::explain(&plan(&place, None), &case).unwrap();
    let mask = told.outputs.iter().find(|output| output.stage == "segment").unwrap();
    let mut names: Vec<&str> = mask.ensemble.iter().map(|model| model.split(' ').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!((mask.model.as_ref(), names), (Some(&ensemble), vec!["net_0", "net_1"]));
    let told = engine::explain(&plan(&place, None), &ensemble[..12]).unwrap();
    let stages: Vec<&str> = told.outputs.iter().map(|output| output.stage.as_str()).collect();
    assert_eq!(stages, ["net_0", "net_1"]);

    // The order in which they are named, and what they are called, are nothing.
    place.text = place.text.rewrite("[\"net_0\", \"net_1\"]", "[\"net_1\", \"net_0\"]");
    assert_eq!(place.run().actions_run, 0);
    assert_eq!(place.tables(), tables);

    // Another recipe of one of them changes every mask, and `plan` says why.
    place.text = place.text.replacen("epochs = 2", "epochs = 1", 1);
    let seen = forecast(&place);
    assert!(seen.contains("segment: 0 to run, up to 4 to follow, 0 unchanged (after net_0)"), "{seen}");
    let second = place.run();
    assert_eq!((second.trained, ran(&second, "segment")), (1, 4));
    let told = engine::explain(&plan(&place, None), &case).unwrap();
    let mask = told.outputs.iter().find(|output| output.stage == "segment").unwrap();
    assert!(mask.before.as_ref().is_some_and(|before| before.differences.len() == 1), "{mask:?}");
    assert_ne!(mask.model.as_ref(), Some(&ensemble));
}

#[test]
fn out_of_fold_each_case_is_segmented_by_the_model_that_did_not_learn_from_it() {
    let fold = |fold: usize| format!("split = {{ folds = 2, fold = {fold}, test = 0 }}");
    let mut place = ensemble(&[(SPLIT, &fold(0)), (SPLIT, &fold(1))], "out_of_fold = true");
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected, ran(&summary, "segment")), (2, 0, 4), "{summary}");
    assert_eq!(splits(&place), ["validation"; 4]);
    let crossed = stand(&place);
    let models: BTreeSet<&String> = crossed.values().map(|(_, model)| model).collect();
    assert_eq!(models.len(), 2);
    assert_eq!(place.tables(), place.anew());
    // A new case is segmented by both.
    place.add(4);
    place.run();
    assert_eq!(splits(&place), ["new", "validation", "validation", "validation", "validation"]);
    let new = stand(&place).into_values().find(|(split, _)| split == "new").unwrap();
    assert!(!models.contains(&new.1));
    // Without it every case is, and each was learnt from.
    place.text = place.text.rewrite("out_of_fold = true", "out_of_fold = false");
    place.run();
    assert_eq!(splits(&place), ["new", "train", "train", "train", "train"]);
    let all: BTreeSet<String> = stand(&place).into_values().map(|(_, model)| model).collect();
    assert_eq!(all, BTreeSet::from([new.1]));
}

#[test]
fn only_cases_of_the_parts_that_are_named_are_segmented() {
    let mut place = Workplace::trained();
    place.text = place.text.rewrite("model = \"net\"", "model = \"net\"\nparts = [\"test\", \"new\"]");
    let first = place.run();
    assert_eq!((first.trained, first.rejected, ran(&first, "segment")), (1, 0, 1), "{first}");
    assert_eq!(splits(&place), ["test"]);
    let test = stand(&place);
    assert_eq!(place.tables(), place.anew());

    // A case that comes after the training stands in no part.
    place.add(4);
    let second = place.run();
    assert_eq!((second.trained, ran(&second, "segment")), (0, 1), "{second}");
    assert_eq!(splits(&place), ["new", "test"]);

    // Which cases are looked at changes nothing in what one of them has: the others alone are run.
    place.text = place.text.rewrite("\nparts = [\"test\", \"new\"]", "");
    let third = place.run();
    assert_eq!((third.trained, ran(&third, "segment")), (0, 3), "{third}");
    let all = stand(&place);
    assert!(test.iter().all(|(key, stands)| all.get(key) == Some(stands)), "{test:?} {all:?}");
}

#[test]
fn folds_hold_alike_shares_of_small_and_large_structures() {
    let mut place = Workplace::trained();
    let split = "split = { folds = 2, fold = 0, test = 0, stratify = \"volume\" }\nretrain = \"always\"";
    place.text = place.text.rewrite(SPLIT, split).rewrite("[\"dice\"]", "[\"volume_ref_ml\"]");
    place.text = place.text.rewrite("epochs = 2", "epochs = 1");
    (4..7).for_each(|series| drop(place.add(series)));
    let first = place.run();
    // Each is measured once, where its labels come from.
    assert_eq!((first.trained, first.rejected, ran(&first, "case")), (1, 0, 7), "{first}");
    assert_eq!(place.tables(), place.anew());
    place.add(7);
    let second = place.run();
    assert_eq!((second.trained, ran(&second, "case")), (1, 1), "{second}");
    assert_eq!(place.tables(), place.anew());

    let mut strata: BTreeMap<i64, [usize; 2]> = BTreeMap::new();
    for row in place.metrics() {
        let class = row.value.unwrap().log2().round() as i64;
        strata.entry(class).or_default()[usize::from(row.split == "validation")] += 1;
    }
    assert!(strata.values().all(|[train, validation]| train.abs_diff(*validation) <= 1), "{strata:?}");
    // A training that is kept asks for no measure of a case that comes.
    place.text = place.text.rewrite("\nretrain = \"always\"", "");
    assert_eq!(place.run().actions_run, 0);
    place.add(8);
    let third = place.run();
    assert_eq!((third.trained, ran(&third, "case")), (0, 0), "{third}");
}

#[test]
fn a_file_of_a_split_enters_by_what_it_decides() {
    let mut place = Workplace::trained();
    place.run();
    let names: Vec<String> = patients(&place).into_values().collect();
    let [a, b, c, d] = names.as_slice() else { panic!("{names:?}") };
    let folder = place.path().to_owned();
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    write("splits.csv", format!("patient,part\n{a},validation\n{b},train\n{c},train\n"));
    place.text = place.text.rewrite(SPLIT, "split = { file = \"splits.csv\" }");
    assert_eq!(place.run().trained, 1);
    let stands = |place: &Workplace| -> BTreeMap<String, String> {
        let patients = patients(place);
        stand(place).into_iter().map(|(series, (split, _))| (patients[&series].clone(), split)).collect()
    };
    let expected = |parts: [&str; 4]| names.iter().cloned().zip(parts.map(str::to_owned)).collect();
    assert_eq!(stands(&place), expected(["validation", "train", "train", "test"]));
    // Written otherwise, with patients who are not there, in another place: nothing runs.
    write(
        "other.csv",
        format!("part,patient\ntest,{d}\ntrain,{c}\ntrain,{b}\ntrain,nobody\nvalidation,{a}\n"),
    );
    place.text = place.text.rewrite("splits.csv", "other.csv");
    let summary = place.run();
    assert_eq!((summary.actions_run, summary.trained), (0, 0), "{summary}");
    // Who is not there is told by name.
    assert_eq!(summary.remarked.get("SPLIT_NAME_UNKNOWN"), Some(&1), "{summary}");
    assert!(summary.to_string().contains("1 of 5 are those of none: `nobody`"), "{summary}");
    // Another decision is another training, although the model was kept.
    write("other.csv", format!("patient,part\n{a},train\n{b},train\n{c},validation\n"));
    assert_eq!(place.run().trained, 1);
    assert_eq!(stands(&place), expected(["train", "train", "validation", "test"]));
    // Nobody is named: no model, and it is said why.
    write("other.csv", "patient,part\nnobody,train\n".to_owned());
    let summary = place.run();
    assert_eq!((summary.trainings_failed, summary.rejects.get("NOBODY_NAMED")), (1, Some(&1)), "{summary}");
    // A bad line is a problem of the pipeline.
    write("other.csv", format!("patient,part\n{a},train\n{b},tarin\n"));
    let problems = pipeline::load(&place.pipeline(), &[], &Registry::builtin()).unwrap_err().to_string();
    assert!(
        problems.contains("other.csv, line 3: `train`, `validation` or `test` expected, `tarin`"),
        "{problems}"
    );
}

#[test]
fn a_patient_whose_series_are_named_for_two_parts_is_told_of() {
    let mut place = Workplace::trained();
    place.run();
    let mut series: Vec<(String, String)> = patients(&place).into_iter().collect();
    series.sort();
    // The first two series become one patient's.
    let number = (0..4).find(|&number| place.phantom_series(number) == series[1].0).unwrap();
    let files = place.files_of(number);
    for file in &files[..files.len() - 1] {
        let mut object = open_file(file).unwrap();
        object.put(DataElement::new(Tag(0x0010, 0x0020), VR::LO, series[0].1.as_str()));
        object.write_to_file(file).unwrap();
    }
    let parts = ["train", "validation", "train", "train"];
    let lines: String =
        series.iter().zip(parts).map(|((series, _), part)| format!("{series},{part}\n")).collect();
    std::fs::write(place.path().join("splits.csv"), format!("series,part\n{lines}")).unwrap();
    place.text = place.text.rewrite(SPLIT, "split = { file = \"splits.csv\" }");
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejects.get("TORN_PATIENT")), (1, Some(&1)), "{summary}");
    assert_eq!(splits(&place), ["train", "train", "validation", "validation"]);
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn a_model_is_kept_until_enough_cases_are_new() {
    let mut place = Workplace::trained();
    place.text = place.text.rewrite("epochs = 2", "epochs = 1\nretrain = { new_cases = 2 }");
    place.text = place.text.rewrite(SPLIT, NO_TEST);
    assert_eq!(place.run().trained, 1);
    place.add(4);
    assert!(forecast(&place).contains("net: model kept, 1 labelled case newer than it (trains anew at 2"));
    let second = place.run();
    assert_eq!((second.trained, second.actions_run), (0, 2));
    let note = "net: model kept, 1 labelled case newer than it (trains anew at 2, `--retrain` now)";
    assert_eq!(second.notes, [note]);
    place.add(5);
    let seen = forecast(&place);
    assert!(seen.contains("net: trains anew, 2 labelled cases newer than its model (at 2)"), "{seen}");
    let third = place.run();
    assert_eq!((third.trained, third.notes.len()), (1, 0), "{third}");
    assert!(!splits(&place).contains(&"new".to_owned()));
    // It saw all there is, as a run from nothing does.
    assert_eq!(place.tables(), place.anew());
    assert_eq!(place.run().actions_run, 0);
    // The policy is part of no key.
    place.text = place.text.rewrite("retrain = { new_cases = 2 }", "retrain = { new_cases = 7 }");
    assert_eq!(place.run().actions_run, 0);
    place.text = place.text.rewrite("retrain = { new_cases = 7 }", "");
    assert_eq!(place.run().actions_run, 0);
}

#[test]
fn cases_to_test_on_are_seen_and_need_no_training() {
    let mut place = Workplace::trained();
    place.run();
    let part = |at: usize| if at == 0 { "validation" } else { "train" };
    let named = patients(&place).into_values().enumerate();
    let lines: String = named.map(|(at, patient)| format!("{patient},{}\n", part(at))).collect();
    std::fs::write(place.path().join("splits.csv"), format!("patient,part\n{lines}")).unwrap();
    let policy = "split = { file = \"splits.csv\" }\nretrain = { new_cases = 1 }";
    place.text = place.text.rewrite(SPLIT, policy);
    assert_eq!(place.run().trained, 1);
    // Nobody names it, so that it is for testing: the same model stands, and knows of it.
    place.add(4);
    let summary = place.run();
    assert_eq!((summary.trained, summary.actions_run, summary.notes.len()), (0, 2, 0), "{summary}");
    assert_eq!(splits(&place), ["test", "train", "train", "train", "validation"]);
    assert_eq!(place.tables(), place.anew());
    assert_eq!(place.run().actions_run, 0);
}

/// Cases come and go at random: a pipeline that stays open trains when a plain count says so, and stands after
/// each step where runs that look once stand.
fn random_inserts(seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut place = Workplace::trained();
    let at = 2 + seed as usize % 2;
    place.text = place.text.rewrite("epochs = 2", &format!("epochs = 1\nretrain = {{ new_cases = {at} }}"));
    place.text = place.text.rewrite(SPLIT, NO_TEST);
    let once = tempfile::tempdir().unwrap();
    let options = Options { threads: 2, ..Options::default() };
    let mut session = Session::open(plan(&place, None), options.clone()).unwrap();
    let (mut there, mut seen): (BTreeSet<usize>, BTreeSet<usize>) = ((0..4).collect(), BTreeSet::new());
    let (mut next, mut trained) = (4, 0);
    for step in 0..6 {
        if step > 0 {
            for _ in 0..rng.random_range(1..3) {
                if rng.random_bool(0.25) && there.len() > 3 {
                    let gone = *there.iter().nth(rng.random_range(0..there.len())).unwrap();
                    there.remove(&gone);
                    place.delete(gone);
                } else {
                    there.insert(next);
                    place.add(next);
                    next += 1;
                }
            }
        }
        if seen.is_empty() || there.difference(&seen).count() >= at {
            (seen, trained) = (there.clone(), trained + 1);
        }
        session.look().unwrap();
        assert!(session.work(&mut |_| {}).unwrap());
        let summary = session.settle().unwrap();
        assert_eq!((summary.trained, summary.rejected), (trained, 0), "seed {seed}, step {step}: {summary}");
        engine::run(plan(&place, Some(once.path())), &options, &mut |_| {}).unwrap();
        assert_same(&place.tables(), &contents(once.path()), &format!("seed {seed}, step {step}"));
    }
    session.finish().unwrap();
}

#[test]
fn what_is_streamed_is_trained_anew_as_it_would_be_in_runs() {
    for seed in 0..2 {
        random_inserts(seed);
    }
}
