//! Archives that are drawn in part, and masks that other programs left as arrays.

use std::fs;

use tomoflow::connectors::{Geometry, LabelMap, Scan, nifti};
use tomoflow::networks;

use crate::support::pipelines::{LEARNED, OF_FILES};
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};

/// Two labels with a file each, of which some cases lack one.
fn pipeline() -> String {
    let head = OF_FILES
        .rewrite("{case}/labels.nii", "{case}/{label}.nii")
        .rewrite("{ organ = [1, 2], lesion = [2] }", "{ left = [1], right = [1] }");
    let training = LEARNED
        .rewrite("per_case = 4", "per_case = 6")
        .rewrite(
            "epochs = 12",
            "loss = { type = \"dice_ce\" }
partly_labelled = \"learn\"
epochs = 15",
        )
        .rewrite("train = 3", "train = 4");
    format!("{head}{training}")
}

const SIZE: [usize; 3] = [4, 16, 16];

/// Two boxes of their own brightness, a little elsewhere in each case; of some cases the second one is not drawn.
fn archive() -> Workplace {
    networks::set_threads(1);
    let mut place = Workplace::new(0);
    place.text = pipeline();
    let grid = Geometry::axis_aligned(SIZE, [2.0, 1.0, 1.0]);
    for case in 0..5 {
        let inside = |at: usize, from: usize| {
            let (h, w) = (at / 16 % 16, at % 16);
            (3 + case..10 + case).contains(&h) && (from..from + 6).contains(&w)
        };
        let value = |at: usize| {
            let label =
                100.0 * f32::from(u8::from(inside(at, 1))) + 200.0 * f32::from(u8::from(inside(at, 9)));
            label + (at * 7 % 13) as f32
        };
        let folder = place.path().join(format!("data/s{case}"));
        fs::create_dir_all(&folder).unwrap();
        let scan = Scan::new(grid.clone(), (0..grid.voxels()).map(value).collect()).unwrap();
        nifti::write_scan(&folder.join("scan.nii"), &scan).unwrap();
        for (name, from, drawn) in [("left", 1, true), ("right", 9, case % 2 == 0)] {
            if drawn {
                let voxels = (0..grid.voxels()).map(|at| u16::from(inside(at, from))).collect();
                let labels = LabelMap::new(grid.clone(), voxels).unwrap();
                nifti::write_labels(&folder.join(format!("{name}.nii")), &labels).unwrap();
            }
        }
    }
    place
}

fn codes(place: &Workplace) -> Vec<String> {
    let rows = place.tables()["rejects"].clone();
    let rows = rows.iter().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
    rows.map(|row| format!("{} {}", row["code"].as_str().unwrap(), row["message"].as_str().unwrap()))
        .collect()
}

/// The split, state and figure of each row of a label.
fn scores(place: &Workplace, label: &str) -> Vec<(String, String, Option<f64>)> {
    let rows = place.metrics().into_iter().filter(|row| row.label == label && row.metric == "dice");
    rows.map(|row| (row.split.clone(), row.state.clone(), row.value)).collect()
}

#[test]
fn cases_that_lack_a_label_teach_the_others() {
    let mut place = archive();
    for activation in ["softmax", "sigmoid"] {
        place.text =
            pipeline().rewrite("partly_labelled", &format!("activation = \"{activation}\"\npartly_labelled"));
        let summary = place.run();
        assert_eq!((summary.trained, summary.trainings_failed), (1, 0), "{activation}: {summary}");
        let told = codes(&place);
        let unknown = told.iter().find(|row| row.starts_with("LABELS_UNKNOWN"));
        assert!(unknown.is_some_and(|row| row.contains("`right` of")), "{told:?}");
        // All five stand in the split, and where nobody drew the label there is a state and no figure.
        let (left, right) = (scores(&place, "left"), scores(&place, "right"));
        assert_eq!(left.len(), 5);
        assert!(left.iter().all(|(split, ..)| split != "none" && !split.is_empty()), "{left:?}");
        let mean = |rows: &[(String, String, Option<f64>)]| {
            let values: Vec<f64> = rows.iter().filter_map(|row| row.2).collect();
            (values.len(), values.iter().sum::<f64>() / values.len() as f64)
        };
        let (lefts, rights) = (mean(&left), mean(&right));
        assert!(lefts.0 == 5 && lefts.1 > 0.5, "{activation}: {left:?}");
        assert!(rights.0 == 3 && rights.1 > 0.5, "{activation}: {right:?}");
        assert_eq!(right.iter().filter(|(_, state, _)| state == "not_in_truth").count(), 2);
    }
    assert_same(&place.tables(), &place.anew(), "partly");
    // By default they are left out, and said to be.
    place.text = pipeline().rewrite("partly_labelled = \"learn\"\n", "");
    place.run();
    assert_eq!(codes(&place).iter().filter(|row| row.starts_with("PARTLY_LABELLED")).count(), 2);
}

#[test]
fn weights_have_the_names_of_labels() {
    let mut place = archive();
    let weights =
        |text: &str| pipeline().rewrite("epochs = 15", &format!("epochs = 1\nclass_weights = {{ {text} }}"));
    place.text = weights("lefft = 2.0");
    let summary = place.run();
    assert_eq!((summary.trained, summary.trainings_failed), (0, 1), "{summary}");
    assert!(
        summary.to_string().contains("one of background, left, right expected, `lefft` found"),
        "{summary}"
    );
    place.text = weights("left = 2.0, background = 0.5");
    assert_eq!(place.run().trained, 1);
}

/// An array as NumPy writes it, of bytes.
fn array(shape: [usize; 3], voxels: &[u8]) -> Vec<u8> {
    let [depth, height, width] = shape;
    let mut header =
        format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({depth}, {height}, {width}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.into_bytes());
    bytes.extend(voxels);
    bytes
}

#[test]
fn arrays_of_other_programs_are_judged_on_the_scans_grid() {
    let mut place = archive();
    let pipeline = pipeline();
    let (start, _) = pipeline.split_once("[operators.normal]").unwrap();
    place.text = format!(
        r#"{start}
[sources.theirs]
type = "label_images"
path = "theirs"
files = "{{case}}.npy"
labels = {{ left = [1] }}

[operators.their_case]
type = "label"
inputs = ["scans", "theirs"]

[operators.their_masks]
type = "labels_as_masks"
inputs = ["their_case"]

[operators.scores]
type = "evaluate"
inputs = ["their_masks", "case"]
metrics = ["dice"]

[sinks.results]
type = "delta"
inputs = ["scores"]
"#
    );
    let theirs = place.path().join("theirs");
    fs::create_dir_all(&theirs).unwrap();
    // Right in the first case, half of it in the third, and with its axes the other way round in the fifth.
    let write = |case: usize, shape: [usize; 3], least: usize| {
        let truth = nifti::read_labels(&place.path().join(format!("data/s{case}/left.nii"))).unwrap();
        let row = |at: usize| at / 16 % 16 >= least;
        let voxels: Vec<u8> =
            truth.voxels().iter().enumerate().map(|(at, label)| *label as u8 * u8::from(row(at))).collect();
        fs::write(theirs.join(format!("s{case}.npy")), array(shape, &voxels)).unwrap();
    };
    write(0, SIZE, 0);
    write(2, SIZE, 6);
    write(4, [16, 16, 4], 0);
    place.run();
    let figure = |case: &str| {
        let rows = place.metrics();
        rows.iter().find(|row| row.case == case && row.label == "left").and_then(|row| row.value)
    };
    // Rows 5 to 11 are the structure, of which the first is missing.
    assert_eq!((figure("s0"), figure("s2")), (Some(1.0), Some(12.0 / 13.0)));
    assert_eq!(figure("s4"), None);
    let told = codes(&place);
    assert!(
        told.iter().any(|row| row.contains("LABEL_SIZE") && row.contains("[4, 16, 16] voxels expected")),
        "{told:?}"
    );
}
