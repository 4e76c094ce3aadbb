//! Label maps that are not what the pipeline says of them: told by name, and scored as they nest.

use std::fs;

use dicom_core::{DataElement, Tag, VR};
use dicom_object::open_file;
use tomoflow::connectors::{Geometry, LabelMap, Scan, nifti};

use crate::support::pipelines::BRIGHT;
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};

const PIPELINE: &str = r#"
[pipeline]
name = "maps"
out = "out"
identifiers = "clear"

[sources.scans]
type = "images"
path = "images"
files = "{case}.nii"

[sources.truth]
type = "label_images"
path = "labels"
files = "{case}.nii"
labels = { organ = [1, 2], lesion = [2] }

[operators.case]
type = "label"
inputs = ["scans", "truth"]
"#;

const SIZE: [usize; 3] = [6, 16, 16];

/// A box of 4 x 8 x 8 voxels, whose inner 2 x 4 x 4 are another one's.
fn values(outer: u16, inner: u16) -> Vec<u16> {
    let within = |at: [usize; 3], low: [usize; 3], high: [usize; 3]| {
        (0..3).all(|axis| (low[axis]..high[axis]).contains(&at[axis]))
    };
    let value = |index: usize| {
        let at = [index / 256, index / 16 % 16, index % 16];
        match (within(at, [2, 6, 6], [4, 10, 10]), within(at, [1, 4, 4], [5, 12, 12])) {
            (true, _) => inner,
            (_, true) => outer,
            _ => 0,
        }
    };
    (0..6 * 256).map(value).collect()
}

fn grid(x: f64) -> Geometry {
    Geometry { origin_mm: [x, 0.0, 0.0], ..Geometry::axis_aligned(SIZE, [1.0; 3]) }
}

/// A scan that is bright in the box, and a label map with these values, moved by so many mm.
fn write(place: &Workplace, case: &str, labels: Vec<u16>, x: f64) {
    let scan = values(1, 1).into_iter().map(|value| 100.0 * f32::from(value)).collect();
    for folder in ["images", "labels"] {
        fs::create_dir_all(place.path().join(folder)).unwrap();
    }
    let name = format!("{case}.nii");
    let scan = Scan::new(grid(0.0), scan).unwrap();
    nifti::write_scan(&place.path().join("images").join(&name), &scan).unwrap();
    let labels = LabelMap::new(grid(x), labels).unwrap();
    nifti::write_labels(&place.path().join("labels").join(&name), &labels).unwrap();
}

fn place() -> Workplace {
    let mut place = Workplace::new(0);
    place.text = format!("{PIPELINE}{BRIGHT}");
    place
}

/// Rows of `rejects`: case, code, attempts.
fn told(place: &Workplace) -> Vec<(String, String, i64)> {
    let rows = &place.tables()["rejects"];
    let row = |row: &String| -> serde_json::Value { serde_json::from_str(row).unwrap() };
    let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
    let mut rows: Vec<_> = rows
        .iter()
        .map(row)
        .map(|row| (text(&row, "key"), text(&row, "code"), row["attempts"].as_i64().unwrap()))
        .collect();
    rows.sort();
    rows
}

fn figure(place: &Workplace, case: &str, label: &str, metric: &str) -> Option<f64> {
    let rows = place.metrics();
    let found = rows.iter().find(|row| (&*row.case, &*row.label, &*row.metric) == (case, label, metric));
    found.and_then(|row| row.value)
}

#[test]
fn a_label_that_holds_another_is_scored_with_it() {
    let place = place();
    write(&place, "a", values(1, 2), 0.0);
    let summary = place.run();
    assert_eq!((summary.rejected, told(&place)), (0, Vec::new()), "{summary}");
    assert_eq!(figure(&place, "a", "organ", "dice"), Some(1.0));
    assert_eq!(figure(&place, "a", "organ", "volume_ref_ml"), Some(0.256));
}

#[test]
fn values_that_nobody_declared_are_told() {
    let mut place = place();
    write(&place, "a", values(1, 2), 0.0);
    write(&place, "b", values(255, 255), 0.0);
    write(&place, "c", values(1, 3), 0.0);
    let summary = place.run();
    let row = |case: &str| (case.to_owned(), "LABEL_VALUE".to_owned(), 0);
    assert_eq!(told(&place), [row("b"), row("c")]);
    assert_eq!((summary.rejected, summary.remarked["LABEL_VALUE"]), (0, 2), "{summary}");
    assert!(place.tables()["rejects"].iter().any(|row| row.contains("255 in 256 voxels")));

    // Done already, it is told again; and where somebody says that it is background, it is not.
    assert_eq!((place.run().actions_run, told(&place).len()), (0, 2));
    place.text = place.text.rewrite("lesion = [2] }", "lesion = [2] }\nbackground = [3]");
    place.run();
    assert_eq!(told(&place), [row("b")]);
    assert_same(&place.tables(), &place.anew(), "values");
}

#[test]
fn a_label_that_no_map_has_is_told_at_the_end() {
    let mut place = place();
    place.text = place.text.rewrite("lesion = [2] }", "lesion = [2], organ2 = [7] }");
    place.text = place.text.rewrite("label = \"organ\"", "label = \"organ2\"");
    write(&place, "a", values(1, 2), 0.0);
    write(&place, "b", values(1, 2), 0.0);
    let summary = place.run();
    let note = summary.notes.iter().find(|note| note.contains("`organ2`"));
    assert!(note.is_some_and(|note| note.contains("none of 2 truths")), "{summary}");
    assert!(!summary.notes.iter().any(|note| note.contains("`organ`")), "{summary}");
}

#[test]
fn labels_beside_the_scan_are_no_empty_truth() {
    let place = place();
    write(&place, "a", values(1, 2), 0.0);
    write(&place, "b", values(1, 2), 8.0);
    write(&place, "c", values(1, 2), 12.0);
    place.run();
    let row = |case: &str, code: &str, attempts| (case.to_owned(), code.to_owned(), attempts);
    assert_eq!(told(&place), [row("b", "LABEL_BEYOND_SCAN", 0), row("c", "OFF_GRID", 1)]);
    assert_eq!(figure(&place, "c", "organ", "dice"), None);
    assert_eq!(figure(&place, "b", "organ", "volume_ref_ml"), Some(0.128));
    assert!(place.tables()["rejects"].iter().any(|row| row.contains("128 of 256 voxels")));
}

#[test]
fn a_series_for_each_slice_is_refused_by_name() {
    let place = Workplace::new(2);
    let mut slices = place.files_of(0);
    slices.pop();
    for (number, path) in slices.iter().enumerate() {
        let mut slice = open_file(path).unwrap();
        let series = Tag(0x0020, 0x000e);
        let uid =
            format!("{}.{number}", slice.element(series).unwrap().to_str().unwrap().trim_end_matches('\0'));
        slice.put(DataElement::new(series, VR::UI, uid));
        slice.write_to_file(path).unwrap();
    }
    let summary = place.run();
    assert_eq!(
        (summary.accepted, summary.rejects.get("SERIES_PER_SLICE")),
        (1, Some(&slices.len())),
        "{summary}"
    );
    // One that is lost makes scans of none of the others.
    let lost = fs::read(&slices[3]).unwrap();
    fs::remove_file(&slices[3]).unwrap();
    let summary = place.run();
    let (left, refused) = (slices.len() - 1, summary.rejects.get("SERIES_PER_SLICE"));
    assert_eq!((summary.accepted, refused), (1, Some(&left)), "{summary}");
    fs::write(&slices[3], lost).unwrap();
    // One that is left alone is a scan of one slice, as it would be from the start.
    slices[1..].iter().for_each(|path| fs::remove_file(path).unwrap());
    assert_eq!(place.run().accepted, 2);
    assert_same(&place.tables(), &place.anew(), "slices that went");
}
