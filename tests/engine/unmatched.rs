//! What sources ask for and is not there, labels that belong to no scan, and which of several labels count.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};
use tomoflow::connectors::{Geometry, LabelMap, Scan, nifti};

const PIPELINE: &str = r#"
[pipeline]
name = "unmatched"
out = "out"
identifiers = "clear"

[sources.scans]
type = "images"
path = "scans"
files = "{case}.nii"

[sources.truth]
type = "label_images"
path = "labels"
files = "{case}.nii"
labels = { tumour = [1] }

[operators.case]
type = "label"
inputs = ["scans", "truth"]

[operators.bright]
type = "threshold"
inputs = ["case"]
above = 50
label = "tumour"

[operators.scores]
type = "evaluate"
inputs = ["bright", "case"]
metrics = ["dice"]

[sinks.results]
type = "delta"
inputs = ["bright", "scores"]
"#;

const SIZE: [usize; 3] = [3, 6, 6];

/// A label map of some voxels, and a scan in which they are bright.
fn volumes(from: usize) -> (Scan, LabelMap) {
    let grid = Geometry::axis_aligned(SIZE, [2.0, 1.0, 1.0]);
    let inside = |at: usize| (from..from + 20).contains(&at);
    let count = grid.voxels();
    let scan = (0..count).map(|at| if inside(at) { 100.0 } else { (at % 5) as f32 }).collect();
    let labels = (0..count).map(|at| u16::from(inside(at))).collect();
    (Scan::new(grid.clone(), scan).unwrap(), LabelMap::new(grid, labels).unwrap())
}

fn write_scan(place: &Workplace, name: &str) {
    let path = place.path().join("scans").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    nifti::write_scan(&path, &volumes(30).0).unwrap();
}

fn write_labels(place: &Workplace, name: &str, from: usize) {
    let path = place.path().join("labels").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    nifti::write_labels(&path, &volumes(from).1).unwrap();
}

/// Scans and labels of these cases.
fn with(cases: &[&str]) -> Workplace {
    let mut place = Workplace::new(0);
    place.text = PIPELINE.to_owned();
    for case in cases {
        write_scan(&place, &format!("{case}.nii"));
        write_labels(&place, &format!("{case}.nii"), 30);
    }
    place
}

/// Key, code and message of each reject.
fn rejects(place: &Workplace) -> Vec<[String; 3]> {
    let rows = place.tables()["rejects"].clone();
    let rows = rows.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut found: Vec<[String; 3]> = rows
        .map(|row| ["key", "code", "message"].map(|field| row[field].as_str().unwrap().to_owned()))
        .collect();
    found.sort();
    found
}

fn keys(place: &Workplace, code: &str) -> Vec<String> {
    let found = rejects(place).into_iter().filter(|[_, found, _]| found == code);
    found.map(|[key, ..]| key).collect()
}

fn dice(place: &Workplace, case: &str) -> Vec<f64> {
    let rows = place.metrics().into_iter().filter(|row| row.case == case && row.metric == "dice");
    rows.filter_map(|row| row.value).collect()
}

fn plan(place: &Workplace) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    let output = command.arg("plan").arg(place.pipeline()).current_dir(place.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn label_files_of_no_scan_are_told_until_their_scan_comes() {
    let place = with(&["a", "b"]);
    write_labels(&place, "Case_01.nii", 30);
    write_labels(&place, "lonely.nii", 30);
    write_scan(&place, "case1.nii");
    let line = "truth: 2 label files belong to no scan: Case_01.nii, lonely.nii";
    let foreseen = plan(&place);
    assert!(foreseen.contains(line), "{foreseen}");
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected, summary.exit_code(0.0)), (3, 0, 0), "{summary}");
    assert!(summary.to_string().contains(line), "{summary}");
    assert_eq!(keys(&place, "LABEL_OF_NO_SCAN"), ["Case_01", "lonely"]);
    let hints = place.tables()["rejects"].iter().filter(|row| row.contains("`case1`")).count();
    assert_eq!(hints, 1, "{:?}", place.tables()["rejects"]);
    assert_same(&place.tables(), &place.anew(), "labels of no scan");
    write_scan(&place, "lonely.nii");
    fs::rename(place.path().join("labels/Case_01.nii"), place.path().join("labels/case1.nii")).unwrap();
    let summary = place.run();
    assert!(summary.unmatched.is_empty() && rejects(&place).is_empty(), "{summary}");
    assert_eq!(dice(&place, "case1"), [1.0]);
    // A scan that goes leaves its labels behind; one that is refused has a row of its own.
    fs::remove_file(place.path().join("scans/a.nii")).unwrap();
    fs::write(place.path().join("scans/b.nii"), "no scan any more").unwrap();
    place.run();
    assert_eq!(keys(&place, "LABEL_OF_NO_SCAN"), ["a"]);
    assert_same(&place.tables(), &place.anew(), "a scan that went");
}

#[test]
fn names_stay_hidden_where_identifiers_are() {
    let mut place = with(&["a"]);
    place.text = place.text.rewrite("identifiers = \"clear\"\n", "");
    write_labels(&place, "lonely.nii", 30);
    let summary = place.run().to_string();
    assert!(summary.contains("1 label file belongs to no scan") && !summary.contains("lonely"), "{summary}");
    let rows = place.tables()["rejects"].clone();
    assert!(rows.len() == 1 && rows.iter().all(|row| !row.contains("lonely")), "{rows:?}");
}

#[test]
fn outlines_of_a_series_that_is_not_there_are_told() {
    let mut place = Workplace::new(2);
    let uid = place.phantom_series(1);
    assert!(place.run().unmatched.is_empty());
    let slices = place.files_of(1).into_iter().rev().skip(1);
    slices.for_each(|slice| fs::remove_file(slice).unwrap());
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected, summary.unmatched.len()), (1, 0, 1), "{summary}");
    assert_eq!(keys(&place, "LABEL_OF_NO_SCAN"), [uid]);
    assert_same(&place.tables(), &place.anew(), "outlines alone");
    // What `where` leaves out is there.
    place.text = place.text.rewrite("Modality = \"MR\"", "Modality = \"CT\"");
    let summary = place.run();
    assert_eq!((summary.left_out.len(), summary.unmatched.len()), (1, 1), "{summary}");
}

#[test]
fn rows_of_tables_without_a_file_are_told_with_their_number() {
    let mut place = with(&["a", "b"]);
    let scans = "\u{feff}file,case,patient\r\n./a.nii,one,p\r\nx/../b.nii,two,p\r\ngone.nii,three,q\r\n";
    fs::write(place.path().join("scans.csv"), scans).unwrap();
    let labels = place.path().join("labels");
    let rows =
        format!("file,case\n{0}/a.nii,one\nlabels/b.nii,two\n/nowhere/c.nii,three\n", labels.display());
    fs::write(place.path().join("labels.csv"), rows).unwrap();
    place.text = place
        .text
        .rewrite("\"scans\"\nfiles = \"{case}.nii\"", "\"scans\"\ntable = \"scans.csv\"")
        .rewrite("\"labels\"\nfiles = \"{case}.nii\"", "\"labels\"\ntable = \"labels.csv\"");
    let lines = [
        "scans: 1 file of its table is not there: gone.nii (row 4)",
        "truth: 1 file of its table lies outside of `path`: /nowhere/c.nii (row 4)",
    ];
    let foreseen = plan(&place);
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected), (2, 0), "{summary}");
    assert_eq!([dice(&place, "one"), dice(&place, "two")], [[1.0], [1.0]]);
    for line in lines {
        assert!(summary.to_string().contains(line) && foreseen.contains(line), "{summary}{foreseen}");
    }
    let [absent, outside] = &rejects(&place)[..] else { panic!("{:?}", rejects(&place)) };
    assert_eq!([&absent[0], &absent[1]], ["three", "FILE_MISSING"]);
    assert!(absent[2].contains("row 4 of scans.csv"), "{absent:?}");
    assert_eq!([&outside[0], &outside[1]], ["three", "OUTSIDE_PATH"]);
    // It comes: its row goes.
    write_scan(&place, "gone.nii");
    let summary = place.run();
    assert_eq!((summary.cases, keys(&place, "FILE_MISSING").len()), (3, 0), "{summary}");
    assert_same(&place.tables(), &place.anew(), "a file that came");
}

#[test]
fn a_pattern_that_fits_no_file_is_told() {
    let mut place = with(&["a", "b"]);
    place.text = place.text.rewrite(
        "\"labels\"\nfiles = \"{case}.nii\"",
        "\"labels\"\nfiles = [\"{case}.nii\", \"old/{case}_seg.nii\", \"!*.mha\"]",
    );
    fs::write(place.path().join("labels/notes.txt"), "no image").unwrap();
    let summary = place.run();
    let told = &summary.unmatched;
    assert_eq!(told.len(), 1, "{summary}");
    assert!(told[0].contains("`old/{case}_seg.nii`") && told[0].contains("none of 3 files"), "{told:?}");
    assert_eq!(keys(&place, "NO_FILE_FITS"), ["truth"]);
    write_labels(&place, "old/b_seg.nii", 30);
    fs::remove_file(place.path().join("labels/b.nii")).unwrap();
    assert!(place.run().unmatched.is_empty());
    // A source without any file: the pipeline finds nothing, and says why.
    place.text =
        place.text.rewrite("\"scans\"\nfiles = \"{case}.nii\"", "\"scans\"\nfiles = \"{case}.nrrd\"");
    let summary = place.run();
    assert_eq!((summary.cases, summary.unmatched.len()), (0, 2), "{summary}");
    assert!(summary.unmatched[0].contains("`{case}.nrrd`"), "{summary}");
}

fn dated(path: &Path, seconds: u64) {
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + seconds)).unwrap();
}

#[test]
fn of_two_label_files_the_newer_counts_where_that_is_asked_for() {
    let mut place = with(&["a", "b"]);
    place.text =
        place.text.rewrite("\"labels\"\nfiles = \"{case}.nii\"", "\"labels\"\nfiles = \"**/{case}.nii\"");
    write_labels(&place, "second/a.nii", 70);
    let [first, second] = ["labels/a.nii", "labels/second/a.nii"].map(|path| place.path().join(path));
    place.run();
    let [refused] = &rejects(&place)[..] else { panic!("{:?}", rejects(&place)) };
    assert_eq!([&refused[0], &refused[1]], ["a", "SEVERAL_LABELS"]);
    assert!(refused[2].contains("a.nii, second/a.nii"), "{refused:?}");
    assert!(dice(&place, "a").is_empty());

    let asked = "inputs = [\"scans\", \"truth\"]";
    place.text = place.text.rewrite(asked, &format!("{asked}\non_several = \"newest\""));
    for (older, newer, expected) in [(&first, &second, 0.0), (&second, &first, 1.0)] {
        dated(older, 10);
        dated(newer, 20);
        place.run();
        assert!(rejects(&place).is_empty(), "{:?}", rejects(&place));
        assert_eq!(dice(&place, "a"), [expected]);
        // What is known of files is so at a run that reads none of them.
        assert_eq!((place.run().actions_run, dice(&place, "a")), (0, vec![expected]));
    }
    // Of one time neither is the newer one.
    dated(&second, 20);
    place.run();
    assert_eq!(keys(&place, "SEVERAL_LABELS"), ["a"]);
    assert_eq!((dice(&place, "a").len(), dice(&place, "b")), (0, vec![1.0]));
    assert_same(&place.tables(), &place.anew(), "two of one time");
}
