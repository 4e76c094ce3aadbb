//! What does not count is told, by a run and before it, and as long as it holds.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};

use crate::support::dicom::{copied, each, text};
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same, ran};
use tomoflow::store::Store;

/// ROIContourSequence, ContourSequence, ContourData.
const CONTOURS: [Tag; 3] = [Tag(0x3006, 0x0039), Tag(0x3006, 0x0040), Tag(0x3006, 0x0050)];

fn plan(place: &Workplace) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    let output = command.arg("plan").arg(place.pipeline()).current_dir(place.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn codes(place: &Workplace, code: &str) -> BTreeSet<String> {
    place.tables()["rejects"].iter().filter(|row| row.contains(code)).cloned().collect()
}

/// Moves all outlines in a file between slices.
fn between_slices(file: &Path) {
    copied(file, file, |object| {
        each(object, CONTOURS[0], &mut |structure| {
            each(structure, CONTOURS[1], &mut |contour| {
                let numbers: Vec<f64> =
                    text(contour, CONTOURS[2]).split('\\').map(|number| number.parse().unwrap()).collect();
                let moved = numbers.iter().enumerate();
                let moved =
                    moved.map(|(at, number)| format!("{}", number + if at % 3 == 2 { 0.7 } else { 0.0 }));
                let moved: Vec<String> = moved.collect();
                contour.put(DataElement::new(CONTOURS[2], VR::DS, PrimitiveValue::from(moved.join("\\"))));
            });
        });
    });
}

#[test]
fn structures_that_no_file_has_are_told_before_a_run_and_after_it() {
    let mut place = Workplace::new(3);
    place.text = place.text.rewrite(r#"{ tumour = ["TV"] }"#, r#"{ tumour = ["TV"], cyst = ["cyst"] }"#);
    let line = "outlines: none of 3 files has a structure of `cyst`: is its name the right one?";
    let foreseen = plan(&place);
    assert!(foreseen.contains(line) && foreseen.contains("told NO_STRUCTURE: 3"), "{foreseen}");
    assert!(!foreseen.contains("`tumour`"), "{foreseen}");
    let summary = place.run().to_string();
    assert!(summary.contains(line), "{summary}");
    // The same of a name that is asked for alone: nothing is labelled then.
    place.text =
        place.text.rewrite(r#"tumour = ["TV"], "#, "").rewrite("label = \"tumour\"", "label = \"cyst\"");
    let foreseen = plan(&place);
    assert!(foreseen.contains(line) && foreseen.contains("rejected NO_STRUCTURE: 3"), "{foreseen}");
    place.text = place.text.rewrite(r#"["cyst"]"#, r#"["TV"]"#);
    assert!(!plan(&place).contains("is its name the right one"), "{}", plan(&place));
}

#[test]
fn labels_without_a_voxel_are_told_by_every_plan_after_they_were_scored() {
    let mut place = Workplace::new(2);
    let absent = r#"{ tumour = ["TV"], cyst = ["cyst"] }
absent = "empty""#;
    place.text = place.text.rewrite(r#"{ tumour = ["TV"] }"#, absent);
    // The mask has one label; that of the truth which it lacks has no figures.
    place.text = place.text.rewrite("label = \"tumour\"", "label = \"cyst\"");
    let line = "voxel of `cyst`: is its value, or its name, the right one?";
    assert!(!plan(&place).contains(line));
    let summary = place.run().to_string();
    assert!(summary.contains(line), "{summary}");
    assert!(plan(&place).contains(line), "{}", plan(&place));
}

#[test]
fn a_training_says_which_label_no_case_has_and_says_it_as_long_as_its_model_is_kept() {
    let mut place = Workplace::trained();
    let absent = r#"{ tumour = ["TV"], cyst = ["cyst"] }
absent = "empty""#;
    place.text = place.text.rewrite(r#"{ tumour = ["TV"] }"#, absent);
    let line = "net: none of 2 cases to train on has a voxel of `cyst`";
    for trained in [1, 0] {
        let summary = place.run();
        assert_eq!(summary.trained, trained);
        assert!(summary.to_string().contains(line), "{summary}");
        assert_eq!(codes(&place, "LABEL_NEVER_DRAWN").len(), 1, "{:?}", place.tables()["rejects"]);
        assert_eq!((summary.rejected, summary.trainings_failed), (0, 0), "{summary}");
    }
    assert_same(&place.tables(), &place.anew(), "a label that is never drawn");
}

#[test]
fn a_validation_whose_samples_miss_a_label_is_told_and_whole_cases_miss_none() {
    let mut place = Workplace::trained();
    // One small window, at random, meets hardly anything.
    let samples = "size = [1, 4, 4]\nper_case = 1\nforeground = 0.0";
    place.text = place.text.rewrite("size = [4, 16, 16]\nper_case = 2", samples);
    place.text = place.text.rewrite("levels = 2", "levels = 1").rewrite("epochs = 2", "epochs = 1");
    let summary = place.run();
    let line = "net: samples to validate on with a voxel of `tumour` expected, none of 1 has one";
    assert!(summary.to_string().contains(line), "{summary}");
    assert_eq!(codes(&place, "LABEL_NEVER_JUDGED").len(), 1);
    place.text = place.text.rewrite("epochs = 1", "epochs = 1\nvalidate = \"cases\"");
    let summary = place.run();
    assert_eq!((summary.trained, codes(&place, "LABEL_NEVER_JUDGED").len()), (1, 0), "{summary}");
    let dice = place.tables()["training"].iter().filter(|row| row.contains("\"validation\"")).count();
    assert_eq!(dice, 1, "{:?}", place.tables()["training"]);
    // As it is by default no key changes.
    place.text = place.text.rewrite("validate = \"cases\"", "validate = \"samples\"");
    assert_eq!(place.run().actions_run, 0);
}

#[test]
fn cases_that_could_not_be_prepared_keep_their_rows_beside_a_kept_model() {
    let mut place = Workplace::trained();
    place.text = place.text.rewrite("train = 2, validation = 1, test = 1", "train = 3, validation = 1");
    let broken = place.files_of(1).pop().unwrap();
    between_slices(&broken);
    let code = "CONTOUR_OFF_SLICE";
    let rows = |place: &Workplace, stage: &str| {
        codes(place, code).into_iter().filter(|row| row.contains(stage)).collect::<Vec<_>>()
    };
    let first = place.run();
    assert_eq!((first.trained, rows(&place, "\"net\"").len()), (1, 1), "{first}");
    let before = place.tables();
    let again = place.run();
    assert_eq!((again.trained, again.actions_run), (0, 0), "{again}");
    assert_eq!(again.rejects, first.rejects);
    assert_same(&place.tables(), &before, "a second run");
    assert_same(&place.tables(), &place.anew(), "a model and a case without one");
    assert!(plan(&place).contains(&format!("rejected {code}")), "{}", plan(&place));
    // Once it can be drawn its row goes, and the model stays.
    place.move_label(1, 0);
    let mended = place.run();
    assert_eq!((mended.trained, rows(&place, "\"net\"").len()), (0, 0), "{mended}");
    assert_eq!(ran(&mended, "judged"), 1, "{mended}");
}

#[test]
fn a_run_that_goes_on_keeps_nobody_from_looking() {
    let place = Workplace::new(2);
    place.run();
    place.add(2);
    let looked = |command: &str, more: &[&str]| {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
        process.arg(command).arg(place.pipeline()).args(more).current_dir(place.path());
        let output = process.output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let case = place.phantom_series(0);
    let all = || [looked("plan", &[]), looked("explain", &[&case]), looked("rejects", &[])];
    let before = all();
    let run = Store::open(&place.out()).unwrap();
    assert_eq!(all(), before);
    drop(run);
}

#[test]
fn a_kept_model_says_what_changed_under_it() {
    let place = Workplace::trained();
    assert!(!place.run().to_string().contains("model kept"));
    (0..4).for_each(|series| place.move_label(series, 2));
    let note = "net: model kept, 0 labelled cases newer than it; of its own cases 3 changed (`--retrain` trains anew)";
    assert!(plan(&place).contains(note), "{}", plan(&place));
    assert!(place.run().to_string().contains(note));
    let trained: BTreeSet<String> =
        place.metrics().into_iter().filter(|row| row.split == "train").map(|row| row.case).collect();
    let gone = (0..4).find(|series| trained.contains(&place.phantom_series(*series))).unwrap();
    place.delete(gone);
    let summary = place.run().to_string();
    assert!(summary.contains("of its own cases 2 changed, 1 gone"), "{summary}");
    // What was there before counts again.
    let others = (0..4).filter(|series| *series != gone);
    others.for_each(|series| place.move_label(series, 0));
    let summary = place.run().to_string();
    assert!(summary.contains("of its own cases 1 gone ("), "{summary}");
}

#[test]
fn whatever_a_table_or_a_line_names_is_explained() {
    let mut place = Workplace::new(2);
    place.text = place.text.rewrite(r#"["TV"]"#, r#"["lesion"]"#);
    place.run();
    let explained = |subject: &str| {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
        process.arg("explain").arg(place.pipeline()).arg(subject).current_dir(place.path());
        let output = process.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let case = place.phantom_series(0);
    let (code, all) = explained("bright");
    assert_eq!((code, all.matches("bright of ").count()), (Some(0), 2), "{all}");
    let (code, begun) = explained(&case[..case.len() - 4]);
    assert!(code == Some(0) && begun.contains(&format!("bright of {case}")), "{begun}");
    let (code, refused) = explained("NO_STRUCTURE");
    assert_eq!((code, refused.matches("NO_STRUCTURE").count()), (Some(0), 2), "{refused}");
    let (code, refused) = explained("case");
    assert!(code == Some(0) && refused.contains("\"lesion\""), "{refused}");
    let (code, unknown) = explained("nobody");
    assert!(code == Some(1) && unknown.contains("a stage's name"), "{unknown}");
}
