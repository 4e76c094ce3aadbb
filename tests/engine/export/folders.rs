//! The sink `files`: a folder of masks that follows what is desired.

use std::collections::BTreeMap;
use std::fs;

use dicom_core::{Tag, VR};
use tomoflow::connectors::{dicom_seg, nifti};

use super::{by_case, export};
use crate::support::Workplace;
use crate::support::dicom::{copied, put, text};
use crate::support::text::Rewrite as _;

/// A sink that writes files of the largest components, and what the folder holds.
fn with_files(fields: &str) -> Workplace {
    let mut place = Workplace::new(2);
    place.text +=
        &format!("\n[sinks.seg]\ntype = \"files\"\ninputs = [\"largest\"]\npath = \"seg\"\n{fields}\n");
    place
}

fn held(place: &Workplace) -> BTreeMap<String, std::time::SystemTime> {
    let Ok(entries) = fs::read_dir(place.path().join("seg")) else { return BTreeMap::new() };
    let named = entries.map(|entry| entry.unwrap()).map(|entry| {
        (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().modified().unwrap())
    });
    named.filter(|(name, _)| !name.starts_with('.')).collect()
}

#[test]
fn a_folder_of_files_follows_what_is_desired() {
    let mut place = with_files("scans = true");
    fs::create_dir(place.path().join("seg")).unwrap();
    fs::write(place.path().join("seg/readme.txt"), "not ours").unwrap();
    let summary = place.run();
    assert_eq!((summary.folders_changed.len(), summary.unwritten), (1, 0), "{summary}");
    let files = |numbers: &[usize]| -> Vec<String> {
        let mut names = vec!["readme.txt".to_owned()];
        for uid in numbers.iter().map(|&number| place.phantom_series(number)) {
            names.extend([format!("{uid}.nii.gz"), format!("{uid}.scan.nii.gz")]);
        }
        names.sort();
        names
    };
    let (both, second, three) = (files(&[0, 1]), files(&[1]), files(&[1, 2]));
    let before = held(&place);
    assert_eq!(before.keys().collect::<Vec<_>>(), both.iter().collect::<Vec<_>>());
    // Nothing new: nothing is written.
    let summary = place.run();
    assert!(summary.folders_changed.is_empty());
    assert_eq!(held(&place), before);
    // A file that was taken away comes back; the others stay as they are.
    let taken = format!("{}.nii.gz", place.phantom_series(0));
    fs::remove_file(place.path().join("seg").join(&taken)).unwrap();
    place.run();
    let after = held(&place);
    assert!(
        before.iter().all(|(name, time)| name.starts_with(&place.phantom_series(0)) || after[name] == *time)
    );
    assert!(after.contains_key(&taken));
    // A scan that goes takes its files along.
    place.delete(0);
    place.run();
    assert_eq!(held(&place).keys().collect::<Vec<_>>(), second.iter().collect::<Vec<_>>());
    place.add(2);
    place.run();
    assert_eq!(held(&place).keys().collect::<Vec<_>>(), three.iter().collect::<Vec<_>>());
    // Another parameter, other masks, the same names.
    let before = held(&place);
    place.text = place.text.rewrite("above = 0.5", "above = 0.9");
    place.run();
    let after = held(&place);
    assert_eq!(after.keys().collect::<Vec<_>>(), three.iter().collect::<Vec<_>>());
    let uid = place.phantom_series(1);
    assert_ne!(before[&format!("{uid}.nii.gz")], after[&format!("{uid}.nii.gz")]);
    let mask = nifti::read_labels(&place.path().join(format!("seg/{uid}.nii.gz"))).unwrap();
    let voxels = mask.voxels().iter().filter(|&&label| label == 1).count() as f64;
    let metrics = place.tables()["masks"].clone();
    let area: f64 = metrics
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|row| row["stage"] == "largest" && row["case"] == uid.as_str())
        .map(|row| row["area_mm2"].as_f64().unwrap())
        .sum();
    let [_, height, width] = mask.geometry().spacing_mm();
    assert!((voxels * height * width - area).abs() < 1e-3 * area, "{voxels} {area}");
}

#[test]
fn a_folder_of_files_keeps_what_others_put_there() {
    let place = with_files("");
    let name = format!("{}.nii.gz", place.phantom_series(0));
    let drawn = place.path().join("seg").join(&name);
    fs::create_dir(place.path().join("seg")).unwrap();
    fs::write(&drawn, "drawn by hand").unwrap();
    for _ in 0..2 {
        let summary = place.run();
        assert_eq!((summary.unwritten, summary.exit_code(1.0)), (1, 74), "{summary}");
        let told = summary.to_string();
        assert!(told.contains("1 file stands where masks belong") && told.contains(&name), "{told}");
        assert_eq!(fs::read_to_string(&drawn).unwrap(), "drawn by hand");
        assert_eq!(held(&place).len(), 2, "the other mask is there");
    }
    // Once it was moved away its place is free, and its own files a run replaces, even where the note is gone.
    fs::remove_file(&drawn).unwrap();
    assert_eq!(place.run().unwritten, 0);
    assert!(nifti::read_labels(&drawn).is_ok());
    fs::remove_file(place.path().join("seg/.tomoflow.json")).unwrap();
    let summary = place.run();
    assert!(summary.unwritten == 0 && !summary.to_string().contains("where masks belong"), "{summary}");
}

#[test]
fn two_pipelines_do_not_share_a_folder_of_files() {
    let place = with_files("");
    assert_eq!(place.run().unwritten, 0);
    let before = held(&place);
    assert_eq!(before.len(), 2);
    // Another pipeline with an `out` of its own, whose scans have other names.
    let mut other = Workplace::new(0);
    other.add(2);
    let seg = place.path().join("seg");
    other.text = place.text.rewrite("path = \"seg\"", &format!("path = {:?}", seg.to_str().unwrap()));
    for _ in 0..2 {
        let summary = other.run();
        assert_eq!((summary.unwritten, summary.exit_code(1.0)), (1, 74), "{summary}");
        assert!(summary.to_string().contains("holds the masks of another pipeline, `test`"), "{summary}");
        assert_eq!(held(&place), before);
    }
    let summary = place.run();
    assert!(summary.folders_changed.is_empty() && summary.unwritten == 0, "{summary}");
    assert_eq!(held(&place), before);
    // The pipeline itself begins anew, and writes on; what is gone goes.
    fs::remove_dir_all(place.out()).unwrap();
    place.delete(1);
    let summary = place.run();
    assert_eq!((summary.unwritten, held(&place).len()), (0, 1), "{summary}");
}

#[test]
fn dicom_objects_follow_the_names_that_their_scans_carry() {
    const PATIENT_NAME: Tag = Tag(0x0010, 0x0010);
    for format in ["dicom_seg", "rtstruct"] {
        let place = with_files(&format!("format = \"{format}\""));
        assert_eq!(place.run().unwritten, 0);
        let before = held(&place);
        assert_eq!(before.len(), 2);
        assert!(place.run().folders_changed.is_empty());
        assert_eq!(held(&place), before);
        // A pseudonym in the place of the name, in every slice of one scan.
        let files = place.files_of(0);
        for slice in &files[..files.len() - 1] {
            copied(slice, slice, |object| put(object, PATIENT_NAME, VR::PN, "PSEUDO^ONE"));
        }
        assert_eq!(place.run().unwritten, 0);
        let name = format!("{}.dcm", place.phantom_series(0));
        let object = dicom_object::open_file(place.path().join("seg").join(&name)).unwrap();
        assert_eq!(text(&object, PATIENT_NAME), "PSEUDO^ONE", "{format}");
        let after = held(&place);
        let others =
            |(other, time): (&String, &std::time::SystemTime)| *other == name || after[other] == *time;
        assert!(after.len() == 2 && before.iter().all(others), "{format}: the other one stays as it is");
        assert!(place.run().folders_changed.is_empty());
        assert_eq!(held(&place), after);
    }
}

#[test]
fn segmentations_say_what_their_labels_are() {
    for format in ["dicom_seg", "dicom_labelmap"] {
        let place = with_files(&format!(
            "format = \"{format}\"\n\
             codes = {{ tumour = {{ type = [\"126949007\", \"SCT\", \"Vestibular schwannoma\"], \
             region = [\"12738006\", \"SCT\", \"Brain\"] }} }}"
        ));
        let summary = place.run();
        assert_eq!(summary.unwritten, 0, "{summary}");
        let files = held(&place);
        assert_eq!(files.len(), 2);
        for name in files.keys() {
            let path = place.path().join("seg").join(name);
            let object = dicom_object::open_file(&path).unwrap();
            let segments = object.element_by_name("SegmentSequence").unwrap().items().unwrap().to_vec();
            let segment = segments.last().unwrap();
            let code = |sequence: &str| {
                let item = &segment.element_by_name(sequence).unwrap().items().unwrap()[0];
                item.element_by_name("CodeValue").unwrap().to_str().unwrap().into_owned()
            };
            assert_eq!(code("SegmentedPropertyTypeCodeSequence"), "126949007");
            assert_eq!(code("AnatomicRegionSequence"), "12738006");
            assert_eq!(code("SegmentedPropertyCategoryCodeSequence"), "49755003");
            let seg = dicom_seg::read(&path).unwrap();
            assert!(seg.segments().iter().any(|segment| segment.name == "tumour"));
        }
        // The command takes the codes from there.
        let output = export(&place, &["--to", "by-hand", "--format", "dicom-seg"]);
        assert!(output.status.success(), "{output:?}");
        let one = by_case(&place.path().join("by-hand"), ".dcm").into_values().next().unwrap();
        let text = String::from_utf8_lossy(&fs::read(one).unwrap()).into_owned();
        assert!(text.contains("126949007"));
    }
}

#[test]
fn what_a_folder_cannot_hold_is_said() {
    let mut place = with_files("format = \"rtstruct\"");
    place.text = place.text.rewrite("identifiers = \"clear\"\n", "");
    let problems =
        tomoflow::pipeline::load(&place.pipeline(), &[], &tomoflow::operators::registry::Registry::builtin())
            .unwrap_err();
    assert!(problems.to_string().contains("names the patient"), "{problems}");
    // A folder that cannot be made: the run goes on, and says so.
    let place = with_files("");
    fs::write(place.path().join("seg"), "a file").unwrap();
    let summary = place.run();
    assert_eq!((summary.unwritten, summary.exit_code(1.0)), (2, 74), "{summary}");
    assert!(!place.tables()["masks"].is_empty());
    fs::remove_file(place.path().join("seg")).unwrap();
    let summary = place.run();
    assert_eq!((summary.unwritten, held(&place).len()), (0, 2), "{summary}");
}
