//! One spacing for all scans, by a rule.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::unbounded;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tomoflow::engine::{self, Options, Session};
use tomoflow::operators::cases::rule::{Sampled, SpacingRule};
use tomoflow::operators::registry::Registry;
use tomoflow::pipeline;

use super::{SPACINGS, add, problems, repinned};
use crate::support::text::Rewrite as _;
use crate::support::{Contents, Workplace, assert_same, ran};

const PIPELINE: &str = r#"
[pipeline]
name = "even"
out = "out"
identifiers = "clear"
allowed_rejects = 1.0
settle = "2s"

[sources.scans]
type = "images"
path = "archive"
files = "{case}.nii"

[operators.even]
type = "resample"
inputs = ["scans"]
to = "median"

[operators.bright]
type = "threshold"
inputs = ["even"]
above = 0.5

[sinks.results]
type = "delta"
inputs = ["bright"]
"#;

const MEDIAN: &str = "to = \"median\"";

fn place(scans: usize) -> Workplace {
    let mut place = Workplace::new(0);
    place.text = PIPELINE.to_owned();
    (0..scans).for_each(|index| add(&place, &index.to_string(), SPACINGS[index]));
    place
}

fn file(place: &Workplace, index: usize) -> PathBuf {
    place.archive().join(format!("{index}.nii"))
}

/// What a run from nothing makes of the archive when the file says the spacing outright.
fn outright(place: &Workplace, rule: &str, spacing_mm: &str) -> Contents {
    let mut said = Workplace::new(0);
    said.text = place.text.rewrite(rule, &format!("spacing_mm = {spacing_mm}"));
    said.text = said.text.rewrite("\"archive\"", &format!("{:?}", place.archive()));
    said.anew()
}

#[test]
fn a_rule_is_settled_once_and_more_scans_change_nothing() {
    let place = place(3);
    let first = place.run();
    assert_eq!((first.cases, first.actions_run, first.rejected), (3, 3, 0), "{first}");
    assert_eq!(first.notes, ["even: settled on 2 x 0.75 x 0.75 mm, the median of 3 scans"]);
    let before = place.tables();
    assert_same(&before, &outright(&place, MEDIAN, "[2, 0.75, 0.75]"), "as if said outright");
    let again = place.run();
    assert_eq!((again.actions_run, again.notes.len()), (0, 0), "{again}");

    add(&place, "3", SPACINGS[3]);
    add(&place, "4", SPACINGS[4]);
    let drifted = "even: pinned to 2 x 0.75 x 0.75 mm (3 scans); the archive's median is now 3 x 1 x 1 mm (5 scans); \
                   `--repin` follows it";
    let foreseen = engine::forecast(place.plan(&Registry::builtin()), &Options::default()).unwrap();
    assert_eq!((foreseen.stages["bright"].run, foreseen.notes), (2, vec![drifted.to_owned()]));
    let grown = place.run();
    assert_eq!((grown.actions_run, grown.unchanged), (2, 3), "{grown}");
    assert_eq!(grown.notes, [drifted]);
    assert!(before["masks"].is_subset(&place.tables()["masks"]), "keys changed with the archive");

    let options = Options { repin: true, ..Options::default() };
    let foreseen = engine::forecast(place.plan(&Registry::builtin()), &options).unwrap();
    let settled = "even: settled on 3 x 1 x 1 mm, the median of 5 scans (before: 2 x 0.75 x 0.75 mm)";
    assert_eq!((foreseen.stages["bright"].run, foreseen.notes), (5, vec![settled.to_owned()]));
    assert_eq!(place.run().notes, [drifted], "`plan` settles nothing");
    let followed = repinned(&place);
    assert_eq!((followed.actions_run, followed.notes), (5, vec![settled.to_owned()]));
    assert_same(&place.tables(), &place.anew(), "as a run from nothing");
    assert_eq!(place.run().notes.len(), 0);
}

#[test]
fn a_rule_and_the_same_spacing_have_the_same_keys() {
    let mut place = place(3);
    place.run();
    let tables = place.tables();
    place.text = place.text.rewrite(MEDIAN, "spacing_mm = [2, 0.75, 0.75]");
    let summary = place.run();
    assert_eq!((summary.actions_run, summary.notes.len()), (0, 0), "{summary}");
    assert!(place.tables() == tables);
}

#[test]
fn neither_a_name_nor_another_interpolation_unpins() {
    let mut place = place(3);
    place.run();
    (3..5).for_each(|index| add(&place, &index.to_string(), SPACINGS[index]));
    place.run();
    place.text = place.text.rewrite("even", "uniform");
    let summary = place.run();
    assert_eq!(summary.actions_run, 0, "{summary}");
    assert!(summary.notes[0].starts_with("uniform: pinned to 2 x 0.75 x 0.75 mm"), "{summary}");
    place.text = place.text.rewrite(MEDIAN, "to = \"median\"\norder = \"nearest\"");
    let summary = place.run();
    assert_eq!(summary.actions_run, 5);
    assert!(summary.notes[0].starts_with("uniform: pinned to 2 x 0.75 x 0.75 mm"), "{summary}");
    // Another rule is another pin; the first one stays.
    place.text = place.text.rewrite(MEDIAN, "to = { percentile = 10 }");
    let notes = place.run().notes;
    assert_eq!(notes, ["uniform: settled on 1.7 x 0.6 x 0.6 mm, the percentile 10 of 5 scans"]);
    place.text = place.text.rewrite("to = { percentile = 10 }", MEDIAN);
    assert_eq!(place.run().actions_run, 0);
}

#[test]
fn a_rule_waits_for_the_first_scan() {
    let place = place(0);
    let summary = place.run_with(&Options { accept_empty: true, ..Options::default() });
    assert_eq!(
        (summary.cases, &*summary.notes),
        (0, &["even: no scan yet that its median could follow".to_owned()][..])
    );
    add(&place, "0", SPACINGS[0]);
    let summary = place.run();
    assert_eq!((summary.actions_run, summary.rejected), (1, 0), "{summary}");
    assert_eq!(summary.notes, ["even: settled on 1.5 x 0.5 x 0.5 mm, the median of 1 scan"]);
    // It outlives its scans, and an archive without any.
    fs::remove_file(file(&place, 0)).unwrap();
    let emptied = Options { accept_empty: true, repin: true, ..Options::default() };
    place.run_with(&emptied);
    add(&place, "2", SPACINGS[2]);
    let summary = place.run();
    assert!(summary.notes[0].starts_with("even: pinned to 1.5 x 0.5 x 0.5 mm (1 scan)"), "{summary}");
}

#[test]
fn the_axes_are_those_that_scans_have_at_the_stage() {
    let mut place = place(3);
    let turned =
        "[operators.turned]\ntype = \"reorient\"\ninputs = [\"scans\"]\naxes = \"SLP\"\n\n[operators.even]";
    place.text = place.text.rewrite("inputs = [\"scans\"]", "inputs = [\"turned\"]");
    place.text = place.text.rewrite("[operators.even]", turned);
    let summary = place.run();
    assert_eq!(summary.rejected, 0, "{summary}");
    // Columns run to the head now, rows to the left, slices to the back.
    assert_eq!(summary.notes, ["even: settled on 0.75 x 0.75 x 2 mm, the median of 3 scans"]);
}

/// Scans that were turned before they became channels of a case are turned where the rule looks at them.
#[test]
fn the_axes_are_those_that_the_first_channel_has() {
    let mut place = place(3);
    let joined = "[sources.others]\ntype = \"images\"\npath = \"archive\"\nfiles = \"{case}.nii\"\n\n\
                  [operators.turned]\ntype = \"reorient\"\ninputs = [\"scans\"]\naxes = \"SLP\"\n\n\
                  [operators.both]\ntype = \"channels\"\ninputs = [\"turned\", \"others\"]\n\n[operators.even]";
    place.text = place.text.rewrite("inputs = [\"scans\"]", "inputs = [\"both\"]");
    place.text = place.text.rewrite("[operators.even]", joined);
    place.text = place.text.rewrite("above = 0.5", "above = 0.5\nchannel = \"others\"");
    let summary = place.run();
    assert_eq!((summary.rejected, ran(&summary, "bright")), (0, 3), "{summary}");
    let settled = "even: settled on 0.75 x 0.75 x 2 mm, the median of 3 scans";
    assert!(summary.notes.iter().any(|note| note == settled), "{summary}");
}

#[test]
fn sources_of_one_kind_share_a_pin_and_those_of_another_do_not() {
    let mut place = place(3);
    let other = "[sources.others]\ntype = \"images\"\npath = \"others\"\nfiles = \"{case}.nii\"\n\n\
                 [operators.level]\ntype = \"resample\"\ninputs = [\"others\"]\nto = \"median\"\n\n\
                 [operators.light]\ntype = \"threshold\"\ninputs = [\"level\"]\nabove = 0.5\n\n[sinks.results]";
    place.text = place
        .text
        .rewrite("[sinks.results]", other)
        .rewrite("inputs = [\"bright\"]", "inputs = [\"bright\", \"light\"]");
    let folder = place.path().join("others");
    fs::create_dir(&folder).unwrap();
    for (index, spacing_mm) in SPACINGS.into_iter().enumerate().skip(3) {
        add(&place, &index.to_string(), spacing_mm);
        fs::rename(file(&place, index), folder.join(format!("{index}.nii"))).unwrap();
    }
    let summary = place.run();
    assert_eq!(summary.actions_run, 5, "{summary}");
    let settled =
        ["even", "level"].map(|stage| format!("{stage}: settled on 3 x 1 x 1 mm, the median of 5 scans"));
    assert_eq!(summary.notes, settled);
}

#[test]
fn a_rule_after_another_spacing_is_refused() {
    let mut place = place(0);
    let coarse = "[operators.coarse]\ntype = \"resample\"\ninputs = [\"scans\"]\nspacing_mm = [2, 2, 2]\n\n\
                  [operators.normal]\ntype = \"zscore\"\ninputs = [\"coarse\"]\n\n[operators.even]";
    place.text = place.text.rewrite("inputs = [\"scans\"]", "inputs = [\"normal\"]");
    place.text = place.text.rewrite("[operators.even]", coarse);
    let problems = problems(&place);
    let message = "error: `median` looks at the spacings of scans, and `coarse` changes them before";
    assert!(problems.contains(message), "{problems}");
    assert!(problems.contains("to = \"median\"\n"), "the place: {problems}");
    assert!(
        problems.contains("hint: give this stage `spacing_mm`, or let it stand before `coarse`"),
        "{problems}"
    );
    // A crop keeps spacings.
    place.text = place.text.rewrite(
        "type = \"resample\"\ninputs = [\"scans\"]\nspacing_mm = [2, 2, 2]",
        "type = \"crop\"\ninputs = [\"scans\"]\nsize_mm = [4, 4, 4]",
    );
    pipeline::load(&place.pipeline(), &[], &Registry::builtin())
        .unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn a_pipeline_that_watches_settles_when_all_that_came_first_is_quiet() {
    let place = place(0);
    let plan = place.plan(&Registry::builtin());
    let options = Options { threads: 2, accept_empty: true, ..Options::default() };
    let stop = options.stop.clone();
    let (sender, settled) = unbounded();
    let thread = std::thread::spawn(move || {
        engine::watch(plan, &options, &mut |_| {}, &mut |summary| sender.send(summary.clone()).unwrap())
            .unwrap()
    });
    let until = |count: usize| {
        let mut last = None;
        while let Ok(summary) = settled.recv_timeout(Duration::from_secs(30)) {
            let done = summary.actions_run >= count;
            last = Some(summary);
            if done {
                break;
            }
        }
        last.unwrap()
    };
    for (index, spacing_mm) in SPACINGS.into_iter().enumerate().take(3) {
        add(&place, &index.to_string(), spacing_mm);
        // Each comes before the one before it is quiet.
        std::thread::sleep(Duration::from_millis(1200));
    }
    let summary = until(3);
    assert_eq!((summary.actions_run, summary.rejected), (3, 0), "{summary}");
    assert_eq!(summary.notes, ["even: settled on 2 x 0.75 x 0.75 mm, the median of 3 scans"]);
    (3..5).for_each(|index| add(&place, &index.to_string(), SPACINGS[index]));
    let summary = until(5);
    assert!(summary.notes[0].contains("median is now 3 x 1 x 1 mm (5 scans)"), "{summary}");
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    assert_same(&place.tables(), &outright(&place, MEDIAN, "[2, 0.75, 0.75]"), "in the end");
    let again = place.run();
    assert_eq!(again.actions_run, 0, "{again}");
}

fn median(there: &BTreeMap<usize, [f64; 3]>) -> [f64; 3] {
    let scan = |spacing_mm: &[f64; 3]| Sampled { spacing_mm: *spacing_mm, size: [4, 10, 12] };
    SpacingRule::Median.spacing_mm(&there.values().map(scan).collect::<Vec<_>>()).unwrap()
}

/// Scans come and go while a pipeline is open, is opened again, and follows its rule anew now and then.
#[test]
fn random_changes_end_where_a_run_with_that_spacing_does() {
    for seed in 0..2 {
        let (mut rng, place) = (ChaCha8Rng::seed_from_u64(seed), place(1));
        let mut there = BTreeMap::from([(0, SPACINGS[0])]);
        let options = Options { threads: 2, accept_empty: true, ..Options::default() };
        let open = |repin| {
            let options = Options { repin, ..options.clone() };
            Session::open(place.plan(&Registry::builtin()), options).unwrap()
        };
        let (mut session, mut pinned) = (open(false), SPACINGS[0]);
        for step in 0..18 {
            let index = rng.random_range(0..8);
            let came = there.len() < 2 || !there.contains_key(&index);
            if came {
                there.insert(index, SPACINGS[rng.random_range(0..SPACINGS.len())]);
                add(&place, &index.to_string(), there[&index]);
            } else {
                there.remove(&index);
                fs::remove_file(file(&place, index)).unwrap();
            }
            let anew = step > 0 && rng.random_bool(0.15);
            if anew || step > 0 && rng.random_bool(0.2) {
                session.finish().unwrap();
                session = open(anew);
            }
            if anew || step == 0 {
                pinned = median(&there);
            }
            session.look().unwrap();
            assert!(session.work(&mut |_| {}).unwrap());
            let summary = session.settle().unwrap();
            assert_eq!(
                (summary.accepted, summary.rejected),
                (there.len(), 0),
                "seed {seed}, step {step}: {summary}"
            );
            if step % 9 == 8 {
                let said = outright(&place, MEDIAN, &format!("{pinned:?}"));
                assert_same(&place.tables(), &said, &format!("seed {seed}, step {step}"));
            }
        }
        session.finish().unwrap();
        assert_same(
            &place.tables(),
            &outright(&place, MEDIAN, &format!("{pinned:?}")),
            &format!("seed {seed}"),
        );
        assert_eq!(ran(&place.run(), "bright"), 0);
    }
}
