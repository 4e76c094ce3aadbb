//! Scans and labels in files of other formats than DICOM: the same figures, and the same increments.

mod deeplesion;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same, ran};
use tomoflow::connectors::{Geometry, LabelMap, Scan, metaimage, nifti, nrrd};
use tomoflow::phantom::vs;

/// The sources of DICOM in the usual pipeline, up to the case.
const FROM: &str = "[sources.scans]";
const TO: &str = "[operators.normal]";

/// A pipeline whose case comes from other sources.
fn pipeline(usual: &str, sources: &str) -> String {
    let (head, rest) = usual.split_once(FROM).unwrap();
    let (_, tail) = rest.split_once(TO).unwrap();
    format!(
        "{head}{sources}\n[operators.case]\ntype = \"label\"\ninputs = [\"scans\", \"truth\"]\n\n{TO}{tail}"
    )
}

const NIFTI: &str = r#"
[sources.scans]
type = "images"
path = "images"
files = "volume-{case}.nii*"
modality = "MR"

[sources.truth]
type = "label_images"
path = "images"
files = "segmentation-{case}.nii*"
labels = { tumour = [2] }
"#;

/// Writes phantom number `index` as a pair of files; the tumour has the value 2.
fn write(place: &Workplace, index: usize, write: impl Fn(&Path, &Scan, &LabelMap)) {
    let folder = place.path().join("images");
    fs::create_dir_all(&folder).unwrap();
    let (scan, truth) = vs::case(&place.phantom, index);
    let values = truth.voxels().iter().map(|&label| label * 2).collect();
    write(&folder, &scan, &LabelMap::new(truth.geometry().clone(), values).unwrap());
}

fn write_nifti(place: &Workplace, index: usize) {
    write(place, index, |folder, scan, labels| {
        nifti::write_scan(&folder.join(format!("volume-{index}.nii.gz")), scan).unwrap();
        nifti::write_labels(&folder.join(format!("segmentation-{index}.nii.gz")), labels).unwrap();
    });
}

fn with_images(count: usize) -> Workplace {
    let mut place = Workplace::new(0);
    place.text = pipeline(&place.text, NIFTI);
    (0..count).for_each(|index| write_nifti(&place, index));
    place
}

fn rows(place: &Workplace, table: &str) -> Vec<serde_json::Value> {
    place.tables()[table].iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Dice, by case.
fn dice(place: &Workplace) -> Vec<(String, f64)> {
    let rows = rows(place, "metrics");
    let dice = rows.iter().filter(|row| row["metric"] == "dice");
    let mut dice: Vec<_> =
        dice.map(|row| (row["case"].as_str().unwrap().to_owned(), row["value"].as_f64().unwrap())).collect();
    dice.sort_by(|a, b| a.0.cmp(&b.0));
    dice
}

fn codes(place: &Workplace) -> BTreeSet<(String, String)> {
    let rows = rows(place, "rejects");
    let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(row, "key"), text(row, "code"))).collect()
}

#[test]
fn every_format_gives_what_dicom_gives() {
    let dicom = Workplace::new(2);
    dicom.run();
    let mut expected: Vec<f64> = dice(&dicom).into_iter().map(|(_, value)| value).collect();
    expected.sort_by(f64::total_cmp);
    assert_eq!(expected.len(), 2);
    for (ending, format) in [("nii", 0), ("mha", 1), ("mhd", 1), ("nrrd", 2), ("nhdr", 2)] {
        let mut place = Workplace::new(0);
        place.text = pipeline(&place.text, &NIFTI.rewrite(".nii*", &format!(".{ending}")));
        for index in 0..2 {
            write(&place, index, |folder, scan, labels| {
                let scan_path = folder.join(format!("volume-{index}.{ending}"));
                let label_path = folder.join(format!("segmentation-{index}.{ending}"));
                match format {
                    0 => {
                        nifti::write_scan(&scan_path, scan).unwrap();
                        nifti::write_labels(&label_path, labels).unwrap();
                    }
                    1 => {
                        metaimage::write_scan(&scan_path, scan).unwrap();
                        metaimage::write_labels(&label_path, labels).unwrap();
                    }
                    _ => {
                        nrrd::write_scan(&scan_path, scan).unwrap();
                        nrrd::write_labels(&label_path, labels, &[]).unwrap();
                    }
                }
            });
        }
        let summary = place.run();
        assert_eq!((summary.cases, summary.rejected), (2, 0), "{ending}: {summary}");
        let mut found: Vec<f64> = dice(&place).into_iter().map(|(_, value)| value).collect();
        found.sort_by(f64::total_cmp);
        for (a, b) in found.iter().zip(&expected) {
            // DICOM keeps whole numbers of 16 bits, these files floats.
            assert!((a - b).abs() < 0.02, "{ending}: {found:?} {expected:?}");
        }
        assert_eq!(found.len(), 2);
        let cases = rows(&place, "cases");
        assert!(cases.iter().all(|row| row["modality"] == "MR" && row["labelled"] == true));
        assert_eq!(place.run().actions_run, 0);
    }
}

#[test]
fn changes_redo_what_they_touch_and_equal_a_run_from_nothing() {
    let place = with_images(3);
    let summary = place.run();
    assert_eq!((summary.cases, ran(&summary, "bright")), (3, 3), "{summary}");
    assert_same(&place.tables(), &place.anew(), "three files");
    // A label map that changes: nothing is segmented again.
    write(&place, 1, |folder, _, labels| {
        let moved = labels.voxels().iter().rev().copied().collect();
        let moved = LabelMap::new(labels.geometry().clone(), moved).unwrap();
        nifti::write_labels(&folder.join("segmentation-1.nii.gz"), &moved).unwrap();
    });
    let summary = place.run();
    assert_eq!((ran(&summary, "bright"), ran(&summary, "scores")), (0, 1), "{summary}");
    assert_same(&place.tables(), &place.anew(), "another label map");
    // A file that is renamed is another case, and its voxels are known.
    let folder = place.path().join("images");
    fs::rename(folder.join("volume-2.nii.gz"), folder.join("volume-9.nii.gz")).unwrap();
    fs::rename(folder.join("segmentation-2.nii.gz"), folder.join("segmentation-9.nii.gz")).unwrap();
    let summary = place.run();
    assert_eq!(summary.actions_run, 0, "{summary}");
    assert_eq!(dice(&place).iter().map(|(case, _)| &**case).collect::<Vec<_>>(), ["0", "1", "9"]);
    assert_same(&place.tables(), &place.anew(), "renamed");
    // One that is gone.
    fs::remove_file(folder.join("volume-0.nii.gz")).unwrap();
    fs::remove_file(folder.join("segmentation-0.nii.gz")).unwrap();
    place.run();
    assert_eq!(dice(&place).len(), 2);
    assert_same(&place.tables(), &place.anew(), "one gone");
    // One more, unpacked: `.nii` and `.nii.gz` of one case are two files.
    write_nifti(&place, 3);
    let (scan, _) = vs::case(&place.phantom, 3);
    nifti::write_scan(&folder.join("volume-3.nii"), &scan).unwrap();
    place.run();
    assert_eq!(codes(&place), BTreeSet::from([("3".to_owned(), "SEVERAL_FILES".to_owned())]));
    fs::remove_file(folder.join("volume-3.nii")).unwrap();
    place.run();
    assert_eq!((codes(&place).len(), dice(&place).len()), (0, 3));
    assert_same(&place.tables(), &place.anew(), "mended");
}

/// A MetaImage as ITK writes it: a header, and its voxels in a file beside it.
fn write_detached(folder: &Path, stem: &str, voxels: &str, scan: &Scan) {
    let [d, h, w] = scan.size();
    let [sd, sh, sw] = scan.geometry().spacing_mm();
    let header = format!(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n\
         CompressedData = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n\
         ElementSpacing = {sw} {sh} {sd}\nDimSize = {w} {h} {d}\nElementType = MET_FLOAT\n\
         ElementDataFile = {voxels}\n"
    );
    fs::write(folder.join(format!("{stem}.mhd")), header).unwrap();
    let bytes: Vec<u8> = scan.voxels().iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(folder.join(voxels), bytes).unwrap();
}

#[test]
fn voxels_beside_their_header_count_as_the_header() {
    let mut place = Workplace::new(0);
    place.text = pipeline(&place.text, &NIFTI.rewrite(".nii*", ".mhd"));
    write(&place, 0, |folder, scan, _| {
        write_detached(folder, "volume-0", "volume-0.raw", scan);
        write_detached(folder, "volume-1", "elsewhere.raw", scan);
    });
    let summary = place.run();
    assert_eq!(ran(&summary, "bright"), 1, "{summary}");
    let expected = [("1", "VOXELS_ELSEWHERE"), ("truth", "NO_FILE_FITS")];
    let expected = expected.map(|(key, code)| (key.to_owned(), code.to_owned()));
    assert_eq!(codes(&place), BTreeSet::from(expected));
    let before = place.tables()["masks"].clone();
    let header = fs::read(place.path().join("images/volume-0.mhd")).unwrap();
    let (other, _) = vs::case(&place.phantom, 5);
    write_detached(&place.path().join("images"), "volume-0", "volume-0.raw", &other);
    assert_eq!(header, fs::read(place.path().join("images/volume-0.mhd")).unwrap());
    let summary = place.run();
    assert_eq!(ran(&summary, "bright"), 1, "{summary}");
    assert_ne!(place.tables()["masks"], before);
    assert_same(&place.tables(), &place.anew(), "other voxels");
}

#[test]
fn broken_files_are_named_and_the_others_come_through() {
    let place = with_images(2);
    let folder = place.path().join("images");
    let whole = fs::read(folder.join("volume-0.nii.gz")).unwrap();
    fs::write(folder.join("volume-cut.nii.gz"), &whole[..whole.len() / 2]).unwrap();
    fs::write(folder.join("volume-text.nii"), "no image at all").unwrap();
    fs::write(folder.join("volume-empty.nii"), "").unwrap();
    fs::write(folder.join("segmentation-1.nii.gz"), &whole[..100]).unwrap();
    fs::write(folder.join("volume-a#1.nii.gz"), &whole).unwrap();
    let summary = place.run();
    assert_eq!((summary.cases, summary.accepted), (6, 2), "{summary}");
    assert_eq!(dice(&place).len(), 1);
    let found: Vec<(String, String)> = codes(&place).into_iter().collect();
    let keys: Vec<&str> = found.iter().map(|(key, _)| &**key).collect();
    assert_eq!(keys, ["1", "a#1", "cut", "empty", "text"], "{found:?}");
    assert!(found.contains(&("cut".to_owned(), "TRUNCATED".to_owned())), "{found:?}");
    assert!(found.contains(&("a#1".to_owned(), "CASE_NAME".to_owned())), "{found:?}");
    // What no source asks for is counted as what it is not.
    fs::write(folder.join("notes.nrrd"), "no image either").unwrap();
    let summary = place.run();
    assert_eq!(summary.skipped.get("NOT_DICOM"), Some(&1), "{:?}", summary.skipped);
    // Mended, they are cases like the others.
    fs::copy(folder.join("volume-0.nii.gz"), folder.join("volume-cut.nii.gz")).unwrap();
    write_nifti(&place, 1);
    place.run();
    assert_eq!(dice(&place).len(), 2);
    assert_same(&place.tables(), &place.anew(), "mended");
}

#[test]
fn a_table_joins_label_maps_and_dicom_scans() {
    let mut place = Workplace::new(2);
    let uid = place.phantom_series(1);
    let sources = format!(
        "{FROM}\ntype = \"dicom\"\npath = \"archive\"\n[operators.volume]\ntype = \"assemble\"\n\
         inputs = [\"scans\"]\n[sources.truth]\ntype = \"label_images\"\npath = \"labels\"\n\
         table = \"labels.csv\"\nlabels = {{ tumour = [1] }}\n"
    );
    place.text = pipeline(&place.text, &sources).rewrite("[\"scans\", \"truth\"]", "[\"volume\", \"truth\"]");
    fs::create_dir(place.path().join("labels")).unwrap();
    let (_, truth) = vs::case(&place.phantom, 1);
    nrrd::write_labels(&place.path().join("labels/second.nrrd"), &truth, &[]).unwrap();
    fs::write(place.path().join("labels.csv"), format!("file,case\nsecond.nrrd,{uid}\n")).unwrap();
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected, ran(&summary, "scores")), (2, 0, 1), "{summary}");
    let mut usual = Workplace::new(2);
    usual.phantom = place.phantom.clone();
    usual.run();
    let of = |place: &Workplace| dice(place).into_iter().find(|(case, _)| *case == uid).unwrap().1;
    assert_eq!(of(&place), of(&usual), "outlines and voxels of one truth");
}

#[test]
fn a_zip_is_read_as_a_folder() {
    let place = with_images(1);
    place.run();
    let expected = dice(&place);
    let mut packed = Workplace::new(0);
    packed.text = pipeline(&packed.text, &NIFTI.rewrite("path = \"images\"", "path = \"images.tar\""));
    let mut tar = tar::Builder::new(fs::File::create(packed.path().join("images.tar")).unwrap());
    tar.append_dir_all(".", place.path().join("images")).unwrap();
    tar.finish().unwrap();
    let summary = packed.run();
    assert_eq!((summary.cases, summary.rejected), (1, 0), "{summary}");
    assert_eq!(dice(&packed), expected);
}

#[test]
fn masks_of_other_formats_are_exported_but_not_as_dicom() {
    let place = with_images(1);
    place.run();
    let export = |format: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
        command.arg("export").arg(place.pipeline()).args(["--to", format, "--format", format, "--scans"]);
        command.current_dir(place.path()).output().unwrap()
    };
    let output = export("nifti");
    assert!(output.status.success(), "{output:?}");
    let (scan, _) = vs::case(&place.phantom, 0);
    let mask = nifti::read_labels(&place.path().join("nifti/0.nii.gz")).unwrap();
    assert!(mask.geometry().same_grid(scan.geometry(), 1e-3));
    let output = export("dicom-seg");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("NOT_DICOM"), "{output:?}");
}

#[test]
fn grids_of_any_orientation_are_kept() {
    let mut place = with_images(0);
    fs::create_dir_all(place.path().join("images")).unwrap();
    // Columns run up, rows to the right, slices to the front: left-handed on top of it.
    let geometry = Geometry {
        size: [3, 4, 5],
        origin_mm: [10.0, -20.0, 30.0],
        steps_mm: [[0.0, -2.0, 0.0], [-0.7, 0.0, 0.0], [0.0, 0.0, 0.5]],
    };
    let voxels: Vec<f32> = (0..60).map(|at| if at == 33 { 100.0 } else { (at % 7) as f32 }).collect();
    let scan = Scan::new(geometry.clone(), voxels).unwrap();
    nifti::write_scan(&place.path().join("images/volume-a.nii"), &scan).unwrap();
    let labels = (0..60).map(|at| if at == 33 { 2 } else { 0 }).collect();
    let labels = LabelMap::new(geometry, labels).unwrap();
    nifti::write_labels(&place.path().join("images/segmentation-a.nii"), &labels).unwrap();
    place.text = place.text.rewrite("above = 0.5", "above = 3.0");
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected), (1, 0), "{summary}");
    assert_eq!(dice(&place), [("a".to_owned(), 1.0)]);
    let affine = rows(&place, "cases")[0]["affine_lps"].clone();
    let affine: Vec<f64> = serde_json::from_value(affine).unwrap();
    let expected = [0.0, -0.7, 0.0, 10.0, 0.0, 0.0, -2.0, -20.0, 0.5, 0.0, 0.0, 30.0, 0.0, 0.0, 0.0, 1.0];
    for (found, expected) in affine.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{affine:?}");
    }
}
