//! Rounds of learning from one's own masks: an inference, a conditional random field, masks in the place of labels, and a
//! training again.

use std::collections::BTreeMap;
use std::fs;

use super::unlabelled::{
    SPLIT, STRATEGY, codes, draw, forecast, judged, learned_by, named, place, plan, remove, rows, splits,
    text, usual, write,
};
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same, contents, ran};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tomoflow::connectors::{Scan, nifti};
use tomoflow::engine::{self, Options, Session};
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::vs;
use tomoflow::pipeline;

const ROUND: &str = r#"
[operators.guess]
type = "infer"
inputs = ["normal"]
model = "net"
keep = ["probabilities"]

[operators.sharp]
type = "crf"
inputs = ["guess", "normal"]
reach = 1
iterations = 2

[operators.lessons]
type = "adopt"
inputs = ["normal", "sharp"]

[operators.samples_1]
type = "patches"
inputs = ["lessons"]
size = [4, 16, 16]
per_case = 2

[operators.net_1]
type = "train"
inputs = ["samples_1"]
network = { type = "unet", dims = "2.5d", levels = 2, channels = 2 }
learning_rate = 1e-2
"#;

/// A training on outlines, and one on what came of it as well.
fn in_rounds(mut place: Workplace) -> Workplace {
    place.text = place.text.rewrite(STRATEGY, "");
    let net = format!("steps = 4\n{SPLIT}\n");
    let round = format!("{ROUND}{net}\n[operators.segment]");
    place.text = place.text.rewrite("[operators.segment]", &round).rewrite(
        "inputs = [\"normal\"]\nmodel = \"net\"\n\n[operators.judged]",
        "inputs = [\"normal\"]\nmodel = \"net_1\"\n\n[operators.judged]",
    );
    place
}

#[test]
fn what_a_network_found_is_learned_from_and_splits_stay() {
    let alone = usual("");
    let mut alone = alone;
    alone.text = alone.text.rewrite(STRATEGY, "");
    alone.run();
    let place = in_rounds(usual(""));
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected), (2, 0), "{summary}");
    assert_eq!((ran(&summary, "guess"), ran(&summary, "sharp")), (6, 6), "{summary}");
    assert_eq!(learned_by(&place, "net_1"), named(&[4, 5]));
    assert!(learned_by(&place, "net").is_empty());
    // Shares are dealt as if nothing were adopted.
    assert_eq!(splits(&place), splits(&alone));
    assert_eq!(place.tables(), place.anew());
    assert_eq!(place.run().actions_run, 0);
    // Another scan of a patient who is judged would teach what is judged.
    let (judged, trained) = judged(&place);
    for (index, patient) in (6..).zip(judged.iter().chain([&trained])) {
        write(&place, patient, index, false);
    }
    let again = place.run_with(&Options { threads: 2, retrain: true, ..Options::default() });
    // What learns from outlines alone learned from the same ones.
    assert_eq!((again.trained, again.rejected), (1, 0), "{again}");
    assert_eq!(learned_by(&place, "net_1"), named(&[4, 5, 8]));
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn what_comes_gets_labels_or_goes_under_kept_models() {
    let place = in_rounds(usual(""));
    assert_eq!(place.run().trained, 2);
    // It comes: its masks, and the models stay.
    write(&place, "p6", 6, false);
    let summary = place.run();
    assert_eq!((summary.trained, summary.actions_run), (0, 3), "{summary}");
    // It gets labels: figures of one that was learned from without them, and a new labelled case.
    draw(&place, "p4", 4, &vs::case(&place.phantom, 4).1);
    let seen = forecast(&place);
    assert!(
        seen.contains("net_1: model kept, 1 labelled case newer than it ("),
        "none of its own is gone: {seen}"
    );
    let summary = place.run();
    assert_eq!((summary.trained, summary.actions_run), (0, 1), "{summary}");
    assert_eq!(splits(&place)["4"], "unlabelled");
    remove(&place, "p5", 5, "scan");
    let summary = place.run();
    assert_eq!((summary.trained, summary.actions_run), (0, 0), "{summary}");
    assert!(rows(&place, "masks").iter().all(|row| text(row, "case") != "5"));
}

#[test]
fn a_training_waits_for_masks_that_come_and_not_for_those_that_cannot() {
    let place = in_rounds(usual(""));
    // Nothing can be made of it: it is refused, and learned from by nobody.
    let (scan, _) = vs::case(&place.phantom, 6);
    let broken = Scan::new(scan.geometry().clone(), vec![f32::NAN; scan.voxels().len()]).unwrap();
    fs::create_dir_all(place.path().join("images/p6")).unwrap();
    nifti::write_scan(&place.path().join("images/p6/scan-6.nii"), &broken).unwrap();
    let seen = forecast(&place);
    assert!(seen.contains("net_1"), "what follows is told: {seen}");
    let summary = place.run();
    assert_eq!(summary.trained, 2, "{summary}");
    assert!(codes(&place).contains("NOT_FINITE"), "{:?}", codes(&place));
    assert_eq!(learned_by(&place, "net_1"), named(&[4, 5]));
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn a_training_that_finds_nothing_to_adopt_says_so() {
    let place = in_rounds(place(""));
    (0..4).for_each(|index| write(&place, &format!("p{index}"), index, true));
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected), (2, 0), "{summary}");
    assert!(codes(&place).contains("NO_UNLABELLED"), "{:?}", codes(&place));
    assert_eq!(place.tables(), place.anew());
}

fn problem(place: &Workplace) -> String {
    match pipeline::load(&place.pipeline(), &[], &Registry::builtin()) {
        Ok(_) => panic!("a problem expected"),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn no_prediction_is_a_truth() {
    let mut place = in_rounds(usual(""));
    let text = place.text.clone();
    place.text = text.rewrite("inputs = [\"segment\", \"case\"]", "inputs = [\"segment\", \"lessons\"]");
    let found = problem(&place);
    assert!(found.contains("`lessons` puts masks in the place of labels: they are no truth"), "{found}");
    place.text = text.rewrite("keep = [\"probabilities\"]", "keep = [\"entropy\"]");
    let found = problem(&place);
    assert!(found.contains("`sharp` reads the probabilities of `guess`, which keeps none"), "{found}");
    place.text =
        text.rewrite("inputs = [\"guess\", \"normal\"]", "inputs = [\"clean\", \"normal\"]").rewrite(
            "[operators.sharp]",
            "[operators.clean]\ntype = \"largest_component\"\ninputs = [\"guess\"]\n\n[operators.sharp]",
        );
    let found = problem(&place);
    assert!(found.contains("`clean` gives masks alone"), "{found}");
    place.text = text.rewrite(
        "[operators.samples_1]",
        "[operators.again]\ntype = \"adopt\"\ninputs = [\"lessons\", \"guess\"]\n\n[operators.samples_1]",
    );
    let found = problem(&place);
    assert!(found.contains("`lessons` has put masks in the place of labels already"), "{found}");
}

/// Cases come, are drawn, lose their labels and go at random: what stays open ends where a run from nothing does.
fn random_changes(seed: u64, steps: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut place = in_rounds(place(""));
    let split = "split = { train = 0.6, validation = 0.2, test = 0.2 }\nretrain = \"always\"";
    place.text = place.text.rewrite(SPLIT, split);
    let patient = |index: usize| format!("p{}", index / 2);
    let mut there: BTreeMap<usize, bool> = (0..4).map(|index| (index, true)).collect();
    (0..4).for_each(|index| write(&place, &patient(index), index, true));
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
        let what = format!("seed {seed}, step {step}: {changes:?}");
        assert_same(&place.tables(), &contents(once.path()), &what);
    }
    session.finish().unwrap();
}

#[test]
fn streamed_as_in_a_run_from_nothing() {
    for seed in 0..2 {
        random_changes(seed, 6);
    }
}
