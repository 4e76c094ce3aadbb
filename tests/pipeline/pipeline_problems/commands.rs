//! The commands that only read a pipeline: what they print and how they exit.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::text::Rewrite as _;
use expect_test::expect;
use serde_json::Value as Json;
use tomoflow::engine::{Phase, Status};
use tomoflow::operators::registry::Registry;
use tomoflow::pipeline::load;

const SOUND: &str = r#"[pipeline]
name = "vs"
out = "results"

[sources.scans]
type = "dicom"
path = "archive"

[operators.volume]
type = "assemble"
inputs = ["scans"]
keep = true
"#;

fn tomoflow(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tomoflow")).current_dir(folder).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A folder with the sound file `vs.toml` and the broken one `bad.toml`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("vs.toml"), SOUND).unwrap();
    std::fs::create_dir(folder.path().join("archive")).unwrap();
    std::fs::write(
        folder.path().join("bad.toml"),
        SOUND.rewrite("path", "pth").rewrite("scans\"]", "scan\"]"),
    )
    .unwrap();
    folder
}

#[test]
fn check_prints_problems_and_exits_by_them() {
    let folder = folder();
    let sound = tomoflow(folder.path(), &["check", "vs.toml"]);
    assert_eq!((sound.status.code(), stdout(&sound).as_str()), (Some(0), "vs.toml: 2 stages, no problems\n"));
    let bad = tomoflow(folder.path(), &["check", "bad.toml"]);
    assert_eq!(bad.status.code(), Some(78));
    expect![[r#"
        error: `dicom` has no field `pth`
         --> bad.toml:7:1
          |
        7 | pth = "archive"
          | ^^^ unknown field
        hint: did you mean `path`?

        error: there is no stage called `scan`
          --> bad.toml:11:11
           |
        11 | inputs = ["scan"]
           |           ^^^^^^ unknown stage
        hint: did you mean `scans`?

        bad.toml: 2 problems
    "#]]
    .assert_eq(&stdout(&bad));
    let lines = tomoflow(folder.path(), &["check", "--json", "bad.toml", "--set", "pipeline.memory=1"]);
    let lines: Vec<Json> = stdout(&lines).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let places: Vec<_> =
        lines.iter().map(|line| (line["file"].as_str().unwrap(), line["line"].as_u64().unwrap())).collect();
    assert_eq!(places, [("bad.toml", 7), ("bad.toml", 11), ("--set", 1)]);
}

#[test]
fn a_file_that_cannot_be_read_exits_with_66() {
    let folder = folder();
    for path in ["none.toml", "."] {
        let output = tomoflow(folder.path(), &["check", path]);
        assert_eq!(output.status.code(), Some(66), "{path}");
        assert!(stdout(&output).contains("cannot be read"), "{path}");
    }
    std::fs::write(folder.path().join("latin1.toml"), b"[pipeline]\nname = \"M\xfcller\"\n").unwrap();
    let output = tomoflow(folder.path(), &["check", "latin1.toml"]);
    assert_eq!(output.status.code(), Some(78));
    expect![[r#"
        error: a pipeline file is UTF-8 text
         --> latin1.toml:2:10
          |
        2 | name = "M�ller"
          |          ^ another encoding found
        hint: save the file as UTF-8

        latin1.toml: 1 problem
    "#]]
    .assert_eq(&stdout(&output));
}

#[test]
fn paths_are_relative_to_the_file() {
    let folder = folder();
    let plan = load(&folder.path().join("vs.toml"), &[], &Registry::builtin()).unwrap();
    assert_eq!(plan.settings.out, folder.path().join("results"));
    assert_eq!(plan.stages[0].config["path"].as_str(), folder.path().join("archive").to_str());
}

#[test]
fn graph_types_and_schema_print_what_the_library_makes() {
    let folder = folder();
    let graph = tomoflow(folder.path(), &["graph", "vs.toml"]);
    assert!(stdout(&graph).starts_with("flowchart LR\n"));
    let graph = tomoflow(folder.path(), &["graph", "--format", "dot", "vs.toml"]);
    assert!(stdout(&graph).starts_with("digraph \"vs\" {\n"));
    let refused = tomoflow(folder.path(), &["graph", "bad.toml"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(78), 0));
    assert!(stdout(&tomoflow(folder.path(), &["types"])).contains("\n  assemble"));
    let registry = Registry::builtin();
    let page = tomoflow::pipeline::manual(registry.get("assemble").unwrap().spec, 100);
    assert_eq!(stdout(&tomoflow(folder.path(), &["types", "assemble"])), page);
    let page = tomoflow::pipeline::manual_of_pipeline(100);
    assert_eq!(stdout(&tomoflow(folder.path(), &["types", "pipeline"])), page);
    let masks = tomoflow(folder.path(), &["types", "masks"]);
    assert!(
        stdout(&masks).contains("  area_mm2 (Float64)\n    The area of the label on this slice, in mm².\n")
    );
    let unknown = tomoflow(folder.path(), &["types", "asemble"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean `assemble`?"));
    let schema: Json = serde_json::from_slice(&tomoflow(folder.path(), &["schema"]).stdout).unwrap();
    assert_eq!(schema, tomoflow::pipeline::schema(&registry));
}

#[test]
fn status_and_top_show_where_a_run_stands() {
    let folder = folder();
    let none = tomoflow(folder.path(), &["status", "vs.toml"]);
    assert_eq!((none.status.code(), stdout(&none)), (Some(1), String::new()));
    assert_eq!(
        String::from_utf8_lossy(&none.stderr),
        "no run has been seen here\nhint: `tomoflow run vs.toml` starts one\n"
    );
    let store = folder.path().join("results/store");
    std::fs::create_dir_all(&store).unwrap();
    let mut status = Status::new("vs", 4 << 30);
    status.write(&store).unwrap();
    for command in ["status", "top"] {
        let output = tomoflow(folder.path(), &[command, "vs.toml"]);
        let first = format!("vs: looking for 0s, process {}\n", std::process::id());
        assert!(stdout(&output).starts_with(&first), "{}", stdout(&output));
        assert_eq!(output.status.code(), Some(0));
    }
    let json = tomoflow(folder.path(), &["status", "--json", "vs.toml"]);
    let json: Json = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["life"], &json["pipeline"]), (&Json::from("running"), &Json::from("vs")));
    let mut child = Command::new("true").spawn().unwrap();
    status.process = child.id();
    child.wait().unwrap();
    status.write(&store).unwrap();
    for command in ["status", "top"] {
        let output = tomoflow(folder.path(), &[command, "vs.toml"]);
        assert!(stdout(&output).starts_with(&format!("vs: killed: process {} is gone", status.process)));
        assert_eq!(output.status.code(), Some(1));
    }
    status.phase = Phase::Ended;
    status.write(&store).unwrap();
    let ended = tomoflow(folder.path(), &["top", "vs.toml"]);
    assert_eq!((ended.status.code(), stdout(&ended).starts_with("vs: ended ")), (Some(0), true));
    std::fs::write(store.join("status.json"), "[").unwrap();
    assert_eq!(tomoflow(folder.path(), &["status", "vs.toml"]).status.code(), Some(74));
}
