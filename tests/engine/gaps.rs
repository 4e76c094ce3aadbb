//! Series with missing slices and uneven gaps as scans: their voxels, their labels, and what is redone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, ran};
use dicom_core::{DataElement, Tag, VR};
use dicom_object::open_file;
use serde_json::Value;
use tomoflow::connectors::dicom::{Instance, OnGap, Record, Rules, assemble_with, read_record};
use tomoflow::connectors::rtstruct::{rasterise_between, read_structures};
use tomoflow::connectors::{LabelMap, Scan, nifti};
use tomoflow::engine::ExportOptions;
use tomoflow::engine::export;
use tomoflow::operators::registry::Registry;
use tomoflow::operators::sinks::files::FileFormat;
use tomoflow::phantom::vs;

const INTERPOLATE: &str = "inputs = [\"scans\"]\non_gap = \"interpolate\"";
const RESAMPLE: &str = "inputs = [\"scans\"]\non_uneven = \"resample\"";

/// A workplace whose stage `assemble` has settings of its own.
fn workplace(series: usize, settings: &str) -> Workplace {
    let mut place = Workplace::new(series);
    place.text = place.text.rewrite("inputs = [\"scans\"]", settings);
    place
}

fn export_to(place: &Workplace, folder: &str, format: FileFormat, scans: bool) -> PathBuf {
    let folder = place.path().join(folder);
    let options = ExportOptions { folder: folder.clone(), format, stage: None, scans, deidentify: false };
    let exported = export(place.plan(&Registry::builtin()), &options).unwrap();
    assert!(exported.left_out.is_empty(), "{:?}", exported.left_out);
    folder
}

/// The scan of series number `index`, as `export` gives it.
fn scan(place: &Workplace, folder: &str, index: usize) -> Scan {
    let folder = export_to(place, folder, FileFormat::Nifti, true);
    nifti::read_scan(&folder.join(format!("{}.scan.nii.gz", place.phantom_series(index)))).unwrap()
}

fn rows(place: &Workplace, table: &str) -> Vec<Value> {
    place.tables()[table].iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `cases` says of series number `index`.
fn case(place: &Workplace, index: usize) -> Value {
    let uid = place.phantom_series(index);
    rows(place, "cases").into_iter().find(|row| row["series"] == uid.as_str()).unwrap()
}

#[test]
fn a_missing_slice_is_interpolated_and_nothing_else_is_redone() {
    let mut place = Workplace::new(2);
    place.run();
    let whole = scan(&place, "whole", 0);
    let slices = place.files_of(0);
    fs::remove_file(&slices[3]).unwrap();
    assert_eq!(place.run().rejects.get("MISSING_SLICE"), Some(&1));
    place.text = place.text.rewrite("inputs = [\"scans\"]", INTERPOLATE);
    let summary = place.run();
    // A scan without gaps is the same one, however gaps are treated.
    assert_eq!((summary.accepted, summary.rejected, summary.actions_run), (2, 0, 3), "{summary}");
    assert_eq!(place.tables(), place.anew());
    let found = scan(&place, "interpolated", 0);
    assert_eq!((found.size(), found.geometry()), (whole.size(), whole.geometry()));
    for plane in (0..found.size()[0]).filter(|&plane| plane != 3) {
        assert_eq!(found.slice(plane), whole.slice(plane), "plane {plane}");
    }
    let beside = whole.slice(2).iter().zip(whole.slice(4));
    for (value, (low, high)) in found.slice(3).iter().zip(beside) {
        assert_eq!(*value, (low + high) / 2.0);
    }
    let row = case(&place, 0);
    assert_eq!(row["slices"], 8);
    assert!(row["notes"].to_string().contains("MISSING_SLICE: 1 of 8 slice(s) interpolated"), "{row}");
    // Masks lie on the planes; those of the missing slice name none.
    let uid = place.phantom_series(0);
    let mut named = Vec::new();
    for row in rows(&place, "masks").iter().filter(|row| row["series"] == uid.as_str()) {
        named.push((row["slice"] == 3, row["sop_instance"] == ""));
    }
    assert!(named.contains(&(true, true)) && named.contains(&(false, false)), "{named:?}");
    assert!(named.iter().all(|(missing, unnamed)| missing == unnamed), "{named:?}");
    // The slice comes late: everything is as it would have been.
    place.add(0);
    let summary = place.run();
    assert_eq!((summary.accepted, summary.actions_run), (2, 0), "found in the store: {summary}");
    assert_eq!(scan(&place, "late", 0), whole);
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn another_missing_slice_is_another_scan() {
    let place = workplace(1, INTERPOLATE);
    let slices = place.files_of(0);
    let third = fs::read(&slices[3]).unwrap();
    fs::remove_file(&slices[3]).unwrap();
    place.run();
    fs::write(&slices[3], third).unwrap();
    fs::remove_file(&slices[4]).unwrap();
    let summary = place.run();
    // Slices 0 to 2 and 4 to 7, then 0 to 3 and 5 to 7: one grid, and labels that lie otherwise.
    assert_eq!([ran(&summary, "bright"), ran(&summary, "scores")], [1, 1], "{summary}");
    assert_eq!(place.tables(), place.anew());
}

/// The labels of outlines on a series that lacks slices.
fn labels(outlines: &Path, slices: &[PathBuf]) -> LabelMap {
    let instance = |path: &PathBuf| match read_record(path).unwrap() {
        Record::Instance(instance) => instance,
        other => panic!("an instance expected, {other:?} found"),
    };
    let instances: Vec<Instance> = slices.iter().map(instance).collect();
    let rules = Rules { on_gap: OnGap::Interpolate, ..Rules::default() };
    let parts = assemble_with(&instances.iter().collect::<Vec<_>>(), rules);
    let assembled = parts[0].verdict.as_ref().unwrap();
    let set = read_structures(outlines).unwrap();
    let label = |name: &str| vs::STRUCTURES.iter().position(|known| *known == name);
    let label = |name: &str| label(name).map(|index| index as u16 + 1);
    let drawn = rasterise_between(&set, &label, &assembled.geometry, &assembled.heights).unwrap();
    assert_eq!(drawn.off_slice, 0);
    drawn.labels
}

#[test]
fn outlines_lie_on_their_planes_whatever_is_missing() {
    let place = Workplace::new(1);
    let mut slices = place.files_of(0);
    let outlines = slices.pop().unwrap();
    let (_, truth) = vs::case(&place.phantom, 0);
    let has =
        |labels: &LabelMap, plane: usize| labels.slice(plane).iter().filter(|&&label| label == 1).count();
    let middle = (1..7).max_by_key(|&plane| has(&truth, plane)).unwrap();
    for missing in 1..7 {
        let mut left = slices.clone();
        left.remove(missing);
        // Drawn when the slice was there: every contour is on its plane, this one too.
        assert_eq!(labels(&outlines, &left).voxels(), truth.voxels(), "without slice {missing}");
    }
    // Drawn without the slice: on its plane lies what both neighbours have.
    let mut without = truth.clone();
    let area = truth.size()[1] * truth.size()[2];
    without.voxels_mut()[middle * area..(middle + 1) * area].fill(0);
    vs::write_rtstruct(&place.phantom, 0, &without, &vs::STRUCTURES, &place.archive()).unwrap();
    slices.remove(middle);
    let found = labels(&outlines, &slices);
    for plane in (0..8).filter(|&plane| plane != middle) {
        assert_eq!(found.slice(plane), truth.slice(plane), "plane {plane}");
    }
    let both = truth.slice(middle - 1).iter().zip(truth.slice(middle + 1));
    let both: Vec<u16> = both.map(|(a, b)| if a == b { *a } else { 0 }).collect();
    assert_eq!(found.slice(middle), both);
    assert!(has(&found, middle) > 0, "an empty plane shows nothing");
}

/// Judges a pipeline against its own masks, exported: they must be met voxel for voxel.
fn masks_come_back(place: &mut Workplace, format: FileFormat, source: &str) {
    let folder = export_to(place, "labels", format, false);
    let drawn = "type = \"rtstruct\"\npath = \"archive\"\nstructures = { tumour = [\"TV\"] }";
    assert!(place.text.contains(drawn));
    place.text = place.text.rewrite(drawn, source);
    let summary = place.run();
    assert_eq!((summary.rejected, ran(&summary, "scores")), (0, 1), "{summary}");
    let dice: Vec<f64> = rows(place, "metrics")
        .iter()
        .filter(|row| row["metric"] == "dice")
        .map(|row| row["value"].as_f64().unwrap())
        .collect();
    assert_eq!(dice, [1.0]);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn masks_on_interpolated_planes_are_exported_and_read_back() {
    for (format, source) in [
        (FileFormat::DicomSeg, "type = \"dicom_seg\"\npath = \"labels\"\nsegments = { tumour = [\"tum*\"] }"),
        (
            FileFormat::Rtstruct,
            "type = \"rtstruct\"\npath = \"labels\"\nstructures = { tumour = [\"tum*\"] }",
        ),
    ] {
        let mut place = workplace(1, INTERPOLATE);
        fs::remove_file(&place.files_of(0)[3]).unwrap();
        place.run();
        masks_come_back(&mut place, format, source);
    }
}

/// Moves slices from `first` on along the normal.
fn move_slices(files: &[PathBuf], first: usize, by_mm: f64) {
    for path in &files[first..] {
        let mut object = open_file(path).unwrap();
        let numbers = |tag| object.element(tag).unwrap().to_multi_float64().unwrap();
        let (position, axes) = (numbers(Tag(0x0020, 0x0032)), numbers(Tag(0x0020, 0x0037)));
        let [a, b, c, d, e, f] = axes[..] else { panic!("six cosines expected") };
        let normal = [b * f - c * e, c * d - a * f, a * e - b * d];
        let moved = [0, 1, 2].map(|axis| format!("{:.8}", position[axis] + by_mm * normal[axis]));
        let moved: Vec<String> = moved.iter().map(|text| text.chars().take(16).collect()).collect();
        object.put(DataElement::new(Tag(0x0020, 0x0032), VR::DS, moved.join("\\")));
        let new = path.with_extension("new");
        object.write_to_file(&new).unwrap();
        fs::rename(new, path).unwrap();
    }
}

#[test]
fn uneven_slices_are_resampled_to_an_even_grid() {
    let mut place = Workplace::new(1);
    place.run();
    let whole = scan(&place, "whole", 0);
    let mut slices = place.files_of(0);
    slices.pop();
    // Slice 4 and those above lie 0.6 mm, which is 0.4 planes, higher.
    move_slices(&slices, 4, 0.6);
    assert_eq!(place.run().rejects.get("VARIABLE_SPACING"), Some(&1));
    place.text = place.text.rewrite("inputs = [\"scans\"]", RESAMPLE);
    let summary = place.run();
    assert_eq!((summary.accepted, summary.rejected), (1, 0), "{summary}");
    assert_eq!(place.tables(), place.anew());
    let row = case(&place, 0);
    assert!(row["notes"].to_string().contains("VARIABLE_SPACING: resampled to 1.5 mm"), "{row}");
    let found = scan(&place, "resampled", 0);
    assert_eq!(found.size(), whole.size());
    for plane in 0..8 {
        let expected = |pixel: usize| {
            let value = |slice: usize| f64::from(whole.slice(slice)[pixel]);
            match plane {
                0..4 => value(plane),
                4 => value(3) + (value(4) - value(3)) / 1.4,
                _ => value(plane - 1) + 0.6 * (value(plane) - value(plane - 1)),
            }
        };
        for (pixel, &value) in found.slice(plane).iter().enumerate() {
            assert!((f64::from(value) - expected(pixel)).abs() < 0.01, "plane {plane}: {value}");
        }
    }
    let source = "type = \"dicom_seg\"\npath = \"labels\"\nsegments = { tumour = [\"tum*\"] }";
    masks_come_back(&mut place, FileFormat::DicomSeg, source);
}
