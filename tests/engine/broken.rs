//! An archive of which a tenth is broken: every good series comes through, every broken one is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Workplace;
use crate::support::text::Rewrite as _;
use dicom_core::{DataElement, Tag, VR};
use dicom_object::open_file;
use serde_json::Value;

/// What breaks a series, and what becomes of it: a code of `rejects`, with words of its message, or a note on the
/// accepted scan.
const DEFECTS: [(&str, Result<&str, &str>); 6] = [
    ("missing", Err("MISSING_SLICE")),
    // Within a stack it leaves a gap; the message names the cause.
    ("truncated", Err("MISSING_SLICE: end early")),
    ("duplicate", Ok("DUPLICATE_INSTANCE")),
    ("repeated", Err("DUPLICATE_POSITION_AMBIGUOUS")),
    ("conflict", Err("UID_CONFLICT")),
    ("emptied", Err("MISSING_SLICE")),
];

const SOP_INSTANCE_UID: Tag = Tag(0x0008, 0x0018);
const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);

/// Breaks a series at one of its middle slices.
fn break_it(slice: &Path, defect: &str) {
    let bytes = fs::read(slice).unwrap();
    let beside = slice.with_extension("copy");
    let change = |tag: Tag, vr: VR, value: dicom_core::PrimitiveValue| {
        let mut object = open_file(slice).unwrap();
        object.put(DataElement::new(tag, vr, value));
        object.write_to_file(&beside).unwrap();
    };
    match defect {
        "missing" => fs::remove_file(slice).unwrap(),
        "truncated" => fs::write(slice, &bytes[..bytes.len() - 500]).unwrap(),
        "duplicate" => fs::write(beside, bytes).unwrap(),
        "repeated" => change(SOP_INSTANCE_UID, VR::UI, "1.2.3.4.5".into()),
        "conflict" => {
            let object = open_file(slice).unwrap();
            let mut pixels = object.element(PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
            pixels[0] ^= 1;
            let words = pixels.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
            change(PIXEL_DATA, VR::OW, dicom_core::PrimitiveValue::U16(words.collect()));
        }
        "emptied" => fs::write(slice, "").unwrap(),
        other => panic!("{other}"),
    }
}

fn rows(place: &Workplace, table: &str) -> Vec<Value> {
    place.tables()[table].iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'r>(row: &'r Value, field: &str) -> &'r str {
    row[field].as_str().unwrap()
}

/// Rejects of series, as case and code; those for want of whole pixels say so.
fn rejects(place: &Workplace) -> BTreeSet<(String, String)> {
    let rows = rows(place, "rejects");
    let reject = |row: &Value| {
        let cause = if text(row, "message").contains("end early") { ": end early" } else { "" };
        (text(row, "key").to_owned(), format!("{}{cause}", text(row, "code")))
    };
    rows.iter().map(reject).collect()
}

#[test]
fn every_good_series_comes_through_and_every_broken_one_is_named() {
    let place = Workplace::new(DEFECTS.len() + 6);
    let (mut refused, mut noted, mut damaged) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    for (number, (defect, verdict)) in DEFECTS.into_iter().enumerate() {
        let files = place.files_of(2 * number);
        break_it(&files[3], defect);
        let series = place.phantom_series(2 * number);
        if defect == "emptied" {
            // The file itself is named as well, for series that look whole without it.
            let name = files[3].file_name().unwrap().to_str().unwrap();
            damaged.insert((name.to_owned(), "FILE_DAMAGED".to_owned()));
        }
        match verdict {
            Err(code) => drop(refused.insert((series, code.to_owned()))),
            Ok(note) => drop(noted.insert(series, note)),
        }
    }
    // What lies in every archive.
    fs::write(place.archive().join("notes.txt"), "an archive").unwrap();
    fs::write(place.archive().join("Thumbs.db"), [0u8; 64]).unwrap();
    let summary = place.run();
    assert_eq!(summary.cases, 12, "{summary}");
    let cases = rows(&place, "cases");
    assert_eq!(cases.len(), 12 - refused.len());
    for case in &cases {
        let notes: Vec<&str> = case["notes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        match noted.get(text(case, "series")) {
            Some(note) => assert!(notes.iter().any(|found| found.starts_with(note)), "{notes:?}"),
            None => assert!(notes.is_empty(), "{notes:?}"),
        }
    }
    assert_eq!(rejects(&place), refused.union(&damaged).cloned().collect());
    let judged: BTreeSet<String> =
        rows(&place, "metrics").iter().map(|row| text(row, "case").to_owned()).collect();
    assert_eq!(judged.len(), cases.len(), "every good series is segmented and judged");
    let skipped: Vec<(&str, usize)> =
        summary.skipped.iter().map(|(code, count)| (code.as_str(), *count)).collect();
    assert_eq!(skipped, [("EMPTY_FILE", 1), ("NOT_DICOM", 2)]);
}

#[test]
fn a_series_that_lost_its_last_file_is_told_by_that_file() {
    let place = Workplace::new(4);
    let files: Vec<Vec<PathBuf>> = (0..4).map(|index| place.files_of(index)).collect();
    // The outlines come last, an end of the stack before them.
    let end = |index: usize| files[index][files[index].len() - 2].clone();
    let outlines = files[3].last().unwrap();
    let whole = [fs::read(end(0)).unwrap(), fs::read(end(2)).unwrap(), fs::read(outlines).unwrap()];
    fs::write(end(0), "").unwrap();
    fs::write(end(1), vec![0; whole[0].len()]).unwrap();
    fs::write(end(2), &whole[1][..300]).unwrap();
    let references = whole[2].windows(4).position(|run| run == [0x06, 0x30, 0x10, 0x00]).unwrap();
    fs::write(outlines, &whole[2][..references + 30]).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let told = || -> BTreeSet<(String, String)> {
        rows(&place, "rejects")
            .iter()
            .map(|row| (text(row, "key").to_owned(), text(row, "code").to_owned()))
            .collect()
    };
    let damaged = |paths: &[&Path]| -> BTreeSet<(String, String)> {
        paths.iter().map(|path| (name(path), "FILE_DAMAGED".to_owned())).collect()
    };
    let summary = place.run();
    assert_eq!(summary.cases, 4, "{summary}");
    let all = [&*end(0), &*end(1), &*end(2), outlines.as_path()];
    assert!(told().is_superset(&damaged(&all)), "{:?}", told());
    assert!(told().iter().all(|(_, code)| code != "LABEL_OF_NO_SCAN"), "{:?}", told());
    // It is told as long as it is so.
    place.run();
    assert!(told().is_superset(&damaged(&all)), "{:?}", told());
    fs::write(end(0), &whole[0]).unwrap();
    fs::remove_file(end(1)).unwrap();
    fs::write(end(2), &whole[1]).unwrap();
    fs::write(outlines, &whole[2]).unwrap();
    place.run();
    assert!(told().iter().all(|(_, code)| code != "FILE_DAMAGED"), "{:?}", told());
}

#[test]
fn acquisitions_whose_numbers_alternate_are_told_apart_by_their_flip_angles() {
    let place = Workplace::new(1);
    let mut slices = place.files_of(0);
    slices.pop();
    for (k, path) in slices.iter().enumerate() {
        // The second one lies beside the first, which is written last.
        for t in [1, 0] {
            let mut slice = open_file(path).unwrap();
            let number = (2 * k + 1 + (t + k) % 2).to_string();
            slice.put(DataElement::new(Tag(0x0020, 0x0013), VR::IS, number));
            slice.put(DataElement::new(Tag(0x0018, 0x1314), VR::DS, ["5", "25"][t].to_owned()));
            if t == 1 {
                slice.put(DataElement::new(SOP_INSTANCE_UID, VR::UI, format!("1.2.3.4.{k}")));
            }
            let written = if t == 1 { path.with_extension("second.dcm") } else { path.clone() };
            slice.write_to_file(written).unwrap();
        }
    }
    place.run();
    let cases = rows(&place, "cases");
    assert_eq!(cases.len(), 2, "{cases:?}");
    for case in &cases {
        let notes = case["notes"].to_string();
        assert!(notes.contains("DUPLICATE_POSITION: split by FlipAngle"), "{notes}");
    }
}

#[test]
fn a_file_without_an_ending_is_told_among_images_alone() {
    let place = Workplace::new(1);
    for file in fs::read_dir(place.archive()).unwrap() {
        let path = file.unwrap().path();
        fs::rename(&path, path.with_extension("")).unwrap();
    }
    let told = || {
        let rows = rows(&place, "rejects");
        let damaged = rows.iter().filter(|row| text(row, "code") == "FILE_DAMAGED");
        damaged.map(|row| text(row, "key").to_owned()).collect::<Vec<_>>()
    };
    fs::write(place.archive().join("IM0099"), "").unwrap();
    place.run();
    assert_eq!(told(), ["IM0099"]);
    // Among other files nobody knows what it was.
    fs::write(place.archive().join("readme.txt"), "an archive").unwrap();
    place.run();
    assert_eq!(told(), [""; 0]);
}

/// What makes archives for comparisons, and a Python that can run it.
fn maker() -> Option<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = root.join("../shared/peers/make_archive.py");
    let python =
        std::env::var_os("TOMOFLOW_PYTHON").map_or_else(|| root.join(".venv/bin/python"), PathBuf::from);
    let mut imports = Command::new(&python);
    let able = imports.args(["-c", "import numpy, pydicom"]).output().is_ok_and(|out| out.status.success());
    if !script.is_file() || !able {
        println!("skipped: no make_archive.py, or no Python with numpy and pydicom (set TOMOFLOW_PYTHON)");
        return None;
    }
    Some((python, script))
}

/// The archive's own label maps, by the series in their names.
const NIFTI_LABELS: &str = "[sources.outlines]\ntype = \"label_images\"\npath = \"archive\"\n\
                            files = \"masks/{case}.nii.gz\"\nlabels = { tumour = [1] }\n";

#[test]
fn counts_match_the_manifest_of_a_broken_archive() {
    let Some((python, script)) = maker() else { return };
    let mut place = Workplace::new(0);
    fs::remove_dir_all(place.archive()).unwrap();
    let made = Command::new(python)
        .arg(script)
        .args(["--series", "40", "--broken", "0.25", "--seed", "5", "--rows", "48", "--cols", "40"])
        .args(["--slices", "8:12", "--masks", "nifti", "rtstruct", "--out"])
        .arg(place.archive())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let manifest = fs::read_to_string(place.archive().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let series = manifest["series"].as_array().unwrap();
    let (mut refused, mut noted, mut good) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for one in series {
        let uid = text(one, "series_instance_uid").to_owned();
        match one["defect"]["kind"].as_str() {
            Some("missing") => drop(refused.insert((uid, "MISSING_SLICE".to_owned()))),
            Some("truncated") => drop(refused.insert((uid, "MISSING_SLICE: end early".to_owned()))),
            Some("repeated") => drop(refused.insert((uid, "DUPLICATE_POSITION_AMBIGUOUS".to_owned()))),
            Some("duplicate") => drop((noted.insert(uid.clone()), good.insert(uid))),
            None => drop(good.insert(uid)),
            Some(other) => panic!("a kind of defect expected, `{other}` found"),
        }
    }
    assert!(!refused.is_empty() && good.len() > 20, "{refused:?}");
    place.text = place.text.rewrite("TV", "Tumour");
    let outlines = judged(&place, &refused, &noted, &good);
    // The same truth as label maps, which say by their names whose they are.
    let (head, rest) = place.text.split_once("[sources.outlines]").unwrap();
    let (_, tail) = rest.split_once("[operators.volume]").unwrap();
    place.text = format!("{head}{NIFTI_LABELS}\n[operators.volume]{tail}");
    let voxels = judged(&place, &refused, &noted, &good);
    assert_eq!(outlines.len(), voxels.len());
    for (case, dice) in outlines {
        assert!((dice - voxels[&case]).abs() < 0.05, "{case}: outlines {dice}, voxels {}", voxels[&case]);
    }
}

/// Runs a pipeline over a broken archive; Dice of the good series.
fn judged(
    place: &Workplace,
    refused: &BTreeSet<(String, String)>,
    noted: &BTreeSet<String>,
    good: &BTreeSet<String>,
) -> BTreeMap<String, f64> {
    place.run();
    let cases = rows(place, "cases");
    let accepted: BTreeSet<String> = cases.iter().map(|case| text(case, "series").to_owned()).collect();
    assert_eq!(&accepted, good);
    assert_eq!(&rejects(place), refused);
    let with_note = cases.iter().filter(|case| !case["notes"].as_array().unwrap().is_empty());
    let with_note: BTreeSet<String> = with_note.map(|case| text(case, "series").to_owned()).collect();
    assert_eq!(&with_note, noted);
    let figures = rows(place, "metrics");
    let dice = figures.iter().filter(|row| row["metric"] == "dice");
    let dice: BTreeMap<String, f64> =
        dice.filter_map(|row| Some((text(row, "case").to_owned(), row["value"].as_f64()?))).collect();
    assert_eq!(dice.len(), good.len());
    dice
}
