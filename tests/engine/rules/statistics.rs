//! Numbers of the intensities of all scans.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::unbounded;
use tomoflow::connectors::{Geometry, Scan, nifti};
use tomoflow::engine::{self, Options};
use tomoflow::operators::registry::Registry;

use super::repinned;
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same, ran};

const NORMAL: &str = r#"
[pipeline]
name = "normal"
out = "out"
identifiers = "clear"
allowed_rejects = 1.0
settle = "1s"

[sources.scans]
type = "images"
path = "archive"
files = "{case}.nii"

[operators.normal]
type = "zscore"
inputs = ["scans"]
statistics = "archive"
clip = { percentiles = [10, 90] }

[operators.bright]
type = "threshold"
inputs = ["normal"]
above = 0.1

[sinks.results]
type = "delta"
inputs = ["bright"]
"#;

const STATISTICS: &str = "statistics = \"archive\"\nclip = { percentiles = [10, 90] }";
const NUMBERS: &str = "mean 6 and deviation 4.47213595 within 0 to 12";

fn normal() -> Workplace {
    let mut place = Workplace::new(0);
    place.text = NORMAL.to_owned();
    // Means 4 and 8, mean squares 32 and 80: together 6, and 56.
    voxels(&place, "a", [0.0, 0.0, 0.0, 0.0, 8.0, 8.0, 8.0, 8.0]);
    voxels(&place, "b", [4.0, 4.0, 4.0, 4.0, 12.0, 12.0, 12.0, 12.0]);
    place
}

fn voxels(place: &Workplace, name: &str, voxels: [f32; 8]) {
    let scan = Scan::new(Geometry::axis_aligned([2, 2, 2], [1.0; 3]), voxels.to_vec()).unwrap();
    nifti::write_scan(&place.archive().join(format!("{name}.nii")), &scan).unwrap();
}

#[test]
fn statistics_of_an_archive_are_settled_once_and_can_be_said_outright() {
    let mut place = normal();
    let foreseen = engine::forecast(place.plan(&Registry::builtin()), &Options::default()).unwrap();
    assert_eq!(foreseen.stages["normal"].run, 2);
    let first = place.run();
    let runs = ["normal", "bright"].map(|stage| ran(&first, stage));
    assert_eq!((runs, first.actions_run, first.rejected), ([2, 2], 4, 0), "{first}");
    assert_eq!(first.notes, [format!("normal: settled on {NUMBERS}, the statistics of 2 scans")]);
    let again = place.run();
    assert_eq!((again.actions_run, again.notes.len()), (0, 0), "{again}");
    let tables = place.tables();
    assert_same(&tables, &place.anew(), "as a run from nothing");
    let outright = "mean = 6\nstd = 4.47213595\nclip = [0, 12]";
    place.text = NORMAL.rewrite(STATISTICS, outright);
    let summary = place.run();
    assert_eq!((summary.actions_run, summary.notes.len()), (0, 0), "{summary}");
    assert!(place.tables() == tables);
}

#[test]
fn an_archive_that_drifts_from_its_statistics_is_told_of_and_followed_on_demand() {
    let place = normal();
    place.run();
    let before = place.tables();
    voxels(&place, "c", [100.0; 8]);
    let grown = place.run();
    assert_eq!(["normal", "bright"].map(|stage| ran(&grown, stage)), [1, 1], "{grown}");
    assert!(before["masks"].is_subset(&place.tables()["masks"]), "keys changed with the archive");
    let start = format!(
        "normal: pinned to {NUMBERS} (2 scans); the archive's statistics are now mean 37.3333333 and"
    );
    assert!(grown.notes[0].starts_with(&start), "{grown}");
    assert!(grown.notes[0].ends_with("within 0 to 100 (3 scans); `--repin` follows them"), "{grown}");
    let options = Options { repin: true, ..Options::default() };
    let foreseen = engine::forecast(place.plan(&Registry::builtin()), &options).unwrap();
    assert_eq!((foreseen.stages["bright"].run, foreseen.stages["normal"].run), (3, 0));
    let followed = repinned(&place);
    assert_eq!(["normal", "bright"].map(|stage| ran(&followed, stage)), [0, 3], "{followed}");
    assert!(followed.notes[0].starts_with("normal: settled on mean 37.3333333"), "{followed}");
    assert!(
        followed.notes[0].ends_with(&format!("the statistics of 3 scans (before: {NUMBERS})")),
        "{followed}"
    );
    assert_same(&place.tables(), &place.anew(), "as a run from nothing");
    assert_eq!(place.run().notes.len(), 0);
}

#[test]
fn voxels_with_a_label_count_and_a_corrected_outline_moves_no_mask() {
    let mut place = Workplace::new(3);
    let archive = "type = \"zscore\"\nstatistics = \"archive\"\nforeground = \"labelled\"\nkeep = true\n\
                   clip = { percentiles = [0.5, 99.5] }";
    place.text = place.text.rewrite("type = \"zscore\"", archive);
    fs::remove_file(place.files_of(2).last().unwrap()).unwrap();
    let first = place.run();
    // Two cases are measured, and all three normalised.
    assert_eq!(["normal", "bright"].map(|stage| ran(&first, stage)), [5, 3], "{first}");
    assert_eq!(first.rejected, 0, "{first}");
    assert!(first.notes[0].ends_with("the statistics of 2 scans"), "{first}");
    let masks = place.tables()["masks"].clone();
    place.move_label(0, 3);
    let corrected = place.run();
    assert_eq!(["normal", "bright"].map(|stage| ran(&corrected, stage)), [1, 0], "{corrected}");
    assert!(corrected.notes[0].contains("the archive's statistics are now"), "{corrected}");
    assert_eq!(place.tables()["masks"], masks);
}

#[test]
fn statistics_wait_for_voxels_that_count() {
    let mut place = normal();
    place.text = NORMAL.rewrite(STATISTICS, "statistics = \"archive\"\nforeground = 1000");
    let summary = place.run();
    assert_eq!((ran(&summary, "normal"), ran(&summary, "bright"), summary.rejected), (2, 0, 0), "{summary}");
    assert_eq!(summary.notes, ["normal: no intensities yet that its statistics could follow"]);
    voxels(&place, "c", [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1002.0, 1004.0]);
    let summary = place.run();
    assert_eq!((ran(&summary, "normal"), ran(&summary, "bright")), (1, 3), "{summary}");
    assert_eq!(summary.notes, ["normal: settled on mean 1003 and deviation 1, the statistics of 1 scan"]);
}

#[test]
fn a_pipeline_that_watches_measures_what_came_first_and_goes_on() {
    let place = normal();
    let plan = place.plan(&Registry::builtin());
    let options = Options { threads: 2, ..Options::default() };
    let stop = options.stop.clone();
    let (sender, settled) = unbounded();
    let thread = std::thread::spawn(move || {
        engine::watch(plan, &options, &mut |_| {}, &mut |summary| sender.send(summary.clone()).unwrap())
            .unwrap()
    });
    let until = |masks: usize| {
        let mut last = None;
        while let Ok(summary) = settled.recv_timeout(Duration::from_secs(30)) {
            let done = ran(&summary, "bright") >= masks;
            last = Some(summary);
            if done {
                break;
            }
        }
        last.unwrap()
    };
    let summary = until(2);
    assert_eq!((ran(&summary, "bright"), summary.rejected), (2, 0), "{summary}");
    assert_eq!(summary.notes, [format!("normal: settled on {NUMBERS}, the statistics of 2 scans")]);
    voxels(&place, "c", [100.0; 8]);
    let summary = until(3);
    assert!(summary.notes[0].contains("the archive's statistics are now mean 37.3333333"), "{summary}");
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    assert_eq!(place.run().actions_run, 0);
}
