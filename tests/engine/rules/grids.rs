//! One grid for all scans: that of one of them.

use std::fs;

use super::{SPACINGS, add, problems, rejects, repinned};
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same, ran};

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

const FIRST: &str = "4 x 10 x 12 voxels of 2 x 0.75 x 0.75 mm from (0, 0, 0) mm";
const SECOND: &str = "4 x 10 x 12 voxels of 6 x 1.25 x 1 mm from (0, 0, 0) mm";

fn even(scans: usize) -> Workplace {
    let mut place = Workplace::new(0);
    place.text = EVEN.to_owned();
    (0..scans).for_each(|index| add(&place, &index.to_string(), SPACINGS[index]));
    place
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
    place.text = place.text.rewrite(LIKE, grid);
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
    place.text = place.text.rewrite(LIKE, "to = { like = \"atlas\" }");
    let summary = place.run();
    assert_eq!((ran(&summary, "plain"), summary.rejected), (3, 3), "{summary}");
    assert_eq!(summary.notes, ["even: no accepted scan `atlas`, whose grid it asks for"]);
    assert!(rejects(&place).iter().all(|row| *row == ("bright".to_owned(), "UNSETTLED".to_owned())));
    let again = place.run();
    assert_eq!((again.actions_run, again.rejected), (0, 3), "{again}");
    // It may come later, and from a source of its own.
    let atlas =
        "[sources.atlas]\ntype = \"images\"\npath = \"atlases\"\nfiles = \"{case}.nii\"\n\n[sources.scans]";
    place.text = place.text.rewrite("[sources.scans]", atlas);
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
    place.text = place.text.rewrite(own, &own.rewrite("scans", "turned")).rewrite("[operators.even]", turned);
    let summary = place.run();
    assert_eq!(summary.rejected, 0, "{summary}");
    let grid = "10 x 12 x 4 voxels of 0.75 x 0.75 x 2 mm from (0, 0, 0) mm";
    assert_eq!(summary.notes, [format!("even: settled on {grid}, the grid of `1`")]);
}

#[test]
fn what_does_not_go_with_a_grid_is_refused() {
    let mut place = even(0);
    place.text = EVEN.rewrite(LIKE, &format!("{LIKE}\norder = \"cubic\""));
    assert!(problems(&place).contains("a grid takes no such `order`"), "{}", problems(&place));
    place.text = EVEN.rewrite(LIKE, "to = { like = \"1\", percentile = 10 }");
    assert!(problems(&place).contains("either `percentile` or `like` expected"), "{}", problems(&place));
    let coarse = "[operators.coarse]\ntype = \"resample\"\ninputs = [\"scans\"]\nspacing_mm = [2, 2, 2]\n\n\
                  [operators.even]";
    let own = "type = \"resample\"\ninputs = [\"scans\"]\nto";
    place.text = EVEN.rewrite(own, &own.rewrite("scans", "coarse")).rewrite("[operators.even]", coarse);
    let found = problems(&place);
    assert!(found.contains("`like` looks at scans as they are, and `coarse` changes them"), "{found}");
    assert!(found.contains("give this stage `grid`, or let it stand before `coarse`"), "{found}");
}
