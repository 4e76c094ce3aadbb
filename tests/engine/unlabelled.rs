//! Cases without labels in a training that learns from them: who takes part, what comes of changes, and what does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same, contents, ran};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tomoflow::connectors::{LabelMap, nifti};
use tomoflow::engine::{self, Options, Session};
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::vs;
use tomoflow::pipeline::{self, Plan};

const SOURCES: &str = r#"
[sources.scans]
type = "images"
path = "images"
files = "{patient}/scan-{case}.nii"
modality = "MR"

[sources.truth]
type = "label_images"
path = "images"
files = "{patient}/truth-{case}.nii"
labels = { tumour = [1] }

[operators.case]
type = "label"
inputs = ["scans", "truth"]

"#;

/// Beside a critic that is as small as can be.
pub(super) const STRATEGY: &str = "strategy = { type = \"adversarial\", critic_width = 1, start = 0.0, least_dice = 0.0, least_label_dice = 0.0 }";

pub(super) const SPLIT: &str = "split = { train = 2, validation = 1, test = 1, seed = 3 }";

/// A pipeline over files, and a training beside a critic, with more of its fields.
pub(super) fn place(more: &str) -> Workplace {
    let mut place = Workplace::trained();
    fs::remove_dir_all(place.archive()).unwrap();
    let (head, rest) = place.text.split_once("[sources.scans]").unwrap();
    let (_, tail) = rest.split_once("[operators.normal]").unwrap();
    let text = format!("{head}{SOURCES}[operators.normal]{tail}");
    place.text = text.rewrite("epochs = 2", &format!("steps = 4\n{STRATEGY}\n{more}"));
    place
}

/// Writes the scan of a case of a patient, with or without its labels.
pub(super) fn write(place: &Workplace, patient: &str, index: usize, labelled: bool) {
    let folder = place.path().join("images").join(patient);
    fs::create_dir_all(&folder).unwrap();
    let (scan, truth) = vs::case(&place.phantom, index);
    nifti::write_scan(&folder.join(format!("scan-{index}.nii")), &scan).unwrap();
    if labelled {
        draw(place, patient, index, &truth);
    }
}

pub(super) fn draw(place: &Workplace, patient: &str, index: usize, truth: &LabelMap) {
    let path = place.path().join("images").join(patient).join(format!("truth-{index}.nii"));
    nifti::write_labels(&path, truth).unwrap();
}

pub(super) fn remove(place: &Workplace, patient: &str, index: usize, what: &str) {
    fs::remove_file(place.path().join("images").join(patient).join(format!("{what}-{index}.nii"))).unwrap();
}

/// Four patients with labels, and two without.
pub(super) fn usual(more: &str) -> Workplace {
    let place = place(more);
    (0..4).for_each(|index| write(&place, &format!("p{index}"), index, true));
    (4..6).for_each(|index| write(&place, &format!("p{index}"), index, false));
    place
}

pub(super) fn plan(place: &Workplace, out: Option<&Path>) -> Plan {
    let out: Vec<String> =
        out.iter().map(|out| format!("pipeline.out={:?}", out.to_str().unwrap())).collect();
    pipeline::load(&place.pipeline(), &out, &Registry::builtin())
        .unwrap_or_else(|problems| panic!("{problems}"))
}

pub(super) fn forecast(place: &Workplace) -> String {
    engine::forecast(plan(place, None), &Options::default()).unwrap().to_string()
}

pub(super) fn rows(place: &Workplace, table: &str) -> Vec<serde_json::Value> {
    place.tables()[table].iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(super) fn text(row: &serde_json::Value, field: &str) -> String {
    row[field].as_str().unwrap().to_owned()
}

/// Each judged case's part.
pub(super) fn splits(place: &Workplace) -> BTreeMap<String, String> {
    rows(place, "metrics").iter().map(|row| (text(row, "case"), text(row, "split"))).collect()
}

pub(super) fn codes(place: &Workplace) -> BTreeSet<String> {
    rows(place, "rejects").iter().map(|row| text(row, "code")).collect()
}

/// The unlabelled cases that the model learned from.
fn learned_from(place: &Workplace) -> BTreeSet<String> {
    learned_by(place, "net")
}

/// The unlabelled cases that a stage's model learned from.
pub(super) fn learned_by(place: &Workplace, stage: &str) -> BTreeSet<String> {
    let told = engine::explain(&plan(place, None), stage).unwrap();
    let training =
        told.outputs.iter().filter(|output| !output.trained_on.is_empty()).max_by_key(|output| output.at);
    let training = training.unwrap_or_else(|| panic!("no training in {told:?}"));
    let these = training.trained_on.iter().filter(|(_, part)| part == "unlabelled");
    these.map(|(case, _)| case.clone()).collect()
}

pub(super) fn named(cases: &[usize]) -> BTreeSet<String> {
    cases.iter().map(ToString::to_string).collect()
}

/// The patients who are validated or tested on, and one who is trained on.
pub(super) fn judged(place: &Workplace) -> (Vec<String>, String) {
    let parts = splits(place);
    let of = |part: &str| -> Vec<String> {
        let these = parts.iter().filter(|(_, found)| *found == part);
        these.map(|(case, _)| format!("p{case}")).collect()
    };
    ([of("validation"), of("test")].concat(), of("train").remove(0))
}

#[test]
fn scans_without_labels_are_learned_from_but_never_of_a_judged_patient() {
    let place = usual("");
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected), (1, 0), "{summary}");
    assert_eq!(learned_from(&place), named(&[4, 5]));
    assert_eq!(ran(&summary, "segment"), 6);
    assert_eq!(splits(&place).len(), 4, "what nobody drew is not judged");
    assert_eq!(place.tables(), place.anew());
    assert_eq!(place.run().actions_run, 0);
    // Another scan of each judged patient would teach what is judged; one of a patient who is trained on may.
    let (judged, trained) = judged(&place);
    assert_eq!(judged.len(), 2);
    for (index, patient) in (6..).zip(judged.iter().chain([&trained])) {
        write(&place, patient, index, false);
    }
    let again = place.run_with(&Options { threads: 2, retrain: true, ..Options::default() });
    assert_eq!((again.trained, again.rejected), (1, 0), "{again}");
    assert_eq!(learned_from(&place), named(&[4, 5, 8]));
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn without_a_strategy_that_asks_nothing_changes() {
    let (with, without) = (usual(""), usual(""));
    let mut without = without;
    without.text = without.text.rewrite(STRATEGY, "");
    (4..6).for_each(|index| remove(&without, &format!("p{index}"), index, "scan"));
    without.run();
    let alone = without.tables();
    (4..6).for_each(|index| write(&without, &format!("p{index}"), index, false));
    // Their masks come, and nothing else.
    let summary = without.run();
    assert_eq!((summary.trained, summary.actions_run), (0, 2), "{summary}");
    assert_eq!(
        (&alone["training"], &alone["metrics"]),
        (&without.tables()["training"], &without.tables()["metrics"])
    );
    // A critic alone asks for none, where it is told so.
    let mut supervised = with;
    let alone = STRATEGY.replace("critic_width", "semi = 0.0, adversarial_unlabelled = false, critic_width");
    supervised.text = supervised.text.rewrite(STRATEGY, &alone);
    supervised.run();
    assert!(learned_from(&supervised).is_empty());
}

#[test]
fn a_training_that_finds_none_says_so() {
    let place = place("");
    (0..4).for_each(|index| write(&place, &format!("p{index}"), index, true));
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected), (1, 0), "{summary}");
    assert!(codes(&place).contains("NO_UNLABELLED"), "{:?}", codes(&place));
    let shut = usual("");
    let mut shut = shut;
    shut.text = shut.text.rewrite("least_dice = 0.0,", "least_dice = 1.0,");
    shut.run();
    assert!(codes(&shut).contains("SEMI_NEVER_STARTED"), "{:?}", codes(&shut));
    assert_eq!(shut.tables(), shut.anew());
}

#[test]
fn what_comes_gets_labels_or_goes_under_a_kept_model() {
    let place = usual("");
    assert_eq!(place.run().trained, 1);
    let model = |place: &Workplace| text(&rows(place, "metrics")[0], "model");
    let first = model(&place);
    // It comes: its mask, and the model stays.
    write(&place, "p6", 6, false);
    let seen = forecast(&place);
    assert!(seen.contains("net: model kept, 0 labelled cases and 1 unlabelled case newer than it"), "{seen}");
    let summary = place.run();
    assert_eq!((summary.trained, summary.actions_run), (0, 1), "{summary}");
    // It gets labels: figures of one that the model has learned from without them, and a new labelled case.
    let (_, truth) = vs::case(&place.phantom, 4);
    draw(&place, "p4", 4, &truth);
    assert!(forecast(&place).contains("1 labelled case and 1 unlabelled case newer"), "{}", forecast(&place));
    let summary = place.run();
    assert_eq!((summary.trained, summary.actions_run), (0, 1), "{summary}");
    assert_eq!(splits(&place)["4"], "unlabelled");
    // It goes: so do its rows.
    remove(&place, "p5", 5, "scan");
    let summary = place.run();
    assert_eq!((summary.trained, summary.actions_run), (0, 0), "{summary}");
    assert!(rows(&place, "masks").iter().all(|row| text(row, "case") != "5"));
    assert!(forecast(&place).contains("of its own cases 1 gone"), "{}", forecast(&place));
    assert_eq!(model(&place), first);
}

#[test]
fn enough_new_ones_train_anew() {
    let mut place = usual("retrain = { new_cases = 3, new_unlabelled = 2 }");
    place.text = place.text.rewrite(SPLIT, "split = { train = 0.7, validation = 0.3, test = 0 }");
    assert_eq!(place.run().trained, 1);
    write(&place, "p6", 6, false);
    let seen = forecast(&place);
    assert!(seen.contains("(trains anew at 3 labelled or 2 unlabelled, `--retrain` now)"), "{seen}");
    assert_eq!(place.run().trained, 0);
    // A scan of a judged patient would not be learned from, and does not count.
    let judged = splits(&place).into_iter().find(|(_, part)| part == "validation").unwrap().0;
    write(&place, &format!("p{judged}"), 7, false);
    assert_eq!(place.run().trained, 0);
    write(&place, "p8", 8, false);
    assert!(forecast(&place).contains("net: trains anew"), "{}", forecast(&place));
    assert_eq!(place.run().trained, 1);
    assert_eq!(learned_from(&place), named(&[4, 5, 6, 8]));
    assert_eq!(place.tables(), place.anew());
    assert_eq!(place.run().actions_run, 0);
}

#[test]
fn a_file_that_names_a_patient_for_testing_keeps_its_scans_from_training() {
    let mut place = usual("");
    let lines = "patient,part\np0,train\np1,train\np2,validation\np3,test\np4,test\n";
    fs::write(place.path().join("split.csv"), lines).unwrap();
    place.text = place.text.rewrite(SPLIT, "split = { file = \"split.csv\" }");
    assert_eq!(place.run().trained, 1);
    assert_eq!(learned_from(&place), named(&[5]));
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn a_file_that_names_an_undrawn_scan_for_testing_keeps_its_patient_from_training() {
    let mut place = usual("");
    // Two scans of one patient that nobody drew: the file names one of them.
    write(&place, "p4", 6, false);
    let lines = "series,part\n0,train\n1,train\n2,validation\n3,test\n4,test\n";
    fs::write(place.path().join("split.csv"), lines).unwrap();
    place.text = place.text.rewrite(SPLIT, "split = { file = \"split.csv\" }");
    assert_eq!(place.run().trained, 1);
    assert_eq!(learned_from(&place), named(&[5]));
    assert_eq!(place.tables(), place.anew());
    // Another one of that patient is nothing that the model would learn from.
    write(&place, "p4", 7, false);
    assert!(!forecast(&place).contains("newer than it"), "{}", forecast(&place));
    assert_eq!(place.run().trained, 0);
}

#[test]
fn the_patient_of_a_partly_drawn_case_is_not_learned_from() {
    let mut place = place("retrain = { new_cases = 1, new_unlabelled = 1 }");
    // A file for each of two labels.
    place.text = place
        .text
        .rewrite("truth-{case}.nii", "drawn-{label}-{case}.nii")
        .rewrite("labels = { tumour = [1] }", "labels = { tumour = [1], node = [1] }");
    let both = |patient: &str, index: usize| {
        write(&place, patient, index, false);
        let (_, truth) = vs::case(&place.phantom, index);
        draw_as(&place, patient, index, "tumour", &truth);
        let corner = (0..truth.voxels().len()).map(|voxel| u16::from(voxel < 4)).collect();
        let node = LabelMap::new(truth.geometry().clone(), corner).unwrap();
        draw_as(&place, patient, index, "node", &node);
    };
    (0..4).for_each(|index| both(&format!("p{index}"), index));
    // One of two scans has a file for one of the labels; of another patient there is nothing.
    write(&place, "p4", 4, false);
    draw_as(&place, "p4", 4, "tumour", &vs::case(&place.phantom, 4).1);
    write(&place, "p4", 5, false);
    write(&place, "p6", 6, false);
    assert_eq!(place.run().trained, 1);
    assert!(codes(&place).contains("NO_LABEL_FILE"), "{:?}", codes(&place));
    assert_eq!(learned_from(&place), named(&[6]));
    assert_eq!(place.tables(), place.anew());
    // Neither of the two is new to the model: nothing is to be trained anew.
    let seen = forecast(&place);
    assert!(seen.contains("net: model kept, 0 labelled cases newer than it ("), "{seen}");
    assert_eq!(place.run().trained, 0);
}

/// Writes the file of one label of a case.
fn draw_as(place: &Workplace, patient: &str, index: usize, label: &str, drawn: &LabelMap) {
    let path = place.path().join("images").join(patient).join(format!("drawn-{label}-{index}.nii"));
    nifti::write_labels(&path, drawn).unwrap();
}

#[test]
fn over_folds_that_are_tested_on_each_case_is_tested_on_once() {
    let mut place = usual("");
    let split =
        |fold: usize| format!("split = {{ folds = 2, fold = {fold}, fold_is = \"test\", validation = 1 }}");
    let (before, after) = place.text.split_once("[operators.net]").unwrap();
    let (net, after) = after.split_once("[operators.segment]").unwrap();
    let nets: String = (0..2)
        .map(|fold| {
            format!("[operators.net_{fold}]{}", net.rewrite(SPLIT, &split(fold)).rewrite(STRATEGY, ""))
        })
        .collect();
    let after = after.rewrite("model = \"net\"", "model = [\"net_0\", \"net_1\"]\nout_of_fold = true");
    place.text = format!("{before}{nets}[operators.segment]{after}");
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected), (2, 0), "{summary}");
    assert_eq!(splits(&place), (0..4).map(|case| (case.to_string(), "test".to_owned())).collect());
    let models: BTreeSet<String> = rows(&place, "metrics").iter().map(|row| text(row, "model")).collect();
    assert_eq!(models.len(), 2, "each by one model alone");
    assert_eq!(place.tables(), place.anew());
}

/// Cases come, are drawn, lose their labels and go at random: what stays open ends where a run from nothing does.
fn random_changes(seed: u64, steps: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut place = place("retrain = \"always\"");
    place.text = place.text.rewrite(SPLIT, "split = { train = 0.6, validation = 0.2, test = 0.2 }");
    // Two scans for each patient, each drawn or not; two patients have all of it from the start.
    let mut there: BTreeMap<usize, bool> = BTreeMap::new();
    let patient = |index: usize| format!("p{}", index / 2);
    for index in 0..4 {
        write(&place, &patient(index), index, true);
        there.insert(index, true);
    }
    let mut session =
        Session::open(plan(&place, None), Options { threads: 2, ..Options::default() }).unwrap();
    for step in 0..steps {
        let mut changes = Vec::new();
        for _ in 0..rng.random_range(1..3) {
            let index = rng.random_range(0..10);
            match (there.get(&index).copied(), rng.random_range(0..3)) {
                (None, drawn) => {
                    write(&place, &patient(index), index, drawn == 0);
                    there.insert(index, drawn == 0);
                    changes.push(format!("{index} came"));
                }
                (Some(false), 0) if there.len() > 3 => {
                    remove(&place, &patient(index), index, "scan");
                    there.remove(&index);
                    changes.push(format!("{index} went"));
                }
                (Some(false), _) => {
                    draw(&place, &patient(index), index, &vs::case(&place.phantom, index).1);
                    there.insert(index, true);
                    changes.push(format!("{index} was drawn"));
                }
                (Some(true), _) if there.values().filter(|drawn| **drawn).count() > 3 => {
                    remove(&place, &patient(index), index, "truth");
                    there.insert(index, false);
                    changes.push(format!("{index} lost its labels"));
                }
                (Some(true), _) => {}
            }
        }
        session.look().unwrap();
        assert!(session.work(&mut |_| {}).unwrap());
        session.settle().unwrap();
        let once = tempfile::tempdir().unwrap();
        engine::run(plan(&place, Some(once.path())), &Options::default(), &mut |_| {}).unwrap();
        assert_same(
            &place.tables(),
            &contents(once.path()),
            &format!("seed {seed}, step {step}: {changes:?}"),
        );
    }
    session.finish().unwrap();
}

#[test]
fn streamed_as_in_a_run_from_nothing() {
    for seed in 0..2 {
        random_changes(seed, 8);
    }
}
