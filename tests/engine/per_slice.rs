//! Exports that gave each slice a series of its own, read as scans where the source says so.

use std::fs;
use std::path::PathBuf;

use dicom_core::{Tag, VR};

use crate::support::dicom::{copied, put, text};
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same, ran};

const SERIES: Tag = Tag(0x0020, 0x000e);
const OF_SCANS: &str = "where = { Modality = \"MR\" }";

/// Gives each slice of the first series a series of its own; the slices, without the outlines.
fn torn(place: &Workplace) -> Vec<PathBuf> {
    let mut slices = place.files_of(0);
    slices.pop();
    for (number, path) in slices.iter().enumerate() {
        copied(path, path, |object| {
            let uid = format!("{}.{number}", text(object, SERIES));
            put(object, SERIES, VR::UI, &uid);
        });
    }
    slices
}

/// Metric, label and value of each figure.
fn figures(place: &Workplace) -> Vec<String> {
    let rows = place.metrics().into_iter();
    let mut figures: Vec<String> =
        rows.map(|row| format!("{} {} {:?}", row.metric, row.label, row.value)).collect();
    figures.sort();
    figures
}

#[test]
fn slices_with_a_series_each_are_scans_where_the_source_joins_them() {
    let mut place = Workplace::new(2);
    place.run();
    let whole = figures(&place);
    let slices = torn(&place);
    let refused = place.run();
    assert_eq!(refused.rejects.get("SERIES_PER_SLICE"), Some(&slices.len()), "{refused}");
    assert!(
        place.tables()["rejects"].iter().any(|row| row.contains("`series_per_slice = true` at the source"))
    );

    // The labels find the scan by the images that they name.
    place.text = place.text.rewrite(OF_SCANS, &format!("{OF_SCANS}\nseries_per_slice = true"));
    let summary = place.run();
    assert_eq!((summary.accepted, summary.rejected), (2, 0), "{summary}");
    assert_eq!(figures(&place), whole);
    let note = format!("SERIES_PER_SLICE: {} series are one scan", slices.len());
    let cases = place.tables()["cases"].clone();
    assert!(cases.iter().any(|row| row.contains(&note)), "{cases:?}");
    assert!(cases.iter().any(|row| row.contains("SERIES_PER_SLICE: one series")), "{cases:?}");
    assert_same(&place.tables(), &place.anew(), "joined");
    assert_eq!(place.run().actions_run, 0);

    // It has all the checks of a series: one slice is lost, and comes back.
    let lost = fs::read(&slices[3]).unwrap();
    fs::remove_file(&slices[3]).unwrap();
    let summary = place.run();
    assert_eq!((summary.accepted, summary.rejects.get("MISSING_SLICE")), (1, Some(&1)), "{summary}");
    fs::write(&slices[3], lost).unwrap();
    assert_eq!(place.run().accepted, 2);
    assert_eq!(figures(&place), whole);

    // Without it they are refused as before.
    place.text = place.text.rewrite("\nseries_per_slice = true", "");
    let summary = place.run();
    assert_eq!(summary.rejects.get("SERIES_PER_SLICE"), Some(&slices.len()), "{summary}");
    assert_same(&place.tables(), &place.anew(), "no longer joined");
}

#[test]
fn a_joined_scan_has_no_mask_that_names_its_series() {
    let mut place = Workplace::new(1);
    torn(&place);
    place.text = place.text.rewrite(OF_SCANS, &format!("{OF_SCANS}\nseries_per_slice = true"));
    let sink = "[sinks.objects]\ntype = \"files\"\ninputs = [\"largest\"]\npath = \"objects\"\nformat = \"dicom_seg\"\n";
    place.text = format!("{}\n{sink}", place.text);
    let summary = place.run();
    assert_eq!((summary.accepted, summary.unwritten, ran(&summary, "scores")), (1, 1, 1), "{summary}");
    place.text = place.text.rewrite("format = \"dicom_seg\"", "format = \"nifti\"");
    let summary = place.run();
    assert_eq!(summary.unwritten, 0, "{summary}");
    assert_eq!(
        fs::read_dir(place.path().join("objects")).unwrap().count(),
        2,
        "a mask, and the folder's note"
    );
}
