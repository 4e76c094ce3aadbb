//! Paths as they truly lie on disk: what is not there is told, and what a pipeline writes is never its input.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::Workplace;
use tomoflow::connectors::{LabelMap, Scan, nifti};
use tomoflow::engine::{Options, run};
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::vs;
use tomoflow::pipeline::{self, Plan, Problems};

/// Scans and label maps of the same names in two folders, and masks by a threshold.
const PIPELINE: &str = r#"
[pipeline]
name = "places"
out = "out"
identifiers = "clear"
allowed_rejects = 0.0

[sources.scans]
type = "images"
path = "data"
files = "**/{case}.nii.gz"

[operators.bright]
type = "threshold"
inputs = ["scans"]
above = 0.5
label = "tumour"

[sinks.masks]
type = "files"
inputs = ["bright"]
path = "masks"
"#;

fn place() -> Workplace {
    let mut place = Workplace::new(0);
    place.text = PIPELINE.to_owned();
    for index in 0..2 {
        let (scan, _): (Scan, LabelMap) = vs::case(&place.phantom, index);
        let path = place.path().join(format!("data/c{index}.nii.gz"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        nifti::write_scan(&path, &scan).unwrap();
    }
    place
}

fn loaded(place: &Workplace) -> Result<Plan, Problems> {
    pipeline::load(&place.pipeline(), &[], &Registry::builtin())
}

fn warnings(place: &Workplace) -> String {
    loaded(place).unwrap().warnings.iter().map(ToString::to_string).collect()
}

fn refused(place: &Workplace) -> String {
    loaded(place).unwrap_err().to_string()
}

/// Runs three times: two cases each time, and after the first nothing is done.
fn stays(place: &Workplace) {
    for round in 0..3 {
        let summary = place.run();
        assert_eq!((summary.cases, summary.rejected), (2, 0), "run {round}: {summary}");
        assert_eq!(summary.actions_run > 0, round == 0, "run {round}: {summary}");
    }
}

#[test]
fn what_is_not_there_is_told_and_what_is_there_is_not() {
    let mut place = place();
    assert_eq!(warnings(&place), "");
    place.text = PIPELINE.replace("path = \"data\"", "path = \"data/../nowhere\"");
    let told = warnings(&place);
    assert!(told.contains("source `scans` is not there") && told.contains("nowhere"), "{told}");
    let model = "type = \"infer\"\nmodel = { torchscript = \"gone.pt\", labels = [\"tumour\"], view = { type = \"patch\", size = [8, 16, 16] } }";
    place.text =
        PIPELINE.replace("type = \"threshold\"", model).replace("above = 0.5\nlabel = \"tumour\"\n", "");
    let told = warnings(&place);
    assert!(told.contains("model of `bright` is not there") && told.contains("gone.pt"), "{told}");
    fs::write(place.path().join("gone.pt"), "x").unwrap();
    let told = warnings(&place);
    assert!(told.contains("gone.pt is a program") && !told.contains("is not there"), "{told}");
}

#[test]
fn masks_below_a_source_are_no_input() {
    let mut place = place();
    for path in ["data/masks", "other/../data/./deep/masks", "link/masks"] {
        let _ = std::os::unix::fs::symlink("data", place.path().join("link"));
        place.text = PIPELINE.replace("path = \"masks\"", &format!("path = \"{path}\""));
        // Masks that another pipeline left are files like any other.
        for left in ["data/masks", "data/deep"] {
            drop(fs::remove_dir_all(place.path().join(left)));
        }
        let told = warnings(&place);
        assert!(told.contains("`masks` writes inside the source `scans`"), "{path}: {told}");
        let _ = fs::remove_dir_all(place.out());
        stays(&place);
    }
}

#[test]
fn results_below_a_source_are_no_input_however_they_are_named() {
    let mut place = place();
    place.text = PIPELINE
        .replace("path = \"data\"", "path = \"x/../data\"")
        .replace("out = \"out\"", "out = \"data/results\"")
        .replace("path = \"masks\"", "path = \"data/results/masks\"");
    fs::create_dir(place.path().join("x")).unwrap();
    let told = warnings(&place);
    assert!(told.contains("`out` lies inside the source `scans`"), "{told}");
    stays(&place);
}

#[test]
fn masks_that_were_an_input_before_are_forgotten() {
    let place = place();
    place.run();
    // As if they had been taken for scans by a run that did not know better.
    fs::create_dir_all(place.path().join("data/masks")).unwrap();
    fs::copy(place.path().join("data/c0.nii.gz"), place.path().join("data/masks/c2.nii.gz")).unwrap();
    assert_eq!(place.run().cases, 3);
    let mut place = place;
    place.text = PIPELINE.replace("path = \"masks\"", "path = \"data/masks\"");
    assert_eq!(place.run().cases, 2);
}

#[test]
fn outputs_that_cannot_be_told_from_inputs_are_refused() {
    let mut place = place();
    for out in ["data", "data/../data"] {
        place.text = PIPELINE.replace("out = \"out\"", &format!("out = \"{out}\""));
        let told = refused(&place);
        assert!(told.contains("`out` holds the source `scans`"), "{out}: {told}");
    }
    place.text = PIPELINE.replace("path = \"masks\"", "path = \"x/../data\"");
    let told = refused(&place);
    assert!(told.contains("folder that the source `scans` reads"), "{told}");
    let second = "\n[sinks.again]\ntype = \"files\"\ninputs = [\"bright\"]\npath = \"./x/../masks\"\n";
    place.text = format!("{PIPELINE}{second}");
    let told = refused(&place);
    assert!(told.contains("`masks` and `again` write into one folder"), "{told}");
}

#[test]
fn a_source_below_out_is_read_however_it_is_named() {
    for data in ["data", "./data/../data"] {
        let mut place = place();
        place.text = PIPELINE
            .replace("out = \"out\"", "out = \".\"")
            .replace("path = \"data\"", &format!("path = \"{data}\""));
        assert_eq!(warnings(&place), "");
        stays(&place);
        place.text = PIPELINE
            .replace("out = \"out\"", "out = \".\"")
            .replace("path = \"data\"", "path = \"store/artifacts\"");
        assert!(refused(&place).contains("`out` holds the source"));
    }
}

#[test]
fn an_unknown_variable_is_a_problem_at_its_place() {
    let mut place = place();
    place.text = PIPELINE.replace("path = \"data\"", "path = \"${NO_SUCH_VARIABLE_HERE}/data\"");
    let told = refused(&place);
    assert!(told.contains("NO_SUCH_VARIABLE_HERE") && told.contains(":10:8"), "{told}");
    place.text = PIPELINE.replace("out = \"out\"", "out = \"$CARGO_MANIFEST_DIR/x\"");
    let out = loaded(&place).unwrap().settings.out;
    assert_eq!(out, Path::new(env!("CARGO_MANIFEST_DIR")).join("x"));
}

#[test]
fn an_out_of_another_pipeline_is_refused() {
    let place = place();
    let before = place.run();
    assert_eq!(before.cases, 2);
    let other = place.path().join("other.toml");
    fs::write(&other, PIPELINE.replace("name = \"places\"", "name = \"elsewhere\"")).unwrap();
    let plan = pipeline::load(&other, &[], &Registry::builtin()).unwrap();
    let error = run(plan, &Options::default(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("belongs to the pipeline `places`"), "{error}");
    // A copy of the file under its own name would replace rows all the same; nor may one free or forget anything.
    fs::write(&other, PIPELINE).unwrap();
    let before = place.tables();
    for arguments in
        [&["run"][..], &["gc", "--delete", "--older-than", "0s"], &["verify", "--mend"], &["retry"]]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
        let refused = command.arg(arguments[0]).arg(&other).args(&arguments[1..]).output().unwrap();
        let told = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(78), "{arguments:?}: {told}");
        assert!(told.contains("belongs to the pipeline `places`"), "{arguments:?}: {told}");
    }
    assert_eq!(place.run().actions_run, 0);
    assert_eq!(place.tables(), before);
    // Moved, it is the same one.
    let moved = place.path().join("moved.toml");
    fs::rename(&other, &moved).unwrap();
    fs::remove_file(place.pipeline()).unwrap();
    let plan = pipeline::load(&moved, &[], &Registry::builtin()).unwrap();
    assert_eq!(run(plan, &Options::default(), &mut |_| {}).unwrap().actions_run, 0);
}
