//! `tomoflow export`: masks in the formats of other programs, and back again as labels.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::Workplace;
use crate::support::dicom::{copied, put, text};
use crate::support::text::Rewrite as _;
use dicom_core::{Tag, VR};
use tomoflow::connectors::{LabelMap, dicom_seg, metaimage, nifti, nrrd};

/// Runs the program on a workplace's pipeline.
fn export(place: &Workplace, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    command.arg("export").arg(place.pipeline()).args(args).current_dir(place.path()).output().unwrap()
}

/// The files of a folder, by the case in their names.
fn by_case(folder: &Path, ending: &str) -> BTreeMap<String, PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some((name.strip_suffix(ending)?.to_owned(), path))
        })
        .collect()
}

#[test]
fn every_format_holds_the_same_masks_on_the_scans_grid() {
    let place = Workplace::new(2);
    place.run();
    for (format, folder) in
        [("nifti", "nifti"), ("nrrd", "nrrd"), ("metaimage", "metaimage"), ("dicom-seg", "seg")]
    {
        let output = export(&place, &["--to", folder, "--format", format, "--scans"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("files of `largest`"), "{output:?}");
    }
    let masks = by_case(&place.path().join("nifti"), ".nii.gz");
    let scans = by_case(&place.path().join("nifti"), ".scan.nii.gz");
    assert_eq!((scans.len(), masks.len()), (2, 4), "a scan beside each mask");
    for (case, scan) in scans {
        let scan = nifti::read_scan(&scan).unwrap();
        let mask = nifti::read_labels(&masks[&case]).unwrap();
        assert!(mask.voxels().contains(&1), "a mask without a voxel shows nothing");
        let same = |other: &LabelMap, what: &str| {
            assert_eq!(other.voxels(), mask.voxels(), "{what}");
            let (ours, theirs) = (mask.geometry().affine_lps(), other.geometry().affine_lps());
            for (a, b) in ours.iter().flatten().zip(theirs.iter().flatten()) {
                assert!((a - b).abs() < 1e-4, "{what}: {ours:?} {theirs:?}");
            }
        };
        assert_eq!(scan.size(), mask.size());
        let nrrd_path = place.path().join(format!("nrrd/{case}.seg.nrrd"));
        same(&nrrd::read_labels(&nrrd_path).unwrap(), "nrrd");
        assert_eq!(nrrd::read_names(&nrrd_path).unwrap(), [(1, "tumour".to_owned())]);
        same(&metaimage::read_labels(&place.path().join(format!("metaimage/{case}.mha"))).unwrap(), "mha");
        let seg = dicom_seg::read(&place.path().join(format!("seg/{case}.dcm"))).unwrap();
        let drawn = seg.draw(|name| (name == "tumour").then_some(1), mask.geometry()).unwrap();
        same(&drawn, "seg");
    }
}

#[test]
fn exported_segmentations_are_labels_of_the_scans_that_they_refer_to() {
    labels_of_their_scans(
        "dicom-seg",
        "type = \"dicom_seg\"\npath = \"labels\"\nsegments = { tumour = [\"tum*\"] }",
    );
}

#[test]
fn exported_outlines_are_labels_of_the_scans_that_they_refer_to() {
    labels_of_their_scans(
        "rtstruct",
        "type = \"rtstruct\"\npath = \"labels\"\nstructures = { tumour = [\"tum*\"] }",
    );
}

/// Judges a pipeline against its own masks: they must be met voxel for voxel.
fn labels_of_their_scans(format: &str, source: &str) {
    let mut place = Workplace::new(2);
    place.run();
    let output = export(&place, &["--to", "labels", "--format", format]);
    assert!(output.status.success(), "{output:?}");
    let drawn = "type = \"rtstruct\"\npath = \"archive\"\nstructures = { tumour = [\"TV\"] }";
    assert!(place.text.contains(drawn));
    place.text = place.text.rewrite(drawn, source);
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected, summary.actions_run), (2, 0, 2), "{summary}");
    let dice: Vec<f64> = place.tables()["metrics"]
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|row| row["metric"] == "dice")
        .map(|row| row["value"].as_f64().unwrap())
        .collect();
    assert_eq!(dice, [1.0, 1.0]);
    // A segmentation that goes takes its figures with it.
    let one = by_case(&place.path().join("labels"), ".dcm").into_values().next().unwrap();
    fs::remove_file(one).unwrap();
    place.run();
    assert_eq!(place.tables(), place.anew());
    assert!(place.tables()["metrics"].len() < 6);
}

#[test]
fn what_cannot_be_exported_is_said() {
    let mut place = Workplace::new(1);
    let output = export(&place, &["--to", "none"]);
    assert_eq!(output.status.code(), Some(78), "nothing has run yet: {output:?}");
    place.run();
    let output = export(&place, &["--to", "none", "--stage", "scores"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("`scores`"));
    // A SEG names the patient.
    place.text = place.text.rewrite("identifiers = \"clear\"", "identifiers = \"pseudonymous\"");
    place.run();
    let output = export(&place, &["--to", "named", "--format", "dicom-seg"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("IDENTIFIERS"));
    assert!(!place.path().join("named").exists(), "a folder that nothing was written to");
    let output = export(&place, &["--to", "plain"]);
    assert!(output.status.success(), "{output:?}");
    let uid = place.phantom_series(0);
    let names = fs::read_dir(place.path().join("plain")).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap()).filter(|name| !name.starts_with('.'));
    let names: Vec<String> = names.collect();
    assert!(names.len() == 1 && !names[0].contains(&uid), "{names:?}");
}

#[test]
fn an_export_replaces_nothing_that_no_export_wrote() {
    let place = Workplace::new(1);
    place.run();
    let refused = |args: &[&str], telling: &[&str]| {
        let output = export(&place, args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{args:?}: {told}");
        assert!(telling.iter().all(|part| told.contains(part)), "{args:?}: {told}");
    };
    let before = fs::read_dir(place.archive()).unwrap().count();
    for (folder, how) in [("archive", "archive is "), ("archive/new/deep", "lies in"), (".", "holds")] {
        for format in ["nifti", "nnunet", "boxes"] {
            refused(
                &["--to", folder, "--format", format],
                &[how, "which the source `", "nothing was written"],
            );
        }
    }
    assert_eq!(fs::read_dir(place.archive()).unwrap().count(), before);

    // A mask that somebody drew.
    let name = format!("{}.nii.gz", place.phantom_series(0));
    let drawn = place.path().join("drawn");
    fs::create_dir(&drawn).unwrap();
    fs::write(drawn.join(&name), "drawn by hand").unwrap();
    refused(&["--to", "drawn"], &[&name, "1 found that no export wrote"]);
    assert_eq!(fs::read_to_string(drawn.join(&name)).unwrap(), "drawn by hand");
    assert_eq!(fs::read_dir(&drawn).unwrap().count(), 1);

    // Its own files it replaces, until somebody works on them.
    for _ in 0..2 {
        let output = export(&place, &["--to", "own"]);
        assert!(output.status.success(), "{output:?}");
    }
    let own = place.path().join("own").join(&name);
    let text = [fs::read(&own).unwrap(), b"corrected".to_vec()].concat();
    fs::write(&own, &text).unwrap();
    refused(&["--to", "own"], &[&name, "somebody changed since"]);
    assert_eq!(fs::read(&own).unwrap(), text);

    // A data set of others: what lies there would be cases of it.
    let set = place.path().join("Dataset001_other");
    fs::create_dir_all(set.join("labelsTr")).unwrap();
    fs::write(set.join("labelsTr/other.nii.gz"), "drawn by hand").unwrap();
    refused(&["--to", "Dataset001_other", "--format", "nnunet"], &["labelsTr/other.nii.gz"]);
    assert_eq!(fs::read_dir(&set).unwrap().count(), 1);
    for _ in 0..2 {
        let output = export(&place, &["--to", "set", "--format", "nnunet"]);
        assert!(output.status.success(), "{output:?}");
    }
    fs::write(place.path().join("set/imagesTr/more_0000.nii.gz"), "another's").unwrap();
    refused(&["--to", "set", "--format", "nnunet"], &["imagesTr/more_0000.nii.gz"]);
}

/// Two sources of scans and truth, and a third of truth by another reader.
const SOURCES: &str = r#"
[pipeline]
name = "sources"
out = "out"
identifiers = "clear"

[sources.s1]
type = "images"
path = "s1"
files = "{case}.nii.gz"

[sources.s2]
type = "images"
path = "s2"
files = "{case}.nii.gz"

[sources.t1]
type = "label_images"
path = "t1"
files = "{case}.nii.gz"
labels = { tumour = [1] }

[sources.t2]
type = "label_images"
path = "t2"
files = "{case}.nii.gz"
labels = { tumour = [1] }

[operators.case1]
type = "label"
inputs = ["s1", "t1"]

[operators.case2]
type = "label"
inputs = ["s2", "t2"]

[operators.b1]
type = "threshold"
inputs = ["case1"]
above = 0.5
label = "tumour"

[operators.b2]
type = "threshold"
inputs = ["case2"]
above = 0.5
label = "tumour"

[operators.sc1]
type = "evaluate"
inputs = ["b1", "case1"]
metrics = ["dice"]

[operators.sc2]
type = "evaluate"
inputs = ["b2", "case2"]
metrics = ["dice"]

[sinks.rows]
type = "delta"
inputs = ["b1", "b2", "sc1", "sc2"]
"#;

#[test]
fn scans_of_one_name_in_several_sources_keep_their_own_labels() {
    let mut place = Workplace::new(0);
    place.text = SOURCES.to_owned();
    let truth = |index: usize| {
        let (scan, truth) = tomoflow::phantom::vs::case(&place.phantom, index);
        let tumour = truth.voxels().iter().map(|&label| u16::from(label == 1)).collect();
        (scan, LabelMap::new(truth.geometry().clone(), tumour).unwrap())
    };
    for (index, number) in [(0, 1), (1, 2)] {
        let (scan, labels) = truth(index);
        for folder in ["s", "t"] {
            fs::create_dir(place.path().join(format!("{folder}{number}"))).unwrap();
        }
        nifti::write_scan(&place.path().join(format!("s{number}/c0.nii.gz")), &scan).unwrap();
        nifti::write_labels(&place.path().join(format!("t{number}/c0.nii.gz")), &labels).unwrap();
    }
    assert_ne!(truth(0).1.voxels(), truth(1).1.voxels(), "truths that are alike show nothing");
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected), (2, 0), "{summary}");
    let output = export(&place, &["--to", "set", "--format", "nnunet"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: String| nifti::read_labels(&place.path().join(name)).unwrap();
    for (index, number) in [(0, 1), (1, 2)] {
        let (scan, labels) = truth(index);
        assert_eq!(read(format!("set/labelsTr/c0_s{number}.nii.gz")).voxels(), labels.voxels());
        let path = place.path().join(format!("set/imagesTr/c0_s{number}_0000.nii.gz"));
        let written = nifti::read_scan(&path).unwrap();
        let mut pairs = written.voxels().iter().zip(scan.voxels());
        assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-3), "the scan of s{number}");
    }
    let table = fs::read_to_string(place.path().join("set/cases.csv")).unwrap();
    assert!(table.contains("\"c0 (s1)\"") && table.contains("\"c0 (s2)\""), "{table}");
    // The masks of one stage are those of the scans of one source.
    let output = export(&place, &["--to", "masks", "--format", "nnunet", "--stage", "b2"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names: Vec<String> = by_case(&place.path().join("masks/labelsTr"), ".nii.gz").into_keys().collect();
    assert_eq!(names, ["c0_s2"]);
    assert_eq!(
        by_case(&place.path().join("masks/imagesTs"), "_0000.nii.gz").into_keys().next().unwrap(),
        "c0_s1"
    );

    // Figures of scans of several sources are paired by names, which is said.
    let mut compare = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    compare.arg("compare").arg(place.pipeline()).args(["--split", "all"]).current_dir(place.path());
    let told = String::from_utf8_lossy(&compare.output().unwrap().stderr).into_owned();
    assert!(told.contains("scans of several sources, `sc1` those of `s1`, `sc2` those of `s2`"), "{told}");

    // Two readers of one scan: a set has one truth.
    place.text = SOURCES.replace("[\"s2\", \"t2\"]", "[\"s1\", \"t2\"]");
    fs::copy(place.path().join("t1/c0.nii.gz"), place.path().join("t2/c0.nii.gz")).unwrap();
    place.run();
    let output = export(&place, &["--to", "readers", "--format", "nnunet"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("`case1` and `case2` label scans of `s1`"), "{told}");
}

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

#[test]
fn a_data_set_for_nnunet_holds_scans_and_truth() {
    let place = Workplace::new(3);
    // One without outlines: it is for testing there.
    fs::remove_file(place.files_of(2).last().unwrap()).unwrap();
    place.run();
    let output = export(&place, &["--to", "set", "--format", "nnunet"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let set = place.path().join("set");
    let labels = by_case(&set.join("labelsTr"), ".nii.gz");
    let scans = by_case(&set.join("imagesTr"), "_0000.nii.gz");
    assert_eq!((labels.len(), scans.len()), (2, 2));
    assert_eq!(by_case(&set.join("imagesTs"), "_0000.nii.gz").len(), 1);
    for (case, path) in &labels {
        let (truth, scan) = (nifti::read_labels(path).unwrap(), nifti::read_scan(&scans[case]).unwrap());
        assert_eq!(truth.size(), scan.size());
        assert!(truth.voxels().contains(&1), "a truth without a voxel shows nothing");
    }
    let text = fs::read_to_string(set.join("dataset.json")).unwrap();
    let description: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(description["labels"], serde_json::json!({ "background": 0, "tumour": 1 }));
    assert_eq!((&description["numTraining"], &description["file_ending"]), (&2.into(), &".nii.gz".into()));
    let table = fs::read_to_string(set.join("cases.csv")).unwrap();
    assert_eq!(table.lines().count(), 4, "{table}");
    // Identifiers are clear, and DICOM names the patient.
    assert!(
        labels.keys().all(|case| table.contains(&format!("{case},\"")) && !case.starts_with("1.2")),
        "{table}"
    );

    // The masks of a stage instead, of all scans; and what has none is said.
    let output = export(&place, &["--to", "masks", "--format", "nnunet", "--stage", "largest"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(by_case(&place.path().join("masks/labelsTr"), ".nii.gz").len(), 3);
    let output = export(&place, &["--to", "none", "--format", "nnunet", "--stage", "scores"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");

    // What was written is known again.
    let init = Command::new(env!("CARGO_BIN_EXE_tomoflow"))
        .args(["init", "set", "--out", "again.toml"])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    let again = fs::read_to_string(place.path().join("again.toml")).unwrap();
    assert!(again.contains("nnU-Net's raw layout") && again.contains("labels = { tumour = [1] }"), "{again}");
}
