//! Series of DICOM images whose values are labels: of the scan whose voxels are theirs, and of no other.

use std::fs;

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, Tag, VR};
use dicom_object::InMemDicomObject;
use tomoflow::connectors::Geometry;
use tomoflow::connectors::dicom::write::{MrSeries, Pixels, Slice, Study, write_slice};

use crate::init::{phantom, text, tomoflow};
use crate::support::dicom::{copied, put};
use crate::support::pipelines::BRIGHT;
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same, ran};

const PIPELINE: &str = r#"
[pipeline]
name = "series"
out = "out"
identifiers = "clear"
allowed_rejects = 1.0

[sources.scans]
type = "dicom"
path = "archive"
where = { SeriesDescription = "!*segmentation*" }

[sources.truth]
type = "dicom_labels"
path = "archive"
where = { SeriesDescription = "*segmentation*" }
labels = { organ = [1, 2], lesion = [2] }

[operators.volume]
type = "assemble"
inputs = ["scans"]

[operators.case]
type = "label"
inputs = ["volume", "truth"]
"#;

/// Slices, rows and columns of a scan; a voxel has 2 mm³.
const SIZE: [usize; 3] = [6, 8, 8];

fn grid() -> Geometry {
    Geometry::axis_aligned(SIZE, [2.0, 1.0, 1.0])
}

/// Some slices of the scan's grid.
fn slices(first: usize, count: usize) -> Geometry {
    Geometry { size: [count, 8, 8], origin_mm: [0.0, 0.0, 2.0 * first as f64], ..grid() }
}

/// A box of 4 x 4 x 4 voxels, whose inner 2 x 2 x 2 are another one's.
fn values(outer: u16, inner: u16) -> Vec<u16> {
    let within = |at: [usize; 3], low: [usize; 3], high: [usize; 3]| {
        (0..3).all(|axis| (low[axis]..high[axis]).contains(&at[axis]))
    };
    let value = |index: usize| {
        let at = [index / 64, index / 8 % 8, index % 8];
        match (within(at, [2, 3, 3], [4, 5, 5]), within(at, [1, 2, 2], [5, 6, 6])) {
            (true, _) => inner,
            (_, true) => outer,
            _ => 0,
        }
    };
    (0..6 * 64).map(value).collect()
}

/// A series of the archive.
struct Series<'a> {
    /// The last part of its UID, and the patient's number.
    uid: &'a str,
    patient: usize,
    frame: usize,
    description: &'a str,
    grid: Geometry,
    rescale: Option<[f64; 2]>,
    /// The slices that are not written.
    without: &'a [usize],
}

impl<'a> Series<'a> {
    fn new(uid: &'a str, patient: usize, description: &'a str) -> Self {
        let (frame, grid) = (patient, grid());
        Self { uid, patient, frame, description, grid, rescale: None, without: &[] }
    }

    fn scan(uid: &'a str, patient: usize) -> Self {
        Self::new(uid, patient, "t2 axial")
    }

    fn labels(uid: &'a str, patient: usize) -> Self {
        Self::new(uid, patient, "liver segmentation")
    }

    fn header(&self) -> MrSeries {
        let study = Study {
            patient_id: format!("P{}", self.patient),
            patient_name: "Doe^Jane".to_owned(),
            birth_date: "19700101".to_owned(),
            sex: "F".to_owned(),
            age: "050Y".to_owned(),
            uid: format!("1.2.3.{}", self.patient),
            id: "1".to_owned(),
            accession_number: "1".to_owned(),
            date: "20200101".to_owned(),
            time: "120000".to_owned(),
            description: "abdomen".to_owned(),
            frame_of_reference_uid: format!("1.2.4.{}", self.frame),
        };
        MrSeries {
            study,
            uid: name(self.uid),
            number: 1,
            time: "120000".to_owned(),
            description: self.description.to_owned(),
            protocol: String::new(),
            manufacturer: "ACME".to_owned(),
            model: String::new(),
            software: String::new(),
            serial_number: "1".to_owned(),
            field_strength_t: 3.0,
            repetition_time_ms: 1000.0,
            echo_time_ms: 10.0,
            flip_angle_deg: 90.0,
            geometry: self.grid.clone(),
            rescale: self.rescale,
            bits_stored: 16,
            window: [50.0, 100.0],
        }
    }

    /// The files of its slices, whether they are there or not.
    fn files(&self, place: &Workplace) -> Vec<std::path::PathBuf> {
        let file = |slice: usize| place.archive().join(format!("{}-{slice}.dcm", self.uid));
        (0..self.grid.size[0]).map(file).collect()
    }

    fn write(&self, place: &Workplace, values: &[u16]) {
        let (header, files) = (self.header(), self.files(place));
        for (index, pixels) in values.chunks_exact(self.grid.size[1] * self.grid.size[2]).enumerate() {
            if self.without.contains(&index) {
                continue;
            }
            let uid = format!("{}.{}", name(self.uid), index + 1);
            let slice = Slice {
                index,
                instance_number: index as i32 + 1,
                sop_instance_uid: &uid,
                pixels: Pixels::Unsigned(pixels),
            };
            write_slice(&files[index], &header, &slice).unwrap();
        }
    }
}

/// The SeriesInstanceUID.
fn name(uid: &str) -> String {
    format!("1.2.5.{uid}")
}

/// A scan that is bright in the box.
fn bright() -> Vec<u16> {
    values(100, 100)
}

fn place() -> Workplace {
    let mut place = Workplace::new(0);
    place.text = format!("{PIPELINE}{BRIGHT}");
    place
}

/// Rows of `rejects`: case, code, attempts.
fn told(place: &Workplace) -> Vec<(String, String, i64)> {
    let row = |row: &String| -> serde_json::Value { serde_json::from_str(row).unwrap() };
    let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
    let rows = place.tables()["rejects"].iter().map(row).collect::<Vec<_>>();
    let mut rows: Vec<_> = rows
        .iter()
        .map(|row| (text(row, "key"), text(row, "code"), row["attempts"].as_i64().unwrap()))
        .collect();
    rows.sort();
    rows
}

fn row(uid: &str, code: &str, attempts: i64) -> (String, String, i64) {
    (name(uid), code.to_owned(), attempts)
}

fn figure(place: &Workplace, uid: &str, label: &str, metric: &str) -> Option<f64> {
    let (rows, case) = (place.metrics(), name(uid));
    let found = rows.iter().find(|row| (&*row.case, &*row.label, &*row.metric) == (&*case, label, metric));
    found.and_then(|row| row.value)
}

/// Whether a scan has a figure of its truth.
fn is_scored(place: &Workplace, uid: &str) -> bool {
    place.metrics().iter().any(|row| *row.case == *name(uid))
}

#[test]
fn values_of_a_series_are_the_labels_of_the_scan_on_its_grid() {
    let place = place();
    Series::scan("1", 1).write(&place, &bright());
    Series::labels("2", 1).write(&place, &values(1, 2));
    let summary = place.run();
    assert_eq!((summary.accepted, summary.rejected, told(&place)), (1, 0, Vec::new()), "{summary}");
    // 64 voxels of 2 mm³, of which 8 are the lesion's.
    assert_eq!(figure(&place, "1", "organ", "dice"), Some(1.0));
    assert_eq!(figure(&place, "1", "organ", "volume_ref_ml"), Some(0.128));
    let again = place.run();
    assert_eq!((again.actions_run, is_scored(&place, "2")), (0, false), "{again}");
    assert_same(&place.tables(), &place.anew(), "labels in a series");
}

#[test]
fn some_slices_are_labels_of_these_alone_and_odd_values_are_told() {
    let place = place();
    Series::scan("1", 1).write(&place, &bright());
    // Slices 1 to 4: all of the box.
    let labels = Series { grid: slices(1, 4), ..Series::labels("2", 1) };
    labels.write(&place, &values(1, 7)[64..5 * 64]);
    place.run();
    assert_eq!(told(&place), [row("1", "LABELS_IN_PART", 0), row("1", "LABEL_VALUE", 0)]);
    assert!(place.tables()["rejects"].iter().any(|row| row.contains("7 in 8 voxels")));
    // 56 voxels of 2 mm³.
    assert_eq!(figure(&place, "1", "organ", "volume_ref_ml"), Some(0.112));
}

#[test]
fn labels_in_another_frame_of_reference_are_of_no_scan() {
    let mut place = place();
    Series::scan("1", 1).write(&place, &bright());
    Series { frame: 9, ..Series::labels("2", 1) }.write(&place, &values(1, 2));
    let summary = place.run();
    assert_eq!(told(&place), [row("2", "LABEL_OF_NO_SCAN", 0)], "{summary}");
    assert!(!is_scored(&place, "1"));
    // Unless somebody says that places hold throughout a study.
    place.text = place.text.rewrite("lesion = [2] }", "lesion = [2] }\nframes = \"trusted\"");
    place.run();
    assert_eq!((told(&place), figure(&place, "1", "organ", "dice")), (Vec::new(), Some(1.0)));
    assert_same(&place.tables(), &place.anew(), "another frame");
}

#[test]
fn labels_on_another_grid_are_refused() {
    let place = place();
    Series::scan("1", 1).write(&place, &bright());
    let shifted = Geometry { origin_mm: [0.5, 0.0, 0.0], ..grid() };
    Series { grid: shifted, ..Series::labels("2", 1) }.write(&place, &values(1, 2));
    place.run();
    assert_eq!(told(&place), [row("1", "LABEL_GRID", 1), row("2", "LABEL_OF_NO_SCAN", 0)]);
    assert!(!is_scored(&place, "1"));
}

#[test]
fn of_two_phases_on_one_grid_nobody_knows_which_was_drawn_on() {
    let mut place = place();
    Series::new("1", 1, "arterial").write(&place, &bright());
    Series::new("2", 1, "venous").write(&place, &values(90, 90));
    Series::labels("3", 1).write(&place, &values(1, 2));
    place.run();
    assert_eq!(told(&place), [row("1", "LABELS_AMBIGUOUS", 1), row("2", "LABELS_AMBIGUOUS", 1)]);
    assert!(!is_scored(&place, "1") && !is_scored(&place, "2"));
    // They say which images they were made from.
    for file in Series::labels("3", 1).files(&place) {
        copied(&file, &file, |object| {
            let mut source = InMemDicomObject::new_empty();
            put(&mut source, Tag(0x0008, 0x1155), VR::UI, &format!("{}.1", name("2")));
            let sources = DataSetSequence::from(vec![source]);
            object.put(DataElement::new(Tag(0x0008, 0x2112), VR::SQ, sources));
        });
    }
    place.run();
    assert_eq!(told(&place), [row("1", "DRAWN_ELSEWHERE", 0)]);
    assert!(!is_scored(&place, "1") && is_scored(&place, "2"));
    assert_same(&place.tables(), &place.anew(), "phases that are named");
    place.text = place.text.rewrite("\"!*segmentation*\"", "\"venous\"");
    place.run();
    assert_eq!((told(&place), is_scored(&place, "2")), (Vec::new(), true));
    assert_same(&place.tables(), &place.anew(), "phases");
}

#[test]
fn two_series_of_labels_for_one_scan_are_refused() {
    let place = place();
    Series::scan("1", 1).write(&place, &bright());
    Series::labels("2", 1).write(&place, &values(1, 2));
    Series::labels("3", 1).write(&place, &values(1, 1));
    place.run();
    assert_eq!(told(&place), [row("1", "SEVERAL_LABELS", 1)]);
    assert!(!is_scored(&place, "1"));
}

#[test]
fn labels_that_change_or_go_concern_their_own_scan_alone() {
    let place = place();
    let labels = [Series::labels("12", 1), Series::labels("22", 2)];
    Series::scan("11", 1).write(&place, &bright());
    Series::scan("21", 2).write(&place, &values(100, 80));
    labels[0].write(&place, &values(1, 2));
    labels[1].write(&place, &values(2, 1));
    assert_eq!(ran(&place.run(), "scores"), 2);
    // The inner voxels become background.
    labels[0].write(&place, &values(1, 0));
    let summary = place.run();
    assert_eq!((summary.actions_run, ran(&summary, "scores")), (1, 1), "{summary}");
    assert_eq!(figure(&place, "11", "organ", "volume_ref_ml"), Some(0.112));
    assert_eq!(figure(&place, "21", "organ", "volume_ref_ml"), Some(0.128));
    assert_same(&place.tables(), &place.anew(), "labels that changed");
    // Files by other names are the same labels.
    let moved = place.archive().join("another-name");
    fs::rename(&labels[0].files(&place)[2], &moved).unwrap();
    assert_eq!(place.run().actions_run, 0);
    labels[1].files(&place).iter().for_each(|file| fs::remove_file(file).unwrap());
    let summary = place.run();
    assert_eq!((summary.actions_run, summary.accepted), (0, 2), "{summary}");
    assert!(is_scored(&place, "11") && !is_scored(&place, "21"));
    assert_same(&place.tables(), &place.anew(), "labels that went");
}

#[test]
fn a_blank_series_is_no_empty_truth() {
    let mut place = place();
    Series::scan("1", 1).write(&place, &bright());
    Series::labels("2", 1).write(&place, &values(0, 0));
    place.run();
    assert_eq!((told(&place), is_scored(&place, "1")), (vec![row("1", "LABELS_BLANK", 1)], false));
    place.text = place.text.rewrite("lesion = [2] }", "lesion = [2] }\nblank = \"empty\"");
    place.run();
    assert_eq!((told(&place), is_scored(&place, "1")), (Vec::new(), true));
}

#[test]
fn values_between_whole_numbers_are_no_labels() {
    let place = place();
    Series::scan("11", 1).write(&place, &bright());
    Series { rescale: Some([0.3, 0.0]), ..Series::labels("12", 1) }.write(&place, &values(1, 2));
    // 255 and 510 are 1 and 2 but for rounding.
    Series::scan("21", 2).write(&place, &bright());
    Series { rescale: Some([1.0 / 255.0, 0.0]), ..Series::labels("22", 2) }.write(&place, &values(255, 510));
    place.run();
    assert_eq!(told(&place), [row("11", "LABEL_NOT_WHOLE", 1)]);
    assert!(!is_scored(&place, "11"));
    assert_eq!(figure(&place, "21", "organ", "volume_ref_ml"), Some(0.128));
}

#[test]
fn a_series_of_labels_that_lacks_a_slice_is_refused_by_name() {
    let place = place();
    Series::scan("1", 1).write(&place, &bright());
    Series { without: &[3], ..Series::labels("2", 1) }.write(&place, &values(1, 2));
    place.run();
    assert_eq!(told(&place), [row("2", "MISSING_SLICE", 1)]);
    assert!(!is_scored(&place, "1"));
    // It comes late.
    Series::labels("2", 1).write(&place, &values(1, 2));
    place.run();
    assert_eq!((told(&place), is_scored(&place, "1")), (Vec::new(), true));
}

#[test]
fn labels_that_are_taken_for_a_scan_as_well_are_told() {
    let mut place = place();
    place.text = place.text.rewrite("where = { SeriesDescription = \"!*segmentation*\" }\n", "");
    Series::scan("1", 1).write(&place, &bright());
    Series::labels("2", 1).write(&place, &values(1, 2));
    let summary = place.run();
    assert_eq!((summary.accepted, told(&place)), (2, vec![row("2", "LABELS_AS_SCAN", 0)]), "{summary}");
    assert!(summary.to_string().contains("1 series of labels is taken for scans as well"), "{summary}");
    assert_eq!(figure(&place, "1", "organ", "dice"), Some(1.0));
    assert!(!is_scored(&place, "2"));
}

#[test]
fn init_and_inspect_name_series_of_labels() {
    let place = Workplace::new(0);
    for patient in 0..3 {
        let (scan, truth) = phantom(patient);
        let grid = scan.geometry().clone();
        let intensities: Vec<u16> = scan.voxels().iter().map(|&value| value as u16).collect();
        let (own, labels) = (format!("1{patient}"), format!("2{patient}"));
        Series { grid: grid.clone(), ..Series::scan(&own, patient) }.write(&place, &intensities);
        Series { grid, ..Series::labels(&labels, patient) }.write(&place, truth.voxels());
    }
    let output = tomoflow(place.path(), &["init", "archive", "--out", "p.toml", "--force"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let written = fs::read_to_string(place.path().join("p.toml")).unwrap();
    for part in [
        "type = \"dicom_labels\"",
        "where = { SeriesDescription = \"*segmentation*\" }",
        "where = { Modality = \"MR\", SeriesDescription = \"!*segmentation*\" }",
        "labels = { structure = [1] }",
    ] {
        assert!(written.contains(part), "{part} is not in:\n{written}");
    }
    assert!(said.contains("3 MR scans, 3 of them with labels: structure"), "{said}");
    assert!(
        said.contains("3 series with `segmentation` in their descriptions are taken for labels"),
        "{said}"
    );
    let check = tomoflow(place.path(), &["check", "p.toml"]);
    assert!(check.status.success(), "{}\n{written}", text(&check.stdout));
    let inspected = tomoflow(place.path(), &["inspect", "archive", "--json"]);
    assert_eq!(
        text(&inspected.stdout).matches("LIKE_LABELS: its description says `segmentation`").count(),
        3
    );
}
