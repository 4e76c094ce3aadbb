//! Parts and folds by hand, and what holds for any patients.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn split(train: Value, validation: Value, test: Value) -> Split {
    serde_json::from_value(json!({ "train": train, "validation": validation, "test": test, "seed": 1 }))
        .unwrap()
}

fn folds(folds: usize, fold: usize, test: f64) -> Split {
    Split { folds: Some(folds), fold: Some(fold), ..split(json!(0.7), json!(0.1), json!(test)) }
}

fn patients(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("patient {i}")).collect()
}

fn subjects<'a>(patients: &'a [String], stratum: impl Fn(usize) -> &'a str) -> Vec<Subject<'a>> {
    let subject =
        |(at, patient): (usize, &'a String)| Subject { case: patient, patient, stratum: stratum(at) };
    patients.iter().enumerate().map(subject).collect()
}

fn parts(split: &Split, count: usize) -> BTreeMap<String, Part> {
    split.assign(&subjects(&patients(count), |_| "")).parts
}

/// The fold of everybody who is dealt.
fn dealt(subjects: &[Subject], count: usize, test: f64) -> BTreeMap<String, usize> {
    let of = |fold| {
        let parts = folds(count, fold, test).assign(subjects).parts;
        parts
            .into_iter()
            .filter(|(_, part)| *part == Part::Validation)
            .map(move |(patient, _)| (patient, fold))
    };
    (0..count).flat_map(of).collect()
}

fn sizes(dealt: &BTreeMap<String, usize>, folds: usize) -> Vec<usize> {
    (0..folds).map(|fold| dealt.values().filter(|of| **of == fold).count()).collect()
}

#[test]
fn counts_shares_and_too_few_patients() {
    let paper = || split(json!(178), json!(20), json!(47));
    assert_eq!(paper().sizes(245), [178, 20, 47]);
    assert_eq!(paper().sizes(300), [178, 20, 47]);
    assert_eq!(paper().sizes(10), [7, 1, 2]);
    assert_eq!(paper().sizes(3), [1, 1, 1]);
    assert_eq!(paper().sizes(2), [1, 1, 0]);
    assert_eq!(paper().sizes(1), [1, 0, 0]);
    assert_eq!(paper().sizes(0), [0, 0, 0]);
    let shares = split(json!(0.7), json!(0.1), json!(0.2));
    assert_eq!(shares.sizes(10), [7, 1, 2]);
    assert_eq!(shares.sizes(8), [5, 1, 2]);
    assert_eq!(shares.sizes(3), [1, 1, 1]);
    assert_eq!(split(json!(0.5), json!(0), json!(0)).sizes(9), [5, 0, 0]);
    assert_eq!(split(json!(1.0), json!(0), json!(0)).sizes(9), [9, 0, 0]);
    assert_eq!(split(json!(1), json!(1), json!(1)).sizes(3), [1, 1, 1]);
}

#[test]
fn patients_stand_on_one_side_by_seed_alone() {
    let split = split(json!(6), json!(1), json!(1));
    let found = parts(&split, 8);
    assert_eq!(found, parts(&split, 8));
    assert_eq!(found.values().filter(|part| **part == Part::Train).count(), 6);
    // The same patients as before there were strata and folds: keys of old trainings stay.
    let held = found.iter().filter(|(_, part)| **part != Part::Train);
    let held: Vec<(&str, Part)> = held.map(|(patient, part)| (patient.as_str(), *part)).collect();
    assert_eq!(held, [("patient 0", Part::Validation), ("patient 6", Part::Test)]);
    assert_ne!(found, parts(&Split { seed: 2, ..split.clone() }, 8));
    assert_eq!(parts(&split, 20).len(), 20);
}

#[test]
fn each_patient_is_validated_in_one_fold() {
    let patients = patients(23);
    let subjects = subjects(&patients, |_| "");
    let found = dealt(&subjects, 5, 0.2);
    // Five of 23 are for testing, the same in each fold.
    assert_eq!(found.len(), 18);
    let mut of = sizes(&found, 5);
    of.sort_unstable();
    assert_eq!(of, [3, 3, 4, 4, 4]);
    for fold in 0..5 {
        let parts = folds(5, fold, 0.2).assign(&subjects).parts;
        let test: BTreeSet<&String> =
            parts.iter().filter(|(_, part)| **part == Part::Test).map(|(patient, _)| patient).collect();
        assert_eq!(test.len(), 5);
        assert!(test.iter().all(|patient| !found.contains_key(*patient)));
    }
    assert_eq!(sizes(&dealt(&subjects, 23, 0.0), 23), [1; 23]);
}

#[test]
fn with_fewer_patients_than_folds_some_folds_are_empty() {
    let count = |patients: usize, fold: usize| {
        let parts = parts(&folds(3, fold, 0.2), patients);
        Part::ALL.map(|part| parts.values().filter(|of| **of == part).count())
    };
    assert_eq!(count(0, 0), [0, 0, 0]);
    let one: Vec<_> = (0..3).map(|fold| count(1, fold)).collect();
    assert_eq!(one.iter().filter(|counts| **counts == [0, 1, 0]).count(), 1);
    assert_eq!(one.iter().filter(|counts| **counts == [1, 0, 0]).count(), 2);
    let two: Vec<_> = (0..3).map(|fold| count(2, fold)[1]).collect();
    assert_eq!(two.iter().sum::<usize>(), 2);
}

#[test]
fn strata_hold_alike_shares_of_all_parts() {
    let patients = patients(100);
    let stratified = subjects(&patients, |at| if at < 10 { "rare" } else { "common" });
    let rare: BTreeSet<&str> = patients[..10].iter().map(String::as_str).collect();
    let shares = split(json!(0.7), json!(0.1), json!(0.2)).assign(&stratified).parts;
    let count = |part: Part| {
        shares.iter().filter(|(patient, of)| rare.contains(patient.as_str()) && **of == part).count()
    };
    assert_eq!(Part::ALL.map(count), [7, 1, 2]);
    let found = dealt(&stratified, 5, 0.0);
    let of_rare = found.into_iter().filter(|(patient, _)| rare.contains(patient.as_str())).collect();
    assert_eq!(sizes(&of_rare, 5), [2; 5]);
}

#[test]
fn fields_that_do_not_go_together_are_named() {
    let shares = || split(json!(0.7), json!(0.1), json!(0.2));
    let file = Some(PathBuf::from("splits.csv"));
    for (split, field) in [
        (split(json!(0), json!(0.1), json!(0.2)), "split.train"),
        (split(json!(0.9), json!(0.1), json!(0.2)), "split"),
        (Split { folds: Some(5), ..shares() }, "split.folds"),
        (Split { fold: Some(0), ..shares() }, "split.fold"),
        (Split { folds: Some(5), fold: Some(5), ..shares() }, "split.fold"),
        (Split { folds: Some(5), fold: Some(0), file: file.clone(), ..shares() }, "split.folds"),
        (Split { stratify: Some(Stratify::Vendor), file: file.clone(), ..shares() }, "split.stratify"),
        (folds(5, 0, 1.0), "split.test"),
        (Split { file: Some("no such file".into()), ..shares() }, "split.file"),
    ] {
        assert_eq!(split.clone().checked().unwrap_err()[0].field, field, "{split:?}");
    }
    // What folds and files do not use is not looked at.
    assert!(Split { train: Share::Count(0), ..folds(5, 4, 0.0) }.checked().is_ok());
}

fn read(name: &str, text: &str, fold: Option<usize>) -> Result<Split, FieldProblem> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let split = Split { file: Some(path), fold, ..split(json!(0.7), json!(0.1), json!(0.2)) };
    split.checked().map_err(|problems| problems[0].clone())
}

/// The parts of patient a (series 1 and 2), b (series 3, in two parts) and c (series 4).
fn found(split: &Split) -> ([Part; 3], Vec<String>) {
    let subject = |case, patient| Subject { case, patient, stratum: "" };
    let subjects =
        [subject("1", "a"), subject("2", "a"), subject("3", "b"), subject("3#1", "b"), subject("4", "c")];
    let Assigned { parts, torn, nobody_named } = split.assign(&subjects);
    assert!(!nobody_named);
    (["a", "b", "c"].map(|patient| parts[patient]), torn.into_keys().collect())
}

#[test]
fn a_file_says_who_stands_where() {
    use Part::{Test, Train, Validation};
    let patients = read("s.csv", "patient,part\n a , train\nb,validation\na,train\nd,train\n", None).unwrap();
    assert_eq!(found(&patients), ([Train, Validation, Test], vec![]));
    let folds = "fold,patient,scanner\n0,a,x\n1,b,x\n,c,y\n";
    assert_eq!(found(&read("s.csv", folds, Some(1)).unwrap()), ([Train, Validation, Test], vec![]));
    assert_eq!(found(&read("s.csv", folds, Some(0)).unwrap()), ([Validation, Train, Test], vec![]));
    // One series of a is named for testing: all of a is tested on, and the other series is told of.
    let series = read("s.csv", "series,part\n1,train\n2,test\n3,train\n4,validation\n", None).unwrap();
    assert_eq!(found(&series), ([Test, Train, Validation], vec!["1".to_owned()]));
    // A series that is not named follows its patient.
    let series = read("s.csv", "series,part\n2,train\n", None).unwrap();
    assert_eq!(found(&series), ([Train, Test, Test], vec![]));
    let nnunet = r#"[{ "train": ["a"], "val": ["3"] }, { "train": ["3"], "val": ["a", "c"] }]"#;
    assert_eq!(
        found(&read("splits_final.json", nnunet, Some(0)).unwrap()),
        ([Train, Validation, Test], vec![])
    );
    assert_eq!(
        found(&read("splits_final.json", nnunet, Some(1)).unwrap()),
        ([Validation, Train, Validation], vec![])
    );
}

#[test]
fn names_of_a_file_that_are_nobodys_are_known() {
    let subject = |case, patient| Subject { case, patient, stratum: "" };
    let subjects = [subject("c1", "a"), subject("c2#1", "b")];
    let unknown = |name: &str, text: &str, fold| {
        let split = read(name, text, fold).unwrap();
        let (names, all) = split.unknown(&subjects);
        (names.into_iter().map(str::to_owned).collect::<Vec<_>>(), all)
    };
    let series = "series,part\nc1,train\nc2,train\nC1,validation\na,test\n";
    assert_eq!(unknown("s.csv", series, None), (vec!["C1".to_owned(), "a".to_owned()], 4));
    assert_eq!(unknown("s.csv", "patient,part\na,train\nb,test\n", None), (vec![], 2));
    let nnunet = r#"[{ "train": ["a", "c2"], "val": ["c3"] }]"#;
    assert_eq!(unknown("splits_final.json", nnunet, Some(0)), (vec!["c3".to_owned()], 3));
    assert_eq!(folds(5, 0, 0.0).unknown(&subjects), (vec![], 0));
}

#[test]
fn a_file_is_what_it_decides() {
    let digest = |text: &str| read("s.csv", text, None).unwrap().named.unwrap().digest();
    let one = digest("patient,part\na,train\nb,validation\n");
    assert_eq!(one, digest("part,note,patient\nvalidation,x,b\ntrain,y,a\ntest,z,c\n"));
    assert_ne!(one, digest("patient,part\na,train\n"));
    assert_ne!(one, digest("series,part\na,train\nb,validation\n"));
    let none = read("s.csv", "patient,part\nx,train\n", None).unwrap();
    let assigned = none.assign(&[Subject { case: "1", patient: "a", stratum: "" }]);
    assert_eq!((assigned.parts["a"], assigned.nobody_named), (Part::Test, true));
    assert!(!none.assign(&[]).nobody_named);
}

#[test]
fn a_bad_line_is_told_with_its_number() {
    for (name, text, fold, said) in [
        (
            "s.csv",
            "patient,part\na,train\nb,trian\n",
            None,
            "s.csv, line 3: `train`, `validation` or `test` expected, `trian`",
        ),
        (
            "s.csv",
            "patient,part\na,train\n\nb,test\na,validation\n",
            None,
            "line 5: one side expected for each name, validation found, and train in line 2",
        ),
        ("s.csv", "patient,part\n,train\n", None, "line 2: a name expected"),
        ("s.csv", "patient,part\na\n", None, "line: 2"),
        ("s.csv", "name,part\na,train\n", None, "line 1: no column `patient` or `series`"),
        ("s.csv", "patient\na\n", None, "line 1: no column `part` or `fold`"),
        ("s.csv", "patient,part\na,train\n", Some(0), "line 1: `fold` needs a column `fold`"),
        ("s.csv", "patient,fold\na,0\n", None, "line 1: the file names folds"),
        ("s.csv", "patient,fold\na,0\nb,one\n", Some(0), "line 3: the number of a fold expected, `one`"),
        ("s.csv", "patient,fold\na,0\nb,1\n", Some(2), ": fold 2 expected, 0, 1 found"),
        ("s.csv", "patient,part\na,test\n", None, ": nobody is left to train on"),
        ("s.csv", "", None, "line 1: no column"),
        ("s.json", "[{ \"train\": [],\n \"val\": 3 }]", Some(0), "s.json, line 2: "),
        ("s.json", r#"[{ "train": ["a"], "val": ["a"] }]"#, Some(0), "`a` is in both of fold 0"),
        ("s.json", r#"[{ "train": ["a"], "val": [] }]"#, None, "it has 1 folds"),
        ("s.json", r#"[{ "train": ["a"], "val": [] }]"#, Some(1), "it has no fold 1"),
    ] {
        let problem = read(name, text, fold).unwrap_err();
        assert_eq!(problem.field, "split.file");
        assert!(problem.message.contains(said) && !problem.hint.is_empty(), "{problem:?}, not {said}");
    }
}

/// Cases of a few patients, of a few strata.
fn archive() -> impl Strategy<Value = Vec<(String, String, String)>> {
    prop::collection::vec((0..40usize, 0..3usize), 0..80).prop_map(|cases| {
        let case =
            |(at, (patient, stratum))| (format!("1.{at}"), format!("p{patient}"), format!("s{stratum}"));
        cases.into_iter().enumerate().map(case).collect()
    })
}

fn subjects_of(cases: &[(String, String, String)]) -> Vec<Subject<'_>> {
    cases.iter().map(|(case, patient, stratum)| Subject { case, patient, stratum }).collect()
}

proptest! {
    /// A part is a patient's, so that no patient can stand on both sides; whatever the order of cases.
    #[test]
    fn everybody_stands_somewhere_and_folds_are_level(
        cases in archive(), count in 2..6usize, seed in 0..4u64, test in 0..5usize,
    ) {
        let subjects = subjects_of(&cases);
        let everybody: BTreeSet<&str> = subjects.iter().map(|subject| subject.patient).collect();
        let mut backwards = subjects.clone();
        backwards.reverse();
        let mut validated: BTreeMap<String, usize> = BTreeMap::new();
        let mut sizes = Vec::new();
        for fold in 0..count {
            let split = Split { seed, ..folds(count, fold, test as f64 / 10.0) };
            let assigned = split.assign(&subjects);
            prop_assert_eq!(&assigned, &split.assign(&backwards));
            prop_assert!(assigned.parts.keys().map(String::as_str).eq(everybody.iter().copied()));
            let held = assigned.parts.iter().filter(|(_, part)| **part == Part::Validation);
            sizes.push(held.clone().count());
            held.for_each(|(patient, _)| *validated.entry(patient.clone()).or_default() += 1);
            let tested = assigned.parts.values().filter(|part| **part == Part::Test).count();
            prop_assert_eq!(tested, split.test_size(everybody.len()));
        }
        prop_assert!(validated.values().all(|times| *times == 1));
        let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", sizes);
        let shares = split(json!(0.6), json!(0.2), json!(0.2)).assign(&subjects).parts;
        let of = |part: Part| shares.values().filter(|of| **of == part).count();
        prop_assert_eq!(Part::ALL.map(of), split(json!(0.6), json!(0.2), json!(0.2)).sizes(everybody.len()));
    }

    /// One patient more moves few of the others: at most two for each fold that its stratum fills.
    #[test]
    fn who_comes_moves_few_of_the_others(count in 2..7usize, there in 0..120usize, new in 1000..1040usize) {
        let mut patients = patients(there);
        let before = dealt(&subjects(&patients, |_| ""), count, 0.0);
        patients.push(format!("patient {new}"));
        let after = dealt(&subjects(&patients, |_| ""), count, 0.0);
        let moved = before.iter().filter(|(patient, fold)| after[*patient] != **fold).count();
        prop_assert!(moved <= 2 * count, "{} of {} moved", moved, there);
    }
}

#[test]
fn over_folds_that_are_tested_on_everybody_is_tested_on_once() {
    // The folds are as Nie et al. have them: of 50 ten are tested on, five choose the best epoch, 35 are
    // trained on.
    let of = |fold| Split { fold_is: FoldIs::Test, validation: Share::Count(5), ..folds(5, fold, 0.2) };
    let mut tested = BTreeSet::new();
    for fold in 0..5 {
        assert!(of(fold).checked().is_ok());
        let parts = parts(&of(fold), 50);
        let count = |part: Part| parts.values().filter(|found| **found == part).count();
        assert_eq!([Part::Train, Part::Validation, Part::Test].map(count), [35, 5, 10]);
        tested.extend(parts.into_iter().filter(|(_, part)| *part == Part::Test).map(|(patient, _)| patient));
    }
    assert_eq!(tested.len(), 50);
    // One patient is left to be trained on, however many are asked for; and what cannot be had is said.
    let many = Split { validation: Share::Count(99), ..of(0) };
    assert_eq!(parts(&many, 10).values().filter(|part| **part == Part::Train).count(), 1);
    let (few, all) = (patients(4), patients(50));
    assert!(of(0).short(&subjects(&few, |_| "")).unwrap().to_string().contains("5 folds need 5 patients"));
    assert_eq!(of(0).short(&subjects(&all, |_| "")), None);
    let none = Split { validation: Share::Count(0), ..of(0) };
    assert_eq!(none.short(&subjects(&all, |_| "")), None, "nobody else was asked for");
    for wrong in [
        Split { folds: None, fold: None, ..of(0) },
        Split { file: Some("s.csv".into()), folds: None, ..of(0) },
    ] {
        assert_eq!(wrong.checked().unwrap_err()[0].field, "split.fold_is");
    }
    // Where a file names nobody, patients without labels are learned from.
    assert!(of(0).admits_unlabelled("a", "b"));
}
