//! Boxes around labels, one grid for all scans, and numbers of all intensities, in whole runs.

mod support;

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::unbounded;
use support::{Workplace, assert_same, ran};
use tomoflow::connectors::{Geometry, Scan, nifti};
use tomoflow::engine::{self, Options, Summary};
use tomoflow::operators::registry::Registry;
use tomoflow::pipeline;

const NEAR: &str = r#"
[operators.near]
type = "crop"
inputs = ["case"]
size_mm = [6.0, 4.0, 4.0]
around = "tumour"

[operators.normal]
type = "zscore"
inputs = ["near"]
"#;

/// The pipeline with a box around the tumour before everything else.
fn cropped(mut place: Workplace) -> Workplace {
    let normal = "[operators.normal]\ntype = \"zscore\"\ninputs = [\"case\"]\n";
    place.text = place.text.replace(normal, NEAR.trim_start());
    place
}

fn rejects(place: &Workplace) -> Vec<(String, String)> {
    let row = |line: &String| -> (String, String) {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| row[field].as_str().unwrap().to_owned();
        (text("stage"), text("code"))
    };
    place.tables()["rejects"].iter().map(row).collect()
}

fn problems(place: &Workplace) -> String {
    pipeline::load(&place.pipeline(), &[], &Registry::builtin()).unwrap_err().to_string()
}

#[test]
fn a_box_around_a_label_follows_it_and_masks_return() {
    let mut place = cropped(Workplace::new(3));
    place.text = place.text.replace("around = \"tumour\"", "around = \"tumour\"\nkeep = true");
    let summary = place.run();
    assert_eq!((summary.rejected, summary.actions_run), (0, 12), "{summary}");
    // Four slices of ten by ten voxels of 0.4 mm, on the original grid.
    let mut slices = std::collections::BTreeMap::new();
    for line in &place.tables()["masks"] {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(row["area_mm2"].as_f64().unwrap() <= 16.0 + 1e-9, "{row}");
        *slices.entry((row["stage"].to_string(), row["case"].to_string())).or_insert(0) += 1;
    }
    assert!(slices.len() == 6 && slices.values().all(|count| *count <= 4), "{slices:?}");
    // A corrected outline moves the box, and asks for a new mask of this scan alone.
    place.move_label(0, 3);
    let summary = place.run();
    let runs = ["near", "bright", "scores"].map(|stage| ran(&summary, stage));
    assert_eq!((runs, summary.rejected), ([1, 1, 1], 0), "{summary}");
    assert_same(&place.tables(), &place.anew(), "after a correction");
    // Without labels there is no box; the others stay.
    fs::remove_file(place.files_of(1).last().unwrap()).unwrap();
    let summary = place.run();
    assert_eq!((ran(&summary, "bright"), summary.unchanged > 0), (0, true), "{summary}");
    let found = rejects(&place);
    assert!(found.contains(&("bright".to_owned(), "NO_LABELS".to_owned())), "{found:?}");
    assert_same(&place.tables(), &place.anew(), "without labels");
}

#[test]
fn a_network_segments_what_has_a_box() {
    let place = cropped(Workplace::trained());
    let summary = place.run();
    assert_eq!((summary.rejected, ran(&summary, "segment")), (0, 4), "{summary}");
    let written = place.add(4);
    fs::remove_file(written.outlines).unwrap();
    let summary = place.run();
    assert_eq!((ran(&summary, "segment"), summary.rejected), (0, 1), "{summary}");
    assert_eq!(rejects(&place), [("segment".to_owned(), "NO_LABELS".to_owned())]);
}

#[test]
fn a_label_that_no_source_gives_is_no_place() {
    let mut place = cropped(Workplace::new(0));
    let text = place.text.clone();
    place.text = text.replace("around = \"tumour\"", "around = \"tumor\"");
    let found = problems(&place);
    assert!(found.contains("error: there is no label called `tumor`"), "{found}");
    assert!(found.contains("there is only `tumour`") || found.contains("did you mean `tumour`?"), "{found}");
    let near = "[operators.near]\ntype = \"crop\"\ninputs = [\"case\"]";
    place.text = text.replace(near, &near.replace("case", "volume"));
    let found = problems(&place);
    assert!(found.contains("`around` looks at labels, and `volume` gives scans without"), "{found}");
}

const EVEN: &str = r#"
[pipeline]
name = "even"
out = "out"
identifiers = "clear"
allowed_rejects = 1.0

[sources.scans]
type = "images"
path = "archive"
files = "{case}.nii"

[operators.even]
type = "resample"
inputs = ["scans"]
to = { like = "1" }

[operators.bright]
type = "threshold"
inputs = ["even"]
above = 0.5

[operators.plain]
type = "threshold"
inputs = ["scans"]
above = 0.5

[sinks.results]
type = "delta"
inputs = ["bright", "plain"]
"#;

const LIKE: &str = "to = { like = \"1\" }";

/// Spacings that files hold as they are.
const SPACINGS: [[f64; 3]; 4] = [[1.5, 0.5, 0.5], [2.0, 0.75, 0.75], [3.0, 1.0, 1.0], [6.0, 1.25, 1.0]];
const FIRST: &str = "4 x 10 x 12 voxels of 2 x 0.75 x 0.75 mm from (0, 0, 0) mm";
const SECOND: &str = "4 x 10 x 12 voxels of 6 x 1.25 x 1 mm from (0, 0, 0) mm";

fn even(scans: usize) -> Workplace {
    let mut place = Workplace::new(0);
    place.text = EVEN.to_owned();
    (0..scans).for_each(|index| add(&place, &index.to_string(), SPACINGS[index]));
    place
}

/// A scan along the patient's axes, with content of its own.
fn add(place: &Workplace, name: &str, [d, h, w]: [f64; 3]) {
    let steps_mm = [[0.0, 0.0, d], [0.0, h, 0.0], [w, 0.0, 0.0]];
    let geometry = Geometry { size: [4, 10, 12], origin_mm: [0.0; 3], steps_mm };
    let shift = name.bytes().map(usize::from).sum::<usize>();
    let voxels = (0..480).map(|at| ((at * 7 + shift * 13) % 31) as f32 / 31.0).collect();
    let file = place.archive().join(format!("{name}.nii"));
    nifti::write_scan(&file, &Scan::new(geometry, voxels).unwrap()).unwrap();
}

fn repinned(place: &Workplace) -> Summary {
    place.run_with(&Options { repin: true, threads: 2, ..Options::default() })
}

#[test]
fn the_grid_of_a_scan_is_settled_once_and_can_be_said_outright() {
    let mut place = even(3);
    let first = place.run();
    assert_eq!((first.cases, first.actions_run, first.rejected), (3, 6, 0), "{first}");
    assert_eq!(first.notes, [format!("even: settled on {FIRST}, the grid of `1`")]);
    let again = place.run();
    assert_eq!((again.actions_run, again.notes.len()), (0, 0), "{again}");
    let tables = place.tables();
    assert_same(&tables, &place.anew(), "as a run from nothing");
    let grid = "grid = { size = [4, 10, 12], spacing_mm = [2, 0.75, 0.75], origin_mm = [0, 0, 0] }";
    place.text = place.text.replace(LIKE, grid);
    let summary = place.run();
    assert_eq!((summary.actions_run, summary.notes.len()), (0, 0), "{summary}");
    assert!(place.tables() == tables);
}

#[test]
fn a_reference_that_changes_or_goes_changes_nothing_until_asked() {
    let place = even(3);
    place.run();
    add(&place, "1", SPACINGS[3]);
    let changed = place.run();
    let drifted = format!("even: pinned to {FIRST}; the grid of `1` is now {SECOND}; `--repin` follows it");
    assert_eq!((ran(&changed, "bright"), &changed.notes), (1, &vec![drifted]), "{changed}");
    let followed = repinned(&place);
    let settled = format!("even: settled on {SECOND}, the grid of `1` (before: {FIRST})");
    assert_eq!((ran(&followed, "bright"), &followed.notes), (3, &vec![settled]), "{followed}");
    assert_same(&place.tables(), &place.anew(), "as a run from nothing");
    fs::remove_file(place.archive().join("1.nii")).unwrap();
    let gone = format!("even: pinned to {SECOND}; `1`, whose grid it was, is not among the scans any more");
    for summary in [place.run(), repinned(&place), place.run()] {
        assert_eq!((summary.actions_run, summary.rejected), (0, 0), "{summary}");
        assert_eq!(summary.notes, [gone.as_str()]);
    }
}

#[test]
fn an_unknown_reference_holds_up_its_own_branch_alone() {
    let mut place = even(3);
    place.text = place.text.replace(LIKE, "to = { like = \"atlas\" }");
    let summary = place.run();
    assert_eq!((ran(&summary, "plain"), summary.rejected), (3, 3), "{summary}");
    assert_eq!(summary.notes, ["even: no accepted scan `atlas`, whose grid it asks for"]);
    assert!(rejects(&place).iter().all(|row| *row == ("bright".to_owned(), "UNSETTLED".to_owned())));
    let again = place.run();
    assert_eq!((again.actions_run, again.rejected), (0, 3), "{again}");
    // It may come later, and from a source of its own.
    let atlas =
        "[sources.atlas]\ntype = \"images\"\npath = \"atlases\"\nfiles = \"{case}.nii\"\n\n[sources.scans]";
    place.text = place.text.replace("[sources.scans]", atlas);
    fs::create_dir(place.path().join("atlases")).unwrap();
    add(&place, "atlas", SPACINGS[1]);
    fs::rename(place.archive().join("atlas.nii"), place.path().join("atlases/atlas.nii")).unwrap();
    let summary = place.run();
    assert_eq!((ran(&summary, "bright"), ran(&summary, "plain"), summary.rejected), (3, 0, 0), "{summary}");
    assert_eq!(summary.notes, [format!("even: settled on {FIRST}, the grid of `atlas`")]);
    assert_same(&place.tables(), &place.anew(), "as a run from nothing");
}

#[test]
fn the_grid_is_turned_as_scans_are() {
    let mut place = even(2);
    let turned =
        "[operators.turned]\ntype = \"reorient\"\ninputs = [\"scans\"]\naxes = \"SLP\"\n\n[operators.even]";
    let own = "type = \"resample\"\ninputs = [\"scans\"]";
    place.text = place.text.replace(own, &own.replace("scans", "turned")).replace("[operators.even]", turned);
    let summary = place.run();
    assert_eq!(summary.rejected, 0, "{summary}");
    let grid = "10 x 12 x 4 voxels of 0.75 x 0.75 x 2 mm from (0, 0, 0) mm";
    assert_eq!(summary.notes, [format!("even: settled on {grid}, the grid of `1`")]);
}

#[test]
fn what_does_not_go_with_a_grid_is_refused() {
    let mut place = even(0);
    place.text = EVEN.replace(LIKE, &format!("{LIKE}\norder = \"cubic\""));
    assert!(problems(&place).contains("a grid takes no such `order`"), "{}", problems(&place));
    place.text = EVEN.replace(LIKE, "to = { like = \"1\", percentile = 10 }");
    assert!(problems(&place).contains("either `percentile` or `like` expected"), "{}", problems(&place));
    let coarse = "[operators.coarse]\ntype = \"resample\"\ninputs = [\"scans\"]\nspacing_mm = [2, 2, 2]\n\n\
                  [operators.even]";
    let own = "type = \"resample\"\ninputs = [\"scans\"]\nto";
    place.text = EVEN.replace(own, &own.replace("scans", "coarse")).replace("[operators.even]", coarse);
    let found = problems(&place);
    assert!(found.contains("`like` looks at scans as they are, and `coarse` changes them"), "{found}");
    assert!(found.contains("give this stage `grid`, or let it stand before `coarse`"), "{found}");
}

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
    place.text = NORMAL.replace(STATISTICS, outright);
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
    place.text = place.text.replace("type = \"zscore\"", archive);
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
    place.text = NORMAL.replace(STATISTICS, "statistics = \"archive\"\nforeground = 1000");
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
