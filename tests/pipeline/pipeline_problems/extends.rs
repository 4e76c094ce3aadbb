//! Pipelines that say what differs from another one: they mean what they would mean written out, and their mistakes are
//! in the file that has them.

use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};
use tempfile::TempDir;
use tomoflow::operators::registry::Registry;
use tomoflow::pipeline::{Plan, load, written_out};

const BASE: &str = r#"[pipeline]
name = "base"
out = "results"
memory = "2 GiB"

[sources.scans]
type = "dicom"
path = "archive"
where = { Modality = "MR", SeriesDescription = "t2*" }

[operators.volume]
type = "assemble"
inputs = ["scans"]

[operators.fine]
type = "resample"
inputs = ["volume"]
spacing_mm = [1.5, 0.5, 0.5]

[operators.bright]
type = "threshold"
inputs = ["fine"]
above = 500
label = "bright"

[sinks.rows]
type = "delta"
inputs = ["bright"]
"#;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("shared/archive")).unwrap();
    std::fs::create_dir_all(folder.path().join("rows")).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn plan(path: &Path, options: &[&str]) -> Plan {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    load(path, &options, &Registry::builtin()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Name, inputs and canonical configuration of each stage.
fn stages(plan: &Plan) -> Vec<(String, Vec<usize>, String)> {
    let stages = plan.stages.iter();
    stages.map(|stage| (stage.name.clone(), stage.inputs.clone(), format!("{:?}", stage.config))).collect()
}

/// What is printed for the first of these files.
fn check(files: &[(&str, &str)], expected: Expect) {
    let folder = folder(files);
    let command = Command::new(env!("CARGO_BIN_EXE_tomoflow"))
        .current_dir(folder.path())
        .args(["check", files[0].0])
        .output()
        .unwrap();
    let said = String::from_utf8(command.stdout).unwrap();
    expected.assert_eq(&said.replace(folder.path().to_str().unwrap(), "FOLDER"));
}

#[test]
fn what_differs_is_put_over_the_base() {
    let row = "extends = \"../shared/base.toml\"\nwithout = [\"operators.bright.label\", \
               \"sources.scans.where.SeriesDescription\"]\n[pipeline]\nname = \"row\"\nout = \"row\"\n\
               [operators.fine]\nspacing_mm = [2, 1, 1]\n[operators.normal]\ntype = \"zscore\"\ninputs = [\"fine\"]\n\
               [operators.bright]\ninputs = [\"normal\"]\nabove = 1.5\n";
    let whole = BASE
        .replace("\"base\"", "\"row\"")
        .replace("\"results\"", "\"../rows/row\"")
        .replace(", SeriesDescription = \"t2*\"", "")
        .replace("[1.5, 0.5, 0.5]", "[2, 1, 1]")
        .replace("[\"fine\"]\nabove = 500\nlabel = \"bright\"", "[\"normal\"]\nabove = 1.5")
        + "[operators.normal]\ntype = \"zscore\"\ninputs = [\"fine\"]\n";
    let folder = folder(&[("shared/base.toml", BASE), ("rows/row.toml", row), ("shared/whole.toml", &whole)]);
    let (row, whole) = (folder.path().join("rows/row.toml"), folder.path().join("shared/whole.toml"));
    let (found, wanted) = (plan(&row, &[]), plan(&whole, &[]));
    assert_eq!(stages(&found), stages(&wanted));
    // Paths are relative to the file that they stand in.
    assert_eq!(found.settings.out, folder.path().join("rows/row"));
    let archive = folder.path().join("shared/archive");
    assert_eq!(found.stages[0].config["path"].as_str(), archive.to_str());
    assert_eq!((found.settings.name.as_str(), found.settings.memory_bytes), ("row", 2 << 30));
    // Options are put over all of it, and written out it is the same in any folder.
    let options = ["operators.fine.spacing_mm=[3, 1, 1]", "operators.bright.above=-2.5e-3"];
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    let text = written_out(&row, &options, &Registry::builtin()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy.toml");
    std::fs::write(&copy, &text).unwrap();
    let (copy, set) = (plan(&copy, &[]), load(&row, &options, &Registry::builtin()).unwrap());
    assert_eq!(stages(&copy), stages(&set));
    assert_eq!(copy.settings.out, set.settings.out);
    assert!(text.contains("spacing_mm = [3, 1, 1]") && text.contains("above = -0.0025"), "{text}");
}

#[test]
fn another_type_takes_the_place_of_the_whole_table_and_files_stand_in_a_row() {
    let middle = "extends = \"base.toml\"\n[pipeline]\nname = \"middle\"\n[operators.fine]\ntype = \"zscore\"\n\
                  inputs = [\"volume\"]\n";
    let last = "extends = \"middle.toml\"\n[pipeline]\nout = \"last\"\n[operators.bright]\nabove = 3\n";
    let folder =
        folder(&[("shared/base.toml", BASE), ("shared/middle.toml", middle), ("shared/last.toml", last)]);
    let plan = plan(&folder.path().join("shared/last.toml"), &[]);
    assert_eq!(plan.settings.name, "middle");
    assert_eq!(plan.settings.out, folder.path().join("shared/last"));
    let fine = plan.stages.iter().find(|stage| stage.name == "fine").unwrap();
    assert_eq!((fine.spec.name, fine.config.contains_key("spacing_mm")), ("zscore", false));
    let bright = plan.stages.iter().find(|stage| stage.name == "bright").unwrap();
    assert_eq!(
        (bright.config["above"].as_f64(), bright.config["label"].as_str()),
        (Some(3.0), Some("bright"))
    );
}

#[test]
fn a_mistake_is_in_the_file_that_has_it() {
    let broken = BASE.replace("type = \"resample\"", "type = \"resampel\"");
    let row = "extends = \"shared/base.toml\"\n[pipeline]\nname = \"row\"\n[operators.bright]\nabuve = 3\n";
    check(
        &[("row.toml", row), ("shared/base.toml", &broken)],
        expect![[r#"
        error: `threshold` has no field `abuve`
         --> row.toml:5:1
          |
        5 | abuve = 3
          | ^^^^^ unknown field
        hint: did you mean `above`?

        error: there is no operator of type `resampel`
          --> shared/base.toml:16:8
           |
        16 | type = "resampel"
           |        ^^^^^^^^^^ unknown type
        hint: did you mean `resample`?

        row.toml: 2 problems
    "#]],
    );
}

#[test]
fn a_base_that_cannot_be_read_is_one_problem() {
    let rest = "[pipeline]\nname = \"row\"\n[operators.bright]\nabove = 3\n";
    let files = |extends: &str| format!("{extends}\n{rest}");
    check(
        &[("row.toml", &files("extends = \"gone.toml\""))],
        expect![[r#"
        error: the base of this pipeline cannot be read
         --> row.toml:1:11
          |
        1 | extends = "gone.toml"
          |           ^^^^^^^^^^^ No such file or directory (os error 2)
        hint: a path is relative to the folder of the file that it stands in

        row.toml: 1 problem
    "#]],
    );
    check(
        &[("row.toml", &files("extends = \"shared\""))],
        expect![[r#"
        error: the base of this pipeline cannot be read
         --> row.toml:1:11
          |
        1 | extends = "shared"
          |           ^^^^^^^^ no file found
        hint: name the file, not its folder

        row.toml: 1 problem
    "#]],
    );
    check(
        &[("row.toml", &files("extends = 3"))],
        expect![[r#"
        error: `extends` takes the path of a pipeline file
         --> row.toml:1:11
          |
        1 | extends = 3
          |           ^ 3 found
        hint: for example `extends = "base.toml"`, before `[pipeline]`

        row.toml: 1 problem
    "#]],
    );
    check(
        &[("row.toml", &files("extends = \"row.toml\""))],
        expect![[r#"
        error: pipelines extend each other in a circle
         --> row.toml:1:11
          |
        1 | extends = "row.toml"
          |           ^^^^^^^^^^ it extends this one
        hint: of files that extend each other one must stand for itself

        row.toml: 1 problem
    "#]],
    );
    let back = "extends = \"../row.toml\"\n";
    check(
        &[("row.toml", &files("extends = \"shared/back.toml\"")), ("shared/back.toml", back)],
        expect![[r#"
            error: pipelines extend each other in a circle
             --> shared/back.toml:1:11
              |
            1 | extends = "../row.toml"
              |           ^^^^^^^^^^^^^ it extends this one
            hint: of files that extend each other one must stand for itself

            row.toml: 1 problem
        "#]],
    );
}

#[test]
fn what_is_left_out_must_be_there() {
    let row =
        "extends = \"shared/base.toml\"\nwithout = [\"operators.brigt\", 3]\n[pipeline]\nname = \"row\"\n";
    check(
        &[("row.toml", row), ("shared/base.toml", BASE)],
        expect![[r#"
        error: the base has no `operators.brigt`
         --> row.toml:2:12
          |
        2 | without = ["operators.brigt", 3]
          |            ^^^^^^^^^^^^^^^^^ nothing to leave out
        hint: write it with dots, as `--set` does

        error: `without` takes a list of keys
         --> row.toml:2:31
          |
        2 | without = ["operators.brigt", 3]
          |                               ^ 3 found

        row.toml: 2 problems
    "#]],
    );
    check(
        &[("row.toml", &format!("without = [\"operators.bright\"]\n{BASE}"))],
        expect![[r#"
        error: `without` goes with `extends`
         --> row.toml:1:11
          |
        1 | without = ["operators.bright"]
          |           ^^^^^^^^^^^^^^^^^^^^ no base
        hint: it leaves out what a base has: `extends = "base.toml"`

        row.toml: 1 problem
    "#]],
    );
}

#[test]
fn a_row_of_files_has_an_end() {
    let mut files: Vec<(String, String)> =
        (0..20).map(|n| (format!("f{n}.toml"), format!("extends = \"f{}.toml\"\n", n + 1))).collect();
    files.push(("f20.toml".to_owned(), BASE.to_owned()));
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in &files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let problems = load(&folder.path().join("f0.toml"), &[], &Registry::builtin()).unwrap_err();
    assert!(problems.to_string().contains("the 16th file in a row"), "{problems}");
    assert!(load(&folder.path().join("f6.toml"), &[], &Registry::builtin()).is_ok());
}
