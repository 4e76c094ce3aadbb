//! What a sound file becomes: order, wires, canonical configuration, drawings.

use std::path::Path;
use std::time::Duration;

use expect_test::expect;
use serde_json::json;
use tomoflow::operators::spec::semantic;
use tomoflow::pipeline::{Identifiers, Plan};

use super::parsed;
use super::registry::SOUND;
use crate::support::text::Rewrite as _;

fn plan(text: &str) -> Plan {
    parsed(text, &[]).unwrap()
}

#[test]
fn stages_follow_what_they_depend_on_else_the_file() {
    let names = |plan: &Plan| plan.stages.iter().map(|stage| stage.name.clone()).collect::<Vec<_>>();
    let file = ["scans", "lines", "assembled", "case", "fine", "net", "segment", "masks"];
    assert_eq!(names(&plan(SOUND)), file);
    // The same sections from the last to the first: only what is free keeps the order of the file.
    let mut sections: Vec<_> =
        SOUND.split("\n[").map(|part| format!("[{}\n", part.trim_start_matches('['))).collect();
    sections.reverse();
    let reversed = plan(&sections.concat());
    assert_eq!(names(&reversed), ["lines", "scans", "assembled", "case", "fine", "net", "segment", "masks"]);
    let segment = &reversed.stages[6];
    assert_eq!(segment.inputs, [4]);
    assert_eq!(segment.references["model"], [5]);
    assert!(segment.keep);
}

#[test]
fn an_output_that_follows_the_input_is_resolved() {
    let plan = plan(SOUND);
    assert_eq!(plan.stages[3].output, plan.stages[4].output);
    assert_eq!(plan.stages[7].output, None);
}

#[test]
fn settings_are_typed_and_paths_absolute() {
    let settings = plan(SOUND).settings;
    assert_eq!(settings.out, Path::new("/data/vs/results"));
    assert_eq!(settings.memory_bytes, 4 << 30);
    assert_eq!((settings.device.as_str(), settings.identifiers), ("auto", Identifiers::Pseudonymous));
    assert_eq!(settings.allowed_rejects, 0.5);
    assert_eq!(settings.metrics, None);
    assert_eq!((settings.settle, settings.rescan), (Duration::from_secs(10), Duration::from_secs(60)));
    let given = "out = \"results\"\nmetrics = \"[::1]:9464\"\nsettle = \"250ms\"\nrescan = \"1h 30m\"";
    let settings = plan(&SOUND.rewrite("out = \"results\"", given)).settings;
    assert_eq!(settings.metrics, "[::1]:9464".parse().ok());
    assert_eq!((settings.settle, settings.rescan), (Duration::from_millis(250), Duration::from_secs(5400)));
}

#[test]
fn every_operator_carries_a_timeout_and_retries_outside_of_its_key() {
    let (one, two) =
        (plan(SOUND), plan(&SOUND.rewrite("keep = true", "timeout = \"2m\"\nretries = 0\nkeep = true")));
    assert_eq!((one.timeout(6), one.retries(6)), (None, 2));
    assert_eq!((two.timeout(6), two.retries(6)), (Some(Duration::from_secs(120)), 0));
    let (one, two) = (&one.stages[6], &two.stages[6]);
    assert!(two.keep);
    assert_eq!(json!(one.config), json!(two.config));
}

#[test]
fn what_an_operator_says_of_its_time_holds_for_what_runs_in_one_go_with_it() {
    let spacing = "spacing = [1, 0.5, 0.5]";
    let said = SOUND.rewrite(spacing, &format!("timeout = \"9s\"\nretries = 5\n{spacing}"));
    let plan = plan(&said);
    let at = |name: &str| plan.stages.iter().position(|stage| stage.name == name).unwrap();
    for (name, expected) in [("case", (None, 2)), ("fine", (Some(9), 5)), ("segment", (Some(9), 5))] {
        let found = (plan.timeout(at(name)), plan.retries(at(name)));
        assert_eq!(found, (expected.0.map(Duration::from_secs), expected.1), "{name}");
    }
    // Masks lie on disk: what made them was another action.
    assert_eq!((plan.timeout(at("masks")), plan.retries(at("masks"))), (None, 2));
}

#[test]
fn a_configuration_has_every_field_in_the_order_of_its_declaration() {
    let plan = plan(SOUND);
    expect![[r#"{"network":{"type":"unet","levels":3,"dims":"3d"},"epochs":100,"rate":1.0,"split":null,"cache":1073741824,"resume":true}"#]]
        .assert_eq(&json!(plan.stages[5].config).to_string());
    expect![[r#"{"path":"/data/vs/archive","where":{"Modality":"MR","SeriesDescription":["*t2*","*T2*"]}}"#]]
        .assert_eq(&json!(plan.stages[0].config).to_string());
}

#[test]
fn equal_meanings_are_equal_json() {
    let other = SOUND
        .rewrite("spacing = [1, 0.5, 0.5]", "spacing = [1.0, 5e-1, +0.5]")
        .rewrite("network = { type = \"unet\", levels = 3 }", "resume = true\nnetwork.levels = 0x3\nnetwork.type = 'unet'\nrate = 1\nsplit.test = 2\ncache = \"1024MiB\"");
    let same = SOUND.rewrite("levels = 3 }", "levels = 3 }\nsplit = { test = 2, seed = 0 }");
    let (one, two) = (plan(&same), plan(&other));
    for (one, two) in one.stages.iter().zip(&two.stages) {
        assert_eq!(json!(one.config).to_string(), json!(two.config).to_string());
    }
}

#[test]
fn renaming_a_stage_changes_no_key() {
    let renamed = plan(
        &SOUND.rewrite("operators.net]", "operators.other]").rewrite("model = \"net\"", "model = \"other\""),
    );
    for (one, two) in plan(SOUND).stages.iter().zip(&renamed.stages) {
        assert_eq!(semantic(one.spec.fields, &one.config), semantic(two.spec.fields, &two.config));
    }
    let file = plan(&SOUND.rewrite("model = \"net\"", "model = { torchscript = \"net.pt\" }"));
    let (one, two) =
        (&plan(SOUND).stages[6], file.stages.iter().find(|stage| stage.name == "segment").unwrap().clone());
    assert_ne!(semantic(one.spec.fields, &one.config), semantic(two.spec.fields, &two.config));
}

#[test]
fn drawings_name_stages_types_and_kinds() {
    let plan = plan(SOUND);
    expect![[r#"
        flowchart LR
          s0[/"scans<br/><i>archive</i>"/]
          s1[/"lines<br/><i>outlines</i>"/]
          s2["assembled<br/><i>volume</i>"]
          s3["case<br/><i>label</i>"]
          s4["fine<br/><i>resample</i>"]
          s5["net<br/><i>train</i>"]
          s6["segment<br/><i>infer</i>"]
          s7[("masks<br/><i>tables</i>")]
          s0 -->|instances| s2
          s2 -->|scans| s3
          s1 -->|outlines| s3
          s3 -->|cases| s4
          s4 -->|cases| s5
          s4 -->|cases| s6
          s5 -.->|model| s6
          s6 -->|masks| s7
    "#]]
    .assert_eq(&plan.graph_mermaid());
    expect![[r#"
        digraph "vs" {
          rankdir=LR;
          node [fontname="Helvetica"];
          edge [fontname="Helvetica", fontsize=10];
          s0 [label="scans\narchive", shape=folder];
          s1 [label="lines\noutlines", shape=folder];
          s2 [label="assembled\nvolume", shape=box];
          s3 [label="case\nlabel", shape=box];
          s4 [label="fine\nresample", shape=box];
          s5 [label="net\ntrain", shape=box];
          s6 [label="segment\ninfer", shape=box, style=bold];
          s7 [label="masks\ntables", shape=cylinder];
          s0 -> s2 [label="instances"];
          s2 -> s3 [label="scans"];
          s1 -> s3 [label="outlines"];
          s3 -> s4 [label="cases"];
          s4 -> s5 [label="cases"];
          s4 -> s6 [label="cases"];
          s5 -> s6 [label="model", style=dashed];
          s6 -> s7 [label="masks"];
        }
    "#]]
    .assert_eq(&plan.graph_dot());
}
